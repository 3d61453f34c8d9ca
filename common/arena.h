/* arena: memory of one request (or one decision), freed all at once.
 *
 * Shape:     a list of blocks; the first is ARENA_BLOCK_BYTES, larger wishes get a block of their own.
 * Limits:    `bytes_max` bounds what an arena may hand out: arena_alloc returns NULL beyond it, so that a hostile
 *            request can't grow without end. 0 means ARENA_BYTES_MAX_DEFAULT.
 * Ownership: all memory belongs to the arena until arena_reset or arena_done.
 * Threads:   one at a time.
 */
#ifndef COMMON_ARENA_H
#define COMMON_ARENA_H

#include "common/span.h"

#define ARENA_BLOCK_BYTES 4096
#define ARENA_BYTES_MAX_DEFAULT (256u << 20)

struct arena_block;

struct arena {
    struct arena_block *blocks;
    size_t used_bytes;
    size_t bytes_max;
};

void arena_init(struct arena *arena, size_t bytes_max);
/* Zeroed memory aligned for any type, or NULL when the limit would be passed. */
void *arena_alloc(struct arena *arena, size_t bytes);
/* Zeroed array; NULL when the limit would be passed or the product overflows. */
void *arena_array(struct arena *arena, size_t count, size_t item_bytes);
/* Copies; data == NULL on exhaustion. The copy is followed by a NUL byte that is not counted. */
struct span arena_copy(struct arena *arena, struct span bytes);
/* printf into the arena; a null span on exhaustion. NUL follows. */
struct span arena_format(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Frees everything that was handed out; the arena can be used again. */
void arena_reset(struct arena *arena);
void arena_done(struct arena *arena);

#endif

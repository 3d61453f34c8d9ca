/* Blocks are malloc'ed and linked; under ASan every allocation gets a block of its own, so that an overrun of one
 * field is seen. */
#include "common/arena.h"

#include "common/mem.h"

#include <stdarg.h>
#include <stdio.h>

struct arena_block {
    struct arena_block *next;
    size_t capacity_bytes;
    size_t used_bytes;
    _Alignas(16) uint8_t data[];
};

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ONE_BLOCK_PER_ALLOCATION 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ONE_BLOCK_PER_ALLOCATION 1
#endif
#endif
#ifndef ARENA_ONE_BLOCK_PER_ALLOCATION
#define ARENA_ONE_BLOCK_PER_ALLOCATION 0
#endif

void arena_init(struct arena *arena, size_t bytes_max)
{
    *arena = (struct arena){.bytes_max = bytes_max == 0 ? ARENA_BYTES_MAX_DEFAULT : bytes_max};
}

static struct arena_block *arena_block_add(struct arena *arena, size_t bytes)
{
    size_t capacity_bytes = bytes;
    if (!ARENA_ONE_BLOCK_PER_ALLOCATION && capacity_bytes < ARENA_BLOCK_BYTES) {
        capacity_bytes = ARENA_BLOCK_BYTES;
    }
    struct arena_block *block = mem_alloc(sizeof(*block) + capacity_bytes);
    block->capacity_bytes = capacity_bytes;
    block->used_bytes = 0;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    if (bytes > arena->bytes_max - arena->used_bytes) {
        return NULL;
    }
    size_t rounded_bytes = (bytes + 15) & ~(size_t)15;
    if (ARENA_ONE_BLOCK_PER_ALLOCATION) {
        rounded_bytes = bytes;
    }
    struct arena_block *block = arena->blocks;
    if (block == NULL || ARENA_ONE_BLOCK_PER_ALLOCATION || rounded_bytes > block->capacity_bytes - block->used_bytes) {
        block = arena_block_add(arena, rounded_bytes);
    }
    void *memory = block->data + block->used_bytes;
    block->used_bytes += rounded_bytes;
    arena->used_bytes += bytes;
    memset(memory, 0, bytes);
    return memory;
}

void *arena_array(struct arena *arena, size_t count, size_t item_bytes)
{
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, item_bytes, &bytes)) {
        return NULL;
    }
    return arena_alloc(arena, bytes);
}

struct span arena_copy(struct arena *arena, struct span bytes)
{
    uint8_t *copy = arena_alloc(arena, bytes.bytes + 1);
    if (copy == NULL) {
        return SPAN_NULL;
    }
    if (bytes.bytes > 0) {
        memcpy(copy, bytes.data, bytes.bytes);
    }
    return span_make(copy, bytes.bytes);
}

struct span arena_format(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int count = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(count >= 0);
    char *text = arena_alloc(arena, (size_t)count + 1);
    if (text == NULL) {
        return SPAN_NULL;
    }
    va_start(args, format);
    (void)vsnprintf(text, (size_t)count + 1, format, args);
    va_end(args);
    return span_make(text, (size_t)count);
}

void arena_reset(struct arena *arena)
{
    struct arena_block *block = arena->blocks;
    while (block != NULL) {
        struct arena_block *next = block->next;
        mem_free(block);
        block = next;
    }
    arena->blocks = NULL;
    arena->used_bytes = 0;
}

void arena_done(struct arena *arena)
{
    arena_reset(arena);
}

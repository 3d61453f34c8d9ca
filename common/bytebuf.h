/* bytebuf: owned bytes that grow, up to a named maximum.
 *
 * Errors:    an append past `bytes_max` returns ERR_LIMIT and changes nothing.
 * Ownership: the buffer owns its memory; bytebuf_take moves it out.
 * Threads:   one at a time.
 */
#ifndef COMMON_BYTEBUF_H
#define COMMON_BYTEBUF_H

#include "common/err.h"
#include "common/span.h"

struct bytebuf {
    uint8_t *data;
    size_t bytes;
    size_t capacity_bytes;
    size_t bytes_max;
};

void bytebuf_init(struct bytebuf *buf, size_t bytes_max);
void bytebuf_done(struct bytebuf *buf);
/* Make room for `bytes` more; *ret_room points behind the used bytes. Follow with bytebuf_added. */
enum err bytebuf_reserve(struct bytebuf *buf, size_t bytes, uint8_t **ret_room) MUST_USE;
void bytebuf_added(struct bytebuf *buf, size_t bytes);
enum err bytebuf_append(struct bytebuf *buf, struct span bytes) MUST_USE;
enum err bytebuf_append_format(struct bytebuf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));
/* Drop the first `bytes`. O(n) in what remains. */
void bytebuf_drop_front(struct bytebuf *buf, size_t bytes);
void bytebuf_clear(struct bytebuf *buf);
struct span bytebuf_span(const struct bytebuf *buf);

#endif

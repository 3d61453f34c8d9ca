#include "common/bytebuf.h"

#include "common/mem.h"

#include <stdarg.h>
#include <stdio.h>

#define BYTEBUF_FIRST_CAPACITY_BYTES 256

void bytebuf_init(struct bytebuf *buf, size_t bytes_max)
{
    *buf = (struct bytebuf){.bytes_max = bytes_max};
}

void bytebuf_done(struct bytebuf *buf)
{
    mem_free(buf->data);
    *buf = (struct bytebuf){.bytes_max = buf->bytes_max};
}

enum err bytebuf_reserve(struct bytebuf *buf, size_t bytes, uint8_t **ret_room)
{
    if (bytes > buf->bytes_max - buf->bytes) {
        return ERR_LIMIT;
    }
    size_t needed_bytes = buf->bytes + bytes;
    if (needed_bytes > buf->capacity_bytes || buf->data == NULL) {
        size_t capacity_bytes = buf->capacity_bytes + buf->capacity_bytes / 2;
        if (capacity_bytes < needed_bytes) {
            capacity_bytes = needed_bytes;
        }
        if (capacity_bytes < BYTEBUF_FIRST_CAPACITY_BYTES) {
            capacity_bytes = BYTEBUF_FIRST_CAPACITY_BYTES;
        }
        buf->data = mem_grow(buf->data, capacity_bytes, 1);
        buf->capacity_bytes = capacity_bytes;
    }
    *ret_room = buf->data + buf->bytes;
    return ERR_OK;
}

void bytebuf_added(struct bytebuf *buf, size_t bytes)
{
    CHECK(bytes <= buf->capacity_bytes - buf->bytes);
    buf->bytes += bytes;
}

enum err bytebuf_append(struct bytebuf *buf, struct span bytes)
{
    uint8_t *room = NULL;
    enum err err = bytebuf_reserve(buf, bytes.bytes, &room);
    if (err != ERR_OK) {
        return err;
    }
    if (bytes.bytes > 0) {
        memcpy(room, bytes.data, bytes.bytes);
    }
    bytebuf_added(buf, bytes.bytes);
    return ERR_OK;
}

enum err bytebuf_append_format(struct bytebuf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int count = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(count >= 0);
    uint8_t *room = NULL;
    enum err err = bytebuf_reserve(buf, (size_t)count + 1, &room);
    if (err != ERR_OK) {
        return err;
    }
    va_start(args, format);
    (void)vsnprintf((char *)room, (size_t)count + 1, format, args);
    va_end(args);
    bytebuf_added(buf, (size_t)count);
    return ERR_OK;
}

void bytebuf_drop_front(struct bytebuf *buf, size_t bytes)
{
    CHECK(bytes <= buf->bytes);
    if (bytes > 0) {
        memmove(buf->data, buf->data + bytes, buf->bytes - bytes);
        buf->bytes -= bytes;
    }
}

void bytebuf_clear(struct bytebuf *buf)
{
    buf->bytes = 0;
}

struct span bytebuf_span(const struct bytebuf *buf)
{
    return span_make(buf->data, buf->bytes);
}

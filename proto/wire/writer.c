#include "proto/wire/writer.h"

#include "common/big_endian.h"
#include "common/mem.h"
#include "common/varint.h"

#define WRITER_CUTS_FIRST_CAPACITY 8

void writer_init(struct writer *writer, struct bytebuf *buf)
{
    *writer = (struct writer){.buf = buf};
}

void writer_done(struct writer *writer)
{
    mem_free(writer->cuts);
    *writer = (struct writer){.buf = NULL};
}

void writer_fail(struct writer *writer, enum err err)
{
    if (writer->err == ERR_OK) {
        writer->err = err;
    }
}

size_t writer_pos(const struct writer *writer)
{
    return writer->buf->bytes;
}

struct writer_cut *writer_take_cuts(struct writer *writer, size_t *ret_cuts_count)
{
    struct writer_cut *cuts = writer->cuts;
    *ret_cuts_count = writer->cuts_count;
    writer->cuts = NULL;
    writer->cuts_count = 0;
    writer->cuts_capacity = 0;
    writer->external_bytes = 0;
    return cuts;
}

/* Room for `bytes` more, already counted as used; NULL after an error. */
static uint8_t *writer_room(struct writer *writer, size_t bytes)
{
    uint8_t *room = NULL;
    if (writer->err != ERR_OK) {
        return NULL;
    }
    enum err err = bytebuf_reserve(writer->buf, bytes, &room);
    if (err != ERR_OK) {
        writer_fail(writer, err);
        return NULL;
    }
    bytebuf_added(writer->buf, bytes);
    return room;
}

void writer_int8(struct writer *writer, int8_t value)
{
    uint8_t *room = writer_room(writer, 1);
    if (room != NULL) {
        *room = (uint8_t)value;
    }
}

void writer_uint16(struct writer *writer, uint16_t value)
{
    uint8_t *room = writer_room(writer, 2);
    if (room != NULL) {
        be16_put(room, value);
    }
}

void writer_uint32(struct writer *writer, uint32_t value)
{
    uint8_t *room = writer_room(writer, 4);
    if (room != NULL) {
        be32_put(room, value);
    }
}

static void writer_uint64(struct writer *writer, uint64_t value)
{
    uint8_t *room = writer_room(writer, 8);
    if (room != NULL) {
        be64_put(room, value);
    }
}

void writer_int16(struct writer *writer, int16_t value)
{
    writer_uint16(writer, (uint16_t)value);
}

void writer_int32(struct writer *writer, int32_t value)
{
    writer_uint32(writer, (uint32_t)value);
}

void writer_int64(struct writer *writer, int64_t value)
{
    writer_uint64(writer, (uint64_t)value);
}

void writer_float64(struct writer *writer, double value)
{
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    writer_uint64(writer, bits);
}

void writer_uuid(struct writer *writer, struct uuid uuid)
{
    writer_bytes(writer, span_make(uuid.bytes, UUID_BYTES));
}

void writer_bool(struct writer *writer, bool value)
{
    writer_int8(writer, value ? 1 : 0);
}

void writer_uvarlong(struct writer *writer, uint64_t value)
{
    uint8_t varint[VARINT64_BYTES_MAX];
    writer_bytes(writer, span_make(varint, uvarint64_put(varint, value)));
}

void writer_uvarint(struct writer *writer, uint32_t value)
{
    writer_uvarlong(writer, value);
}

void writer_varint(struct writer *writer, int32_t value)
{
    writer_uvarlong(writer, zigzag32(value));
}

void writer_varlong(struct writer *writer, int64_t value)
{
    writer_uvarlong(writer, zigzag64(value));
}

void writer_bytes(struct writer *writer, struct span bytes)
{
    uint8_t *room = writer_room(writer, bytes.bytes);
    if (room != NULL && bytes.bytes > 0) {
        memcpy(room, bytes.data, bytes.bytes);
    }
}

void writer_nullable_string(struct writer *writer, struct span text)
{
    if (text.bytes > INT16_MAX) {
        writer_fail(writer, ERR_LIMIT);
        return;
    }
    writer_int16(writer, span_is_null(text) ? (int16_t)-1 : (int16_t)text.bytes);
    writer_bytes(writer, text);
}

void writer_nullable_bytes(struct writer *writer, struct span bytes)
{
    if (bytes.bytes > INT32_MAX) {
        writer_fail(writer, ERR_LIMIT);
        return;
    }
    writer_int32(writer, span_is_null(bytes) ? -1 : (int32_t)bytes.bytes);
    writer_bytes(writer, bytes);
}

void writer_compact_nullable(struct writer *writer, struct span bytes)
{
    if (bytes.bytes > INT32_MAX - 1) {
        writer_fail(writer, ERR_LIMIT);
        return;
    }
    writer_uvarint(writer, span_is_null(bytes) ? 0 : (uint32_t)bytes.bytes + 1);
    writer_bytes(writer, bytes);
}

void writer_cut_here(struct writer *writer, void *external, size_t bytes)
{
    CHECK(bytes > 0);
    if (writer->err != ERR_OK) {
        return;
    }
    /* A frame's size is an int32, whatever lies outside of the buffer. */
    if (bytes > INT32_MAX || writer->external_bytes > INT32_MAX - bytes) {
        writer_fail(writer, ERR_LIMIT);
        return;
    }
    if (writer->cuts_count == writer->cuts_capacity) {
        writer->cuts_capacity = writer->cuts_capacity == 0 ? WRITER_CUTS_FIRST_CAPACITY : writer->cuts_capacity * 2;
        writer->cuts = mem_grow(writer->cuts, writer->cuts_capacity, sizeof(*writer->cuts));
    }
    writer->cuts[writer->cuts_count++] =
        (struct writer_cut){.pos = writer->buf->bytes, .external = external, .external_bytes = bytes};
    writer->external_bytes += bytes;
}

void writer_patch_int32(struct writer *writer, size_t pos, int32_t value)
{
    if (writer->err != ERR_OK) {
        return;
    }
    CHECK(pos <= writer->buf->bytes && writer->buf->bytes - pos >= 4);
    be32_put(writer->buf->data + pos, (uint32_t)value);
}

void writer_insert_length(struct writer *writer, size_t pos)
{
    if (writer->err != ERR_OK) {
        return;
    }
    CHECK(pos <= writer->buf->bytes);
    CHECK(writer->cuts_count == 0 || writer->cuts[writer->cuts_count - 1].pos <= pos);
    size_t content_bytes = writer->buf->bytes - pos;
    if (content_bytes > INT32_MAX) {
        writer_fail(writer, ERR_LIMIT);
        return;
    }
    uint8_t varint[VARINT64_BYTES_MAX];
    size_t varint_bytes = uvarint64_put(varint, content_bytes);
    if (writer_room(writer, varint_bytes) == NULL) {
        return;
    }
    uint8_t *start = writer->buf->data + pos;
    memmove(start + varint_bytes, start, content_bytes);
    memcpy(start, varint, varint_bytes);
}

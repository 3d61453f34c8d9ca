/* Every read goes through reader_need, which compares sizes as size_t and never adds to a length from outside. */
#include "proto/wire/reader.h"

#include "common/big_endian.h"
#include "common/varint.h"

void reader_init(struct reader *reader, struct span bytes)
{
    /* Never NULL, so that pointer arithmetic on no bytes is defined. */
    static const uint8_t nothing[1] = {0};
    *reader = (struct reader){.data = bytes.data == NULL ? nothing : bytes.data, .bytes = bytes.bytes};
}

void reader_fail(struct reader *reader, enum err err)
{
    if (reader->err == ERR_OK) {
        reader->err = err;
        reader->error_pos = reader->pos;
    }
}

size_t reader_remaining(const struct reader *reader)
{
    return reader->err == ERR_OK ? reader->bytes - reader->pos : 0;
}

/* True when `bytes` more can be read; otherwise the reader has failed. */
static bool reader_need(struct reader *reader, size_t bytes)
{
    if (reader->err != ERR_OK) {
        return false;
    }
    if (bytes > reader->bytes - reader->pos) {
        reader_fail(reader, ERR_MALFORMED);
        return false;
    }
    return true;
}

/* The next `bytes` bytes, or zeros after an error, so that the callers need no branch. */
static const uint8_t *reader_fixed(struct reader *reader, size_t bytes)
{
    static const uint8_t zeros[8] = {0};

    if (!reader_need(reader, bytes)) {
        return zeros;
    }
    const uint8_t *from = reader->data + reader->pos;
    reader->pos += bytes;
    return from;
}

int8_t reader_int8(struct reader *reader)
{
    return (int8_t)*reader_fixed(reader, 1);
}

int16_t reader_int16(struct reader *reader)
{
    return (int16_t)be16_get(reader_fixed(reader, 2));
}

uint16_t reader_uint16(struct reader *reader)
{
    return be16_get(reader_fixed(reader, 2));
}

int32_t reader_int32(struct reader *reader)
{
    return (int32_t)be32_get(reader_fixed(reader, 4));
}

uint32_t reader_uint32(struct reader *reader)
{
    return be32_get(reader_fixed(reader, 4));
}

int64_t reader_int64(struct reader *reader)
{
    return (int64_t)be64_get(reader_fixed(reader, 8));
}

double reader_float64(struct reader *reader)
{
    uint64_t bits = be64_get(reader_fixed(reader, 8));
    double value = 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

struct uuid reader_uuid(struct reader *reader)
{
    struct uuid uuid = UUID_ZERO;
    if (reader_need(reader, UUID_BYTES)) {
        memcpy(uuid.bytes, reader->data + reader->pos, UUID_BYTES);
        reader->pos += UUID_BYTES;
    }
    return uuid;
}

bool reader_bool(struct reader *reader)
{
    return reader_int8(reader) != 0;
}

/* Account for a varint of `used_bytes`; 0 says that it was cut off or does not fit. */
static bool reader_used(struct reader *reader, size_t used_bytes)
{
    if (reader->err != ERR_OK) {
        return false;
    }
    if (used_bytes == 0) {
        reader_fail(reader, ERR_MALFORMED);
        return false;
    }
    reader->pos += used_bytes;
    return true;
}

uint32_t reader_uvarint(struct reader *reader)
{
    uint32_t value = 0;
    size_t used_bytes = uvarint32_get(reader->data + reader->pos, reader->data + reader->bytes, &value);
    return reader_used(reader, used_bytes) ? value : 0;
}

uint64_t reader_uvarlong(struct reader *reader)
{
    uint64_t value = 0;
    size_t used_bytes = uvarint64_get(reader->data + reader->pos, reader->data + reader->bytes, &value);
    return reader_used(reader, used_bytes) ? value : 0;
}

int32_t reader_varint(struct reader *reader)
{
    return unzigzag32(reader_uvarint(reader));
}

int64_t reader_varlong(struct reader *reader)
{
    return unzigzag64(reader_uvarlong(reader));
}

struct span reader_take(struct reader *reader, size_t bytes)
{
    if (!reader_need(reader, bytes)) {
        return SPAN_NULL;
    }
    struct span span = span_make(reader->data + reader->pos, bytes);
    reader->pos += bytes;
    return span;
}

static struct span reader_take_signed(struct reader *reader, int64_t bytes)
{
    if (bytes < -1) {
        reader_fail(reader, ERR_MALFORMED);
    }
    return bytes < 0 ? SPAN_NULL : reader_take(reader, (size_t)bytes);
}

struct span reader_nullable_string(struct reader *reader)
{
    return reader_take_signed(reader, reader_int16(reader));
}

struct span reader_nullable_bytes(struct reader *reader)
{
    return reader_take_signed(reader, reader_int32(reader));
}

struct span reader_compact_nullable(struct reader *reader)
{
    return reader_take_signed(reader, (int64_t)reader_uvarint(reader) - 1);
}

void reader_skip_tagged_fields(struct reader *reader)
{
    /* Each field takes at least two bytes, so the loop ends with the input whatever the count says. */
    uint32_t count = reader_uvarint(reader);
    for (uint32_t i = 0; i < count && reader->err == ERR_OK; i++) {
        (void)reader_uvarint(reader);
        (void)reader_take(reader, reader_uvarint(reader));
    }
}

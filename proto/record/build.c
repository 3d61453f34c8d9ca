/* The records are written in plain form behind 61 empty bytes. Uncompressed, the batch is then complete but for the
 * header; compressed, the header's room is followed by the compressed form in the output. Timestamps are deltas to the
 * first record's, whose timestamp is the base (a later record may be earlier: the delta is then negative). */
#include "proto/record/build.h"

#include "common/varint.h"
#include "proto/record/compress.h"

void batch_builder_init(struct batch_builder *builder, size_t batch_bytes_max)
{
    *builder = (struct batch_builder){.options = BATCH_OPTIONS_DEFAULT};
    bytebuf_init(&builder->bytes, batch_bytes_max < BATCH_BYTES_MAX ? batch_bytes_max : BATCH_BYTES_MAX);
}

void batch_builder_done(struct batch_builder *builder)
{
    bytebuf_done(&builder->bytes);
}

void batch_builder_begin(struct batch_builder *builder, const struct batch_options *options)
{
    builder->options = *options;
    builder->record_count = 0;
    bytebuf_clear(&builder->bytes);
}

static size_t varint_bytes(int64_t value)
{
    return uvarint64_bytes(zigzag64(value));
}

static size_t span_wire_bytes(struct span span)
{
    return span_is_null(span) ? 1 : varint_bytes((int64_t)span.bytes) + span.bytes;
}

static uint8_t *put_varint(uint8_t *to, int64_t value)
{
    return to + uvarint64_put(to, zigzag64(value));
}

static uint8_t *put_span(uint8_t *to, struct span span)
{
    to = put_varint(to, span_is_null(span) ? -1 : (int64_t)span.bytes);
    if (span.bytes > 0) {
        memcpy(to, span.data, span.bytes);
    }
    return to + span.bytes;
}

/* Room for the header once, then the record's own room. */
static enum err reserve_record(struct batch_builder *builder, size_t record_bytes, uint8_t **ret_room)
{
    bool is_first = builder->bytes.bytes == 0;
    size_t header_bytes = is_first ? BATCH_HEADER_BYTES : 0;
    uint8_t *room;

    enum err err = bytebuf_reserve(&builder->bytes, header_bytes + record_bytes, &room);
    if (err != ERR_OK) {
        return err;
    }
    bytebuf_added(&builder->bytes, header_bytes + record_bytes);
    *ret_room = room + header_bytes;
    return ERR_OK;
}

/* Lengths are bounded before they are added up, so that the sum can't wrap. */
static enum err headers_wire_bytes(const struct record_header *headers, size_t header_count, size_t *ret_bytes)
{
    size_t bytes = 0;

    if (header_count > RECORD_HEADER_COUNT_MAX) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < header_count; i++) {
        if (span_is_null(headers[i].key)) {
            return ERR_INVALID;
        }
        if (headers[i].key.bytes > BATCH_BYTES_MAX || headers[i].value.bytes > BATCH_BYTES_MAX) {
            return ERR_LIMIT;
        }
        bytes += span_wire_bytes(headers[i].key) + span_wire_bytes(headers[i].value);
    }
    *ret_bytes = bytes;
    return ERR_OK;
}

enum err batch_builder_add(struct batch_builder *builder, int64_t timestamp_ms, struct span key, struct span value,
                           const struct record_header *headers, size_t header_count)
{
    bool is_first = builder->record_count == 0;
    int64_t timestamp_delta_ms;
    size_t headers_bytes;
    uint8_t *to;

    enum err err = headers_wire_bytes(headers, header_count, &headers_bytes);
    if (err != ERR_OK) {
        return err;
    }
    if (key.bytes > BATCH_BYTES_MAX || value.bytes > BATCH_BYTES_MAX || builder->record_count == INT32_MAX) {
        return ERR_LIMIT;
    }
    if (__builtin_sub_overflow(timestamp_ms, is_first ? timestamp_ms : builder->base_timestamp_ms,
                               &timestamp_delta_ms)) {
        return ERR_INVALID;
    }
    size_t body_bytes = 1 + varint_bytes(timestamp_delta_ms) + varint_bytes(builder->record_count) +
                        span_wire_bytes(key) + span_wire_bytes(value) + varint_bytes((int64_t)header_count) +
                        headers_bytes;
    size_t record_bytes = varint_bytes((int64_t)body_bytes) + body_bytes;
    err = reserve_record(builder, record_bytes, &to);
    if (err != ERR_OK) {
        return err;
    }
    const uint8_t *end = to + record_bytes;
    to = put_varint(to, (int64_t)body_bytes);
    *to++ = 0; /* attributes */
    to = put_varint(to, timestamp_delta_ms);
    to = put_varint(to, builder->record_count);
    to = put_span(to, key);
    to = put_span(to, value);
    to = put_varint(to, (int64_t)header_count);
    for (size_t i = 0; i < header_count; i++) {
        to = put_span(put_span(to, headers[i].key), headers[i].value);
    }
    CHECK(to == end);
    if (is_first) {
        builder->base_timestamp_ms = timestamp_ms;
    }
    if (is_first || timestamp_ms > builder->max_timestamp_ms) {
        builder->max_timestamp_ms = timestamp_ms;
    }
    builder->record_count++;
    return ERR_OK;
}

static uint16_t attributes_of(const struct batch_options *options)
{
    unsigned attributes = options->codec & BATCH_ATTRIBUTE_CODEC_MASK;

    attributes |= options->is_append_time ? BATCH_ATTRIBUTE_APPEND_TIME : 0;
    attributes |= options->is_transactional ? BATCH_ATTRIBUTE_TRANSACTIONAL : 0;
    attributes |= options->is_control ? BATCH_ATTRIBUTE_CONTROL : 0;
    return (uint16_t)attributes;
}

enum err batch_builder_finish(struct batch_builder *builder, struct bytebuf *output)
{
    const struct batch_options *options = &builder->options;
    size_t start_pos = output->bytes;

    if (builder->record_count == 0) {
        return ERR_INVALID;
    }
    struct span plain = bytebuf_span(&builder->bytes);
    struct span records = span_sub(plain, BATCH_HEADER_BYTES, plain.bytes - BATCH_HEADER_BYTES);
    enum err err = bytebuf_append(output, span_sub(plain, 0, BATCH_HEADER_BYTES));
    if (err == ERR_OK) {
        err = compress_append(options->codec, records, output);
    }
    if (err != ERR_OK) {
        output->bytes = start_pos;
        return err;
    }
    struct batch_header header = {
        .base_offset = options->base_offset,
        .batch_bytes = output->bytes - start_pos,
        .partition_leader_epoch = options->partition_leader_epoch,
        .attributes = attributes_of(options),
        .last_offset_delta = builder->record_count - 1,
        .base_timestamp_ms = builder->base_timestamp_ms,
        .max_timestamp_ms = builder->max_timestamp_ms,
        .producer_id = options->producer_id,
        .producer_epoch = options->producer_epoch,
        .base_sequence = options->base_sequence,
        .record_count = builder->record_count,
    };
    batch_header_write(output->data + start_pos, &header);
    batch_builder_begin(builder, options);
    return ERR_OK;
}

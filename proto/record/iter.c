/* Parsing keeps two rules: a varint is read only from bytes that exist, and a length is compared with what is left
 * before anything is derived from it. */
#include "proto/record/iter.h"

#include "common/varint.h"

/* A cursor over the bytes of one record. */
struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

static bool take_varint32(struct cursor *cursor, int32_t *ret_value)
{
    uint32_t value;
    size_t bytes = uvarint32_get(cursor->at, cursor->end, &value);

    cursor->at += bytes;
    if (bytes > 0) {
        *ret_value = unzigzag32(value);
    }
    return bytes > 0;
}

static bool take_varint64(struct cursor *cursor, int64_t *ret_value)
{
    uint64_t value;
    size_t bytes = uvarint64_get(cursor->at, cursor->end, &value);

    cursor->at += bytes;
    if (bytes > 0) {
        *ret_value = unzigzag64(value);
    }
    return bytes > 0;
}

/* A varint length and that many bytes; -1 is null where that is allowed. */
static bool take_bytes(struct cursor *cursor, bool can_be_null, struct span *ret_bytes)
{
    int32_t bytes;

    if (!take_varint32(cursor, &bytes)) {
        return false;
    }
    if (bytes == -1 && can_be_null) {
        *ret_bytes = SPAN_NULL;
        return true;
    }
    if (bytes < 0 || bytes > cursor->end - cursor->at) {
        return false;
    }
    *ret_bytes = span_make(cursor->at, (size_t)bytes);
    cursor->at += bytes;
    return true;
}

static struct span cursor_rest(const struct cursor *cursor)
{
    return span_make(cursor->at, (size_t)(cursor->end - cursor->at));
}

/* Everything behind the record's length, except that the headers are only counted. */
static enum err parse_body(struct span body, const struct batch_header *batch, struct record *ret_record)
{
    struct cursor cursor = {body.data, body.data + body.bytes};
    int64_t timestamp_delta_ms;

    if (body.bytes == 0) {
        return ERR_MALFORMED;
    }
    cursor.at++; /* attributes: none is defined */
    if (!take_varint64(&cursor, &timestamp_delta_ms) || !take_varint32(&cursor, &ret_record->offset_delta) ||
        !take_bytes(&cursor, true, &ret_record->key) || !take_bytes(&cursor, true, &ret_record->value) ||
        !take_varint32(&cursor, &ret_record->header_count) || ret_record->header_count < 0) {
        return ERR_MALFORMED;
    }
    if (ret_record->header_count > RECORD_HEADER_COUNT_MAX) {
        return ERR_LIMIT;
    }
    if (ret_record->offset_delta < 0 || ret_record->offset_delta > batch->last_offset_delta) {
        return ERR_MALFORMED;
    }
    if (__builtin_add_overflow(batch->base_timestamp_ms, timestamp_delta_ms, &ret_record->timestamp_ms)) {
        return ERR_MALFORMED;
    }
    if (batch_has_append_time(batch)) {
        ret_record->timestamp_ms = batch->max_timestamp_ms;
    }
    ret_record->offset = batch->base_offset + ret_record->offset_delta;
    ret_record->header_bytes = cursor_rest(&cursor);
    return ERR_OK;
}

/* Walk the headers once, so that whoever reads them later needs no error path. */
static enum err check_headers(const struct record *record)
{
    struct span rest = record->header_bytes;
    struct record_header header;

    for (int32_t i = 0; i < record->header_count; i++) {
        if (record_header_next(&rest, &header) != ERR_OK) {
            return ERR_MALFORMED;
        }
    }
    return rest.bytes == 0 ? ERR_OK : ERR_MALFORMED;
}

void record_iter_init(struct record_iter *iter, const struct batch_header *batch, struct span records)
{
    *iter = (struct record_iter){.batch = *batch, .rest = records, .left_count = batch->record_count};
}

enum err record_iter_next(struct record_iter *iter, struct record *ret_record)
{
    struct record record;
    struct span body;

    if (iter->left_count <= 0) {
        return iter->rest.bytes == 0 ? ERR_END : ERR_MALFORMED;
    }
    if (iter->rest.bytes == 0) {
        return ERR_MALFORMED;
    }
    struct cursor cursor = {iter->rest.data, iter->rest.data + iter->rest.bytes};
    if (!take_bytes(&cursor, false, &body)) {
        return ERR_MALFORMED;
    }
    enum err err = parse_body(body, &iter->batch, &record);
    if (err == ERR_OK) {
        err = check_headers(&record);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (record.offset_delta < iter->next_offset_delta_min) {
        return ERR_MALFORMED;
    }
    iter->next_offset_delta_min = (int64_t)record.offset_delta + 1;
    iter->rest = cursor_rest(&cursor);
    iter->left_count--;
    *ret_record = record;
    return ERR_OK;
}

enum err record_header_next(struct span *rest, struct record_header *ret_header)
{
    struct record_header header;

    if (rest->bytes == 0) {
        return ERR_END;
    }
    struct cursor cursor = {rest->data, rest->data + rest->bytes};
    if (!take_bytes(&cursor, false, &header.key) || !take_bytes(&cursor, true, &header.value)) {
        return ERR_MALFORMED;
    }
    *rest = cursor_rest(&cursor);
    *ret_header = header;
    return ERR_OK;
}

enum err batch_records_plain(const struct batch *batch, struct decompressor *decompressor, struct bytebuf *plain,
                             struct span *ret_records)
{
    struct span records = batch_records(batch);

    if (!batch_is_compressed(&batch->header)) {
        *ret_records = records;
        return ERR_OK;
    }
    bytebuf_clear(plain);
    enum err err =
        decompress_append(decompressor, batch_codec_bits(&batch->header), records, DECOMPRESS_BYTES_MAX, plain);
    if (err == ERR_OK) {
        *ret_records = bytebuf_span(plain);
    }
    return err;
}

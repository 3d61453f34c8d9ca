#include "proto/record/control.h"

#include "common/big_endian.h"

enum err control_marker_parse(struct span key, struct span value, struct control_marker *ret_marker)
{
    if (key.bytes < CONTROL_KEY_BYTES || (int16_t)be16_get(key.data) < 0) {
        return ERR_MALFORMED;
    }
    uint16_t type = be16_get(key.data + sizeof(uint16_t));
    if (type != CONTROL_ABORT && type != CONTROL_COMMIT) {
        return ERR_UNSUPPORTED;
    }
    if (value.bytes < CONTROL_MARKER_VALUE_BYTES || (int16_t)be16_get(value.data) < 0) {
        return ERR_MALFORMED;
    }
    *ret_marker = (struct control_marker){
        .type = (enum control_type)type,
        .coordinator_epoch = (int32_t)be32_get(value.data + sizeof(uint16_t)),
    };
    return ERR_OK;
}

enum err control_batch_parse(const struct batch *batch, struct control_marker *ret_marker)
{
    struct record_iter iter;
    struct record record;
    struct record behind;

    if (!batch_is_control(&batch->header) || batch_is_compressed(&batch->header)) {
        return ERR_MALFORMED;
    }
    record_iter_init(&iter, &batch->header, batch_records(batch));
    if (record_iter_next(&iter, &record) != ERR_OK || record_iter_next(&iter, &behind) != ERR_END) {
        return ERR_MALFORMED;
    }
    return control_marker_parse(record.key, record.value, ret_marker);
}

enum err control_batch_build(struct control_marker marker, int64_t producer_id, int16_t producer_epoch,
                             int64_t timestamp_ms, struct bytebuf *output)
{
    uint8_t key[CONTROL_KEY_BYTES] = {0};
    uint8_t value[CONTROL_MARKER_VALUE_BYTES] = {0};
    struct batch_options options = BATCH_OPTIONS_DEFAULT;
    struct batch_builder builder;

    be16_put(key + sizeof(uint16_t), (uint16_t)marker.type);
    be32_put(value + sizeof(uint16_t), (uint32_t)marker.coordinator_epoch);
    options.is_control = true;
    options.is_transactional = true;
    options.producer_id = producer_id;
    options.producer_epoch = producer_epoch;
    batch_builder_init(&builder, BATCH_BYTES_MAX);
    batch_builder_begin(&builder, &options);
    enum err err = batch_builder_add(&builder, timestamp_ms, span_make(key, sizeof(key)),
                                     span_make(value, sizeof(value)), NULL, 0);
    if (err == ERR_OK) {
        err = batch_builder_finish(&builder, output);
    }
    batch_builder_done(&builder);
    return err;
}

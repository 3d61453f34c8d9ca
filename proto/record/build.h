/* build: make a record batch: begin, add records, finish.
 *
 * Shape:     records are encoded at once behind room for the header; finish compresses them if asked, and writes the
 *            header and its CRC. Record i has offset base_offset + i.
 * Limits:    the whole batch stays within `batch_bytes_max` uncompressed (and BATCH_BYTES_MAX).
 * Units:     timestamps in ms since 1970.
 * Errors:    ERR_LIMIT the record does not fit any more (the batch is as before: finish it and begin another),
 *            ERR_INVALID too many headers, a header without key, or finish without records.
 * Ownership: the builder owns its buffer until batch_builder_done; inputs are borrowed for the call.
 * Threads:   one at a time.
 * Source:    as batch.h and iter.h.
 */
#ifndef PROTO_RECORD_BUILD_H
#define PROTO_RECORD_BUILD_H

#include "proto/record/iter.h"

struct batch_options {
    int64_t base_offset;
    int32_t partition_leader_epoch;
    enum batch_codec codec;
    bool is_append_time;
    bool is_transactional;
    bool is_control;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
};

/* No producer, offset 0, epoch -1, uncompressed: what a plain client sends. */
#define BATCH_OPTIONS_DEFAULT                                                                                          \
    ((struct batch_options){.partition_leader_epoch = BATCH_NO_LEADER_EPOCH,                                           \
                            .producer_id = BATCH_NO_PRODUCER_ID,                                                       \
                            .producer_epoch = BATCH_NO_PRODUCER_EPOCH,                                                 \
                            .base_sequence = BATCH_NO_SEQUENCE})

struct batch_builder {
    struct batch_options options;
    struct bytebuf bytes;
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
    int32_t record_count;
};

void batch_builder_init(struct batch_builder *builder, size_t batch_bytes_max);
void batch_builder_done(struct batch_builder *builder);

/* Start a batch, dropping what was there. */
void batch_builder_begin(struct batch_builder *builder, const struct batch_options *options);

/* Add a record; a null span as key or value is Kafka's null. */
enum err batch_builder_add(struct batch_builder *builder, int64_t timestamp_ms, struct span key, struct span value,
                           const struct record_header *headers, size_t header_count) MUST_USE;

/* Complete the batch and append it to `output`; the builder is then as after init. */
enum err batch_builder_finish(struct batch_builder *builder, struct bytebuf *output) MUST_USE;

#endif

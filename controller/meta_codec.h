/* meta_codec: records of the metadata log between what the controls decide and the bytes of an entry. Records are built in an
 * arena, packed into one Batch, and unpacked under caps.
 *
 * Shape:     a `struct meta_records` is the growing list of facts of one or more decisions. Partitions of one topic that are
 *            added one after the other share a record.
 * Limits:    META_BATCH_BYTES_MAX for a packed batch; META_UNPACK_BYTES_MAX for the memory that unpacking may take;
 *            META_DECISION_BYTES_MAX for a request whose decision is tried at all.
 * Errors:    ERR_LIMIT (too large), ERR_MALFORMED (no Batch), ERR_UNSUPPORTED (format, kind or version that this program does not
 *            know: it must not go on).
 * Ownership: everything lies in the arena; texts and arrays are copied into it.
 * Threads:   one at a time.
 * Source:    proto/meta/<aggregate>.proto; design.md 8 and 13 (sizes are capped before protobuf-c unpacks).
 */
#ifndef CONTROLLER_META_CODEC_H
#define CONTROLLER_META_CODEC_H

#include "batch.pb-c.h"
#include "common/arena.h"
#include "common/bytebuf.h"
#include "controller/image.h"

#define META_FORMAT 1u
#define META_RECORD_VERSION 1u
#define META_BATCH_BYTES_MAX (1u << 20)
#define META_UNPACK_BYTES_MAX (128u << 20)
#define META_DECISION_BYTES_MAX (4u << 20)

struct meta_records {
    struct arena *arena;
    Meta__Record **records;
    size_t count;
    size_t capacity;
    size_t sealed_count; /* records that take nothing more */
};

void meta_records_init(struct meta_records *records, struct arena *arena);
/* Drops the records from `count` on: a decision that was refused half-way, or only validated. */
void meta_records_cut(struct meta_records *records, size_t count);
/* What follows begins records of its own: a decision never adds to a record of the one before it, so that it can be cut away. */
void meta_records_seal(struct meta_records *records);

void meta_add_topic(struct meta_records *records, struct uuid id, struct span name, bool is_internal);
void meta_add_topic_removed(struct meta_records *records, struct uuid id);
void meta_add_partition(struct meta_records *records, struct uuid topic_id, const struct image_partition *partition);
/* `after` is what the partition becomes (all but the replicas may change); its partition_epoch is set to before's + 1 here. */
void meta_add_partition_change(struct meta_records *records, struct uuid topic_id, const struct image_partition *before,
                               const struct image_partition *after);
/* Packed bytes of the partition change that was added last, without its tag and length. */
size_t meta_last_change_bytes(const struct meta_records *records);
/* epoch 0 in `broker`: the index of the entry. */
void meta_add_broker(struct meta_records *records, const struct image_broker *broker, int64_t replaced_epoch);
void meta_add_broker_state(struct meta_records *records, int32_t broker_id, int64_t epoch, bool is_fenced,
                           bool is_shutting_down);
void meta_add_broker_removed(struct meta_records *records, int32_t broker_id, int64_t epoch);
void meta_add_config_change(struct meta_records *records, enum image_config_type type, struct span name,
                            const struct image_config_entry *set, size_t set_count, const struct span *removed,
                            size_t removed_count);
void meta_add_producer_ids(struct meta_records *records, int64_t first, int32_t count, int32_t broker_id,
                           int64_t broker_epoch);
void meta_add_activation(struct meta_records *records, int32_t controller_id, int64_t epoch);
void meta_add_cluster(struct meta_records *records, struct span id, struct span name);
void meta_add_level(struct meta_records *records, uint32_t level);

/* Bytes of a Batch with the records [first, first + count). */
size_t meta_packed_bytes(const struct meta_records *records, size_t first, size_t count, int64_t controller_epoch);
/* Appends the packed Batch. ERR_LIMIT: more than META_BATCH_BYTES_MAX. */
enum err meta_pack(const struct meta_records *records, size_t first, size_t count, int64_t controller_epoch,
                   struct bytebuf *ret_bytes) MUST_USE;
enum err meta_unpack(struct span bytes, struct arena *arena, Meta__Batch **ret_batch) MUST_USE;
/* The same for the first part of a snapshot. */
enum err meta_unpack_header(struct span bytes, struct arena *arena, Meta__SnapshotHeader **ret_header) MUST_USE;

#endif

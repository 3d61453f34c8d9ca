/* log_types: plain structs that the parts of storage hand to each other and to the replica layer: settings of a log,
 * what an append gave, positions, aborted transactions. No behaviour.
 *
 * Units:     offsets named `end` or `next` are exclusive; positions are bytes in a segment file; times in ms.
 * Threads:   values.
 * Source:    Kafka's topic settings; KIP-98 (aborted transactions).
 */
#ifndef BROKER_STORAGE_LOG_TYPES_H
#define BROKER_STORAGE_LOG_TYPES_H

#include "common/err.h"
#include "common/option.h"
#include "common/span.h"

#define LOG_NO_OFFSET INT64_C(-1)
#define LOG_NO_EPOCH (-1)
#define LOG_NO_TIMESTAMP_MS INT64_C(-1)
/* Sequences remembered per producer and partition (KIP-98: max.in.flight.requests.per.connection <= 5). */
#define PRODUCER_BATCHES_MAX 5u
/* Longest text that a problem sentence of storage has. */
#define LOG_TOPIC_NAME_BYTES_MAX 249u

struct env;
struct file_cache;
struct log_dir;
struct loop;
struct sync_group;

/* What the high watermark means (design.md 6): DURABILITY_SYNCED counts what is on disk, DURABILITY_CACHED what is in
 * the page cache. */
enum log_durability { DURABILITY_SYNCED, DURABILITY_CACHED };

enum log_timestamp_type { TIMESTAMP_CREATE, TIMESTAMP_APPEND };

/* Settings that storage acts on; Kafka's names in the comments. -1 means "no limit" where Kafka says so. */
struct log_settings {
    int32_t segment_bytes;          /* segment.bytes */
    int64_t segment_ms;             /* segment.ms */
    int64_t segment_jitter_ms;      /* segment.jitter.ms */
    int32_t index_interval_bytes;   /* index.interval.bytes */
    int32_t segment_index_bytes;    /* segment.index.bytes: a full index rolls the segment */
    int64_t retention_ms;           /* retention.ms, -1: none */
    int64_t retention_bytes;        /* retention.bytes, -1: none */
    bool has_delete_policy;         /* cleanup.policy contains delete */
    int64_t file_delete_delay_ms;   /* file.delete.delay.ms; not waited for: readers hold references */
    int64_t producer_expiration_ms; /* producer.id.expiration.ms */
    enum log_durability durability; /* durability */
};

/* Kafka's defaults. */
#define LOG_SETTINGS_DEFAULT                                                                                           \
    ((struct log_settings){.segment_bytes = 1 << 30,                                                                   \
                           .segment_ms = INT64_C(604800000),                                                           \
                           .segment_jitter_ms = 0,                                                                     \
                           .index_interval_bytes = 4096,                                                               \
                           .segment_index_bytes = 10 << 20,                                                            \
                           .retention_ms = INT64_C(604800000),                                                         \
                           .retention_bytes = -1,                                                                      \
                           .has_delete_policy = true,                                                                  \
                           .file_delete_delay_ms = 60000,                                                              \
                           .producer_expiration_ms = 86400000,                                                         \
                           .durability = DURABILITY_SYNCED})

/* Why a leader did not take a batch (traps 7, 8, 12). The log is unchanged. */
enum append_refusal {
    APPEND_ACCEPTED,
    APPEND_OUT_OF_ORDER_SEQUENCE,  /* OUT_OF_ORDER_SEQUENCE_NUMBER; also a duplicate older than the window */
    APPEND_INVALID_PRODUCER_EPOCH, /* INVALID_PRODUCER_EPOCH: older than what is known */
    APPEND_INVALID_TXN_STATE,      /* INVALID_TXN_STATE: plain write of a producer with an open transaction */
    APPEND_COORDINATOR_FENCED,     /* TRANSACTION_COORDINATOR_FENCED: a marker of an older coordinator */
    APPEND_OFFSETS_EXHAUSTED,      /* the offset would pass 2^63 */
};

struct append_request {
    uint8_t *bytes; /* one or more whole, validated batches; base offset and epoch are stamped in place */
    size_t byte_count;
    int32_t leader_epoch;
    enum log_timestamp_type timestamp_type;
    bool is_client; /* false: coordinators, controllers: no sequence rules beyond epochs */
};

struct append_result {
    enum append_refusal refusal;
    bool is_duplicate;      /* acknowledged like the original, once the high watermark passes last_offset (trap 11) */
    int64_t base_offset;    /* of a duplicate: the original's */
    int64_t last_offset;    /* inclusive */
    int64_t append_time_ms; /* LOG_NO_TIMESTAMP_MS with create time */
    int64_t log_start_offset;
};

/* One entry of a segment's .txnindex. */
struct aborted_txn {
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset; /* of the abort marker */
    int64_t last_stable_offset;
};

/* What of a log goes into the checkpoint files of its directory. */
struct log_checkpoint_row {
    int64_t recovery_point_offset;
    int64_t high_watermark;
    int64_t log_start_offset;
};

typedef void (*log_done_fn)(void *ctx, enum err err);

#endif

/* validate: may this batch, as it came from a producer, go into the log? One pass, no allocation; it decides, and
 * changes nothing.
 *
 * Shape:     batch_validate looks at the header and the CRC, then at the records by policy (ADR-0006): every
 *            uncompressed batch is walked; a compressed one is decompressed and walked when the policy says `records`
 *            or when the topic needs keys (compaction).
 * Limits:    batch_bytes_max of the topic; DECOMPRESS_BYTES_MAX uncompressed bytes; RECORD_HEADER_COUNT_MAX headers.
 * Errors:    a verdict, not an error code: `enum batch_problem`. Its text is for the ErrorMessage of the response, its
 *            number for the ErrorCode.
 * Ownership: borrowed bytes; the decompressor is the worker's.
 * Threads:   pure, but for the decompressor.
 * Source:    Kafka 4.3 ProduceRequest.validateRecords, UnifiedLog.analyzeAndValidateRecords, LogValidator; KIP-937
 *            (timestamp bounds), KIP-467 (record errors).
 */
#ifndef PROTO_RECORD_VALIDATE_H
#define PROTO_RECORD_VALIDATE_H

#include "proto/record/iter.h"
#include "proto/wire/error_code.h"

/* name, Kafka's error code, text. CORRUPT_MESSAGE is the only one that clients send again: it is for what a damaged
 * connection can cause, INVALID_RECORD for what the producer itself has made. */
#define BATCH_PROBLEM_TABLE(X)                                                                                         \
    X(BATCH_GOOD, ERROR_NONE, "no problem")                                                                            \
    X(BATCH_MISSING, ERROR_INVALID_RECORD,                                                                             \
      "a produce request needs exactly one record batch per partition: there is none")                                 \
    X(BATCH_NOT_ALONE, ERROR_INVALID_RECORD,                                                                           \
      "a produce request needs exactly one record batch per partition: there are bytes behind "                        \
      "the first")                                                                                                     \
    X(BATCH_CUT_SHORT, ERROR_INVALID_RECORD, "the record batch is shorter than its length field says")                 \
    X(BATCH_LENGTH_IMPOSSIBLE, ERROR_CORRUPT_MESSAGE,                                                                  \
      "the batch's length field or magic byte is one that no record batch has")                                        \
    X(BATCH_MAGIC_OLD, ERROR_INVALID_RECORD,                                                                           \
      "message sets of magic 0 and 1 are not accepted: record batches need magic 2")                                   \
    X(BATCH_TOO_LARGE, ERROR_MESSAGE_TOO_LARGE, "the record batch is larger than the topic's max.message.bytes")       \
    X(BATCH_BASE_OFFSET_WRONG, ERROR_INVALID_RECORD, "the base offset of a produced batch must be 0")                  \
    X(BATCH_CRC_WRONG, ERROR_CORRUPT_MESSAGE, "the CRC-32C of the record batch does not match its bytes")              \
    X(BATCH_CODEC_UNKNOWN, ERROR_UNSUPPORTED_COMPRESSION_TYPE,                                                         \
      "the batch names a compression codec that does not exist")                                                       \
    X(BATCH_CODEC_TOO_NEW, ERROR_UNSUPPORTED_COMPRESSION_TYPE,                                                         \
      "zstd is allowed since version 7 of the produce request")                                                        \
    X(BATCH_IS_CONTROL, ERROR_INVALID_RECORD, "clients may not write control batches")                                 \
    X(BATCH_HAS_DELETE_HORIZON, ERROR_INVALID_RECORD, "clients may not write batches with a delete horizon")           \
    X(BATCH_COUNT_WRONG, ERROR_INVALID_RECORD, "the record count must be positive and lastOffsetDelta one less")       \
    X(BATCH_PRODUCER_WRONG, ERROR_INVALID_RECORD,                                                                      \
      "the producer id, epoch and sequence of the batch don't fit together")                                           \
    X(BATCH_TRANSACTION_WRONG, ERROR_INVALID_RECORD, "a transactional batch needs a producer id")                      \
    X(BATCH_DECOMPRESSION_FAILED, ERROR_INVALID_RECORD, "the compressed records can't be decompressed")                \
    X(BATCH_DECOMPRESSED_TOO_LARGE, ERROR_MESSAGE_TOO_LARGE, "the records are larger than 64 MiB when decompressed")   \
    X(RECORD_MALFORMED, ERROR_INVALID_RECORD, "a record's lengths don't fit into the batch")                           \
    X(RECORD_HEADERS_TOO_MANY, ERROR_INVALID_RECORD, "a record has more than 1024 headers")                            \
    X(RECORD_OFFSET_WRONG, ERROR_INVALID_RECORD, "the offset deltas of the records must count 0, 1, 2, ...")           \
    X(RECORDS_LEFT_OVER, ERROR_INVALID_RECORD, "there are bytes behind the last record of the batch")                  \
    X(RECORD_KEY_MISSING, ERROR_INVALID_RECORD, "a compacted topic needs a key in every record")                       \
    X(RECORD_TIMESTAMP_OUT_OF_RANGE, ERROR_INVALID_TIMESTAMP,                                                          \
      "a record's timestamp is outside of what message.timestamp.before.max.ms and "                                   \
      "message.timestamp.after.max.ms allow")                                                                          \
    X(BATCH_TIMESTAMP_TYPE_WRONG, ERROR_INVALID_TIMESTAMP, "producers may not set the timestamp type to LogAppendTime")

enum batch_problem {
#define X(name, error_code, text) name,
    BATCH_PROBLEM_TABLE(X)
#undef X
};

/* How far compressed batches are looked into (ADR-0006). */
enum compressed_validation {
    COMPRESSED_VALIDATE_RECORDS,
    COMPRESSED_VALIDATE_HEADER,
};

struct batch_policy {
    size_t batch_bytes_max; /* max.message.bytes */
    enum compressed_validation compressed_validation;
    bool is_zstd_allowed; /* Produce >= 7 */
    bool is_key_required; /* cleanup.policy has compact */
    bool is_append_time;  /* message.timestamp.type: then clients' timestamps don't matter */
    int64_t now_ms;
    int64_t timestamp_before_ms_max; /* message.timestamp.before.max.ms; INT64_MAX: any */
    int64_t timestamp_after_ms_max;  /* message.timestamp.after.max.ms; INT64_MAX: any */
};

/* What the walk over the records found. */
struct batch_report {
    enum batch_problem problem;
    int32_t record_index;               /* the record with the problem; -1: the batch as a whole */
    bool is_walked;                     /* the fields below come from the records, not from the header */
    int64_t max_timestamp_ms;           /* when it differs from the header's: batch_stamp_max_timestamp */
    int64_t max_timestamp_offset_delta; /* the first record that has it; the last record's when not walked */
};

/* `bytes` is what the partition's field of the request holds. *ret_batch is set when ret_report->problem is BATCH_GOOD.
 * `decompressor` may be NULL only if the policy never asks for one. */
void batch_validate(struct span bytes, const struct batch_policy *policy, struct decompressor *decompressor,
                    struct batch *ret_batch, struct batch_report *ret_report);

/* The structure check alone, for batches of any origin that are walked anyway (replication checks, tools, tests): the
 * record count, bounds of every length, and offset deltas 0, 1, 2, ...; compressed batches are decompressed. */
void records_validate(const struct batch *batch, struct decompressor *decompressor, struct batch_report *ret_report);

/* Texts are static memory. */
const char *batch_problem_text(enum batch_problem problem);
const char *batch_problem_name(enum batch_problem problem);
enum error_code batch_problem_kafka_code(enum batch_problem problem);

#endif

/* batch: the header of a record batch (magic 2) in borrowed bytes: parse, check, stamp, walk. It
 * does not look into the records (proto/record/iter.h) and does not decide whether a producer's
 * batch is acceptable (proto/record/validate.h).
 *
 * Shape:     all integers big-endian.
 *
 *      pos bytes field                 note
 *        0   8   baseOffset            stamped by the leader, not covered by the CRC
 *        8   4   batchLength           bytes after this field: whole batch - 12
 *       12   4   partitionLeaderEpoch  stamped by the leader, not covered by the CRC
 *       16   1   magic                 2
 *       17   4   crc                   CRC-32C of [21, end)
 *       21   2   attributes            0-2 codec, 3 timestamp type (1: append), 4 transactional, 5
 * control, 6 baseTimestamp is a delete horizon 23   4   lastOffsetDelta       offset of the last
 * record - baseOffset; stays when compaction removes records 27   8   baseTimestamp         ms 35
 * 8   maxTimestamp          ms 43   8   producerId            -1: none 51   2   producerEpoch -1:
 * none 53   4   baseSequence          -1: none 57   4   recordCount           the array length of
 * the records 61       records               compressed as one block when the codec is not 0
 *
 * Limits:    BATCH_BYTES_MAX per batch.
 * Units:     timestamps in ms since 1970; offsets inclusive unless the name says `next` or `end`.
 * Errors:    ERR_END no bytes, ERR_INCOMPLETE the batch goes on behind the bytes, ERR_MALFORMED a
 * length that no batch has, ERR_UNSUPPORTED another magic (0 and 1 are the message sets of Kafka
 * before 0.11, which nobody may produce since Produce v3 and which are never in our logs),
 * ERR_CORRUPT the CRC differs. Ownership: every span is borrowed from the caller's bytes. Threads:
 * pure functions. Source:    KIP-98; Kafka documentation, "Record Batch"; KIP-534 (delete horizon).
 */
#ifndef PROTO_RECORD_BATCH_H
#define PROTO_RECORD_BATCH_H

#include "common/err.h"
#include "common/span.h"

#define BATCH_MAGIC 2
#define BATCH_HEADER_BYTES 61u
/* Bytes that show the length and the magic. */
#define BATCH_PREFIX_BYTES 17u
/* baseOffset and batchLength, which batchLength does not count. */
#define BATCH_LENGTH_OVERHEAD_BYTES 12u
/* The CRC covers everything from here. */
#define BATCH_CRC_START_POS 21u
/* Above any request frame: a longer batch can't have come from anywhere. */
#define BATCH_BYTES_MAX (100u << 20)

/* Leaves room for every lastOffsetDelta, and for the offset behind it. */
#define BATCH_BASE_OFFSET_MAX (INT64_MAX - INT32_MAX - 1)

#define BATCH_NO_TIMESTAMP_MS (-1)
#define BATCH_NO_PRODUCER_ID (-1)
#define BATCH_NO_PRODUCER_EPOCH (-1)
#define BATCH_NO_SEQUENCE (-1)
#define BATCH_NO_LEADER_EPOCH (-1)

#define BATCH_ATTRIBUTE_CODEC_MASK 0x07u
#define BATCH_ATTRIBUTE_APPEND_TIME 0x08u
#define BATCH_ATTRIBUTE_TRANSACTIONAL 0x10u
#define BATCH_ATTRIBUTE_CONTROL 0x20u
#define BATCH_ATTRIBUTE_DELETE_HORIZON 0x40u

/* The values of the codec bits; 5 to 7 are not assigned. */
enum batch_codec {
    BATCH_CODEC_NONE = 0,
    BATCH_CODEC_GZIP = 1,
    BATCH_CODEC_SNAPPY = 2,
    BATCH_CODEC_LZ4 = 3,
    BATCH_CODEC_ZSTD = 4,
};
#define BATCH_CODEC_COUNT 5u

/* The header's fields in host order. */
struct batch_header {
    int64_t base_offset;
    size_t batch_bytes; /* the whole batch, header included: batchLength + 12 */
    int32_t partition_leader_epoch;
    uint32_t crc;
    uint16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count;
};

/* A whole batch in memory. */
struct batch {
    struct batch_header header;
    struct span bytes; /* exactly header.batch_bytes */
};

/* The whole batch's bytes, judged from its first BATCH_PREFIX_BYTES: what a reader of a file or a
 * socket needs before it has the rest. *ret_batch_bytes is at least BATCH_HEADER_BYTES. */
enum err batch_peek(struct span bytes, size_t *ret_batch_bytes) MUST_USE;

/* Parse the header alone; the records need not be in `bytes`. */
enum err batch_header_parse(struct span bytes, struct batch_header *ret_header) MUST_USE;

/* Parse the batch that starts at `bytes`, which may hold more behind it. The CRC is not checked. */
enum err batch_parse(struct span bytes, struct batch *ret_batch) MUST_USE;

/* Parse the batch at the start of `*rest` and advance `*rest` behind it; ERR_END when nothing is
 * left. `*rest` stays on every error. */
enum err batch_next(struct span *rest, struct batch *ret_batch) MUST_USE;

/* ERR_CORRUPT when the CRC of the bytes is not the one in the header. O(n) in bytes. */
enum err batch_check_crc(const struct batch *batch) MUST_USE;

/* The bytes behind the header: the records, compressed if the codec says so. */
struct span batch_records(const struct batch *batch);

/* Stamp the base offset and the leader's epoch in place; the CRC stays right. `data` is at least
 * BATCH_HEADER_BYTES. */
void batch_stamp(uint8_t *data, int64_t base_offset, int32_t partition_leader_epoch);

/* Make the batch one of append time: every record then has the timestamp `now_ms` to readers.
 * Recomputes the CRC over `batch_bytes`. */
void batch_stamp_append_time(uint8_t *data, size_t batch_bytes, int64_t now_ms);

/* Correct maxTimestamp to what the records hold, create time. Recomputes the CRC over
 * `batch_bytes`. */
void batch_stamp_max_timestamp(uint8_t *data, size_t batch_bytes, int64_t max_timestamp_ms);

/* Write all header fields, magic and batchLength included, and compute the CRC of the records
 * behind it. `data` holds header->batch_bytes, whose records are in place; header->crc is ignored.
 */
void batch_header_write(uint8_t *data, const struct batch_header *header);

static inline unsigned batch_codec_bits(const struct batch_header *header)
{
    return header->attributes & BATCH_ATTRIBUTE_CODEC_MASK;
}

static inline bool batch_is_compressed(const struct batch_header *header)
{
    return batch_codec_bits(header) != BATCH_CODEC_NONE;
}

static inline bool batch_has_append_time(const struct batch_header *header)
{
    return (header->attributes & BATCH_ATTRIBUTE_APPEND_TIME) != 0;
}

static inline bool batch_is_transactional(const struct batch_header *header)
{
    return (header->attributes & BATCH_ATTRIBUTE_TRANSACTIONAL) != 0;
}

static inline bool batch_is_control(const struct batch_header *header)
{
    return (header->attributes & BATCH_ATTRIBUTE_CONTROL) != 0;
}

static inline bool batch_has_delete_horizon(const struct batch_header *header)
{
    return (header->attributes & BATCH_ATTRIBUTE_DELETE_HORIZON) != 0;
}

static inline bool batch_has_producer_id(const struct batch_header *header)
{
    return header->producer_id > BATCH_NO_PRODUCER_ID;
}

static inline int64_t batch_last_offset(const struct batch_header *header)
{
    return header->base_offset + header->last_offset_delta;
}

static inline int64_t batch_next_offset(const struct batch_header *header)
{
    return batch_last_offset(header) + 1;
}

/* `sequence` + `increment`, wrapping from 2^31 - 1 to 0 (correctness trap 12). Neither may be
 * negative. */
int32_t batch_sequence_add(int32_t sequence, int32_t increment);
/* Nearer ahead than behind counts as later. */
bool batch_sequence_is_later(int32_t sequence, int32_t than);

/* The sequence of the last record; BATCH_NO_SEQUENCE when the batch has none. */
int32_t batch_last_sequence(const struct batch_header *header);

#endif

/* iter: walk the records of a batch in uncompressed bytes.
 *
 * Shape:     record: length varint (bytes behind it), attributes i8 (unused), timestampDelta varlong, offsetDelta
 *            varint, key length varint (-1: null) and key, value likewise, header count varint, headers.
 *            header: key length varint (never null) and key, value length varint (-1: null) and value.
 * Limits:    RECORD_HEADER_COUNT_MAX headers a record; every length is bounded by the record, the record by the bytes.
 * Units:     timestamps in ms since 1970.
 * Errors:    ERR_END behind the last record, ERR_MALFORMED anything that does not fit, ERR_LIMIT too many headers.
 * Ownership: keys, values and headers are borrowed from the bytes.
 * Threads:   pure functions.
 * Source:    KIP-98; Kafka documentation, "Record".
 */
#ifndef PROTO_RECORD_ITER_H
#define PROTO_RECORD_ITER_H

#include "proto/record/batch.h"
#include "proto/record/decompress.h"

#define RECORD_HEADER_COUNT_MAX 1024
/* Length, attributes, deltas, two null lengths and no headers: the shortest record. */
#define RECORD_BYTES_MIN 7u

struct record_header {
    struct span key;
    struct span value; /* may be null */
};

struct record {
    int64_t offset;
    int64_t timestamp_ms;
    int32_t offset_delta;
    struct span key;   /* may be null */
    struct span value; /* may be null */
    int32_t header_count;
    struct span header_bytes; /* what record_header_next walks */
};

struct record_iter {
    struct batch_header batch;
    struct span rest;
    int32_t left_count;
    int64_t next_offset_delta_min;
};

/* `records` is the uncompressed record section of the batch: batch_records, or what batch_records_plain gives. */
void record_iter_init(struct record_iter *iter, const struct batch_header *batch, struct span records);

/* The next record. Offsets must grow and stay within the batch's; gaps (a compacted log) are fine. When the last record
 * was taken and bytes are left over, that is ERR_MALFORMED. */
enum err record_iter_next(struct record_iter *iter, struct record *ret_record) MUST_USE;

/* Take one header off `*rest`, which begins as record.header_bytes; ERR_END when none is left. */
enum err record_header_next(struct span *rest, struct record_header *ret_header) MUST_USE;

/* The record section of the batch, uncompressed. Compressed ones are put into `plain`, which is cleared first and must
 * live as long as *ret_records; `decompressor` is not used for the others. */
enum err batch_records_plain(const struct batch *batch, struct decompressor *decompressor, struct bytebuf *plain,
                             struct span *ret_records) MUST_USE;

#endif

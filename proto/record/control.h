/* control: the records of control batches, which end transactions.
 *
 * Shape:     key: version i16 (0), type i16 (abort 0, commit 1; others belong to KRaft's own log and are skipped by
 *            readers). Value of abort and commit: version i16 (0), coordinatorEpoch i32. Newer versions only append
 *            fields.
 * Errors:    ERR_MALFORMED too short, null or of negative version; ERR_UNSUPPORTED a type that ends no transaction.
 * Threads:   pure functions.
 * Source:    KIP-98; Kafka 4.3 ControlRecordTypeSchema.json, EndTxnMarker.json.
 */
#ifndef PROTO_RECORD_CONTROL_H
#define PROTO_RECORD_CONTROL_H

#include "proto/record/build.h"

#define CONTROL_KEY_BYTES 4u
#define CONTROL_MARKER_VALUE_BYTES 6u

enum control_type {
    CONTROL_ABORT = 0,
    CONTROL_COMMIT = 1,
};

struct control_marker {
    enum control_type type;
    int32_t coordinator_epoch;
};

/* The marker in a record of a control batch. */
enum err control_marker_parse(struct span key, struct span value, struct control_marker *ret_marker) MUST_USE;

/* The marker of an uncompressed control batch, which holds exactly one record. */
enum err control_batch_parse(const struct batch *batch, struct control_marker *ret_marker) MUST_USE;

/* Append the control batch that ends the producer's transaction to `output`. */
enum err control_batch_build(struct control_marker marker, int64_t producer_id, int16_t producer_epoch,
                             int64_t timestamp_ms, struct bytebuf *output) MUST_USE;

#endif

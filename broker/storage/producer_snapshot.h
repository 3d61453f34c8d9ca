/* producer_snapshot: the .snapshot file: the producers of a log at an offset, so that recovery needs to replay only what follows.
 *
 * Shape:     Kafka's format version 1, all integers big-endian, then what Kafka's format has no room for: the older four of the
 *            last five batches (a client that resends all five after our crash must find each of them), and `seen_ms`.
 *            Kafka's tools check the CRC over the whole file and stop reading behind the entries.
 *
 *      pos bytes field
 *        0   2   version 1
 *        2   4   CRC-32C of everything from 6 on
 *        6   4   producer count, then per producer 46 bytes:
 *            8   producerId          -1 in no entry
 *            2   epoch
 *            4   lastSequence        -1: no batch
 *            8   lastOffset
 *            4   offsetDelta         last offset - first offset of that batch
 *            8   timestamp
 *            4   coordinatorEpoch
 *            8   currentTxnFirstOffset  -1: none
 *        .   4   "MPS1", then per producer, in the same order:
 *            8   seenMs
 *            4   count of older batches, each: lastOffset 8, offsetDelta 4, lastSequence 4, timestamp 8
 *        .   4   count of ended transactions with a marker at or above the high watermark: producerId 8, firstOffset 8, lastOffset 8
 *
 * Errors:    decode: ERR_CORRUPT, ERR_UNSUPPORTED; the state is then as initialized and an older snapshot or the log is used.
 *            Snapshots without our part (Kafka's own) are read too.
 * Ownership: the caller's.
 * Threads:   pure.
 * Source:    Kafka 4.3 ProducerSnapshot.json; correctness.md 4, traps 9 and 11.
 */
#ifndef BROKER_STORAGE_PRODUCER_SNAPSHOT_H
#define BROKER_STORAGE_PRODUCER_SNAPSHOT_H

#include "broker/storage/producer_state.h"
#include "common/bytebuf.h"

enum err producer_snapshot_encode(const struct producer_state *state, struct bytebuf *ret_bytes) MUST_USE;
/* `state` is initialized and empty. `now_ms` is taken as `seen_ms` where the file has none. */
enum err producer_snapshot_decode(struct span bytes, int64_t now_ms, struct producer_state *state) MUST_USE;

#endif

/* producer_state: what a log knows of its idempotent and transactional producers: sequences, epochs, open transactions. It is a
 * function of the log's batches in order: every replica derives the same (trap 11).
 *
 * Shape:     producer id -> entry; transactions in the order of their first offsets, those that are open and those whose marker is
 *            not below the high watermark yet.
 * Limits:    PRODUCER_BATCHES_MAX batches per producer, PRODUCERS_MAX producers per log: beyond, the one silent for longest without
 *            an open transaction is forgotten, as if it had expired.
 * Units:     offsets inclusive unless named end; `seen_ms` wall clock of the append or of the load, for expiry only: record
 *            timestamps are the clients' and may lie years back.
 * Errors:    check returns a refusal, no error; update never fails: what is in the log is taken (trap 12).
 * Ownership: owns its entries.
 * Threads:   one at a time. No I/O.
 * Source:    KIP-98, KIP-360 (epochs bumped by the client), KIP-890 part 2 (epoch bumped by every marker); Kafka 4.3
 *            ProducerStateManager, ProducerAppendInfo; correctness.md 4, traps 7, 9, 11, 12.
 */
#ifndef BROKER_STORAGE_PRODUCER_STATE_H
#define BROKER_STORAGE_PRODUCER_STATE_H

#include "broker/storage/log_types.h"
#include "proto/record/batch.h"
#include "proto/record/control.h"

#include <uthash.h>

#define PRODUCERS_MAX 10000u

struct producer_batch {
    int64_t last_offset;
    int32_t offset_delta;
    int32_t last_sequence;
    int64_t timestamp_ms; /* the batch's largest */
};

struct producer_entry {
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t coordinator_epoch; /* of the last marker, -1: none */
    int64_t last_timestamp_ms; /* of the last batch or marker */
    int64_t txn_first_offset;  /* LOG_NO_OFFSET: no open transaction */
    int64_t seen_ms;
    uint32_t batch_count;
    struct producer_batch batches[PRODUCER_BATCHES_MAX]; /* oldest first */
    UT_hash_handle hh;                                   /* in the order of the last append, oldest first */
};

/* An open transaction, or one that ended at or above the high watermark. */
struct producer_txn {
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset; /* of its marker; LOG_NO_OFFSET: open */
    struct producer_txn *prev;
    struct producer_txn *next;
};

struct producer_state {
    struct producer_entry *entries;
    struct producer_txn *txns;
};

void producer_state_init(struct producer_state *state);
void producer_state_done(struct producer_state *state);
size_t producer_state_count(const struct producer_state *state);
const struct producer_entry *producer_state_find(const struct producer_state *state, int64_t producer_id);

/* What a client's next batch must begin with: 0 in an epoch of which there is no batch yet (trap 12; KIP-890 for markers that begin one). */
int32_t producer_entry_next_sequence(const struct producer_entry *entry, int16_t producer_epoch);

/* May a leader append this batch? Does nothing else. *ret_original is set when the batch repeats one of the last
 * PRODUCER_BATCHES_MAX: then it is to be acknowledged with that one's offsets. Markers: `marker` is given, else NULL. */
enum append_refusal producer_state_check(const struct producer_state *state, const struct batch_header *header,
                                         const struct control_marker *marker, bool is_client,
                                         struct producer_batch *ret_original, bool *ret_is_duplicate);
/* The batch is in the log. When its marker aborts a transaction, *ret_aborted is set and true returned. */
bool producer_state_update(struct producer_state *state, const struct batch_header *header,
                           const struct control_marker *marker, int64_t now_ms, struct aborted_txn *ret_aborted);

/* Transactions with a marker below `high_watermark` are decided for good (trap 9). */
void producer_state_on_high_watermark(struct producer_state *state, int64_t high_watermark);
/* The first offset that readers of committed data must not pass; LOG_NO_OFFSET when there is none. */
int64_t producer_state_first_unstable(const struct producer_state *state);
/* Forgets producers silent for `expiration_ms`, except those with an open transaction. */
void producer_state_expire(struct producer_state *state, int64_t now_ms, int64_t expiration_ms);
/* The log starts at `start_offset` now. Producers are kept although their batches are gone (KIP-360): only expiry forgets them. */
void producer_state_truncate_start(struct producer_state *state, int64_t start_offset);
/* Puts a loaded entry in; replaces one of the same id. For snapshots. */
void producer_state_put(struct producer_state *state, const struct producer_entry *entry);
/* Adds a transaction, in its place; `last_offset` LOG_NO_OFFSET: open. For snapshots: one that had ended, with a marker that may
 * lie above the high watermark. */
void producer_state_add_txn(struct producer_state *state, int64_t producer_id, int64_t first_offset,
                            int64_t last_offset);

#endif

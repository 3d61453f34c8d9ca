/* partition_log: one replica's log: segments in order, its producers, leader epochs and marks. It knows nothing of roles:
 * the replica layer decides who appends, what the high watermark is, and where to truncate.
 *
 * Shape:     DIR/TOPIC-N/  BASE.log BASE.index BASE.timeindex BASE.txnindex BASE.snapshot ...
 *                          leader-epoch-checkpoint  partition.metadata  moldau-marks
 *            log start <= segments ... <= log end; last stable offset <= high watermark <= log end; synced end <= log end.
 * Limits:    segments are at most settings.segment_bytes plus one append, and 2^31 - 1 bytes; offsets below 2^63 - 2^31.
 *            An idle log holds no descriptor and less than 4 KiB.
 * Errors:    ERR_IO, ERR_NO_SPACE, ERR_TOO_MANY_FILES ...: the directory has failed for good (log_dir_is_failed); the log takes
 *            nothing any more but can still be read. ERR_BUSY: a truncation is under way.
 * Ownership: partition_log_create/open -> partition_log_attach -> ... -> partition_log_close or _delete, which free it.
 *            Settings are copied.
 * Threads:   create and open: a pool job. Everything else: the one thread of the loop it is attached to. Callbacks run
 *            there, never before the call that registered them has returned.
 * Source:    design.md 6 and 7; correctness.md 4, traps 1, 9, 11, 12, 16-18, 20; docs/storage_format.md.
 */
#ifndef BROKER_STORAGE_PARTITION_LOG_H
#define BROKER_STORAGE_PARTITION_LOG_H

#include "broker/storage/log_dir.h"
#include "broker/storage/log_read.h"
#include "broker/storage/log_types.h"
#include "broker/storage/sync_group.h"

struct partition_log;

struct partition_log_id {
    const char *topic;
    int32_t partition_index;
    struct uuid topic_id;
};

/* Blocking. Makes the directory with its first segment, durably, then opens it. ERR_EXISTS when it is there. */
enum err partition_log_create(struct log_dir *dir, const struct partition_log_id *id,
                              const struct log_settings *settings, struct partition_log **ret_log,
                              struct option_problem *ret_problem) MUST_USE;
/* Blocking. Opens and, unless the last stop was clean, recovers: scans from the recovery point, cuts a torn tail, syncs what it
 * keeps. ERR_CORRUPT with a sentence when damage lies below what is known to be synced: nothing is cut then. */
enum err partition_log_open(struct log_dir *dir, const struct partition_log_id *id, const struct log_settings *settings,
                            struct partition_log **ret_log, struct option_problem *ret_problem) MUST_USE;

/* Gives the log to a worker. `sync_group` and `files` are that worker's; `owner` is handed to sync_group's callbacks. */
void partition_log_attach(struct partition_log *log, struct loop *loop, struct file_cache *files,
                          struct sync_group *sync_group, void *owner);
/* Syncs and writes what recovery would need, waits for jobs in flight, frees the log, then calls `done`. */
void partition_log_close(struct partition_log *log, log_done_fn done, void *ctx);
/* Renames the directory to NAME.UUID-delete and removes it, frees the log, then calls `done`. Readers keep their files. */
void partition_log_delete(struct partition_log *log, log_done_fn done, void *ctx);

/* INLINE: to the page cache. Checks producers (unless !is_client: epochs only), stamps, appends, and queues the log for its sync
 * group. ERR_OK also when refused: see ret_result->refusal. ERR_STALE when no begin_epoch of that leader epoch has completed. */
enum err partition_log_append_as_leader(struct partition_log *log, const struct append_request *request,
                                        struct append_result *ret_result) MUST_USE;
/* INLINE. Appends a leader's bytes exactly as they are; whole batches, the first at the log end, CRCs checked by the caller. No
 * sequence rules (trap 12). Learns leader epochs from the batches; the counted end waits until they are on disk (trap 1).
 * ERR_OUT_OF_RANGE when the first batch is below the log end; ERR_MALFORMED when offsets do not rise, ERR_STALE when epochs fall. */
enum err partition_log_append_as_follower(struct partition_log *log, struct span bytes) MUST_USE;

/* Records (epoch, log end) durably; appends of this epoch are taken once `done` has been called with ERR_OK (trap 1). */
void partition_log_begin_epoch(struct partition_log *log, int32_t leader_epoch, log_done_fn done, void *ctx);
/* The newest epoch with a start offset; LOG_NO_EPOCH when there is none. */
int32_t partition_log_last_epoch(const struct partition_log *log);
/* OffsetForLeaderEpoch: the largest known epoch <= `leader_epoch` and its end offset (the newest one's is the log end).
 * LOG_NO_EPOCH and LOG_NO_OFFSET for an epoch above the newest; one below all that are known ends where the first begins. */
void partition_log_end_offset_for_epoch(const struct partition_log *log, int32_t leader_epoch, int32_t *ret_epoch,
                                        int64_t *ret_end_offset);
/* The epoch that wrote `offset`, or the newest one at the log end; LOG_NO_EPOCH when that is not known. */
int32_t partition_log_epoch_at(const struct partition_log *log, int64_t offset);
/* Start offset of an epoch, LOG_NO_OFFSET when it has no entry. */
int64_t partition_log_epoch_start_offset(const struct partition_log *log, int32_t leader_epoch);

/* Reads in order find their place faster when the last one is remembered: after a read that gave bytes. */
void log_read_remember(struct partition_log *log, const struct log_read *read);

/* Drops everything at or above `offset`, and the batch around it, into new files; at the log end only leader epochs that begin there
 * and have written nothing (no-op above). A log start inside
 * that batch moves back to its beginning. Appends and further changes get
 * ERR_BUSY until `done`. */
void partition_log_truncate_to(struct partition_log *log, int64_t offset, log_done_fn done, void *ctx);
/* Drops everything; the log then starts and ends at `offset`. */
void partition_log_truncate_fully(struct partition_log *log, int64_t offset, log_done_fn done, void *ctx);
/* DeleteRecords, or following a leader's log start: everything below `offset` is gone for readers once `done` is called; the new
 * start is on disk before that (trap 18). Whole segments below are removed later. ERR_OUT_OF_RANGE above the high watermark. */
void partition_log_delete_records(struct partition_log *log, int64_t offset, log_done_fn done, void *ctx);
/* Time-based work: retention, roll by age, producer expiry, idle descriptors. Call about every log.retention.check.interval.ms
 * and every few seconds for idle logs; cheap when nothing is due. */
void partition_log_maintain(struct partition_log *log);
void partition_log_set_settings(struct partition_log *log, const struct log_settings *settings);

/* Moves the high watermark (never beyond the log end), and with it the last stable offset (trap 9). */
void partition_log_set_high_watermark(struct partition_log *log, int64_t high_watermark);

int64_t partition_log_start_offset(const struct partition_log *log);
int64_t partition_log_end_offset(const struct partition_log *log);
int64_t partition_log_synced_end(const struct partition_log *log);
/* What this replica may count (design.md 6): synced end, or log end for DURABILITY_CACHED, but never beyond a leader epoch that is
 * not on disk yet. */
int64_t partition_log_counted_end(const struct partition_log *log);
int64_t partition_log_high_watermark(const struct partition_log *log);
int64_t partition_log_last_stable_offset(const struct partition_log *log);
uint64_t partition_log_bytes(const struct partition_log *log);
size_t partition_log_segment_count(const struct partition_log *log);
void partition_log_checkpoint(const struct partition_log *log, struct log_checkpoint_row *ret_row);
const char *partition_log_topic(const struct partition_log *log);
int32_t partition_log_index(const struct partition_log *log);
struct uuid partition_log_topic_id(const struct partition_log *log);
struct log_dir *partition_log_dir(const struct partition_log *log);

/* Producers as DescribeProducers shows them; called for each, in the order of producer id. */
struct producer_entry;
typedef void (*partition_log_producer_fn)(void *ctx, const struct producer_entry *entry);
void partition_log_each_producer(const struct partition_log *log, partition_log_producer_fn each, void *ctx);
/* The sequence that a client's next batch of this producer and epoch must begin with; false: the log knows nothing of the producer and takes any. */
bool partition_log_next_sequence(const struct partition_log *log, int64_t producer_id, int16_t producer_epoch,
                                 int32_t *ret_sequence);

#endif

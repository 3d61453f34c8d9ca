/* recover: from the files of a partition directory to the state of a log, after whatever stop (design.md 7).
 *
 * Shape:     list -> marks -> segments -> producers at the recovery point -> scan of what follows (CRC of every batch) -> cut
 *            of a torn tail -> sync of what stays -> epochs, marks.
 *            After an orderly stop, or when nothing was appended since the marks were written, nothing is scanned.
 * Errors:    ERR_CORRUPT with a sentence: something is missing or damaged below what is known to be synced; nothing is cut then
 *            (correctness.md R10). Errors of fs with a sentence.
 * Ownership: fills a log from log_state_new, whose `files` is a cache of the caller's for the time of the call.
 * Threads:   blocks: a pool job. Nobody else may hold the log's files: they are changed in place here, and only here.
 * Source:    correctness.md 4, traps 16, 17; design.md 7; testing.md 10, rows 23-26, 28.
 */
#ifndef BROKER_STORAGE_RECOVER_H
#define BROKER_STORAGE_RECOVER_H

#include "broker/storage/log_state.h"

enum err recover_log(struct partition_log *log, struct option_problem *ret_problem) MUST_USE;

/* recover_scan.c: reads whole batches from `start_pos`, checks length, CRC and offsets, takes each over (log_append_note) into the
 * log's active segment. `log_end_offset` is what the next batch must begin with (at least, when `may_skip`). ERR_CORRUPT at
 * the first bad one; *ret_good_pos is where it begins. */
enum err recover_scan(struct partition_log *log, uint64_t start_pos, bool may_skip, uint64_t *ret_good_pos) MUST_USE;

/* recover_index.c: shortens the index files of the active segment to what lies below `pos` (offset `offset`), and rebuilds them
 * from the batch headers when they can't be right. */
enum err recover_reset_indexes(struct partition_log *log, uint64_t pos, int64_t offset) MUST_USE;
/* Makes the indexes of a sealed segment anew when a file of them is missing; *ret_are_made is set then, and the directory is to be
 * synced. After an error, ERR_CORRUPT for a segment that can't be read to its end among them, they are what they were. */
enum err recover_missing_indexes(struct partition_log *log, struct log_segment *segment, bool *ret_are_made) MUST_USE;

/* Syncs the segment's index files when they were written. */
enum err recover_sync_indexes(struct partition_log *log, struct log_segment *segment) MUST_USE;

/* recover_producers.c: writes what the next recovery starts from: indexes, a snapshot when there are producers, marks. */
enum err recover_write_marks(struct partition_log *log) MUST_USE;
/* recover_producers.c: the producers (and, with `wants_epochs`, leader epochs) as of `offset`, by snapshot and replay. */
enum err recover_producers(struct partition_log *log, const struct log_marks *marks, const int64_t *snapshot_offsets,
                           size_t snapshot_count, int64_t offset, bool wants_epochs) MUST_USE;

#endif

/* log_marks: what one log knows for certain to be on disk: the file moldau-marks in its directory. It is what recovery measures
 * the rest of the log against: below the recovery point nothing may be missing or damaged.
 *
 * Shape:     text, "name=value" lines, then our last line (side_file.h):
 *              recovery_offset=N    everything below was synced when this was written, indexes included
 *              recovery_segment=N   base offset of the segment that holds recovery_offset (or ends there)
 *              recovery_pos=N       where recovery_offset begins in it
 *              log_start=N          first offset for readers (trap 18: written before a deletion is visible)
 *              producers=none|snapshot|unknown   at recovery_offset: none; in the .snapshot of that offset; replay needed
 *              synced_rule=0|1      the high watermark of the checkpoint counts as synced (durability=synced)
 *              discard=0|1          everything here was dropped: the log is empty and begins at log_start. A crash may have come
 *                                   before the files were removed
 *              cap_offset=N cap_generation=G   checkpoint rows of generation <= G say nothing about offsets above N: the
 *                                   log was truncated to N, or made, after they were collected
 * Errors:    ERR_CORRUPT, ERR_NOT_FOUND: recovery then scans everything.
 * Ownership: a value.
 * Threads:   pure; read blocks.
 * Source:    design.md 7 (persisted synced mark); docs/storage_format.md.
 */
#ifndef BROKER_STORAGE_LOG_MARKS_H
#define BROKER_STORAGE_LOG_MARKS_H

#include "broker/storage/log_types.h"
#include "common/bytebuf.h"

#define LOG_MARKS_FILE "moldau-marks"

enum marks_producers { MARKS_PRODUCERS_NONE, MARKS_PRODUCERS_SNAPSHOT, MARKS_PRODUCERS_UNKNOWN };

struct log_marks {
    int64_t recovery_offset;
    int64_t recovery_segment;
    int64_t recovery_pos;
    int64_t log_start_offset;
    enum marks_producers producers;
    bool counts_high_watermark;
    bool is_discarded;
    int64_t cap_offset;
    uint64_t cap_generation;
};

/* No cap: rows of every generation count. */
#define LOG_MARKS_CAP_NONE INT64_MAX

struct fs;

enum err log_marks_encode(const struct log_marks *marks, struct bytebuf *text) MUST_USE;
enum err log_marks_decode(struct span text, struct log_marks *ret_marks) MUST_USE;
enum err log_marks_read(struct fs *fs, const char *log_path, struct log_marks *ret_marks) MUST_USE;
/* Writes aside, syncs, renames, syncs the directory. */
enum err log_marks_write(struct fs *fs, const char *log_path, const struct log_marks *marks) MUST_USE;
/* Into a new directory, which the caller syncs. */
enum err log_marks_make(struct fs *fs, const char *log_path, const struct log_marks *marks) MUST_USE;
/* `offset` of a checkpoint row as far as the row still speaks of this log. */
int64_t log_marks_cap(const struct log_marks *marks, int64_t offset, uint64_t row_generation);
/* Below this offset a bad batch is corruption, not a torn tail (design.md 7). `row` of the directory's checkpoint files
 * has `row_generation`. */
int64_t log_marks_floor(const struct log_marks *marks, const struct log_checkpoint_row *row, uint64_t row_generation);

#endif

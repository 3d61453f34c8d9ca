/* recovery: what the parts of recover.c share: the files that were found, and what must be in them.
 *
 * Errors:    every step that fails has put its sentence into `problem`.
 * Ownership: of recover_log, for the time of the call.
 * Threads:   as recover.h.
 */
#ifndef BROKER_STORAGE_RECOVERY_H
#define BROKER_STORAGE_RECOVERY_H

#include "broker/storage/recover.h"
#include "broker/storage/remove_tree.h"

struct recovery {
    struct partition_log *log;
    struct fs *fs;
    struct option_problem *problem;
    struct name_list names;
    struct log_marks marks;
    bool are_marks_known;
    bool are_epochs_known;
    int64_t *base_offsets; /* of .log files, rising */
    size_t base_count;
    int64_t *snapshot_offsets;
    size_t snapshot_count;
    int64_t floor_offset;
    int64_t high_watermark; /* of the checkpoint; LOG_NO_OFFSET */
    bool is_dir_changed;
    bool is_log_changed; /* scanned, cut or made: marks are to be renewed */
};

/* A sentence about damage; returns ERR_CORRUPT. */
enum err recovery_corrupt(struct recovery *recovery, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A sentence about a failed call; returns `err`. Does nothing with ERR_OK. */
enum err recovery_failed(struct recovery *recovery, const char *what, enum err err);

/* The steps that look at files, in order. */
enum err recovery_list_files(struct recovery *recovery) MUST_USE;
enum err recovery_read_marks(struct recovery *recovery) MUST_USE;
enum err recovery_discard_all(struct recovery *recovery) MUST_USE;
enum err recovery_read_epochs(struct recovery *recovery) MUST_USE;
/* Adds the segment to the log, with the sizes of its files. */
enum err recovery_load_segment(struct recovery *recovery, int64_t base_offset) MUST_USE;
enum err recovery_unlink_segment(struct recovery *recovery, int64_t base_offset) MUST_USE;
bool recovery_has_log(const struct recovery *recovery, int64_t base_offset);

#endif

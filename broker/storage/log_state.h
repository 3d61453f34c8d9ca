/* log_state: the inside of a partition_log, shared by the files that together implement it and by nobody else.
 *
 * Shape:     segments in order, the last one grows (log_active). One exclusive change (truncation, close, deletion) at a
 *            time; it starts when no job of this log is in flight.
 * Ownership: as in partition_log.h.
 * Threads:   the log's.
 */
#ifndef BROKER_STORAGE_LOG_STATE_H
#define BROKER_STORAGE_LOG_STATE_H

#include "broker/storage/epoch_cache.h"
#include "broker/storage/log_locate.h"
#include "broker/storage/log_marks.h"
#include "broker/storage/log_segment.h"
#include "broker/storage/partition_log.h"
#include "broker/storage/producer_state.h"
#include "common/seam/loop.h"

/* After so many appended bytes the marks are renewed, so that recovery has at most that much to scan. */
#define LOG_MARKS_INTERVAL_BYTES (64u << 20)
/* A log without appends for so long gives back its descriptors and buffers. */
#define LOG_IDLE_MS 10000
#define LOG_BOUNDARIES 32u
#define LOG_CURSORS 4u

/* A place where a batch begins. */
struct log_boundary {
    int64_t offset; /* of the batch that begins there, or will */
    uint64_t pos;
};

/* The last appends to the active segment: tail readers need no index. A ring. */
struct log_boundaries {
    struct log_boundary items[LOG_BOUNDARIES];
    uint32_t count; /* ever added */
};

/* Where a reader stopped: the next read of a consumer in order needs no index either. */
struct log_cursor {
    int64_t segment_base_offset;
    int64_t offset; /* LOG_NO_OFFSET: unused */
    uint64_t pos;
};

/* Somebody who waits until what has been decided so far is on disk. */
struct log_waiter {
    struct log_waiter *next;
    int32_t leader_epoch; /* becomes appendable; LOG_NO_EPOCH: none */
    log_done_fn done;
    void *ctx;
};

enum log_phase {
    LOG_OPEN,     /* -> CHANGING, CLOSING */
    LOG_CHANGING, /* a truncation waits or runs; -> OPEN */
    LOG_CLOSING,  /* close or deletion; the end */
};

struct partition_log {
    struct log_dir *dir;
    struct env *env;
    struct loop *loop;
    struct file_cache *files;
    struct sync_group *sync_group;
    void *owner;
    char *topic;
    int32_t partition_index;
    struct uuid topic_id;
    char *path;
    struct log_settings settings;

    struct log_segment **segments;
    size_t segment_count;
    size_t segment_capacity;
    struct index_tail *tail;           /* of the active segment; NULL: idle, and nothing to flush */
    uint64_t bytes_since_entry;        /* index_tail's counter while there is none */
    struct log_boundaries *boundaries; /* NULL: idle */
    struct log_cursor cursors[LOG_CURSORS];
    uint32_t cursor_next;
    struct epoch_cache epochs;
    struct producer_state producers;

    int64_t log_start_offset;
    int64_t log_end_offset;
    int64_t synced_end_offset;
    int64_t high_watermark;
    int32_t appendable_epoch; /* of the last completed begin_epoch */

    struct log_marks marks; /* as on disk */
    bool are_marks_wanted;
    bool are_epochs_unsaved;
    int64_t unsaved_epoch_offset;   /* start of the first epoch that is in no file; LOG_NO_OFFSET */
    int64_t in_flight_epoch_offset; /* the same, of the job in flight */
    int64_t wanted_start_offset;    /* > log_start_offset: waits for the marks */
    int64_t older_snapshot_offset;  /* the one before marks.recovery_offset; LOG_NO_OFFSET */
    uint64_t bytes_since_marks;
    int64_t appended_ms; /* wall clock of the last append */
    int64_t jitter_ms;   /* this log's share of segment_jitter_ms */

    enum log_phase phase;
    struct log_waiter *waiters;                    /* for the next sync job */
    unsigned job_count;                            /* in flight, the sync group's included */
    void (*when_quiet)(struct partition_log *log); /* called when job_count is 0 */
    void *change;                                  /* of the exclusive change: its own struct */
    bool is_change_running;                        /* its job is in the pool: the files are not the log's to capture */
    bool is_deleting;                              /* nothing of it needs to get to the disk any more */
    void (*when_open)(struct partition_log *log);  /* close or deletion that came during a truncation */
    void *later_change;                            /* its struct */
    bool is_queued_for_sync;
    struct partition_log *next_for_sync;
};

static inline struct log_segment *log_active(const struct partition_log *log)
{
    return log->segments[log->segment_count - 1];
}

/* partition_log.c */
struct partition_log *log_state_new(struct log_dir *dir, const struct partition_log_id *id,
                                    const struct log_settings *settings);
void log_state_free(struct partition_log *log);
void log_state_add_segment(struct partition_log *log, struct log_segment *segment);
/* Drops the first `count` segments from memory. */
void log_state_drop_first(struct partition_log *log, size_t count);
/* Index of the segment that holds `offset` or would; 0 when it is below all. */
size_t log_state_find_segment(const struct partition_log *log, int64_t offset);
/* Offsets in segment `index` end here, exclusively. */
int64_t log_state_segment_end(const struct partition_log *log, size_t index);
void log_state_forget_places(struct partition_log *log);
struct index_tail *log_state_tail(struct partition_log *log);
void log_state_free_tail(struct partition_log *log);
/* A job of this log has ended. */
void log_state_job_done(struct partition_log *log);
/* Calls `run` as soon as no job is in flight, never before returning to the loop. */
void log_state_when_quiet(struct partition_log *log, void (*run)(struct partition_log *log));
/* log_truncate.c: below this, the directory holds what the log says whether or not the truncation under way has been there; INT64_MAX: none is. */
int64_t log_truncation_floor(const struct partition_log *log);
/* Calls `done` with `err` from the loop. */
void log_state_refuse(struct partition_log *log, enum err err, log_done_fn done, void *ctx);
/* Logs and fails the directory; returns `err`. */
enum err log_state_fail(struct partition_log *log, const char *what, enum err err);

/* log_append.c */
/* Takes over a batch that stands in the active segment at `pos`: indexes, producers, epochs. */
enum err log_append_note(struct partition_log *log, const struct batch_header *header,
                         const struct control_marker *marker, uint64_t pos, int64_t now_ms) MUST_USE;
enum err log_append_roll(struct partition_log *log) MUST_USE;

/* log_sync.c */
void log_sync_want(struct partition_log *log);
void log_sync_wait(struct partition_log *log, int32_t leader_epoch, log_done_fn done, void *ctx);
/* Marks that say what is true of the log as it is now. */
void log_sync_marks_now(const struct partition_log *log, struct log_marks *ret_marks);

/* log_time.c: what a search by time in one segment needs. The caller's to free with read_source_done, also after an error. */
enum err log_time_source(struct partition_log *log, struct log_segment *segment, int64_t end_offset,
                         struct read_source *ret_source) MUST_USE;
/* log_retain.c: the marks with this log start are on disk: readers see it now. */
void log_retain_start_moved(struct partition_log *log, int64_t log_start_offset);
/* New marks are on disk: segments wholly below the log start are of no use any more. */
void log_retain_drop_old(struct partition_log *log);

/* log_remove.c: removal of whole segments that nothing refers to any more. */
void log_remove_segments(struct partition_log *log, const int64_t *base_offsets, size_t count);

#endif

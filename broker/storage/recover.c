/* Recovery. The marks say up to where everything was on disk when they were written, indexes and producers included. What lies
 * behind is read batch by batch; the first that is not whole and right is where a crash tore the tail off - unless it lies below
 * an offset that is known to have been synced. Then the disk has lost or changed what it had promised to keep, and cutting would
 * turn that into silent loss: the replica is reported failed and nothing is touched. */
#include "broker/storage/recover.h"

#include "broker/storage/recovery.h"
#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"
#include "common/file_redirty.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

#include <inttypes.h>

/* The first segment of a log that has none: a new log, or one that was discarded. */
static enum err make_first_segment(struct recovery *recovery)
{
    struct partition_log *log = recovery->log;
    int64_t base_offset = recovery->marks.log_start_offset;
    struct store_path path = store_path_segment(log->path, base_offset, STORE_SUFFIX_LOG);
    struct file *file = NULL;
    enum err err = fs_open(recovery->fs, path.text, FS_OPEN_WRITE | FS_OPEN_CREATE, &file);
    if (err != ERR_OK) {
        return recovery_failed(recovery, "make the first segment", err);
    }
    file_unref(file);
    recovery->base_offsets[recovery->base_count++] = base_offset;
    recovery->marks.recovery_segment = base_offset;
    recovery->marks.recovery_offset = base_offset;
    recovery->marks.recovery_pos = 0;
    recovery->is_dir_changed = true;
    recovery->is_log_changed = true;
    return ERR_OK;
}

static enum err check_beginning(struct recovery *recovery)
{
    struct log_marks *marks = &recovery->marks;
    if (recovery->base_count == 0 && recovery->floor_offset > 0) {
        return recovery_corrupt(recovery, "all segments are missing, but offsets below %" PRId64 " were on disk",
                                recovery->floor_offset);
    }
    if (recovery->base_count == 0) {
        return make_first_segment(recovery);
    }
    if (recovery->base_offsets[0] > marks->log_start_offset) {
        return recovery_corrupt(recovery,
                                "the segment with offset %" PRId64 " is missing, the first one begins at %" PRId64,
                                marks->log_start_offset, recovery->base_offsets[0]);
    }
    if (!recovery_has_log(recovery, marks->recovery_segment)) {
        return recovery_corrupt(recovery, "segment %" PRId64 " is missing, which was on disk", marks->recovery_segment);
    }
    return ERR_OK;
}

/* Segments wholly below the log start were to be removed when the process stopped. */
static enum err drop_below_start(struct recovery *recovery)
{
    size_t drop = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK && drop + 1 < recovery->base_count &&
           recovery->base_offsets[drop + 1] <= recovery->marks.log_start_offset &&
           recovery->base_offsets[drop + 1] <= recovery->marks.recovery_segment) {
        err = recovery_unlink_segment(recovery, recovery->base_offsets[drop++]);
    }
    recovery->base_count -= drop;
    memmove(recovery->base_offsets, recovery->base_offsets + drop, recovery->base_count * sizeof(int64_t));
    return recovery_failed(recovery, "remove old segments", err);
}

/* Cuts the active segment at `pos` and everything behind it off, unless that was on disk for certain. */
static enum err cut(struct recovery *recovery, size_t next_index, uint64_t pos)
{
    struct partition_log *log = recovery->log;
    struct log_segment *active = log_active(log);
    struct file *file = NULL;
    if (log->log_end_offset < recovery->floor_offset) {
        return recovery_corrupt(recovery,
                                "damage at byte %" PRIu64 " of segment %" PRId64 ", offset %" PRId64
                                ", but everything below offset %" PRId64 " was on disk",
                                pos, active->base_offset, log->log_end_offset, recovery->floor_offset);
    }
    enum err err = ERR_OK;
    /* From the last one: what is left at any moment has no hole. */
    for (size_t i = recovery->base_count; i > next_index && err == ERR_OK; i--) {
        err = recovery_unlink_segment(recovery, recovery->base_offsets[i - 1]);
    }
    recovery->base_count = next_index;
    if (err == ERR_OK && active->bytes > pos) {
        err = log_segment_file(active, log->files, log->path, SEGMENT_LOG, &file);
        if (err == ERR_OK) {
            err = file_truncate(file, pos);
        }
        active->bytes = pos;
        active->synced_bytes = 0; /* to be synced below */
        recovery->is_log_changed = true;
    }
    return recovery_failed(recovery, "cut the torn tail", err);
}

static enum err sync_active(struct recovery *recovery, uint64_t start_pos)
{
    struct partition_log *log = recovery->log;
    struct log_segment *active = log_active(log);
    struct file *file = NULL;
    if (active->bytes == start_pos && active->synced_bytes == active->bytes) {
        return ERR_OK;
    }
    enum err err = log_segment_flush(active, log_state_tail(log), log->files, log->path, true);
    if (err == ERR_OK) {
        err = log_segment_file(active, log->files, log->path, SEGMENT_LOG, &file);
    }
    if (err == ERR_OK) {
        err = file_redirty(file, start_pos, active->bytes);
    }
    if (err == ERR_OK) {
        err = file_sync(file);
    }
    active->synced_bytes = active->bytes;
    recovery->is_log_changed = true;
    return recovery_failed(recovery, "sync what was recovered", err);
}

/* Reads the segment with this index, which becomes the active one, from `start_pos` on. */
static enum err scan_segment(struct recovery *recovery, size_t index, uint64_t start_pos, bool *ret_is_cut)
{
    struct partition_log *log = recovery->log;
    struct log_segment *active = log_active(log);
    uint64_t good_pos = start_pos;
    *ret_is_cut = false;
    if (active->bytes < start_pos) {
        return recovery_corrupt(recovery, "segment %" PRId64 " has %" PRIu64 " bytes, but %" PRIu64 " were on disk",
                                active->base_offset, active->bytes, start_pos);
    }
    enum err err = recover_reset_indexes(log, start_pos, log->log_end_offset);
    if (err == ERR_CORRUPT) {
        /* Found below the place where the scan begins, so no torn tail: what follows must not be cut for it. */
        return recovery_corrupt(recovery,
                                "segment %" PRId64 " is damaged below byte %" PRIu64
                                ", though everything below offset %" PRId64 " was on disk",
                                active->base_offset, start_pos, log->log_end_offset);
    }
    log_state_tail(log)->bytes_since_entry = 0;
    if (err == ERR_OK && active->bytes > start_pos) {
        err = recover_scan(log, start_pos, !recovery->are_marks_known, &good_pos);
    }
    if (err == ERR_CORRUPT) {
        *ret_is_cut = true;
        err = cut(recovery, index + 1, good_pos);
        if (err == ERR_CORRUPT) {
            return err;
        }
    }
    if (err != ERR_OK) {
        return recovery_failed(recovery, "scan", err);
    }
    return sync_active(recovery, start_pos);
}

/* A sealed segment, below all that is scanned. Damage in it is the readers' to find: nothing that recovery could do would mend it. */
static enum err load_sealed(struct recovery *recovery, int64_t base_offset)
{
    enum err err = recovery_load_segment(recovery, base_offset);
    if (err != ERR_OK) {
        return err;
    }
    bool are_made = false;
    err = recover_missing_indexes(recovery->log, log_active(recovery->log), &are_made);
    recovery->is_dir_changed = recovery->is_dir_changed || are_made;
    return err == ERR_CORRUPT ? ERR_OK : recovery_failed(recovery, "rebuild indexes", err);
}

static enum err scan_all(struct recovery *recovery)
{
    struct partition_log *log = recovery->log;
    size_t index = 0;
    enum err err = ERR_OK;
    while (recovery->base_offsets[index] != recovery->marks.recovery_segment) {
        err = load_sealed(recovery, recovery->base_offsets[index++]);
        if (err != ERR_OK) {
            return err;
        }
    }
    err = recovery_load_segment(recovery, recovery->base_offsets[index]);
    if (err == ERR_OK) {
        err = recover_producers(log, &recovery->marks, recovery->snapshot_offsets, recovery->snapshot_count,
                                recovery->marks.recovery_offset, !recovery->are_epochs_known);
        if (err == ERR_CORRUPT) {
            return recovery_corrupt(recovery,
                                    "a batch below offset %" PRId64 ", where everything was on disk, is damaged",
                                    recovery->marks.recovery_offset);
        }
        err = recovery_failed(recovery, "rebuild producers", err);
    }
    log->log_end_offset = recovery->marks.recovery_offset;
    uint64_t start_pos = (uint64_t)recovery->marks.recovery_pos;
    while (err == ERR_OK) {
        bool is_cut = false;
        err = scan_segment(recovery, index, start_pos, &is_cut);
        index++;
        if (err != ERR_OK || is_cut || index == recovery->base_count) {
            break;
        }
        if (recovery->are_marks_known && recovery->base_offsets[index] != log->log_end_offset) {
            err = cut(recovery, index, log_active(log)->bytes); /* a hole: what follows was never synced */
            break;
        }
        err = recovery_load_segment(recovery, recovery->base_offsets[index]);
        log->log_end_offset = recovery->base_offsets[index];
        start_pos = 0;
    }
    return err;
}

static enum err check_end(struct recovery *recovery)
{
    struct partition_log *log = recovery->log;
    int64_t least_offset = recovery->floor_offset > recovery->marks.log_start_offset ? recovery->floor_offset
                                                                                     : recovery->marks.log_start_offset;
    if (log->log_end_offset < least_offset) {
        return recovery_corrupt(recovery,
                                "the log ends at offset %" PRId64 ", but everything below %" PRId64 " was on disk",
                                log->log_end_offset, least_offset);
    }
    return ERR_OK;
}

static enum err save_epochs(struct recovery *recovery)
{
    struct partition_log *log = recovery->log;
    struct store_path path = store_path_join(log->path, EPOCH_CACHE_FILE);
    struct bytebuf text;
    bool are_cut = epoch_cache_truncate_end(&log->epochs, log->log_end_offset);
    bool are_moved = epoch_cache_truncate_start(&log->epochs, log->log_start_offset);
    bool is_rebuilt = log->are_epochs_unsaved && log->epochs.count > 0;
    if (!are_cut && !are_moved && !is_rebuilt) {
        log->are_epochs_unsaved = false;
        return ERR_OK;
    }
    bytebuf_init(&text, SIDE_FILE_BYTES_MAX);
    enum err err = epoch_cache_encode(&log->epochs, &text);
    if (err == ERR_OK) {
        err = side_file_replace(recovery->fs, log->path, path.text, bytebuf_span(&text));
    }
    bytebuf_done(&text);
    log->are_epochs_unsaved = false;
    log->unsaved_epoch_offset = LOG_NO_OFFSET;
    return recovery_failed(recovery, "write epochs", err);
}

/* Marks at the new end are a matter of speed: the worker's sync group writes them for all logs together. Only a discard must be
 * seen to have ended; and what was lost below the checkpointed high watermark (durability=cached), or else the next recovery would call committed
 * what has come in its place. */
static enum err save_marks(struct recovery *recovery)
{
    struct partition_log *log = recovery->log;
    bool is_shortened = recovery->high_watermark > log->log_end_offset;
    log->marks = recovery->marks;
    if (is_shortened) {
        log->marks.cap_offset = log->log_end_offset;
        log->marks.cap_generation = log_dir_generation(log->dir);
    }
    if (recovery->marks.is_discarded || is_shortened) {
        return recovery_failed(recovery, "write marks", recover_write_marks(log));
    }
    log->are_marks_wanted = recovery->is_log_changed;
    return ERR_OK;
}

static enum err recover_in_order(struct recovery *recovery)
{
    struct partition_log *log = recovery->log;
    enum err err = recovery_list_files(recovery);
    if (err == ERR_OK) {
        err = recovery_read_marks(recovery);
    }
    if (err == ERR_OK && recovery->marks.is_discarded) {
        err = recovery_discard_all(recovery);
        recovery->floor_offset = recovery->marks.log_start_offset;
        if (err == ERR_OK) {
            err = make_first_segment(recovery);
        }
    }
    if (err == ERR_OK) {
        err = check_beginning(recovery);
    }
    if (err == ERR_OK) {
        err = recovery_read_epochs(recovery);
    }
    if (err == ERR_OK) {
        err = drop_below_start(recovery);
    }
    if (err == ERR_OK) {
        err = scan_all(recovery);
    }
    if (err == ERR_OK) {
        err = check_end(recovery);
    }
    if (err == ERR_OK && recovery->is_dir_changed) {
        err = recovery_failed(recovery, "sync the directory", fs_sync_dir(recovery->fs, log->path));
    }
    if (err != ERR_OK) {
        return err;
    }
    log->log_start_offset = recovery->marks.log_start_offset;
    log->wanted_start_offset = log->log_start_offset;
    err = save_epochs(recovery);
    return err == ERR_OK ? save_marks(recovery) : err;
}

static void set_high_watermark(struct recovery *recovery)
{
    struct partition_log *log = recovery->log;
    int64_t high_watermark = recovery->high_watermark;
    if (high_watermark > log->log_end_offset) {
        high_watermark = log->log_end_offset;
    }
    if (high_watermark < log->log_start_offset) {
        high_watermark = log->log_start_offset;
    }
    partition_log_set_high_watermark(log, high_watermark);
}

enum err recover_log(struct partition_log *log, struct option_problem *ret_problem)
{
    struct recovery recovery = {.log = log, .fs = log->env->fs, .problem = ret_problem};
    enum err err = recover_in_order(&recovery);
    if (err == ERR_OK) {
        log->synced_end_offset = log->log_end_offset;
        set_high_watermark(&recovery);
    }
    name_list_done(&recovery.names);
    mem_free(recovery.base_offsets);
    mem_free(recovery.snapshot_offsets);
    return err;
}

/* The files of a partition directory: what is there, what was left over, what the side files say. */
#include "broker/storage/recovery.h"
#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"
#include "broker/storage/txn_index.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

#include <stdarg.h>
#include <stdio.h>

enum err recovery_corrupt(struct recovery *recovery, const char *format, ...)
{
    char what[192];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    (void)snprintf(recovery->problem->text, sizeof(recovery->problem->text),
                   "%.200s: %.160s. Nothing was cut; rebuild the replica from another one, or remove it",
                   recovery->log->path, what);
    return ERR_CORRUPT;
}

enum err recovery_failed(struct recovery *recovery, const char *what, enum err err)
{
    if (err != ERR_OK) {
        (void)snprintf(recovery->problem->text, sizeof(recovery->problem->text), "%.200s: %s: %s", recovery->log->path,
                       what, err_text(err));
    }
    return err;
}

static enum err unlink_name(struct recovery *recovery, const char *name)
{
    struct store_path path = store_path_join(recovery->log->path, name);
    enum err err = fs_unlink(recovery->fs, path.text);
    recovery->is_dir_changed = true;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t name_bytes = strlen(name);
    size_t suffix_bytes = strlen(suffix);
    return name_bytes >= suffix_bytes && memcmp(name + name_bytes - suffix_bytes, suffix, suffix_bytes) == 0;
}

/* Files that were being made or on their way out. */
static bool is_leftover(const char *name)
{
    return ends_with(name, STORE_SUFFIX_ASIDE) || ends_with(name, STORE_SUFFIX_CLEANED) ||
           ends_with(name, STORE_SUFFIX_DELETED);
}

bool recovery_has_log(const struct recovery *recovery, int64_t base_offset)
{
    for (size_t i = 0; i < recovery->base_count; i++) {
        if (recovery->base_offsets[i] == base_offset) {
            return true;
        }
    }
    return false;
}

static bool is_index_of(const char *name, int64_t *ret_base_offset)
{
    return store_path_parse_segment(name, STORE_SUFFIX_OFFSET_INDEX, ret_base_offset) ||
           store_path_parse_segment(name, STORE_SUFFIX_TIME_INDEX, ret_base_offset) ||
           store_path_parse_segment(name, STORE_SUFFIX_TXN_INDEX, ret_base_offset);
}

enum err recovery_list_files(struct recovery *recovery)
{
    enum err err = name_list_read(recovery->fs, recovery->log->path, &recovery->names);
    if (err != ERR_OK) {
        return recovery_failed(recovery, "list", err);
    }
    struct name_list *names = &recovery->names;
    recovery->base_offsets = mem_array(names->count + 1, sizeof(int64_t));
    recovery->snapshot_offsets = mem_array(names->count + 1, sizeof(int64_t));
    /* Sorted names of 20 digits are sorted offsets. */
    for (size_t i = 0; i < names->count; i++) {
        int64_t offset = 0;
        if (store_path_parse_segment(names->names[i], STORE_SUFFIX_LOG, &offset)) {
            recovery->base_offsets[recovery->base_count++] = offset;
        } else if (store_path_parse_segment(names->names[i], STORE_SUFFIX_SNAPSHOT, &offset)) {
            recovery->snapshot_offsets[recovery->snapshot_count++] = offset;
        }
    }
    for (size_t i = 0; i < names->count && err == ERR_OK; i++) {
        int64_t base_offset = 0;
        bool is_orphan = is_index_of(names->names[i], &base_offset) && !recovery_has_log(recovery, base_offset);
        if (is_orphan || is_leftover(names->names[i])) {
            err = unlink_name(recovery, names->names[i]);
        }
    }
    return recovery_failed(recovery, "remove leftovers", err);
}

/* The log was dropped as a whole (truncate_fully), or is new: whatever is there is not part of it. */
enum err recovery_discard_all(struct recovery *recovery)
{
    enum err err = ERR_OK;
    for (size_t i = recovery->names.count; i > 0 && err == ERR_OK; i--) {
        const char *name = recovery->names.names[i - 1];
        int64_t offset = 0;
        if (store_path_parse_segment(name, STORE_SUFFIX_LOG, &offset) || is_index_of(name, &offset) ||
            store_path_parse_segment(name, STORE_SUFFIX_SNAPSHOT, &offset) || strcmp(name, EPOCH_CACHE_FILE) == 0) {
            err = unlink_name(recovery, name);
        }
    }
    recovery->base_count = 0;
    recovery->snapshot_count = 0;
    recovery->is_log_changed = true;
    return recovery_failed(recovery, "remove discarded files", err);
}

enum err recovery_read_marks(struct recovery *recovery)
{
    struct log_checkpoint_row row;
    uint64_t generation = log_dir_row_generation(recovery->log->dir);
    enum err err = log_marks_read(recovery->fs, recovery->log->path, &recovery->marks);
    if (err == ERR_IO) {
        return recovery_failed(recovery, "read marks", err);
    }
    recovery->are_marks_known = err == ERR_OK;
    if (!recovery->are_marks_known) {
        /* Lost or damaged: everything is scanned, and only the checkpoint says what must be there. */
        recovery->marks = (struct log_marks){
            .producers = MARKS_PRODUCERS_UNKNOWN,
            .counts_high_watermark = recovery->log->settings.durability == DURABILITY_SYNCED,
            .cap_offset = LOG_MARKS_CAP_NONE,
        };
        recovery->is_log_changed = true;
    }
    log_dir_checkpoint_row(recovery->log->dir, recovery->log->topic, recovery->log->partition_index, &row);
    recovery->floor_offset = log_marks_floor(&recovery->marks, &row, generation);
    recovery->high_watermark = log_marks_cap(&recovery->marks, row.high_watermark, generation);
    if (!recovery->are_marks_known) {
        /* They may have said that the row is about records that were cut since: whoever leads tells the right one, or finds it anew. */
        recovery->high_watermark = 0;
        recovery->marks.cap_offset = 0;
        recovery->marks.cap_generation = log_dir_generation(recovery->log->dir);
    }
    if (!recovery->are_marks_known && recovery->base_count > 0) {
        recovery->marks.recovery_segment = recovery->base_offsets[0];
        recovery->marks.recovery_offset = recovery->base_offsets[0];
        recovery->marks.log_start_offset =
            row.log_start_offset > recovery->base_offsets[0] ? row.log_start_offset : recovery->base_offsets[0];
    }
    return ERR_OK;
}

enum err recovery_read_epochs(struct recovery *recovery)
{
    struct store_path path = store_path_join(recovery->log->path, EPOCH_CACHE_FILE);
    struct bytebuf text;
    bytebuf_init(&text, SIDE_FILE_BYTES_MAX);
    enum err err = side_file_read(recovery->fs, path.text, &text);
    if (err == ERR_OK) {
        err = epoch_cache_decode(bytebuf_span(&text), &recovery->log->epochs);
    }
    /* A truncation into the batch that the log start cuts lowers the start before the batch goes: after a crash in between the batch is
     * there, and its epoch only from the old start on. The batches know better. */
    if (err == ERR_OK && recovery->log->epochs.count > 0 &&
        recovery->log->epochs.entries[0].start_offset > recovery->marks.log_start_offset) {
        err = ERR_CORRUPT;
    }
    bytebuf_done(&text);
    recovery->are_epochs_known = err == ERR_OK;
    if (err != ERR_OK) {
        epoch_cache_done(&recovery->log->epochs);
        recovery->log->are_epochs_unsaved = true;
    }
    return err == ERR_IO ? recovery_failed(recovery, "read epochs", err) : ERR_OK;
}

static enum err stat_bytes(struct recovery *recovery, int64_t base_offset, enum segment_file which,
                           struct fs_stat *ret_stat)
{
    struct store_path path = store_path_segment(recovery->log->path, base_offset, log_segment_suffix(which));
    *ret_stat = (struct fs_stat){.bytes = 0};
    enum err err = fs_stat(recovery->fs, path.text, ret_stat);
    return err == ERR_NOT_FOUND && which != SEGMENT_LOG ? ERR_OK : err;
}

enum err recovery_load_segment(struct recovery *recovery, int64_t base_offset)
{
    struct log_segment *segment = log_segment_new(base_offset);
    struct fs_stat stat;
    log_state_add_segment(recovery->log, segment);
    enum err err = stat_bytes(recovery, base_offset, SEGMENT_LOG, &stat);
    segment->bytes = stat.bytes;
    segment->synced_bytes = stat.bytes;
    segment->modified_ms = stat.modified_ms;
    segment->is_name_synced = true;
    if (err == ERR_OK) {
        err = stat_bytes(recovery, base_offset, SEGMENT_OFFSET_INDEX, &stat);
        segment->offset_entry_count = (uint32_t)(stat.bytes / OFFSET_INDEX_ENTRY_BYTES);
    }
    if (err == ERR_OK) {
        err = stat_bytes(recovery, base_offset, SEGMENT_TIME_INDEX, &stat);
        segment->time_entry_count = (uint32_t)(stat.bytes / TIME_INDEX_ENTRY_BYTES);
    }
    if (err == ERR_OK) {
        err = stat_bytes(recovery, base_offset, SEGMENT_TXN_INDEX, &stat);
        segment->txn_index_bytes = stat.bytes / TXN_INDEX_ENTRY_BYTES * TXN_INDEX_ENTRY_BYTES;
    }
    segment->max_timestamp_ms = SEGMENT_TIMESTAMP_UNKNOWN;
    return recovery_failed(recovery, "look at segments", err);
}

enum err recovery_unlink_segment(struct recovery *recovery, int64_t base_offset)
{
    enum err err = ERR_OK;
    for (unsigned which = 0; which < SEGMENT_FILE_COUNT && err == ERR_OK; which++) {
        struct store_path path =
            store_path_segment(recovery->log->path, base_offset, log_segment_suffix((enum segment_file)which));
        err = fs_unlink(recovery->fs, path.text);
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    recovery->is_dir_changed = true;
    return err;
}

/* One set of the three checkpoint files of a log directory. */
#include "broker/storage/log_dir_state.h"
#include "broker/storage/log_marks.h"
#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

struct log_checkpoint {
    struct log_dir *dir;
    uint64_t generation;
    struct offset_checkpoint recovery_points;
    struct offset_checkpoint high_watermarks;
    struct offset_checkpoint log_starts;
    struct offset_checkpoint kept; /* whose rows are those of the files that were loaded; their offsets mean nothing */
};

struct log_checkpoint *log_checkpoint_new(struct log_dir *dir)
{
    struct log_checkpoint *checkpoint = MEM_NEW(struct log_checkpoint);
    checkpoint->dir = dir;
    /* Before the first row is collected: whoever truncates from now on knows that this set may be older. */
    checkpoint->generation = atomic_fetch_add(&dir->generation, 1) + 1;
    offset_checkpoint_init(&checkpoint->recovery_points);
    offset_checkpoint_init(&checkpoint->high_watermarks);
    offset_checkpoint_init(&checkpoint->log_starts);
    offset_checkpoint_init(&checkpoint->kept);
    return checkpoint;
}

void log_checkpoint_add(struct log_checkpoint *checkpoint, const char *topic, int32_t partition_index,
                        const struct log_checkpoint_row *row)
{
    offset_checkpoint_add(&checkpoint->recovery_points, topic, partition_index, row->recovery_point_offset);
    offset_checkpoint_add(&checkpoint->high_watermarks, topic, partition_index, row->high_watermark);
    offset_checkpoint_add(&checkpoint->log_starts, topic, partition_index, row->log_start_offset);
}

void log_checkpoint_keep(struct log_checkpoint *checkpoint, const char *topic, int32_t partition_index)
{
    offset_checkpoint_add(&checkpoint->kept, topic, partition_index, 0);
}

/* The row gets this set's number, under which the log's marks don't cap it any more: what they cap is cut off now. A truncation since the
 * set was begun has marks of this number or a later one. */
static void add_kept(struct log_checkpoint *checkpoint, const struct offset_row *kept)
{
    const struct log_dir *dir = checkpoint->dir;
    struct log_checkpoint_row row;
    struct log_marks marks;
    log_dir_checkpoint_row(dir, kept->topic, kept->partition_index, &row);
    if (row.recovery_point_offset < 0 && row.high_watermark < 0) {
        return; /* nothing was ever said of it */
    }
    char *path = mem_format("%s/%s-%d", dir->path, kept->topic, (int)kept->partition_index);
    if (log_marks_read(dir->env->fs, path, &marks) == ERR_OK) {
        row.recovery_point_offset = log_marks_cap(&marks, row.recovery_point_offset, dir->row_generation);
        row.high_watermark = log_marks_cap(&marks, row.high_watermark, dir->row_generation);
    }
    mem_free(path);
    log_checkpoint_add(checkpoint, kept->topic, kept->partition_index, &row);
}

static enum err write_aside(const struct log_checkpoint *checkpoint, const char *name, struct offset_checkpoint *rows)
{
    struct store_path path = store_path_join(checkpoint->dir->path, name);
    struct bytebuf text;
    bytebuf_init(&text, SIDE_FILE_BYTES_MAX);
    offset_checkpoint_sort(rows);
    enum err err = offset_checkpoint_encode(rows, checkpoint->generation, &text);
    if (err == ERR_OK) {
        err = side_file_write_aside(checkpoint->dir->env->fs, path.text, bytebuf_span(&text));
    }
    bytebuf_done(&text);
    return err;
}

static enum err commit(const struct log_checkpoint *checkpoint, const char *name)
{
    struct store_path path = store_path_join(checkpoint->dir->path, name);
    return side_file_commit(checkpoint->dir->env->fs, path.text);
}

enum err log_checkpoint_write(struct log_checkpoint *checkpoint)
{
    if (log_dir_is_failed(checkpoint->dir)) {
        return ERR_IO;
    }
    for (size_t i = 0; i < checkpoint->kept.count; i++) {
        add_kept(checkpoint, &checkpoint->kept.rows[i]);
    }
    enum err err = write_aside(checkpoint, LOG_DIR_RECOVERY_FILE, &checkpoint->recovery_points);
    if (err == ERR_OK) {
        err = write_aside(checkpoint, LOG_DIR_HIGH_WATERMARK_FILE, &checkpoint->high_watermarks);
    }
    if (err == ERR_OK) {
        err = write_aside(checkpoint, LOG_DIR_LOG_START_FILE, &checkpoint->log_starts);
    }
    if (err == ERR_OK) {
        err = commit(checkpoint, LOG_DIR_RECOVERY_FILE);
    }
    if (err == ERR_OK) {
        err = commit(checkpoint, LOG_DIR_HIGH_WATERMARK_FILE);
    }
    if (err == ERR_OK) {
        err = commit(checkpoint, LOG_DIR_LOG_START_FILE);
    }
    if (err == ERR_OK) {
        err = fs_sync_dir(checkpoint->dir->env->fs, checkpoint->dir->path);
    }
    if (err == ERR_OK) {
        atomic_store(&checkpoint->dir->written_generation, checkpoint->generation);
    } else {
        log_dir_fail(checkpoint->dir, "write checkpoints", err);
    }
    return err;
}

void log_checkpoint_free(struct log_checkpoint *checkpoint)
{
    if (checkpoint == NULL) {
        return;
    }
    offset_checkpoint_done(&checkpoint->recovery_points);
    offset_checkpoint_done(&checkpoint->high_watermarks);
    offset_checkpoint_done(&checkpoint->log_starts);
    offset_checkpoint_done(&checkpoint->kept);
    mem_free(checkpoint);
}

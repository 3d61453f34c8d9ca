/* How a log begins: made, or found on disk. */
#include "broker/storage/log_open.h"

#include "broker/storage/partition_meta.h"
#include "broker/storage/recover.h"
#include "broker/storage/remove_tree.h"
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"
#include "common/seam/rng.h"

#include <inttypes.h>
#include <stdio.h>

/* Descriptors that one recovery may hold at a time. */
#define OPEN_FILES_MAX 8u

static enum err explain(struct option_problem *problem, const char *path, const char *what, enum err err)
{
    (void)snprintf(problem->text, sizeof(problem->text), "%.300s: %s: %s", path, what, err_text(err));
    return err;
}

enum err log_open_state(struct log_dir *dir, const struct partition_log_id *id, const struct log_settings *settings,
                        struct partition_log **ret_log, struct option_problem *ret_problem)
{
    struct file_cache files;
    struct partition_log *log = log_state_new(dir, id, settings);
    file_cache_init(&files, log->env->fs, OPEN_FILES_MAX);
    log->files = &files;
    enum err err =
        log_dir_is_failed(dir) ? explain(ret_problem, log->path, "open", ERR_IO) : recover_log(log, ret_problem);
    if (err != ERR_OK) {
        log_state_free(log);
        file_cache_done(&files);
        return err;
    }
    for (size_t i = 0; i < log->segment_count; i++) {
        log_segment_close_files(log->segments[i], &files);
    }
    log_state_forget_places(log);
    if (log->tail != NULL && log->tail->offset_count == 0 && log->tail->time_count == 0) {
        log_state_free_tail(log);
    }
    file_cache_done(&files);
    log->files = NULL;
    *ret_log = log;
    return ERR_OK;
}

enum err partition_log_open(struct log_dir *dir, const struct partition_log_id *id, const struct log_settings *settings,
                            struct partition_log **ret_log, struct option_problem *ret_problem)
{
    struct uuid found_id;
    struct env *env = log_dir_env(dir);
    char *path = mem_format("%s/%s-%d", log_dir_path(dir), id->topic, (int)id->partition_index);
    enum err err = partition_meta_read(env->fs, path, &found_id);
    if (err != ERR_OK) {
        err = explain(ret_problem, path, "read " PARTITION_META_FILE, err);
    } else if (!uuid_equal(found_id, id->topic_id)) {
        char found_text[UUID_TEXT_BYTES];
        uuid_format(found_id, found_text);
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                       "%.300s belongs to another topic of this name, with id %s", path, found_text);
        err = ERR_STALE;
    }
    mem_free(path);
    return err == ERR_OK ? log_open_state(dir, id, settings, ret_log, ret_problem) : err;
}

/* Everything in a directory of another name, which is then renamed: a crash leaves the whole partition or nothing. The marks say
 * "empty, begins at 0", and that no older checkpoint row of this name counts. */
static enum err make_aside(struct fs *fs, const char *path, const struct partition_log_id *id,
                           const struct log_settings *settings, uint64_t generation)
{
    struct log_marks marks = {
        .producers = MARKS_PRODUCERS_NONE,
        .counts_high_watermark = settings->durability == DURABILITY_SYNCED,
        .cap_offset = 0,
        .cap_generation = generation,
    };
    struct store_path segment = store_path_segment(path, 0, STORE_SUFFIX_LOG);
    struct file *file = NULL;
    enum err err = fs_mkdir(fs, path);
    if (err == ERR_OK) {
        err = fs_open(fs, segment.text, FS_OPEN_WRITE | FS_OPEN_CREATE, &file);
        file_unref(file);
    }
    if (err == ERR_OK) {
        err = partition_meta_write(fs, path, id->topic_id);
    }
    if (err == ERR_OK) {
        err = log_marks_make(fs, path, &marks);
    }
    return err == ERR_OK ? fs_sync_dir(fs, path) : err;
}

enum err partition_log_create(struct log_dir *dir, const struct partition_log_id *id,
                              const struct log_settings *settings, struct partition_log **ret_log,
                              struct option_problem *ret_problem)
{
    struct env *env = log_dir_env(dir);
    struct fs_stat stat;
    char unique[UUID_TEXT_BYTES];
    if (log_dir_is_failed(dir)) {
        return explain(ret_problem, log_dir_path(dir), "create a partition", ERR_IO);
    }
    uuid_format(uuid_random(env->rng), unique);
    char *path = mem_format("%s/%s-%d", log_dir_path(dir), id->topic, (int)id->partition_index);
    char *aside = store_path_marked_dir(path, unique, LOG_DIR_SUFFIX_NEW);
    enum err err = fs_stat(env->fs, path, &stat) == ERR_OK ? ERR_EXISTS : ERR_OK;
    if (err == ERR_OK) {
        err = make_aside(env->fs, aside, id, settings, log_dir_generation(dir));
    }
    if (err == ERR_OK) {
        err = fs_rename(env->fs, aside, path);
    }
    if (err == ERR_OK) {
        err = fs_sync_dir(env->fs, log_dir_path(dir));
    }
    if (err != ERR_OK) {
        (void)explain(ret_problem, path, "create", err);
        if (err != ERR_EXISTS) {
            log_dir_fail(dir, path, err);
        }
    }
    mem_free(path);
    mem_free(aside);
    return err == ERR_OK ? log_open_state(dir, id, settings, ret_log, ret_problem) : err;
}

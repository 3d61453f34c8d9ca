#include "broker/storage/log_dir.h"

#include "broker/storage/log_dir_state.h"
#include "broker/storage/remove_tree.h"
#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define CLEAN_BYTES_MAX 4096u
#define CLEAN_START "{\"version\":0,\"brokerEpoch\":"

__attribute__((format(printf, 3, 4))) static enum err refuse(struct option_problem *problem, enum err err,
                                                             const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(problem->text, sizeof(problem->text), format, arguments);
    va_end(arguments);
    return err;
}

/* What may lie in a directory that has no identity yet: what an interrupted first start, the controller's part of a node, or the file
 * system itself left there. */
static bool is_harmless(const char *name)
{
    return strcmp(name, LOG_DIR_LOCK_FILE) == 0 || strcmp(name, "lost+found") == 0 ||
           strcmp(name, LOG_DIR_META_FILE STORE_SUFFIX_ASIDE) == 0 ||
           strncmp(name, "__cluster_metadata", strlen("__cluster_metadata")) == 0;
}

static enum err check_empty(struct env *env, const char *path, struct option_problem *problem)
{
    struct name_list names;
    enum err err = name_list_read(env->fs, path, &names);
    if (err != ERR_OK) {
        return refuse(problem, err, "can't read the directory %.300s: %s", path, err_text(err));
    }
    for (size_t i = 0; i < names.count && err == ERR_OK; i++) {
        if (!is_harmless(names.names[i])) {
            err = refuse(problem, ERR_INVALID,
                         "%.250s has no meta.properties but other files (%.100s): it is no data directory of Moldau; "
                         "set log.dirs to an empty or new directory",
                         path, names.names[i]);
        }
    }
    name_list_done(&names);
    return err;
}

/* Before anything is changed: is it a directory, and ours or empty? */
static enum err inspect(struct env *env, const char *path, struct log_dir_meta *meta, bool *ret_exists,
                        struct option_problem *problem)
{
    struct fs_stat stat;
    if (strlen(path) > STORE_DIR_BYTES_MAX) {
        return refuse(problem, ERR_LIMIT, "log.dirs: %.100s... is longer than %u bytes", path, STORE_DIR_BYTES_MAX);
    }
    enum err err = fs_stat(env->fs, path, &stat);
    *ret_exists = err == ERR_OK;
    if (err == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return refuse(problem, err, "can't use the directory %.300s: %s", path, err_text(err));
    }
    if (!stat.is_directory) {
        return refuse(problem, ERR_NOT_DIRECTORY, "log.dirs: %.300s is a file, not a directory", path);
    }
    err = log_dir_meta_read(env, path, meta, problem);
    if (err == ERR_NOT_FOUND) {
        err = check_empty(env, path, problem);
    }
    return err;
}

/* The name is made durable also when it is there: an earlier process may have died between making and syncing it, and a power
 * loss would take the whole directory. A parent that can't be opened was not made by us. */
static enum err make_dir(struct log_dir *dir)
{
    enum err err = fs_mkdir(dir->env->fs, dir->path);
    if (err != ERR_OK && err != ERR_EXISTS) {
        return err;
    }
    const char *slash = strrchr(dir->path, '/');
    int parent_bytes = slash == dir->path ? 1 : (int)(slash == NULL ? 0 : slash - dir->path);
    char *parent = slash == NULL ? mem_strdup(".") : mem_format("%.*s", parent_bytes, dir->path);
    err = fs_sync_dir(dir->env->fs, parent);
    mem_free(parent);
    return err == ERR_PERMISSION ? ERR_OK : err;
}

static enum err lock(struct log_dir *dir, bool exists, struct option_problem *problem)
{
    struct store_path path = store_path_join(dir->path, LOG_DIR_LOCK_FILE);
    enum err err = make_dir(dir);
    if (err != ERR_OK) {
        return refuse(problem, err, "can't %s the directory %.300s: %s", exists ? "use" : "make", dir->path,
                      err_text(err));
    }
    err = fs_lock(dir->env->fs, path.text, &dir->lock);
    if (err == ERR_BUSY) {
        return refuse(problem, err, "%.300s is in use by another running process (its file .lock is locked)",
                      dir->path);
    }
    if (err != ERR_OK) {
        return refuse(problem, err, "can't write to the directory %.300s: %s", dir->path, err_text(err));
    }
    return ERR_OK;
}

/* A damaged checkpoint counts as missing: it only ever adds to what recovery may rely on. */
static uint64_t load_checkpoint(struct log_dir *dir, const char *name, struct offset_checkpoint *checkpoint)
{
    struct store_path path = store_path_join(dir->path, name);
    struct bytebuf text;
    uint64_t generation = 0;
    bytebuf_init(&text, SIDE_FILE_BYTES_MAX);
    enum err err = side_file_read(dir->env->fs, path.text, &text);
    if (err == ERR_OK) {
        err = offset_checkpoint_decode(bytebuf_span(&text), checkpoint, &generation);
    }
    if (err != ERR_OK) {
        offset_checkpoint_done(checkpoint);
        generation = 0;
    }
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        log_warn(dir->env->logger, "storage", "checkpoint_ignored", "path=%s error=%s", path.text, err_name(err));
    }
    bytebuf_done(&text);
    return generation;
}

static void load_checkpoints(struct log_dir *dir)
{
    uint64_t generations[3] = {
        load_checkpoint(dir, LOG_DIR_RECOVERY_FILE, &dir->recovery_points),
        load_checkpoint(dir, LOG_DIR_HIGH_WATERMARK_FILE, &dir->high_watermarks),
        load_checkpoint(dir, LOG_DIR_LOG_START_FILE, &dir->log_starts),
    };
    uint64_t newest = 0;
    dir->row_generation = UINT64_MAX;
    for (size_t i = 0; i < ARRAY_COUNT(generations); i++) {
        newest = generations[i] > newest ? generations[i] : newest;
        dir->row_generation = generations[i] < dir->row_generation ? generations[i] : dir->row_generation;
    }
    atomic_init(&dir->generation, newest);
    atomic_init(&dir->written_generation, dir->row_generation);
}

enum err log_dir_inspect(struct env *env, const char *path, struct option_problem *ret_problem)
{
    struct log_dir_meta meta = {0};
    bool exists = false;
    return inspect(env, path, &meta, &exists, ret_problem);
}

enum err log_dir_open(struct env *env, const char *path, struct log_dir **ret_dir, struct option_problem *ret_problem)
{
    struct log_dir *dir = MEM_NEW(struct log_dir);
    bool exists = false;
    dir->env = env;
    size_t path_bytes = strlen(path);
    while (path_bytes > 1 && path[path_bytes - 1] == '/') {
        path_bytes--;
    }
    dir->path = mem_format("%.*s", (int)path_bytes, path);
    atomic_init(&dir->is_failed, false);
    offset_checkpoint_init(&dir->recovery_points);
    offset_checkpoint_init(&dir->high_watermarks);
    offset_checkpoint_init(&dir->log_starts);
    enum err err = inspect(env, path, &dir->meta, &exists, ret_problem);
    if (err == ERR_OK) {
        err = lock(dir, exists, ret_problem);
    }
    if (err != ERR_OK) {
        log_dir_close(dir);
        return err;
    }
    dir->was_new = !dir->meta.exists;
    load_checkpoints(dir);
    *ret_dir = dir;
    return ERR_OK;
}

void log_dir_close(struct log_dir *dir)
{
    if (dir == NULL) {
        return;
    }
    file_unref(dir->lock);
    offset_checkpoint_done(&dir->recovery_points);
    offset_checkpoint_done(&dir->high_watermarks);
    offset_checkpoint_done(&dir->log_starts);
    mem_free(dir->path);
    mem_free(dir);
}

struct file *log_dir_lock(const struct log_dir *dir)
{
    return dir->lock;
}

const char *log_dir_path(const struct log_dir *dir)
{
    return dir->path;
}

const struct log_dir_meta *log_dir_meta(const struct log_dir *dir)
{
    return &dir->meta;
}

struct env *log_dir_env(const struct log_dir *dir)
{
    return dir->env;
}

static bool parse_clean(struct span text, int64_t *ret_broker_epoch)
{
    struct span body;
    size_t start_bytes = strlen(CLEAN_START);
    if (side_text_open(text, &body, NULL) != ERR_OK || body.bytes < start_bytes + 2 ||
        memcmp(body.data, CLEAN_START, start_bytes) != 0) {
        return false;
    }
    struct span number = span_sub(body, start_bytes, body.bytes - start_bytes - 2);
    return side_text_number(&number, ret_broker_epoch) && number.bytes == 0;
}

enum err log_dir_take_clean_mark(struct log_dir *dir, int64_t *ret_broker_epoch)
{
    struct store_path path = store_path_join(dir->path, LOG_DIR_CLEAN_FILE);
    struct bytebuf text;
    int64_t broker_epoch = LOG_DIR_NO_BROKER_EPOCH;
    bytebuf_init(&text, CLEAN_BYTES_MAX);
    enum err err = side_file_read(dir->env->fs, path.text, &text);
    if (err == ERR_OK) {
        dir->was_clean = parse_clean(bytebuf_span(&text), &broker_epoch);
        /* Gone for certain before the first change: the next stop has to earn its own mark. */
        err = fs_unlink(dir->env->fs, path.text);
        err = err == ERR_OK ? fs_sync_dir(dir->env->fs, dir->path) : err;
    } else if (err == ERR_NOT_FOUND) {
        err = ERR_OK;
    }
    bytebuf_done(&text);
    /* A killed process leaves names and bytes that everybody sees and no disk has: what is built on them now must not lose its
     * ground in a power failure later. */
    if (err == ERR_OK && !dir->was_clean && !dir->was_new) {
        err = file_sync_fs(dir->lock);
    }
    if (err == ERR_OK) {
        *ret_broker_epoch = dir->was_clean ? broker_epoch : LOG_DIR_NO_BROKER_EPOCH;
    }
    return err;
}

enum err log_dir_put_clean_mark(struct log_dir *dir, int64_t broker_epoch)
{
    struct store_path path = store_path_join(dir->path, LOG_DIR_CLEAN_FILE);
    struct bytebuf text;
    if (log_dir_is_failed(dir)) {
        return ERR_IO;
    }
    bytebuf_init(&text, CLEAN_BYTES_MAX);
    enum err err = bytebuf_append_format(&text, CLEAN_START "%" PRId64 "}\n", broker_epoch);
    if (err == ERR_OK) {
        err = side_text_seal(&text, 0);
    }
    if (err == ERR_OK) {
        err = side_file_replace(dir->env->fs, dir->path, path.text, bytebuf_span(&text));
    }
    bytebuf_done(&text);
    return err;
}

bool log_dir_was_clean(const struct log_dir *dir)
{
    return dir->was_clean;
}

void log_dir_checkpoint_row(const struct log_dir *dir, const char *topic, int32_t partition_index,
                            struct log_checkpoint_row *ret_row)
{
    *ret_row = (struct log_checkpoint_row){
        .recovery_point_offset = offset_checkpoint_find(&dir->recovery_points, topic, partition_index),
        .high_watermark = offset_checkpoint_find(&dir->high_watermarks, topic, partition_index),
        .log_start_offset = offset_checkpoint_find(&dir->log_starts, topic, partition_index),
    };
}

uint64_t log_dir_row_generation(const struct log_dir *dir)
{
    return dir->row_generation;
}

void log_dir_fail(struct log_dir *dir, const char *what, enum err err)
{
    if (!atomic_exchange(&dir->is_failed, true)) {
        log_error(dir->env->logger, "storage", "log_dir_failed", "path=%s what=\"%s\" error=%s text=\"%s\"", dir->path,
                  what, err_name(err), err_text(err));
    }
}

bool log_dir_is_failed(const struct log_dir *dir)
{
    return atomic_load_explicit(&dir->is_failed, memory_order_relaxed);
}

uint64_t log_dir_written_generation(const struct log_dir *dir)
{
    return atomic_load(&dir->written_generation);
}

uint64_t log_dir_generation(const struct log_dir *dir)
{
    return atomic_load(&dir->generation);
}

enum err log_dir_space(struct log_dir *dir, uint64_t *ret_total_bytes, uint64_t *ret_usable_bytes)
{
    struct fs_space space;
    enum err err = fs_space(dir->env->fs, dir->path, &space);
    if (err == ERR_OK) {
        *ret_total_bytes = space.total_bytes;
        *ret_usable_bytes = space.available_bytes;
    }
    return err;
}

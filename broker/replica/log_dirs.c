#include "broker/replica/log_dirs.h"

#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

#include <stdio.h>
#include <string.h>

static enum err log_dirs_check_distinct(struct env *env, const struct log_dirs *dirs, const char *path,
                                        struct option_problem *ret_problem)
{
    char *real = NULL;
    enum err err = fs_real_path(env->fs, path, &real);
    if (err != ERR_OK) {
        return ERR_OK; /* not there yet: it can't be one of the others */
    }
    for (size_t i = 0; i < dirs->dir_count && err == ERR_OK; i++) {
        char *other = NULL;
        if (fs_real_path(env->fs, log_dir_path(dirs->dirs[i]), &other) == ERR_OK && strcmp(real, other) == 0) {
            (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                           "log.dirs names one directory twice: %s and %s are the same; give each entry its own",
                           log_dir_path(dirs->dirs[i]), path);
            err = ERR_INVALID;
        }
        mem_free(other);
    }
    mem_free(real);
    return err;
}

static enum err log_dirs_open_one(struct env *env, struct log_dirs *dirs, const char *path,
                                  struct option_problem *ret_problem)
{
    if (dirs->dir_count == LOG_DIRS_MAX) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                       "log.dirs has more than %d directories; name fewer", LOG_DIRS_MAX);
        return ERR_LIMIT;
    }
    enum err err = log_dirs_check_distinct(env, dirs, path, ret_problem);
    if (err != ERR_OK) {
        return err;
    }
    struct log_dir *dir = NULL;
    err = log_dir_open(env, path, &dir, ret_problem);
    if (err == ERR_OK) {
        dirs->dirs[dirs->dir_count++] = dir;
    }
    return err;
}

enum err log_dirs_open(struct env *env, const char *paths, struct log_dirs **ret_dirs,
                       struct option_problem *ret_problem)
{
    struct log_dirs *dirs = MEM_NEW(struct log_dirs);
    char *copy = mem_strdup(paths);
    char *rest = NULL;
    enum err err = ERR_OK;
    for (char *path = strtok_r(copy, ",", &rest); path != NULL && err == ERR_OK; path = strtok_r(NULL, ",", &rest)) {
        path += strspn(path, " \t");
        if (path[0] != '\0') {
            err = log_dirs_open_one(env, dirs, path, ret_problem);
        }
    }
    mem_free(copy);
    if (err == ERR_OK && dirs->dir_count == 0) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                       "log.dirs is empty; name at least one directory, as in log.dirs=./moldau-data");
        err = ERR_INVALID;
    }
    if (err != ERR_OK) {
        log_dirs_close(dirs);
        return err;
    }
    *ret_dirs = dirs;
    return ERR_OK;
}

void log_dirs_close(struct log_dirs *dirs)
{
    if (dirs == NULL) {
        return;
    }
    for (size_t i = 0; i < dirs->dir_count; i++) {
        log_dir_close(dirs->dirs[i]);
    }
    mem_free(dirs);
}

bool log_dirs_cluster_id(const struct log_dirs *dirs, char ret_cluster_id[LOG_DIR_CLUSTER_ID_BYTES])
{
    for (size_t i = 0; i < dirs->dir_count; i++) {
        const struct log_dir_meta *meta = log_dir_meta(dirs->dirs[i]);
        if (meta->exists) {
            memcpy(ret_cluster_id, meta->cluster_id, LOG_DIR_CLUSTER_ID_BYTES);
            return true;
        }
    }
    return false;
}

enum err log_dirs_check_identity(const struct log_dirs *dirs, const char *cluster_id, int32_t node_id,
                                 struct option_problem *ret_problem)
{
    for (size_t i = 0; i < dirs->dir_count; i++) {
        enum err err = log_dir_check_identity(dirs->dirs[i], cluster_id, node_id, ret_problem);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

enum err log_dirs_identify(struct log_dirs *dirs, const char *cluster_id, int32_t node_id,
                           struct option_problem *ret_problem)
{
    enum err checked = log_dirs_check_identity(dirs, cluster_id, node_id, ret_problem);
    if (checked != ERR_OK) {
        return checked;
    }
    for (size_t i = 0; i < dirs->dir_count; i++) {
        if (log_dir_meta(dirs->dirs[i])->exists) {
            continue;
        }
        enum err err = log_dir_form(dirs->dirs[i], cluster_id, node_id, NULL, ret_problem);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

struct log_dir *log_dirs_find(const struct log_dirs *dirs, struct uuid directory_id)
{
    for (size_t i = 0; i < dirs->dir_count; i++) {
        if (uuid_equal(log_dir_meta(dirs->dirs[i])->directory_id, directory_id)) {
            return dirs->dirs[i];
        }
    }
    return NULL;
}

bool log_dirs_take_clean_marks(struct log_dirs *dirs, int64_t *ret_broker_epoch)
{
    bool is_clean = true;
    *ret_broker_epoch = LOG_DIR_NO_BROKER_EPOCH;
    for (size_t i = 0; i < dirs->dir_count; i++) {
        int64_t broker_epoch = LOG_DIR_NO_BROKER_EPOCH;
        enum err err = log_dir_take_clean_mark(dirs->dirs[i], &broker_epoch);
        if (err != ERR_OK) {
            log_dir_fail(dirs->dirs[i], "removing the clean-shutdown mark", err);
        }
        if (err != ERR_OK || broker_epoch == LOG_DIR_NO_BROKER_EPOCH) {
            is_clean = false;
        } else {
            *ret_broker_epoch = broker_epoch;
        }
    }
    if (!is_clean) {
        *ret_broker_epoch = LOG_DIR_NO_BROKER_EPOCH;
    }
    return is_clean;
}

enum err log_dirs_put_clean_marks(struct log_dirs *dirs, int64_t broker_epoch)
{
    enum err first = ERR_OK;
    for (size_t i = 0; i < dirs->dir_count; i++) {
        if (log_dir_is_failed(dirs->dirs[i])) {
            continue;
        }
        enum err err = log_dir_put_clean_mark(dirs->dirs[i], broker_epoch);
        if (first == ERR_OK) {
            first = err;
        }
    }
    return first;
}

bool log_dirs_all_failed(const struct log_dirs *dirs)
{
    for (size_t i = 0; i < dirs->dir_count; i++) {
        if (!log_dir_is_failed(dirs->dirs[i])) {
            return false;
        }
    }
    return true;
}

#include "broker/replica/log_dirs.h"

#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

#include <stdio.h>
#include <string.h>

/* The entries of log.dirs, and what each is called in full. */
struct log_dirs_entries {
    char *copy; /* that `paths` point into */
    const char *paths[LOG_DIRS_MAX];
    char *full_names[LOG_DIRS_MAX];
    size_t count;
};

static void log_dirs_entries_done(struct log_dirs_entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        mem_free(entries->full_names[i]);
    }
    mem_free(entries->copy);
}

/* One name for one directory, also when it does not exist yet: then its parent's name in full, and its own. */
static char *log_dirs_full_name(struct env *env, const char *path)
{
    char *full_name = NULL;
    if (fs_real_path(env->fs, path, &full_name) == ERR_OK) {
        return full_name;
    }
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/') {
        bytes--;
    }
    char *trimmed = mem_format("%.*s", (int)bytes, path);
    char *slash = strrchr(trimmed, '/');
    const char *name = slash == NULL ? trimmed : slash + 1;
    char *parent_path = slash == NULL ? mem_strdup(".") : mem_format("%.*s", (int)(slash + 1 - trimmed), trimmed);
    char *parent = NULL;
    if (fs_real_path(env->fs, parent_path, &parent) == ERR_OK) {
        full_name = mem_format("%s/%s", parent, name);
        mem_free(parent);
    } else {
        full_name = mem_strdup(trimmed); /* log_dir_open will say what is wrong with it */
    }
    mem_free(parent_path);
    mem_free(trimmed);
    return full_name;
}

static enum err log_dirs_add_entry(struct env *env, struct log_dirs_entries *entries, const char *path,
                                   struct option_problem *ret_problem)
{
    if (entries->count == LOG_DIRS_MAX) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                       "log.dirs has more than %d directories; name fewer", LOG_DIRS_MAX);
        return ERR_LIMIT;
    }
    entries->paths[entries->count] = path;
    char *full_name = log_dirs_full_name(env, path);
    entries->full_names[entries->count++] = full_name;
    for (size_t i = 0; i + 1 < entries->count; i++) {
        if (strcmp(entries->full_names[i], full_name) == 0) {
            (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                           "log.dirs names one directory twice: %s and %s are the same; give each entry its own",
                           entries->paths[i], path);
            return ERR_INVALID;
        }
    }
    return log_dir_inspect(env, path, ret_problem);
}

/* Looks at every entry before the first is made or locked: a start that is refused leaves no trace. */
static enum err log_dirs_look(struct env *env, const char *paths, struct log_dirs_entries *entries,
                              struct option_problem *ret_problem)
{
    char *rest = NULL;
    enum err err = ERR_OK;
    *entries = (struct log_dirs_entries){.copy = mem_strdup(paths)};
    for (char *path = strtok_r(entries->copy, ",", &rest); path != NULL && err == ERR_OK;
         path = strtok_r(NULL, ",", &rest)) {
        path += strspn(path, " \t");
        if (path[0] != '\0') {
            err = log_dirs_add_entry(env, entries, path, ret_problem);
        }
    }
    if (err == ERR_OK && entries->count == 0) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                       "log.dirs is empty; name at least one directory, as in log.dirs=./moldau-data");
        err = ERR_INVALID;
    }
    return err;
}

enum err log_dirs_open(struct env *env, const char *paths, struct log_dirs **ret_dirs,
                       struct option_problem *ret_problem)
{
    struct log_dirs_entries entries;
    struct log_dirs *dirs = MEM_NEW(struct log_dirs);
    enum err err = log_dirs_look(env, paths, &entries, ret_problem);
    for (size_t i = 0; i < entries.count && err == ERR_OK; i++) {
        err = log_dir_open(env, entries.paths[i], &dirs->dirs[i], ret_problem);
        dirs->dir_count += err == ERR_OK ? 1 : 0;
    }
    log_dirs_entries_done(&entries);
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

/* The partition directories of a log directory, and those on their way in or out. */
#include "broker/storage/log_open.h"
#include "broker/storage/partition_meta.h"
#include "broker/storage/remove_tree.h"
#include "broker/storage/store_path.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"
#include "common/uuid.h"

#include <stdlib.h>

static bool ends_with(const char *name, const char *suffix)
{
    size_t name_bytes = strlen(name);
    size_t suffix_bytes = strlen(suffix);
    return name_bytes > suffix_bytes && memcmp(name + name_bytes - suffix_bytes, suffix, suffix_bytes) == 0;
}

/* TOPIC-N; topic names may hold '-' themselves, so the last one counts. */
static bool parse_name(const char *name, char **ret_topic, int32_t *ret_partition_index)
{
    const char *dash = strrchr(name, '-');
    int64_t index = 0;
    if (dash == NULL || dash == name || (size_t)(dash - name) > LOG_TOPIC_NAME_BYTES_MAX || dash[1] == '\0' ||
        (dash[1] == '0' && dash[2] != '\0')) {
        return false;
    }
    for (const char *digit = dash + 1; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9' || index > INT32_MAX / 10) {
            return false;
        }
        index = index * 10 + (*digit - '0');
    }
    if (index > INT32_MAX) {
        return false;
    }
    *ret_topic = mem_format("%.*s", (int)(dash - name), name);
    *ret_partition_index = (int32_t)index;
    return true;
}

static int compare_partitions(const void *a, const void *b)
{
    const struct log_dir_partition *left = a;
    const struct log_dir_partition *right = b;
    int order = strcmp(left->topic, right->topic);
    return order != 0
               ? order
               : (left->partition_index > right->partition_index) - (left->partition_index < right->partition_index);
}

static enum err add_partition(struct log_dir *dir, const char *name, struct log_dir_partition *partition)
{
    struct store_path path = store_path_join(log_dir_path(dir), name);
    enum err err = partition_meta_read(log_dir_env(dir)->fs, path.text, &partition->topic_id);
    if (err != ERR_OK) {
        log_warn(log_dir_env(dir)->logger, "storage", "partition_without_id", "path=%s error=%s", path.text,
                 err_name(err));
        partition->topic_id = UUID_ZERO;
    }
    return err == ERR_IO ? err : ERR_OK;
}

static enum err remove_leftover(struct log_dir *dir, const char *name)
{
    struct store_path path = store_path_join(log_dir_path(dir), name);
    return remove_tree(log_dir_env(dir)->fs, path.text);
}

enum err log_dir_list(struct log_dir *dir, struct log_dir_partition **ret_partitions, size_t *ret_count)
{
    struct name_list names;
    size_t count = 0;
    enum err err = name_list_read(log_dir_env(dir)->fs, log_dir_path(dir), &names);
    if (err != ERR_OK) {
        return err;
    }
    if (names.count > LOG_DIR_PARTITIONS_MAX) {
        name_list_done(&names);
        return ERR_LIMIT;
    }
    struct log_dir_partition *partitions = mem_array(names.count + 1, sizeof(*partitions));
    for (size_t i = 0; i < names.count && err == ERR_OK; i++) {
        const char *name = names.names[i];
        struct log_dir_partition *partition = &partitions[count];
        if (ends_with(name, LOG_DIR_SUFFIX_DELETE) || ends_with(name, LOG_DIR_SUFFIX_NEW)) {
            err = remove_leftover(dir, name);
        } else if (parse_name(name, &partition->topic, &partition->partition_index)) {
            count++;
            err = add_partition(dir, name, partition);
        }
    }
    name_list_done(&names);
    if (err != ERR_OK) {
        log_dir_partitions_free(partitions, count);
        return err;
    }
    qsort(partitions, count, sizeof(*partitions), compare_partitions);
    *ret_partitions = partitions;
    *ret_count = count;
    return ERR_OK;
}

void log_dir_partitions_free(struct log_dir_partition *partitions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mem_free(partitions[i].topic);
    }
    mem_free(partitions);
}

enum err log_dir_mark_stray(struct log_dir *dir, const char *topic, int32_t partition_index)
{
    struct env *env = log_dir_env(dir);
    char unique[UUID_TEXT_BYTES];
    uuid_format(uuid_random(env->rng), unique);
    char *path = mem_format("%s/%s-%d", log_dir_path(dir), topic, (int)partition_index);
    char *stray = store_path_marked_dir(path, unique, LOG_DIR_SUFFIX_STRAY);
    enum err err = fs_rename(env->fs, path, stray);
    if (err == ERR_OK) {
        err = fs_sync_dir(env->fs, log_dir_path(dir));
    }
    if (err == ERR_OK) {
        log_warn(env->logger, "storage", "partition_stray", "from=%s to=%s", path, stray);
    }
    mem_free(path);
    mem_free(stray);
    return err;
}

enum err log_dir_remove_strays(struct log_dir *dir, int64_t older_than_ms)
{
    struct env *env = log_dir_env(dir);
    struct name_list names;
    enum err err = name_list_read(env->fs, log_dir_path(dir), &names);
    if (err != ERR_OK) {
        return err;
    }
    for (size_t i = 0; i < names.count && err == ERR_OK; i++) {
        struct store_path path = store_path_join(log_dir_path(dir), names.names[i]);
        struct fs_stat stat;
        if (ends_with(names.names[i], LOG_DIR_SUFFIX_STRAY) && fs_stat(env->fs, path.text, &stat) == ERR_OK &&
            stat.modified_ms < older_than_ms) {
            log_warn(env->logger, "storage", "stray_removed", "path=%s", path.text);
            err = remove_tree(env->fs, path.text);
        }
    }
    name_list_done(&names);
    return err;
}

/* meta.properties: whose directory this is. */
#include "broker/storage/log_dir_state.h"
#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

#include <inttypes.h>
#include <stdio.h>

#define META_BYTES_MAX 4096u
#define META_VERSION "1"

static bool value_of(struct span body, const char *name, struct span *ret_value)
{
    struct span line;
    size_t name_bytes = strlen(name);
    while (side_text_line(&body, &line)) {
        if (line.bytes > name_bytes && line.data[name_bytes] == '=' && memcmp(line.data, name, name_bytes) == 0) {
            *ret_value = span_sub(line, name_bytes + 1, line.bytes - name_bytes - 1);
            return true;
        }
    }
    return false;
}

static enum err decode(struct span text, struct log_dir_meta *ret_meta)
{
    struct span body;
    struct span value;
    int64_t node_id = 0;
    struct log_dir_meta meta = {.exists = true};
    enum err err = side_text_open(text, &body, NULL);
    if (err != ERR_OK) {
        return err;
    }
    if (!value_of(body, "version", &value) || !span_equal_text(value, META_VERSION)) {
        return ERR_UNSUPPORTED;
    }
    if (!value_of(body, "cluster.id", &value) || value.bytes == 0 || value.bytes >= LOG_DIR_CLUSTER_ID_BYTES ||
        memchr(value.data, '\0', value.bytes) != NULL) {
        return ERR_CORRUPT;
    }
    memcpy(meta.cluster_id, value.data, value.bytes);
    if (!value_of(body, "node.id", &value) || !side_text_number(&value, &node_id) || value.bytes != 0 || node_id < 0 ||
        node_id > INT32_MAX) {
        return ERR_CORRUPT;
    }
    meta.node_id = (int32_t)node_id;
    if (!value_of(body, "directory.id", &value) || uuid_parse(value, &meta.directory_id) != ERR_OK) {
        return ERR_CORRUPT;
    }
    *ret_meta = meta;
    return ERR_OK;
}

enum err log_dir_meta_read(struct env *env, const char *path, struct log_dir_meta *ret_meta,
                           struct option_problem *ret_problem)
{
    struct store_path file = store_path_join(path, LOG_DIR_META_FILE);
    struct bytebuf text;
    bytebuf_init(&text, META_BYTES_MAX);
    enum err err = side_file_read(env->fs, file.text, &text);
    if (err == ERR_OK) {
        err = decode(bytebuf_span(&text), ret_meta);
        if (err != ERR_OK) {
            (void)snprintf(
                ret_problem->text, sizeof(ret_problem->text),
                "%.300s is not a meta.properties that Moldau wrote (%s); restore it from a copy, or use another "
                "directory",
                file.text, err_text(err));
        }
    } else if (err != ERR_NOT_FOUND) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text), "can't read %.300s: %s", file.text, err_text(err));
    }
    bytebuf_done(&text);
    return err;
}

enum err log_dir_check_identity(const struct log_dir *dir, const char *cluster_id, int32_t node_id,
                                struct option_problem *ret_problem)
{
    if (!dir->meta.exists) {
        return ERR_OK;
    }
    if (strcmp(dir->meta.cluster_id, cluster_id) != 0) {
        (void)snprintf(
            ret_problem->text, sizeof(ret_problem->text),
            "%.200s belongs to cluster %s, this is cluster %.64s; set log.dirs to a directory of this cluster "
            "or to an empty one",
            dir->path, dir->meta.cluster_id, cluster_id);
        return ERR_INVALID;
    }
    if (dir->meta.node_id != node_id) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                       "%.200s belongs to node %" PRId32 ", this is node %" PRId32 "; set node.id=%" PRId32
                       " or use another directory",
                       dir->path, dir->meta.node_id, node_id, dir->meta.node_id);
        return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err encode(const struct log_dir_meta *meta, struct bytebuf *text)
{
    char id_text[UUID_TEXT_BYTES];
    uuid_format(meta->directory_id, id_text);
    enum err err =
        bytebuf_append_format(text, "version=" META_VERSION "\ncluster.id=%s\nnode.id=%" PRId32 "\ndirectory.id=%s\n",
                              meta->cluster_id, meta->node_id, id_text);
    return err == ERR_OK ? side_text_seal(text, 0) : err;
}

enum err log_dir_form(struct log_dir *dir, const char *cluster_id, int32_t node_id, const struct uuid *directory_id,
                      struct option_problem *ret_problem)
{
    struct log_dir_meta meta = {.exists = true, .node_id = node_id};
    struct store_path path = store_path_join(dir->path, LOG_DIR_META_FILE);
    struct bytebuf text;
    size_t cluster_id_bytes = strlen(cluster_id);
    CHECK(!dir->meta.exists && cluster_id_bytes > 0 && cluster_id_bytes < LOG_DIR_CLUSTER_ID_BYTES);
    memcpy(meta.cluster_id, cluster_id, cluster_id_bytes);
    meta.directory_id = directory_id != NULL ? *directory_id : uuid_random(dir->env->rng);
    bytebuf_init(&text, META_BYTES_MAX);
    enum err err = encode(&meta, &text);
    if (err == ERR_OK) {
        err = side_file_replace(dir->env->fs, dir->path, path.text, bytebuf_span(&text));
    }
    bytebuf_done(&text);
    if (err != ERR_OK) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text), "can't write %.300s: %s", path.text,
                       err_text(err));
        return err;
    }
    dir->meta = meta;
    return ERR_OK;
}

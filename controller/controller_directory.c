#include "controller/controller_directory.h"

#include "common/crc32c.h"
#include "common/mem.h"
#include "common/seam/rng.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LOCK_NAME "moldau-metadata.lock"
#define MARK_NAME "moldau-metadata.mark"
#define MARK_BYTES_MAX (3u * CONTROLLER_CONFIGURATION_BYTES_MAX)
#define MARK_HEAD "version=1\nnode.id=%" PRId32 "\ndirectory.id=%s\ncluster.id=%s\nformed=%d\nconfiguration="

static enum err say(struct option_problem *problem, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum err say(struct option_problem *problem, enum err err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(problem->text, sizeof(problem->text), format, arguments);
    va_end(arguments);
    return err;
}

/* ---- the mark ---- */

static enum err replace_file(struct fs *fs, const char *dir, const char *name, struct span text)
{
    char *path = mem_format("%s/%s", dir, name);
    char *aside = mem_format("%s/%s.tmp", dir, name);
    struct file *file = NULL;
    enum err err = fs_open(fs, aside, FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_TRUNCATE, &file);
    if (err == ERR_OK) {
        err = file_pwritev(file, &text, 1, 0);
        err = err == ERR_OK ? file_sync(file) : err;
        file_unref(file);
    }
    err = err == ERR_OK ? fs_rename(fs, aside, path) : err;
    err = err == ERR_OK ? fs_sync_dir(fs, dir) : err;
    mem_free(path);
    mem_free(aside);
    return err;
}

static enum err write_mark(struct fs *fs, const struct controller_directory *directory, int32_t node_id,
                           struct option_problem *problem)
{
    struct bytebuf text;
    char id[UUID_TEXT_BYTES];
    struct span configuration = bytebuf_span(&directory->configuration);
    uuid_format(directory->id, id);
    bytebuf_init(&text, MARK_BYTES_MAX);
    enum err err = bytebuf_append_format(&text, MARK_HEAD, node_id, id,
                                         directory->cluster_id[0] == '\0' ? "-" : directory->cluster_id,
                                         directory->is_formed ? 1 : 0);
    for (size_t i = 0; i < configuration.bytes && err == ERR_OK; i++) {
        err = bytebuf_append_format(&text, "%02x", configuration.data[i]);
    }
    err = err == ERR_OK ? bytebuf_append_format(&text, "%s\n", configuration.bytes == 0 ? "-" : "") : err;
    uint32_t crc = crc32c(0, bytebuf_span(&text));
    err = err == ERR_OK ? bytebuf_append_format(&text, "crc=%08" PRIx32 "\n", crc) : err;
    CHECK(err == ERR_OK); /* bounded by CONTROLLER_CONFIGURATION_BYTES_MAX */
    err = replace_file(fs, directory->path, MARK_NAME, bytebuf_span(&text));
    bytebuf_done(&text);
    return err == ERR_OK ? ERR_OK
                         : say(problem, err, "can't write " MARK_NAME " to the metadata directory %s: %s",
                               directory->path, err_text(err));
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* "-" or hexadecimal digits, up to the end of the line. */
static bool parse_configuration(const char *text, struct bytebuf *ret_bytes)
{
    if (text[0] == '-') {
        return text[1] == '\n';
    }
    for (; text[0] != '\n'; text += 2) {
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);
        uint8_t byte = (uint8_t)((high & 15) << 4 | (low & 15));
        if (low < 0 || bytebuf_append(ret_bytes, span_make(&byte, 1)) != ERR_OK) {
            return false;
        }
    }
    return true;
}

static bool parse_mark(const char *text, size_t bytes, struct controller_directory *directory, int32_t *ret_node_id)
{
    char id[UUID_TEXT_BYTES];
    char cluster[UUID_TEXT_BYTES];
    int is_formed = 0;
    uint32_t crc = 0;
    const char *crc_line = strstr(text, "\ncrc=");
    const char *configuration = strstr(text, "\nconfiguration=");
    if (crc_line == NULL || configuration == NULL || strlen(text) != bytes ||
        sscanf(crc_line, "\ncrc=%8" SCNx32, &crc) != 1 ||
        crc != crc32c(0, span_make(text, (size_t)(crc_line + 1 - text))) ||
        sscanf(text, "version=1\nnode.id=%" SCNd32 "\ndirectory.id=%22s\ncluster.id=%22s\nformed=%d\n", ret_node_id, id,
               cluster, &is_formed) != 4 ||
        uuid_parse(span_text(id), &directory->id) != ERR_OK ||
        !parse_configuration(configuration + strlen("\nconfiguration="), &directory->configuration)) {
        return false;
    }
    directory->is_formed = is_formed != 0;
    (void)snprintf(directory->cluster_id, sizeof(directory->cluster_id), "%s",
                   strcmp(cluster, "-") == 0 ? "" : cluster);
    return true;
}

/* ERR_NOT_FOUND: there is none. */
static enum err read_mark(struct fs *fs, struct controller_directory *directory, int32_t *ret_node_id,
                          struct option_problem *problem)
{
    char *path = mem_format("%s/" MARK_NAME, directory->path);
    struct file *file = NULL;
    uint64_t bytes = 0;
    size_t read_bytes = 0;
    char *text = NULL;
    enum err err = fs_open(fs, path, FS_OPEN_READ, &file);
    if (err == ERR_OK) {
        err = file_size(file, &bytes);
    }
    if (err == ERR_OK) {
        bytes = bytes > MARK_BYTES_MAX ? MARK_BYTES_MAX : bytes;
        text = (char *)mem_zalloc((size_t)bytes + 1);
        err = file_pread(file, text, (size_t)bytes, 0, &read_bytes);
    }
    if (err == ERR_OK && !parse_mark(text, read_bytes, directory, ret_node_id)) {
        err = say(problem, ERR_CORRUPT,
                  "%s is damaged: restore the metadata directory, or empty it and admit this node anew (moldau cluster "
                  "add-controller)",
                  path);
    } else if (err != ERR_OK && err != ERR_NOT_FOUND) {
        err = say(problem, err, "can't read %s: %s", path, err_text(err));
    }
    file_unref(file);
    mem_free(text);
    mem_free(path);
    return err;
}

/* ---- directories ---- */

/* The name of what was just made is durable; one that may not be synced belongs to others and was there before. */
static enum err sync_parent(struct fs *fs, const char *path)
{
    const char *slash = strrchr(path, '/');
    int parent_bytes = slash == path ? 1 : (int)(slash == NULL ? 0 : slash - path);
    char *parent = slash == NULL ? mem_strdup(".") : mem_format("%.*s", parent_bytes, path);
    enum err err = fs_sync_dir(fs, parent);
    mem_free(parent);
    return err == ERR_PERMISSION ? ERR_OK : err;
}

/* Makes the directory with its parents; existing ones are fine. Names that an earlier start made and did not live to sync
 * are synced as well: a log below a name that a power failure takes away is no log. */
static enum err make_directories(struct fs *fs, const char *path)
{
    char *part = mem_strdup(path);
    enum err err = ERR_OK;
    for (char *at = part + 1; err == ERR_OK; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        bool is_end = *at == '\0';
        *at = '\0';
        err = fs_mkdir(fs, part);
        err = err == ERR_EXISTS ? ERR_OK : err;
        err = err == ERR_OK ? sync_parent(fs, part) : err;
        if (is_end) {
            break;
        }
        *at = '/';
    }
    mem_free(part);
    return err;
}

static enum err lock_directory(struct fs *fs, struct controller_directory *directory, struct option_problem *problem)
{
    enum err err = make_directories(fs, directory->path);
    if (err != ERR_OK) {
        return say(problem, err, "can't make the metadata directory %s: %s", directory->path, err_text(err));
    }
    char *path = mem_format("%s/" LOCK_NAME, directory->path);
    err = fs_lock(fs, path, &directory->lock);
    mem_free(path);
    if (err == ERR_BUSY) {
        return say(problem, err,
                   "the metadata directory %s is in use by another process: stop it, or choose another "
                   "directory (metadata.log.dir, log.dirs)",
                   directory->path);
    }
    /* A mark or a log that an earlier process was killed behind, before it synced their names: others will be told what they say. */
    err = err == ERR_OK ? fs_sync_dir(fs, directory->path) : err;
    return err == ERR_OK
               ? ERR_OK
               : say(problem, err, "can't write to the metadata directory %s: %s", directory->path, err_text(err));
}

/* ---- whose is it? ---- */

static enum err check_node(const struct controller_options *options, int32_t node_id, struct option_problem *problem)
{
    if (node_id == options->node_id) {
        return ERR_OK;
    }
    return say(problem, ERR_INVALID,
               "the metadata in %s belongs to node %" PRId32 ", but node.id is %" PRId32 ": set node.id=%" PRId32
               ", or choose another metadata.log.dir",
               options->metadata_dir, node_id, options->node_id, node_id);
}

static enum err check_cluster(const struct controller_options *options, const char *cluster_id,
                              struct option_problem *problem)
{
    if (options->known_cluster_id == NULL || strcmp(options->known_cluster_id, cluster_id) == 0) {
        return ERR_OK;
    }
    return say(problem, ERR_INVALID,
               "the metadata in %s is of cluster %s, but the log directory %s is of cluster %s: give this node the "
               "directories of one cluster",
               options->metadata_dir, cluster_id, options->known_cluster_dir, options->known_cluster_id);
}

static enum err refuse_lost(const struct controller_options *options, struct option_problem *problem)
{
    return say(problem, ERR_INVALID,
               "the log directory %s belongs to cluster %s, but %s holds no metadata: it was lost or "
               "metadata.log.dir points elsewhere; restore it (a new cluster is only formed with empty directories)",
               options->known_cluster_dir, options->known_cluster_id, options->metadata_dir);
}

static enum err refuse_emptied(const struct controller_directory *directory, struct option_problem *problem)
{
    return say(
        problem, ERR_CORRUPT,
        "the metadata directory %s was formed as part of cluster %s, but its log (%s) is gone: restore it; or, if "
        "the other controllers are alive, remove %s/" MARK_NAME
        " and admit this node anew with the command that it will print",
        directory->path, directory->cluster_id, directory->log_directory, directory->path);
}

/* ---- opening ---- */

static enum err open_formed(struct env *env, const struct controller_options *options,
                            struct controller_directory *directory, bool has_mark, struct quorum_identity *ret_identity,
                            struct option_problem *problem)
{
    enum err err = quorum_log_read_identity(env->fs, directory->log_directory, ret_identity, problem);
    if (err == ERR_OK) {
        err = check_node(options, ret_identity->node_id, problem);
    }
    if (err == ERR_OK) {
        err = check_cluster(options, ret_identity->cluster_id, problem);
    }
    if (err == ERR_OK && has_mark && !uuid_equal(directory->id, ret_identity->directory_id)) {
        err = say(problem, ERR_CORRUPT,
                  "the log in %s was made for another directory: it was copied; empty the metadata directory and admit "
                  "this node anew",
                  directory->log_directory);
    }
    if (err == ERR_OK && !directory->is_formed) { /* the process ended between the log and its mark */
        directory->id = ret_identity->directory_id;
        directory->is_formed = true;
        (void)snprintf(directory->cluster_id, sizeof(directory->cluster_id), "%s", ret_identity->cluster_id);
        err = write_mark(env->fs, directory, options->node_id, problem);
    }
    return err;
}

static enum err open_new(struct env *env, const struct controller_options *options,
                         struct controller_directory *directory, bool has_mark, struct option_problem *problem)
{
    if (directory->is_formed) {
        return refuse_emptied(directory, problem);
    }
    directory->cluster_id[0] = '\0'; /* an intent that came to nothing */
    bytebuf_clear(&directory->configuration);
    if (has_mark) {
        return ERR_OK;
    }
    while (quorum_raft_id_of(directory->id) == 0) {
        directory->id = uuid_random(env->rng);
    }
    return directory->is_alone ? ERR_OK : write_mark(env->fs, directory, options->node_id, problem);
}

enum err controller_directory_open(struct env *env, const struct controller_options *options, bool is_alone,
                                   struct controller_directory *ret_directory, struct quorum_identity *ret_identity,
                                   struct option_problem *ret_problem)
{
    struct controller_directory directory = {.path = options->metadata_dir, .is_alone = is_alone};
    bool exists = false;
    bool has_mark = false;
    int32_t node_id = options->node_id;
    bytebuf_init(&directory.configuration, CONTROLLER_CONFIGURATION_BYTES_MAX);
    directory.log_directory = mem_format("%s/" CONTROLLER_DIRECTORY_NAME, options->metadata_dir);
    enum err err = ERR_OK;
    if (is_alone && options->known_cluster_id != NULL &&
        quorum_log_exists(env->fs, directory.log_directory, &exists) == ERR_OK && !exists) {
        err = refuse_lost(options, ret_problem);
    }
    err = err == ERR_OK ? lock_directory(env->fs, &directory, ret_problem) : err;
    if (err == ERR_OK && quorum_log_exists(env->fs, directory.log_directory, &exists) != ERR_OK) {
        err = say(ret_problem, ERR_IO, "can't look into %s", directory.log_directory);
    }
    if (err == ERR_OK) {
        err = read_mark(env->fs, &directory, &node_id, ret_problem);
        has_mark = err == ERR_OK;
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    err = err == ERR_OK ? check_node(options, node_id, ret_problem) : err;
    if (err == ERR_OK) {
        err = exists ? open_formed(env, options, &directory, has_mark, ret_identity, ret_problem)
                     : open_new(env, options, &directory, has_mark, ret_problem);
    }
    if (err != ERR_OK) {
        controller_directory_close(&directory);
        return err;
    }
    *ret_directory = directory;
    return ERR_OK;
}

enum err controller_directory_form(struct fs *fs, struct controller_directory *directory,
                                   const struct quorum_identity *identity, struct span configuration,
                                   struct option_problem *ret_problem)
{
    struct controller_directory formed = *directory;
    bytebuf_init(&formed.configuration, CONTROLLER_CONFIGURATION_BYTES_MAX);
    (void)snprintf(formed.cluster_id, sizeof(formed.cluster_id), "%s", identity->cluster_id);
    enum err err = ERR_OK;
    if (!span_is_null(configuration)) {
        err = bytebuf_append(&formed.configuration, configuration);
    }
    if (err != ERR_OK) {
        err = say(ret_problem, err, "the first configuration has %zu bytes", configuration.bytes);
    }
    if (err == ERR_OK && !directory->is_alone) {
        err = write_mark(fs, &formed, identity->node_id, ret_problem);
    }
    err = err == ERR_OK ? quorum_log_form(fs, directory->log_directory, identity, configuration, ret_problem) : err;
    formed.is_formed = true;
    err = err == ERR_OK ? write_mark(fs, &formed, identity->node_id, ret_problem) : err;
    if (err != ERR_OK) {
        bytebuf_done(&formed.configuration);
        return err;
    }
    /* Not the id: other threads read it, and it is the same. */
    bytebuf_done(&directory->configuration);
    directory->configuration = formed.configuration;
    memcpy(directory->cluster_id, formed.cluster_id, sizeof(directory->cluster_id));
    directory->is_formed = true;
    return ERR_OK;
}

void controller_directory_close(struct controller_directory *directory)
{
    mem_free(directory->log_directory);
    file_unref(directory->lock);
    bytebuf_done(&directory->configuration);
    *directory = (struct controller_directory){0};
}

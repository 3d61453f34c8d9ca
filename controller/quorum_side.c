/* Side files of the quorum's log: identity, term and vote, snapshots. Each is written aside, synced and renamed, so it is whole or
 * not there; its checksum tells damage that came later. Plus formation, which does the same to the whole directory. */
#include "common/big_endian.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "controller/quorum_log_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SIDE_FILE_BYTES_MAX 4096

/* term: "MLDTERM1", term (8), vote (8), CRC-32C (4) */
#define TERM_MAGIC "MLDTERM1"
#define TERM_BYTES 28

/* snapshot: "MLDSNAP2", index (8), term (8), configuration index (8), bytes of the configuration (4), bytes of the data (8), flags (4),
 * configuration, data, CRC-32C of all before (4). Flag 1: installed, so a log that begins at or below it is void. */
#define SNAPSHOT_MAGIC "MLDSNAP2"
#define SNAPSHOT_HEADER_BYTES 48
#define SNAPSHOT_INSTALLED 1u

enum err quorum_read_file(struct fs *fs, const char *path, size_t bytes_max, uint8_t **ret_bytes, size_t *ret_count)
{
    struct file *file = NULL;
    enum err err = fs_open(fs, path, FS_OPEN_READ, &file);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t bytes = 0;
    err = file_size(file, &bytes);
    if (err == ERR_OK && bytes > bytes_max) {
        err = ERR_LIMIT;
    }
    if (err == ERR_OK) {
        uint8_t *content = (uint8_t *)mem_alloc((size_t)bytes + 1);
        size_t read_bytes = 0;
        err = file_pread(file, content, (size_t)bytes, 0, &read_bytes);
        if (err == ERR_OK && read_bytes == bytes) {
            content[bytes] = 0;
            *ret_bytes = content;
            *ret_count = (size_t)bytes;
        } else {
            err = err == ERR_OK ? ERR_IO : err;
            mem_free(content);
        }
    }
    file_unref(file);
    return err;
}

enum err quorum_write_side(struct fs *fs, const char *directory, const char *name, const struct span *parts,
                           size_t part_count)
{
    char *path = mem_format("%s/%s", directory, name);
    char *aside_path = mem_format("%s/%s" NAME_TMP, directory, name);
    struct file *file = NULL;
    enum err err = fs_open(fs, aside_path, FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_TRUNCATE, &file);
    if (err == ERR_OK) {
        err = file_pwritev(file, parts, part_count, 0);
    }
    if (err == ERR_OK) {
        err = file_sync(file);
    }
    file_unref(file);
    if (err == ERR_OK) {
        err = fs_rename(fs, aside_path, path);
    }
    if (err == ERR_OK) {
        err = fs_sync_dir(fs, directory);
    }
    mem_free(aside_path);
    mem_free(path);
    return err;
}

static enum err problem_corrupt(struct option_problem *ret_problem, const char *directory, const char *name)
{
    snprintf(ret_problem->text, sizeof(ret_problem->text),
             "%s/%s is damaged (its checksum does not fit); the metadata of this node can't be trusted: " DAMAGE_REMEDY,
             directory, name);
    return ERR_CORRUPT;
}

static enum err problem_io(struct option_problem *ret_problem, const char *directory, const char *name, enum err err)
{
    snprintf(ret_problem->text, sizeof(ret_problem->text), "can't read %s/%s: %s", directory, name, err_text(err));
    return err;
}

/* ---- term and vote ---- */

enum err quorum_write_term(struct fs *fs, const char *directory, uint64_t term, uint64_t voted_for)
{
    uint8_t bytes[TERM_BYTES];
    memcpy(bytes, TERM_MAGIC, 8);
    be64_put(bytes + 8, term);
    be64_put(bytes + 16, voted_for);
    be32_put(bytes + 24, crc32c(0, span_make(bytes, 24)));
    struct span part = span_make(bytes, sizeof(bytes));
    return quorum_write_side(fs, directory, NAME_TERM, &part, 1);
}

enum err quorum_read_term(struct fs *fs, const char *directory, uint64_t *ret_term, uint64_t *ret_voted_for,
                          struct option_problem *ret_problem)
{
    char *path = mem_format("%s/" NAME_TERM, directory);
    uint8_t *bytes = NULL;
    size_t count = 0;
    enum err err = quorum_read_file(fs, path, SIDE_FILE_BYTES_MAX, &bytes, &count);
    mem_free(path);
    if (err != ERR_OK) {
        return problem_io(ret_problem, directory, NAME_TERM, err);
    }
    if (count != TERM_BYTES || memcmp(bytes, TERM_MAGIC, 8) != 0 ||
        be32_get(bytes + 24) != crc32c(0, span_make(bytes, 24))) {
        err = problem_corrupt(ret_problem, directory, NAME_TERM);
    } else {
        *ret_term = be64_get(bytes + 8);
        *ret_voted_for = be64_get(bytes + 16);
    }
    mem_free(bytes);
    return err;
}

/* ---- snapshots ---- */

enum err quorum_write_snapshot(struct fs *fs, const char *directory, const struct quorum_snapshot *snapshot,
                               bool is_installed)
{
    uint8_t header[SNAPSHOT_HEADER_BYTES];
    memcpy(header, SNAPSHOT_MAGIC, 8);
    be64_put(header + 8, snapshot->index);
    be64_put(header + 16, snapshot->term);
    be64_put(header + 24, snapshot->configuration_index);
    be32_put(header + 32, (uint32_t)snapshot->configuration.bytes);
    be64_put(header + 36, snapshot->data.bytes);
    be32_put(header + 44, is_installed ? SNAPSHOT_INSTALLED : 0);
    struct span parts[4] = {span_make(header, sizeof(header)), snapshot->configuration, snapshot->data};
    uint32_t crc = 0;
    for (int i = 0; i < 3; i++) {
        crc = crc32c(crc, parts[i]);
    }
    uint8_t trailer[4];
    be32_put(trailer, crc);
    parts[3] = span_make(trailer, sizeof(trailer));
    char *name = mem_format(NAME_SNAPSHOT "%020" PRIu64, snapshot->index);
    enum err err = quorum_write_side(fs, directory, name, parts, 4);
    mem_free(name);
    return err;
}

/* Splits the file's bytes; false when they are not a whole snapshot. */
static bool parse_snapshot(const uint8_t *bytes, size_t count, struct quorum_snapshot *ret_snapshot,
                           bool *ret_is_installed)
{
    if (count < SNAPSHOT_HEADER_BYTES + 4 || memcmp(bytes, SNAPSHOT_MAGIC, 8) != 0 ||
        be32_get(bytes + count - 4) != crc32c(0, span_make(bytes, count - 4))) {
        return false;
    }
    size_t room = count - SNAPSHOT_HEADER_BYTES - 4;
    uint64_t configuration_bytes = be32_get(bytes + 32);
    uint64_t data_bytes = be64_get(bytes + 36);
    if (configuration_bytes > room || data_bytes != room - configuration_bytes) {
        return false;
    }
    *ret_is_installed = (be32_get(bytes + 44) & SNAPSHOT_INSTALLED) != 0;
    ret_snapshot->index = be64_get(bytes + 8);
    ret_snapshot->term = be64_get(bytes + 16);
    ret_snapshot->configuration_index = be64_get(bytes + 24);
    ret_snapshot->configuration = span_make(bytes + SNAPSHOT_HEADER_BYTES, (size_t)configuration_bytes);
    ret_snapshot->data = span_make(bytes + SNAPSHOT_HEADER_BYTES + configuration_bytes, (size_t)data_bytes);
    return true;
}

enum err quorum_read_snapshot(struct fs *fs, const char *directory, const char *name, uint8_t **ret_file,
                              struct quorum_snapshot *ret_snapshot, bool *ret_is_installed,
                              struct option_problem *ret_problem)
{
    char *path = mem_format("%s/%s", directory, name);
    uint8_t *bytes = NULL;
    size_t count = 0;
    enum err err = quorum_read_file(fs, path, (size_t)QUORUM_SNAPSHOT_BYTES_MAX + SIDE_FILE_BYTES_MAX, &bytes, &count);
    mem_free(path);
    if (err != ERR_OK) {
        return problem_io(ret_problem, directory, name, err);
    }
    if (!parse_snapshot(bytes, count, ret_snapshot, ret_is_installed) ||
        ret_snapshot->index != strtoull(name + strlen(NAME_SNAPSHOT), NULL, 10)) {
        mem_free(bytes);
        return problem_corrupt(ret_problem, directory, name);
    }
    *ret_file = bytes;
    return ERR_OK;
}

enum err quorum_log_read_snapshot(struct fs *fs, const char *directory, uint64_t index, uint8_t **ret_file,
                                  struct quorum_snapshot *ret_snapshot, struct option_problem *ret_problem)
{
    char *name = mem_format(NAME_SNAPSHOT "%020" PRIu64, index);
    bool is_installed = false;
    enum err err = quorum_read_snapshot(fs, directory, name, ret_file, ret_snapshot, &is_installed, ret_problem);
    mem_free(name);
    return err;
}

/* ---- identity ---- */

#define IDENTITY_FORMAT                                                                                                \
    "version=2\ncluster.id=%s\nnode.id=%" PRId32 "\nraft.id=%" PRIu64 "\ndirectory.id=%s\njoining=%d\n"

uint64_t quorum_raft_id_of(struct uuid directory_id)
{
    uint64_t id = be64_get(directory_id.bytes);
    return id == 0 && !uuid_is_zero(directory_id) ? 1 : id;
}

static enum err write_identity(struct fs *fs, const char *directory, const struct quorum_identity *identity)
{
    char directory_id[UUID_TEXT_BYTES];
    uuid_format(identity->directory_id, directory_id);
    char *text = mem_format(IDENTITY_FORMAT, identity->cluster_id, identity->node_id, identity->raft_id, directory_id,
                            identity->is_joining ? 1 : 0);
    char *crc = mem_format("crc=%08" PRIx32 "\n", crc32c(0, span_text(text)));
    struct span parts[2] = {span_text(text), span_text(crc)};
    enum err err = quorum_write_side(fs, directory, NAME_IDENTITY, parts, 2);
    mem_free(crc);
    mem_free(text);
    return err;
}

enum err quorum_log_read_identity(struct fs *fs, const char *directory, struct quorum_identity *ret_identity,
                                  struct option_problem *ret_problem)
{
    char *path = mem_format("%s/" NAME_IDENTITY, directory);
    uint8_t *bytes = NULL;
    size_t count = 0;
    enum err err = quorum_read_file(fs, path, SIDE_FILE_BYTES_MAX, &bytes, &count);
    mem_free(path);
    if (err != ERR_OK) {
        return problem_io(ret_problem, directory, NAME_IDENTITY, err);
    }
    const char *text = (const char *)bytes;
    struct quorum_identity identity = {.node_id = -1};
    char directory_id[UUID_TEXT_BYTES];
    int is_joining = 0;
    uint32_t crc = 0;
    const char *crc_line = strstr(text, "crc=");
    bool is_whole =
        crc_line != NULL && strlen(text) == count &&
        sscanf(text,
               "version=2\ncluster.id=%22s\nnode.id=%" SCNd32 "\nraft.id=%" SCNu64 "\ndirectory.id=%22s\njoining=%d\n",
               identity.cluster_id, &identity.node_id, &identity.raft_id, directory_id, &is_joining) == 5 &&
        sscanf(crc_line, "crc=%8" SCNx32, &crc) == 1 && crc == crc32c(0, span_make(text, (size_t)(crc_line - text))) &&
        identity.raft_id != 0 && uuid_parse(span_text(directory_id), &identity.directory_id) == ERR_OK;
    identity.is_joining = is_joining != 0;
    if (is_whole) {
        *ret_identity = identity;
    } else {
        err = problem_corrupt(ret_problem, directory, NAME_IDENTITY);
    }
    mem_free(bytes);
    return err;
}

/* ---- formation ---- */

enum err quorum_log_exists(struct fs *fs, const char *directory, bool *ret_exists)
{
    struct fs_stat stat;
    enum err err = fs_stat(fs, directory, &stat);
    if (err == ERR_NOT_FOUND) {
        *ret_exists = false;
        return ERR_OK;
    }
    if (err == ERR_OK) {
        *ret_exists = true;
    }
    return err;
}

struct removal {
    struct fs *fs;
    const char *directory;
    enum err err;
};

static void remove_entry(void *ctx, const char *name)
{
    struct removal *removal = (struct removal *)ctx;
    char *path = mem_format("%s/%s", removal->directory, name);
    enum err err = fs_unlink(removal->fs, path);
    removal->err = removal->err == ERR_OK ? err : removal->err;
    mem_free(path);
}

/* Removes what a formation that was interrupted has left: it was never renamed, so nobody relied on it. */
static enum err remove_unfinished(struct fs *fs, const char *directory)
{
    struct removal removal = {fs, directory, ERR_OK};
    enum err err = fs_list(fs, directory, remove_entry, &removal);
    if (err == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    if (err == ERR_OK) {
        err = removal.err;
    }
    return err == ERR_OK ? fs_rmdir(fs, directory) : err;
}

static enum err write_first_entry(struct fs *fs, const char *directory, struct span configuration)
{
    struct file *file = NULL;
    enum err err = quorum_segment_create(fs, directory, 1, &file);
    if (err != ERR_OK) {
        return err;
    }
    if (span_is_null(configuration)) {
        file_unref(file);
        return ERR_OK;
    }
    struct quorum_entry *entry = quorum_entry_new(1, 1, QUORUM_CHANGE, configuration);
    uint8_t header[ENTRY_HEADER_BYTES];
    quorum_entry_header(entry, header);
    struct span parts[2] = {span_make(header, sizeof(header)), span_make(entry->data, entry->bytes)};
    err = file_pwritev(file, parts, 2, SEGMENT_HEADER_BYTES);
    if (err == ERR_OK) {
        err = file_sync(file);
    }
    /* Its synced mark, as behind every append: damage to this entry must never be taken for a torn tail and cut. */
    struct quorum_log formed = {.active = file};
    if (err == ERR_OK) {
        err = quorum_mark_write(&formed, 1);
    }
    if (err == ERR_OK) {
        err = file_sync(file);
    }
    mem_free(entry);
    file_unref(file);
    return err;
}

static enum err form_aside(struct fs *fs, const char *aside, const struct quorum_identity *identity,
                           struct span configuration)
{
    enum err err = remove_unfinished(fs, aside);
    if (err == ERR_OK) {
        err = fs_mkdir(fs, aside);
    }
    if (err == ERR_OK) {
        err = write_first_entry(fs, aside, configuration);
    }
    if (err == ERR_OK) {
        bool is_joining = span_is_null(configuration);
        err = quorum_write_term(fs, aside, is_joining ? 0 : 1, is_joining ? 0 : identity->raft_id);
    }
    if (err == ERR_OK) {
        struct quorum_identity written = *identity;
        written.is_joining = span_is_null(configuration);
        err = write_identity(fs, aside, &written);
    }
    return err;
}

enum err quorum_log_form(struct fs *fs, const char *directory, const struct quorum_identity *identity,
                         struct span configuration, struct option_problem *ret_problem)
{
    char *aside = mem_format("%s.forming", directory);
    char *parent = mem_strdup(directory);
    char *slash = strrchr(parent, '/');
    CHECK(slash != NULL);
    *slash = '\0';
    enum err err = form_aside(fs, aside, identity, configuration);
    if (err == ERR_OK) {
        err = fs_rename(fs, aside, directory);
    }
    if (err == ERR_OK) {
        err = fs_sync_dir(fs, parent[0] == '\0' ? "/" : parent);
    }
    if (err != ERR_OK) {
        snprintf(ret_problem->text, sizeof(ret_problem->text), "can't make the metadata directory %s: %s", directory,
                 err_text(err));
    }
    mem_free(parent);
    mem_free(aside);
    return err;
}

/* Opening the quorum's log: list, check everything, cut a torn tail, refuse anything else that is wrong.
 *
 * A node reports as stored what this finds, so what is kept is synced again before it is reported: the last run may have
 * died between a write and its sync. */
#include "common/big_endian.h"
#include "common/crc32c.h"
#include "common/file_redirty.h"
#include "common/mem.h"
#include "controller/quorum_log_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct opening {
    struct quorum_log *log;
    struct quorum_loaded *loaded;
    struct option_problem *problem;
    char **
        names; /* of the directory, sorted: so segments are in the order of their first index; an entry that is gone is "" */
    size_t name_count;
    const char *snapshot_name; /* one of names; NULL: there is none */
    size_t entry_capacity;
    bool is_installed; /* the snapshot came from a leader: a log that begins at or below it is void */
};

static void collect_name(void *ctx, const char *name)
{
    struct opening *opening = (struct opening *)ctx;
    opening->names = (char **)mem_grow(opening->names, opening->name_count + 1, sizeof(opening->names[0]));
    opening->names[opening->name_count++] = mem_strdup(name);
}

static int order_names(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static bool has_prefix(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t bytes = strlen(name);
    return bytes >= strlen(suffix) && strcmp(name + bytes - strlen(suffix), suffix) == 0;
}

static enum err fail(struct opening *opening, enum err err, const char *what)
{
    snprintf(opening->problem->text, sizeof(opening->problem->text), "the metadata log in %s can't be used: %s%s",
             opening->log->directory, what, err == ERR_CORRUPT ? "; nothing was changed: " DAMAGE_REMEDY : "");
    return err;
}

static enum err list_directory(struct opening *opening)
{
    enum err err = fs_list(opening->log->fs, opening->log->directory, collect_name, opening);
    if (err != ERR_OK) {
        return fail(opening, err, err_text(err));
    }
    qsort(opening->names, opening->name_count, sizeof(opening->names[0]), order_names);
    for (size_t i = 0; i < opening->name_count; i++) {
        if (has_suffix(opening->names[i], NAME_TMP)) {
            char *path = quorum_path(opening->log, opening->names[i]);
            err = fs_unlink(opening->log->fs, path);
            mem_free(path);
            if (err != ERR_OK) {
                return fail(opening, err, err_text(err));
            }
        }
    }
    return ERR_OK;
}

static bool is_snapshot(const char *name)
{
    return has_prefix(name, NAME_SNAPSHOT) && !has_suffix(name, NAME_TMP);
}

/* They are left over from a crash before their removal. */
static enum err remove_older_snapshots(struct opening *opening)
{
    for (size_t i = 0; i < opening->name_count; i++) {
        if (!is_snapshot(opening->names[i]) || opening->names[i] == opening->snapshot_name) {
            continue;
        }
        char *path = quorum_path(opening->log, opening->names[i]);
        enum err err = fs_unlink(opening->log->fs, path);
        mem_free(path);
        if (err != ERR_OK) {
            return fail(opening, err, err_text(err));
        }
    }
    return ERR_OK;
}

/* The newest one counts. Older ones stay until all is known to be whole: who refuses has changed nothing. */
static enum err load_snapshot(struct opening *opening)
{
    const char *newest = NULL;
    for (size_t i = 0; i < opening->name_count; i++) {
        newest = is_snapshot(opening->names[i]) ? opening->names[i] : newest;
    }
    if (newest == NULL) {
        return ERR_OK;
    }
    enum err err =
        quorum_read_snapshot(opening->log->fs, opening->log->directory, newest, &opening->loaded->snapshot_file,
                             &opening->loaded->snapshot, &opening->is_installed, opening->problem);
    opening->log->snapshot_index = err == ERR_OK ? opening->loaded->snapshot.index : 0;
    opening->snapshot_name = newest;
    return err;
}

/* The entry at `pos`, or NULL when there is none that is whole and in its place. */
static struct quorum_entry *parse_entry(struct span file, size_t pos, uint64_t index)
{
    if (file.bytes - pos < ENTRY_HEADER_BYTES) {
        return NULL;
    }
    const uint8_t *header = file.data + pos;
    uint32_t bytes = be32_get(header + 4);
    if (bytes > QUORUM_ENTRY_BYTES_MAX || bytes > file.bytes - pos - ENTRY_HEADER_BYTES ||
        be64_get(header + 8) != index || header[24] < QUORUM_COMMAND || header[24] > QUORUM_CHANGE) {
        return NULL;
    }
    if (be32_get(header) != crc32c(0, span_make(header + 4, ENTRY_HEADER_BYTES - 4 + bytes))) {
        return NULL;
    }
    return quorum_entry_new(index, be64_get(header + 16), (enum quorum_entry_type)header[24],
                            span_make(header + ENTRY_HEADER_BYTES, bytes));
}

static void keep_entry(struct opening *opening, struct quorum_entry *entry)
{
    struct quorum_loaded *loaded = opening->loaded;
    if (loaded->entry_count == opening->entry_capacity) {
        opening->entry_capacity = opening->entry_capacity == 0 ? 256 : opening->entry_capacity * 2;
        loaded->entries =
            (struct quorum_entry **)mem_grow(loaded->entries, opening->entry_capacity, sizeof(loaded->entries[0]));
    }
    loaded->entries[loaded->entry_count++] = entry;
}

/* Indexes begin with 1: 0 stands for "none" everywhere. */
static bool is_header_whole(struct span file, uint64_t first_index)
{
    return first_index > 0 && file.bytes >= SEGMENT_HEADER_BYTES && memcmp(file.data, SEGMENT_MAGIC, 8) == 0 &&
           be32_get(file.data + 16) == crc32c(0, span_make(file.data, 16)) && be64_get(file.data + 8) == first_index;
}

/* Reads a segment's entries; *ret_pos: behind the last good one. */
static struct quorum_segment read_entries(struct opening *opening, struct span file, uint64_t first_index)
{
    size_t pos = SEGMENT_HEADER_BYTES;
    uint64_t index = first_index;
    struct quorum_entry *entry = NULL;
    while ((entry = parse_entry(file, pos, index)) != NULL) {
        keep_entry(opening, entry);
        pos += ENTRY_HEADER_BYTES + entry->bytes;
        index++;
    }
    return (struct quorum_segment){first_index, index - 1, pos};
}

/* Cuts the tail of the last segment if nothing in it was synced, and syncs what stays. */
static enum err settle_active(struct opening *opening, struct span file, struct quorum_segment *segment)
{
    struct quorum_log *log = opening->log;
    uint64_t synced_index = quorum_mark_read(file.data, &log->mark_sequence);
    if (segment->last_index < synced_index) {
        char what[160];
        snprintf(what, sizeof(what), "entry %" PRIu64 " is damaged, though entries up to %" PRIu64 " had been synced",
                 segment->last_index + 1, synced_index);
        return fail(opening, ERR_CORRUPT, what);
    }
    char *path = quorum_segment_path(log, segment->first_index);
    enum err err = fs_open(log->fs, path, FS_OPEN_WRITE, &log->active);
    mem_free(path);
    if (err == ERR_OK && segment->bytes < file.bytes) {
        opening->loaded->cut_bytes = file.bytes - (size_t)segment->bytes;
        err = file_truncate(log->active, segment->bytes);
    }
    if (err == ERR_OK) {
        err = file_redirty(log->active, 0, segment->bytes);
    }
    if (err == ERR_OK) {
        err = file_sync(log->active);
    }
    if (err == ERR_OK && segment->last_index >= segment->first_index) {
        err = quorum_mark_write(log, segment->last_index);
    }
    return err == ERR_OK ? ERR_OK : fail(opening, err, err_text(err));
}

static uint64_t segment_index(const char *name)
{
    return strtoull(name + strlen(NAME_SEGMENT), NULL, 10);
}

static enum err load_segment(struct opening *opening, const char *name, bool is_last)
{
    struct quorum_log *log = opening->log;
    uint64_t first_index = segment_index(name);
    char *path = quorum_path(log, name);
    uint8_t *bytes = NULL;
    size_t count = 0;
    enum err err = quorum_read_file(log->fs, path, SIZE_MAX / 2, &bytes, &count);
    if (err != ERR_OK) {
        mem_free(path);
        return fail(opening, err, err_text(err));
    }
    struct span file = span_make(bytes, count);
    if (!is_header_whole(file, first_index)) {
        /* A segment that was being made when the process died holds nothing yet. */
        bool is_unborn = is_last && count <= SEGMENT_HEADER_BYTES && log->segment_count > 0;
        if (!is_unborn) {
            err = fail(opening, ERR_CORRUPT, "the head of a log file is damaged");
        } else if ((err = fs_unlink(log->fs, path)) != ERR_OK) {
            err = fail(opening, err, err_text(err));
        }
        mem_free(bytes);
        mem_free(path);
        return err;
    }
    mem_free(path);
    struct quorum_segment segment = read_entries(opening, file, first_index);
    if (log->segment_count > 0 && log->segments[log->segment_count - 1].last_index + 1 != first_index) {
        err = fail(opening, ERR_CORRUPT, "entries are missing between two log files");
    } else if (!is_last && segment.bytes != count) {
        err = fail(opening, ERR_CORRUPT, "a log file that was complete is damaged");
    } else {
        log->segments =
            (struct quorum_segment *)mem_grow(log->segments, log->segment_count + 1, sizeof(log->segments[0]));
        log->segments[log->segment_count++] = segment;
        if (is_last) {
            err = settle_active(opening, file, &segment);
        }
    }
    mem_free(bytes);
    return err;
}

/* Opens the last segment that was kept for appending, when the one behind it turned out to be unborn. */
static enum err reopen_active(struct opening *opening)
{
    struct quorum_log *log = opening->log;
    struct quorum_segment *segment = &log->segments[log->segment_count - 1];
    char *path = quorum_segment_path(log, segment->first_index);
    uint8_t *bytes = NULL;
    size_t count = 0;
    enum err err = quorum_read_file(log->fs, path, SIZE_MAX / 2, &bytes, &count);
    mem_free(path);
    if (err != ERR_OK) {
        return fail(opening, err, err_text(err));
    }
    err = settle_active(opening, span_make(bytes, count), segment);
    mem_free(bytes);
    return err;
}

/* Whether this is the segment that an installation makes last, without the header that it gets when it is made. */
static enum err is_unborn_first(struct opening *opening, const char *name, bool *ret_is_unborn)
{
    char *path = quorum_path(opening->log, name);
    uint8_t *bytes = NULL;
    size_t count = 0;
    enum err err = quorum_read_file(opening->log->fs, path, SIZE_MAX / 2, &bytes, &count);
    mem_free(path);
    if (err != ERR_OK) {
        return fail(opening, err, err_text(err));
    }
    *ret_is_unborn = count <= SEGMENT_HEADER_BYTES && !is_header_whole(span_make(bytes, count), segment_index(name));
    mem_free(bytes);
    return ERR_OK;
}

/* Its name is gone from the list then. */
static enum err remove_segment(struct opening *opening, char *name)
{
    char *path = quorum_path(opening->log, name);
    enum err err = fs_unlink(opening->log->fs, path);
    mem_free(path);
    if (err == ERR_OK) {
        err = fs_sync_dir(opening->log->fs, opening->log->directory);
    }
    name[0] = '\0';
    return err == ERR_OK ? ERR_OK : fail(opening, err, err_text(err));
}

/* A leader's snapshot is on the disk, but the process died before the log was begun anew behind it: what begins at or below the snapshot
 * is void and goes, newest first as quorum_log_install does it. */
static enum err finish_install(struct opening *opening)
{
    const struct quorum_snapshot *snapshot = &opening->loaded->snapshot;
    const char *first = NULL;
    size_t count = 0;
    for (size_t i = opening->name_count; i > 0; i--) {
        bool is_segment = has_prefix(opening->names[i - 1], NAME_SEGMENT);
        first = is_segment ? opening->names[i - 1] : first;
        count += is_segment;
    }
    if (first != NULL && segment_index(first) > snapshot->index) {
        bool is_unborn = false;
        enum err err = count == 1 ? is_unborn_first(opening, first, &is_unborn) : ERR_OK;
        if (err != ERR_OK || !is_unborn) {
            return err;
        }
    }
    for (size_t i = opening->name_count; i > 0; i--) {
        if (has_prefix(opening->names[i - 1], NAME_SEGMENT)) {
            enum err err = remove_segment(opening, opening->names[i - 1]);
            if (err != ERR_OK) {
                return err;
            }
        }
    }
    enum err err = quorum_log_begin(opening->log, snapshot->index + 1);
    return err == ERR_OK ? ERR_OK : fail(opening, err, err_text(err));
}

static enum err load_segments(struct opening *opening)
{
    const char *last = NULL;
    if (opening->is_installed) {
        enum err err = finish_install(opening);
        if (err != ERR_OK || opening->log->active != NULL) {
            return err;
        }
    }
    for (size_t i = 0; i < opening->name_count; i++) {
        last = has_prefix(opening->names[i], NAME_SEGMENT) ? opening->names[i] : last;
    }
    if (last == NULL) {
        return fail(opening, ERR_CORRUPT, "it has no log file");
    }
    for (size_t i = 0; i < opening->name_count; i++) {
        if (!has_prefix(opening->names[i], NAME_SEGMENT)) {
            continue;
        }
        enum err err = load_segment(opening, opening->names[i], opening->names[i] == last);
        if (err != ERR_OK) {
            return err;
        }
    }
    return opening->log->active == NULL ? reopen_active(opening) : ERR_OK;
}

/* Snapshot and entries must join without a gap and agree where they overlap. */
static enum err check_joint(struct opening *opening)
{
    struct quorum_loaded *loaded = opening->loaded;
    const struct quorum_snapshot *snapshot = &loaded->snapshot;
    loaded->first_index = quorum_log_first_index(opening->log);
    if (loaded->first_index > snapshot->index + 1) {
        return fail(opening, ERR_CORRUPT, "entries between the snapshot and the first log file are missing");
    }
    if (quorum_log_last_index(opening->log) < snapshot->index) {
        return fail(opening, ERR_CORRUPT, "the log ends before the snapshot");
    }
    if (snapshot->index == 0 && loaded->entry_count == 0) {
        struct quorum_identity identity;
        enum err err = quorum_log_read_identity(opening->log->fs, opening->log->directory, &identity, opening->problem);
        if (err != ERR_OK || identity.is_joining) {
            return err; /* a node that joins has nothing until a leader sends it */
        }
    }
    if (snapshot->index == 0) {
        bool is_formed = loaded->entry_count > 0 && loaded->entries[0]->type == QUORUM_CHANGE;
        return is_formed ? ERR_OK : fail(opening, ERR_CORRUPT, "the first entry is not a configuration");
    }
    if (snapshot->index >= loaded->first_index &&
        loaded->entries[snapshot->index - loaded->first_index]->term != snapshot->term) {
        return fail(opening, ERR_CORRUPT, "the snapshot and the log are of different histories");
    }
    return ERR_OK;
}

static enum err load_all(struct opening *opening)
{
    enum err err = list_directory(opening);
    if (err == ERR_OK) {
        err = quorum_read_term(opening->log->fs, opening->log->directory, &opening->loaded->term,
                               &opening->loaded->voted_for, opening->problem);
    }
    if (err == ERR_OK) {
        err = load_snapshot(opening);
    }
    if (err == ERR_OK) {
        err = load_segments(opening);
    }
    if (err == ERR_OK) {
        err = check_joint(opening);
    }
    if (err == ERR_OK) {
        err = remove_older_snapshots(opening);
    }
    /* The last run may also have died between making or renaming a file and the directory's sync: names that are built on from now on
     * must not go in a power loss later. */
    if (err == ERR_OK) {
        err = fs_sync_dir(opening->log->fs, opening->log->directory);
        err = err == ERR_OK ? ERR_OK : fail(opening, err, err_text(err));
    }
    return err;
}

enum err quorum_log_open(struct fs *fs, const char *directory, uint64_t segment_bytes, struct quorum_log **ret_log,
                         struct quorum_loaded *ret_loaded, struct option_problem *ret_problem)
{
    struct quorum_log *log = MEM_NEW(struct quorum_log);
    log->fs = fs;
    log->directory = mem_strdup(directory);
    log->segment_bytes = segment_bytes;
    struct quorum_loaded loaded = {0};
    struct opening opening = {.log = log, .loaded = &loaded, .problem = ret_problem};
    enum err err = load_all(&opening);
    for (size_t i = 0; i < opening.name_count; i++) {
        mem_free(opening.names[i]);
    }
    mem_free(opening.names);
    if (err != ERR_OK) {
        quorum_loaded_done(&loaded);
        quorum_log_abandon(log);
        return err;
    }
    *ret_log = log;
    *ret_loaded = loaded;
    return ERR_OK;
}

void quorum_loaded_done(struct quorum_loaded *loaded)
{
    for (size_t i = 0; i < loaded->entry_count; i++) {
        quorum_entry_unref(loaded->entries[i]);
    }
    mem_free(loaded->entries);
    mem_free(loaded->snapshot_file);
    *loaded = (struct quorum_loaded){0};
}

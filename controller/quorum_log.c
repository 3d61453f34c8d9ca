/* Segments: append, roll, truncate, trim. Durable order: entries -> sync -> mark; old segment synced -> new one made. */
#include "controller/quorum_log.h"

#include "common/big_endian.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "controller/quorum_log_private.h"

#include <inttypes.h>

#define WRITE_SPANS_MAX 256
/* No segment has so many marks: what claims more was not written by a log, and behind the last number would come none. */
#define MARK_SEQUENCE_MAX (UINT32_C(1) << 31)

char *quorum_path(const struct quorum_log *log, const char *name)
{
    return mem_format("%s/%s", log->directory, name);
}

char *quorum_segment_path(const struct quorum_log *log, uint64_t first_index)
{
    return mem_format("%s/" NAME_SEGMENT "%020" PRIu64, log->directory, first_index);
}

struct quorum_entry *quorum_entry_new(uint64_t index, uint64_t term, enum quorum_entry_type type, struct span data)
{
    struct quorum_entry *entry = (struct quorum_entry *)mem_alloc(sizeof(*entry) + data.bytes);
    *entry = (struct quorum_entry){.ref_count = 1, .index = index, .term = term, .type = type, .bytes = data.bytes};
    if (data.bytes > 0) {
        memcpy(entry->data, data.data, data.bytes);
    }
    return entry;
}

struct quorum_entry *quorum_entry_ref(struct quorum_entry *entry)
{
    entry->ref_count++;
    return entry;
}

void quorum_entry_unref(struct quorum_entry *entry)
{
    if (entry != NULL && --entry->ref_count == 0) {
        mem_free(entry);
    }
}

void quorum_entry_header(const struct quorum_entry *entry, uint8_t ret_header[ENTRY_HEADER_BYTES])
{
    memset(ret_header, 0, ENTRY_HEADER_BYTES);
    be32_put(ret_header + 4, (uint32_t)entry->bytes);
    be64_put(ret_header + 8, entry->index);
    be64_put(ret_header + 16, entry->term);
    ret_header[24] = (uint8_t)entry->type;
    uint32_t crc = crc32c(0, span_make(ret_header + 4, ENTRY_HEADER_BYTES - 4));
    be32_put(ret_header, crc32c(crc, span_make(entry->data, entry->bytes)));
}

/* ---- synced mark ---- */

static bool mark_parse(const uint8_t *slot, uint64_t *ret_index, uint32_t *ret_sequence)
{
    uint32_t sequence = be32_get(slot + 8);
    if (be32_get(slot + 12) != crc32c(0, span_make(slot, 12)) || sequence == 0 || sequence > MARK_SEQUENCE_MAX) {
        return false;
    }
    *ret_index = be64_get(slot);
    *ret_sequence = sequence;
    return true;
}

uint64_t quorum_mark_read(const uint8_t header[SEGMENT_HEADER_BYTES], uint32_t *ret_sequence)
{
    uint64_t best_index = 0;
    *ret_sequence = 0;
    for (size_t i = 0; i < 2; i++) {
        uint64_t index = 0;
        uint32_t sequence = 0;
        if (mark_parse(header + SEGMENT_MARK_POS + i * SEGMENT_MARK_BYTES, &index, &sequence) &&
            sequence > *ret_sequence) {
            best_index = index;
            *ret_sequence = sequence;
        }
    }
    return best_index;
}

/* The slots take turns, so that a torn write leaves the other one. */
enum err quorum_mark_write(struct quorum_log *log, uint64_t synced_index)
{
    uint8_t slot[SEGMENT_MARK_BYTES];
    uint32_t sequence = ++log->mark_sequence;
    CHECK(sequence != 0);
    be64_put(slot, synced_index);
    be32_put(slot + 8, sequence);
    be32_put(slot + 12, crc32c(0, span_make(slot, 12)));
    struct span part = span_make(slot, sizeof(slot));
    return file_pwritev(log->active, &part, 1, SEGMENT_MARK_POS + (sequence % 2) * SEGMENT_MARK_BYTES);
}

/* ---- segments ---- */

enum err quorum_segment_create(struct fs *fs, const char *directory, uint64_t first_index, struct file **ret_file)
{
    char *path = mem_format("%s/" NAME_SEGMENT "%020" PRIu64, directory, first_index);
    uint8_t header[SEGMENT_HEADER_BYTES] = {0};
    memcpy(header, SEGMENT_MAGIC, 8);
    be64_put(header + 8, first_index);
    be32_put(header + 16, crc32c(0, span_make(header, 16)));
    struct span part = span_make(header, sizeof(header));
    struct file *file = NULL;
    enum err err = fs_open(fs, path, FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_EXCLUSIVE, &file);
    mem_free(path);
    if (err == ERR_OK) {
        err = file_pwritev(file, &part, 1, 0);
    }
    if (err == ERR_OK) {
        err = file_sync(file);
    }
    if (err == ERR_OK) {
        err = fs_sync_dir(fs, directory);
    }
    if (err != ERR_OK) {
        file_unref(file);
        return err;
    }
    *ret_file = file;
    return ERR_OK;
}

static struct quorum_segment *active_segment(struct quorum_log *log)
{
    return &log->segments[log->segment_count - 1];
}

/* Finishes the active segment, whose last mark may not be synced yet, and begins the next one. */
static enum err roll(struct quorum_log *log)
{
    struct file *next = NULL;
    uint64_t first_index = active_segment(log)->last_index + 1;
    enum err err = file_sync(log->active);
    if (err == ERR_OK) {
        err = quorum_segment_create(log->fs, log->directory, first_index, &next);
    }
    if (err != ERR_OK) {
        return err;
    }
    file_unref(log->active);
    log->active = next;
    log->mark_sequence = 0;
    log->segments = (struct quorum_segment *)mem_grow(log->segments, log->segment_count + 1, sizeof(log->segments[0]));
    log->segments[log->segment_count++] = (struct quorum_segment){first_index, first_index - 1, SEGMENT_HEADER_BYTES};
    return ERR_OK;
}

/* Writes up to half of WRITE_SPANS_MAX entries behind the active segment's end. */
static enum err write_entries(struct quorum_log *log, const struct quorum_entry *const *entries, size_t count)
{
    uint8_t headers[WRITE_SPANS_MAX / 2][ENTRY_HEADER_BYTES];
    struct span parts[WRITE_SPANS_MAX];
    struct quorum_segment *segment = active_segment(log);
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        CHECK(entries[i]->index == segment->last_index + 1 + i && entries[i]->bytes <= QUORUM_ENTRY_BYTES_MAX);
        quorum_entry_header(entries[i], headers[i]);
        parts[2 * i] = span_make(headers[i], ENTRY_HEADER_BYTES);
        parts[2 * i + 1] = span_make(entries[i]->data, entries[i]->bytes);
        bytes += ENTRY_HEADER_BYTES + entries[i]->bytes;
    }
    enum err err = file_pwritev(log->active, parts, 2 * count, segment->bytes);
    if (err == ERR_OK) {
        segment->bytes += bytes;
        segment->last_index += count;
    }
    return err;
}

static enum err append_all(struct quorum_log *log, const struct quorum_entry *const *entries, size_t count)
{
    if (active_segment(log)->bytes >= log->segment_bytes) {
        enum err err = roll(log);
        if (err != ERR_OK) {
            return err;
        }
    }
    for (size_t done = 0; done < count;) {
        size_t part = count - done < WRITE_SPANS_MAX / 2 ? count - done : WRITE_SPANS_MAX / 2;
        enum err err = write_entries(log, entries + done, part);
        if (err != ERR_OK) {
            return err;
        }
        done += part;
    }
    enum err err = file_sync(log->active);
    return err == ERR_OK ? quorum_mark_write(log, active_segment(log)->last_index) : err;
}

/* Every writing call passes here: after an error nothing more is tried. */
static enum err note(struct quorum_log *log, enum err err)
{
    log->is_failed = log->is_failed || err != ERR_OK;
    return err;
}

enum err quorum_log_append(struct quorum_log *log, const struct quorum_entry *const *entries, size_t count)
{
    CHECK(!log->is_failed && count > 0);
    return note(log, append_all(log, entries, count));
}

enum err quorum_log_set_term(struct quorum_log *log, uint64_t term, uint64_t voted_for)
{
    CHECK(!log->is_failed);
    return note(log, quorum_write_term(log->fs, log->directory, term, voted_for));
}

/* ---- truncation ---- */

/* Position in the active segment behind the entry before `index`. */
static enum err find_pos(struct quorum_log *log, uint64_t index, uint64_t *ret_pos)
{
    uint64_t pos = SEGMENT_HEADER_BYTES;
    for (uint64_t at = active_segment(log)->first_index; at < index; at++) {
        uint8_t header[ENTRY_HEADER_BYTES];
        size_t read_bytes = 0;
        enum err err = file_pread(log->active, header, sizeof(header), pos, &read_bytes);
        if (err != ERR_OK || read_bytes != sizeof(header) || be64_get(header + 8) != at) {
            return err != ERR_OK ? err : ERR_CORRUPT;
        }
        pos += ENTRY_HEADER_BYTES + be32_get(header + 4);
    }
    *ret_pos = pos;
    return ERR_OK;
}

/* Removes the newest segment; the one before becomes active. */
static enum err drop_active(struct quorum_log *log)
{
    char *path = quorum_segment_path(log, active_segment(log)->first_index);
    file_unref(log->active);
    log->active = NULL;
    enum err err = fs_unlink(log->fs, path);
    mem_free(path);
    if (err == ERR_OK) {
        err = fs_sync_dir(log->fs, log->directory);
    }
    if (err != ERR_OK) {
        return err;
    }
    log->segment_count--;
    path = quorum_segment_path(log, active_segment(log)->first_index);
    err = fs_open(log->fs, path, FS_OPEN_WRITE, &log->active);
    mem_free(path);
    uint8_t header[SEGMENT_HEADER_BYTES];
    size_t read_bytes = 0;
    if (err == ERR_OK) {
        err = file_pread(log->active, header, sizeof(header), 0, &read_bytes);
    }
    if (err == ERR_OK) {
        (void)quorum_mark_read(header, &log->mark_sequence);
    }
    return err;
}

/* The mark is lowered, durably, before the entries go: a crash in between must not look like corruption. */
static enum err truncate_to(struct quorum_log *log, uint64_t from_index)
{
    enum err err = ERR_OK;
    while (err == ERR_OK && active_segment(log)->first_index > from_index) {
        err = drop_active(log);
    }
    uint64_t pos = 0;
    if (err == ERR_OK) {
        err = quorum_mark_write(log, from_index - 1);
    }
    if (err == ERR_OK) {
        err = file_sync(log->active);
    }
    if (err == ERR_OK) {
        err = find_pos(log, from_index, &pos);
    }
    if (err == ERR_OK) {
        err = file_truncate(log->active, pos);
    }
    if (err == ERR_OK) {
        err = file_sync(log->active);
    }
    if (err == ERR_OK) {
        active_segment(log)->last_index = from_index - 1;
        active_segment(log)->bytes = pos;
    }
    return err;
}

enum err quorum_log_truncate(struct quorum_log *log, uint64_t from_index)
{
    CHECK(!log->is_failed && from_index > log->snapshot_index && from_index >= quorum_log_first_index(log));
    if (from_index > quorum_log_last_index(log)) {
        return ERR_OK;
    }
    return note(log, truncate_to(log, from_index));
}

/* ---- snapshots and trimming ---- */

/* Oldest first, so that a crash leaves no gap. */
static enum err trim(struct quorum_log *log, uint64_t trim_index)
{
    size_t removed = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK && removed + 1 < log->segment_count && log->segments[removed].last_index <= trim_index) {
        char *path = quorum_segment_path(log, log->segments[removed].first_index);
        err = fs_unlink(log->fs, path);
        mem_free(path);
        if (err == ERR_OK) {
            err = fs_sync_dir(log->fs, log->directory);
            removed++;
        }
    }
    log->segment_count -= removed;
    memmove(log->segments, log->segments + removed, log->segment_count * sizeof(log->segments[0]));
    return err;
}

/* The new one is durable before the old one goes. */
static enum err replace_snapshot(struct quorum_log *log, const struct quorum_snapshot *snapshot, bool is_installed)
{
    enum err err = quorum_write_snapshot(log->fs, log->directory, snapshot, is_installed);
    if (err == ERR_OK && log->snapshot_index != 0) {
        char *path = mem_format("%s/" NAME_SNAPSHOT "%020" PRIu64, log->directory, log->snapshot_index);
        err = fs_unlink(log->fs, path);
        mem_free(path);
    }
    if (err == ERR_OK) {
        log->snapshot_index = snapshot->index;
    }
    return err;
}

enum err quorum_log_put_snapshot(struct quorum_log *log, const struct quorum_snapshot *snapshot, uint64_t trim_index)
{
    CHECK(!log->is_failed && snapshot->index > log->snapshot_index && trim_index <= snapshot->index);
    enum err err = replace_snapshot(log, snapshot, false);
    return note(log, err == ERR_OK ? trim(log, trim_index) : err);
}

/* ---- installing a leader's snapshot ---- */

/* Newest first: so that what a crash leaves begins at or below the snapshot, which tells the next opening that this was not finished. */
static enum err drop_all(struct quorum_log *log)
{
    enum err err = ERR_OK;
    file_unref(log->active);
    log->active = NULL;
    while (err == ERR_OK && log->segment_count > 0) {
        char *path = quorum_segment_path(log, active_segment(log)->first_index);
        err = fs_unlink(log->fs, path);
        mem_free(path);
        if (err == ERR_OK) {
            err = fs_sync_dir(log->fs, log->directory);
            log->segment_count--;
        }
    }
    return err;
}

enum err quorum_log_begin(struct quorum_log *log, uint64_t first_index)
{
    CHECK(log->segment_count == 0 && log->active == NULL);
    enum err err = quorum_segment_create(log->fs, log->directory, first_index, &log->active);
    if (err == ERR_OK) {
        log->mark_sequence = 0;
        log->segments = (struct quorum_segment *)mem_grow(log->segments, 1, sizeof(log->segments[0]));
        log->segments[log->segment_count++] =
            (struct quorum_segment){first_index, first_index - 1, SEGMENT_HEADER_BYTES};
    }
    return err;
}

enum err quorum_log_install(struct quorum_log *log, const struct quorum_snapshot *snapshot)
{
    CHECK(!log->is_failed && snapshot->index > log->snapshot_index);
    enum err err = replace_snapshot(log, snapshot, true);
    if (err == ERR_OK) {
        err = drop_all(log);
    }
    return note(log, err == ERR_OK ? quorum_log_begin(log, snapshot->index + 1) : err);
}

/* ---- facts, end ---- */

uint64_t quorum_log_first_index(const struct quorum_log *log)
{
    return log->segments[0].first_index;
}

uint64_t quorum_log_last_index(const struct quorum_log *log)
{
    return log->segments[log->segment_count - 1].last_index;
}

uint64_t quorum_log_bytes(const struct quorum_log *log)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < log->segment_count; i++) {
        bytes += log->segments[i].bytes;
    }
    return bytes;
}

void quorum_log_abandon(struct quorum_log *log)
{
    if (log == NULL) {
        return;
    }
    file_unref(log->active);
    mem_free(log->segments);
    mem_free(log->directory);
    mem_free(log);
}

enum err quorum_log_close(struct quorum_log *log)
{
    enum err err = log->is_failed ? ERR_IO : file_sync(log->active);
    quorum_log_abandon(log);
    return err;
}

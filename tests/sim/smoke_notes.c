#include "common/big_endian.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "tests/sim/smoke_node_internal.h"

#include <stdio.h>

#define RECORD_HEAD_BYTES 16u /* length, CRC-32C of what follows, number */
#define PATH_BYTES 64

/* An entry on its way from the net loop to the log loop, or the news of a sync on its way back. */
struct notes_message {
    struct loop_task task;
    struct smoke_notes *notes;
    uint64_t number;
    uint32_t payload_bytes;
    uint8_t payload[SMOKE_PAYLOAD_BYTES_MAX];
};

static void fail(struct smoke_notes *notes)
{
    notes->is_failed = true;
    notes->node->events.on_fatal(notes->node->events.ctx, notes->node->options.index);
}

static uint32_t record_make(uint8_t *ret_record, uint64_t number, const uint8_t *payload, uint32_t payload_bytes)
{
    be32_put(ret_record, payload_bytes);
    be64_put(ret_record + 8, number);
    memcpy(ret_record + RECORD_HEAD_BYTES, payload, payload_bytes);
    be32_put(ret_record + 4, crc32c(0, span_make(ret_record + 8, 8 + payload_bytes)));
    return RECORD_HEAD_BYTES + payload_bytes;
}

/* ---- recovery, before the loops run ---- */

/* How many bytes from `bytes` are whole records in order; the rest is a torn tail. */
static size_t whole_bytes(const uint8_t *bytes, size_t count, uint64_t *ret_last_number)
{
    size_t pos = 0;
    uint64_t last_number = 0;
    while (count - pos >= RECORD_HEAD_BYTES) {
        uint32_t payload_bytes = be32_get(bytes + pos);
        if (payload_bytes > SMOKE_PAYLOAD_BYTES_MAX || count - pos < RECORD_HEAD_BYTES + payload_bytes ||
            be32_get(bytes + pos + 4) != crc32c(0, span_make(bytes + pos + 8, 8 + payload_bytes)) ||
            be64_get(bytes + pos + 8) != last_number + 1) {
            break;
        }
        last_number++;
        pos += RECORD_HEAD_BYTES + payload_bytes;
    }
    *ret_last_number = last_number;
    return pos;
}

static enum err write_anew(struct fs *fs, const char *path, const uint8_t *bytes, size_t count, struct file **ret_file)
{
    char aside_path[PATH_BYTES + sizeof(".aside")];
    (void)snprintf(aside_path, sizeof(aside_path), "%s.aside", path);
    struct file *file = NULL;
    enum err err = fs_open(fs, aside_path, FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_TRUNCATE, &file);
    if (err != ERR_OK) {
        return err;
    }
    struct span span = span_make(bytes, count);
    err = file_pwritev(file, &span, 1, 0);
    if (err == ERR_OK) {
        err = file_sync(file);
    }
    if (err == ERR_OK) {
        err = fs_rename(fs, aside_path, path);
    }
    if (err == ERR_OK) {
        err = fs_sync_dir(fs, "notes");
    }
    if (err != ERR_OK) {
        file_unref(file);
        return err;
    }
    *ret_file = file;
    return ERR_OK;
}

static enum err read_all(struct fs *fs, const char *path, uint8_t **ret_bytes, size_t *ret_count)
{
    *ret_bytes = NULL;
    *ret_count = 0;
    struct file *file = NULL;
    enum err err = fs_open(fs, path, FS_OPEN_READ, &file);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    uint64_t bytes = 0;
    err = file_size(file, &bytes);
    uint8_t *buffer = (uint8_t *)mem_alloc((size_t)bytes);
    size_t read_bytes = 0;
    if (err == ERR_OK) {
        err = file_pread(file, buffer, (size_t)bytes, 0, &read_bytes);
    }
    file_unref(file);
    if (err != ERR_OK) {
        mem_free(buffer);
        return err;
    }
    *ret_bytes = buffer;
    *ret_count = read_bytes;
    return ERR_OK;
}

static void check_payloads(const struct smoke_notes *notes, const uint8_t *bytes, size_t count)
{
    uint8_t expected[SMOKE_PAYLOAD_BYTES_MAX];
    for (size_t pos = 0; pos < count;) {
        uint32_t payload_bytes = be32_get(bytes + pos);
        CHECK(payload_bytes == smoke_payload(notes->writer, be64_get(bytes + pos + 8), expected));
        CHECK(memcmp(bytes + pos + RECORD_HEAD_BYTES, expected, payload_bytes) == 0);
        pos += RECORD_HEAD_BYTES + payload_bytes;
    }
}

void smoke_notes_open(struct smoke_notes *notes, struct smoke_node *node, unsigned writer)
{
    notes->node = node;
    notes->writer = writer;
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "notes/%u", writer);
    uint8_t *bytes = NULL;
    size_t count = 0;
    enum err err = read_all(node->env->fs, path, &bytes, &count);
    if (err == ERR_OK) {
        count = whole_bytes(bytes, count, &notes->last_number);
        check_payloads(notes, bytes, count);
        err = write_anew(node->env->fs, path, bytes, count, &notes->file);
    }
    mem_free(bytes);
    if (err != ERR_OK) {
        fail(notes);
        return;
    }
    notes->end_pos = count;
    notes->synced_number = notes->last_number;
    node->events.on_recovered(node->events.ctx, node->options.index, writer, notes->last_number);
}

/* ---- the log loop ---- */

static void acknowledge_on_net_loop(struct loop_task *task)
{
    struct notes_message *message = CONTAINER_OF(task, struct notes_message, task);
    smoke_net_acknowledge(message->notes->node, message->notes->writer, message->number);
    mem_free(message);
}

static void acknowledge(struct smoke_notes *notes, uint64_t number)
{
    struct notes_message *message = MEM_NEW(struct notes_message);
    message->task.run = acknowledge_on_net_loop;
    message->notes = notes;
    message->number = number;
    loop_post(notes->node->net_loop, &message->task);
}

static void sync_work(struct loop_job *job)
{
    struct smoke_notes *notes = CONTAINER_OF(job, struct smoke_notes, sync_job);
    notes->sync_err = file_sync(notes->file);
}

static void sync_start(struct smoke_notes *notes);

static void sync_done(struct loop_job *job)
{
    struct smoke_notes *notes = CONTAINER_OF(job, struct smoke_notes, sync_job);
    notes->is_syncing = false;
    if (notes->sync_err != ERR_OK) {
        fail(notes); /* never again: a later sync could succeed and mean nothing */
        return;
    }
    notes->synced_number = notes->syncing_number;
    acknowledge(notes, notes->synced_number);
    sync_start(notes);
}

/* One sync at a time covers all that was appended before it. */
static void sync_start(struct smoke_notes *notes)
{
    if (notes->is_syncing || notes->is_failed || notes->synced_number == notes->last_number) {
        return;
    }
    notes->is_syncing = true;
    notes->syncing_number = notes->last_number;
    notes->sync_job.work = sync_work;
    notes->sync_job.done = sync_done;
    loop_submit(notes->node->log_loop, &notes->sync_job);
}

static void append_on_log_loop(struct loop_task *task)
{
    struct notes_message *message = CONTAINER_OF(task, struct notes_message, task);
    struct smoke_notes *notes = message->notes;
    if (!notes->is_failed) {
        CHECK(message->number == notes->last_number + 1);
        uint8_t record[RECORD_HEAD_BYTES + SMOKE_PAYLOAD_BYTES_MAX];
        struct span span =
            span_make(record, record_make(record, message->number, message->payload, message->payload_bytes));
        if (file_pwritev(notes->file, &span, 1, notes->end_pos) != ERR_OK) {
            fail(notes);
        } else {
            notes->end_pos += span.bytes;
            notes->last_number = message->number;
            if (notes->node->options.breaks_promise) {
                acknowledge(notes, notes->last_number);
            }
            sync_start(notes);
        }
    }
    mem_free(message);
}

void smoke_notes_submit(struct smoke_notes *notes, uint64_t number, const uint8_t *payload, uint32_t payload_bytes)
{
    struct notes_message *message = MEM_NEW(struct notes_message);
    message->task.run = append_on_log_loop;
    message->notes = notes;
    message->number = number;
    message->payload_bytes = payload_bytes;
    memcpy(message->payload, payload, payload_bytes);
    loop_post(notes->node->log_loop, &message->task);
}

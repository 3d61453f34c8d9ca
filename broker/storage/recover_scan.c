#include "broker/storage/recover.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

#define SCAN_BUFFER_BYTES (256u << 10)

struct scanner {
    struct file *file;
    uint64_t file_bytes;
    uint64_t pos; /* of the first byte in the buffer that is not used yet */
    uint8_t *buffer;
    size_t capacity_bytes;
    size_t start; /* unused bytes: [start, end) */
    size_t end;
};

/* Has `bytes` unused bytes in the buffer, if the file has them. */
static enum err fill(struct scanner *scanner, size_t bytes)
{
    size_t held_bytes = scanner->end - scanner->start;
    uint64_t left_bytes = scanner->file_bytes - scanner->pos;
    size_t wanted_bytes = left_bytes < bytes ? (size_t)left_bytes : bytes;
    size_t read_bytes = 0;
    if (held_bytes >= wanted_bytes) {
        return ERR_OK;
    }
    memmove(scanner->buffer, scanner->buffer + scanner->start, held_bytes);
    scanner->start = 0;
    scanner->end = held_bytes;
    if (wanted_bytes > scanner->capacity_bytes) {
        scanner->buffer = mem_grow(scanner->buffer, wanted_bytes, 1);
        scanner->capacity_bytes = wanted_bytes;
    }
    size_t room_bytes = scanner->capacity_bytes - held_bytes;
    uint64_t more_bytes = left_bytes - held_bytes;
    enum err err =
        file_pread(scanner->file, scanner->buffer + held_bytes,
                   more_bytes < room_bytes ? (size_t)more_bytes : room_bytes, scanner->pos + held_bytes, &read_bytes);
    scanner->end += read_bytes;
    return err;
}

/* The next batch, whole and with a good CRC. ERR_END at the end of the file, ERR_CORRUPT for everything else. */
static enum err next_good_batch(struct scanner *scanner, struct batch *ret_batch)
{
    size_t batch_bytes = 0;
    enum err err = fill(scanner, BATCH_HEADER_BYTES);
    if (err != ERR_OK) {
        return err;
    }
    struct span held = span_make(scanner->buffer + scanner->start, scanner->end - scanner->start);
    if (held.bytes == 0) {
        return ERR_END;
    }
    if (batch_peek(held, &batch_bytes) != ERR_OK || batch_bytes > scanner->file_bytes - scanner->pos) {
        return ERR_CORRUPT; /* before memory is taken for what a torn length claims */
    }
    err = fill(scanner, batch_bytes);
    if (err != ERR_OK) {
        return err;
    }
    held = span_make(scanner->buffer + scanner->start, scanner->end - scanner->start);
    if (batch_parse(held, ret_batch) != ERR_OK || batch_check_crc(ret_batch) != ERR_OK) {
        return ERR_CORRUPT;
    }
    scanner->start += batch_bytes;
    scanner->pos += batch_bytes;
    return ERR_OK;
}

static bool is_offset_right(const struct partition_log *log, const struct batch_header *header, bool may_skip)
{
    int64_t base_offset = log_active(log)->base_offset;
    if (header->base_offset < base_offset || batch_last_offset(header) - base_offset > INT32_MAX) {
        return false;
    }
    return may_skip ? header->base_offset >= log->log_end_offset : header->base_offset == log->log_end_offset;
}

static enum err take_over(struct partition_log *log, const struct batch *batch, uint64_t pos, int64_t now_ms)
{
    struct control_marker marker;
    bool is_marker = batch_is_control(&batch->header) && control_batch_parse(batch, &marker) == ERR_OK;
    enum err err = log_append_note(log, &batch->header, is_marker ? &marker : NULL, pos, now_ms);
    if (err == ERR_OK) {
        log->log_end_offset = batch_next_offset(&batch->header);
    }
    return err;
}

enum err recover_scan(struct partition_log *log, uint64_t start_pos, bool may_skip, uint64_t *ret_good_pos)
{
    struct log_segment *active = log_active(log);
    struct scanner scanner = {.file_bytes = active->bytes, .pos = start_pos};
    int64_t now_ms = clock_wall_ms(log->env->clock);
    struct batch batch;
    enum err err = log_segment_file(active, log->files, log->path, SEGMENT_LOG, &scanner.file);
    if (err != ERR_OK) {
        return err;
    }
    scanner.file = file_ref(scanner.file); /* index files may push it out of the cache */
    scanner.capacity_bytes = SCAN_BUFFER_BYTES;
    scanner.buffer = mem_alloc(scanner.capacity_bytes);
    *ret_good_pos = start_pos;
    while ((err = next_good_batch(&scanner, &batch)) == ERR_OK) {
        if (!is_offset_right(log, &batch.header, may_skip)) {
            err = ERR_CORRUPT;
            break;
        }
        err = take_over(log, &batch, *ret_good_pos, now_ms);
        if (err != ERR_OK) {
            break;
        }
        *ret_good_pos = scanner.pos;
    }
    mem_free(scanner.buffer);
    file_unref(scanner.file);
    return err == ERR_END ? ERR_OK : err;
}

#include "broker/storage/batch_scan.h"

#include "broker/storage/index_read.h"

void batch_scan_init(struct batch_scan *scan, struct file *file, uint64_t pos, uint64_t end_pos, bool may_block)
{
    scan->file = file;
    scan->pos = pos;
    scan->end_pos = end_pos;
    scan->may_block = may_block;
    scan->window_pos = 0;
    scan->window_bytes = 0;
}

/* Makes the window hold the header at scan->pos. */
static enum err fill_window(struct batch_scan *scan)
{
    uint64_t left_bytes = scan->end_pos - scan->pos;
    if (scan->pos >= scan->window_pos && scan->pos + BATCH_HEADER_BYTES <= scan->window_pos + scan->window_bytes) {
        return ERR_OK;
    }
    size_t bytes = left_bytes < BATCH_SCAN_WINDOW_BYTES ? (size_t)left_bytes : BATCH_SCAN_WINDOW_BYTES;
    enum err err = index_read(scan->file, scan->pos, scan->window, bytes, scan->may_block);
    if (err == ERR_OK) {
        scan->window_pos = scan->pos;
        scan->window_bytes = bytes;
    }
    return err;
}

enum err batch_scan_next(struct batch_scan *scan, struct batch_header *ret_header, uint64_t *ret_pos)
{
    CHECK(scan->pos <= scan->end_pos);
    uint64_t left_bytes = scan->end_pos - scan->pos;
    if (left_bytes == 0) {
        return ERR_END;
    }
    if (left_bytes < BATCH_HEADER_BYTES) {
        return ERR_CORRUPT;
    }
    enum err err = fill_window(scan);
    if (err != ERR_OK) {
        return err;
    }
    struct span bytes = span_make(scan->window + (scan->pos - scan->window_pos), BATCH_HEADER_BYTES);
    struct batch_header header;
    if (batch_header_parse(bytes, &header) != ERR_OK || header.batch_bytes > left_bytes) {
        return ERR_CORRUPT;
    }
    *ret_header = header;
    *ret_pos = scan->pos;
    scan->pos += header.batch_bytes;
    return ERR_OK;
}

/* batch_scan: walks the batch headers of a segment file, through a small window, without the records.
 *
 * Limits:    the window is BATCH_SCAN_WINDOW_BYTES, inside the struct (on the caller's stack).
 * Units:     positions are bytes in the file; `end_pos` is exclusive.
 * Errors:    ERR_END at end_pos; ERR_CORRUPT a header that can't be, or a batch that passes end_pos; ERR_WOULD_BLOCK when
 *            `may_block` is false and the bytes are not cached. The scan stays where it is on an error.
 * Ownership: the file is borrowed.
 * Threads:   one at a time.
 */
#ifndef BROKER_STORAGE_BATCH_SCAN_H
#define BROKER_STORAGE_BATCH_SCAN_H

#include "proto/record/batch.h"

#define BATCH_SCAN_WINDOW_BYTES 4096u

struct file;

struct batch_scan {
    struct file *file;
    uint64_t pos; /* of the next batch */
    uint64_t end_pos;
    bool may_block;
    uint64_t window_pos;
    size_t window_bytes;
    uint8_t window[BATCH_SCAN_WINDOW_BYTES];
};

void batch_scan_init(struct batch_scan *scan, struct file *file, uint64_t pos, uint64_t end_pos, bool may_block);
/* The header of the next batch and where it begins; moves behind it. */
enum err batch_scan_next(struct batch_scan *scan, struct batch_header *ret_header, uint64_t *ret_pos) MUST_USE;

#endif

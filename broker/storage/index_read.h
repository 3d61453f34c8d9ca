/* index_read: a whole piece of a file, or an error: what index searches and batch walks read with.
 *
 * Errors:    ERR_WOULD_BLOCK when `may_block` is false and the disk would be asked; ERR_CORRUPT when the file ends
 *            before the piece does.
 * Threads:   any.
 */
#ifndef BROKER_STORAGE_INDEX_READ_H
#define BROKER_STORAGE_INDEX_READ_H

#include "common/seam/fs.h"

static inline enum err index_read(struct file *file, uint64_t pos, void *ret_bytes, size_t bytes, bool may_block)
{
    size_t read_bytes = 0;
    if (!may_block && !file_is_cached(file, pos, bytes)) {
        return ERR_WOULD_BLOCK;
    }
    enum err err = file_pread(file, ret_bytes, bytes, pos, &read_bytes);
    if (err == ERR_OK && read_bytes != bytes) {
        err = ERR_CORRUPT;
    }
    return err;
}

#endif

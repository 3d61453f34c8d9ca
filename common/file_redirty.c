#include "common/file_redirty.h"

#include "common/mem.h"

#define REDIRTY_CHUNK_BYTES (128u << 10) /* each thread of the pool keeps as much (posix_env.c) */

enum err file_redirty(struct file *file, uint64_t start_pos, uint64_t end_pos)
{
    if (start_pos >= end_pos) {
        return ERR_OK;
    }
    uint8_t *chunk = mem_alloc(REDIRTY_CHUNK_BYTES);
    enum err err = ERR_OK;
    for (uint64_t pos = start_pos; pos < end_pos && err == ERR_OK;) {
        size_t want_bytes = end_pos - pos < REDIRTY_CHUNK_BYTES ? (size_t)(end_pos - pos) : REDIRTY_CHUNK_BYTES;
        size_t read_bytes = 0;
        err = file_pread(file, chunk, want_bytes, pos, &read_bytes);
        if (err == ERR_OK && read_bytes < want_bytes) {
            err = ERR_CORRUPT; /* shorter than what its owner has just read */
        }
        if (err == ERR_OK) {
            struct span bytes = span_make(chunk, read_bytes);
            err = file_pwritev(file, &bytes, 1, pos);
        }
        pos += read_bytes;
    }
    mem_free(chunk);
    return err;
}

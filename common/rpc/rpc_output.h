/* rpc_output: what waits to be written on a link: a queue of pieces, each copied bytes, bytes of a shared buffer, or a range of
 * a file.
 *
 * Shape:     a ring of pieces. Copied bytes go into blocks of RPC_OUTPUT_BLOCK_BYTES, and neighbours in one block are one piece:
 *            many small frames leave as one span of one write.
 * Limits:    none of its own; rpc_link.h says who bounds it.
 * Ownership: holds references to buffers and files until their last byte is sent.
 * Threads:   one at a time.
 * Source:    correctness.md 4, trap 20 (a file lives until its last byte is written).
 */
#ifndef COMMON_RPC_RPC_OUTPUT_H
#define COMMON_RPC_RPC_OUTPUT_H

#include "common/seam/fs.h"
#include "common/shared_bytes.h"

#define RPC_OUTPUT_BLOCK_BYTES 4096u
#define RPC_OUTPUT_COPY_BYTES_MAX 512u        /* shared bytes up to this are copied: cheaper than a span of their own */
#define RPC_OUTPUT_FILE_COPY_BYTES_MAX 16384u /* file ranges up to this: they leave with what surrounds them */

struct rpc_output_piece {
    struct shared_bytes *shared; /* holds `bytes` */
    struct span bytes;
    struct file *file; /* or [pos, pos + file_bytes) of it */
    uint64_t pos;
    size_t file_bytes;
};

struct rpc_output {
    struct rpc_output_piece *pieces;
    size_t piece_capacity; /* a power of two, or 0 */
    size_t first;
    size_t piece_count;
    size_t queued_bytes;
    struct shared_bytes *block; /* copied bytes go here, behind block_used_bytes */
    size_t block_used_bytes;
};

/* Zeroed memory is an empty output. */
void rpc_output_done(struct rpc_output *output);
void rpc_output_copy(struct rpc_output *output, struct span bytes);
void rpc_output_share(struct rpc_output *output, struct shared_bytes *shared, struct span bytes);
void rpc_output_file(struct rpc_output *output, struct file *file, uint64_t pos, size_t bytes);
/* Fills the spans up to a file range; none when one comes first or nothing waits. Returns their count. */
size_t rpc_output_gather(const struct rpc_output *output, struct span *ret_spans, size_t span_count_max,
                         size_t bytes_max, size_t *ret_bytes);
/* The file range that goes next, or NULL. */
const struct rpc_output_piece *rpc_output_next_file(const struct rpc_output *output);
/* The next `bytes` were sent. Gives memory back when nothing is left. */
void rpc_output_advance(struct rpc_output *output, size_t bytes);

#endif

#include "common/rpc/rpc_output.h"

#include "common/mem.h"

#define FIRST_PIECES 16u

static struct rpc_output_piece *piece_at(const struct rpc_output *output, size_t index)
{
    return &output->pieces[(output->first + index) & (output->piece_capacity - 1)];
}

static void piece_done(struct rpc_output_piece *piece)
{
    shared_bytes_unref(piece->shared);
    file_unref(piece->file);
}

void rpc_output_done(struct rpc_output *output)
{
    for (size_t i = 0; i < output->piece_count; i++) {
        piece_done(piece_at(output, i));
    }
    mem_free(output->pieces);
    shared_bytes_unref(output->block);
    *output = (struct rpc_output){0};
}

static void grow(struct rpc_output *output)
{
    size_t capacity = output->piece_capacity == 0 ? FIRST_PIECES : 2 * output->piece_capacity;
    struct rpc_output_piece *pieces = mem_array(capacity, sizeof(*pieces));
    for (size_t i = 0; i < output->piece_count; i++) {
        pieces[i] = *piece_at(output, i);
    }
    mem_free(output->pieces);
    output->pieces = pieces;
    output->piece_capacity = capacity;
    output->first = 0;
}

static void push(struct rpc_output *output, const struct rpc_output_piece *piece)
{
    if (output->piece_count == output->piece_capacity) {
        grow(output);
    }
    *piece_at(output, output->piece_count++) = *piece;
    output->queued_bytes += piece->file != NULL ? piece->file_bytes : piece->bytes.bytes;
}

/* Room for `bytes` in the block: in one go, so that one piece stands for them. */
static uint8_t *block_room(struct rpc_output *output, size_t bytes)
{
    if (output->block == NULL || output->block->bytes - output->block_used_bytes < bytes) {
        shared_bytes_unref(output->block);
        output->block = shared_bytes_new(bytes > RPC_OUTPUT_BLOCK_BYTES ? bytes : RPC_OUTPUT_BLOCK_BYTES);
        output->block_used_bytes = 0;
    }
    return output->block->data + output->block_used_bytes;
}

/* `bytes` behind the used ones have been filled. */
static void push_from_block(struct rpc_output *output, size_t bytes)
{
    const uint8_t *start = output->block->data + output->block_used_bytes;
    output->block_used_bytes += bytes;
    if (output->piece_count > 0) {
        struct rpc_output_piece *last = piece_at(output, output->piece_count - 1);
        if (last->shared == output->block && last->bytes.data + last->bytes.bytes == start) {
            last->bytes.bytes += bytes;
            output->queued_bytes += bytes;
            return;
        }
    }
    push(output, &(struct rpc_output_piece){.shared = shared_bytes_ref(output->block), .bytes = {start, bytes}});
}

void rpc_output_copy(struct rpc_output *output, struct span bytes)
{
    if (bytes.bytes > 0) {
        memcpy(block_room(output, bytes.bytes), bytes.data, bytes.bytes);
        push_from_block(output, bytes.bytes);
    }
}

void rpc_output_share(struct rpc_output *output, struct shared_bytes *shared, struct span bytes)
{
    if (bytes.bytes <= RPC_OUTPUT_COPY_BYTES_MAX) {
        rpc_output_copy(output, bytes);
        return;
    }
    push(output, &(struct rpc_output_piece){.shared = shared_bytes_ref(shared), .bytes = bytes});
}

void rpc_output_file(struct rpc_output *output, struct file *file, uint64_t pos, size_t bytes)
{
    if (bytes == 0) {
        return;
    }
    if (bytes <= RPC_OUTPUT_FILE_COPY_BYTES_MAX) {
        size_t read_bytes = 0;
        if (file_pread(file, block_room(output, bytes), bytes, pos, &read_bytes) == ERR_OK && read_bytes == bytes) {
            push_from_block(output, bytes);
            return;
        }
        /* Sending it as a file tells what is wrong. */
    }
    push(output, &(struct rpc_output_piece){.file = file_ref(file), .pos = pos, .file_bytes = bytes});
}

size_t rpc_output_gather(const struct rpc_output *output, struct span *ret_spans, size_t span_count_max,
                         size_t bytes_max, size_t *ret_bytes)
{
    size_t span_count = 0;
    size_t bytes = 0;
    while (span_count < output->piece_count && span_count < span_count_max && bytes < bytes_max) {
        const struct rpc_output_piece *piece = piece_at(output, span_count);
        if (piece->file != NULL) {
            break;
        }
        ret_spans[span_count++] = piece->bytes;
        bytes += piece->bytes.bytes;
    }
    *ret_bytes = bytes;
    return span_count;
}

const struct rpc_output_piece *rpc_output_next_file(const struct rpc_output *output)
{
    return output->piece_count > 0 && piece_at(output, 0)->file != NULL ? piece_at(output, 0) : NULL;
}

/* Returns how much of `bytes` the first piece took; drops the piece when it is sent. */
static size_t advance_first(struct rpc_output *output, size_t bytes)
{
    struct rpc_output_piece *piece = piece_at(output, 0);
    size_t left_bytes = piece->file != NULL ? piece->file_bytes : piece->bytes.bytes;
    size_t part_bytes = bytes < left_bytes ? bytes : left_bytes;
    if (part_bytes == left_bytes) {
        piece_done(piece);
        output->first = (output->first + 1) & (output->piece_capacity - 1);
        output->piece_count--;
    } else if (piece->file != NULL) {
        piece->pos += part_bytes;
        piece->file_bytes -= part_bytes;
    } else {
        piece->bytes = span_sub(piece->bytes, part_bytes, left_bytes - part_bytes);
    }
    return part_bytes;
}

void rpc_output_advance(struct rpc_output *output, size_t bytes)
{
    CHECK(bytes <= output->queued_bytes);
    output->queued_bytes -= bytes;
    while (bytes > 0) {
        bytes -= advance_first(output, bytes);
    }
    if (output->piece_count == 0) {
        CHECK(output->queued_bytes == 0);
        rpc_output_done(output);
    }
}

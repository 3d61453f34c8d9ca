/* snappy can't stop in the middle of a block, so a block that does not fit into the room is held whole, and its claimed
 * length is judged before any memory is taken (CVE-2023-34455). */
#include "common/big_endian.h"
#include "common/mem.h"
#include "proto/record/compress.h"
#include "proto/record/decompress_codec.h"

#include <snappy-c.h>

static enum err snappy_open(struct decompressor *decompressor)
{
    struct span input = decompressor->input;

    decompressor->block_unread = SPAN_NULL;
    decompressor->is_xerial = input.bytes >= COMPRESS_XERIAL_HEADER_BYTES &&
                              memcmp(input.data, compress_xerial_magic, COMPRESS_XERIAL_MAGIC_BYTES) == 0;
    /* The two versions behind the magic were written in both byte orders by old clients and never changed meaning:
     * nobody reads them. */
    if (decompressor->is_xerial) {
        decompress_consume(decompressor, COMPRESS_XERIAL_HEADER_BYTES);
    }
    return ERR_OK;
}

/* Take the next compressed block off the input, with its uncompressed size, which is allowed and possible. */
static enum err snappy_next_block(struct decompressor *decompressor, struct span *ret_block, size_t *ret_plain_bytes)
{
    struct span block = decompressor->input;
    size_t frame_bytes = 0;
    size_t plain_bytes;

    if (decompressor->is_xerial) {
        if (block.bytes < sizeof(uint32_t)) {
            return ERR_CORRUPT;
        }
        size_t block_bytes = be32_get(block.data);
        frame_bytes = sizeof(uint32_t);
        if (block_bytes > block.bytes - frame_bytes) {
            return ERR_CORRUPT;
        }
        block = span_sub(block, frame_bytes, block_bytes);
    }
    if (snappy_uncompressed_length((const char *)block.data, block.bytes, &plain_bytes) != SNAPPY_OK) {
        return ERR_CORRUPT;
    }
    if (plain_bytes > decompressor->output_left_bytes) {
        return ERR_LIMIT;
    }
    if (plain_bytes > block.bytes * DECOMPRESS_SNAPPY_RATIO_MAX) {
        return ERR_CORRUPT;
    }
    decompress_consume(decompressor, frame_bytes + block.bytes);
    *ret_block = block;
    *ret_plain_bytes = plain_bytes;
    return ERR_OK;
}

static void snappy_reserve_block(struct decompressor *decompressor, size_t bytes)
{
    if (bytes <= decompressor->block_capacity_bytes) {
        return;
    }
    mem_free(decompressor->block);
    decompressor->block = mem_alloc(bytes);
    decompressor->block_capacity_bytes = bytes;
}

static enum err snappy_read(struct decompressor *decompressor, uint8_t *to, size_t room_bytes, size_t *ret_bytes)
{
    struct span *unread = &decompressor->block_unread;

    *ret_bytes = 0;
    while (unread->bytes == 0) {
        struct span block;
        size_t plain_bytes;
        if (decompressor->input.bytes == 0 && (decompressor->is_xerial || !span_is_null(*unread))) {
            return decompress_end(decompressor);
        }
        enum err err = snappy_next_block(decompressor, &block, &plain_bytes);
        if (err != ERR_OK) {
            return err;
        }
        bool is_direct = plain_bytes <= room_bytes && plain_bytes > 0;
        if (!is_direct) {
            snappy_reserve_block(decompressor, plain_bytes + 1);
        }
        uint8_t *plain = is_direct ? to : decompressor->block;
        size_t got_bytes = plain_bytes;
        if (snappy_uncompress((const char *)block.data, block.bytes, (char *)plain, &got_bytes) != SNAPPY_OK ||
            got_bytes != plain_bytes) {
            return ERR_CORRUPT;
        }
        *unread = span_make(plain, plain_bytes);
        if (is_direct) {
            *unread = span_sub(*unread, plain_bytes, 0);
            *ret_bytes = plain_bytes;
            return ERR_OK;
        }
    }
    size_t bytes = unread->bytes < room_bytes ? unread->bytes : room_bytes;
    memcpy(to, unread->data, bytes);
    *unread = span_sub(*unread, bytes, unread->bytes - bytes);
    *ret_bytes = bytes;
    return ERR_OK;
}

static void snappy_forget(struct decompressor *decompressor)
{
    if (decompressor->block_capacity_bytes <= DECOMPRESS_KEPT_BYTES_MAX) {
        return;
    }
    mem_free(decompressor->block);
    decompressor->block = NULL;
    decompressor->block_capacity_bytes = 0;
}

const struct codec_reader decompress_snappy = {snappy_open, snappy_read, snappy_forget};

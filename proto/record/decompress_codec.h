/* decompress_codec: the inside of decompress: what each codec does, and the state that they share. Only the
 * decompress files include it.
 *
 * Shape:     a codec is three functions: open (look at the input, make or reset the library's context), read (put up to
 *            `room_bytes` of output somewhere, and say by is_ended when that was all), forget (give back what is too
 *            large to keep). `read` may return fewer bytes than there is room for.
 * Errors:    ERR_CORRUPT, ERR_LIMIT as in decompress.h.
 * Ownership: the decompressor owns the window, the contexts and the block; the input is borrowed.
 * Threads:   one at a time.
 */
#ifndef PROTO_RECORD_DECOMPRESS_CODEC_H
#define PROTO_RECORD_DECOMPRESS_CODEC_H

#include "proto/record/decompress.h"

#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>

struct codec_reader {
    enum err (*open)(struct decompressor *decompressor);
    enum err (*read)(struct decompressor *decompressor, uint8_t *to, size_t room_bytes, size_t *ret_bytes);
    void (*forget)(struct decompressor *decompressor);
};

struct decompressor {
    uint8_t *window; /* DECOMPRESS_CARRY_BYTES_MAX, then DECOMPRESS_WINDOW_BYTES */
    const struct codec_reader *reader;
    struct span input;        /* not yet consumed */
    size_t output_left_bytes; /* still allowed */
    bool is_ended;            /* the codec's own end was seen */
    bool is_xerial;           /* snappy with framing */
    bool is_lz4_large;        /* blocks of 4 MiB: the context is not worth keeping */
    bool has_gzip;            /* gzip is initialised */
    z_stream gzip;
    LZ4F_dctx *lz4;
    ZSTD_DCtx *zstd;
    uint8_t *block; /* a snappy block that did not fit into the room */
    size_t block_capacity_bytes;
    struct span block_unread;
};

extern const struct codec_reader decompress_gzip;
extern const struct codec_reader decompress_snappy;
extern const struct codec_reader decompress_lz4;
extern const struct codec_reader decompress_zstd;

static inline void decompress_consume(struct decompressor *decompressor, size_t bytes)
{
    decompressor->input = span_sub(decompressor->input, bytes, decompressor->input.bytes - bytes);
}

/* The codec's end: whatever follows it does not belong to the batch. */
static inline enum err decompress_end(struct decompressor *decompressor)
{
    decompressor->is_ended = true;
    return decompressor->input.bytes == 0 ? ERR_OK : ERR_CORRUPT;
}

#endif

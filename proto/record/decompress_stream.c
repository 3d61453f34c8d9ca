/* The codecs whose libraries stream: gzip, lz4, zstd.
 *
 * The libraries allocate by themselves. Running out of memory inside them ends the process like everywhere else
 * (ADR-0003) where they say so; lz4 does not tell it from corrupt input through its public interface. */
#include "proto/record/decompress_codec.h"

#include <zstd_errors.h>

/* 32 KiB window, gzip header and trailer expected. */
#define GZIP_WINDOW_BITS (15 + 16)

/* The lz4 frame header: magic, FLG, BD (github.com/lz4/lz4, doc/lz4_Frame_format.md). */
#define LZ4_FLG_POS 4u
#define LZ4_BD_POS 5u
#define LZ4_HEADER_BYTES_MIN 7u
#define LZ4_FLG_DICTIONARY 0x01u
#define LZ4_BLOCK_4_MIB 7u

static enum err gzip_open(struct decompressor *decompressor)
{
    if (decompressor->has_gzip) {
        CHECK(inflateReset(&decompressor->gzip) == Z_OK);
        return ERR_OK;
    }
    CHECK(inflateInit2(&decompressor->gzip, GZIP_WINDOW_BITS) == Z_OK);
    decompressor->has_gzip = true;
    return ERR_OK;
}

static enum err gzip_read(struct decompressor *decompressor, uint8_t *to, size_t room_bytes, size_t *ret_bytes)
{
    z_stream *gzip = &decompressor->gzip;

    /* Batches are far below 4 GiB (BATCH_BYTES_MAX), so the casts keep everything. */
    gzip->next_in = (z_const Bytef *)(uintptr_t)decompressor->input.data;
    gzip->avail_in = (uInt)decompressor->input.bytes;
    gzip->next_out = to;
    gzip->avail_out = (uInt)room_bytes;
    int result = inflate(gzip, Z_NO_FLUSH);
    CHECK(result != Z_MEM_ERROR);
    decompress_consume(decompressor, decompressor->input.bytes - gzip->avail_in);
    *ret_bytes = room_bytes - gzip->avail_out;
    if (result == Z_STREAM_END) {
        return decompress_end(decompressor);
    }
    if (result != Z_OK && result != Z_BUF_ERROR) {
        return ERR_CORRUPT;
    }
    return *ret_bytes > 0 ? ERR_OK : ERR_CORRUPT; /* no end, no output: cut short */
}

static enum err lz4_open(struct decompressor *decompressor)
{
    struct span input = decompressor->input;

    if (input.bytes < LZ4_HEADER_BYTES_MIN || (input.data[LZ4_FLG_POS] & LZ4_FLG_DICTIONARY) != 0) {
        return ERR_CORRUPT;
    }
    decompressor->is_lz4_large = ((input.data[LZ4_BD_POS] >> 4) & 7u) >= LZ4_BLOCK_4_MIB;
    if (decompressor->lz4 == NULL) {
        CHECK(!LZ4F_isError(LZ4F_createDecompressionContext(&decompressor->lz4, LZ4F_VERSION)));
    }
    LZ4F_resetDecompressionContext(decompressor->lz4);
    return ERR_OK;
}

static enum err lz4_read(struct decompressor *decompressor, uint8_t *to, size_t room_bytes, size_t *ret_bytes)
{
    size_t done_bytes = 0;

    while (done_bytes < room_bytes) {
        size_t in_bytes = decompressor->input.bytes;
        size_t out_bytes = room_bytes - done_bytes;
        size_t hint =
            LZ4F_decompress(decompressor->lz4, to + done_bytes, &out_bytes, decompressor->input.data, &in_bytes, NULL);
        if (LZ4F_isError(hint)) {
            return ERR_CORRUPT;
        }
        decompress_consume(decompressor, in_bytes);
        done_bytes += out_bytes;
        *ret_bytes = done_bytes;
        if (hint == 0) {
            return decompress_end(decompressor);
        }
        if (in_bytes == 0 && out_bytes == 0) {
            return done_bytes > 0 ? ERR_OK : ERR_CORRUPT; /* cut short: seen by the next call at the latest */
        }
    }
    return ERR_OK;
}

static void lz4_forget(struct decompressor *decompressor)
{
    if (!decompressor->is_lz4_large) {
        return;
    }
    LZ4F_freeDecompressionContext(decompressor->lz4);
    decompressor->lz4 = NULL;
    decompressor->is_lz4_large = false;
}

static enum err zstd_open(struct decompressor *decompressor)
{
    if (decompressor->input.bytes == 0) {
        return ERR_CORRUPT;
    }
    if (decompressor->zstd == NULL) {
        decompressor->zstd = ZSTD_createDCtx();
        CHECK(decompressor->zstd != NULL);
        CHECK(!ZSTD_isError(
            ZSTD_DCtx_setParameter(decompressor->zstd, ZSTD_d_windowLogMax, DECOMPRESS_ZSTD_WINDOW_LOG_MAX)));
    }
    CHECK(!ZSTD_isError(ZSTD_DCtx_reset(decompressor->zstd, ZSTD_reset_session_only)));
    return ERR_OK;
}

static enum err zstd_read(struct decompressor *decompressor, uint8_t *to, size_t room_bytes, size_t *ret_bytes)
{
    ZSTD_outBuffer out = {.dst = to, .size = room_bytes};

    while (out.pos < out.size) {
        ZSTD_inBuffer in = {.src = decompressor->input.data, .size = decompressor->input.bytes};
        size_t before_bytes = out.pos;
        size_t hint = ZSTD_decompressStream(decompressor->zstd, &out, &in);
        if (ZSTD_isError(hint)) {
            CHECK(ZSTD_getErrorCode(hint) != ZSTD_error_memory_allocation);
            return ERR_CORRUPT;
        }
        decompress_consume(decompressor, in.pos);
        *ret_bytes = out.pos;
        /* A frame may follow a frame: the stream ends only where the input does. */
        if (hint == 0 && decompressor->input.bytes == 0) {
            return decompress_end(decompressor);
        }
        if (in.pos == 0 && out.pos == before_bytes) {
            return out.pos > 0 ? ERR_OK : ERR_CORRUPT; /* cut short: seen by the next call at the latest */
        }
    }
    return ERR_OK;
}

static void zstd_forget(struct decompressor *decompressor)
{
    if (decompressor->zstd == NULL || ZSTD_sizeof_DCtx(decompressor->zstd) <= DECOMPRESS_KEPT_BYTES_MAX) {
        return;
    }
    ZSTD_freeDCtx(decompressor->zstd);
    decompressor->zstd = NULL;
}

static void forget_nothing(struct decompressor *decompressor)
{
    (void)decompressor;
}

const struct codec_reader decompress_gzip = {gzip_open, gzip_read, forget_nothing};
const struct codec_reader decompress_lz4 = {lz4_open, lz4_read, lz4_forget};
const struct codec_reader decompress_zstd = {zstd_open, zstd_read, zstd_forget};

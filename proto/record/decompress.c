/* Each codec is three functions behind one table: open (look at the input, make or reset the library's context), read
 * (put up to `room` bytes of output somewhere), and forget (give back memory that is too large to keep). `read` may
 * return fewer bytes than there is room for; none at all means the end, and only when the input ended cleanly.
 *
 * The output bound lives in one place, decompressor_more: a codec is offered one byte more room than is allowed, and
 * using it is ERR_LIMIT. snappy, which can't stop in the middle of a block, checks the bound itself before it begins.
 *
 * The libraries allocate by themselves. Running out of memory inside them ends the process like everywhere else
 * (ADR-0003) where they say so; lz4 does not tell it from corrupt input through its public interface. */
#include "proto/record/decompress.h"

#include "common/big_endian.h"
#include "common/mem.h"
#include "proto/record/batch.h"
#include "proto/record/compress.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

/* 32 KiB window, gzip header and trailer expected. */
#define GZIP_WINDOW_BITS (15 + 16)

/* The lz4 frame header: magic, FLG, BD (github.com/lz4/lz4, doc/lz4_Frame_format.md). */
#define LZ4_FLG_POS 4u
#define LZ4_BD_POS 5u
#define LZ4_HEADER_BYTES_MIN 7u
#define LZ4_FLG_DICTIONARY 0x01u
#define LZ4_BLOCK_4_MIB 7u

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

static void consume(struct decompressor *decompressor, size_t bytes)
{
    decompressor->input = span_sub(decompressor->input, bytes, decompressor->input.bytes - bytes);
}

/* The codec's end: whatever follows it does not belong to the batch. */
static enum err end_here(struct decompressor *decompressor)
{
    decompressor->is_ended = true;
    return decompressor->input.bytes == 0 ? ERR_OK : ERR_CORRUPT;
}

static enum err plain_open(struct decompressor *decompressor)
{
    (void)decompressor;
    return ERR_OK;
}

static enum err plain_read(struct decompressor *decompressor, uint8_t *to, size_t room_bytes, size_t *ret_bytes)
{
    size_t bytes = decompressor->input.bytes < room_bytes ? decompressor->input.bytes : room_bytes;

    if (bytes > 0) {
        memcpy(to, decompressor->input.data, bytes);
    }
    consume(decompressor, bytes);
    decompressor->is_ended = decompressor->input.bytes == 0;
    *ret_bytes = bytes;
    return ERR_OK;
}

static void forget_nothing(struct decompressor *decompressor)
{
    (void)decompressor;
}

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
    consume(decompressor, decompressor->input.bytes - gzip->avail_in);
    *ret_bytes = room_bytes - gzip->avail_out;
    if (result == Z_STREAM_END) {
        return end_here(decompressor);
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
        consume(decompressor, in_bytes);
        done_bytes += out_bytes;
        *ret_bytes = done_bytes;
        if (hint == 0) {
            return end_here(decompressor);
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
        consume(decompressor, in.pos);
        *ret_bytes = out.pos;
        /* A frame may follow a frame: the stream ends only where the input does. */
        if (hint == 0 && decompressor->input.bytes == 0) {
            return end_here(decompressor);
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

static enum err snappy_open(struct decompressor *decompressor)
{
    struct span input = decompressor->input;

    decompressor->block_unread = SPAN_NULL;
    decompressor->is_xerial = input.bytes >= COMPRESS_XERIAL_HEADER_BYTES &&
                              memcmp(input.data, COMPRESS_XERIAL_MAGIC, COMPRESS_XERIAL_MAGIC_BYTES) == 0;
    /* The two versions behind the magic were written in both byte orders by old clients and never changed meaning:
     * nobody reads them. */
    if (decompressor->is_xerial) {
        consume(decompressor, COMPRESS_XERIAL_HEADER_BYTES);
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
    consume(decompressor, frame_bytes + block.bytes);
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
            return end_here(decompressor);
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

static const struct codec_reader codec_readers[BATCH_CODEC_COUNT] = {
    [BATCH_CODEC_NONE] = {plain_open, plain_read, forget_nothing},
    [BATCH_CODEC_GZIP] = {gzip_open, gzip_read, forget_nothing},
    [BATCH_CODEC_SNAPPY] = {snappy_open, snappy_read, snappy_forget},
    [BATCH_CODEC_LZ4] = {lz4_open, lz4_read, lz4_forget},
    [BATCH_CODEC_ZSTD] = {zstd_open, zstd_read, zstd_forget},
};

struct decompressor *decompressor_new(void)
{
    struct decompressor *decompressor = MEM_NEW(struct decompressor);

    decompressor->window = mem_alloc(DECOMPRESS_CARRY_BYTES_MAX + DECOMPRESS_WINDOW_BYTES);
    return decompressor;
}

void decompressor_free(struct decompressor *decompressor)
{
    if (decompressor == NULL) {
        return;
    }
    if (decompressor->has_gzip) {
        (void)inflateEnd(&decompressor->gzip);
    }
    LZ4F_freeDecompressionContext(decompressor->lz4);
    ZSTD_freeDCtx(decompressor->zstd);
    mem_free(decompressor->block);
    mem_free(decompressor->window);
    mem_free(decompressor);
}

/* Leave the current stream. */
static void settle(struct decompressor *decompressor)
{
    if (decompressor->reader != NULL) {
        decompressor->reader->forget(decompressor);
    }
    decompressor->reader = NULL;
    decompressor->input = SPAN_NULL;
}

enum err decompressor_open(struct decompressor *decompressor, unsigned codec_bits, struct span compressed,
                           size_t output_bytes_max)
{
    settle(decompressor);
    if (codec_bits >= BATCH_CODEC_COUNT) {
        return ERR_UNSUPPORTED;
    }
    CHECK(compressed.bytes <= BATCH_BYTES_MAX && output_bytes_max <= DECOMPRESS_BYTES_MAX);
    decompressor->reader = &codec_readers[codec_bits];
    /* The null span has no address that could be added to. */
    decompressor->input = span_is_null(compressed) ? span_make("", 0) : compressed;
    decompressor->output_left_bytes = output_bytes_max;
    decompressor->is_ended = false;
    return decompressor->reader->open(decompressor);
}

enum err decompressor_more(struct decompressor *decompressor, struct span *unread)
{
    uint8_t *to = decompressor->window + DECOMPRESS_CARRY_BYTES_MAX;
    size_t allowed_bytes = decompressor->output_left_bytes + 1;
    size_t room_bytes = allowed_bytes < DECOMPRESS_WINDOW_BYTES ? allowed_bytes : DECOMPRESS_WINDOW_BYTES;
    size_t bytes = 0;
    enum err err = ERR_OK;

    CHECK(unread->bytes <= DECOMPRESS_CARRY_BYTES_MAX);
    if (unread->bytes > 0) {
        memmove(to - unread->bytes, unread->data, unread->bytes);
    }
    *unread = span_make(to - unread->bytes, unread->bytes);
    if (decompressor->reader == NULL) {
        return ERR_END;
    }
    /* A codec may need several turns for a first byte, and says by is_ended when there is none. */
    while (err == ERR_OK && bytes == 0 && !decompressor->is_ended) {
        err = decompressor->reader->read(decompressor, to, room_bytes, &bytes);
    }
    if (err == ERR_OK && bytes > decompressor->output_left_bytes) {
        err = ERR_LIMIT;
    }
    if (err != ERR_OK || bytes == 0) {
        settle(decompressor);
        return err != ERR_OK ? err : ERR_END;
    }
    decompressor->output_left_bytes -= bytes;
    unread->bytes += bytes;
    return ERR_OK;
}

enum err decompress_append(struct decompressor *decompressor, unsigned codec_bits, struct span compressed,
                           size_t output_bytes_max, struct bytebuf *output)
{
    enum err err = decompressor_open(decompressor, codec_bits, compressed, output_bytes_max);

    while (err == ERR_OK) {
        struct span chunk = SPAN_NULL;
        err = decompressor_more(decompressor, &chunk);
        if (err == ERR_OK) {
            err = bytebuf_append(output, chunk);
        }
    }
    return err == ERR_END ? ERR_OK : err;
}

/* Compression is one call per batch: the whole input is at hand, so every library's one-shot function does, after its
 * own bound function has said how much room it may need. */
#include "proto/record/compress.h"

#include "common/big_endian.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

/* 32 KiB window, gzip header and trailer; zlib's default memory level. */
#define GZIP_WINDOW_BITS (15 + 16)
#define GZIP_MEMORY_LEVEL 8

const uint8_t compress_xerial_magic[COMPRESS_XERIAL_MAGIC_BYTES] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

static enum err gzip_append(struct span bytes, struct bytebuf *output)
{
    z_stream gzip = {0};
    uint8_t *room;

    CHECK(deflateInit2(&gzip, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL,
                       Z_DEFAULT_STRATEGY) == Z_OK);
    size_t room_bytes = deflateBound(&gzip, bytes.bytes);
    enum err err = bytebuf_reserve(output, room_bytes, &room);
    if (err == ERR_OK) {
        gzip.next_in = (z_const Bytef *)(uintptr_t)bytes.data;
        gzip.avail_in = (uInt)bytes.bytes;
        gzip.next_out = room;
        gzip.avail_out = (uInt)room_bytes;
        CHECK(deflate(&gzip, Z_FINISH) == Z_STREAM_END);
        bytebuf_added(output, room_bytes - gzip.avail_out);
    }
    (void)deflateEnd(&gzip);
    return err;
}

static size_t snappy_block_count(struct span bytes)
{
    return (bytes.bytes + COMPRESS_SNAPPY_BLOCK_BYTES - 1) / COMPRESS_SNAPPY_BLOCK_BYTES;
}

static enum err snappy_append(struct span bytes, struct bytebuf *output)
{
    size_t block_room_bytes = sizeof(uint32_t) + snappy_max_compressed_length(COMPRESS_SNAPPY_BLOCK_BYTES);
    uint8_t *room;
    enum err err =
        bytebuf_reserve(output, COMPRESS_XERIAL_HEADER_BYTES + snappy_block_count(bytes) * block_room_bytes, &room);

    if (err != ERR_OK) {
        return err;
    }
    memcpy(room, compress_xerial_magic, COMPRESS_XERIAL_MAGIC_BYTES);
    be32_put(room + COMPRESS_XERIAL_MAGIC_BYTES, COMPRESS_XERIAL_VERSION);
    be32_put(room + COMPRESS_XERIAL_MAGIC_BYTES + sizeof(uint32_t), COMPRESS_XERIAL_VERSION);
    size_t done_bytes = COMPRESS_XERIAL_HEADER_BYTES;
    for (size_t pos = 0; pos < bytes.bytes; pos += COMPRESS_SNAPPY_BLOCK_BYTES) {
        size_t left_bytes = bytes.bytes - pos;
        size_t plain_bytes = left_bytes < COMPRESS_SNAPPY_BLOCK_BYTES ? left_bytes : COMPRESS_SNAPPY_BLOCK_BYTES;
        size_t block_bytes = block_room_bytes - sizeof(uint32_t);
        uint8_t *block = room + done_bytes + sizeof(uint32_t);
        CHECK(snappy_compress((const char *)bytes.data + pos, plain_bytes, (char *)block, &block_bytes) == SNAPPY_OK);
        be32_put(room + done_bytes, (uint32_t)block_bytes);
        done_bytes += sizeof(uint32_t) + block_bytes;
    }
    bytebuf_added(output, done_bytes);
    return ERR_OK;
}

static enum err lz4_append(struct span bytes, struct bytebuf *output)
{
    const LZ4F_preferences_t preferences = {
        .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent},
    };
    size_t room_bytes = LZ4F_compressFrameBound(bytes.bytes, &preferences);
    uint8_t *room;
    enum err err = bytebuf_reserve(output, room_bytes, &room);

    if (err != ERR_OK) {
        return err;
    }
    size_t done_bytes = LZ4F_compressFrame(room, room_bytes, bytes.data, bytes.bytes, &preferences);
    CHECK(!LZ4F_isError(done_bytes));
    bytebuf_added(output, done_bytes);
    return ERR_OK;
}

static enum err zstd_append(struct span bytes, struct bytebuf *output)
{
    size_t room_bytes = ZSTD_compressBound(bytes.bytes);
    uint8_t *room;
    enum err err = bytebuf_reserve(output, room_bytes, &room);

    if (err != ERR_OK) {
        return err;
    }
    size_t done_bytes = ZSTD_compress(room, room_bytes, bytes.data, bytes.bytes, ZSTD_CLEVEL_DEFAULT);
    CHECK(!ZSTD_isError(done_bytes));
    bytebuf_added(output, done_bytes);
    return ERR_OK;
}

static const struct {
    const char *name;
    enum err (*append)(struct span bytes, struct bytebuf *output);
} codecs[BATCH_CODEC_COUNT] = {
    [BATCH_CODEC_NONE] = {"none", NULL},
    [BATCH_CODEC_GZIP] = {"gzip", gzip_append},
    [BATCH_CODEC_SNAPPY] = {"snappy", snappy_append},
    [BATCH_CODEC_LZ4] = {"lz4", lz4_append},
    [BATCH_CODEC_ZSTD] = {"zstd", zstd_append},
};

enum err compress_append(enum batch_codec codec, struct span bytes, struct bytebuf *output)
{
    if ((unsigned)codec >= BATCH_CODEC_COUNT) {
        return ERR_UNSUPPORTED;
    }
    if (bytes.bytes > BATCH_BYTES_MAX) {
        return ERR_LIMIT;
    }
    if (codecs[codec].append == NULL) {
        return bytebuf_append(output, bytes);
    }
    return codecs[codec].append(bytes, output);
}

const char *compress_codec_name(unsigned codec_bits)
{
    return codec_bits < BATCH_CODEC_COUNT ? codecs[codec_bits].name : NULL;
}

enum err compress_codec_find(struct span name, enum batch_codec *ret_codec)
{
    for (unsigned i = 0; i < BATCH_CODEC_COUNT; i++) {
        if (span_equal_text(name, codecs[i].name)) {
            *ret_codec = (enum batch_codec)i;
            return ERR_OK;
        }
    }
    return ERR_NOT_FOUND;
}

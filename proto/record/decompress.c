/* The frame around the codecs. The output bound lives in one place, decompressor_more: a codec is offered one byte more
 * room than is allowed, and using it is ERR_LIMIT. snappy, which can't stop in the middle of a block, checks the bound
 * itself before it begins. */
#include "common/mem.h"
#include "proto/record/batch.h"
#include "proto/record/decompress_codec.h"

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
    decompress_consume(decompressor, bytes);
    decompressor->is_ended = decompressor->input.bytes == 0;
    *ret_bytes = bytes;
    return ERR_OK;
}

static void forget_nothing(struct decompressor *decompressor)
{
    (void)decompressor;
}

static const struct codec_reader plain_reader = {plain_open, plain_read, forget_nothing};

static const struct codec_reader *const codec_readers[BATCH_CODEC_COUNT] = {
    [BATCH_CODEC_NONE] = &plain_reader,        [BATCH_CODEC_GZIP] = &decompress_gzip,
    [BATCH_CODEC_SNAPPY] = &decompress_snappy, [BATCH_CODEC_LZ4] = &decompress_lz4,
    [BATCH_CODEC_ZSTD] = &decompress_zstd,
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
    decompressor->reader = codec_readers[codec_bits];
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

/* The codecs: what goes in comes out, whatever the sizes; what is cut, broken or a bomb is refused in bounded memory. */
#include "common/big_endian.h"
#include "common/mem.h"
#include "proto/record/compress.h"
#include "tests/unit/record/record_support.h"

#include <lz4frame.h>
#include <malloc.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#define BOMB_BYTES (1u << 30)

static void pack(unsigned codec, struct span plain, struct bytebuf *ret_packed)
{
    bytebuf_init(ret_packed, TEST_BYTES_MAX * 2);
    assert_int_equal(compress_append((enum batch_codec)codec, plain, ret_packed), ERR_OK);
}

static void codecs_have_kafkas_names(void **state)
{
    (void)state;
    static const char *const names[] = {"none", "gzip", "snappy", "lz4", "zstd"};

    for (unsigned i = 0; i < BATCH_CODEC_COUNT; i++) {
        enum batch_codec codec = BATCH_CODEC_NONE;
        assert_string_equal(compress_codec_name(i), names[i]);
        assert_int_equal(compress_codec_find(span_text(names[i]), &codec), ERR_OK);
        assert_int_equal(codec, i);
    }
    enum batch_codec codec = BATCH_CODEC_NONE;
    assert_null(compress_codec_name(BATCH_CODEC_COUNT));
    assert_int_equal(compress_codec_find(span_text("brotli"), &codec), ERR_NOT_FOUND);
}

/* One decompressor for everything: a stream must leave nothing behind for the next, which may have another codec. */
static void round_trips_of_all_sizes(void **state)
{
    (void)state;
    struct prop prop;
    struct decompressor *decompressor = decompressor_new();
    struct bytebuf output;
    uint8_t *plain = mem_alloc(1u << 20);

    prop_init(&prop, __func__, 2);
    bytebuf_init(&output, TEST_BYTES_MAX);
    for (uint64_t run = prop_runs(300); run > 0; run--) {
        size_t bytes = (size_t)prop_skewed(&prop, 1u << 20);
        unsigned codec = (unsigned)prop_below(&prop, BATCH_CODEC_COUNT);
        struct bytebuf packed;
        fill_random(&prop, plain, bytes);
        pack(codec, span_make(plain, bytes), &packed);
        bytebuf_clear(&output);
        assert_int_equal(decompress_append(decompressor, codec, bytebuf_span(&packed), bytes, &output), ERR_OK);
        assert_true(span_equal(bytebuf_span(&output), span_make(plain, bytes)));
        if (bytes > 0) {
            bytebuf_clear(&output);
            assert_int_equal(decompress_append(decompressor, codec, bytebuf_span(&packed), bytes - 1, &output),
                             ERR_LIMIT);
        }
        bytebuf_done(&packed);
    }
    bytebuf_done(&output);
    mem_free(plain);
    decompressor_free(decompressor);
}

static void unread_bytes_are_carried_over(void **state)
{
    (void)state;
    struct decompressor *decompressor = decompressor_new();
    uint8_t *plain = mem_alloc(300000);

    for (size_t i = 0; i < 300000; i++) {
        plain[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    for (unsigned codec = 0; codec < BATCH_CODEC_COUNT; codec++) {
        struct bytebuf packed;
        struct span unread = SPAN_NULL;
        size_t read_bytes = 0;
        pack(codec, span_make(plain, 300000), &packed);
        assert_int_equal(decompressor_open(decompressor, codec, bytebuf_span(&packed), 300000), ERR_OK);
        while (decompressor_more(decompressor, &unread) == ERR_OK) {
            assert_memory_equal(unread.data, plain + read_bytes, unread.bytes);
            size_t taken_bytes = unread.bytes > DECOMPRESS_CARRY_BYTES_MAX ? unread.bytes - 9 : 1;
            read_bytes += taken_bytes;
            unread = span_sub(unread, taken_bytes, unread.bytes - taken_bytes);
        }
        assert_int_equal(read_bytes + unread.bytes, 300000);
        assert_memory_equal(unread.data, plain + read_bytes, unread.bytes);
        bytebuf_done(&packed);
    }
    mem_free(plain);
    decompressor_free(decompressor);
}

/* zstd and lz4 may end in an empty block, so a cut can leave all the output but never a clean end. */
static void a_cut_or_a_tail_is_corrupt(void **state)
{
    (void)state;
    struct decompressor *decompressor = decompressor_new();
    struct bytebuf output;
    uint8_t plain[2000];

    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)(i * i >> 5);
    }
    bytebuf_init(&output, TEST_BYTES_MAX);
    for (unsigned codec = BATCH_CODEC_GZIP; codec < BATCH_CODEC_COUNT; codec++) {
        struct bytebuf packed;
        pack(codec, span_make(plain, sizeof(plain)), &packed);
        for (size_t cut = 0; cut < packed.bytes; cut++) {
            /* behind the xerial header a stream may end; within it, the bytes are a raw block of some length */
            bool is_whole = codec == BATCH_CODEC_SNAPPY && cut == COMPRESS_XERIAL_HEADER_BYTES;
            bool is_raw = codec == BATCH_CODEC_SNAPPY && cut < COMPRESS_XERIAL_HEADER_BYTES;
            enum err err = decompress_append(decompressor, codec, span_make(packed.data, cut), 4096, &output);
            assert_true(is_whole ? err == ERR_OK : err == ERR_CORRUPT || (is_raw && err == ERR_LIMIT));
        }
        assert_int_equal(bytebuf_append(&packed, span_text("!")), ERR_OK);
        assert_int_equal(decompress_append(decompressor, codec, bytebuf_span(&packed), 4096, &output), ERR_CORRUPT);
        bytebuf_done(&packed);
    }
    bytebuf_done(&output);
    decompressor_free(decompressor);
}

static void flipped_bits_never_break_out(void **state)
{
    (void)state;
    struct prop prop;
    struct decompressor *decompressor = decompressor_new();
    struct bytebuf output;
    uint8_t plain[3000];

    prop_init(&prop, __func__, 3);
    fill_random(&prop, plain, sizeof(plain));
    bytebuf_init(&output, TEST_BYTES_MAX);
    for (unsigned codec = BATCH_CODEC_GZIP; codec < BATCH_CODEC_COUNT; codec++) {
        struct bytebuf packed;
        pack(codec, span_make(plain, sizeof(plain)), &packed);
        for (uint64_t run = prop_runs(2000); run > 0; run--) {
            size_t pos = prop_below(&prop, packed.bytes);
            uint8_t flip = (uint8_t)(1u << prop_below(&prop, 8));
            packed.data[pos] ^= flip;
            bytebuf_clear(&output);
            enum err err = decompress_append(decompressor, codec, bytebuf_span(&packed), 8192, &output);
            assert_true(err == ERR_OK || err == ERR_CORRUPT || err == ERR_LIMIT);
            assert_true(output.bytes <= 8192);
            packed.data[pos] ^= flip;
        }
        bytebuf_done(&packed);
    }
    bytebuf_done(&output);
    decompressor_free(decompressor);
}

static void raw_snappy_is_accepted(void **state)
{
    (void)state;
    struct decompressor *decompressor = decompressor_new();
    struct bytebuf output;
    uint8_t *plain = mem_zalloc(500000);
    char *packed = mem_alloc(snappy_max_compressed_length(500000));
    size_t packed_bytes = snappy_max_compressed_length(500000);

    memset(plain + 1000, 'x', 200000);
    assert_int_equal(snappy_compress((const char *)plain, 500000, packed, &packed_bytes), SNAPPY_OK);
    bytebuf_init(&output, TEST_BYTES_MAX);
    assert_int_equal(decompress_append(decompressor, BATCH_CODEC_SNAPPY, span_make(packed, packed_bytes),
                                       DECOMPRESS_BYTES_MAX, &output),
                     ERR_OK);
    assert_true(span_equal(bytebuf_span(&output), span_make(plain, 500000)));
    bytebuf_done(&output);
    mem_free(plain);
    mem_free(packed);
    decompressor_free(decompressor);
}

static void zstd_frames_may_follow_each_other(void **state)
{
    (void)state;
    struct decompressor *decompressor = decompressor_new();
    struct bytebuf packed;
    struct bytebuf output;

    pack(BATCH_CODEC_ZSTD, span_text("one "), &packed);
    assert_int_equal(compress_append(BATCH_CODEC_ZSTD, span_text("two"), &packed), ERR_OK);
    bytebuf_init(&output, TEST_BYTES_MAX);
    assert_int_equal(decompress_append(decompressor, BATCH_CODEC_ZSTD, bytebuf_span(&packed), 100, &output), ERR_OK);
    assert_true(span_equal_text(bytebuf_span(&output), "one two"));
    bytebuf_done(&packed);
    bytebuf_done(&output);
    decompressor_free(decompressor);
}

/* A gibibyte of zeros in each codec's own stream, made a piece at a time. */
static void gzip_bomb(struct bytebuf *ret_packed, const uint8_t *zeros, size_t zeros_bytes)
{
    z_stream gzip = {0};
    uint8_t *room;

    assert_int_equal(bytebuf_reserve(ret_packed, 4u << 20, &room), ERR_OK);
    assert_int_equal(deflateInit2(&gzip, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    gzip.next_out = room;
    gzip.avail_out = 4u << 20;
    for (size_t done_bytes = 0; done_bytes < BOMB_BYTES / 4; done_bytes += zeros_bytes) {
        gzip.next_in = (z_const Bytef *)(uintptr_t)zeros;
        gzip.avail_in = (uInt)zeros_bytes;
        assert_int_equal(deflate(&gzip, Z_NO_FLUSH), Z_OK);
    }
    assert_int_equal(deflate(&gzip, Z_FINISH), Z_STREAM_END);
    bytebuf_added(ret_packed, (4u << 20) - gzip.avail_out);
    deflateEnd(&gzip);
}

static void zstd_bomb(struct bytebuf *ret_packed, const uint8_t *zeros, size_t zeros_bytes)
{
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    uint8_t *room;

    assert_int_equal(bytebuf_reserve(ret_packed, 4u << 20, &room), ERR_OK);
    ZSTD_outBuffer out = {.dst = room, .size = 4u << 20};
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, DECOMPRESS_ZSTD_WINDOW_LOG_MAX);
    for (size_t done_bytes = 0; done_bytes < BOMB_BYTES; done_bytes += zeros_bytes) {
        ZSTD_inBuffer in = {.src = zeros, .size = zeros_bytes};
        bool is_last = done_bytes + zeros_bytes >= BOMB_BYTES;
        size_t left = ZSTD_compressStream2(zstd, &out, &in, is_last ? ZSTD_e_end : ZSTD_e_continue);
        assert_false(ZSTD_isError(left));
        assert_int_equal(in.pos, in.size);
    }
    bytebuf_added(ret_packed, out.pos);
    ZSTD_freeCCtx(zstd);
}

static void lz4_bomb(struct bytebuf *ret_packed, const uint8_t *zeros, size_t zeros_bytes)
{
    LZ4F_cctx *lz4 = NULL;
    const LZ4F_preferences_t preferences = {.frameInfo = {.blockSizeID = LZ4F_max4MB}};
    uint8_t *room;

    assert_int_equal(bytebuf_reserve(ret_packed, 16u << 20, &room), ERR_OK);
    assert_false(LZ4F_isError(LZ4F_createCompressionContext(&lz4, LZ4F_VERSION)));
    size_t done = LZ4F_compressBegin(lz4, room, 16u << 20, &preferences);
    for (size_t done_bytes = 0; done_bytes < BOMB_BYTES / 4; done_bytes += zeros_bytes) {
        size_t added = LZ4F_compressUpdate(lz4, room + done, (16u << 20) - done, zeros, zeros_bytes, NULL);
        assert_false(LZ4F_isError(added));
        done += added;
    }
    size_t added = LZ4F_compressEnd(lz4, room + done, (16u << 20) - done, NULL);
    assert_false(LZ4F_isError(added));
    bytebuf_added(ret_packed, done + added);
    LZ4F_freeCompressionContext(lz4);
}

/* xerial, so that each block is small and only the sum is too large */
static void snappy_bomb(struct bytebuf *ret_packed, const uint8_t *zeros, size_t zeros_bytes)
{
    char block[200000];
    uint8_t length[4];
    size_t block_bytes = sizeof(block);

    assert_true(snappy_max_compressed_length(zeros_bytes) <= sizeof(block));
    assert_int_equal(snappy_compress((const char *)zeros, zeros_bytes, block, &block_bytes), SNAPPY_OK);
    assert_int_equal(bytebuf_append(ret_packed, span_make("\x82SNAPPY\0\0\0\0\1\0\0\0\1", 16)), ERR_OK);
    be32_put(length, (uint32_t)block_bytes);
    for (size_t done_bytes = 0; done_bytes < BOMB_BYTES / 4; done_bytes += zeros_bytes) {
        assert_int_equal(bytebuf_append(ret_packed, span_make(length, sizeof(length))), ERR_OK);
        assert_int_equal(bytebuf_append(ret_packed, span_make(block, block_bytes)), ERR_OK);
    }
}

/* What decompression may hold: the window, zstd's own window as far as the output allows (its 128 MiB are address space
 * until touched), and the libraries' small contexts. */
static void bombs_are_stopped_in_bounded_memory(void **state)
{
    (void)state;
    static void (*const bombs[])(struct bytebuf *, const uint8_t *, size_t) = {
        [BATCH_CODEC_GZIP] = gzip_bomb,
        [BATCH_CODEC_SNAPPY] = snappy_bomb,
        [BATCH_CODEC_LZ4] = lz4_bomb,
        [BATCH_CODEC_ZSTD] = zstd_bomb,
    };
    uint8_t *zeros = mem_zalloc(128u << 10);

    for (unsigned codec = BATCH_CODEC_GZIP; codec < BATCH_CODEC_COUNT; codec++) {
        struct decompressor *decompressor = decompressor_new();
        struct bytebuf packed;
        struct bytebuf bytes;
        struct batch batch;
        struct batch_report report;
        bytebuf_init(&packed, TEST_BYTES_MAX);
        bombs[codec](&packed, zeros, 128u << 10);
        batch_around(bytebuf_span(&packed), (enum batch_codec)codec, 1, &bytes);
        assert_int_equal(batch_parse(bytebuf_span(&bytes), &batch), ERR_OK);

        size_t before_bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
        /* as records: zeros are a malformed record at once, which must not hide anything */
        records_validate(&batch, decompressor, &report);
        assert_int_equal(report.problem, RECORD_MALFORMED);

        struct span unread = SPAN_NULL;
        size_t output_bytes = 0;
        assert_int_equal(decompressor_open(decompressor, codec, bytebuf_span(&packed), DECOMPRESS_BYTES_MAX), ERR_OK);
        enum err err = ERR_OK;
        size_t held_bytes_max = 0;
        while ((err = decompressor_more(decompressor, &unread)) == ERR_OK) {
            output_bytes += unread.bytes;
            unread = SPAN_NULL;
            size_t held_bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before_bytes;
            held_bytes_max = held_bytes > held_bytes_max && held_bytes < SIZE_MAX / 2 ? held_bytes : held_bytes_max;
        }
        assert_int_equal(err, ERR_LIMIT);
        assert_true(output_bytes <= DECOMPRESS_BYTES_MAX);
        size_t allowed_bytes = (codec == BATCH_CODEC_ZSTD ? 129u << 20 : 0) + (10u << 20);
        assert_true(held_bytes_max <= allowed_bytes);
        size_t kept_bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
        assert_true(kept_bytes <= before_bytes || kept_bytes - before_bytes <= DECOMPRESS_KEPT_BYTES_MAX);
        print_message("# %s: held at most %zu KiB\n", compress_codec_name(codec), held_bytes_max >> 10);
        bytebuf_done(&packed);
        bytebuf_done(&bytes);
        decompressor_free(decompressor);
    }
    mem_free(zeros);
}

/* CVE-2023-34455: a length that is only claimed must not be allocated. */
static void claimed_snappy_lengths_are_not_believed(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[8];
        size_t used_bytes;
        enum err err;
    } cases[] = {
        {{0xff, 0xff, 0xff, 0xff, 0x0f, 0}, 6, ERR_LIMIT},  /* 4 GiB - 1 */
        {{0x80, 0x80, 0x80, 0x20, 0, 'a'}, 6, ERR_CORRUPT}, /* 64 MiB, allowed but impossible from 6 bytes */
        {{0x81, 0x80, 0x80, 0x20, 0, 'a'}, 6, ERR_LIMIT},   /* one more */
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 6, ERR_CORRUPT}, {{5, 0, 'a'}, 3, ERR_CORRUPT}, {{1, 0, 'a'}, 3, ERR_OK},
    };
    struct decompressor *decompressor = decompressor_new();
    struct bytebuf output;

    bytebuf_init(&output, TEST_BYTES_MAX);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        size_t before_bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
        enum err err = decompress_append(decompressor, BATCH_CODEC_SNAPPY,
                                         span_make(cases[i].bytes, cases[i].used_bytes), DECOMPRESS_BYTES_MAX, &output);
        assert_int_equal(err, cases[i].err);
        assert_true(mallinfo2().uordblks + mallinfo2().hblkhd <= before_bytes + 4096);
    }
    bytebuf_done(&output);
    decompressor_free(decompressor);
}

static void lz4_dictionaries_are_refused(void **state)
{
    (void)state;
    struct decompressor *decompressor = decompressor_new();
    struct bytebuf packed;
    struct bytebuf output;

    pack(BATCH_CODEC_LZ4, span_text("some text"), &packed);
    packed.data[4] |= 1;
    bytebuf_init(&output, TEST_BYTES_MAX);
    assert_int_equal(decompress_append(decompressor, BATCH_CODEC_LZ4, bytebuf_span(&packed), 100, &output),
                     ERR_CORRUPT);
    bytebuf_done(&packed);
    bytebuf_done(&output);
    decompressor_free(decompressor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codecs_have_kafkas_names),
        cmocka_unit_test(round_trips_of_all_sizes),
        cmocka_unit_test(unread_bytes_are_carried_over),
        cmocka_unit_test(a_cut_or_a_tail_is_corrupt),
        cmocka_unit_test(flipped_bits_never_break_out),
        cmocka_unit_test(raw_snappy_is_accepted),
        cmocka_unit_test(zstd_frames_may_follow_each_other),
        cmocka_unit_test(bombs_are_stopped_in_bounded_memory),
        cmocka_unit_test(claimed_snappy_lengths_are_not_believed),
        cmocka_unit_test(lz4_dictionaries_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

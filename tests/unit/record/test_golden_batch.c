/* Batches made by Kafka's Java code, librdkafka and kafka-python (tests/golden/record): accepted, and read as what they
 * are. Uncompressed, our builder makes the very same bytes. */
#include "proto/record/compress.h"
#include "proto/record/control.h"
#include "tests/unit/record/record_support.h"

#include <ctype.h>
#include <stdio.h>

#define GOLDEN_BYTES_MAX 4096

static int hex_digit(int character)
{
    return isdigit(character) ? character - '0' : tolower(character) - 'a' + 10;
}

/* The bytes of a hex file, without its first line, which says by what it was made. */
static void golden_read(const char *maker, const char *name, struct bytebuf *ret_bytes)
{
    char path[512];
    int high = -1;
    int character;

    (void)snprintf(path, sizeof(path), GOLDEN_RECORD_DIR "/%s-%s.hex", maker, name);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fail_msg("%s can't be opened", path);
    }
    bytebuf_init(ret_bytes, GOLDEN_BYTES_MAX);
    while ((character = fgetc(file)) != '\n') {
        assert_int_not_equal(character, EOF);
    }
    while ((character = fgetc(file)) != EOF) {
        if (!isxdigit(character)) {
            continue;
        }
        if (high < 0) {
            high = hex_digit(character);
            continue;
        }
        uint8_t byte = (uint8_t)(high << 4 | hex_digit(character));
        assert_int_equal(bytebuf_append(ret_bytes, span_make(&byte, 1)), ERR_OK);
        high = -1;
    }
    assert_int_equal(fclose(file), 0);
}

static void add_three(struct batch_builder *builder)
{
    struct record_header headers[] = {{span_text("h1"), span_text("x")}, {span_text("h2"), SPAN_NULL}};
    char long_value[301];

    memset(long_value, 'a', 300);
    long_value[300] = '\0';
    assert_int_equal(batch_builder_add(builder, TEST_NOW_MS, span_text("k0"), span_text("v0"), headers, 2), ERR_OK);
    assert_int_equal(batch_builder_add(builder, TEST_NOW_MS + 5, SPAN_NULL, span_text(long_value), NULL, 0), ERR_OK);
    assert_int_equal(batch_builder_add(builder, TEST_NOW_MS - 7, span_text("k2"), SPAN_NULL, NULL, 0), ERR_OK);
}

static void assert_three(const struct batch *batch)
{
    struct decompressor *decompressor = decompressor_new();
    struct bytebuf plain;
    struct span records;
    struct batch_builder builder;

    bytebuf_init(&plain, GOLDEN_BYTES_MAX);
    batch_builder_init(&builder, GOLDEN_BYTES_MAX);
    batch_builder_begin(&builder, &BATCH_OPTIONS_DEFAULT);
    add_three(&builder);
    assert_int_equal(batch_records_plain(batch, decompressor, &plain, &records), ERR_OK);
    struct span built = bytebuf_span(&builder.bytes);
    assert_true(span_equal(records, span_sub(built, BATCH_HEADER_BYTES, built.bytes - BATCH_HEADER_BYTES)));

    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, &batch->header, records);
    assert_int_equal(record_iter_next(&iter, &record), ERR_OK);
    assert_true(span_equal_text(record.key, "k0") && span_equal_text(record.value, "v0"));
    assert_true(record.header_count == 2 && record.timestamp_ms == TEST_NOW_MS);
    assert_int_equal(record_iter_next(&iter, &record), ERR_OK);
    assert_true(span_is_null(record.key) && record.value.bytes == 300);
    assert_int_equal(record_iter_next(&iter, &record), ERR_OK);
    assert_true(span_is_null(record.value) && record.timestamp_ms == TEST_NOW_MS - 7 && record.offset == 2);
    assert_int_equal(record_iter_next(&iter, &record), ERR_END);
    batch_builder_done(&builder);
    bytebuf_done(&plain);
    decompressor_free(decompressor);
}

static void clients_batches_are_accepted_and_read(void **state)
{
    (void)state;
    static const char *const makers[] = {"java", "rdkafka", "kafka-python"};
    struct decompressor *decompressor = decompressor_new();

    for (size_t i = 0; i < ARRAY_COUNT(makers); i++) {
        for (unsigned codec = 0; codec < BATCH_CODEC_COUNT; codec++) {
            struct bytebuf bytes;
            struct batch batch;
            struct batch_report report;
            golden_read(makers[i], compress_codec_name(codec), &bytes);
            batch_validate(bytebuf_span(&bytes), &policy_any, decompressor, &batch, &report);
            assert_int_equal(report.problem, BATCH_GOOD);
            assert_int_equal(batch_codec_bits(&batch.header), codec);
            assert_true(report.max_timestamp_ms == TEST_NOW_MS + 5 && report.max_timestamp_offset_delta == 1);
            assert_true(batch.header.max_timestamp_ms == report.max_timestamp_ms);
            assert_three(&batch);
            bytebuf_done(&bytes);
        }
    }
    decompressor_free(decompressor);
}

static void our_bytes_are_javas_bytes(void **state)
{
    (void)state;
    struct batch_options options = BATCH_OPTIONS_DEFAULT;
    struct batch_builder builder;
    struct bytebuf golden;
    struct bytebuf built;

    bytebuf_init(&built, GOLDEN_BYTES_MAX);
    batch_builder_init(&builder, GOLDEN_BYTES_MAX);
    batch_builder_begin(&builder, &options);
    add_three(&builder);
    assert_int_equal(batch_builder_finish(&builder, &built), ERR_OK);
    golden_read("java", "none", &golden);
    assert_true(span_equal(bytebuf_span(&golden), bytebuf_span(&built)));
    bytebuf_done(&golden);

    options.is_transactional = true;
    options.producer_id = 4711;
    options.producer_epoch = 3;
    options.base_sequence = INT32_MAX - 1;
    bytebuf_clear(&built);
    batch_builder_begin(&builder, &options);
    add_three(&builder);
    assert_int_equal(batch_builder_finish(&builder, &built), ERR_OK);
    golden_read("java", "transactional", &golden);
    assert_true(span_equal(bytebuf_span(&golden), bytebuf_span(&built)));
    struct batch batch;
    assert_int_equal(batch_parse(bytebuf_span(&golden), &batch), ERR_OK);
    assert_int_equal(batch_last_sequence(&batch.header), 0);
    bytebuf_done(&golden);
    bytebuf_done(&built);
    batch_builder_done(&builder);
}

static void our_markers_are_javas_markers(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct control_marker marker = {.type = i == 0 ? CONTROL_ABORT : CONTROL_COMMIT, .coordinator_epoch = 9};
        struct control_marker got = {0};
        struct bytebuf golden;
        struct bytebuf built;
        struct batch batch;
        golden_read("java", i == 0 ? "abort" : "commit", &golden);
        assert_int_equal(batch_parse(bytebuf_span(&golden), &batch), ERR_OK);
        assert_int_equal(batch_check_crc(&batch), ERR_OK);
        assert_int_equal(control_batch_parse(&batch, &got), ERR_OK);
        assert_int_equal(got.type, marker.type);
        assert_int_equal(got.coordinator_epoch, 9);
        bytebuf_init(&built, GOLDEN_BYTES_MAX);
        assert_int_equal(control_batch_build(marker, 4711, 3, TEST_NOW_MS, &built), ERR_OK);
        batch_stamp(built.data, i == 0 ? 78 : 77, 5);
        assert_true(span_equal(bytebuf_span(&golden), bytebuf_span(&built)));
        bytebuf_done(&golden);
        bytebuf_done(&built);
    }
}

static void old_message_sets_are_refused_by_name(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct bytebuf golden;
        struct batch batch;
        golden_read("java", i == 0 ? "magic0" : "magic1", &golden);
        assert_int_equal(batch_parse(bytebuf_span(&golden), &batch), ERR_UNSUPPORTED);
        assert_int_equal(problem_of(bytebuf_span(&golden)), BATCH_MAGIC_OLD);
        bytebuf_done(&golden);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_batches_are_accepted_and_read),
        cmocka_unit_test(our_bytes_are_javas_bytes),
        cmocka_unit_test(our_markers_are_javas_markers),
        cmocka_unit_test(old_message_sets_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

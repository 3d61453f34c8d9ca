/* Round trips: random batches by every codec, read back by iter and checked by walk, which must agree on everything. */
#include "common/mem.h"
#include "proto/record/compress.h"
#include "proto/record/record_walk.h"
#include "tests/unit/record/record_support.h"

#define RECORDS_MAX 60
#define HEADERS_MAX 4
#define FIELD_BYTES_MAX (200u << 10)

struct made_record {
    int64_t timestamp_ms;
    struct span key;
    struct span value;
    struct record_header headers[HEADERS_MAX];
    size_t header_count;
};

/* Null, or some part of the noise. */
static struct span random_field(struct prop *prop, struct span noise, uint64_t bytes_max, bool can_be_null)
{
    if (can_be_null && prop_chance(prop, 1, 6)) {
        return SPAN_NULL;
    }
    size_t bytes = (size_t)prop_skewed(prop, bytes_max);
    return span_sub(noise, (size_t)prop_below(prop, noise.bytes - bytes + 1), bytes);
}

static void make_record(struct prop *prop, struct span noise, struct made_record *ret_record)
{
    uint64_t value_bytes_max = prop_chance(prop, 1, 20) ? FIELD_BYTES_MAX : 400;

    ret_record->timestamp_ms = TEST_NOW_MS + prop_range_signed(prop, -100000, 100000);
    ret_record->key = random_field(prop, noise, 100, true);
    ret_record->value = random_field(prop, noise, value_bytes_max, true);
    ret_record->header_count = prop_below(prop, HEADERS_MAX + 1);
    for (size_t i = 0; i < ret_record->header_count; i++) {
        ret_record->headers[i].key = random_field(prop, noise, 20, false);
        ret_record->headers[i].value = random_field(prop, noise, 50, true);
    }
}

static void assert_span(struct span got, struct span wanted)
{
    assert_int_equal(span_is_null(got), span_is_null(wanted));
    assert_true(span_equal(got, wanted));
}

static void assert_record(const struct record *got, const struct made_record *wanted)
{
    struct span rest = got->header_bytes;
    struct record_header header;

    assert_true(got->timestamp_ms == wanted->timestamp_ms);
    assert_span(got->key, wanted->key);
    assert_span(got->value, wanted->value);
    assert_int_equal(got->header_count, wanted->header_count);
    for (size_t i = 0; i < wanted->header_count; i++) {
        assert_int_equal(record_header_next(&rest, &header), ERR_OK);
        assert_span(header.key, wanted->headers[i].key);
        assert_span(header.value, wanted->headers[i].value);
    }
    assert_int_equal(record_header_next(&rest, &header), ERR_END);
}

static void what_is_built_is_read_back(void **state)
{
    (void)state;
    struct prop prop;
    struct made_record *made = mem_array(RECORDS_MAX, sizeof(*made));
    uint8_t *noise = mem_alloc(FIELD_BYTES_MAX);
    struct decompressor *decompressor = decompressor_new();
    struct batch_builder builder;
    struct bytebuf bytes;
    struct bytebuf plain;

    prop_init(&prop, __func__, 4);
    fill_random(&prop, noise, FIELD_BYTES_MAX);
    batch_builder_init(&builder, TEST_BYTES_MAX);
    bytebuf_init(&bytes, TEST_BYTES_MAX);
    bytebuf_init(&plain, TEST_BYTES_MAX);
    for (uint64_t run = prop_runs(400); run > 0; run--) {
        struct batch_options options = BATCH_OPTIONS_DEFAULT;
        int32_t record_count = (int32_t)prop_range(&prop, 1, RECORDS_MAX);
        options.codec = (enum batch_codec)prop_below(&prop, BATCH_CODEC_COUNT);
        batch_builder_begin(&builder, &options);
        for (int32_t i = 0; i < record_count; i++) {
            struct made_record *record = &made[i];
            make_record(&prop, span_make(noise, FIELD_BYTES_MAX), record);
            assert_int_equal(batch_builder_add(&builder, record->timestamp_ms, record->key, record->value,
                                               record->headers, record->header_count),
                             ERR_OK);
        }
        bytebuf_clear(&bytes);
        assert_int_equal(batch_builder_finish(&builder, &bytes), ERR_OK);

        struct batch batch;
        struct batch_report report;
        struct record_iter iter;
        struct record record;
        struct span records;
        batch_validate(bytebuf_span(&bytes), &policy_any, decompressor, &batch, &report);
        assert_int_equal(report.problem, BATCH_GOOD);
        assert_true(report.max_timestamp_ms == batch.header.max_timestamp_ms);
        assert_int_equal(batch_records_plain(&batch, decompressor, &plain, &records), ERR_OK);
        record_iter_init(&iter, &batch.header, records);
        for (int32_t i = 0; i < record_count; i++) {
            assert_int_equal(record_iter_next(&iter, &record), ERR_OK);
            assert_int_equal(record.offset, i);
            assert_record(&record, &made[i]);
        }
        assert_int_equal(record_iter_next(&iter, &record), ERR_END);
    }
    bytebuf_done(&bytes);
    bytebuf_done(&plain);
    batch_builder_done(&builder);
    decompressor_free(decompressor);
    mem_free(noise);
    mem_free(made);
}

static bool is_read_by_iter(const struct batch *batch, struct span records)
{
    struct record_iter iter;
    struct record record;
    int32_t count = 0;
    enum err err;

    record_iter_init(&iter, &batch->header, records);
    while ((err = record_iter_next(&iter, &record)) == ERR_OK) {
        if (record.offset_delta != count++) {
            return false; /* iter allows gaps, walk does not */
        }
    }
    return err == ERR_END;
}

/* Two implementations of one grammar: one that borrows fields, one that streams. Damage must make both refuse or
 * neither, through a window or not. */
static void iter_and_walk_agree_on_damaged_records(void **state)
{
    (void)state;
    struct prop prop;
    struct decompressor *decompressor = decompressor_new();
    struct bytebuf good;
    size_t good_count = 0;

    prop_init(&prop, __func__, 5);
    for (uint64_t run = prop_runs(20000); run > 0; run--) {
        struct bytebuf damaged;
        struct bytebuf packed;
        struct batch batch;
        struct batch streamed;
        struct batch_report report;
        struct batch_report streamed_report;
        struct walk_rules rules = WALK_RULES_NONE;
        small_batch(&BATCH_OPTIONS_DEFAULT, &good);
        struct span records = span_make(good.data + BATCH_HEADER_BYTES, good.bytes - BATCH_HEADER_BYTES);
        size_t pos = BATCH_HEADER_BYTES + prop_below(&prop, records.bytes);
        good.data[pos] = prop_chance(&prop, 1, 2) ? (uint8_t)prop_below(&prop, 24) : (uint8_t)prop_u64(&prop);
        batch_around(records, BATCH_CODEC_NONE, 2, &damaged);
        bytebuf_init(&packed, TEST_BYTES_MAX);
        assert_int_equal(compress_append(BATCH_CODEC_LZ4, records, &packed), ERR_OK);
        struct bytebuf compressed;
        batch_around(bytebuf_span(&packed), BATCH_CODEC_LZ4, 2, &compressed);
        assert_int_equal(batch_parse(bytebuf_span(&damaged), &batch), ERR_OK);
        assert_int_equal(batch_parse(bytebuf_span(&compressed), &streamed), ERR_OK);
        records_walk(&batch, &rules, NULL, &report);
        records_walk(&streamed, &rules, decompressor, &streamed_report);
        assert_int_equal(report.problem, streamed_report.problem);
        assert_int_equal(report.record_index, streamed_report.record_index);
        assert_int_equal(report.problem == BATCH_GOOD, is_read_by_iter(&batch, records));
        good_count += report.problem == BATCH_GOOD;
        bytebuf_done(&good);
        bytebuf_done(&damaged);
        bytebuf_done(&packed);
        bytebuf_done(&compressed);
    }
    assert_true(good_count > 0);
    decompressor_free(decompressor);
}

static void compacted_batches_have_gaps(void **state)
{
    (void)state;
    /* offsets 1 and 4 of what were 0 to 5 */
    const uint8_t records[] = {12, 0, 0, 2, 1, 1, 0, 12, 0, 0, 8, 1, 1, 0};
    struct bytebuf bytes;
    struct batch batch;
    struct batch_report report;
    struct record_iter iter;
    struct record record;

    batch_around(span_make(records, sizeof(records)), BATCH_CODEC_NONE, 2, &bytes);
    assert_int_equal(batch_parse(bytebuf_span(&bytes), &batch), ERR_OK);
    batch.header.last_offset_delta = 5;
    record_iter_init(&iter, &batch.header, batch_records(&batch));
    assert_int_equal(record_iter_next(&iter, &record), ERR_OK);
    assert_int_equal(record.offset, 1);
    assert_int_equal(record_iter_next(&iter, &record), ERR_OK);
    assert_int_equal(record.offset, 4);
    assert_int_equal(record_iter_next(&iter, &record), ERR_END);
    records_validate(&batch, NULL, &report);
    assert_int_equal(report.problem, RECORD_OFFSET_WRONG);
    batch.header.last_offset_delta = 3;
    record_iter_init(&iter, &batch.header, batch_records(&batch));
    assert_int_equal(record_iter_next(&iter, &record), ERR_OK);
    assert_int_equal(record_iter_next(&iter, &record), ERR_MALFORMED);
    bytebuf_done(&bytes);
}

static void a_full_batch_refuses_and_stays_as_it_was(void **state)
{
    (void)state;
    struct batch_builder builder;
    struct bytebuf bytes;
    uint8_t value[100] = {0};
    int32_t added_count = 0;
    struct record_header header = {SPAN_NULL, SPAN_NULL};

    bytebuf_init(&bytes, TEST_BYTES_MAX);
    batch_builder_init(&builder, 1000);
    batch_builder_begin(&builder, &BATCH_OPTIONS_DEFAULT);
    assert_int_equal(batch_builder_finish(&builder, &bytes), ERR_INVALID);
    assert_int_equal(batch_builder_add(&builder, 0, SPAN_NULL, SPAN_NULL, &header, 1), ERR_INVALID);
    assert_int_equal(batch_builder_add(&builder, 0, SPAN_NULL, SPAN_NULL, &header, RECORD_HEADER_COUNT_MAX + 1),
                     ERR_INVALID);
    while (batch_builder_add(&builder, 0, SPAN_NULL, span_make(value, sizeof(value)), NULL, 0) == ERR_OK) {
        added_count++;
    }
    assert_int_equal(added_count, 8);
    assert_int_equal(batch_builder_finish(&builder, &bytes), ERR_OK);
    assert_true(bytes.bytes <= 1000);
    assert_int_equal(problem_of(bytebuf_span(&bytes)), BATCH_GOOD);

    bytebuf_done(&bytes);
    bytebuf_init(&bytes, 60);
    assert_int_equal(batch_builder_add(&builder, 0, SPAN_NULL, SPAN_NULL, NULL, 0), ERR_OK);
    assert_int_equal(batch_builder_finish(&builder, &bytes), ERR_LIMIT);
    assert_int_equal(bytes.bytes, 0);
    bytebuf_done(&bytes);
    batch_builder_done(&builder);
}

/* Found by fuzzing: a compressed batch whose records decompress to nothing. */
static void no_bytes_hold_no_records(void **state)
{
    (void)state;
    struct decompressor *decompressor = decompressor_new();
    struct bytebuf packed;
    struct bytebuf bytes;
    struct bytebuf plain;
    struct span records;
    struct batch batch;
    struct record_iter iter;
    struct record record;

    for (unsigned codec = 0; codec < BATCH_CODEC_COUNT; codec++) {
        bytebuf_init(&packed, TEST_BYTES_MAX);
        bytebuf_init(&plain, TEST_BYTES_MAX);
        assert_int_equal(compress_append((enum batch_codec)codec, SPAN_NULL, &packed), ERR_OK);
        batch_around(span_make(packed.data, packed.bytes), (enum batch_codec)codec, 3, &bytes);
        assert_int_equal(problem_of(bytebuf_span(&bytes)), RECORD_MALFORMED);
        assert_int_equal(batch_parse(bytebuf_span(&bytes), &batch), ERR_OK);
        assert_int_equal(batch_records_plain(&batch, decompressor, &plain, &records), ERR_OK);
        record_iter_init(&iter, &batch.header, records);
        assert_int_equal(record_iter_next(&iter, &record), ERR_MALFORMED);
        bytebuf_done(&packed);
        bytebuf_done(&plain);
        bytebuf_done(&bytes);
    }
    decompressor_free(decompressor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_built_is_read_back),  cmocka_unit_test(iter_and_walk_agree_on_damaged_records),
        cmocka_unit_test(compacted_batches_have_gaps), cmocka_unit_test(a_full_batch_refuses_and_stays_as_it_was),
        cmocka_unit_test(no_bytes_hold_no_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a producer may send: one case for every verdict, hostile counts and lengths, and the timestamp rules. */
#include "common/varint.h"
#include "proto/record/compress.h"
#include "proto/record/control.h"
#include "tests/unit/record/record_support.h"

static enum batch_problem problem_with(const struct batch_options *options, const struct batch_policy *policy)
{
    struct bytebuf bytes;

    small_batch(options, &bytes);
    enum batch_problem problem = report_of(bytebuf_span(&bytes), policy).problem;
    bytebuf_done(&bytes);
    return problem;
}

static void header_rules(void **state)
{
    (void)state;
    struct batch_options options = BATCH_OPTIONS_DEFAULT;
    struct batch_policy policy = policy_any;

    assert_int_equal(problem_with(&options, &policy), BATCH_GOOD);
    options.base_offset = 5;
    assert_int_equal(problem_with(&options, &policy), BATCH_BASE_OFFSET_WRONG);
    options = BATCH_OPTIONS_DEFAULT;
    options.is_control = true;
    assert_int_equal(problem_with(&options, &policy), BATCH_IS_CONTROL);
    options = BATCH_OPTIONS_DEFAULT;
    options.is_append_time = true;
    assert_int_equal(problem_with(&options, &policy), BATCH_TIMESTAMP_TYPE_WRONG);
    options = BATCH_OPTIONS_DEFAULT;
    options.is_transactional = true;
    assert_int_equal(problem_with(&options, &policy), BATCH_TRANSACTION_WRONG);
    options.producer_id = 0;
    assert_int_equal(problem_with(&options, &policy), BATCH_PRODUCER_WRONG);
    options.producer_epoch = 0;
    assert_int_equal(problem_with(&options, &policy), BATCH_PRODUCER_WRONG);
    options.base_sequence = INT32_MAX;
    assert_int_equal(problem_with(&options, &policy), BATCH_GOOD);
    options = BATCH_OPTIONS_DEFAULT;
    options.codec = BATCH_CODEC_ZSTD;
    assert_int_equal(problem_with(&options, &policy), BATCH_GOOD);
    policy.is_zstd_allowed = false;
    assert_int_equal(problem_with(&options, &policy), BATCH_CODEC_TOO_NEW);
    policy = policy_any;
    policy.batch_bytes_max = 80;
    assert_int_equal(problem_with(&BATCH_OPTIONS_DEFAULT, &policy), BATCH_TOO_LARGE);
}

static void size_limit_is_inclusive(void **state)
{
    (void)state;
    struct bytebuf bytes;
    struct batch_policy policy = policy_any;

    small_batch(&BATCH_OPTIONS_DEFAULT, &bytes);
    policy.batch_bytes_max = bytes.bytes;
    assert_int_equal(report_of(bytebuf_span(&bytes), &policy).problem, BATCH_GOOD);
    policy.batch_bytes_max--;
    assert_int_equal(report_of(bytebuf_span(&bytes), &policy).problem, BATCH_TOO_LARGE);
    bytebuf_done(&bytes);
}

/* Rewrites fields of a good batch, with a right CRC, so that only the meaning is wrong. */
static void counts_must_fit_together(void **state)
{
    (void)state;
    static const struct {
        int32_t record_count;
        int32_t last_offset_delta;
        enum batch_problem problem;
    } cases[] = {
        {2, 1, BATCH_GOOD},
        {0, 0, BATCH_COUNT_WRONG},
        {0, -1, BATCH_COUNT_WRONG},
        {-1, -2, BATCH_COUNT_WRONG},
        {2, 2, BATCH_COUNT_WRONG},
        {1, 1, BATCH_COUNT_WRONG},
        {1, 0, RECORDS_LEFT_OVER},
        {3, 2, RECORD_MALFORMED},
        {INT32_MAX, INT32_MAX - 1, RECORD_MALFORMED},
        {INT32_MIN, INT32_MAX, BATCH_COUNT_WRONG},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bytebuf bytes;
        struct batch batch;
        small_batch(&BATCH_OPTIONS_DEFAULT, &bytes);
        assert_int_equal(batch_parse(bytebuf_span(&bytes), &batch), ERR_OK);
        batch.header.record_count = cases[i].record_count;
        batch.header.last_offset_delta = cases[i].last_offset_delta;
        batch_header_write(bytes.data, &batch.header);
        assert_int_equal(problem_of(bytebuf_span(&bytes)), cases[i].problem);
        bytebuf_done(&bytes);
    }
}

static void attributes_that_clients_may_not_set(void **state)
{
    (void)state;
    struct bytebuf bytes;
    struct batch batch;

    small_batch(&BATCH_OPTIONS_DEFAULT, &bytes);
    assert_int_equal(batch_parse(bytebuf_span(&bytes), &batch), ERR_OK);
    batch.header.attributes = BATCH_ATTRIBUTE_DELETE_HORIZON;
    batch_header_write(bytes.data, &batch.header);
    assert_int_equal(problem_of(bytebuf_span(&bytes)), BATCH_HAS_DELETE_HORIZON);
    for (uint16_t codec = BATCH_CODEC_COUNT; codec <= BATCH_ATTRIBUTE_CODEC_MASK; codec++) {
        batch.header.attributes = codec;
        batch_header_write(bytes.data, &batch.header);
        assert_int_equal(problem_of(bytebuf_span(&bytes)), BATCH_CODEC_UNKNOWN);
    }
    bytebuf_done(&bytes);
}

/* The records of a batch of one, by hand: each must be refused for its own reason, compressed or not. */
static void hostile_records(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[16];
        size_t used_bytes;
        enum batch_problem problem;
    } cases[] = {
        {{12, 0, 0, 0, 1, 1, 0}, 7, BATCH_GOOD},
        {{0}, 1, RECORD_MALFORMED},                                        /* no body */
        {{1, 0, 0, 0, 1, 1, 0}, 7, RECORD_MALFORMED},                      /* length -1 */
        {{10, 0, 0, 0, 1, 1, 0}, 7, RECORD_MALFORMED},                     /* too short by one */
        {{14, 0, 0, 0, 1, 1, 0, 9}, 8, RECORD_MALFORMED},                  /* a byte that nothing claims */
        {{16, 0, 0, 0, 1, 1, 0}, 7, RECORD_MALFORMED},                     /* longer than the batch */
        {{0xfe, 0xff, 0xff, 0xff, 0xf, 0, 0, 0}, 8, RECORD_MALFORMED},     /* 2^31 - 1 */
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0}, 8, RECORD_MALFORMED}, /* no varint */
        {{12, 0, 0, 0, 3, 1, 0}, 7, RECORD_MALFORMED},                     /* key length -2 */
        {{12, 0, 0, 0, 4, 1, 0}, 7, RECORD_MALFORMED},                     /* key of 2 swallows all */
        {{12, 0, 0, 0, 8, 1, 0}, 7, RECORD_MALFORMED},                     /* key beyond the record */
        {{12, 0, 0, 0, 1, 1, 1}, 7, RECORD_MALFORMED},                     /* -1 headers */
        {{12, 0, 0, 0, 1, 1, 2}, 7, RECORD_MALFORMED},                     /* a header that is not there */
        {{16, 0, 0, 0, 1, 1, 2, 1, 1}, 9, RECORD_MALFORMED},               /* a header with a null key */
        {{14, 0, 0, 0, 1, 1, 0x82, 0x10}, 8, RECORD_HEADERS_TOO_MANY},     /* 1025 */
        {{20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0xf}, 11, RECORD_HEADERS_TOO_MANY},
        {{12, 0, 0, 2, 1, 1, 0}, 7, RECORD_OFFSET_WRONG},
        {{12, 0, 0, 1, 1, 1, 0}, 7, RECORD_OFFSET_WRONG},
        {{12, 0, 0, 0, 1, 1, 0, 1}, 8, RECORDS_LEFT_OVER},
        /* the timestamp passes the end of time: base + 2^63 - 1 */
        {{30, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 1, 1, 0}, 16, RECORD_MALFORMED},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        for (unsigned codec = 0; codec < BATCH_CODEC_COUNT; codec++) {
            struct bytebuf packed;
            struct bytebuf bytes;
            bytebuf_init(&packed, TEST_BYTES_MAX);
            struct span plain = span_make(cases[i].bytes, cases[i].used_bytes);
            assert_int_equal(compress_append((enum batch_codec)codec, plain, &packed), ERR_OK);
            batch_around(bytebuf_span(&packed), (enum batch_codec)codec, 1, &bytes);
            enum batch_problem problem = problem_of(bytebuf_span(&bytes));
            if (problem != cases[i].problem) {
                fail_msg("case %zu, %s: %s, not %s", i, compress_codec_name(codec), batch_problem_name(problem),
                         batch_problem_name(cases[i].problem));
            }
            bytebuf_done(&packed);
            bytebuf_done(&bytes);
        }
    }
}

static void the_report_names_the_record(void **state)
{
    (void)state;
    struct batch_policy policy = policy_any;
    struct bytebuf bytes;

    small_batch(&BATCH_OPTIONS_DEFAULT, &bytes);
    policy.is_key_required = true;
    struct batch_report report = report_of(bytebuf_span(&bytes), &policy);
    assert_int_equal(report.problem, RECORD_KEY_MISSING);
    assert_int_equal(report.record_index, 1);
    assert_int_equal(batch_problem_kafka_code(report.problem), ERROR_INVALID_RECORD);
    bytebuf_done(&bytes);
}

static void timestamps_are_bounded_unless_the_broker_sets_them(void **state)
{
    (void)state;
    struct batch_policy policy = policy_any;
    struct bytebuf bytes;

    small_batch(&BATCH_OPTIONS_DEFAULT, &bytes); /* now and now + 3 */
    policy.timestamp_after_ms_max = 3;
    policy.timestamp_before_ms_max = 0;
    assert_int_equal(report_of(bytebuf_span(&bytes), &policy).problem, BATCH_GOOD);
    policy.timestamp_after_ms_max = 2;
    struct batch_report report = report_of(bytebuf_span(&bytes), &policy);
    assert_int_equal(report.problem, RECORD_TIMESTAMP_OUT_OF_RANGE);
    assert_int_equal(report.record_index, 1);
    policy.is_append_time = true;
    assert_int_equal(report_of(bytebuf_span(&bytes), &policy).problem, BATCH_GOOD);
    policy = policy_any;
    policy.now_ms = TEST_NOW_MS + 10;
    policy.timestamp_before_ms_max = 9;
    report = report_of(bytebuf_span(&bytes), &policy);
    assert_int_equal(report.problem, RECORD_TIMESTAMP_OUT_OF_RANGE);
    assert_int_equal(report.record_index, 0);
    bytebuf_done(&bytes);
}

static void the_largest_timestamp_is_found(void **state)
{
    (void)state;
    struct batch_builder builder;
    struct bytebuf bytes;
    const int64_t timestamps[] = {-1, -5, 40, 7, 40};

    bytebuf_init(&bytes, TEST_BYTES_MAX);
    batch_builder_init(&builder, TEST_BYTES_MAX);
    batch_builder_begin(&builder, &BATCH_OPTIONS_DEFAULT);
    for (size_t i = 0; i < ARRAY_COUNT(timestamps); i++) {
        assert_int_equal(batch_builder_add(&builder, timestamps[i], SPAN_NULL, SPAN_NULL, NULL, 0), ERR_OK);
    }
    assert_int_equal(batch_builder_finish(&builder, &bytes), ERR_OK);
    batch_stamp_max_timestamp(bytes.data, bytes.bytes, 1);
    struct batch_report report = report_of(bytebuf_span(&bytes), &policy_any);
    assert_int_equal(report.problem, BATCH_GOOD);
    assert_true(report.is_walked && report.max_timestamp_ms == 40 && report.max_timestamp_offset_delta == 2);
    batch_builder_done(&builder);
    bytebuf_done(&bytes);
}

/* Without a walk, broken compressed bytes pass: that is what the setting says (ADR-0006), except where keys matter. */
static void header_policy_does_not_decompress(void **state)
{
    (void)state;
    struct batch_policy policy = policy_any;
    struct bytebuf bytes;

    batch_around(span_text("no lz4 at all"), BATCH_CODEC_LZ4, 1, &bytes);
    assert_int_equal(report_of(bytebuf_span(&bytes), &policy).problem, BATCH_DECOMPRESSION_FAILED);
    policy.compressed_validation = COMPRESSED_VALIDATE_HEADER;
    struct batch_report report = report_of(bytebuf_span(&bytes), &policy);
    assert_int_equal(report.problem, BATCH_GOOD);
    assert_false(report.is_walked);
    policy.timestamp_after_ms_max = 5;
    policy.now_ms -= 6;
    assert_int_equal(report_of(bytebuf_span(&bytes), &policy).problem, RECORD_TIMESTAMP_OUT_OF_RANGE);
    policy = policy_any;
    policy.compressed_validation = COMPRESSED_VALIDATE_HEADER;
    policy.is_key_required = true;
    assert_int_equal(report_of(bytebuf_span(&bytes), &policy).problem, BATCH_DECOMPRESSION_FAILED);
    bytebuf_done(&bytes);
}

static void control_batches_round_trip(void **state)
{
    (void)state;
    struct control_marker marker = {.type = CONTROL_COMMIT, .coordinator_epoch = 17};
    struct control_marker got = {0};
    struct bytebuf bytes;
    struct batch batch;
    const uint8_t unknown_key[] = {0, 0, 0, 2};
    const uint8_t value[] = {0, 0, 0, 0, 0, 1};
    const uint8_t negative[] = {0x80, 0, 0, 0, 0, 1};

    bytebuf_init(&bytes, TEST_BYTES_MAX);
    assert_int_equal(control_batch_build(marker, 5, 6, TEST_NOW_MS, &bytes), ERR_OK);
    assert_int_equal(batch_parse(bytebuf_span(&bytes), &batch), ERR_OK);
    assert_int_equal(control_batch_parse(&batch, &got), ERR_OK);
    assert_int_equal(got.type, CONTROL_COMMIT);
    assert_int_equal(got.coordinator_epoch, 17);
    struct span key = span_make(unknown_key, sizeof(unknown_key));
    assert_int_equal(control_marker_parse(key, span_make(value, sizeof(value)), &got), ERR_UNSUPPORTED);
    key = span_make(value, 4);
    assert_int_equal(control_marker_parse(key, span_make(value, sizeof(value)), &got), ERR_OK);
    assert_int_equal(control_marker_parse(key, span_make(value, 5), &got), ERR_MALFORMED);
    assert_int_equal(control_marker_parse(key, span_make(negative, 6), &got), ERR_MALFORMED);
    assert_int_equal(control_marker_parse(key, SPAN_NULL, &got), ERR_MALFORMED);
    assert_int_equal(control_marker_parse(SPAN_NULL, span_make(value, 6), &got), ERR_MALFORMED);
    bytebuf_done(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_rules),
        cmocka_unit_test(size_limit_is_inclusive),
        cmocka_unit_test(counts_must_fit_together),
        cmocka_unit_test(attributes_that_clients_may_not_set),
        cmocka_unit_test(hostile_records),
        cmocka_unit_test(the_report_names_the_record),
        cmocka_unit_test(timestamps_are_bounded_unless_the_broker_sets_them),
        cmocka_unit_test(the_largest_timestamp_is_found),
        cmocka_unit_test(header_policy_does_not_decompress),
        cmocka_unit_test(control_batches_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The bounded cursor: values, limits, and the error that sticks. */
#include "proto/wire/reader.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct reader reader_of(const void *bytes, size_t count)
{
    struct reader reader;
    reader_init(&reader, span_make(bytes, count));
    return reader;
}

static void integers_are_big_endian(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0xff, 0x80, 0x00, 0x80, 0x01, 0x7f, 0xff, 0xff, 0xff, 0x80, 0,    0,
                                    0,    1,    2,    3,    4,    5,    6,    7,    8,    1,    0x3f, 0xf8,
                                    0,    0,    0,    0,    0,    0,    0xff, 0xff, 0xff, 0xff};
    struct reader reader = reader_of(bytes, sizeof(bytes));
    assert_int_equal(reader_int8(&reader), -1);
    assert_int_equal(reader_int16(&reader), INT16_MIN);
    assert_int_equal(reader_uint16(&reader), 0x8001);
    assert_int_equal(reader_int32(&reader), INT32_MAX);
    assert_int_equal(reader_int32(&reader), INT32_MIN);
    assert_true(reader_int64(&reader) == 0x0102030405060708);
    assert_true(reader_bool(&reader));
    assert_true(reader_float64(&reader) == 1.5);
    assert_int_equal(reader_uint32(&reader), UINT32_MAX);
    assert_int_equal(reader.err, ERR_OK);
    assert_int_equal(reader_remaining(&reader), 0);
}

/* A varint of up to five bytes is accepted also when it is longer than it had to be; what does not fit is not. */
static void varints_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        enum err err;
        uint32_t value;
    } rows[] = {
        {"\x00", 1, ERR_OK, 0},
        {"\x7f", 1, ERR_OK, 127},
        {"\x80\x01", 2, ERR_OK, 128},
        {"\xff\xff\xff\xff\x0f", 5, ERR_OK, UINT32_MAX},
        {"\x81\x80\x80\x80\x00", 5, ERR_OK, 1},
        {"\xff\xff\xff\xff\x1f", 5, ERR_MALFORMED, 0},
        {"\x80\x80\x80\x80\x80\x00", 6, ERR_MALFORMED, 0},
        {"\x80", 1, ERR_MALFORMED, 0},
        {"", 0, ERR_MALFORMED, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct reader reader = reader_of(rows[i].bytes, rows[i].count);
        assert_int_equal(reader_uvarint(&reader), rows[i].value);
        assert_int_equal(reader.err, rows[i].err);
    }
    struct reader longest = reader_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10);
    assert_true(reader_uvarlong(&longest) == UINT64_MAX);
    struct reader too_long = reader_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10);
    assert_true(reader_uvarlong(&too_long) == 0);
    assert_int_equal(too_long.err, ERR_MALFORMED);
    struct reader zigzag = reader_of("\x01\x02\xff\xff\xff\xff\x0f\x03", 8);
    assert_int_equal(reader_varint(&zigzag), -1);
    assert_int_equal(reader_varint(&zigzag), 1);
    assert_int_equal(reader_varint(&zigzag), INT32_MIN);
    assert_true(reader_varlong(&zigzag) == -2);
}

static void null_and_empty_strings_differ(void **state)
{
    (void)state;
    struct reader reader = reader_of("\xff\xff\x00\x00\x00\x01x\x00\x01\x02y", 11);
    assert_true(span_is_null(reader_nullable_string(&reader)));
    struct span empty = reader_nullable_string(&reader);
    assert_true(!span_is_null(empty) && empty.bytes == 0);
    assert_true(span_equal_text(reader_nullable_string(&reader), "x"));
    assert_true(span_is_null(reader_compact_nullable(&reader)));
    struct span compact_empty = reader_compact_nullable(&reader);
    assert_true(!span_is_null(compact_empty) && compact_empty.bytes == 0);
    assert_true(span_equal_text(reader_compact_nullable(&reader), "y"));
    assert_int_equal(reader.err, ERR_OK);
}

static void impossible_lengths_are_malformed(void **state)
{
    (void)state;
    struct reader negative = reader_of("\xff\xfe....", 6);
    assert_true(span_is_null(reader_nullable_string(&negative)));
    assert_int_equal(negative.err, ERR_MALFORMED);
    struct reader huge = reader_of("\x7f\xff\xff\xff.", 5);
    assert_true(span_is_null(reader_nullable_bytes(&huge)));
    assert_int_equal(huge.err, ERR_MALFORMED);
    struct reader huge_compact = reader_of("\xff\xff\xff\xff\x0f.", 6);
    assert_true(span_is_null(reader_compact_nullable(&huge_compact)));
    assert_int_equal(huge_compact.err, ERR_MALFORMED);
    struct reader whole = reader_of("..", 2);
    (void)reader_take(&whole, SIZE_MAX);
    assert_int_equal(whole.err, ERR_MALFORMED);
}

static void the_first_error_sticks(void **state)
{
    (void)state;
    struct reader reader = reader_of("\x01\x02\x03", 3);
    (void)reader_int8(&reader);
    assert_int_equal(reader_int32(&reader), 0);
    assert_int_equal(reader.err, ERR_MALFORMED);
    assert_int_equal(reader.error_pos, 1);
    assert_int_equal(reader_int8(&reader), 0);
    assert_int_equal(reader_remaining(&reader), 0);
    assert_true(span_is_null(reader_take(&reader, 0)));
    reader_fail(&reader, ERR_LIMIT);
    assert_int_equal(reader.err, ERR_MALFORMED);
    struct reader nothing;
    reader_init(&nothing, SPAN_NULL);
    assert_int_equal(reader_uvarint(&nothing), 0);
    assert_int_equal(nothing.err, ERR_MALFORMED);
}

static void unknown_tagged_fields_are_skipped_within_bounds(void **state)
{
    (void)state;
    struct reader reader = reader_of("\x02\x00\x01x\x07\x00!", 7);
    reader_skip_tagged_fields(&reader);
    assert_int_equal(reader.err, ERR_OK);
    assert_int_equal(reader_int8(&reader), '!');
    /* Four thousand million fields are announced, and nothing follows: this must end at once. */
    struct reader hostile = reader_of("\xff\xff\xff\xff\x0f", 5);
    reader_skip_tagged_fields(&hostile);
    assert_int_equal(hostile.err, ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_big_endian),
        cmocka_unit_test(varints_are_bounded),
        cmocka_unit_test(null_and_empty_strings_differ),
        cmocka_unit_test(impossible_lengths_are_malformed),
        cmocka_unit_test(the_first_error_sticks),
        cmocka_unit_test(unknown_tagged_fields_are_skipped_within_bounds),
    };
    return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}

/* The writer: bytes, patched lengths, cuts for records that lie elsewhere, limits. */
#include "common/mem.h"
#include "proto/wire/reader.h"
#include "proto/wire/writer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct fixture {
    struct bytebuf buf;
    struct writer writer;
};

static int setup(void **state)
{
    struct fixture *fixture = MEM_NEW(struct fixture);
    bytebuf_init(&fixture->buf, 1 << 20);
    writer_init(&fixture->writer, &fixture->buf);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    writer_done(&fixture->writer);
    bytebuf_done(&fixture->buf);
    mem_free(fixture);
    return 0;
}

static void what_is_written_reads_back(void **state)
{
    struct fixture *fixture = *state;
    struct writer *writer = &fixture->writer;
    struct uuid uuid = {.bytes = {1, 2, 3}};
    writer_int8(writer, -5);
    writer_int16(writer, INT16_MIN);
    writer_uint16(writer, UINT16_MAX);
    writer_int32(writer, INT32_MIN);
    writer_uint32(writer, UINT32_MAX);
    writer_int64(writer, INT64_MIN);
    writer_float64(writer, -0.25);
    writer_uuid(writer, uuid);
    writer_bool(writer, true);
    writer_varint(writer, INT32_MIN);
    writer_varlong(writer, INT64_MIN);
    writer_uvarint(writer, 300);
    writer_nullable_string(writer, SPAN_NULL);
    writer_nullable_string(writer, span_text("abc"));
    writer_nullable_bytes(writer, span_text("de"));
    writer_compact_nullable(writer, SPAN_NULL);
    writer_compact_nullable(writer, span_text("f"));
    assert_int_equal(writer->err, ERR_OK);

    struct reader reader;
    reader_init(&reader, bytebuf_span(&fixture->buf));
    assert_int_equal(reader_int8(&reader), -5);
    assert_int_equal(reader_int16(&reader), INT16_MIN);
    assert_int_equal(reader_uint16(&reader), UINT16_MAX);
    assert_int_equal(reader_int32(&reader), INT32_MIN);
    assert_int_equal(reader_uint32(&reader), UINT32_MAX);
    assert_true(reader_int64(&reader) == INT64_MIN);
    assert_true(reader_float64(&reader) == -0.25);
    struct uuid read_uuid = reader_uuid(&reader);
    assert_memory_equal(&read_uuid, &uuid, sizeof(uuid));
    assert_true(reader_bool(&reader));
    assert_int_equal(reader_varint(&reader), INT32_MIN);
    assert_true(reader_varlong(&reader) == INT64_MIN);
    assert_int_equal(reader_uvarint(&reader), 300);
    assert_true(span_is_null(reader_nullable_string(&reader)));
    assert_true(span_equal_text(reader_nullable_string(&reader), "abc"));
    assert_true(span_equal_text(reader_nullable_bytes(&reader), "de"));
    assert_true(span_is_null(reader_compact_nullable(&reader)));
    assert_true(span_equal_text(reader_compact_nullable(&reader), "f"));
    assert_int_equal(reader.err, ERR_OK);
    assert_int_equal(reader_remaining(&reader), 0);
}

static void a_length_is_inserted_before_content(void **state)
{
    struct fixture *fixture = *state;
    uint8_t content[200] = {1, 2, 3};
    writer_int8(&fixture->writer, 7);
    size_t content_pos = writer_pos(&fixture->writer);
    writer_bytes(&fixture->writer, span_make(content, sizeof(content)));
    writer_insert_length(&fixture->writer, content_pos);
    assert_int_equal(fixture->buf.bytes, 1 + 2 + sizeof(content));
    assert_memory_equal(fixture->buf.data, "\x07\xc8\x01\x01\x02\x03", 6);
}

static void cuts_keep_position_and_total(void **state)
{
    struct fixture *fixture = *state;
    struct writer *writer = &fixture->writer;
    int objects[20];
    for (size_t i = 0; i < ARRAY_COUNT(objects); i++) {
        writer_int16(writer, 1);
        writer_cut_here(writer, &objects[i], i + 1);
    }
    assert_int_equal(writer->external_bytes, 20 * 21 / 2);
    size_t cuts_count = 0;
    struct writer_cut *cuts = writer_take_cuts(writer, &cuts_count);
    assert_int_equal(cuts_count, ARRAY_COUNT(objects));
    for (size_t i = 0; i < cuts_count; i++) {
        assert_int_equal(cuts[i].pos, 2 * (i + 1));
        assert_ptr_equal(cuts[i].external, &objects[i]);
        assert_int_equal(cuts[i].external_bytes, i + 1);
    }
    mem_free(cuts);
    assert_int_equal(writer->external_bytes, 0);
}

static void limits_are_errors_that_stick(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t long_text[INT16_MAX + 1] = {0};
    writer_nullable_string(&fixture->writer, span_make(long_text, INT16_MAX));
    assert_int_equal(fixture->writer.err, ERR_OK);
    writer_nullable_string(&fixture->writer, span_make(long_text, sizeof(long_text)));
    assert_int_equal(fixture->writer.err, ERR_LIMIT);
    size_t bytes = fixture->buf.bytes;
    writer_int64(&fixture->writer, 1);
    assert_int_equal(fixture->buf.bytes, bytes);

    struct bytebuf small;
    struct writer writer;
    bytebuf_init(&small, 3);
    writer_init(&writer, &small);
    writer_int16(&writer, 1);
    writer_int16(&writer, 2);
    assert_int_equal(writer.err, ERR_LIMIT);
    writer_done(&writer);
    bytebuf_done(&small);
}

static void external_bytes_fit_an_int32(void **state)
{
    struct fixture *fixture = *state;
    int object = 0;
    writer_cut_here(&fixture->writer, &object, INT32_MAX - 1);
    assert_int_equal(fixture->writer.err, ERR_OK);
    writer_cut_here(&fixture->writer, &object, 2);
    assert_int_equal(fixture->writer.err, ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_reads_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_length_is_inserted_before_content, setup, teardown),
        cmocka_unit_test_setup_teardown(cuts_keep_position_and_total, setup, teardown),
        cmocka_unit_test_setup_teardown(limits_are_errors_that_stick, setup, teardown),
        cmocka_unit_test_setup_teardown(external_bytes_fit_an_int32, setup, teardown),
    };
    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}

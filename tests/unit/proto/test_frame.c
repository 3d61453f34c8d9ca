/* Framing: what is incomplete, what is impossible, what is too large, and who speaks no Kafka at all. */
#include "proto/wire/frame.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void sizes_are_judged(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        enum err err;
    } rows[] = {
        {"", 0, ERR_INCOMPLETE},
        {"\x00\x00\x00", 3, ERR_INCOMPLETE},
        {"\x00\x00\x00\x00", 4, ERR_MALFORMED},
        {"\x00\x00\x00\x07", 4, ERR_MALFORMED},
        {"\xff\xff\xff\xff", 4, ERR_MALFORMED},
        {"\x80\x00\x00\x00", 4, ERR_MALFORMED},
        {"\x00\x00\x03\xe9", 4, ERR_LIMIT},
        {"\x7f\xff\xff\xff", 4, ERR_LIMIT},
        {"\x00\x00\x00\x08", 4, ERR_OK},
        {"\x00\x00\x03\xe8\x01", 5, ERR_OK},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        size_t body_bytes = 77;
        assert_int_equal(frame_peek(span_make(rows[i].bytes, rows[i].count), 1000, &body_bytes), rows[i].err);
        if (rows[i].err != ERR_OK) {
            assert_int_equal(body_bytes, 77);
        }
    }
    size_t body_bytes = 0;
    assert_int_equal(frame_peek(span_make("\x00\x00\x03\xe8", 4), 1000, &body_bytes), ERR_OK);
    assert_int_equal(body_bytes, 1000);
}

/* What these say as a size is above every limit, so frame_peek refuses it first. */
static void other_protocols_are_recognised(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum frame_guess guess;
    } rows[] = {
        {"\x16\x03\x01\x02", FRAME_GUESS_TLS},     {"\x16\x03\x03\xff", FRAME_GUESS_TLS},
        {"GET / HTTP/1.1", FRAME_GUESS_HTTP},      {"POST / HTTP/1.1", FRAME_GUESS_HTTP},
        {"PRI * HTTP/2.0", FRAME_GUESS_HTTP},      {"\x16\x04\x01\x02", FRAME_GUESS_UNKNOWN},
        {"\x7f\xff\xff\xff", FRAME_GUESS_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        size_t body_bytes = 0;
        assert_int_equal(frame_peek(span_make(rows[i].bytes, 4), FRAME_BODY_BYTES_MAX, &body_bytes), ERR_LIMIT);
        assert_int_equal(frame_guess(span_make(rows[i].bytes, 4)), rows[i].guess);
    }
}

static void the_size_counts_external_records(void **state)
{
    (void)state;
    struct bytebuf buf;
    struct writer writer;
    int object = 0;
    bytebuf_init(&buf, 1000);
    assert_int_equal(bytebuf_append(&buf, span_text("before")), ERR_OK);
    writer_init(&writer, &buf);
    size_t begin_pos = frame_begin(&writer);
    writer_int32(&writer, 5);
    writer_cut_here(&writer, &object, 1000000);
    writer_int32(&writer, 6);
    assert_int_equal(frame_end(&writer, begin_pos), ERR_OK);
    size_t body_bytes = 0;
    assert_int_equal(frame_peek(span_make(buf.data + 6, 4), FRAME_BODY_BYTES_MAX, &body_bytes), ERR_OK);
    assert_int_equal(body_bytes, 1000008);
    assert_int_equal(writer.cuts[0].pos, 6 + 4 + 4);
    writer_done(&writer);
    bytebuf_done(&buf);
}

static void a_frame_beyond_an_int32_is_refused(void **state)
{
    (void)state;
    struct bytebuf buf;
    struct writer writer;
    int object = 0;
    bytebuf_init(&buf, 1000);
    writer_init(&writer, &buf);
    size_t begin_pos = frame_begin(&writer);
    writer_cut_here(&writer, &object, INT32_MAX - 3);
    writer_int32(&writer, 6);
    assert_int_equal(frame_end(&writer, begin_pos), ERR_LIMIT);
    writer_done(&writer);
    bytebuf_done(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_judged),
        cmocka_unit_test(other_protocols_are_recognised),
        cmocka_unit_test(the_size_counts_external_records),
        cmocka_unit_test(a_frame_beyond_an_int32_is_refused),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}

/* Records as text: formats, escapes, JSON; nothing of a record is hidden or changed. */
#include "cli/escape.h"
#include "cli/record_print.h"
#include "common/varint.h"
#include "tests/support/prop.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BYTES(text) span_make(text, sizeof(text) - 1)

/* As in a batch: length, key, length, value. Short ones only. */
static const uint8_t two_headers[] = {2, 'a', 2, '1', 2, 'b', 1 /* null */};

static const struct record sample = {
    .offset = 42,
    .timestamp_ms = 1000,
    .key = {(const uint8_t *)"k", 1},
    .value = {(const uint8_t *)"v w", 3},
    .header_count = 2,
    .header_bytes = {two_headers, sizeof(two_headers)},
};

static const char *text_of(const struct record_print *print, const struct record *record, struct bytebuf *output)
{
    bytebuf_clear(output);
    assert_int_equal(record_print_append(print, 3, record, output), ERR_OK);
    assert_int_equal(bytebuf_append(output, BYTES("\0")), ERR_OK);
    return (const char *)output->data;
}

static void formats_name_the_parts_of_a_record(void **state)
{
    (void)state;
    struct bytebuf output;
    struct record_print print = {.topic = "t", .format = "%t %p %o %T %k|%v|%s %K %V %S %h%%\\n\\t\\r\\\\\\x41"};
    bytebuf_init(&output, 1 << 20);
    size_t pos = 0;
    assert_int_equal(record_print_check(print.format, &pos), ERR_OK);
    assert_string_equal(text_of(&print, &sample, &output), "t 3 42 1000 k|v w|v w 1 3 3 a=1,b=%\n\t\r\\A");
    struct record nulls = {.offset = 1};
    print.format = "[%k %v %K %V %h]";
    assert_string_equal(text_of(&print, &nulls, &output), "[  -1 -1 ]");
    bytebuf_done(&output);
}

static void bad_formats_are_found(void **state)
{
    (void)state;
    const struct {
        const char *format;
        size_t pos;
    } bad[] = {{"%q", 0}, {"a%", 1}, {"abc\\", 3}, {"\\y", 0}, {"%v\\x4", 2}, {"%v%%%-5v", 4}, {"\\xg0", 0}};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        size_t pos = 99;
        assert_int_equal(record_print_check(bad[i].format, &pos), ERR_INVALID);
        assert_int_equal(pos, bad[i].pos);
    }
}

static void check_escape(struct span bytes, bool hides_controls, const char *expected)
{
    struct bytebuf output;
    bytebuf_init(&output, 1 << 20);
    assert_int_equal(escape_append(&output, bytes, hides_controls), ERR_OK);
    assert_int_equal(output.bytes, strlen(expected));
    assert_memory_equal(output.data, expected, output.bytes);
    bytebuf_done(&output);
}

static void what_is_not_utf8_is_shown_byte_by_byte(void **state)
{
    (void)state;
    check_escape(BYTES("plain \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80"), false,
                 "plain \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80");
    check_escape(BYTES("\xff\xfe"), false, "\\xff\\xfe");
    check_escape(BYTES("a\xc3"), false, "a\\xc3");                          /* cut */
    check_escape(BYTES("\xc0\xaf"), false, "\\xc0\\xaf");                   /* longer than needed */
    check_escape(BYTES("\xed\xa0\x80x"), false, "\\xed\\xa0\\x80x");        /* a surrogate */
    check_escape(BYTES("\xf4\x90\x80\x80"), false, "\\xf4\\x90\\x80\\x80"); /* above U+10FFFF */
    check_escape(BYTES("\xe2\x82(\xac"), false, "\\xe2\\x82(\\xac");
    check_escape(BYTES("\x1b[31m\n\t\x7f\xc2\x9b"), true, "\\x1b[31m\n\t\\x7f\\xc2\\x9b");
    check_escape(BYTES("\x1b[31m"), false, "\x1b[31m");
}

/* Whatever goes in, what comes out is UTF-8, and what was UTF-8 is unchanged. */
static void any_bytes_become_utf8(void **state)
{
    (void)state;
    struct prop prop;
    struct bytebuf output;
    prop_init(&prop, "any_bytes_become_utf8", PROP_SEED_DEFAULT);
    bytebuf_init(&output, 1 << 20);
    uint64_t runs = prop_runs(20000);
    for (uint64_t i = 0; i < runs; i++) {
        uint8_t bytes[24];
        struct span span = span_make(bytes, prop_below(&prop, sizeof(bytes) + 1));
        prop_fill(&prop, bytes, sizeof(bytes));
        for (size_t b = 0; b < span.bytes; b++) {
            bytes[b] = prop_chance(&prop, 1, 2) ? (uint8_t)prop_range(&prop, 0x80, 0xf5) : bytes[b];
        }
        bytebuf_clear(&output);
        assert_int_equal(escape_append(&output, span, false), ERR_OK);
        assert_true(escape_is_utf8(bytebuf_span(&output)));
        assert_int_equal(span_equal(bytebuf_span(&output), span), escape_is_utf8(span));
        json_t *text = json_stringn((const char *)bytes, span.bytes); /* another opinion on what UTF-8 is */
        assert_int_equal(text != NULL, escape_is_utf8(span));
        json_decref(text);
    }
    bytebuf_done(&output);
}

static void json_has_every_part(void **state)
{
    (void)state;
    struct bytebuf output;
    const struct record_print print = {.topic = "t"};
    bytebuf_init(&output, 1 << 20);
    assert_string_equal(text_of(&print, &sample, &output),
                        "{\"kind\":\"record\",\"topic\":\"t\",\"partition\":3,\"offset\":42,\"timestamp\":1000,"
                        "\"key\":\"k\",\"value\":\"v w\",\"headers\":[{\"name\":\"a\",\"value\":\"1\"},"
                        "{\"name\":\"b\",\"value\":null}]}\n");
    struct record odd = {.offset = INT64_MAX, .timestamp_ms = -1, .value = BYTES("\xff\x00x")};
    assert_string_equal(text_of(&print, &odd, &output),
                        "{\"kind\":\"record\",\"topic\":\"t\",\"partition\":3,\"offset\":9223372036854775807,"
                        "\"timestamp\":-1,\"key\":null,\"value_base64\":\"/wB4\",\"headers\":[]}\n");
    bytebuf_done(&output);
}

/* From the JSON the value comes back byte by byte. */
static void json_values_are_exact(void **state)
{
    (void)state;
    struct prop prop;
    struct bytebuf output;
    const struct record_print print = {.topic = "t"};
    prop_init(&prop, "json_values_are_exact", PROP_SEED_DEFAULT);
    bytebuf_init(&output, 1 << 20);
    uint64_t runs = prop_runs(5000);
    for (uint64_t i = 0; i < runs; i++) {
        uint8_t bytes[32];
        prop_fill(&prop, bytes, sizeof(bytes));
        struct record record = {.value = span_make(bytes, prop_below(&prop, sizeof(bytes) + 1))};
        for (size_t b = 0; b < record.value.bytes && i % 2 == 0; b++) {
            bytes[b] &= 0x7f; /* text with control characters and NUL */
        }
        json_t *object = json_loads(text_of(&print, &record, &output), JSON_ALLOW_NUL, NULL);
        assert_non_null(object);
        const json_t *value = json_object_get(object, "value");
        const json_t *base64 = json_object_get(object, "value_base64");
        assert_true((value == NULL) != (base64 == NULL));
        if (value != NULL) {
            assert_true(span_equal(span_make(json_string_value(value), json_string_length(value)), record.value));
        } else {
            unsigned char decoded[64];
            size_t text_bytes = json_string_length(base64);
            assert_int_equal(
                EVP_DecodeBlock(decoded, (const unsigned char *)json_string_value(base64), (int)text_bytes),
                (text_bytes / 4) * 3);
            assert_memory_equal(decoded, bytes, record.value.bytes);
        }
        json_decref(object);
    }
    bytebuf_done(&output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_name_the_parts_of_a_record),
        cmocka_unit_test(bad_formats_are_found),
        cmocka_unit_test(what_is_not_utf8_is_shown_byte_by_byte),
        cmocka_unit_test(any_bytes_become_utf8),
        cmocka_unit_test(json_has_every_part),
        cmocka_unit_test(json_values_are_exact),
    };
    return cmocka_run_group_tests_name("record_print", tests, NULL, NULL);
}

/* Headers: which version goes with which request, and the exception for ApiVersions. */
#include "proto/api/api_table.h"
#include "proto/wire/header.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void versions_follow_the_api(void **state)
{
    (void)state;
    assert_int_equal(header_request_version(API_KEY_PRODUCE, 8), 1);
    assert_int_equal(header_request_version(API_KEY_PRODUCE, 9), 2);
    assert_int_equal(header_response_version(API_KEY_PRODUCE, 8), 0);
    assert_int_equal(header_response_version(API_KEY_PRODUCE, 9), 1);
    assert_int_equal(header_request_version(API_KEY_SASL_HANDSHAKE, 1), 1);
    assert_int_equal(header_response_version(API_KEY_SASL_HANDSHAKE, 1), 0);
    assert_int_equal(header_request_version(API_KEY_API_VERSIONS, 3), 2);
    assert_int_equal(header_response_version(API_KEY_API_VERSIONS, 3), 0);
    assert_int_equal(header_response_version(API_KEY_API_VERSIONS, 99), 0);
    assert_int_equal(header_request_version(999, 0), 1);
    assert_int_equal(header_request_version(-1, 0), 1);
}

static void a_request_header_round_trips(void **state)
{
    (void)state;
    for (int version = 8; version <= 9; version++) {
        struct bytebuf buf;
        struct writer writer;
        struct reader reader;
        struct request_header header = {API_KEY_PRODUCE, (int16_t)version, 12345, span_text("me")};
        struct request_header decoded = {.api_key = 0};
        bytebuf_init(&buf, 1000);
        writer_init(&writer, &buf);
        header_request_encode(&writer, &header);
        reader_init(&reader, bytebuf_span(&buf));
        assert_int_equal(header_request_decode(&reader, &decoded), ERR_OK);
        assert_int_equal(reader_remaining(&reader), 0);
        assert_int_equal(decoded.api_key, API_KEY_PRODUCE);
        assert_int_equal(decoded.api_version, version);
        assert_int_equal(decoded.correlation_id, 12345);
        assert_true(span_equal_text(decoded.client_id, "me"));
        for (size_t bytes = 0; bytes < buf.bytes; bytes++) {
            reader_init(&reader, span_make(buf.data, bytes));
            assert_int_equal(header_request_decode(&reader, &decoded), ERR_MALFORMED);
        }
        writer_done(&writer);
        bytebuf_done(&buf);
    }
}

static void a_broken_header_still_tells_whom_to_answer(void **state)
{
    (void)state;
    struct reader reader;
    struct request_header header = {.api_key = 0};
    reader_init(&reader, span_make("\x00\x12\x00\x63\x00\x00\x00\x05\x7f\xff", 10));
    assert_int_equal(header_request_decode(&reader, &header), ERR_MALFORMED);
    assert_int_equal(header.api_key, API_KEY_API_VERSIONS);
    assert_int_equal(header.api_version, 0x63);
    assert_int_equal(header.correlation_id, 5);
}

static void a_response_header_round_trips(void **state)
{
    (void)state;
    static const int16_t versions[][2] = {{API_KEY_PRODUCE, 8}, {API_KEY_PRODUCE, 9}, {API_KEY_API_VERSIONS, 4}};
    static const size_t expected_bytes[] = {4, 5, 4};
    for (size_t i = 0; i < ARRAY_COUNT(versions); i++) {
        struct bytebuf buf;
        struct writer writer;
        struct reader reader;
        int32_t correlation_id = 0;
        bytebuf_init(&buf, 1000);
        writer_init(&writer, &buf);
        header_response_encode(&writer, versions[i][0], versions[i][1], -7);
        assert_int_equal(buf.bytes, expected_bytes[i]);
        reader_init(&reader, bytebuf_span(&buf));
        assert_int_equal(header_response_decode(&reader, versions[i][0], versions[i][1], &correlation_id), ERR_OK);
        assert_int_equal(correlation_id, -7);
        assert_int_equal(reader_remaining(&reader), 0);
        writer_done(&writer);
        bytebuf_done(&buf);
    }
}

static void the_table_finds_every_key(void **state)
{
    (void)state;
    int16_t last_key = -1;
    for (size_t i = 0; i < api_table_count(); i++) {
        const struct api_row *row = api_table_at(i);
        assert_true(row->key > last_key);
        last_key = row->key;
        assert_ptr_equal(api_table_find(row->key), row);
        assert_int_equal(row->request->api_key, row->key);
        assert_int_equal(row->response->api_key, row->key);
        assert_true(row->versions.last <= row->request->versions.last);
        assert_true(api_table_has_version(row, row->versions.last));
        assert_false(api_table_has_version(row, (int16_t)(row->versions.last + 1)));
    }
    assert_int_equal(last_key, API_KEY_MAX);
    assert_null(api_table_find(API_KEY_MAX + 1));
    assert_null(api_table_find(-1));
    assert_null(api_table_find(4)); /* LeaderAndIsr: gone since 4.0 */
    /* librdkafka sends uncompressed batches unless Produce is advertised from 0 (KAFKA-18659). */
    assert_int_equal(api_table_find(API_KEY_PRODUCE)->advertised_first, 0);
    assert_false(api_table_has_version(api_table_find(API_KEY_PRODUCE), 2));
    /* Version 6 of InitProducerId is unstable in 4.3. */
    assert_int_equal(api_table_find(API_KEY_INIT_PRODUCER_ID)->versions.last, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_follow_the_api),
        cmocka_unit_test(a_request_header_round_trips),
        cmocka_unit_test(a_broken_header_still_tells_whom_to_answer),
        cmocka_unit_test(a_response_header_round_trips),
        cmocka_unit_test(the_table_finds_every_key),
    };
    return cmocka_run_group_tests_name("header", tests, NULL, NULL);
}

/* The codec on chosen messages: exact bytes, defaults, versions, nulls, tagged fields, records outside of the buffer, and
 * lengths that lie. */
#include "proto/kmsg/api_versions.h"
#include "proto/kmsg/describe_topic_partitions.h"
#include "proto/kmsg/fetch.h"
#include "proto/kmsg/metadata.h"
#include "proto/kmsg/produce.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MESSAGE_BYTES_MAX (64u << 20)

static enum err encode(const struct codec_message *message, int16_t version, const void *body,
                       struct bytebuf *ret_bytes)
{
    struct writer writer;
    bytebuf_init(ret_bytes, MESSAGE_BYTES_MAX);
    writer_init(&writer, ret_bytes);
    enum err err = codec_encode(message, version, body, &writer);
    writer_done(&writer);
    return err;
}

static enum err decode(const struct codec_message *message, int16_t version, struct span bytes, struct arena *arena,
                       void *body)
{
    struct reader reader;
    reader_init(&reader, bytes);
    return codec_decode(message, version, &reader, arena, body);
}

static void assert_encodes_as(const struct codec_message *message, int16_t version, const void *body, const void *bytes,
                              size_t count)
{
    struct bytebuf encoded;
    assert_int_equal(encode(message, version, body, &encoded), ERR_OK);
    assert_int_equal(encoded.bytes, count);
    assert_memory_equal(encoded.data, bytes, count);
    bytebuf_done(&encoded);
}

static void assert_encode_fails(const struct codec_message *message, int16_t version, const void *body,
                                enum err expected)
{
    struct bytebuf encoded;
    assert_int_equal(encode(message, version, body, &encoded), expected);
    bytebuf_done(&encoded);
}

static void metadata_requests_have_the_bytes_of_the_specification(void **state)
{
    (void)state;
    struct metadata_request_topic topic;
    struct metadata_request request;
    codec_struct_set_defaults(&metadata_request_topic_layout, &topic);
    codec_set_defaults(&metadata_request_codec, &request);
    topic.name = span_text("ab");
    request.topics = &topic;
    request.topics_count = 1;
    assert_encodes_as(&metadata_request_codec, 1, &request, "\0\0\0\1\0\2ab", 8);
    assert_encodes_as(&metadata_request_codec, 4, &request, "\0\0\0\1\0\2ab\1", 9);
    assert_encodes_as(&metadata_request_codec, 9, &request, "\2\3ab\0\1\0\0\0", 9);
    assert_encodes_as(&metadata_request_codec, 12, &request, "\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3ab\0\1\0\0", 24);
}

static void null_and_empty_arrays_differ_where_the_version_knows_null(void **state)
{
    (void)state;
    struct metadata_request request;
    struct arena arena;
    arena_init(&arena, 0);
    codec_set_defaults(&metadata_request_codec, &request);
    assert_non_null(request.topics); /* the default is empty, not null */
    assert_encodes_as(&metadata_request_codec, 1, &request, "\0\0\0\0", 4);
    request.topics = NULL;
    assert_encodes_as(&metadata_request_codec, 1, &request, "\xff\xff\xff\xff", 4);
    assert_encodes_as(&metadata_request_codec, 9, &request, "\0\1\0\0\0", 5);
    assert_encode_fails(&metadata_request_codec, 0, &request, ERR_INVALID);

    assert_int_equal(decode(&metadata_request_codec, 1, span_make("\0\0\0\0", 4), &arena, &request), ERR_OK);
    assert_non_null(request.topics);
    assert_int_equal(request.topics_count, 0);
    assert_int_equal(decode(&metadata_request_codec, 1, span_make("\xff\xff\xff\xff", 4), &arena, &request), ERR_OK);
    assert_null(request.topics);
    assert_true(request.allow_auto_topic_creation); /* version 1 lacks it: its default */
    assert_int_equal(decode(&metadata_request_codec, 0, span_make("\xff\xff\xff\xff", 4), &arena, &request),
                     ERR_MALFORMED);
    assert_int_equal(decode(&metadata_request_codec, 1, span_make("\xff\xff\xff\xfe", 4), &arena, &request),
                     ERR_MALFORMED);
    arena_done(&arena);
}

static void a_null_where_the_version_has_none_is_malformed(void **state)
{
    (void)state;
    static const struct {
        int16_t version;
        const char *bytes;
        size_t count;
        enum err err;
    } rows[] = {
        {1, "\0\0\0\1\xff\xff", 6, ERR_MALFORMED}, /* the name of a topic */
        {9, "\2\0\0\1\0\0\0", 7, ERR_MALFORMED},
        {10, "\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0", 23, ERR_OK}, /* here a topic id may stand alone */
        {1, "\0\0\0\1\xff\xfe", 6, ERR_MALFORMED},
    };
    struct metadata_request request;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct arena arena;
        arena_init(&arena, 0);
        struct span bytes = span_make(rows[i].bytes, rows[i].count);
        assert_int_equal(decode(&metadata_request_codec, rows[i].version, bytes, &arena, &request), rows[i].err);
        arena_done(&arena);
    }
}

static void a_null_that_no_version_knows_is_sent_as_empty(void **state)
{
    (void)state;
    struct metadata_response response;
    codec_set_defaults(&metadata_response_codec, &response);
    response.brokers = NULL;
    response.topics = NULL;
    assert_encodes_as(&metadata_response_codec, 0, &response, "\0\0\0\0\0\0\0\0", 8);
}

/* A field that the version lacks: dropped when the schema allows it, else the caller is told. */
static void a_field_that_the_version_lacks_is_not_dropped_silently(void **state)
{
    (void)state;
    struct fetch_response response;
    struct fetch_request request;
    codec_set_defaults(&fetch_response_codec, &response);
    codec_set_defaults(&fetch_request_codec, &request);
    response.error_code = 3; /* from version 7, ignorable */
    assert_encodes_as(&fetch_response_codec, 4, &response, "\0\0\0\0\0\0\0\0", 8);
    response.session_id = 5; /* from version 7, not ignorable */
    assert_encode_fails(&fetch_response_codec, 4, &response, ERR_UNSUPPORTED);
    request.replica_id = 9; /* until version 14 */
    assert_encode_fails(&fetch_request_codec, 15, &request, ERR_UNSUPPORTED);
    assert_encode_fails(&fetch_request_codec, 3, &request, ERR_UNSUPPORTED);
    assert_encode_fails(&fetch_request_codec, 19, &request, ERR_UNSUPPORTED);
}

static void defaults_are_those_of_the_schema(void **state)
{
    (void)state;
    struct fetch_request request;
    struct fetch_request_partition partition;
    codec_set_defaults(&fetch_request_codec, &request);
    codec_struct_set_defaults(&fetch_request_partition_layout, &partition);
    assert_int_equal(request.max_bytes, INT32_MAX);
    assert_int_equal(request.session_epoch, -1);
    assert_int_equal(request.replica_state.replica_id, -1);
    assert_true(span_is_null(request.cluster_id));
    assert_true(!span_is_null(request.rack_id) && request.rack_id.bytes == 0);
    assert_true(partition.high_watermark == INT64_MAX);
}

/* An array element of version 17 with the tags 0 (directory id) and 7 (unknown). */
static void tagged_fields_are_read_written_and_skipped(void **state)
{
    (void)state;
    struct produce_response_node_endpoint endpoint;
    struct produce_response response;
    struct arena arena;
    arena_init(&arena, 0);
    codec_struct_set_defaults(&produce_response_node_endpoint_layout, &endpoint);
    codec_set_defaults(&produce_response_codec, &response);
    assert_encodes_as(&produce_response_codec, 10, &response, "\1\0\0\0\0\0", 6);
    endpoint.node_id = 1;
    endpoint.host = span_text("h");
    endpoint.port = 2;
    response.node_endpoints = &endpoint;
    response.node_endpoints_count = 1;
    static const char expected[] = "\1\0\0\0\0\1\0\x0d\2\0\0\0\1\2h\0\0\0\2\0\0";
    assert_encodes_as(&produce_response_codec, 10, &response, expected, sizeof(expected) - 1);
    assert_encode_fails(&produce_response_codec, 9, &response, ERR_UNSUPPORTED);

    static const struct {
        const char *bytes;
        size_t count;
        enum err err;
    } rows[] = {
        {"\1\0\0\0\0\2\0\1\1\7\1!", 12, ERR_OK},    /* an empty array, and a tag that nobody knows */
        {"\1\0\0\0\0\1\0\2\1!", 10, ERR_MALFORMED}, /* the known tag is larger than its content */
        {"\1\0\0\0\0\1\0\0", 8, ERR_MALFORMED},     /* and smaller */
        {"\1\0\0\0\0\1\7\5!", 9, ERR_MALFORMED},    /* the unknown one ends behind the message */
        {"\1\0\0\0\0\0!", 7, ERR_MALFORMED},        /* bytes are left over */
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct span bytes = span_make(rows[i].bytes, rows[i].count);
        assert_int_equal(decode(&produce_response_codec, 10, bytes, &arena, &response), rows[i].err);
    }
    arena_done(&arena);
}

static void a_struct_may_be_null(void **state)
{
    (void)state;
    struct describe_topic_partitions_request_cursor cursor = {span_text("t"), 3};
    struct describe_topic_partitions_request request;
    struct arena arena;
    arena_init(&arena, 0);
    codec_set_defaults(&describe_topic_partitions_request_codec, &request);
    assert_int_equal(request.response_partition_limit, 2000);
    assert_encodes_as(&describe_topic_partitions_request_codec, 0, &request, "\1\0\0\x07\xd0\xff\0", 7);
    request.cursor = &cursor;
    static const char expected[] = "\1\0\0\x07\xd0\1\2t\0\0\0\3\0\0";
    assert_encodes_as(&describe_topic_partitions_request_codec, 0, &request, expected, sizeof(expected) - 1);
    assert_int_equal(decode(&describe_topic_partitions_request_codec, 0, span_make(expected, sizeof(expected) - 1),
                            &arena, &request),
                     ERR_OK);
    assert_ptr_not_equal(request.cursor, &cursor);
    assert_int_equal(request.cursor->partition_index, 3);
    /* Any byte that is not negative says that the struct follows, as in Kafka. */
    static const char zero_is_there[] = "\1\0\0\x07\xd0\0\2t\0\0\0\3\0\0";
    struct span bytes = span_make(zero_is_there, sizeof(zero_is_there) - 1);
    assert_int_equal(decode(&describe_topic_partitions_request_codec, 0, bytes, &arena, &request), ERR_OK);
    assert_int_equal(request.cursor->partition_index, 3);
    arena_done(&arena);
}

static void records_outside_of_the_buffer_leave_a_cut(void **state)
{
    (void)state;
    struct fetch_response_partition_data partitions[2];
    struct fetch_response_fetchable_topic_response topic;
    struct fetch_response response;
    struct bytebuf buf;
    struct writer writer;
    int file = 0;
    codec_set_defaults(&fetch_response_codec, &response);
    codec_struct_set_defaults(&fetch_response_fetchable_topic_response_layout, &topic);
    for (size_t i = 0; i < ARRAY_COUNT(partitions); i++) {
        codec_struct_set_defaults(&fetch_response_partition_data_layout, &partitions[i]);
    }
    topic.partitions = partitions;
    topic.partitions_count = ARRAY_COUNT(partitions);
    response.responses = &topic;
    response.responses_count = 1;
    partitions[0].records.external = &file;
    partitions[0].records.external_bytes = 1000;
    partitions[1].records.bytes = span_text("xyz");
    bytebuf_init(&buf, 1000);
    writer_init(&writer, &buf);
    assert_int_equal(codec_encode(&fetch_response_codec, 12, &response, &writer), ERR_OK);
    assert_int_equal(writer.cuts_count, 1);
    assert_int_equal(writer.external_bytes, 1000);
    /* The length is there, as a varint of 1000 + 1; the bytes are not; the empty tag section follows. */
    size_t pos = writer.cuts[0].pos;
    assert_memory_equal(buf.data + pos - 2, "\xe9\x07", 2);
    assert_int_equal(buf.data[pos], 0);
    assert_memory_equal(buf.data + buf.bytes - 7, "\4xyz\0\0\0", 7);
    writer_done(&writer);
    bytebuf_done(&buf);
}

/* A count is believed only as far as bytes follow; nothing is allocated for it before. */
static void counts_that_lie_allocate_nothing(void **state)
{
    (void)state;
    static const struct {
        int16_t version;
        const char *bytes;
        size_t count;
    } rows[] = {
        {1, "\x7f\xff\xff\xff", 4},
        {1, "\0\0\0\2\0\1a", 7},
        {9, "\xff\xff\xff\xff\x0f", 5},
        {9, "\xff\xff\xff\x7f\1\1\1\1", 8},
    };
    struct metadata_request request;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct arena arena;
        arena_init(&arena, 0);
        struct span bytes = span_make(rows[i].bytes, rows[i].count);
        assert_int_equal(decode(&metadata_request_codec, rows[i].version, bytes, &arena, &request), ERR_MALFORMED);
        assert_true(arena.used_bytes <= 2 * sizeof(struct metadata_request_topic));
        arena_done(&arena);
    }
}

static void nodes_and_memory_are_limited(void **state)
{
    (void)state;
    struct metadata_request request;
    struct bytebuf buf;
    struct arena arena;
    uint8_t *room = NULL;
    size_t bytes = 4 + 2 * ((size_t)CODEC_NODES_MAX + 1);
    bytebuf_init(&buf, bytes);
    assert_int_equal(bytebuf_reserve(&buf, bytes, &room), ERR_OK);
    memset(room, 0, bytes);
    bytebuf_added(&buf, bytes);
    memcpy(room, "\0\x40\0\1", 4); /* CODEC_NODES_MAX + 1 empty names */
    arena_init(&arena, SIZE_MAX / 2);
    assert_int_equal(decode(&metadata_request_codec, 1, bytebuf_span(&buf), &arena, &request), ERR_LIMIT);
    arena_done(&arena);
    memcpy(room, "\0\0\1\0", 4);
    arena_init(&arena, 256 * sizeof(struct metadata_request_topic) - 1);
    assert_int_equal(decode(&metadata_request_codec, 1, span_make(room, 4 + 2 * 256), &arena, &request), ERR_LIMIT);
    arena_done(&arena);
    bytebuf_done(&buf);
}

static void json_has_the_shape_of_kafkas(void **state)
{
    (void)state;
    struct api_versions_response_api_version key = {18, 0, 4};
    struct api_versions_response response;
    struct bytebuf text;
    codec_set_defaults(&api_versions_response_codec, &response);
    response.api_keys = &key;
    response.api_keys_count = 1;
    bytebuf_init(&text, 1000);
    assert_int_equal(codec_print_json(&api_versions_response_codec, 3, &response, &text), ERR_OK);
    static const char expected[] =
        "{\"errorCode\":0,\"apiKeys\":[{\"apiKey\":18,\"minVersion\":0,\"maxVersion\":4}],\"throttleTimeMs\":0}";
    assert_int_equal(text.bytes, sizeof(expected) - 1);
    assert_memory_equal(text.data, expected, text.bytes);
    bytebuf_clear(&text);
    struct api_versions_request request;
    codec_set_defaults(&api_versions_request_codec, &request);
    request.client_software_name = span_make("a\"\\\n\xc3\xa9", 6);
    assert_int_equal(codec_print_json(&api_versions_request_codec, 3, &request, &text), ERR_OK);
    static const char escaped[] =
        "{\"clientSoftwareName\":\"a\\\"\\\\\\u000a\xc3\xa9\",\"clientSoftwareVersion\":\"\"}";
    assert_int_equal(text.bytes, sizeof(escaped) - 1);
    assert_memory_equal(text.data, escaped, text.bytes);
    bytebuf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_requests_have_the_bytes_of_the_specification),
        cmocka_unit_test(null_and_empty_arrays_differ_where_the_version_knows_null),
        cmocka_unit_test(a_null_where_the_version_has_none_is_malformed),
        cmocka_unit_test(a_null_that_no_version_knows_is_sent_as_empty),
        cmocka_unit_test(a_field_that_the_version_lacks_is_not_dropped_silently),
        cmocka_unit_test(defaults_are_those_of_the_schema),
        cmocka_unit_test(tagged_fields_are_read_written_and_skipped),
        cmocka_unit_test(a_struct_may_be_null),
        cmocka_unit_test(records_outside_of_the_buffer_leave_a_cut),
        cmocka_unit_test(counts_that_lie_allocate_nothing),
        cmocka_unit_test(nodes_and_memory_are_limited),
        cmocka_unit_test(json_has_the_shape_of_kafkas),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}

/* Dispatch over real sockets: ApiVersions, versions that are not served, bodies that can't be decoded. */
#include "broker/api/dispatch.h"
#include "broker/api/handlers.h"
#include "broker/broker_metrics.h"
#include "common/big_endian.h"
#include "net_harness.h"
#include "proto/kmsg/api_versions.h"
#include "proto/kmsg/describe_cluster.h"
#include "proto/kmsg/metadata.h"
#include "proto/wire/error_code.h"
#include "proto/wire/frame.h"
#include "proto/wire/header.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void answer_metadata(struct request *request)
{
    const struct metadata_request *message = request->message;
    struct metadata_response response;
    codec_set_defaults(&metadata_response_codec, &response);
    response.controller_id = (int32_t)message->topics_count;
    response.cluster_id = request->context.client_id;
    request_reply(request, &response);
}

static void answer_produce(struct request *request)
{
    request_reply_nothing(request);
}

static const struct dispatch_table test_table = {
    .handlers =
        {
            [API_KEY_PRODUCE] = answer_produce,
            [API_KEY_METADATA] = answer_metadata,
            [API_KEY_API_VERSIONS] = handle_api_versions,
        },
};

static void sink(void *ctx, struct request *request)
{
    dispatch_request(ctx, request);
}

static struct net_harness *start(void)
{
    struct net_harness_config config = net_harness_defaults();
    config.sink = sink;
    config.sink_ctx = (void *)(uintptr_t)&test_table;
    config.dispatch = &test_table;
    return net_harness_start(&config);
}

static void send_request(int fd, int16_t key, int16_t version, int32_t correlation_id,
                         const struct codec_message *codec, int16_t body_version, const void *body)
{
    struct bytebuf buf;
    struct writer writer;
    bytebuf_init(&buf, 1u << 20);
    writer_init(&writer, &buf);
    size_t begin_pos = frame_begin(&writer);
    struct request_header header = {key, version, correlation_id, span_text("test-client")};
    header_request_encode(&writer, &header);
    assert_int_equal(codec_encode(codec, body_version, body, &writer), ERR_OK);
    assert_int_equal(frame_end(&writer, begin_pos), ERR_OK);
    net_client_send(fd, buf.data, buf.bytes);
    writer_done(&writer);
    bytebuf_done(&buf);
}

/* The caller frees *ret_frame (spans point into it) and the arena. */
static void receive_response(int fd, int16_t key, int16_t version, int32_t correlation_id,
                             const struct codec_message *codec, struct arena *arena, void *body, uint8_t **ret_frame)
{
    size_t bytes = 0;
    *ret_frame = net_client_receive_frame(fd, &bytes);
    struct reader reader;
    reader_init(&reader, span_make(*ret_frame, bytes));
    int32_t got_correlation_id = 0;
    assert_int_equal(header_response_decode(&reader, key, version, &got_correlation_id), ERR_OK);
    assert_int_equal(got_correlation_id, correlation_id);
    assert_int_equal(codec_decode(codec, version, &reader, arena, body), ERR_OK);
}

static void ask_api_versions(int fd, int16_t version, const char *software, struct api_versions_response *ret_response,
                             struct arena *arena, uint8_t **ret_frame)
{
    struct api_versions_request request;
    codec_set_defaults(&api_versions_request_codec, &request);
    if (version >= 3) {
        request.client_software_name = span_text(software);
        request.client_software_version = span_text("1.2.3");
    }
    send_request(fd, API_KEY_API_VERSIONS, version, 7000 + version, &api_versions_request_codec, version, &request);
    receive_response(fd, API_KEY_API_VERSIONS, version, 7000 + version, &api_versions_response_codec, arena,
                     ret_response, ret_frame);
}

/* Every version answers with exactly the served APIs; Produce is advertised from 0 (protocol.md, trap 1). */
static void api_versions_tells_what_is_served(void **state)
{
    (void)state;
    struct net_harness *harness = start();
    int fd = net_client_connect(harness);
    for (int16_t version = 0; version <= 4; version++) {
        struct arena arena;
        arena_init(&arena, 0);
        struct api_versions_response response;
        uint8_t *frame = NULL;
        ask_api_versions(fd, version, "test-software", &response, &arena, &frame);
        assert_int_equal(response.error_code, ERROR_NONE);
        assert_int_equal(response.api_keys_count, 3);
        assert_int_equal(response.api_keys[0].api_key, API_KEY_PRODUCE);
        assert_int_equal(response.api_keys[0].min_version, 0);
        assert_int_equal(response.api_keys[0].max_version, 13);
        assert_int_equal(response.api_keys[1].api_key, API_KEY_METADATA);
        assert_int_equal(response.api_keys[2].api_key, API_KEY_API_VERSIONS);
        assert_int_equal(response.api_keys[2].max_version, 4);
        free(frame);
        arena_done(&arena);
    }
    close(fd);
    net_harness_stop(harness);
}

/* A client that is newer than we are: version 0, UNSUPPORTED_VERSION, and what to ask with; the connection stays. */
static void newer_api_versions_is_answered_in_version_0(void **state)
{
    (void)state;
    struct net_harness *harness = start();
    int fd = net_client_connect(harness);
    struct api_versions_request request = {span_text("from-the-future"), span_text("9")};
    send_request(fd, API_KEY_API_VERSIONS, 99, 41, &api_versions_request_codec, 4, &request);
    struct arena arena;
    arena_init(&arena, 0);
    struct api_versions_response response;
    uint8_t *frame = NULL;
    receive_response(fd, API_KEY_API_VERSIONS, 0, 41, &api_versions_response_codec, &arena, &response, &frame);
    assert_int_equal(response.error_code, ERROR_UNSUPPORTED_VERSION);
    assert_int_equal(response.api_keys_count, 1);
    assert_int_equal(response.api_keys[0].api_key, API_KEY_API_VERSIONS);
    assert_int_equal(response.api_keys[0].max_version, 4);
    free(frame);
    ask_api_versions(fd, 4, "test", &response, &arena, &frame);
    assert_int_equal(response.error_code, ERROR_NONE);
    free(frame);
    arena_done(&arena);
    close(fd);
    net_harness_stop(harness);
}

/* Names of software end up in metrics and logs: Kafka's pattern holds. */
static void bad_software_names_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"", "-x", "x-", "a b", "a\nb", ".", "na\xc3\xafve"};
    struct net_harness *harness = start();
    int fd = net_client_connect(harness);
    struct arena arena;
    arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct api_versions_response response;
        uint8_t *frame = NULL;
        ask_api_versions(fd, 3, names[i], &response, &arena, &frame);
        assert_int_equal(response.error_code, ERROR_INVALID_REQUEST);
        assert_int_equal(response.api_keys_count, 0);
        free(frame);
    }
    arena_done(&arena);
    close(fd);
    net_harness_stop(harness);
}

static void send_metadata(int fd, int16_t version, int32_t correlation_id)
{
    struct metadata_request request;
    codec_set_defaults(&metadata_request_codec, &request);
    struct metadata_request_topic topics[2];
    for (size_t i = 0; i < 2; i++) {
        codec_struct_set_defaults(&metadata_request_topic_layout, &topics[i]);
        topics[i].name = span_text(i == 0 ? "a" : "b");
    }
    request.topics = topics;
    request.topics_count = 2;
    send_request(fd, API_KEY_METADATA, version, correlation_id, &metadata_request_codec, version, &request);
}

/* A served API in every version: decoded, handled, encoded at the same version. */
static void requests_reach_their_handler(void **state)
{
    (void)state;
    struct net_harness *harness = start();
    int fd = net_client_connect(harness);
    for (int16_t version = 0; version <= 13; version++) {
        send_metadata(fd, version, version);
    }
    struct arena arena;
    arena_init(&arena, 0);
    for (int16_t version = 0; version <= 13; version++) {
        struct metadata_response response;
        uint8_t *frame = NULL;
        receive_response(fd, API_KEY_METADATA, version, version, &metadata_response_codec, &arena, &response, &frame);
        if (version >= 2) {
            assert_true(span_equal_text(response.cluster_id, "test-client"));
            assert_int_equal(response.controller_id, 2);
        }
        free(frame);
    }
    arena_done(&arena);
    close(fd);
    net_harness_stop(harness);
}

/* What is not served closes the connection, and the log says which API and which versions are. */
static void what_is_not_served_closes(void **state)
{
    (void)state;
    struct net_harness *harness = start();
    int unknown = net_client_connect(harness);
    net_client_send_frame(unknown, "\x03\xe7\x00\x00\x00\x00\x00\x01", 8);
    net_client_expect_closed(unknown);
    assert_true(net_harness_log_has(harness, "API key 999 is not served"));
    close(unknown);
    int absent = net_client_connect(harness);
    struct describe_cluster_request describe;
    codec_set_defaults(&describe_cluster_request_codec, &describe);
    send_request(absent, API_KEY_DESCRIBE_CLUSTER, 0, 1, &describe_cluster_request_codec, 0, &describe);
    net_client_expect_closed(absent);
    assert_true(net_harness_log_has(harness, "API key 60 is not served"));
    close(absent);
    int newer = net_client_connect(harness);
    net_client_send_frame(newer, "\x00\x03\x00\x63\x00\x00\x00\x01\xff\xff", 10);
    net_client_expect_closed(newer);
    assert_true(net_harness_log_has(harness, "Metadata version 99 is not served"));
    close(newer);
    net_harness_stop(harness);
}

/* Kafka ignores what stands behind a body; librdkafka 2.16 sends such requests. */
static void bytes_behind_a_body_are_ignored(void **state)
{
    (void)state;
    struct net_harness *harness = start();
    int fd = net_client_connect(harness);
    net_client_send_frame(fd,
                          "\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff"
                          "zzz",
                          13);
    size_t bytes = 0;
    uint8_t *reply = net_client_receive_frame(fd, &bytes);
    assert_true(bytes > 6);
    assert_memory_equal(reply, "\x00\x00\x00\x07\x00\x00", 6); /* correlation id, no error */
    free(reply);
    close(fd);
    net_harness_stop(harness);
}

/* A body that ends too early, or announces more elements than bytes: closed, with the position. */
static void undecodable_bodies_close_with_a_position(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
    } bodies[] = {
        {"\x00\x03\x00\x01\x00\x00\x00\x01\xff\xff\x00\x00", 12},
        {"\x00\x03\x00\x01\x00\x00\x00\x01\xff\xff\x7f\xff\xff\xff", 14},
        {"\x00\x03\x00\x01\x00\x00\x00\x01\x00\x63", 10},
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct net_harness *harness = start();
        int fd = net_client_connect(harness);
        net_client_send_frame(fd, bodies[i].bytes, bodies[i].count);
        net_client_expect_closed(fd);
        assert_true(net_harness_log_has(harness, "of a request (Metadata version 1)"));
        assert_true(net_harness_log_has(harness, "at byte"));
        close(fd);
        net_harness_stop(harness);
    }
}

/* Random and damaged frames: at worst their connection ends; a good client goes on. */
static void random_bytes_end_one_connection_at_worst(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "random_bytes_end_one_connection_at_worst", 7);
    struct net_harness *harness = start();
    int good = net_client_connect(harness);
    struct arena arena;
    arena_init(&arena, 0);
    for (uint64_t i = 0; i < prop_runs(300); i++) {
        int fd = net_client_connect(harness);
        uint8_t body[300];
        size_t bytes = (size_t)prop_range(&prop, 8, sizeof(body));
        prop_fill(&prop, body, bytes);
        static const uint8_t keys[] = {API_KEY_PRODUCE, API_KEY_METADATA, API_KEY_API_VERSIONS};
        be16_put(body, keys[prop_below(&prop, 3)]);
        be16_put(body + 2, (uint16_t)prop_below(&prop, 15));
        if (prop_chance(&prop, 1, 2)) {
            be16_put(body + 8, 0xffff); /* no client id: more reach the body */
        }
        net_client_send_frame(fd, body, bytes);
        (void)shutdown(fd, SHUT_WR);
        uint8_t rest[4096];
        while (recv(fd, rest, sizeof(rest), 0) > 0) {
        }
        close(fd);
        if (i % 50 == 0) {
            struct api_versions_response response;
            uint8_t *frame = NULL;
            ask_api_versions(good, 4, "good", &response, &arena, &frame);
            assert_int_equal(response.error_code, ERROR_NONE);
            free(frame);
        }
    }
    arena_done(&arena);
    close(good);
    net_harness_stop(harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(api_versions_tells_what_is_served),
        cmocka_unit_test(newer_api_versions_is_answered_in_version_0),
        cmocka_unit_test(bad_software_names_are_refused),
        cmocka_unit_test(requests_reach_their_handler),
        cmocka_unit_test(what_is_not_served_closes),
        cmocka_unit_test(bytes_behind_a_body_are_ignored),
        cmocka_unit_test(undecodable_bodies_close_with_a_position),
        cmocka_unit_test(random_bytes_end_one_connection_at_worst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

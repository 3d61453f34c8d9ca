/* Kafka admin requests through the controller, as bytes: answers, visible offsets, validateOnly, items of one request among each other. */
#include "controller/controller_api.h"
#include "proto/kmsg/alter_configs.h"
#include "proto/kmsg/create_partitions.h"
#include "proto/kmsg/create_topics.h"
#include "proto/kmsg/delete_topics.h"
#include "proto/kmsg/incremental_alter_configs.h"
#include "proto/wire/error_code.h"
#include "tests/unit/controller/controller_harness.h"

struct fixture {
    struct harness harness;
    struct arena arena;
};

static void setup(struct fixture *fixture)
{
    harness_init(&fixture->harness);
    arena_init(&fixture->arena, 0);
    harness_start(&fixture->harness);
    (void)harness_register(&fixture->harness, 1, 1);
    harness_subscribe(&fixture->harness);
}

static void teardown(struct fixture *fixture)
{
    harness_unsubscribe(&fixture->harness);
    harness_stop(&fixture->harness);
    harness_done(&fixture->harness);
    arena_done(&fixture->arena);
}

/* Encodes, asks, decodes; the metadata is followed to where the answer is visible. */
static void ask(struct fixture *fixture, const struct codec_message *request_codec, int16_t version,
                const void *request, const struct codec_message *response_codec, void *ret_response)
{
    struct bytebuf bytes;
    struct writer writer;
    bytebuf_init(&bytes, 16u << 20);
    writer_init(&writer, &bytes);
    assert_int_equal(codec_encode(request_codec, version, request, &writer), ERR_OK);
    struct shared_bytes *frame = shared_bytes_new(bytes.bytes);
    memcpy(frame->data, bytes.data, bytes.bytes);
    struct pending pending = {.request = {.kind = CONTROLLER_ADMIN,
                                          .admin = {.api_key = request_codec->api_key,
                                                    .api_version = version,
                                                    .frame = frame,
                                                    .body = span_make(frame->data, frame->bytes),
                                                    .principal = span_text("User:ANONYMOUS")}}};
    harness_submit(&fixture->harness, &pending);
    shared_bytes_unref(frame); /* the controller has its own */
    posix_loop_run_until(fixture->harness.loop, &pending.is_done);
    assert_int_equal(pending.request.err, ERR_OK);
    harness_follow(&fixture->harness, pending.request.metadata_offset);
    struct shared_bytes *response = pending.request.admin.response;
    struct span copy = arena_copy(&fixture->arena, span_make(response->data, response->bytes));
    struct reader reader;
    reader_init(&reader, copy);
    assert_int_equal(codec_decode(response_codec, version, &reader, &fixture->arena, ret_response), ERR_OK);
    shared_bytes_unref(response);
    writer_done(&writer);
    bytebuf_done(&bytes);
}

static struct create_topics_response create(struct fixture *fixture, int16_t version, const char *const *names,
                                            size_t count, int32_t partitions, bool validate_only)
{
    struct create_topics_request request;
    struct create_topics_response response;
    codec_set_defaults(&create_topics_request_codec, &request);
    request.topics = codec_array(&create_topics_request_creatable_topic_layout, count, &fixture->arena);
    request.topics_count = count;
    request.validate_only = validate_only;
    for (size_t i = 0; i < count; i++) {
        request.topics[i].name = span_text(names[i]);
        request.topics[i].num_partitions = partitions;
        request.topics[i].replication_factor = 1;
    }
    ask(fixture, &create_topics_request_codec, version, &request, &create_topics_response_codec, &response);
    assert_true(response.topics_count <= count);
    return response;
}

static void test_create_topics(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture);
    static const char *const names[] = {"one", "two", "two", "bad name", "a.b", "a_b"};
    struct create_topics_response response = create(&fixture, 7, names, 6, 3, false);
    static const int16_t codes[] = {ERROR_NONE, ERROR_INVALID_REQUEST, ERROR_INVALID_TOPIC_EXCEPTION, ERROR_NONE,
                                    ERROR_INVALID_TOPIC_EXCEPTION};
    assert_int_equal(response.topics_count, 5); /* the name that comes twice is answered once */
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(response.topics[i].error_code, codes[i]);
        assert_true(span_equal_text(response.topics[i].name, names[i + (i > 1)]));
    }
    const struct image_topic *topic = image_find_topic(fixture.harness.image, span_text("one"));
    assert_non_null(topic);
    assert_true(uuid_equal(topic->id, response.topics[0].topic_id));
    assert_int_equal(response.topics[0].num_partitions, 3);
    assert_int_equal(response.topics[0].replication_factor, 1);
    assert_true(response.topics[0].configs_count > 20);
    assert_int_equal(image_topic_count(fixture.harness.image), 2);
    for (int16_t version = 2; version <= 7; version++) {
        static const char *const again[] = {"one"};
        response = create(&fixture, version, again, 1, 1, false);
        assert_int_equal(response.topics[0].error_code, ERROR_TOPIC_ALREADY_EXISTS);
    }
    static const char *const other[] = {"other", "more"};
    response = create(&fixture, 7, other, 2, 1, true);
    assert_int_equal(response.topics[0].error_code, ERROR_NONE);
    assert_null(image_find_topic(fixture.harness.image, span_text("other")));
    response = create(&fixture, 7, other, 1, 6000, false);
    assert_int_equal(response.topics[0].error_code, ERROR_NONE);
    static const char *const large[] = {"l1", "l2"};
    response = create(&fixture, 7, large, 2, 6000, false);
    assert_int_equal(response.topics[0].error_code, ERROR_NONE);
    assert_int_equal(response.topics[1].error_code, ERROR_POLICY_VIOLATION); /* more than 10,000 in one request */
    teardown(&fixture);
}

/* A request is bounded: too many topics are refused together, as many as may be are made, within the time that brokers' sessions allow. */
static void test_many_topics(void **state)
{
    (void)state;
    struct fixture fixture;
    enum { COUNT = API_CALL_ITEMS_MAX + 1 };
    setup(&fixture);
    char(*texts)[16] = mem_array(COUNT, sizeof(texts[0]));
    const char **names = mem_array(COUNT, sizeof(names[0]));
    for (int i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof(texts[i]), "topic_%d", i);
        names[i] = texts[i];
    }
    struct create_topics_response response = create(&fixture, 7, names, COUNT, 1, false);
    assert_int_equal(response.topics_count, COUNT);
    assert_int_equal(response.topics[0].error_code, ERROR_POLICY_VIOLATION);
    assert_int_equal(response.topics[COUNT - 1].error_code, ERROR_POLICY_VIOLATION);
    uint64_t start_us = loop_now_us(fixture.harness.loop);
    response = create(&fixture, 7, names, COUNT - 1, 1, false);
    print_message("# %d topics in one request: %u ms\n", COUNT - 1,
                  (unsigned)((loop_now_us(fixture.harness.loop) - start_us) / 1000));
    for (size_t i = 0; i < response.topics_count; i++) {
        assert_int_equal(response.topics[i].error_code, ERROR_NONE);
    }
    assert_int_equal(image_topic_count(fixture.harness.image), COUNT - 1);
    mem_free(texts);
    mem_free((void *)names);
    teardown(&fixture);
}

static int16_t delete_one(struct fixture *fixture, int16_t version, const char *name, struct uuid id)
{
    struct delete_topics_request request;
    struct delete_topics_response response;
    codec_set_defaults(&delete_topics_request_codec, &request);
    struct delete_topics_request_delete_topic_state topic = {.name = span_text(name), .topic_id = id};
    struct span only = span_text(name);
    if (version >= 6) {
        request.topics = &topic;
        request.topics_count = 1;
    } else {
        request.topic_names = &only;
        request.topic_names_count = 1;
    }
    ask(fixture, &delete_topics_request_codec, version, &request, &delete_topics_response_codec, &response);
    assert_int_equal(response.responses_count, 1);
    if (response.responses[0].error_code == ERROR_NONE) {
        assert_true(response.responses[0].name.bytes > 0);
    }
    return response.responses[0].error_code;
}

static void test_delete_topics(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture);
    static const char *const names[] = {"one", "two", "three"};
    struct create_topics_response response = create(&fixture, 7, names, 3, 1, false);
    struct uuid two = response.topics[1].topic_id;
    assert_int_equal(delete_one(&fixture, 1, "one", UUID_ZERO), ERROR_NONE);
    assert_int_equal(delete_one(&fixture, 5, "one", UUID_ZERO), ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(delete_one(&fixture, 6, "two", two), ERROR_INVALID_REQUEST);
    assert_int_equal(delete_one(&fixture, 6, NULL, two), ERROR_NONE);
    assert_int_equal(delete_one(&fixture, 6, NULL, two), ERROR_UNKNOWN_TOPIC_ID);
    assert_int_equal(delete_one(&fixture, 6, "three", UUID_ZERO), ERROR_NONE);
    assert_int_equal(image_topic_count(fixture.harness.image), 0);
    teardown(&fixture);
}

static void test_create_partitions(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture);
    static const char *const names[] = {"t"};
    (void)create(&fixture, 7, names, 1, 2, false);
    for (int16_t version = 0; version <= 3; version++) {
        struct create_partitions_request request;
        struct create_partitions_response response;
        codec_set_defaults(&create_partitions_request_codec, &request);
        request.topics = codec_array(&create_partitions_request_topic_layout, 2, &fixture.arena);
        request.topics_count = 2;
        request.validate_only = version == 3;
        request.topics[0].name = span_text("t");
        request.topics[0].count = 3 + version;
        request.topics[1].name = span_text("unknown");
        request.topics[1].count = 3;
        request.topics[0].assignments = request.topics[1].assignments = NULL; /* placement chooses */
        ask(&fixture, &create_partitions_request_codec, version, &request, &create_partitions_response_codec,
            &response);
        assert_int_equal(response.results[0].error_code, ERROR_NONE);
        assert_int_equal(response.results[1].error_code, ERROR_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(image_find_topic(fixture.harness.image, span_text("t"))->partition_count,
                         version == 3 ? 5 : 3 + version);
    }
    teardown(&fixture);
}

static void test_incremental_alter_configs(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture);
    static const char *const names[] = {"t"};
    (void)create(&fixture, 7, names, 1, 1, false);
    struct incremental_alter_configs_request_alterable_config configs[2] = {
        {.name = span_text("retention.ms"), .config_operation = 0, .value = span_text("86400000")},
        {.name = span_text("durability"), .config_operation = 0, .value = span_text("cached")}};
    struct incremental_alter_configs_request_alter_configs_resource resources[3] = {
        {.resource_type = 2, .resource_name = span_text("t"), .configs = configs, .configs_count = 2},
        {.resource_type = 2, .resource_name = span_text("x"), .configs = configs, .configs_count = 2},
        {.resource_type = 4, .resource_name = span_text("1"), .configs = configs, .configs_count = 1}};
    struct incremental_alter_configs_request request = {.resources = resources, .resources_count = 3};
    struct incremental_alter_configs_response response;
    for (int16_t version = 0; version <= 1; version++) {
        ask(&fixture, &incremental_alter_configs_request_codec, version, &request,
            &incremental_alter_configs_response_codec, &response);
        assert_int_equal(response.responses[0].error_code, ERROR_NONE);
        assert_int_equal(response.responses[1].error_code, ERROR_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(response.responses[2].error_code, ERROR_INVALID_CONFIG); /* no broker options were given */
        struct span value = image_topic_config_value(fixture.harness.image, span_text("t"), "durability");
        assert_true(span_equal_text(value, "cached"));
    }
    struct alter_configs_request_alterable_config old = {.name = span_text("retention.ms"), .value = span_text("1")};
    struct alter_configs_request_resource old_resource = {
        .resource_type = 2, .resource_name = span_text("t"), .configs = &old, .configs_count = 1};
    struct alter_configs_request old_request = {.resources = &old_resource, .resources_count = 1};
    struct alter_configs_response old_response;
    ask(&fixture, &alter_configs_request_codec, 1, &old_request, &alter_configs_response_codec, &old_response);
    assert_int_equal(old_response.responses[0].error_code, ERROR_NONE);
    assert_true(span_is_null(image_topic_config_value(fixture.harness.image, span_text("t"), "durability")));
    teardown(&fixture);
}

/* Bodies that are no request, and APIs that the controller does not decide. */
static void test_undecodable(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture);
    struct shared_bytes *frame = shared_bytes_new(3);
    memset(frame->data, 0x7f, 3);
    static const int16_t keys[] = {19, 20, 33, 37, 44, 3};
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        struct pending pending = {.request = {.kind = CONTROLLER_ADMIN,
                                              .admin = {.api_key = keys[i],
                                                        .api_version = 2,
                                                        .frame = frame,
                                                        .body = span_make(frame->data, frame->bytes)}}};
        harness_ask(&fixture.harness, &pending);
        assert_int_not_equal(pending.request.err, ERR_OK);
        assert_null(pending.request.admin.response);
    }
    shared_bytes_unref(frame);
    teardown(&fixture);
}

/* Many requests at once become few entries, and every one sees what the ones before it did. */
static void test_many_at_once(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture);
    enum { COUNT = 200 };
    struct pending *asks = mem_array(COUNT, sizeof(asks[0]));
    char(*names)[16] = mem_array(COUNT, sizeof(names[0]));
    struct span *spans = mem_array(COUNT, sizeof(spans[0]));
    int16_t *codes = mem_array(COUNT, sizeof(codes[0]));
    harness_follow(&fixture.harness, 1);
    int64_t before = image_offset(fixture.harness.image);
    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof(names[i]), "topic-%d", i / 2); /* each name twice */
        spans[i] = span_text(names[i]);
        codes[i] = -7;
        asks[i].request.kind = CONTROLLER_AUTO_CREATE;
        asks[i].request.auto_create =
            (struct controller_auto_create){.names = &spans[i], .name_count = 1, .ret_error_codes = &codes[i]};
        harness_submit(&fixture.harness, &asks[i]);
    }
    int64_t last = 0;
    for (int i = 0; i < COUNT; i++) {
        posix_loop_run_until(fixture.harness.loop, &asks[i].is_done);
        assert_int_equal(asks[i].request.err, ERR_OK);
        assert_int_equal(codes[i], 0);
        assert_true(asks[i].request.metadata_offset >= last);
        last = asks[i].request.metadata_offset;
    }
    harness_follow(&fixture.harness, last);
    assert_int_equal(image_topic_count(fixture.harness.image), COUNT / 2);
    assert_true(last - before < COUNT);
    mem_free(asks);
    mem_free(names);
    mem_free(spans);
    mem_free(codes);
    teardown(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_topics),
        cmocka_unit_test(test_create_topics),
        cmocka_unit_test(test_delete_topics),
        cmocka_unit_test(test_create_partitions),
        cmocka_unit_test(test_incremental_alter_configs),
        cmocka_unit_test(test_undecodable),
        cmocka_unit_test(test_many_at_once),
    };
    return cmocka_run_group_tests_name("admin", tests, NULL, NULL);
}

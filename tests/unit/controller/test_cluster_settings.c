/* What settings, defaults, levels and the absence of brokers mean for decisions. */
#include "controller/config_control.h"
#include "controller/level_control.h"
#include "tests/unit/controller/cluster_support.h"

static const int32_t three[3] = {1, 2, 3};

static void setup(struct state *state, uint32_t broker_count)
{
    state_init(state);
    for (uint32_t id = 1; id <= broker_count; id++) {
        state_add_broker(state, (int32_t)id, "", 1);
    }
}

/* Topics that are made while brokers are away: what must be alive, and that every replica has a directory. */
static void test_creation(void **unused)
{
    (void)unused;
    struct state state;
    setup(&state, 3);
    cluster_fence(&state, 1);
    (void)cluster_heartbeat(&state, 2, (struct controller_heartbeat){.wants_shut_down = true});
    struct topic_wish wish = {.name = span_text("t"), .partition_count = 1, .replication_factor = 2};
    expect_create(&state, wish, ERROR_INVALID_REPLICATION_FACTOR, "larger than available brokers: 1");
    const int32_t away[2] = {1, 2};
    struct topic_assignment assignment = {0, away, 2};
    wish = (struct topic_wish){NAME("t"), .assignments = &assignment, .assignment_count = 1};
    expect_create(&state, wish, ERROR_INVALID_REPLICA_ASSIGNMENT, "fenced or shutting down");
    cluster_create(&state, "t", three, 3, 1, NULL, 0);
    cluster_expect(cluster_partition(&state, "t", 0), 3, 1, 0);
    for (uint32_t id = 1; id <= 3; id++) {
        assert_true(
            uuid_equal(image_partition_directory(cluster_partition(&state, "t", 0), (int32_t)id), id_of(id * 16 + 1)));
    }
    cluster_unfence(&state, 1);
    cluster_unfence(&state, 2);
    assert_int_equal(cluster_alter(&state, image_find_topic(state.image, span_text("t")), 0, three, 3, false),
                     ERROR_NONE);
    state_done(&state);
}

/* ---- settings ---- */

static void set(struct state *state, const char *topic, const char *key, const char *value)
{
    struct decision decision = state_decision(state, 0);
    struct config_change change = CONFIG(key, value);
    struct decision_result result = {0};
    assert_true(config_control_change(&decision, IMAGE_CONFIG_TOPIC, span_text(topic), &change, 1, &result));
    cluster_commit(state);
    decision = state_decision(state, 0);
    struct partition_sweep sweep = {.decision = &decision};
    leader_control_settings_changed(&sweep, image_find_topic(state->image, span_text(topic)));
    cluster_commit(state);
}

static void test_settings(void **unused)
{
    (void)unused;
    struct state state;
    struct config_change min_isr = CONFIG("min.insync.replicas", "2");
    const int32_t one[1] = {1};
    setup(&state, 3);
    cluster_create(&state, "t", three, 2, 1, &min_isr, 1);
    assert_int_equal(cluster_alter(&state, image_find_topic(state.image, span_text("t")), 0, one, 1, false),
                     ERROR_NONE);
    cluster_expect(cluster_partition(&state, "t", 0), 1, 1, 1);
    set(&state, "t", "min.insync.replicas", "1"); /* the leader commits alone from now on: 2 does not have it */
    cluster_expect(cluster_partition(&state, "t", 0), 1, 1, 0);
    cluster_fence(&state, 1);
    cluster_expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 1);
    set(&state, "t", "retention.ms", "5");
    cluster_expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 1);
    set(&state, "t", "unclean.leader.election.enable", "true");
    cluster_expect(cluster_partition(&state, "t", 0), 2, 1, 0);
    assert_true(cluster_partition(&state, "t", 0)->is_recovering);
    cluster_unfence(&state, 1);
    cluster_fence(&state, 2); /* with the setting on, by itself */
    cluster_expect(cluster_partition(&state, "t", 0), 1, 1, 0);
    state_done(&state);
}

/* The node's own defaults count where nothing was set; a single broker can't have its own. */
static void test_defaults(void **unused)
{
    (void)unused;
    struct state state;
    const struct decision_defaults cached = {.min_insync_replicas = 1, .is_cached = true, .allows_unclean = true};
    setup(&state, 3);
    cluster_create(&state, "t", three, 2, 1, NULL, 0);
    struct config_change change = CONFIG("min.insync.replicas", "2");
    struct decision decision = state_decision(&state, 0);
    struct decision_result result = {0};
    assert_false(config_control_change(&decision, IMAGE_CONFIG_BROKER, span_text("1"), &change, 1, &result));
    assert_int_equal(result.code, ERROR_INVALID_CONFIG);
    assert_non_null(strstr((const char *)result.message.data, "for a topic"));

    struct image_endpoint endpoint = {.listener_name = span_text("P"), .host = span_text("h"), .port = 1};
    for (int32_t id = 1; id <= 2; id++) {
        struct uuid directory = id_of((uint32_t)id * 16 + 1);
        struct controller_registration registration = {.broker_id = id,
                                                       .incarnation_id = id_of(500 + (uint32_t)id),
                                                       .previous_epoch = -1,
                                                       .boot_id = span_text("next boot"),
                                                       .endpoints = &endpoint,
                                                       .endpoint_count = 1,
                                                       .directories = &directory,
                                                       .directory_count = 1};
        int64_t epoch = 0;
        decision = state_decision(&state, 0);
        decision.defaults = &cached;
        assert_true(broker_control_register(&decision, &registration, &epoch, &result));
        cluster_commit(&state);
    }
    cluster_expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 0);
    decision = state_decision(&state, 0);
    decision.defaults = &cached;
    bool is_fenced = true;
    bool may_shut_down = false;
    struct controller_heartbeat heartbeat = {
        .broker_id = 2, .broker_epoch = cluster_epoch(&state, 2), .applied_offset = INT64_MAX};
    assert_true(broker_control_heartbeat(&decision, &heartbeat, &is_fenced, &may_shut_down, &result));
    cluster_commit(&state);
    cluster_expect(cluster_partition(&state, "t", 0), 2, 1, 0);
    assert_true(cluster_partition(&state, "t", 0)->is_recovering);
    state_done(&state);
}

/* ---- the metadata level ---- */

static int16_t raise_level(struct state *state, int32_t level, uint32_t level_max, const char *words)
{
    struct decision decision = state_decision(state, 0);
    struct decision_result result = {0};
    if (!level_control_raise(&decision, level, level_max, &result)) {
        assert_int_equal(state->records.count, 0);
        assert_non_null(strstr((const char *)result.message.data, words));
    }
    return result.code;
}

static void test_level(void **unused)
{
    (void)unused;
    struct state state;
    struct uuid directory = id_of(77);
    struct image_endpoint endpoint = {.listener_name = span_text("P"), .host = span_text("h"), .port = 1};
    struct controller_registration registration = {.broker_id = 3,
                                                   .incarnation_id = id_of(5),
                                                   .boot_id = span_text("boot"),
                                                   .level_min = 2,
                                                   .level_max = 3,
                                                   .endpoints = &endpoint,
                                                   .endpoint_count = 1,
                                                   .directories = &directory,
                                                   .directory_count = 1};
    setup(&state, 1);
    meta_add_level(&state.records, 1);
    cluster_commit(&state);
    struct decision decision = state_decision(&state, 0);
    struct decision_result result = {0};
    int64_t epoch = 0;
    assert_false(broker_control_register(&decision, &registration, &epoch, &result));
    assert_int_equal(result.code, ERROR_UNSUPPORTED_VERSION);
    assert_non_null(strstr((const char *)result.message.data, "levels 2 to 3: run an older version"));
    registration.level_min = 1;
    assert_true(broker_control_register(&decision, &registration, &epoch, &result));
    cluster_commit(&state);
    assert_int_equal(image_find_broker(state.image, 3)->level_max, 3);
    assert_int_equal(image_find_broker(state.image, 1)->level_max, 1); /* said nothing */

    assert_int_equal(raise_level(&state, 0, 5, "lowered"), ERROR_INVALID_UPDATE_VERSION);
    assert_int_equal(raise_level(&state, 1, 5, ""), ERROR_NONE);
    assert_int_equal(state.records.count, 0);
    assert_int_equal(raise_level(&state, 2, 1, "controllers"), ERROR_INVALID_UPDATE_VERSION);
    assert_int_equal(raise_level(&state, 2, 5, "Broker 1 understands metadata.version 1 to 1"),
                     ERROR_INVALID_UPDATE_VERSION);
    cluster_fence(&state, 1);
    assert_int_equal(cluster_unregister(&state, 1, ""), ERROR_NONE);
    assert_int_equal(raise_level(&state, 4, 5, "Broker 3"), ERROR_INVALID_UPDATE_VERSION);
    assert_int_equal(raise_level(&state, 2, 5, ""), ERROR_NONE);
    assert_int_equal(state.records.count, 1);
    struct image *draft = image_draft(state.image, state.index + 1, &state.records, 0, 1);
    assert_int_equal(image_metadata_level(draft), 2);
    image_unref(draft);
    /* This program does not know level 2: it must not go on with such an entry. */
    struct bytebuf bytes;
    struct image *after = NULL;
    bool is_applied = false;
    bytebuf_init(&bytes, META_BATCH_BYTES_MAX);
    assert_int_equal(meta_pack(&state.records, 0, 1, image_controller_epoch(state.image), &bytes), ERR_OK);
    assert_int_equal(image_apply(state.image, state.index + 1, 1, bytebuf_span(&bytes), &after, &is_applied),
                     ERR_UNSUPPORTED);
    bytebuf_done(&bytes);
    state_done(&state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_creation),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_level),
    };
    return cmocka_run_group_tests_name("cluster_settings", tests, NULL, NULL);
}

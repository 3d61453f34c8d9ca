/* Who leads after brokers come, go, and are taken out; elections that people ask for; what settings change. */
#include "controller/config_control.h"
#include "controller/leader_control.h"
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

static void expect(const struct image_partition *partition, int32_t leader_id, uint32_t isr_count, uint32_t elr_count)
{
    assert_int_equal(partition->leader_id, leader_id);
    assert_int_equal(partition->isr_count, isr_count);
    assert_int_equal(partition->elr_count, elr_count);
}

/* ---- fencing ---- */

/* The last ISR member enters the ELR too, and leads again when it comes back (KIP-966). */
static void test_fencing_to_the_last(void **unused)
{
    (void)unused;
    struct state state;
    struct config_change min_isr = CONFIG("min.insync.replicas", "2");
    setup(&state, 3);
    cluster_create(&state, "t", three, 3, 1, &min_isr, 1);
    cluster_fence(&state, 1);
    expect(cluster_partition(&state, "t", 0), 2, 2, 0);
    assert_int_equal(cluster_partition(&state, "t", 0)->leader_epoch, 1);
    cluster_fence(&state, 3); /* a follower: the leader stays, in its epoch */
    expect(cluster_partition(&state, "t", 0), 2, 1, 1);
    assert_int_equal(cluster_partition(&state, "t", 0)->leader_epoch, 1);
    cluster_fence(&state, 2);
    expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 2);
    int64_t offset = image_offset(state.image);
    struct decision decision = state_decision(&state, 0);
    struct decision_result result = {0};
    assert_true(broker_control_fence(&decision, 2, cluster_epoch(&state, 2), &result)); /* again: nothing to do */
    assert_int_equal(state.records.count, 0);
    assert_false(broker_control_fence(&decision, 2, 1, &result));
    assert_int_equal(result.code, ERROR_STALE_BROKER_EPOCH);
    cluster_unfence(&state, 1); /* was out of the ISR before it shrank below the minimum */
    expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 2);
    cluster_unfence(&state, 3);
    expect(cluster_partition(&state, "t", 0), 3, 1, 1);
    assert_true(image_offset(state.image) > offset);
    cluster_unfence(&state, 2);
    expect(cluster_partition(&state, "t", 0), 3, 1, 1); /* 2 catches up first */
    const int32_t both[2] = {2, 3};
    assert_int_equal(cluster_alter(&state, image_find_topic(state.image, span_text("t")), 0, both, 2, false),
                     ERROR_NONE);
    expect(cluster_partition(&state, "t", 0), 3, 2, 0);
    state_done(&state);
}

static void check_nobody_fenced_leads(const struct state *state)
{
    for (uint32_t i = 0; i < image_topic_count(state->image); i++) {
        const struct image_topic *topic = image_topic_at(state->image, i);
        for (uint32_t j = 0; j < topic->partition_count; j++) {
            int32_t leader_id = topic->partitions[j]->leader_id;
            assert_true(leader_id == IMAGE_NO_LEADER || image_is_broker_alive(state->image, leader_id));
        }
    }
}

/* 10,000 partitions on three brokers go in one entry; far more go in parts, and at no time a fenced broker leads. */
static void test_fencing_is_one_batch_or_several(void **unused)
{
    (void)unused;
    struct state state;
    char name[16];
    setup(&state, 3);
    for (uint32_t i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "topic-%u", i);
        cluster_create(&state, name, three, 3, 1000, NULL, 0);
    }
    struct decision decision = state_decision(&state, 0);
    struct decision_result result = {0};
    assert_true(broker_control_fence(&decision, 1, cluster_epoch(&state, 1), &result));
    print_message("# fencing a broker with 10,000 partitions: %zu bytes\n",
                  meta_packed_bytes(&state.records, 0, state.records.count, INT64_MAX));
    assert_false(result.is_partial);
    meta_records_cut(&state.records, 0);
    for (uint32_t i = 10; i < 60; i++) {
        snprintf(name, sizeof(name), "topic-%u", i);
        cluster_create(&state, name, three, 3, 1000, NULL, 0);
    }
    unsigned parts = 0;
    do {
        decision = state_decision(&state, 0);
        result = (struct decision_result){0};
        assert_true(broker_control_fence(&decision, 1, cluster_epoch(&state, 1), &result));
        cluster_commit(&state);
        check_nobody_fenced_leads(&state);
        const struct image_broker *broker = image_find_broker(state.image, 1);
        assert_int_equal(broker->is_fenced, !result.is_partial);
        assert_true(broker->is_fenced || broker->is_shutting_down);
        parts++;
    } while (result.is_partial);
    print_message("# 60,000 partitions: %u entries\n", parts);
    assert_true(parts > 1);
    for (uint32_t i = 0; i < image_topic_count(state.image); i++) {
        expect(image_topic_at(state.image, i)->partitions[999], 2, 2, 0);
    }
    cluster_fence(&state, 2);
    cluster_fence(&state, 3); /* min.insync.replicas 1: only 3 is in the ELR */
    expect(cluster_partition(&state, "topic-0", 0), IMAGE_NO_LEADER, 0, 1);
    cluster_unfence(&state, 3); /* in parts, too */
    expect(cluster_partition(&state, "topic-59", 999), 3, 1, 0);
    assert_int_equal(cluster_register(&state, 3, 1, id_of(3 * 16 + 1), "boot", -1), ERROR_NONE);
    expect(cluster_partition(&state, "topic-59", 999), IMAGE_NO_LEADER, 0, 1);
    check_nobody_fenced_leads(&state);
    state_done(&state);
}

/* ---- restarts and leaving ---- */

/* All lose their memory: then nobody is known to have everything, and only an unclean election helps. */
static void test_power_cut_of_all(void **unused)
{
    (void)unused;
    for (int is_cached = 0; is_cached <= 1; is_cached++) {
        struct state state;
        struct config_change configs[2] = {CONFIG("min.insync.replicas", "2"), CONFIG("durability", "cached")};
        setup(&state, 3);
        cluster_create(&state, "t", three, 3, 1, configs, is_cached ? 2 : 1);
        for (int32_t id = 1; id <= 3; id++) {
            assert_int_equal(cluster_register(&state, id, 1, id_of((uint32_t)id * 16 + 1), "next boot", -1),
                             ERROR_NONE);
        }
        expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, is_cached ? 0 : 2);
        cluster_unfence(&state, 1);
        cluster_unfence(&state, 3);
        expect(cluster_partition(&state, "t", 0), is_cached ? IMAGE_NO_LEADER : 3, is_cached ? 0 : 1,
               is_cached ? 0 : 1);
        if (is_cached) {
            struct decision decision = state_decision(&state, 0);
            struct partition_sweep sweep = {.decision = &decision};
            struct decision_result result = {0};
            assert_true(leader_control_elect(&sweep, image_find_topic(state.image, span_text("t")), 0,
                                             LEADER_ELECTION_UNCLEAN, &result));
            cluster_commit(&state);
            expect(cluster_partition(&state, "t", 0), 1, 1, 0);
            assert_true(cluster_partition(&state, "t", 0)->is_recovering);
        }
        state_done(&state);
    }
}

/* A killed process on a machine that runs on, and an orderly stop, cost a cached topic nothing. */
static void test_kill_costs_nothing(void **unused)
{
    (void)unused;
    struct state state;
    struct config_change cached = CONFIG("durability", "cached");
    setup(&state, 3);
    cluster_create(&state, "t", three, 1, 1, NULL, 0);
    cluster_create(&state, "u", three, 2, 1, &cached, 1);
    cluster_fence(&state, 2);
    assert_int_equal(cluster_register(&state, 1, 1, id_of(17), "boot", -1), ERROR_NONE); /* killed */
    expect(cluster_partition(&state, "u", 0), IMAGE_NO_LEADER, 0, 1);
    cluster_unfence(&state, 1);
    expect(cluster_partition(&state, "u", 0), 1, 1, 0);
    int64_t mark = cluster_epoch(&state, 1);
    assert_int_equal(cluster_register(&state, 1, 2, id_of(17), "next boot", mark),
                     ERROR_NONE); /* orderly, then a reboot */
    cluster_unfence(&state, 1);
    expect(cluster_partition(&state, "u", 0), 1, 1, 0);
    assert_int_equal(cluster_register(&state, 1, 3, id_of(17), "third boot", mark), ERROR_NONE); /* an older mark */
    cluster_unfence(&state, 1);
    expect(cluster_partition(&state, "u", 0), IMAGE_NO_LEADER, 0, 0);
    expect(cluster_partition(&state, "t", 0), 1, 1, 0);
    state_done(&state);
}

static void test_orderly_leaving(void **unused)
{
    (void)unused;
    struct state state;
    const struct controller_heartbeat leaving = {.wants_shut_down = true, .applied_offset = INT64_MAX};
    setup(&state, 3);
    cluster_create(&state, "t", three, 3, 4, NULL, 0);
    cluster_create(&state, "alone", three, 1, 1, NULL, 0);
    assert_false(cluster_heartbeat(&state, 1, leaving)); /* moves first */
    expect(cluster_partition(&state, "t", 3), 2, 2, 0);  /* and out of the ISR with the same record */
    expect(cluster_partition(&state, "alone", 0), 1, 1, 0);
    const int32_t all[3] = {1, 2, 3};
    assert_int_equal(cluster_alter(&state, image_find_topic(state.image, span_text("t")), 0, all, 3, false),
                     ERROR_INELIGIBLE_REPLICA); /* it does not come back meanwhile */
    assert_true(cluster_heartbeat(&state, 1, leaving));
    cluster_fence(&state, 3); /* other things happen: what it serves to the end stays its own */
    expect(cluster_partition(&state, "alone", 0), 1, 1, 0);
    assert_false(cluster_heartbeat(&state, 2, leaving) && cluster_partition(&state, "t", 0)->leader_id != 2);
    expect(cluster_partition(&state, "t", 0), 2, 1, 0); /* nobody else may lead */
    assert_true(cluster_heartbeat(&state, 2, leaving));
    cluster_unfence(&state, 3);
    expect(cluster_partition(&state, "t", 0), 2, 1, 0); /* a leader that is leaving leads on */
    const int32_t two[2] = {2, 3};
    assert_int_equal(cluster_alter(&state, image_find_topic(state.image, span_text("t")), 0, two, 2, false),
                     ERROR_NONE);
    assert_false(cluster_heartbeat(&state, 2, leaving));
    expect(cluster_partition(&state, "t", 0), 3, 1, 0);
    cluster_fence(&state, 1);
    expect(cluster_partition(&state, "alone", 0), IMAGE_NO_LEADER, 0, 1);
    state_done(&state);
}

static int16_t unregister(struct state *state, int32_t broker_id, const char *words)
{
    struct decision decision = state_decision(state, 0);
    struct decision_result result = {0};
    if (!broker_control_unregister(&decision, broker_id, &result)) {
        assert_int_equal(state->records.count, 0);
        assert_non_null(strstr((const char *)result.message.data, words));
    }
    cluster_commit(state);
    return result.code;
}

static void test_unregister(void **unused)
{
    (void)unused;
    struct state state;
    setup(&state, 3);
    cluster_create(&state, "t", three, 2, 7, NULL, 0);
    assert_int_equal(unregister(&state, 9, "9"), ERROR_BROKER_ID_NOT_REGISTERED);
    assert_int_equal(unregister(&state, 1, "7 partitions in 1 topics"), ERROR_INVALID_REQUEST);
    assert_int_equal(unregister(&state, 3, "alive"), ERROR_INVALID_REQUEST);
    cluster_fence(&state, 1);
    cluster_fence(&state, 3);
    struct decision decision = state_decision(&state, 0);
    struct config_change setting = CONFIG("log.cleaner.threads", "2");
    (void)decision;
    meta_add_config_change(&state.records, IMAGE_CONFIG_BROKER, span_text("3"),
                           &(struct image_config_entry){setting.name, setting.value}, 1, NULL, 0);
    cluster_commit(&state);
    assert_int_equal(unregister(&state, 1, "delete those topics first"), ERROR_INVALID_REQUEST);
    assert_int_equal(unregister(&state, 3, ""), ERROR_NONE);
    assert_null(image_find_broker(state.image, 3));
    assert_null(image_find_config(state.image, IMAGE_CONFIG_BROKER, span_text("3")));
    assert_int_equal(image_broker_count(state.image), 2);
    struct bytebuf bytes;
    struct image *restored = NULL;
    bytebuf_init(&bytes, 1u << 20);
    assert_int_equal(image_snapshot_encode(state.image, &bytes), ERR_OK);
    assert_int_equal(image_snapshot_decode(bytebuf_span(&bytes), &restored), ERR_OK);
    assert_int_equal(image_broker_count(restored), 2);
    bytebuf_done(&bytes);
    image_unref(restored);
    assert_int_equal(cluster_register(&state, 3, 5, id_of(3 * 16 + 1), "boot", -1), ERROR_NONE); /* it may come back */
    assert_non_null(image_find_broker(state.image, 3));
    state_done(&state);
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
    expect(cluster_partition(&state, "t", 0), 3, 1, 0);
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

/* ---- elections that are asked for ---- */

static int16_t elect(struct state *state, const char *topic, int32_t index, enum leader_election election)
{
    struct decision decision = state_decision(state, 0);
    struct partition_sweep sweep = {.decision = &decision};
    struct decision_result result = {0};
    bool is_fine =
        leader_control_elect(&sweep, image_find_topic(state->image, span_text(topic)), index, election, &result);
    assert_int_equal(is_fine, result.code == ERROR_NONE);
    assert_int_equal(state->records.count > 0, is_fine);
    cluster_commit(state);
    return result.code;
}

static void test_elections_asked_for(void **unused)
{
    (void)unused;
    struct state state;
    setup(&state, 3);
    cluster_create(&state, "t", three, 3, 2, NULL, 0);
    assert_int_equal(elect(&state, "x", 0, LEADER_ELECTION_PREFERRED), ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(elect(&state, "t", 2, LEADER_ELECTION_PREFERRED), ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(elect(&state, "t", 0, LEADER_ELECTION_PREFERRED), ERROR_ELECTION_NOT_NEEDED);
    assert_int_equal(elect(&state, "t", 0, LEADER_ELECTION_UNCLEAN), ERROR_ELECTION_NOT_NEEDED);
    cluster_fence(&state, 1);
    assert_int_equal(elect(&state, "t", 0, LEADER_ELECTION_PREFERRED), ERROR_PREFERRED_LEADER_NOT_AVAILABLE);
    cluster_unfence(&state, 1);
    assert_int_equal(elect(&state, "t", 0, LEADER_ELECTION_PREFERRED),
                     ERROR_PREFERRED_LEADER_NOT_AVAILABLE); /* not in sync */
    for (int32_t i = 0; i < 2; i++) {
        assert_int_equal(cluster_alter(&state, image_find_topic(state.image, span_text("t")), i, three, 3, false),
                         ERROR_NONE);
    }
    int32_t epoch = cluster_partition(&state, "t", 0)->leader_epoch;
    assert_int_equal(elect(&state, "t", 0, LEADER_ELECTION_PREFERRED), ERROR_NONE);
    expect(cluster_partition(&state, "t", 0), 1, 3, 0);
    assert_int_equal(cluster_partition(&state, "t", 0)->leader_epoch, epoch + 1);

    cluster_fence(&state, 1);
    cluster_fence(&state, 2);
    cluster_fence(&state, 3);
    expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 1);
    assert_int_equal(elect(&state, "t", 0, LEADER_ELECTION_UNCLEAN), ERROR_ELIGIBLE_LEADERS_NOT_AVAILABLE);
    cluster_unfence(&state, 2);
    assert_int_equal(elect(&state, "t", 0, LEADER_ELECTION_UNCLEAN), ERROR_NONE);
    expect(cluster_partition(&state, "t", 0), 2, 1, 0);
    assert_true(cluster_partition(&state, "t", 0)->is_recovering);
    state_done(&state);
}

static uint32_t balance(struct state *state, uint32_t percent_max, uint32_t moves_max)
{
    struct decision decision = state_decision(state, 0);
    uint32_t moved = leader_control_balance(&decision, percent_max, moves_max);
    cluster_commit(state);
    return moved;
}

static void test_balance(void **unused)
{
    (void)unused;
    struct state state;
    setup(&state, 3);
    cluster_create(&state, "t", three, 3, 10, NULL, 0);
    assert_int_equal(balance(&state, 10, 100), 0);
    cluster_fence(&state, 1);
    assert_int_equal(balance(&state, 10, 100), 0); /* nobody to bring back */
    cluster_unfence(&state, 1);
    assert_int_equal(balance(&state, 10, 100), 0); /* not in sync */
    for (int32_t i = 0; i < 9; i++) {
        assert_int_equal(cluster_alter(&state, image_find_topic(state.image, span_text("t")), i, three, 3, false),
                         ERROR_NONE);
    }
    assert_int_equal(balance(&state, 100, 100), 0);
    assert_int_equal(balance(&state, 10, 5), 5);
    assert_int_equal(balance(&state, 10, 100), 4);
    assert_int_equal(cluster_partition(&state, "t", 8)->leader_id, 1);
    assert_int_equal(cluster_partition(&state, "t", 9)->leader_id, 2);
    assert_int_equal(balance(&state, 10, 100), 0); /* 1 of 10: not more than 10 percent */
    assert_int_equal(cluster_alter(&state, image_find_topic(state.image, span_text("t")), 9, three, 3, false),
                     ERROR_NONE);
    assert_int_equal(balance(&state, 10, 100), 0);
    assert_int_equal(balance(&state, 9, 100), 1);
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
    expect(cluster_partition(&state, "t", 0), 1, 1, 1);
    set(&state, "t", "min.insync.replicas", "1"); /* the leader commits alone from now on: 2 does not have it */
    expect(cluster_partition(&state, "t", 0), 1, 1, 0);
    cluster_fence(&state, 1);
    expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 1);
    set(&state, "t", "retention.ms", "5");
    expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 1);
    set(&state, "t", "unclean.leader.election.enable", "true");
    expect(cluster_partition(&state, "t", 0), 2, 1, 0);
    assert_true(cluster_partition(&state, "t", 0)->is_recovering);
    cluster_unfence(&state, 1);
    cluster_fence(&state, 2); /* with the setting on, by itself */
    expect(cluster_partition(&state, "t", 0), 1, 1, 0);
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
    expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 0);
    decision = state_decision(&state, 0);
    decision.defaults = &cached;
    bool is_fenced = true;
    bool may_shut_down = false;
    struct controller_heartbeat heartbeat = {
        .broker_id = 2, .broker_epoch = cluster_epoch(&state, 2), .applied_offset = INT64_MAX};
    assert_true(broker_control_heartbeat(&decision, &heartbeat, &is_fenced, &may_shut_down, &result));
    cluster_commit(&state);
    expect(cluster_partition(&state, "t", 0), 2, 1, 0);
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
    assert_int_equal(unregister(&state, 1, ""), ERROR_NONE);
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
        cmocka_unit_test(test_fencing_to_the_last),
        cmocka_unit_test(test_fencing_is_one_batch_or_several),
        cmocka_unit_test(test_power_cut_of_all),
        cmocka_unit_test(test_kill_costs_nothing),
        cmocka_unit_test(test_orderly_leaving),
        cmocka_unit_test(test_unregister),
        cmocka_unit_test(test_creation),
        cmocka_unit_test(test_elections_asked_for),
        cmocka_unit_test(test_balance),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_level),
    };
    return cmocka_run_group_tests_name("leader_control", tests, NULL, NULL);
}

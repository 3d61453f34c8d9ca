/* Who leads after brokers come, go, and are taken out; elections that people ask for; what settings change. */
#include "controller/config_control.h"
#include "controller/leader_control.h"
#include "tests/unit/controller/cluster_support.h"

static const int32_t three[3] = {1, 2, 3};

static void setup(struct state *state, uint32_t broker_count)
{
    state_init(state);
    for (uint32_t id = 1; id <= broker_count; id++) {
        state_add_broker(state, (int32_t)id, "", 1);
    }
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
    cluster_expect(cluster_partition(&state, "t", 0), 2, 2, 0);
    assert_int_equal(cluster_partition(&state, "t", 0)->leader_epoch, 1);
    cluster_fence(&state, 3); /* a follower: the leader stays, in its epoch */
    cluster_expect(cluster_partition(&state, "t", 0), 2, 1, 1);
    assert_int_equal(cluster_partition(&state, "t", 0)->leader_epoch, 1);
    cluster_fence(&state, 2);
    cluster_expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 2);
    int64_t offset = image_offset(state.image);
    struct decision decision = state_decision(&state, 0);
    struct decision_result result = {0};
    assert_true(broker_control_fence(&decision, 2, cluster_epoch(&state, 2), &result)); /* again: nothing to do */
    assert_int_equal(state.records.count, 0);
    assert_false(broker_control_fence(&decision, 2, 1, &result));
    assert_int_equal(result.code, ERROR_STALE_BROKER_EPOCH);
    cluster_unfence(&state, 1); /* was out of the ISR before it shrank below the minimum */
    cluster_expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 2);
    cluster_unfence(&state, 3);
    cluster_expect(cluster_partition(&state, "t", 0), 3, 1, 1);
    assert_true(image_offset(state.image) > offset);
    cluster_unfence(&state, 2);
    cluster_expect(cluster_partition(&state, "t", 0), 3, 1, 1); /* 2 catches up first */
    const int32_t both[2] = {2, 3};
    assert_int_equal(cluster_alter(&state, image_find_topic(state.image, span_text("t")), 0, both, 2, false),
                     ERROR_NONE);
    cluster_expect(cluster_partition(&state, "t", 0), 3, 2, 0);
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
        cluster_expect(image_topic_at(state.image, i)->partitions[999], 2, 2, 0);
    }
    cluster_fence(&state, 2);
    cluster_fence(&state, 3); /* min.insync.replicas 1: only 3 is in the ELR */
    cluster_expect(cluster_partition(&state, "topic-0", 0), IMAGE_NO_LEADER, 0, 1);
    cluster_unfence(&state, 3); /* in parts, too */
    cluster_expect(cluster_partition(&state, "topic-59", 999), 3, 1, 0);
    assert_int_equal(cluster_register(&state, 3, 1, id_of(3 * 16 + 1), "boot", -1), ERROR_NONE);
    cluster_expect(cluster_partition(&state, "topic-59", 999), IMAGE_NO_LEADER, 0, 1);
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
        cluster_expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, is_cached ? 0 : 2);
        cluster_unfence(&state, 1);
        cluster_unfence(&state, 3);
        cluster_expect(cluster_partition(&state, "t", 0), is_cached ? IMAGE_NO_LEADER : 3, is_cached ? 0 : 1,
                       is_cached ? 0 : 1);
        if (is_cached) {
            assert_int_equal(cluster_partition(&state, "t", 0)->last_known_count, 1);
            assert_int_equal(cluster_partition(&state, "t", 0)->last_known[0], 3);
            struct decision decision = state_decision(&state, 0);
            struct partition_sweep sweep = {.decision = &decision};
            struct decision_result result = {0};
            assert_true(leader_control_elect(&sweep, image_find_topic(state.image, span_text("t")), 0,
                                             LEADER_ELECTION_UNCLEAN, &result));
            cluster_commit(&state);
            cluster_expect(cluster_partition(&state, "t", 0), 3, 1, 0); /* who was in the ISR last */
            assert_int_equal(cluster_partition(&state, "t", 0)->last_known_count, 0);
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
    cluster_expect(cluster_partition(&state, "u", 0), IMAGE_NO_LEADER, 0, 1);
    cluster_unfence(&state, 1);
    cluster_expect(cluster_partition(&state, "u", 0), 1, 1, 0);
    int64_t mark = cluster_epoch(&state, 1);
    assert_int_equal(cluster_register(&state, 1, 2, id_of(17), "next boot", mark),
                     ERROR_NONE); /* orderly, then a reboot */
    cluster_unfence(&state, 1);
    cluster_expect(cluster_partition(&state, "u", 0), 1, 1, 0);
    assert_int_equal(cluster_register(&state, 1, 3, id_of(17), "third boot", mark), ERROR_NONE); /* an older mark */
    cluster_unfence(&state, 1);
    cluster_expect(cluster_partition(&state, "u", 0), IMAGE_NO_LEADER, 0, 0);
    cluster_expect(cluster_partition(&state, "t", 0), 1, 1, 0);
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
    assert_false(cluster_heartbeat(&state, 1, leaving));        /* moves first */
    cluster_expect(cluster_partition(&state, "t", 3), 2, 2, 0); /* and out of the ISR with the same record */
    cluster_expect(cluster_partition(&state, "alone", 0), 1, 1, 0);
    const int32_t all[3] = {1, 2, 3};
    assert_int_equal(cluster_alter(&state, image_find_topic(state.image, span_text("t")), 0, all, 3, false),
                     ERROR_INELIGIBLE_REPLICA); /* it does not come back meanwhile */
    assert_true(cluster_heartbeat(&state, 1, leaving));
    cluster_fence(&state, 3); /* other things happen: what it serves to the end stays its own */
    cluster_expect(cluster_partition(&state, "alone", 0), 1, 1, 0);
    assert_false(cluster_heartbeat(&state, 2, leaving) && cluster_partition(&state, "t", 0)->leader_id != 2);
    cluster_expect(cluster_partition(&state, "t", 0), 2, 1, 0); /* nobody else may lead */
    assert_true(cluster_heartbeat(&state, 2, leaving));
    cluster_unfence(&state, 3);
    cluster_expect(cluster_partition(&state, "t", 0), 2, 1, 0); /* a leader that is leaving leads on */
    const int32_t two[2] = {2, 3};
    assert_int_equal(cluster_alter(&state, image_find_topic(state.image, span_text("t")), 0, two, 2, false),
                     ERROR_NONE);
    assert_false(cluster_heartbeat(&state, 2, leaving));
    cluster_expect(cluster_partition(&state, "t", 0), 3, 1, 0);
    cluster_fence(&state, 1);
    cluster_expect(cluster_partition(&state, "alone", 0), IMAGE_NO_LEADER, 0, 1);
    state_done(&state);
}

static void test_unregister(void **unused)
{
    (void)unused;
    struct state state;
    setup(&state, 3);
    cluster_create(&state, "t", three, 2, 7, NULL, 0);
    assert_int_equal(cluster_unregister(&state, 9, "9"), ERROR_BROKER_ID_NOT_REGISTERED);
    assert_int_equal(cluster_unregister(&state, 1, "7 partitions in 1 topics"), ERROR_INVALID_REQUEST);
    assert_int_equal(cluster_unregister(&state, 3, "alive"), ERROR_INVALID_REQUEST);
    cluster_fence(&state, 1);
    cluster_fence(&state, 3);
    struct decision decision = state_decision(&state, 0);
    struct config_change setting = CONFIG("log.cleaner.threads", "2");
    (void)decision;
    meta_add_config_change(&state.records, IMAGE_CONFIG_BROKER, span_text("3"),
                           &(struct image_config_entry){setting.name, setting.value}, 1, NULL, 0);
    cluster_commit(&state);
    assert_int_equal(cluster_unregister(&state, 1, "delete those topics first"), ERROR_INVALID_REQUEST);
    assert_int_equal(cluster_unregister(&state, 3, ""), ERROR_NONE);
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
    cluster_expect(cluster_partition(&state, "t", 0), 1, 3, 0);
    assert_int_equal(cluster_partition(&state, "t", 0)->leader_epoch, epoch + 1);

    cluster_fence(&state, 1);
    cluster_fence(&state, 2);
    cluster_fence(&state, 3);
    cluster_expect(cluster_partition(&state, "t", 0), IMAGE_NO_LEADER, 0, 1);
    assert_int_equal(elect(&state, "t", 0, LEADER_ELECTION_UNCLEAN), ERROR_ELIGIBLE_LEADERS_NOT_AVAILABLE);
    cluster_unfence(&state, 2);
    assert_int_equal(elect(&state, "t", 0, LEADER_ELECTION_UNCLEAN), ERROR_NONE);
    cluster_expect(cluster_partition(&state, "t", 0), 2, 1, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fencing_to_the_last), cmocka_unit_test(test_fencing_is_one_batch_or_several),
        cmocka_unit_test(test_power_cut_of_all),    cmocka_unit_test(test_kill_costs_nothing),
        cmocka_unit_test(test_orderly_leaving),     cmocka_unit_test(test_unregister),
        cmocka_unit_test(test_elections_asked_for), cmocka_unit_test(test_balance),
    };
    return cmocka_run_group_tests_name("leader_control", tests, NULL, NULL);
}

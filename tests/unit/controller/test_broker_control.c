/* Decisions upon partitions and brokers: elections, restarts, leaving, placement. */
#include "controller/broker_control.h"
#include "controller/leader_control.h"
#include "controller/partition_control.h"
#include "controller/placement.h"
#include "tests/support/prop.h"
#include "tests/unit/controller/topic_support.h"

/* ---- partitions ---- */

struct alive {
    bool is_alive[8];
};

static enum elect_fitness fitness_of(const void *ctx, const struct image_partition *partition, int32_t broker_id)
{
    (void)partition;
    return ((const struct alive *)ctx)->is_alive[broker_id] ? ELECT_FIT : ELECT_UNFIT;
}

/* Random deaths and returns: the invariants hold, and a leader never lacks what was committed, as far as the sets tell. */
static void test_partition_machine(void **unused)
{
    (void)unused;
    struct prop prop;
    prop_init(&prop, "partition machine", 3);
    for (uint64_t run = 0, runs = prop_runs(300); run < runs; run++) {
        int32_t replicas[5] = {1, 2, 3, 4, 5};
        struct uuid directories[5] = {{{0}}};
        uint32_t replica_count = 1 + (uint32_t)prop_below(&prop, 5);
        int32_t min_isr = 1 + (int32_t)prop_below(&prop, 4);
        struct alive alive = {{false, true, true, true, true, true}};
        struct partition_draft draft;
        struct image_partition partition = {.leader_id = 1,
                                            .replica_count = replica_count,
                                            .isr_count = replica_count,
                                            .replicas = replicas,
                                            .directories = directories,
                                            .isr = replicas};
        int32_t isr[5];
        int32_t elr[5];
        for (int step = 0; step < 60; step++) {
            int32_t id = 1 + (int32_t)prop_below(&prop, replica_count);
            partition_draft_init(&draft, &partition, min_isr);
            alive.is_alive[id] = !alive.is_alive[id];
            if (!alive.is_alive[id]) {
                partition_control_leave(&draft, id);
            }
            partition_control_elect(&draft, fitness_of, &alive, true, false);
            const struct image_partition *after = &draft.state;
            assert_true(after->isr_count + after->elr_count > 0); /* somebody always has everything */
            assert_true(after->elr_count == 0 || after->isr_count < draft.min_isr);
            assert_int_equal(after->leader_epoch - partition.leader_epoch, after->leader_id != partition.leader_id);
            if (after->leader_id != IMAGE_NO_LEADER) {
                assert_true(alive.is_alive[after->leader_id]);
                assert_true(image_partition_in_isr(after, after->leader_id));
                /* It comes from the sets of before. */
                bool is_known = image_partition_in_isr(&partition, after->leader_id);
                for (uint32_t i = 0; i < partition.elr_count; i++) {
                    is_known = is_known || partition.elr[i] == after->leader_id;
                }
                assert_true(is_known);
            }
            struct image_partition next = *after;
            memcpy(isr, after->isr, after->isr_count * sizeof(isr[0]));
            memcpy(elr, after->elr, after->elr_count * sizeof(elr[0]));
            next.isr = isr;
            next.elr = elr;
            next.directories = directories;
            partition = next;
        }
    }
}

static void test_elections(void **unused)
{
    (void)unused;
    static const int32_t replicas[3] = {3, 1, 2};
    static const int32_t isr[2] = {1, 2};
    static const int32_t elr[1] = {3};
    struct alive alive = {{false, true, true, true}};
    struct image_partition partition = {
        .leader_id = 2, .replica_count = 3, .isr_count = 2, .replicas = replicas, .isr = isr};
    assert_int_equal(elect_leader(&partition, fitness_of, &alive, true, false).leader_id, 2); /* stays */
    assert_int_equal(elect_leader(&partition, fitness_of, &alive, false, false).leader_id,
                     1); /* preferred in the ISR */
    alive.is_alive[2] = false;
    assert_int_equal(elect_leader(&partition, fitness_of, &alive, true, false).leader_id, 1);
    alive.is_alive[1] = false;
    assert_int_equal(elect_leader(&partition, fitness_of, &alive, true, false).leader_id, IMAGE_NO_LEADER);
    struct elect_choice choice = elect_leader(&partition, fitness_of, &alive, true, true);
    assert_int_equal(choice.leader_id, 3);
    assert_true(choice.is_unclean);
    partition.elr = elr;
    partition.elr_count = 1; /* not while the ISR has members */
    assert_int_equal(elect_leader(&partition, fitness_of, &alive, true, false).leader_id, IMAGE_NO_LEADER);
    partition.isr_count = 0;
    choice = elect_leader(&partition, fitness_of, &alive, true, false);
    assert_int_equal(choice.leader_id, 3);
    assert_true(choice.is_from_elr && !choice.is_unclean);
}

/* ---- brokers ---- */

static int16_t register_broker(struct state *state, const struct controller_registration *registration)
{
    struct decision decision = state_decision(state, 0);
    struct decision_result result = {0};
    int64_t epoch = -1;
    if (broker_control_register(&decision, registration, &epoch, &result)) {
        state_commit(state);
        assert_true(state->is_applied);
    } else {
        assert_int_equal(state->records.count, 0);
        assert_true(result.message.bytes > 10);
    }
    return result.code;
}

static void test_registration(void **unused)
{
    (void)unused;
    struct state state;
    state_init(&state);
    state_add_broker(&state, 1, "", 1);
    state_add_broker(&state, 2, "", 1);
    struct uuid directory = id_of(17);
    struct image_endpoint endpoint = {
        .listener_name = span_text("PLAINTEXT"), .host = span_text("h"), .port = 1, .security = IMAGE_PLAINTEXT};
    struct controller_registration registration = {.broker_id = 1,
                                                   .incarnation_id = id_of(5),
                                                   .previous_epoch = 2,
                                                   .boot_id = span_text("boot"),
                                                   .endpoints = &endpoint,
                                                   .endpoint_count = 0,
                                                   .directories = &directory,
                                                   .directory_count = 1};
    assert_int_equal(register_broker(&state, &registration), ERROR_INVALID_REGISTRATION);
    registration.endpoint_count = 1;
    endpoint.port = 0;
    assert_int_equal(register_broker(&state, &registration), ERROR_INVALID_REGISTRATION);
    endpoint.port = 1;
    registration.directory_count = 0;
    assert_int_equal(register_broker(&state, &registration), ERROR_INVALID_REGISTRATION);
    registration.directory_count = 1;
    directory = id_of(33); /* broker 2's: a cloned directory */
    assert_int_equal(register_broker(&state, &registration), ERROR_INVALID_REGISTRATION);
    directory = id_of(17);
    assert_int_equal(register_broker(&state, &registration), ERROR_NONE);
    const struct image_broker *broker = image_find_broker(state.image, 1);
    assert_true(broker->is_fenced);
    assert_int_equal(broker->epoch, image_offset(state.image));
    int64_t offset = image_offset(state.image);
    assert_int_equal(register_broker(&state, &registration), ERROR_NONE); /* the same incarnation asks again */
    assert_int_equal(image_find_broker(state.image, 1)->epoch, offset);
    state_done(&state);
}

/* Broker 1 leads a topic with replicas on 1 and 2, and one alone; it restarts with `directory`, after a crash or not. */
static void restart_broker(struct state *state, struct uuid directory, const char *boot_id, bool is_cached)
{
    state_init(state);
    state_add_broker(state, 1, "", 1);
    state_add_broker(state, 2, "", 1);
    static const int32_t pair[2] = {1, 2};
    struct topic_assignment both = {0, pair, 2};
    struct topic_assignment alone = {0, pair, 1};
    struct config_change cached = {span_text("durability"), span_text("cached"), CONFIG_SET};
    struct topic_wish wish = {NAME("both"), .assignments = &both, .assignment_count = 1, .configs = &cached,
                              .config_count = is_cached};
    expect_create(state, wish, ERROR_NONE, NULL);
    wish.name = span_text("alone");
    wish.assignments = &alone;
    expect_create(state, wish, ERROR_NONE, NULL);
    struct image_endpoint endpoint = {.listener_name = span_text("P"), .host = span_text("h"), .port = 1};
    struct controller_registration registration = {.broker_id = 1,
                                                   .incarnation_id = id_of(5),
                                                   .previous_epoch = -1,
                                                   .boot_id = span_text(boot_id),
                                                   .endpoints = &endpoint,
                                                   .endpoint_count = 1,
                                                   .directories = &directory,
                                                   .directory_count = 1};
    assert_int_equal(register_broker(state, &registration), ERROR_NONE);
}

static void heartbeat_broker(struct state *state, struct controller_heartbeat heartbeat, bool *ret_may_shut_down)
{
    struct decision decision = state_decision(state, 0);
    struct decision_result result = {0};
    bool is_fenced = false;
    heartbeat.broker_id = 1;
    heartbeat.broker_epoch = image_find_broker(state->image, 1)->epoch;
    assert_true(broker_control_heartbeat(&decision, &heartbeat, &is_fenced, ret_may_shut_down, &result));
    state_commit(state);
    assert_true(state->is_applied);
}

static const struct image_partition *partition_of(const struct state *state, const char *topic)
{
    return image_find_topic(state->image, span_text(topic))->partitions[0];
}

static void test_restart_moves_and_returns(void **unused)
{
    (void)unused;
    struct state state;
    bool may_shut_down = false;
    restart_broker(&state, id_of(17), "boot", false);
    assert_int_equal(partition_of(&state, "both")->leader_id, 2);
    assert_int_equal(partition_of(&state, "both")->leader_epoch, 1);
    assert_int_equal(partition_of(&state, "both")->isr_count, 1);
    assert_int_equal(partition_of(&state, "alone")->leader_id, IMAGE_NO_LEADER);
    assert_int_equal(partition_of(&state, "alone")->leader_epoch, 1);
    assert_int_equal(partition_of(&state, "alone")->elr_count, 1);
    int64_t epoch = image_find_broker(state.image, 1)->epoch;
    heartbeat_broker(&state, (struct controller_heartbeat){.applied_offset = epoch - 1}, &may_shut_down);
    assert_true(image_find_broker(state.image, 1)->is_fenced); /* has not applied its registration */
    heartbeat_broker(&state, (struct controller_heartbeat){.applied_offset = epoch}, &may_shut_down);
    assert_false(image_find_broker(state.image, 1)->is_fenced);
    assert_int_equal(partition_of(&state, "alone")->leader_id, 1);
    assert_int_equal(partition_of(&state, "alone")->leader_epoch, 2);
    assert_int_equal(partition_of(&state, "alone")->isr_count, 1);
    assert_int_equal(partition_of(&state, "alone")->elr_count, 0);
    assert_int_equal(partition_of(&state, "both")->leader_id, 2); /* catches up first */
    state_done(&state);
}

/* What a restart costs, by durability, boot and directory. */
static void test_restart_may_cost_the_place(void **unused)
{
    (void)unused;
    struct state state;
    bool may_shut_down = false;
    restart_broker(&state, id_of(17), "another boot", true);
    assert_int_equal(partition_of(&state, "both")->leader_id, 2);
    assert_int_equal(partition_of(&state, "alone")->elr_count, 1); /* the one replica there is */
    state_done(&state);

    restart_broker(&state, id_of(99), "boot", false); /* its directory is gone */
    assert_int_equal(partition_of(&state, "alone")->isr_count, 0);
    assert_true(uuid_equal(image_partition_directory(partition_of(&state, "alone"), 1), id_of(17)));
    assert_true(uuid_equal(image_partition_directory(partition_of(&state, "both"), 1), id_of(99))); /* begins anew */
    assert_int_equal(partition_of(&state, "both")->isr_count, 1);
    int64_t epoch = image_find_broker(state.image, 1)->epoch;
    heartbeat_broker(&state, (struct controller_heartbeat){.applied_offset = epoch}, &may_shut_down);
    assert_int_equal(partition_of(&state, "alone")->leader_id, IMAGE_NO_LEADER); /* an empty log never leads */
    assert_int_equal(partition_of(&state, "both")->leader_id, 2);
    assert_int_equal(partition_of(&state, "both")->elr_count, 0);
    struct partition_sweep sweep = {.decision = NULL};
    struct decision decision = state_decision(&state, 0);
    struct decision_result result = {0};
    sweep.decision = &decision;
    assert_false(leader_control_elect(&sweep, image_find_topic(state.image, span_text("alone")), 0,
                                      LEADER_ELECTION_UNCLEAN, &result)); /* nor when it is asked for */
    assert_int_equal(result.code, ERROR_ELIGIBLE_LEADERS_NOT_AVAILABLE);
    state_done(&state);
}

static void test_leaving(void **unused)
{
    (void)unused;
    struct state state;
    bool may_shut_down = true;
    restart_broker(&state, id_of(17), "boot", false);
    int64_t epoch = image_find_broker(state.image, 1)->epoch;
    heartbeat_broker(&state, (struct controller_heartbeat){.applied_offset = epoch}, &may_shut_down);
    /* Bring `both` back to broker 1, as a later reassignment would. */
    struct partition_draft draft;
    partition_draft_init(&draft, partition_of(&state, "both"), 1);
    draft.isr[0] = 1;
    draft.isr[1] = 2;
    draft.state.isr_count = 2;
    struct alive alive = {{false, true, true}};
    partition_control_elect(&draft, fitness_of, &alive, false, false);
    assert_true(partition_draft_commit(&draft, &state.records, image_find_topic(state.image, span_text("both"))->id));
    state_commit(&state);
    assert_int_equal(partition_of(&state, "both")->leader_id, 1);
    heartbeat_broker(&state, (struct controller_heartbeat){.wants_shut_down = true}, &may_shut_down);
    assert_false(may_shut_down); /* a leadership was moved: first others must know */
    assert_int_equal(partition_of(&state, "both")->leader_id, 2);
    assert_int_equal(partition_of(&state, "alone")->leader_id, 1); /* served to the end */
    assert_true(image_find_broker(state.image, 1)->is_shutting_down);
    heartbeat_broker(&state, (struct controller_heartbeat){.wants_shut_down = true}, &may_shut_down);
    assert_true(may_shut_down);
    state_done(&state);
}

/* ---- placement ---- */

static void test_placement_balance(void **unused)
{
    (void)unused;
    struct prop prop;
    prop_init(&prop, "placement", 17);
    for (uint64_t run = 0, runs = prop_runs(100); run < runs; run++) {
        struct state state;
        state_init(&state);
        uint32_t broker_count = 1 + (uint32_t)prop_below(&prop, 9);
        uint32_t rack_count = 1 + (uint32_t)prop_below(&prop, 4);
        uint32_t directory_count = 1 + (uint32_t)prop_below(&prop, 3);
        for (uint32_t i = 0; i < broker_count; i++) {
            char rack[16];
            snprintf(rack, sizeof(rack), "r%u", i % rack_count);
            state_add_broker(&state, (int32_t)i + 1, rack, directory_count);
        }
        uint32_t replica_count = 1 + (uint32_t)prop_below(&prop, broker_count < 4 ? broker_count : 4);
        uint32_t partition_count = 1 + (uint32_t)prop_below(&prop, 60);
        struct placement placement;
        placement_init(&placement, state.image, NULL, prop_u64(&prop), &state.arena);
        assert_int_equal(placement_usable_count(&placement), broker_count);
        uint32_t leaders[16] = {0};
        uint32_t replicas_of[16] = {0};
        for (uint32_t i = 0; i < partition_count; i++) {
            int32_t replicas[IMAGE_REPLICAS_MAX];
            struct uuid directories[IMAGE_REPLICAS_MAX];
            placement_choose(&placement, replica_count, replicas, directories);
            uint32_t racks = 0;
            leaders[replicas[0]]++;
            for (uint32_t j = 0; j < replica_count; j++) {
                replicas_of[replicas[j]]++;
                racks |= 1u << ((uint32_t)(replicas[j] - 1) % rack_count);
                for (uint32_t k = 0; k < j; k++) {
                    assert_int_not_equal(replicas[j], replicas[k]);
                }
                const struct image_broker *broker = image_find_broker(state.image, replicas[j]);
                bool is_own = false;
                for (uint32_t k = 0; k < broker->directory_count; k++) {
                    is_own = is_own || uuid_equal(broker->directories[k], directories[j]);
                }
                assert_true(is_own);
            }
            uint32_t usable_racks = rack_count < broker_count ? rack_count : broker_count;
            uint32_t expected_racks = usable_racks < replica_count ? usable_racks : replica_count;
            assert_int_equal(__builtin_popcount(racks), expected_racks);
        }
        uint32_t least = UINT32_MAX;
        uint32_t most = 0;
        for (uint32_t i = 1; i <= broker_count; i++) {
            least = leaders[i] < least ? leaders[i] : least;
            most = leaders[i] > most ? leaders[i] : most;
        }
        assert_true(most - least <= 1); /* leaders are even */
        if (broker_count % rack_count == 0 || rack_count == 1) {
            uint32_t fewest = UINT32_MAX;
            uint32_t largest = 0;
            for (uint32_t i = 1; i <= broker_count; i++) {
                fewest = replicas_of[i] < fewest ? replicas_of[i] : fewest;
                largest = replicas_of[i] > largest ? replicas_of[i] : largest;
            }
            assert_true(largest - fewest <= 2);
        }
        state_done(&state);
    }
}

/* The leaderships of a broker that dies go to all others, not to one. */
static void test_placement_spreads_successors(void **unused)
{
    (void)unused;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct state state;
        state_init(&state);
        for (int32_t id = 1; id <= 3; id++) {
            state_add_broker(&state, id, "", 1);
        }
        struct placement placement;
        placement_init(&placement, state.image, NULL, seed, &state.arena);
        uint32_t successors[4][4] = {{0}};
        for (uint32_t i = 0; i < 60; i++) {
            int32_t replicas[3];
            struct uuid directories[3];
            placement_choose(&placement, 3, replicas, directories);
            successors[replicas[0]][replicas[1]]++;
            for (uint32_t j = 0; j < 3; j++) {
                assert_true(uuid_equal(directories[j], id_of((uint32_t)replicas[j] * 16 + 1)));
            }
        }
        for (int32_t id = 1; id <= 3; id++) {
            for (int32_t next = 1; next <= 3; next++) {
                assert_true(id == next || successors[id][next] >= 8); /* of 20 */
            }
        }
        state_done(&state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partition_machine),
        cmocka_unit_test(test_elections),
        cmocka_unit_test(test_registration),
        cmocka_unit_test(test_restart_moves_and_returns),
        cmocka_unit_test(test_restart_may_cost_the_place),
        cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_placement_balance),
        cmocka_unit_test(test_placement_spreads_successors),
    };
    return cmocka_run_group_tests_name("broker_control", tests, NULL, NULL);
}

/* Histories that part: after any sequence of elections, followers cut what the leader does not have, nothing else, and become the
 * leader's bytes again. KIP-101, KIP-279; correctness.md 4, trap 1. */
#include "broker/stream/stream_diverge.h"
#include "tests/unit/stream/stream_sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SECONDS(n) ((n) * (uint64_t)SIM_SECOND_US)

static struct sim *pair_new(uint64_t seed, unsigned node_count)
{
    struct sim_config config = {
        .seed = seed, .node_count = node_count, .partition_count = 1, .durability = DURABILITY_CACHED};
    return sim_new(&config);
}

static void append(struct sim *sim, int32_t id, unsigned batch_count, uint64_t content)
{
    for (unsigned i = 0; i < batch_count; i++) {
        assert_true(sim_append(sim, id, 0, 1, 100, content + i));
    }
}

static bool leads(void *ctx)
{
    struct sim *sim = ctx;
    return sim_partition(sim, sim->leaders[0], 0)->leads;
}

static void await_leader(struct sim *sim)
{
    assert_true(sim_world_run_until(&sim->world, SECONDS(5), leads, sim));
}

static int64_t end_of(struct sim *sim, int32_t id)
{
    return partition_log_end_offset(node_log(sim_broker(sim, id), 0));
}

/* The decision alone, in all its cases. */
static void cut_is_least_of_three_ends(void **state)
{
    (void)state;
    static const struct {
        struct stream_history history;
        int64_t offset;
        bool is_full;
    } cases[] = {
        {{0, 30, 30, 20}, 20, false},  /* both know the epoch: the leader wrote less of it */
        {{0, 30, 15, 20}, 15, false},  /* the follower knows a smaller epoch only: to its end, then ask again */
        {{0, 30, 25, 40}, 25, false},  /* the leader wrote more of it, the follower has another epoch behind */
        {{0, 10, 10, 15}, 10, false},  /* an epoch without records at the end: nothing but that is cut */
        {{10, 30, 30, 10}, 10, false}, /* to the very beginning */
        {{10, 30, 30, 8}, 8, true},    /* all of it is foreign */
        {{0, 30, -1, 20}, 20, false},  /* the follower knows no epochs */
        {{0, 30, 30, -1}, 0, true},    /* the leader knows none so old */
        {{5, 5, -1, 3}, 3, true},      /* an empty log that begins behind the leader's end */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct stream_cut cut = stream_diverge_decide(&cases[i].history);
        assert_int_equal(cut.offset, cases[i].offset);
        assert_int_equal(cut.is_full, cases[i].is_full);
    }
}

/* The plain case: what is appended arrives, is counted, and moves the high watermark on both sides. */
static void follower_gets_the_leaders_bytes(void **state)
{
    (void)state;
    struct sim *sim = pair_new(1, 2);
    sim_elect(sim, 0, 1);
    await_leader(sim);
    append(sim, 1, 50, 0);
    sim_await_agreement(sim, SECONDS(5));
    sim_run(sim, SECONDS(1));
    assert_int_equal(sim_partition(sim, 1, 0)->base.high_watermark, 50);
    assert_int_equal(sim_partition(sim, 2, 0)->base.high_watermark, 50);
    assert_int_equal(sim_partition(sim, 2, 0)->cut_count, 0);
    sim_stop(sim, 1);
    sim_stop(sim, 2);
    sim_free(sim);
}

/* KIP-101, scenario 1: the follower restarts and must not cut by its high watermark, which lags. */
static void restarted_follower_keeps_what_it_has(void **state)
{
    (void)state;
    struct sim *sim = pair_new(2, 2);
    sim_elect(sim, 0, 1);
    await_leader(sim);
    append(sim, 1, 10, 0);
    sim_await_agreement(sim, SECONDS(5));
    sim_kill(sim, 2); /* its checkpointed high watermark is 0 */
    sim_start(sim, 2);
    assert_int_equal(end_of(sim, 2), 10);
    sim_kill(sim, 1);
    sim_elect(sim, 0, 2);
    await_leader(sim);
    sim_start(sim, 1);
    append(sim, 2, 1, 100);
    sim_await_agreement(sim, SECONDS(10));
    assert_int_equal(end_of(sim, 1), 11);
    assert_int_equal(sim_partition(sim, 1, 0)->cut_count, 0);
    sim_free(sim);
}

/* KIP-101, scenario 2: both have an offset 10, but not the same record there. */
static void old_leader_cuts_its_own_tail(void **state)
{
    (void)state;
    struct sim *sim = pair_new(3, 2);
    sim_elect(sim, 0, 1);
    await_leader(sim);
    append(sim, 1, 10, 0);
    sim_await_agreement(sim, SECONDS(5));
    sim_fabric_cut(sim->fabric, sim->machines[0].node->host, sim->machines[1].node->host, true);
    append(sim, 1, 5, 1000);
    sim_run(sim, 10000);
    sim_elect(sim, 0, 2);
    await_leader(sim);
    append(sim, 2, 3, 2000);
    sim_fabric_heal(sim->fabric);
    sim_await_agreement(sim, SECONDS(30));
    assert_int_equal(end_of(sim, 1), 13);
    assert_int_equal(sim_partition(sim, 1, 0)->cut_count, 1);
    sim_free(sim);
}

/* A follower's high watermark lags; what it holds above it is committed all the same, and no reason for a cut. */
static void cut_goes_by_epochs_not_by_high_watermark(void **state)
{
    (void)state;
    struct sim *sim = pair_new(30, 3);
    sim_elect(sim, 0, 1);
    await_leader(sim);
    append(sim, 1, 10, 0);
    sim_await_agreement(sim, SECONDS(5));
    assert_int_equal(sim_partition(sim, 2, 0)->base.high_watermark, 0); /* the marks are still waiting for company */
    for (unsigned a = 0; a < 3; a++) {
        for (unsigned b = 0; b < a; b++) {
            sim_fabric_cut(sim->fabric, sim->machines[a].node->host, sim->machines[b].node->host, true);
        }
    }
    sim_elect_silently(sim, 0, 2);
    sim_tell(sim, 2, 0);
    await_leader(sim);
    append(sim, 2, 3, 1000);
    sim_elect_silently(sim, 0, 3);
    sim_fabric_heal(sim->fabric);
    for (int32_t id = 1; id <= 3; id++) {
        sim_tell(sim, id, 0);
    }
    sim_await_agreement(sim, SECONDS(30));
    assert_int_equal(sim_partition(sim, 2, 0)->cut_count, 1);
    assert_int_equal(sim_partition(sim, 2, 0)->cut_offset, 10);
    sim_free(sim);
}

/* KIP-279: two fast failovers. Node 1 leads epoch 0, node 2 epoch 1, node 1 epoch 2, each with records that nobody else has; then node 3,
 * which has but the first ones. */
static void fast_failovers_converge(void **state)
{
    (void)state;
    struct sim *sim = pair_new(4, 3);
    sim_elect(sim, 0, 1);
    await_leader(sim);
    append(sim, 1, 10, 0);
    sim_await_agreement(sim, SECONDS(5));
    for (unsigned a = 0; a < 3; a++) {
        for (unsigned b = 0; b < a; b++) {
            sim_fabric_cut(sim->fabric, sim->machines[a].node->host, sim->machines[b].node->host, true);
        }
    }
    for (int32_t round = 0; round < 4; round++) {
        int32_t id = 1 + round % 2;
        append(sim, sim->leaders[0], 2, (uint64_t)round * 1000);
        sim_elect_silently(sim, 0, id == 1 ? 2 : 1);
        sim_tell(sim, sim->leaders[0], 0); /* the other hears only of its own next turn */
        await_leader(sim);
        append(sim, sim->leaders[0], 3, (uint64_t)round * 1000 + 500);
    }
    sim_fabric_heal(sim->fabric);
    for (int32_t id = 1; id <= 3; id++) {
        sim_tell(sim, id, 0);
    }
    sim_await_agreement(sim, SECONDS(30));
    sim_free(sim);
}

/* A follower whose last epoch the leader never had, over several rounds: every answer names an epoch that the follower does not have either. */
static void unknown_epochs_take_several_rounds(void **state)
{
    (void)state;
    struct sim *sim = pair_new(5, 3);
    sim_elect(sim, 0, 1);
    await_leader(sim);
    append(sim, 1, 10, 0);
    sim_await_agreement(sim, SECONDS(5));
    for (unsigned a = 0; a < 3; a++) {
        for (unsigned b = 0; b < a; b++) {
            sim_fabric_cut(sim->fabric, sim->machines[a].node->host, sim->machines[b].node->host, true);
        }
    }
    /* node 2: epochs 1, 3, 5; node 3: epochs 2, 4, 6 */
    for (int32_t round = 0; round < 6; round++) {
        int32_t id = round % 2 == 0 ? 2 : 3;
        sim_elect_silently(sim, 0, id);
        sim_tell(sim, id, 0);
        await_leader(sim);
        append(sim, id, 4, (uint64_t)(round + 1) * 1000);
    }
    sim_fabric_heal(sim->fabric);
    for (int32_t id = 1; id <= 3; id++) {
        sim_tell(sim, id, 0);
    }
    sim_await_agreement(sim, SECONDS(30));
    assert_int_equal(end_of(sim, 2), 22);
    assert_true(sim_partition(sim, 2, 0)->cut_count >= 1);
    sim_free(sim);
}

/* A leader that began an epoch and wrote nothing: its epoch is foreign, its records are not. */
static void empty_epoch_is_dropped(void **state)
{
    (void)state;
    struct sim *sim = pair_new(6, 2);
    sim_elect(sim, 0, 1);
    await_leader(sim);
    append(sim, 1, 10, 0);
    sim_await_agreement(sim, SECONDS(5));
    sim_fabric_cut(sim->fabric, sim->machines[0].node->host, sim->machines[1].node->host, true);
    append(sim, 1, 5, 1000); /* epoch 0, to 15 */
    sim_elect_silently(sim, 0, 2);
    sim_tell(sim, 2, 0); /* epoch 1 at 10, no records; node 1 does not hear of it */
    await_leader(sim);
    sim_elect_silently(sim, 0, 1);
    sim_fabric_heal(sim->fabric);
    sim_tell(sim, 1, 0); /* epoch 2 at 15 */
    sim_tell(sim, 2, 0);
    await_leader(sim);
    append(sim, 1, 1, 3000);
    sim_await_agreement(sim, SECONDS(30));
    assert_int_equal(end_of(sim, 2), 16);
    sim_free(sim);
}

/* Empty logs on one side or both. */
static void empty_logs(void **state)
{
    (void)state;
    struct sim *sim = pair_new(7, 3);
    sim_elect(sim, 0, 1);
    await_leader(sim);
    sim_await_agreement(sim, SECONDS(5)); /* nothing there, acknowledged as such */
    sim_elect(sim, 0, 2);
    sim_await_agreement(sim, SECONDS(5));
    append(sim, 2, 5, 0);
    sim_await_agreement(sim, SECONDS(5));
    sim_free(sim);
}

/* ---- below the leader's log start ---- */

static void delete_done(void *ctx, enum err err)
{
    CHECK(err == ERR_OK);
    *(bool *)ctx = true;
}

struct deletion {
    struct sim *sim;
    int32_t id;
    int64_t offset;
    bool is_done;
};

static void delete_now(struct sim_node *node, void *ctx)
{
    struct deletion *deletion = ctx;
    (void)node;
    partition_log_delete_records(node_log(sim_broker(deletion->sim, deletion->id), 0), deletion->offset, delete_done,
                                 &deletion->is_done);
}

static bool is_deleted(void *ctx)
{
    return ((struct deletion *)ctx)->is_done;
}

static void delete_records(struct sim *sim, int32_t id, int64_t offset)
{
    struct deletion deletion = {.sim = sim, .id = id, .offset = offset};
    sim_run_on(sim, id, delete_now, &deletion);
    assert_true(sim_world_run_until(&sim->world, SECONDS(5), is_deleted, &deletion));
}

/* The follower was away while everything that it had was deleted; and the log start lies inside a batch. */
static void follower_below_log_start_begins_anew(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct sim *sim = pair_new(8 + seed, 2);
        sim_elect(sim, 0, 1);
        await_leader(sim);
        append(sim, 1, 5, 0);
        sim_await_agreement(sim, SECONDS(5));
        sim_kill(sim, 2);
        for (unsigned i = 0; i < 20; i++) {
            assert_true(sim_append(sim, 1, 0, 10, 50, i)); /* batches of 10 records, from 5 on */
        }
        sim_run(sim, 10000);
        struct fake_partition *leader = sim_partition(sim, 1, 0);
        leader->followers[1].counted_end = 205; /* as if it had left the ISR */
        assert_true(sim_append(sim, 1, 0, 1, 10, 0));
        sim_run(sim, 10000);
        assert_int_equal(leader->base.high_watermark, 205);
        delete_records(sim, 1, seed == 0 ? 105 : 100 + (int64_t)seed); /* 105: a batch begins there */
        sim_start(sim, 2);
        sim_await_agreement(sim, SECONDS(10));
        sim_run(sim, SECONDS(1));
        assert_int_equal(partition_log_start_offset(node_log(sim_broker(sim, 2), 0)),
                         seed == 0 ? 105 : 100 + (int64_t)seed);
        assert_int_equal(end_of(sim, 2), 206);
        assert_int_equal(sim_partition(sim, 2, 0)->cut_count, 1);
        sim_free(sim);
    }
}

/* The follower has records of a foreign epoch, which end below the leader's log start but not below the batch that holds it: in the middle
 * of that batch, or where it begins. They go, and it begins there. */
static void foreign_end_inside_of_the_first_batch(void **state)
{
    (void)state;
    for (unsigned foreign_count = 1; foreign_count <= 6; foreign_count++) {
        struct sim *sim = pair_new(60 + foreign_count, 2);
        sim_elect(sim, 0, 1);
        await_leader(sim);
        append(sim, 1, 5, 0);
        sim_await_agreement(sim, SECONDS(5));
        sim_fabric_cut(sim->fabric, sim->machines[0].node->host, sim->machines[1].node->host, true);
        sim_elect_silently(sim, 0, 2);
        sim_tell(sim, 2, 0);
        await_leader(sim);
        append(sim, 2, foreign_count, 1000); /* epoch 1, from 5 on */
        sim_elect_silently(sim, 0, 1);
        sim_tell(sim, 1, 0);
        await_leader(sim);
        assert_true(sim_append(sim, 1, 0, 3, 50, 1));            /* epoch 2: [5, 8) */
        assert_true(sim_append(sim, 1, 0, 10, 50, 2));           /* [8, 18) */
        sim_partition(sim, 1, 0)->followers[1].counted_end = 18; /* as if it had left the ISR */
        assert_true(sim_append(sim, 1, 0, 1, 50, 3));
        sim_run(sim, 10000);
        delete_records(sim, 1, 13);
        sim_fabric_heal(sim->fabric);
        sim_tell(sim, 2, 0);
        sim_await_agreement(sim, SECONDS(10));
        sim_run(sim, SECONDS(1));
        struct partition_log *log = node_log(sim_broker(sim, 2), 0);
        assert_int_equal(partition_log_start_offset(log), 13);
        assert_int_equal(partition_log_epoch_at(log, 13), 2);
        assert_int_equal(partition_log_epoch_start_offset(log, 1), LOG_NO_OFFSET); /* nothing foreign is left */
        assert_true(sim_partition(sim, 2, 0)->cut_count >= 1 && sim_partition(sim, 2, 0)->cut_count <= 2);
        sim_free(sim);
    }
}

/* The log start moves while the follower follows: it follows that too. */
static void log_start_follows(void **state)
{
    (void)state;
    struct sim *sim = pair_new(20, 2);
    sim_elect(sim, 0, 1);
    await_leader(sim);
    append(sim, 1, 20, 0);
    sim_await_agreement(sim, SECONDS(5));
    sim_run(sim, SECONDS(1));
    delete_records(sim, 1, 12);
    sim_run(sim, SECONDS(1));
    assert_int_equal(partition_log_start_offset(node_log(sim_broker(sim, 2), 0)), 12);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_is_least_of_three_ends),
        cmocka_unit_test(follower_gets_the_leaders_bytes),
        cmocka_unit_test(restarted_follower_keeps_what_it_has),
        cmocka_unit_test(old_leader_cuts_its_own_tail),
        cmocka_unit_test(cut_goes_by_epochs_not_by_high_watermark),
        cmocka_unit_test(fast_failovers_converge),
        cmocka_unit_test(unknown_epochs_take_several_rounds),
        cmocka_unit_test(empty_epoch_is_dropped),
        cmocka_unit_test(empty_logs),
        cmocka_unit_test(follower_below_log_start_begins_anew),
        cmocka_unit_test(foreign_end_inside_of_the_first_batch),
        cmocka_unit_test(log_start_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The follower's side, and both together: lanes, far partitions, refused batches, lost links, epochs that change with data under way. */
#include "broker/broker_metrics.h"
#include "broker/stream/stream_limits.h"
#include "common/mem.h"
#include "tests/unit/stream/stream_sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SECONDS(n) ((n) * (uint64_t)SIM_SECOND_US)

static struct sim *cluster_new(struct sim_config config)
{
    config.durability = DURABILITY_CACHED;
    return sim_new(&config);
}

static void elect_all(struct sim *sim, int32_t leader_id)
{
    for (unsigned p = 0; p < sim->config.partition_count; p++) {
        sim_elect(sim, p, leader_id);
    }
}

static bool all_lead(void *ctx)
{
    struct sim *sim = ctx;
    for (unsigned p = 0; p < sim->config.partition_count; p++) {
        if (!sim_partition(sim, sim->leaders[p], p)->leads) {
            return false;
        }
    }
    return true;
}

static void await_leaders(struct sim *sim)
{
    assert_true(sim_world_run_until(&sim->world, SECONDS(5), all_lead, sim));
}

static void stop_all(struct sim *sim)
{
    for (int32_t id = 1; id <= (int32_t)sim->config.node_count; id++) {
        sim_stop(sim, id);
    }
    sim_free(sim);
}

static int64_t links_of(struct sim *sim, int32_t id)
{
    return node_metric(sim_broker(sim, id), METRIC_REPLICA_LINKS_OUT);
}

/* One link to each leader, as long as there are partitions to follow; none without. */
static void links_follow_the_partitions(void **state)
{
    (void)state;
    struct sim *sim = cluster_new((struct sim_config){.seed = 1, .node_count = 3, .partition_count = 30});
    for (unsigned p = 0; p < 30; p++) {
        sim_elect(sim, p, (int32_t)(p % 3) + 1);
    }
    sim_await_agreement(sim, SECONDS(10));
    for (int32_t id = 1; id <= 3; id++) {
        assert_int_equal(links_of(sim, id), 2);
    }
    elect_all(sim, 1);
    sim_await_agreement(sim, SECONDS(10));
    sim_run(sim, SECONDS(1));
    assert_int_equal(links_of(sim, 1), 0);
    assert_int_equal(links_of(sim, 2), 1);
    assert_int_equal(links_of(sim, 3), 1);
    assert_int_equal(node_metric(sim_broker(sim, 1), METRIC_REPLICA_LINKS_IN), 2);
    assert_int_equal(node_metric(sim_broker(sim, 2), METRIC_REPLICA_LINKS_IN), 0);
    stop_all(sim);
}

/* The leader has another number of workers than the follower guessed: the partitions are sorted anew. */
static void lanes_follow_the_leaders_workers(void **state)
{
    (void)state;
    struct sim *sim =
        cluster_new((struct sim_config){.seed = 2, .node_count = 3, .partition_count = 40, .worker_counts = {4, 1, 3}});
    elect_all(sim, 1);
    sim_await_agreement(sim, SECONDS(10));
    assert_int_equal(links_of(sim, 2), 4);
    assert_int_equal(links_of(sim, 3), 4);
    elect_all(sim, 2);
    sim_await_agreement(sim, SECONDS(10));
    sim_run(sim, SECONDS(1));
    assert_int_equal(links_of(sim, 1), 1);
    assert_int_equal(links_of(sim, 3), 1);
    elect_all(sim, 3);
    for (unsigned p = 0; p < 40; p++) {
        (void)sim_append(sim, 3, p, 1, 10, p);
    }
    sim_await_agreement(sim, SECONDS(10));
    assert_int_equal(links_of(sim, 1), 3);
    stop_all(sim);
}

/* A partition that is far behind comes over the second link, while the first stays quick; then it moves there. */
static void far_partition_catches_up_apart(void **state)
{
    (void)state;
    struct sim *sim = cluster_new((struct sim_config){.seed = 3, .node_count = 2, .partition_count = 5});
    elect_all(sim, 1);
    await_leaders(sim);
    sim_await_agreement(sim, SECONDS(10));
    sim_kill(sim, 2);
    for (unsigned i = 0; i < 200; i++) {
        assert_true(sim_append(sim, 1, 0, 1, 100000, i));
    }
    sim_start(sim, 2);
    int64_t most_links = 0;
    for (unsigned i = 0; i < 3000 && !sim_agrees(sim); i++) {
        sim_run(sim, 10000);
        int64_t count = sim_is_up(sim, 2) ? links_of(sim, 2) : 0;
        most_links = count > most_links ? count : most_links;
    }
    assert_int_equal(most_links, 2);
    sim_await_agreement(sim, SECONDS(10));
    sim_run(sim, SECONDS(2));
    assert_int_equal(links_of(sim, 2), 1); /* nobody is on the second any more */
    assert_true(sim_append(sim, 1, 0, 1, 100, 1));
    sim_await_agreement(sim, SECONDS(5));
    stop_all(sim);
}

/* Short ranges, which are copied, and long ones, which are not, side by side in one frame. */
static void ranges_of_all_lengths_share_a_frame(void **state)
{
    (void)state;
    struct sim *sim = cluster_new((struct sim_config){.seed = 13, .node_count = 2, .partition_count = 9});
    elect_all(sim, 1);
    await_leaders(sim);
    sim_kill(sim, 2);
    for (unsigned p = 0; p < 9; p++) {
        assert_true(sim_append(sim, 1, p, 1, p % 3 == 1 ? 100000 : 500 + p, p));
    }
    sim_start(sim, 2);
    sim_await_agreement(sim, SECONDS(10));
    assert_int_equal(node_metric(sim_broker(sim, 2), METRIC_REPLICA_RESUBSCRIPTIONS), 0); /* right at once */
    stop_all(sim);
}

/* Reads that miss the page cache go through the pool; nothing is lost or doubled by it. */
static void cold_reads_go_through_the_pool(void **state)
{
    (void)state;
    struct sim *sim = cluster_new((struct sim_config){.seed = 4, .node_count = 2, .partition_count = 30});
    elect_all(sim, 1);
    await_leaders(sim);
    sim_kill(sim, 2);
    for (unsigned i = 0; i < 20; i++) {
        for (unsigned p = 0; p < 30; p++) {
            assert_true(sim_append(sim, 1, p, 3, 20000, i));
        }
    }
    sim_kill(sim, 1);
    fs_sim_set_cold(sim->machines[0].node->disk, 60, true);
    sim_start(sim, 1);
    sim_start(sim, 2);
    sim_await_agreement(sim, SECONDS(60));
    stop_all(sim);
}

/* The follower hears of the epoch before its leader does: it asks again, on the same link, and soon. */
static void early_follower_asks_again(void **state)
{
    (void)state;
    struct sim *sim = cluster_new((struct sim_config){.seed = 12, .node_count = 2, .partition_count = 3});
    for (unsigned p = 0; p < 3; p++) {
        sim_elect_silently(sim, p, 1);
        sim_tell(sim, 2, p);
    }
    sim_run(sim, 20000);
    uint64_t connections = sim_fabric_counts(sim->fabric)->connection_count;
    sim_run(sim, 80000);
    assert_true(node_metric(sim_broker(sim, 2), METRIC_REPLICA_RESUBSCRIPTIONS) >= 9);
    for (unsigned p = 0; p < 3; p++) {
        sim_tell(sim, 1, p);
    }
    await_leaders(sim);
    assert_true(sim_append(sim, 1, 0, 1, 10, 0));
    sim_await_agreement(sim, 200000);
    assert_int_equal(sim_fabric_counts(sim->fabric)->connection_count, connections);
    assert_int_equal(links_of(sim, 2), 1);
    stop_all(sim);
}

/* Batches that fail their checksum are not taken; the partition tries again, less and less often, and gets well. */
static void refused_batch_is_asked_for_again(void **state)
{
    (void)state;
    static const enum err errs[] = {ERR_CORRUPT, ERR_OUT_OF_RANGE, ERR_MALFORMED, ERR_BUSY};
    for (size_t i = 0; i < ARRAY_COUNT(errs); i++) {
        struct sim *sim = cluster_new((struct sim_config){.seed = 5, .node_count = 2, .partition_count = 2});
        elect_all(sim, 1);
        await_leaders(sim);
        sim_await_agreement(sim, SECONDS(5));
        struct fake_partition *follower = sim_partition(sim, 2, 0);
        follower->append_err = errs[i];
        follower->append_err_count = UINT32_MAX;
        assert_true(sim_append(sim, 1, 0, 1, 100, 0));
        assert_true(sim_append(sim, 1, 1, 1, 100, 0));
        sim_run(sim, SECONDS(10));
        unsigned tries = UINT32_MAX - follower->append_err_count;
        assert_true(tries >= 10);
        assert_true(tries <= 25); /* 5 ms doubling to a second */
        assert_int_equal(partition_log_end_offset(node_log(sim_broker(sim, 2), 0)), 0);
        assert_int_equal(partition_log_end_offset(node_log(sim_broker(sim, 2), 1)), 1); /* the other is not held up */
        assert_int_equal(node_metric(sim_broker(sim, 2), METRIC_REPLICA_CORRUPT), errs[i] == ERR_CORRUPT ? tries : 0);
        follower->append_err_count = 0;
        sim_await_agreement(sim, SECONDS(5));
        stop_all(sim);
    }
}

/* A batch of another epoch is dropped without a word. */
static void stale_append_is_dropped(void **state)
{
    (void)state;
    struct sim *sim = cluster_new((struct sim_config){.seed = 6, .node_count = 2, .partition_count = 1});
    elect_all(sim, 1);
    await_leaders(sim);
    sim_await_agreement(sim, SECONDS(5));
    struct fake_partition *follower = sim_partition(sim, 2, 0);
    follower->append_err = ERR_STALE;
    follower->append_err_count = 1;
    assert_true(sim_append(sim, 1, 0, 1, 100, 0));
    sim_run(sim, SECONDS(2));
    assert_int_equal(node_metric(sim_broker(sim, 2), METRIC_REPLICA_RESUBSCRIPTIONS), 0);
    sim_elect(sim, 0, 1); /* the epoch that was the reason */
    sim_await_agreement(sim, SECONDS(5));
    stop_all(sim);
}

/* A batch larger than a frame is put together again. */
static void large_batch_is_put_together(void **state)
{
    (void)state;
    struct sim *sim = cluster_new((struct sim_config){.seed = 7, .node_count = 3, .partition_count = 2});
    elect_all(sim, 1);
    await_leaders(sim);
    assert_true(sim_append(sim, 1, 0, 1, 13u << 20, 1));
    assert_true(sim_append(sim, 1, 1, 1, 100, 1));
    assert_true(sim_append(sim, 1, 0, 1, 100, 2));
    sim_await_agreement(sim, SECONDS(30));
    /* and half of one is forgotten when the link goes */
    assert_true(sim_append(sim, 1, 0, 1, 13u << 20, 3));
    sim_run(sim, 20000);
    for (unsigned i = 0; i < 6; i++) {
        (void)sim_fabric_reset_one(sim->fabric, sim->machines[0].node->host);
        sim_run(sim, 5000);
    }
    sim_await_agreement(sim, SECONDS(30));
    stop_all(sim);
}

/* The epoch changes while data is under way, many times. */
static void epochs_change_under_load(void **state)
{
    (void)state;
    struct sim *sim = cluster_new((struct sim_config){.seed = 8, .node_count = 3, .partition_count = 6});
    elect_all(sim, 1);
    await_leaders(sim);
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned p = 0; p < 6; p++) {
            for (unsigned i = 0; i < 10; i++) {
                (void)sim_append(sim, sim->leaders[p], p, 2, 3000, round * 100 + i);
            }
        }
        sim_run(sim, round * 37 % 3000);
        sim_elect(sim, round % 6, (int32_t)(round % 3) + 1);
    }
    sim_await_agreement(sim, SECONDS(30));
    stop_all(sim);
}

/* A leader that falls silent is given up after STREAM_DEAD_US, and found again when it is back. */
static void silent_leader_is_dialled_anew(void **state)
{
    (void)state;
    struct sim *sim = cluster_new((struct sim_config){.seed = 9, .node_count = 2, .partition_count = 3});
    elect_all(sim, 1);
    sim_await_agreement(sim, SECONDS(5));
    sim_run(sim, SECONDS(30));
    assert_int_equal(links_of(sim, 2), 1); /* pings keep it */
    sim_fabric_cut(sim->fabric, sim->machines[0].node->host, sim->machines[1].node->host, true);
    sim_run(sim, SECONDS(2));
    assert_int_equal(links_of(sim, 2), 1);
    sim_run(sim, SECONDS(2));
    assert_int_equal(links_of(sim, 2), 0);
    assert_true(sim_append(sim, 1, 0, 1, 10, 0));
    sim_fabric_heal(sim->fabric);
    sim_await_agreement(sim, SECONDS(10));
    stop_all(sim);
}

/* Acknowledged is what is counted, not what is appended: with durability=synced nothing before the sync. */
static void synced_follower_acknowledges_what_is_on_disk(void **state)
{
    (void)state;
    struct sim_config config = {.seed = 10, .node_count = 2, .partition_count = 1, .durability = DURABILITY_SYNCED};
    struct sim *sim = sim_new(&config);
    elect_all(sim, 1);
    await_leaders(sim);
    sim_await_agreement(sim, SECONDS(5));
    fs_sim_set_latency(sim->machines[1].node->disk, FS_SIM_SYNC, (struct fs_sim_latency){300000, 300000});
    assert_true(sim_append(sim, 1, 0, 1, 10, 0));
    sim_run(sim, 200000);
    assert_int_equal(partition_log_end_offset(node_log(sim_broker(sim, 2), 0)), 1);
    assert_int_equal(sim_partition(sim, 1, 0)->base.high_watermark, 0);
    sim_await_agreement(sim, SECONDS(5));
    stop_all(sim);
}

/* The streams stop while truncations and reads are under way. */
static void stop_in_the_middle(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct sim *sim = cluster_new((struct sim_config){.seed = 100 + seed, .node_count = 3, .partition_count = 5});
        elect_all(sim, 1);
        await_leaders(sim);
        fs_sim_set_cold(sim->machines[0].node->disk, 50, true);
        for (unsigned p = 0; p < 5; p++) {
            for (unsigned i = 0; i < 5; i++) {
                assert_true(sim_append(sim, 1, p, 1, 20000, i));
            }
        }
        sim_run(sim, seed * 150);
        elect_all(sim, 2);
        sim_run(sim, seed * 100);
        stop_all(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_follow_the_partitions),
        cmocka_unit_test(lanes_follow_the_leaders_workers),
        cmocka_unit_test(far_partition_catches_up_apart),
        cmocka_unit_test(ranges_of_all_lengths_share_a_frame),
        cmocka_unit_test(cold_reads_go_through_the_pool),
        cmocka_unit_test(early_follower_asks_again),
        cmocka_unit_test(refused_batch_is_asked_for_again),
        cmocka_unit_test(stale_append_is_dropped),
        cmocka_unit_test(large_batch_is_put_together),
        cmocka_unit_test(epochs_change_under_load),
        cmocka_unit_test(silent_leader_is_dialled_anew),
        cmocka_unit_test(synced_follower_acknowledges_what_is_on_disk),
        cmocka_unit_test(stop_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

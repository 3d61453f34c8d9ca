/* Two brokers of stream_harness in one process over real sockets and real files: what goes out by sendfile arrives as it was. */
#include "broker/broker_metrics.h"
#include "broker/storage/remove_tree.h"
#include "common/mem.h"
#include "common/posix/posix_env.h"
#include "common/seam/clock.h"
#include "tests/unit/stream/stream_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DEADLINE_US 60000000u
#define PARTITIONS 20u

struct pair {
    struct posix_env *posix;
    struct loop *loop;
    struct stream_node nodes[2];
    char paths[2][64];
    struct loop_timer deadline;
    struct loop_task wake;
    bool (*is_done)(struct pair *pair);
    bool done;
    unsigned stopped_count;
};

static void too_late(struct loop_timer *timer)
{
    (void)timer;
    CHECK(false && "the test did not come to its end in time");
}

static void on_step(void *ctx)
{
    struct pair *pair = ctx;
    for (unsigned i = 0; i < 2; i++) {
        node_step(&pair->nodes[i]);
    }
    pair->done = pair->done || (pair->is_done != NULL && pair->is_done(pair));
}

static void no_task(struct loop_task *task)
{
    (void)task;
}

static void run_until(struct pair *pair, bool (*is_done)(struct pair *pair))
{
    pair->is_done = is_done;
    pair->done = false;
    loop_defer(pair->loop, &pair->wake); /* what was done from outside needs an iteration for its step */
    posix_loop_run_until(pair->loop, &pair->done);
    pair->is_done = NULL;
}

static int set_up(void **state)
{
    struct pair *pair = MEM_NEW(struct pair);
    struct net_address addresses[2];
    int64_t broker_epochs[2] = {2, 3};
    const char *base = getenv("TMPDIR") == NULL ? "/tmp" : getenv("TMPDIR");
    pair->posix = posix_env_new(LOG_ERROR);
    pair->wake.run = no_task;
    assert_int_equal(runtime_loop_new(pair->posix->env.runtime, "test", &pair->loop), ERR_OK);
    pair->deadline.fire = too_late;
    loop_timer_set(pair->loop, &pair->deadline, loop_now_us(pair->loop) + DEADLINE_US);
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(pair->paths[i], sizeof(pair->paths[i]), "%s/moldau-stream-XXXXXX", base);
        assert_non_null(mkdtemp(pair->paths[i]));
        struct node_config config = {.id = (int32_t)i + 1,
                                     .partition_count = PARTITIONS,
                                     .worker_count = 1,
                                     .durability = i == 0 ? DURABILITY_SYNCED : DURABILITY_CACHED,
                                     .env = &pair->posix->env,
                                     .loop = pair->loop,
                                     .dir_path = pair->paths[i],
                                     .host = "127.0.0.1"};
        node_boot(&pair->nodes[i], &config);
        rpc_server_address(pair->nodes[i].rpc, &addresses[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        node_join(&pair->nodes[i], 2, addresses, broker_epochs);
    }
    loop_set_step(pair->loop, on_step, pair);
    *state = pair;
    return 0;
}

static void on_stopped(struct stream_node *node)
{
    (void)node;
}

static bool are_stopped(struct pair *pair)
{
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned p = 0; p < PARTITIONS; p++) {
            if (pair->nodes[i].partitions[p].base.log != NULL) {
                return false;
            }
        }
    }
    return true;
}

/* Two levels: the log directory and its partitions. */
static void remove_dirs(struct fs *fs, const char *path)
{
    struct name_list names;
    assert_int_equal(name_list_read(fs, path, &names), ERR_OK);
    for (size_t i = 0; i < names.count; i++) {
        char *inner = mem_format("%s/%s", path, names.names[i]);
        (void)!remove_tree(fs, inner); /* a file goes with the rest */
        mem_free(inner);
    }
    name_list_done(&names);
    assert_int_equal(remove_tree(fs, path), ERR_OK);
}

static int tear_down(void **state)
{
    struct pair *pair = *state;
    for (unsigned i = 0; i < 2; i++) {
        node_stop(&pair->nodes[i], on_stopped);
    }
    run_until(pair, are_stopped);
    for (unsigned i = 0; i < 2; i++) {
        node_done(&pair->nodes[i]);
    }
    runtime_loop_free(pair->posix->env.runtime, pair->loop);
    for (unsigned i = 0; i < 2; i++) {
        remove_dirs(pair->posix->env.fs, pair->paths[i]);
    }
    posix_env_free(pair->posix);
    mem_free(pair);
    return 0;
}

static void elect(struct pair *pair, int32_t leader_id, int32_t epoch)
{
    for (unsigned p = 0; p < PARTITIONS; p++) {
        node_elect(&pair->nodes[0], p, leader_id, epoch);
        node_elect(&pair->nodes[1], p, leader_id, epoch);
    }
}

static bool first_leads(struct pair *pair)
{
    for (unsigned p = 0; p < PARTITIONS; p++) {
        if (!pair->nodes[0].partitions[p].leads) {
            return false;
        }
    }
    return true;
}

static bool second_leads(struct pair *pair)
{
    for (unsigned p = 0; p < PARTITIONS; p++) {
        if (!pair->nodes[1].partitions[p].leads) {
            return false;
        }
    }
    return true;
}

/* Both count everything, and both know so. */
static bool is_committed(struct pair *pair)
{
    for (unsigned p = 0; p < PARTITIONS; p++) {
        int64_t end_offset = partition_log_end_offset(node_log(&pair->nodes[0], p));
        for (unsigned i = 0; i < 2; i++) {
            const struct fake_partition *fake = &pair->nodes[i].partitions[p];
            if (partition_log_end_offset(fake->base.log) != end_offset || fake->base.high_watermark != end_offset) {
                return false;
            }
        }
    }
    return true;
}

static void expect_agreement(struct pair *pair)
{
    run_until(pair, is_committed);
    for (unsigned p = 0; p < PARTITIONS; p++) {
        assert_true(nodes_agree(&pair->nodes[0], &pair->nodes[1], p));
    }
}

/* Small batches are copied, large ones go from the page cache, and sizes around the border and around a frame. */
static void all_sizes_arrive(void **state)
{
    struct pair *pair = *state;
    static const size_t sizes[] = {1,      100,     4000,    65000,   65536,   66000,  200000,
                                   262144, 1000000, 1048576, 1100000, 3000000, 5000000};
    elect(pair, 1, 0);
    run_until(pair, first_leads);
    node_append(&pair->nodes[0], 0, 1, 1, 0);
    expect_agreement(pair);
    int64_t resubscriptions = node_metric(&pair->nodes[1], METRIC_REPLICA_RESUBSCRIPTIONS); /* until the leader leads */
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
            unsigned p = (i * 7 + round) % PARTITIONS;
            node_append(&pair->nodes[0], p, 1, sizes[i], i);
            node_append(&pair->nodes[0], p, 3, 50, i);
        }
        expect_agreement(pair);
    }
    int64_t sent_bytes = node_metric(&pair->nodes[0], METRIC_REPLICATION_BYTES_OUT);
    assert_true(sent_bytes > 30000000);
    assert_int_equal(node_metric(&pair->nodes[1], METRIC_REPLICATION_BYTES_IN), sent_bytes);
    assert_int_equal(node_metric(&pair->nodes[1], METRIC_REPLICA_RESUBSCRIPTIONS), resubscriptions);
}

/* More than the window, so that credit goes back and forth; and the roles change twice. */
static void many_bytes_arrive(void **state)
{
    struct pair *pair = *state;
    elect(pair, 1, 0);
    run_until(pair, first_leads);
    for (unsigned i = 0; i < 600; i++) {
        node_append(&pair->nodes[0], i % 5, 10, 10000, i);
    }
    expect_agreement(pair);
    elect(pair, 2, 1);
    run_until(pair, second_leads);
    for (unsigned i = 0; i < 200; i++) {
        node_append(&pair->nodes[1], i % PARTITIONS, 10, 10000, i);
    }
    expect_agreement(pair);
    elect(pair, 1, 2);
    run_until(pair, first_leads);
    node_append(&pair->nodes[0], 0, 10, 10000, 1);
    expect_agreement(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_sizes_arrive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_bytes_arrive, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

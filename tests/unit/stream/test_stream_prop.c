/* Whatever happens (appends, elections, silent ones, killed processes, cut and lost connections, deleted records), once it stops all
 * replicas are the leader's bytes again, and nothing that was below a high watermark ever changed. */
#include "common/mem.h"
#include "tests/unit/stream/stream_sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NODES 3u
#define PARTITIONS 4u
#define CASES 40u
#define ACTIONS 120u
#define SECONDS(n) ((n) * (uint64_t)SIM_SECOND_US)

/* What was committed: the digest of everything from the log start to the largest high watermark that any leader ever had. */
struct committed {
    int64_t start;
    int64_t end;
    uint64_t digest;
};

struct history {
    struct sim *sim;
    struct committed committed[PARTITIONS];
    struct prop prop;
};

struct digest_code {
    struct history *history;
    int32_t id;
    unsigned index;
    int64_t from;
    int64_t end;
    uint64_t digest;
};

static void digest_now(struct sim_node *node, void *ctx)
{
    struct digest_code *code = ctx;
    (void)node;
    code->digest = node_digest(sim_broker(code->history->sim, code->id), code->index, code->from, code->end);
}

static uint64_t digest_of(struct history *history, int32_t id, unsigned index, int64_t from, int64_t end)
{
    struct digest_code code = {.history = history, .id = id, .index = index, .from = from, .end = end};
    sim_run_on(history->sim, id, digest_now, &code);
    return code.digest;
}

/* The leader must hold what was committed before; what it has committed is added. */
static void check_committed(struct history *history, unsigned index)
{
    struct sim *sim = history->sim;
    int32_t id = sim->leaders[index];
    struct committed *committed = &history->committed[index];
    if (sim->epochs[index] < 0 || !sim_is_up(sim, id) || !sim_partition(sim, id, index)->leads) {
        return;
    }
    const struct fake_partition *leader = sim_partition(sim, id, index);
    const struct partition_log *log = leader->base.log;
    if (leader->is_busy) {
        return;
    }
    assert_true(partition_log_end_offset(log) >= committed->end);
    if (committed->end > committed->start) {
        assert_int_equal(digest_of(history, id, index, committed->start, committed->end), committed->digest);
    }
    if (leader->base.high_watermark > committed->end) {
        committed->end = leader->base.high_watermark;
        committed->digest = digest_of(history, id, index, committed->start, committed->end);
    }
}

static int32_t draw_node(struct history *history)
{
    return (int32_t)prop_range(&history->prop, 1, NODES);
}

static void elect(struct history *history, unsigned index, bool is_silent)
{
    struct sim *sim = history->sim;
    sim_elect_silently(sim, index, draw_node(history));
    for (int32_t id = 1; id <= (int32_t)NODES; id++) {
        if (!is_silent || id == sim->leaders[index] || prop_chance(&history->prop, 1, 3)) {
            sim_tell(sim, id, index);
        }
    }
}

static void act_once(struct history *history)
{
    struct sim *sim = history->sim;
    struct prop *prop = &history->prop;
    unsigned index = (unsigned)prop_below(prop, PARTITIONS);
    int32_t id = draw_node(history);
    switch (prop_below(prop, 20)) {
    case 0:
        elect(history, index, false);
        break;
    case 1:
    case 2:
        elect(history, index, true);
        break;
    case 3:
        sim_kill(sim, id);
        break;
    case 4:
    case 5:
        if (!sim_is_up(sim, id)) {
            sim_start(sim, id);
        }
        break;
    case 6:
        sim_fabric_cut(sim->fabric, sim->machines[id - 1].node->host, sim->machines[(unsigned)id % NODES].node->host,
                       true);
        break;
    case 7:
        sim_fabric_heal(sim->fabric);
        break;
    case 8:
        (void)sim_fabric_reset_one(sim->fabric, sim->machines[id - 1].node->host);
        break;
    case 9:
        sim_node_pause(sim->machines[id - 1].node, prop_below(prop, 5000000));
        break;
    default:
        /* also by those that only believe that they lead */
        for (uint64_t i = prop_range(prop, 1, 4); i > 0; i--) {
            (void)sim_append(sim, prop_chance(prop, 3, 4) ? sim->leaders[index] : id, index,
                             (int32_t)prop_range(prop, 1, 5), (size_t)prop_skewed(prop, 60000), prop_u64(prop));
        }
        break;
    }
}

/* Returns how often a log was cut in the last processes. */
static unsigned run_case(uint64_t seed, enum log_durability durability)
{
    struct sim_config config = {.seed = seed,
                                .node_count = NODES,
                                .partition_count = PARTITIONS,
                                .durability = durability,
                                .worker_counts = {1, 2, 3}};
    struct history history = {.sim = sim_new(&config)};
    struct sim *sim = history.sim;
    prop_init_seed(&history.prop, seed);
    if (prop_chance(&history.prop, 1, 3)) {
        for (unsigned i = 0; i < NODES; i++) {
            fs_sim_set_cold(sim->machines[i].node->disk, 30, true);
        }
    }
    for (unsigned p = 0; p < PARTITIONS; p++) {
        sim_elect_silently(sim, p, 1);
        elect(&history, p, false);
    }
    for (unsigned i = 0; i < ACTIONS; i++) {
        act_once(&history);
        sim_run(sim, prop_skewed(&history.prop, 400000));
        check_committed(&history, (unsigned)prop_below(&history.prop, PARTITIONS));
    }
    sim_fabric_heal(sim->fabric);
    for (int32_t id = 1; id <= (int32_t)NODES; id++) {
        if (!sim_is_up(sim, id)) {
            sim_start(sim, id);
        }
    }
    for (unsigned p = 0; p < PARTITIONS; p++) {
        elect(&history, p, false);
    }
    sim_await_agreement(sim, SECONDS(60));
    sim_run(sim, SECONDS(1)); /* the high watermarks follow */
    for (unsigned p = 0; p < PARTITIONS; p++) {
        check_committed(&history, p);
        for (int32_t id = 1; id <= (int32_t)NODES; id++) {
            const struct fake_partition *fake = sim_partition(sim, id, p);
            assert_int_equal(fake->base.high_watermark, partition_log_end_offset(fake->base.log));
        }
    }
    unsigned cut_count = 0;
    for (int32_t id = 1; id <= (int32_t)NODES; id++) {
        for (unsigned p = 0; p < PARTITIONS; p++) {
            cut_count += sim_partition(sim, id, p)->cut_count;
        }
        sim_stop(sim, id);
    }
    sim_free(sim);
    return cut_count;
}

static void run_cases(enum log_durability durability)
{
    struct prop prop;
    prop_init(&prop, "stream_prop", 11);
    uint64_t count = prop_runs(CASES);
    unsigned cut_count = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t seed = i == 0 ? prop.seed : prop_u64(&prop);
        printf("# case %llu seed=%llu\n", (unsigned long long)i, (unsigned long long)seed);
        fflush(stdout);
        cut_count += run_case(seed, durability);
    }
    assert_true(cut_count > count); /* histories did part */
}

static void replicas_converge_cached(void **state)
{
    (void)state;
    run_cases(DURABILITY_CACHED);
}

static void replicas_converge_synced(void **state)
{
    (void)state;
    run_cases(DURABILITY_SYNCED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_converge_cached),
        cmocka_unit_test(replicas_converge_synced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

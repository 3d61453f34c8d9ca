/* smoke: the simulation that needs no broker: three nodes, each with two loops, write to each other's files under faults.
 * Shown for every seed: nothing acknowledged is lost; after healing everybody makes progress; the same seed gives the same
 * event log, byte by byte, and another seed another one. And that the checker can fail: a node that acknowledges before it
 * syncs is found.
 *
 *     smoke [--seeds N] [--seed S] [--seconds N] [--trace] [--break]
 */
#include "tests/sim/sim_nemesis.h"
#include "tests/sim/smoke_node.h"

#include <stdio.h>
#include <stdlib.h>

#define SMOKE_NODES 3u
#define SMOKE_SEEDS_DEFAULT 10u
#define SMOKE_SECONDS_DEFAULT 60u
#define SMOKE_GAP_US_MOST 1500000u
#define SMOKE_HEAL_US (30u * SIM_SECOND_US)
#define SMOKE_PROGRESS_MIN 20u /* entries per pair of nodes, after healing */
#define SMOKE_TRACE_BYTES_MAX (64u << 20)
#define SMOKE_TAIL_BYTES 20000u

struct smoke_arguments {
    uint64_t seed;
    bool has_seed;
    uint64_t seed_count;
    uint64_t seconds;
    bool is_traced;
    bool breaks_promise;
};

/* What the world outside knows: numbers by [reader][writer]. */
struct smoke_checker {
    uint64_t acknowledged[SMOKE_NODES][SMOKE_NODES];
    uint64_t heard[SMOKE_NODES][SMOKE_NODES]; /* that the writer was told */
    uint64_t heard_when_healed[SMOKE_NODES][SMOKE_NODES];
    uint64_t recovery_count;
    uint64_t fatal_count;
    bool has_loss;
};

struct smoke_run {
    struct sim_world world;
    struct sim_fabric *fabric;
    struct sim_node *nodes[SMOKE_NODES];
    struct sim_nemesis nemesis;
    struct smoke_checker checker;
    bool breaks_promise;
};

static const char *const smoke_names[SMOKE_NODES] = {"n0", "n1", "n2"};
static const char *const smoke_addresses[SMOKE_NODES] = {"10.0.0.1", "10.0.0.2", "10.0.0.3"};

/* ---- the checker ---- */

static void on_recovered(void *ctx, unsigned node, unsigned writer, uint64_t last_number)
{
    struct smoke_run *run = (struct smoke_run *)ctx;
    run->checker.recovery_count++;
    uint64_t acknowledged = run->checker.acknowledged[node][writer];
    sim_trace_write(&run->world.trace, run->world.now_us, smoke_names[node],
                    "recovered writer=%u last=%" PRIu64 " acknowledged=%" PRIu64, writer, last_number, acknowledged);
    if (last_number < acknowledged) {
        run->checker.has_loss = true;
        sim_trace_write(&run->world.trace, run->world.now_us, smoke_names[node], "VIOLATION acknowledged entries lost");
    }
}

static void on_acknowledge(void *ctx, unsigned node, unsigned writer, uint64_t number)
{
    struct smoke_run *run = (struct smoke_run *)ctx;
    uint64_t *acknowledged = &run->checker.acknowledged[node][writer];
    *acknowledged = number > *acknowledged ? number : *acknowledged;
}

static void on_acknowledged(void *ctx, unsigned node, unsigned writer, uint64_t number)
{
    struct smoke_run *run = (struct smoke_run *)ctx;
    CHECK(number <= run->checker.acknowledged[node][writer]);
    uint64_t *heard = &run->checker.heard[node][writer];
    *heard = number > *heard ? number : *heard;
}

static void on_fatal(void *ctx, unsigned node)
{
    struct smoke_run *run = (struct smoke_run *)ctx;
    run->checker.fatal_count++;
    sim_node_kill(run->nodes[node]);
}

/* ---- one run ---- */

static void boot(struct sim_node *node, void *ctx)
{
    struct smoke_run *run = (struct smoke_run *)ctx;
    struct smoke_options options = {.node_count = SMOKE_NODES, .breaks_promise = run->breaks_promise};
    for (unsigned i = 0; i < SMOKE_NODES; i++) {
        options.addresses[i] = smoke_addresses[i];
        options.index = node == run->nodes[i] ? i : options.index;
    }
    struct smoke_events events = {.on_recovered = on_recovered,
                                  .on_acknowledge = on_acknowledge,
                                  .on_acknowledged = on_acknowledged,
                                  .on_fatal = on_fatal,
                                  .ctx = run};
    smoke_node_boot(&node->env, &options, &events);
}

static bool has_progressed(void *ctx)
{
    const struct smoke_run *run = (const struct smoke_run *)ctx;
    for (unsigned reader = 0; reader < SMOKE_NODES; reader++) {
        for (unsigned writer = 0; writer < SMOKE_NODES; writer++) {
            if (reader != writer && run->checker.heard[reader][writer] <
                                        run->checker.heard_when_healed[reader][writer] + SMOKE_PROGRESS_MIN) {
                return false;
            }
        }
    }
    return true;
}

static bool has_violation(void *ctx)
{
    return ((const struct smoke_run *)ctx)->checker.has_loss;
}

static void run_init(struct smoke_run *run, const struct smoke_arguments *arguments, uint64_t seed)
{
    *run = (struct smoke_run){.breaks_promise = arguments->breaks_promise};
    sim_world_init(&run->world, seed, SMOKE_TRACE_BYTES_MAX);
    run->world.trace.is_printed = arguments->is_traced;
    run->fabric = sim_fabric_new(&run->world);
    for (unsigned i = 0; i < SMOKE_NODES; i++) {
        run->nodes[i] =
            sim_node_new(&run->world, run->fabric,
                         &(struct sim_node_options){.name = smoke_names[i],
                                                    .address = smoke_addresses[i],
                                                    .page_bytes = prop_chance(&run->world.prop, 1, 2) ? 512 : 0,
                                                    .log_level = LOG_DEBUG});
    }
    sim_nemesis_init(&run->nemesis, &(struct sim_nemesis_options){.world = &run->world,
                                                                  .fabric = run->fabric,
                                                                  .nodes = run->nodes,
                                                                  .node_count = SMOKE_NODES,
                                                                  .boot = boot,
                                                                  .ctx = run,
                                                                  .gap_us_most = SMOKE_GAP_US_MOST});
}

static void run_done(struct smoke_run *run)
{
    sim_nemesis_done(&run->nemesis);
    for (unsigned i = 0; i < SMOKE_NODES; i++) {
        sim_node_free(run->nodes[i]);
    }
    sim_fabric_free(run->fabric);
    sim_world_done(&run->world);
}

/* NULL, or what went wrong. */
static const char *run_go(struct smoke_run *run, uint64_t duration_us)
{
    for (unsigned i = 0; i < SMOKE_NODES; i++) {
        sim_node_start(run->nodes[i], boot, run);
    }
    sim_nemesis_start(&run->nemesis);
    if (sim_world_run_until(&run->world, duration_us, has_violation, run)) {
        return "an acknowledged entry was lost";
    }
    sim_nemesis_heal(&run->nemesis);
    memcpy(run->checker.heard_when_healed, run->checker.heard, sizeof(run->checker.heard));
    if (!sim_world_run_until(&run->world, SMOKE_HEAL_US, has_progressed, run)) {
        return "no progress after healing";
    }
    return has_violation(run) ? "an acknowledged entry was lost" : NULL;
}

static void print_run(const struct smoke_run *run, uint64_t seed, const char *problem)
{
    uint64_t acknowledged = 0;
    for (unsigned reader = 0; reader < SMOKE_NODES; reader++) {
        for (unsigned writer = 0; writer < SMOKE_NODES; writer++) {
            acknowledged += run->checker.acknowledged[reader][writer];
        }
    }
    const struct sim_net_counts *net = sim_fabric_counts(run->fabric);
    char faults[512];
    sim_nemesis_describe(&run->nemesis, faults, sizeof(faults));
    printf("# seed=%" PRIu64 " result=%s seconds=%" PRIu64 " events=%" PRIu64 " acknowledged=%" PRIu64
           " recoveries=%" PRIu64 " disk_failures=%" PRIu64 " connections=%" PRIu64 " resets=%" PRIu64
           " restarts=%" PRIu64 " faults: %s log_lines=%" PRIu64 " hash=%016" PRIx64 "\n",
           seed, problem == NULL ? "ok" : problem, run->world.now_us / SIM_SECOND_US, run->world.event_count,
           acknowledged, run->checker.recovery_count, run->checker.fatal_count, net->connection_count, net->reset_count,
           run->nemesis.restart_count, faults, run->world.trace.line_count, run->world.trace.hash);
}

static bool same_log(const struct sim_trace *a, const struct sim_trace *b)
{
    return a->hash == b->hash && a->line_count == b->line_count && a->bytes == b->bytes &&
           memcmp(a->data, b->data, a->bytes) == 0;
}

/* ---- the test ---- */

static unsigned long case_count;

static bool report(bool is_ok, const char *name, uint64_t seed)
{
    printf("%sok %lu - %s seed %" PRIu64 "\n", is_ok ? "" : "not ", ++case_count, name, seed);
    fflush(stdout);
    return is_ok;
}

/* Runs the seed twice and compares. *ret_hash is its log's. */
static bool check_seed(const struct smoke_arguments *arguments, uint64_t seed, uint64_t *ret_hash)
{
    uint64_t duration_us = arguments->seconds * SIM_SECOND_US;
    struct smoke_run first;
    run_init(&first, arguments, seed);
    const char *problem = run_go(&first, duration_us);
    print_run(&first, seed, problem);
    bool is_ok = report(problem == NULL, "nothing acknowledged is lost, and progress after healing:", seed);
    if (!is_ok) {
        sim_trace_print_tail(&first.world.trace, SMOKE_TAIL_BYTES);
        printf("# repeat with tests/sim/replay %" PRIu64 "\n", seed);
    }
    struct smoke_run second;
    run_init(&second, arguments, seed);
    (void)run_go(&second, duration_us);
    is_ok = report(same_log(&first.world.trace, &second.world.trace), "two runs give the same log:", seed) && is_ok;
    *ret_hash = first.world.trace.hash;
    run_done(&first);
    run_done(&second);
    return is_ok;
}

static bool check_all(const struct smoke_arguments *arguments)
{
    bool is_ok = true;
    uint64_t hash_before = 0;
    for (uint64_t i = 0; i < arguments->seed_count; i++) {
        uint64_t seed = arguments->seed + i;
        uint64_t hash = 0;
        is_ok = check_seed(arguments, seed, &hash) && is_ok;
        if (i > 0) {
            is_ok = report(hash != hash_before, "another seed gives another log:", seed) && is_ok;
        }
        hash_before = hash;
    }
    return is_ok;
}

/* The checker must find a node that acknowledges what it has not synced. */
static bool check_planted(const struct smoke_arguments *arguments)
{
    struct smoke_arguments planted = *arguments;
    planted.breaks_promise = true;
    for (uint64_t i = 0; i < 50; i++) {
        struct smoke_run run;
        run_init(&run, &planted, arguments->seed + i);
        const char *problem = run_go(&run, planted.seconds * SIM_SECOND_US);
        bool is_found = run.checker.has_loss;
        if (is_found || arguments->breaks_promise) {
            print_run(&run, arguments->seed + i, problem);
        }
        run_done(&run);
        if (is_found) {
            return report(true, "an acknowledgement before the sync is found:", arguments->seed + i);
        }
    }
    return report(false, "an acknowledgement before the sync is found:", arguments->seed);
}

static struct smoke_arguments arguments_parse(int count, char **texts)
{
    struct smoke_arguments arguments = {.seed_count = prop_runs(SMOKE_SEEDS_DEFAULT), .seconds = SMOKE_SECONDS_DEFAULT};
    arguments.seed = prop_seed_choose(PROP_SEED_DEFAULT);
    for (int i = 1; i < count; i++) {
        bool has_value = i + 1 < count;
        if (strcmp(texts[i], "--trace") == 0) {
            arguments.is_traced = true;
        } else if (strcmp(texts[i], "--break") == 0) {
            arguments.breaks_promise = true;
        } else if (strcmp(texts[i], "--seed") == 0 && has_value) {
            arguments.seed = prop_number("--seed", texts[++i], 0);
            arguments.has_seed = true;
            arguments.seed_count = 1;
        } else if (strcmp(texts[i], "--seeds") == 0 && has_value) {
            arguments.seed_count = prop_number("--seeds", texts[++i], 1);
        } else if (strcmp(texts[i], "--seconds") == 0 && has_value) {
            arguments.seconds = prop_number("--seconds", texts[++i], 1);
        } else {
            fprintf(stderr, "usage: smoke [--seeds N] [--seed S] [--seconds N] [--trace] [--break]\n");
            exit(2);
        }
    }
    return arguments;
}

int main(int argument_count, char **argument_texts)
{
    struct smoke_arguments arguments = arguments_parse(argument_count, argument_texts);
    printf("# smoke seed=%" PRIu64 " seeds=%" PRIu64 "\n", arguments.seed, arguments.seed_count);
    bool is_ok = check_all(&arguments);
    if (!arguments.has_seed) {
        is_ok = check_planted(&arguments) && is_ok;
    }
    printf("1..%lu\n", case_count);
    return is_ok ? 0 : 1;
}

/* cluster_sim: whole clusters (brokers and controllers, the product's own objects) with scripted producers and readers, under faults
 * by seed. Shown for every seed: every acknowledged record exactly once at its offset and in order per producer session; nothing is
 * read that is not committed or later gone; one leader per leader epoch; the same metadata everywhere; replicas alike (R1 to R4, R7, R8 of
 * correctness.md). After healing all replicas are in sync and everything under way comes home within L4's bound.
 *
 *     cluster_sim [--seeds N] [--seed S] [--seconds N] [--brokers N] [--controllers N] [--no-people] [--alone] [--twice N] [--require] [--stop-at-first]
 *                 [--log | --trace]
 *
 * --log: the event log, to standard error; --trace: with every detail (turns, segments, calls of the disks), which changes nothing else.
 * --twice: the first N seeds are run twice, and must give the same log. --require: over all seeds the rare events must have happened
 * often enough, or the run has shown nothing; MOLDAU_RUNS multiplies the seeds then.
 */
#include "cluster_sim_commit.h"
#include "tests/sim/cluster_totals.h"

#include <stdlib.h>

#define SEEDS_DEFAULT 4u
#define SECONDS_DEFAULT 300u
#define HEAL_US (30u * SIM_SECOND_US)   /* L4 */
#define PEOPLE_US (60u * SIM_SECOND_US) /* what people need to admit a controller: they wait for it to ask */
#define VERIFY_US (60u * SIM_SECOND_US)
#define REST_US (5u * SIM_SECOND_US)
#define FAULTS_LEAST 5u
#define TRACE_BYTES_MAX (4u << 20)
#define TAIL_BYTES 12000u

struct arguments {
    uint64_t seed;
    uint64_t seed_count;
    uint64_t seconds;
    uint64_t twice_count;
    bool is_required;
    bool ends_at_first; /* violation */
    struct cluster_options options;
};

struct run {
    struct cluster_world cluster;
    struct cluster_nemesis nemesis;
    char problem[CLUSTER_SENTENCE_BYTES];
};

static void fail(struct run *run, const char *what)
{
    char gap[CLUSTER_SENTENCE_BYTES / 2];
    cluster_world_describe(&run->cluster, gap, sizeof(gap));
    if (cluster_verdict_is_ok(&run->cluster.verdict)) {
        (void)snprintf(run->problem, sizeof(run->problem), "%s: %s", what, gap);
    } else {
        (void)snprintf(run->problem, sizeof(run->problem), "%s", run->cluster.verdict.sentence);
    }
    struct sim_world *world = &run->cluster.world;
    sim_trace_write(&world->trace, world->now_us, "checker", "VIOLATION %s", run->problem);
}

/* Safety first, then liveness. False: run->problem says what went wrong. */
static bool go(struct run *run, uint64_t duration_us)
{
    struct cluster_world *cluster = &run->cluster;
    struct sim_world *world = &cluster->world;
    cluster_world_start(cluster);
    cluster_nemesis_start(&run->nemesis);
    if (sim_world_run_until(world, duration_us, cluster_world_is_wrong, cluster)) {
        fail(run, "");
        return false;
    }
    cluster_world_end_producers(cluster);
    cluster_world_end_people(cluster);
    cluster_nemesis_heal(&run->nemesis);
    if (!sim_world_run_until(world, PEOPLE_US, cluster_world_is_manned, cluster) || cluster_world_is_wrong(cluster)) {
        fail(run, "a controller is not admitted");
        return false;
    }
    if (!sim_world_run_until(world, HEAL_US, cluster_world_is_settled, cluster) || cluster_world_is_wrong(cluster)) {
        fail(run, "L4: not whole 30 s after healing");
        return false;
    }
    cluster_world_verify(cluster);
    if (!sim_world_run_until(world, VERIFY_US, cluster_world_is_verified, cluster) || cluster_world_is_wrong(cluster)) {
        fail(run, "not everything can be read back");
        return false;
    }
    cluster_history_finish(&cluster->history);
    sim_world_run_for(world, REST_US);
    cluster_world_compare(cluster);
    if (cluster_world_is_wrong(cluster)) {
        fail(run, "");
        return false;
    }
    if (cluster_nemesis_fault_count(&run->nemesis) < FAULTS_LEAST && duration_us >= SECONDS_DEFAULT * SIM_SECOND_US) {
        (void)snprintf(run->problem, sizeof(run->problem), "fewer than %u faults", FAULTS_LEAST);
        return false;
    }
    return true;
}

static void run_init(struct run *run, const struct arguments *arguments, uint64_t seed)
{
    run->problem[0] = '\0';
    cluster_world_init(&run->cluster, seed, &arguments->options);
    cluster_nemesis_init(&run->nemesis, &run->cluster);
}

static void run_done(struct run *run)
{
    cluster_nemesis_done(&run->nemesis);
    cluster_world_done(&run->cluster);
}

static void print_run(const struct run *run, uint64_t seed)
{
    const struct cluster_world *cluster = &run->cluster;
    char plan[1024];
    char faults[512];
    struct cluster_totals totals = {0};
    char counts[1024];
    cluster_plan_describe(&cluster->plan, plan, sizeof(plan));
    cluster_nemesis_describe(&run->nemesis, faults, sizeof(faults));
    cluster_totals_add(&totals, cluster, &run->nemesis);
    cluster_totals_describe(&totals, counts, sizeof(counts));
    printf("# seed=%" PRIu64 " commit=%s result=\"%s\" %s faults: %s counts: %s log_lines=%" PRIu64 " hash=%016" PRIx64
           "\n",
           seed, CLUSTER_SIM_COMMIT, run->problem[0] == '\0' ? "ok" : run->problem, plan, faults, counts,
           cluster->world.trace.line_count, cluster->world.trace.hash);
}

static unsigned long case_count;

static bool report(bool is_ok, const char *name, uint64_t seed)
{
    printf("%sok %lu - %s seed %" PRIu64 "\n", is_ok ? "" : "not ", ++case_count, name, seed);
    fflush(stdout);
    return is_ok;
}

static bool check_seed(const struct arguments *arguments, uint64_t seed, bool is_twice, struct cluster_totals *totals)
{
    uint64_t duration_us = arguments->seconds * SIM_SECOND_US;
    struct run *run = PLAIN_NEW(struct run);
    run_init(run, arguments, seed);
    bool is_ok = go(run, duration_us);
    print_run(run, seed);
    (void)report(is_ok, "nothing acknowledged is lost, all replicas agree:", seed);
    if (!is_ok) {
        sim_trace_print_tail(&run->cluster.world.trace, TAIL_BYTES);
        printf("# repeat with tests/sim/replay %" PRIu64 " cluster_sim --seconds %" PRIu64 "\n", seed,
               arguments->seconds);
    }
    cluster_totals_add(totals, &run->cluster, &run->nemesis);
    uint64_t hash = run->cluster.world.trace.hash;
    run_done(run);
    if (is_twice) {
        run_init(run, arguments, seed);
        (void)go(run, duration_us);
        is_ok = report(hash == run->cluster.world.trace.hash, "two runs give the same log:", seed) && is_ok;
        run_done(run);
    }
    plain_free(run);
    return is_ok;
}

static bool take_number(int count, char **texts, int *index, const char *name, uint64_t *ret_value)
{
    if (strcmp(texts[*index], name) != 0 || *index + 1 >= count) {
        return false;
    }
    ++*index;
    *ret_value = prop_number(name, texts[*index], strcmp(name, "--seeds") == 0 || strcmp(name, "--seconds") == 0);
    return true;
}

static bool take_flag(const char *text, const char *name, bool *ret_value)
{
    bool is_it = strcmp(text, name) == 0;
    *ret_value = *ret_value || is_it;
    return is_it;
}

static struct arguments arguments_parse(int count, char **texts)
{
    struct arguments arguments = {.seed_count = prop_runs(SEEDS_DEFAULT), .seconds = SECONDS_DEFAULT};
    arguments.seed = prop_seed_choose(PROP_SEED_DEFAULT);
    arguments.options.trace_kept_bytes = TRACE_BYTES_MAX;
    struct cluster_plan_limits *limits = &arguments.options.limits;
    for (int i = 1; i < count; i++) {
        uint64_t number = 0;
        if (take_number(count, texts, &i, "--seed", &number)) {
            arguments.seed = number;
            arguments.seed_count = 1;
        } else if (take_number(count, texts, &i, "--brokers", &number)) {
            limits->broker_count = (unsigned)number;
        } else if (take_number(count, texts, &i, "--controllers", &number)) {
            limits->controller_count = (unsigned)number;
        } else if (!take_number(count, texts, &i, "--first", &arguments.seed) &&
                   !take_number(count, texts, &i, "--seeds", &arguments.seed_count) &&
                   !take_number(count, texts, &i, "--seconds", &arguments.seconds) &&
                   !take_number(count, texts, &i, "--twice", &arguments.twice_count) &&
                   !take_flag(texts[i], "--alone", &limits->is_alone) &&
                   !take_flag(texts[i], "--no-people", &limits->has_no_people) &&
                   !take_flag(texts[i], "--require", &arguments.is_required) &&
                   !take_flag(texts[i], "--stop-at-first", &arguments.ends_at_first) &&
                   !take_flag(texts[i], "--log", &arguments.options.is_logged) &&
                   !take_flag(texts[i], "--trace", &arguments.options.is_traced)) {
            fprintf(stderr,
                    "usage: cluster_sim [--seed S | --first S --seeds N] [--seconds N] [--brokers N]\n"
                    "                   [--controllers N] [--alone] [--twice N] [--require] [--log | --trace]\n");
            exit(2);
        }
    }
    return arguments;
}

int main(int argument_count, char **argument_texts)
{
    struct arguments arguments = arguments_parse(argument_count, argument_texts);
    printf("# cluster_sim seed=%" PRIu64 " seeds=%" PRIu64 " seconds=%" PRIu64 "\n", arguments.seed,
           arguments.seed_count, arguments.seconds);
    struct cluster_totals totals = {0};
    uint64_t failed_count = 0;
    arguments.seed_count = arguments.is_required ? prop_runs(arguments.seed_count) : arguments.seed_count;
    for (uint64_t i = 0; i < arguments.seed_count && !(arguments.ends_at_first && failed_count > 0); i++) {
        bool is_twice = i < arguments.twice_count;
        failed_count += check_seed(&arguments, arguments.seed + i, is_twice, &totals) ? 0 : 1;
    }
    char text[1024];
    cluster_totals_describe(&totals, text, sizeof(text));
    printf("# totals: seeds=%" PRIu64 " failed=%" PRIu64 " %s\n", arguments.seed_count, failed_count, text);
    bool is_ok = failed_count == 0;
    if (arguments.is_required) {
        is_ok = report(cluster_totals_suffice(&totals, text, sizeof(text)), text, arguments.seed) && is_ok;
    }
    printf("1..%lu\n", case_count);
    return is_ok ? 0 : 1;
}

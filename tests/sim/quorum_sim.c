/* quorum_sim: the controllers' consensus under everything that can happen to it: quorums of 1, 3 and 5 on machines that die, lose power,
 * stall and fill up, with messages lost, repeated, reordered and cut off, members that come and go, and snapshots all the time.
 * Shown for every seed: what quorum_cluster.h lists; and after healing everybody comes to the same state, and new commands are committed.
 * Over all seeds: elections, truncations, installed snapshots, changed memberships and handed-over leaderships happened.
 *
 *     quorum_sim [SEED] [--seeds N] [--seed S] [--seconds N] [--trace]
 */
#include "tests/sim/quorum_cluster.h"

#include <stdio.h>
#include <stdlib.h>

#define SEEDS_DEFAULT 100u
#define SECONDS_DEFAULT 15u
#define GAP_US_MOST 1500000u
#define HEAL_US (60u * SIM_SECOND_US)
#define PROGRESS_COMMANDS 20u
#define TAIL_BYTES 30000u
#define VOTERS_MAX 5u

struct arguments {
    uint64_t seed;
    uint64_t seed_count;
    uint64_t seconds;
    bool is_traced;
    bool is_single;
};

struct run {
    struct quorum_cluster cluster;
    struct sim_nemesis nemesis;
    struct loop_timer proposal;
    struct loop_timer bus_fault;
    struct loop_timer change;
    uint64_t proposal_gap_us;
    uint64_t change_gap_us; /* 0: members stay */
    uint64_t change_asked_us;
    uint32_t large_permille; /* of proposals */
    bool is_healed;
    uint64_t healed_commands;
};

static struct prop *prop_of(struct run *run)
{
    return &run->cluster.world.prop;
}

static void set_after(struct run *run, struct loop_timer *event, uint64_t most_us)
{
    uint64_t delay_us = 1 + prop_below(prop_of(run), most_us);
    sim_world_set(&run->cluster.world, event, run->cluster.world.now_us + delay_us);
}

/* ---- load ---- */

/* To whoever thinks that it leads; sometimes to anybody. */
static void on_proposal(struct loop_timer *event)
{
    struct run *run = CONTAINER_OF(event, struct run, proposal);
    struct prop *prop = prop_of(run);
    struct quorum_slot *slot = &run->cluster.slots[prop_below(prop, run->cluster.tuning.slots)];
    for (unsigned i = 0; i < run->cluster.tuning.slots && !slot->is_leader; i++) {
        slot = &run->cluster.slots[prop_below(prop, run->cluster.tuning.slots)];
    }
    size_t bytes = 1 + (size_t)prop_skewed(prop, 300);
    if (prop_chance(prop, run->large_permille, 1000)) {
        bytes = QUORUM_ENTRY_BYTES_MAX - 8;
    }
    quorum_cluster_propose(&run->cluster, slot, bytes);
    set_after(run, event, run->proposal_gap_us);
}

/* ---- members ---- */

static uint32_t voter_count(const struct quorum_cluster *cluster)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        count += cluster->members[i].role == QUORUM_VOTER;
    }
    return count;
}

/* A member that joins anew when its old directory is of no use, or one that waits to be admitted. */
static void add_somebody(struct run *run, struct quorum_slot *leader)
{
    struct quorum_cluster *cluster = &run->cluster;
    struct quorum_slot *slot = &cluster->slots[prop_below(prop_of(run), cluster->tuning.slots)];
    if (quorum_cluster_is_member(cluster, slot) || slot->node->state == SIM_NODE_OFF) {
        return;
    }
    /* One that was removed may keep its directory, and come back under its id. */
    if (slot->generation == 0 || (slot->is_free && prop_chance(prop_of(run), 1, 2))) {
        quorum_cluster_join(cluster, slot);
    }
    quorum_cluster_add(cluster, leader, slot);
}

static void on_change(struct loop_timer *event)
{
    struct run *run = CONTAINER_OF(event, struct run, change);
    struct quorum_cluster *cluster = &run->cluster;
    struct quorum_slot *leader = quorum_cluster_leader(cluster);
    uint64_t now_us = cluster->world.now_us;
    /* Who was asked may have died with the question. */
    bool is_forgotten = cluster->is_changing && now_us - run->change_asked_us > 5 * SIM_SECOND_US;
    set_after(run, event, run->change_gap_us);
    if (leader == NULL || (cluster->is_changing && !is_forgotten)) {
        return;
    }
    run->change_asked_us = now_us;
    uint32_t voters = voter_count(cluster);
    uint64_t choice = prop_below(prop_of(run), 10);
    if (choice < 3) {
        quorum_cluster_transfer(cluster, leader);
    } else if (voters < VOTERS_MAX && (voters == 1 || choice < 7)) {
        add_somebody(run, leader);
    } else if (cluster->member_count > 1 && voters > 1) {
        uint64_t raft_id = cluster->members[prop_below(prop_of(run), cluster->member_count)].raft_id;
        quorum_cluster_remove(cluster, leader, raft_id);
    }
}

/* ---- the bus's faults ---- */

static void on_bus_fault(struct loop_timer *event)
{
    struct run *run = CONTAINER_OF(event, struct run, bus_fault);
    struct quorum_bus *bus = &run->cluster.bus;
    struct prop *prop = prop_of(run);
    unsigned slots = run->cluster.tuning.slots;
    set_after(run, event, GAP_US_MOST);
    quorum_bus_heal(bus);
    bus->drop_permille = prop_chance(prop, 1, 2) ? (uint32_t)prop_below(prop, 300) : 0;
    bus->repeat_permille = prop_chance(prop, 1, 2) ? (uint32_t)prop_below(prop, 300) : 0;
    bus->delay_us_most = prop_chance(prop, 1, 4) ? 150000 : prop_chance(prop, 1, 2) ? 20000 : 2000;
    uint64_t kind = prop_below(prop, 4);
    uint64_t sides = prop_u64(prop);
    struct quorum_slot *leader = quorum_cluster_leader(&run->cluster);
    for (unsigned from = 0; from < slots; from++) {
        for (unsigned to = 0; to < slots; to++) {
            bool is_cut = ((sides >> from) & 1) != ((sides >> to) & 1);
            bool is_leaders = leader != NULL && (from == leader->number || to == leader->number);
            bus->is_blocked[from][to] = (kind == 1 && is_cut) || (kind == 2 && is_leaders && from != to) ||
                                        (kind == 3 && prop_chance(prop, 1, 4) && from != to);
        }
    }
}

/* ---- one run ---- */

static bool has_violation(void *ctx)
{
    struct run *run = (struct run *)ctx;
    struct quorum_cluster *cluster = &run->cluster;
    for (unsigned i = 0; i < cluster->tuning.slots; i++) {
        const struct sim_node *node = cluster->slots[i].node;
        if (node->abort_count > 0) {
            quorum_cluster_violate(cluster, "%s aborted: %s", cluster->slots[i].name, node->abort_sentence);
        }
    }
    return cluster->checker.violation[0] != '\0';
}

/* Every voter has applied everything, and new commands have come since. */
static bool is_quiet(void *ctx)
{
    struct run *run = (struct run *)ctx;
    struct quorum_cluster *cluster = &run->cluster;
    if (has_violation(run)) {
        return true;
    }
    if (cluster->checker.command_count < run->healed_commands + PROGRESS_COMMANDS) {
        return false;
    }
    sim_world_cancel(&cluster->world, &run->proposal);
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        const struct quorum_slot *slot = quorum_cluster_find(cluster, cluster->members[i].raft_id);
        bool is_voter = cluster->members[i].role == QUORUM_VOTER;
        if (is_voter && (slot == NULL || slot->applied < cluster->checker.applied_most)) {
            return false;
        }
    }
    return true;
}

static void run_init(struct run *run, const struct arguments *arguments, uint64_t seed)
{
    static const unsigned founders[] = {1, 3, 3, 3, 5};
    *run = (struct run){0};
    struct prop prop;
    prop_init_seed(&prop, seed ^ 0x5bd1e995u);
    struct quorum_tuning tuning = {.founders = founders[prop_below(&prop, 5)],
                                   .slots = QUORUM_SLOTS_MAX,
                                   .snapshot_entries = (uint32_t)prop_range(&prop, 5, 120),
                                   .trailing_entries = (uint32_t)prop_range(&prop, 0, 60),
                                   .segment_bytes = prop_range(&prop, 300, 20000),
                                   .ballast_bytes = prop_chance(&prop, 1, 10) ? 2500000 : 500};
    run->proposal_gap_us = prop_chance(&prop, 1, 4) ? 5000 : 60000;
    run->change_gap_us = prop_chance(&prop, 2, 3) ? 1500000 : 0;
    run->large_permille = prop_chance(&prop, 1, 8) ? 100 : 0;
    uint64_t sync_us_most = prop_chance(&prop, 1, 5) ? 200000 : 6000;
    quorum_cluster_init(&run->cluster, seed, &tuning);
    run->cluster.world.trace.is_printed = arguments->is_traced;
    run->proposal.fire = on_proposal;
    run->change.fire = on_change;
    run->bus_fault.fire = on_bus_fault;
    sim_nemesis_init(&run->nemesis,
                     &(struct sim_nemesis_options){.world = &run->cluster.world,
                                                   .fabric = run->cluster.fabric,
                                                   .nodes = run->cluster.nodes,
                                                   .node_count = tuning.slots,
                                                   .boot = quorum_cluster_boot,
                                                   .ctx = &run->cluster,
                                                   .gap_us_most = GAP_US_MOST,
                                                   .disabled = 1u << SIM_FAULT_CUT | 1u << SIM_FAULT_CUT_ONE_WAY |
                                                               1u << SIM_FAULT_SLOW_LINK | 1u << SIM_FAULT_RESET});
    for (unsigned i = 0; i < tuning.slots; i++) {
        fs_sim_set_latency(run->cluster.nodes[i]->disk, FS_SIM_SYNC, (struct fs_sim_latency){200, sync_us_most});
        fs_sim_set_latency(run->cluster.nodes[i]->disk, FS_SIM_SYNC_DIR, (struct fs_sim_latency){100, 2000});
    }
}

static const char *run_go(struct run *run, uint64_t duration_us)
{
    struct quorum_cluster *cluster = &run->cluster;
    for (unsigned i = 0; i < cluster->tuning.slots; i++) {
        sim_node_start(cluster->slots[i].node, quorum_cluster_boot, cluster);
    }
    set_after(run, &run->proposal, run->proposal_gap_us);
    set_after(run, &run->bus_fault, GAP_US_MOST);
    if (run->change_gap_us != 0) {
        set_after(run, &run->change, run->change_gap_us);
    }
    sim_nemesis_start(&run->nemesis);
    if (sim_world_run_until(&cluster->world, duration_us, has_violation, run)) {
        return cluster->checker.violation;
    }
    sim_nemesis_heal(&run->nemesis);
    sim_world_cancel(&cluster->world, &run->bus_fault);
    sim_world_cancel(&cluster->world, &run->change);
    quorum_bus_heal(&cluster->bus);
    run->is_healed = true;
    run->healed_commands = cluster->checker.command_count;
    if (!sim_world_run_until(&cluster->world, HEAL_US, is_quiet, run)) {
        quorum_cluster_violate(cluster, "no progress or no agreement after healing");
    }
    return cluster->checker.violation[0] == '\0' ? NULL : cluster->checker.violation;
}

static void run_done(struct run *run)
{
    sim_nemesis_done(&run->nemesis);
    sim_world_cancel(&run->cluster.world, &run->proposal);
    sim_world_cancel(&run->cluster.world, &run->bus_fault);
    sim_world_cancel(&run->cluster.world, &run->change);
    quorum_cluster_done(&run->cluster);
}

static void print_run(const struct run *run, uint64_t seed, const char *problem)
{
    const struct quorum_checker *checker = &run->cluster.checker;
    char faults[512];
    sim_nemesis_describe(&run->nemesis, faults, sizeof(faults));
    printf("# seed=%" PRIu64 " result=%s founders=%u virtual_ms=%" PRIu64 " events=%" PRIu64 " commands=%" PRIu64
           " elections=%" PRIu64 " truncations=%" PRIu64 " installs=%" PRIu64 " changes=%" PRIu64 " transfers=%" PRIu64
           " fatal=%" PRIu64 " messages=%" PRIu64 " faults: %s hash=%016" PRIx64 "\n",
           seed, problem == NULL ? "ok" : problem, run->cluster.tuning.founders, run->cluster.world.now_us / 1000,
           run->cluster.world.event_count, checker->command_count, checker->election_count, checker->truncate_count,
           checker->install_count, checker->change_count, checker->transfer_count, checker->fatal_count,
           checker->message_count, faults, run->cluster.world.trace.hash);
}

/* ---- the test ---- */

struct totals {
    uint64_t commands;
    uint64_t elections;
    uint64_t truncations;
    uint64_t installs;
    uint64_t changes;
    uint64_t transfers;
};

static bool check_seed(const struct arguments *arguments, uint64_t seed, struct totals *totals, uint64_t *ret_hash)
{
    static struct run run;
    run_init(&run, arguments, seed);
    const char *problem = run_go(&run, arguments->seconds * SIM_SECOND_US);
    if (problem != NULL || arguments->seed_count == 1) {
        print_run(&run, seed, problem);
    }
    if (problem != NULL) {
        quorum_cluster_print(&run.cluster);
        sim_trace_print_tail(&run.cluster.world.trace, TAIL_BYTES);
        printf("# repeat with tests/sim/replay %" PRIu64 " quorum_sim --seconds %" PRIu64 "\n", seed,
               arguments->seconds);
    }
    const struct quorum_checker *checker = &run.cluster.checker;
    totals->commands += checker->command_count;
    totals->elections += checker->election_count;
    totals->truncations += checker->truncate_count;
    totals->installs += checker->install_count;
    totals->changes += checker->change_count;
    totals->transfers += checker->transfer_count;
    *ret_hash = run.cluster.world.trace.hash;
    run_done(&run);
    return problem == NULL;
}

static unsigned case_count;

static bool report(bool is_ok, const char *what)
{
    printf("%sok %u - %s\n", is_ok ? "" : "not ", ++case_count, what);
    fflush(stdout);
    return is_ok;
}

static bool check_all(const struct arguments *arguments)
{
    struct totals totals = {0};
    uint64_t failed = 0;
    uint64_t hash = 0;
    uint64_t again = 0;
    for (uint64_t i = 0; i < arguments->seed_count; i++) {
        failed += !check_seed(arguments, arguments->seed + i, &totals, &hash);
    }
    printf("# seeds=%" PRIu64 " commands=%" PRIu64 " elections=%" PRIu64 " truncations=%" PRIu64 " installs=%" PRIu64
           " changes=%" PRIu64 " transfers=%" PRIu64 "\n",
           arguments->seed_count, totals.commands, totals.elections, totals.truncations, totals.installs,
           totals.changes, totals.transfers);
    bool is_ok = report(failed == 0, "every seed is safe, and makes progress after healing");
    struct totals unused = {0};
    (void)check_seed(arguments, arguments->seed + arguments->seed_count - 1, &unused, &again);
    is_ok = report(hash == again, "one seed gives one run") && is_ok;
    if (arguments->is_single) {
        return is_ok;
    }
    uint64_t seeds = arguments->seed_count;
    is_ok = report(totals.commands >= seeds * 50, "commands were committed") && is_ok;
    is_ok = report(totals.elections >= seeds * 3, "leaders were elected") && is_ok;
    is_ok = report(totals.truncations >= seeds / 4, "logs were truncated") && is_ok;
    is_ok = report(totals.installs >= seeds / 4, "snapshots were installed") && is_ok;
    is_ok = report(totals.changes >= seeds / 2, "memberships changed") && is_ok;
    return report(totals.transfers >= seeds / 10, "leaderships were handed over") && is_ok;
}

static struct arguments arguments_parse(int count, char **texts)
{
    struct arguments arguments = {.seed_count = prop_runs(SEEDS_DEFAULT), .seconds = SECONDS_DEFAULT};
    arguments.seed = prop_seed_choose(PROP_SEED_DEFAULT);
    for (int i = 1; i < count; i++) {
        bool has_value = i + 1 < count;
        if (strcmp(texts[i], "--trace") == 0) {
            arguments.is_traced = true;
        } else if (strcmp(texts[i], "--seeds") == 0 && has_value) {
            arguments.seed_count = prop_number("--seeds", texts[++i], 1);
        } else if (strcmp(texts[i], "--seconds") == 0 && has_value) {
            arguments.seconds = prop_number("--seconds", texts[++i], 1);
        } else if ((strcmp(texts[i], "--seed") == 0 && has_value) || texts[i][0] != '-') {
            i += texts[i][0] == '-';
            arguments.seed = prop_number("--seed", texts[i], 0);
            arguments.is_single = true;
            arguments.seed_count = 1;
        } else {
            fprintf(stderr, "usage: quorum_sim [SEED] [--seeds N] [--seed S] [--seconds N] [--trace]\n");
            exit(2);
        }
    }
    return arguments;
}

int main(int argument_count, char **argument_texts)
{
    struct arguments arguments = arguments_parse(argument_count, argument_texts);
    printf("# quorum_sim seed=%" PRIu64 " seeds=%" PRIu64 "\n", arguments.seed, arguments.seed_count);
    bool is_ok = check_all(&arguments);
    printf("1..%u\n", case_count);
    return is_ok ? 0 : 1;
}

/* election_sim: how long three controllers are without a leader after theirs was killed, on disks that take their time to sync. A candidate
 * writes its term and vote before it asks, and a voter before it answers: while a disk is busy that is the longer part of an election.
 * Shown for every kind of disk: somebody leads again, and soon; the times are printed as a histogram.
 *
 *     election_sim [--seed S] [--kills N]
 */
#include "tests/sim/quorum_cluster.h"

#include <stdio.h>
#include <stdlib.h>

#define NODES 3u
#define ELECTION_MS 300u /* quorum_process.c */
#define KILLS_DEFAULT 1000u
#define KILLS_PER_WORLD 20u
#define PROPOSAL_GAP_US 20000u
#define DOWN_US_MOST 1000000u
#define SETTLE_US (60u * SIM_SECOND_US)
#define GIVE_UP_US (60u * SIM_SECOND_US)
#define BUCKET_MS 250u
#define BUCKETS 16u

/* What a sync costs, and how long the longest election may last: two timeouts of a follower that heard the leader last (its draw is up to 2 E),
 * one more round after a draw that collided, and what is written on the way. */
struct disk {
    const char *name;
    uint64_t sync_us_least;
    uint64_t sync_us_most;
    uint64_t wait_ms_most;
};

struct run {
    struct quorum_cluster cluster;
    struct loop_timer proposal;
    struct quorum_slot *dead;
    uint64_t wanted;
};

static void on_proposal(struct loop_timer *event)
{
    struct run *run = CONTAINER_OF(event, struct run, proposal);
    struct quorum_slot *leader = quorum_cluster_leader(&run->cluster);
    if (leader != NULL) {
        quorum_cluster_propose(&run->cluster, leader, 100);
    }
    sim_world_set(&run->cluster.world, event, run->cluster.world.now_us + PROPOSAL_GAP_US);
}

static bool has_leader(void *ctx)
{
    struct run *run = (struct run *)ctx;
    return run->cluster.checker.violation[0] != '\0' || quorum_cluster_leader(&run->cluster) != NULL;
}

/* Everybody runs and follows: the next kill meets a quorum at rest. */
static bool is_settled(void *ctx)
{
    struct run *run = (struct run *)ctx;
    struct quorum_cluster *cluster = &run->cluster;
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < NODES; i++) {
        least = cluster->slots[i].applied < least ? cluster->slots[i].applied : least;
    }
    return cluster->checker.violation[0] != '\0' || (quorum_cluster_leader(cluster) != NULL && least >= run->wanted);
}

static void run_init(struct run *run, uint64_t seed, const struct disk *disk)
{
    *run = (struct run){0};
    struct quorum_tuning tuning = {.founders = NODES,
                                   .slots = NODES,
                                   .snapshot_entries = 200,
                                   .trailing_entries = 200,
                                   .segment_bytes = 20000,
                                   .ballast_bytes = 500};
    quorum_cluster_init(&run->cluster, seed, &tuning);
    run->cluster.bus.is_ordered = true; /* as connections are */
    run->proposal.fire = on_proposal;
    for (unsigned i = 0; i < NODES; i++) {
        struct fs_sim_latency sync = {disk->sync_us_least, disk->sync_us_most};
        fs_sim_set_latency(run->cluster.nodes[i]->disk, FS_SIM_SYNC, sync);
        fs_sim_set_latency(run->cluster.nodes[i]->disk, FS_SIM_SYNC_DIR, sync);
        sim_node_start(run->cluster.nodes[i], quorum_cluster_boot, &run->cluster);
    }
    sim_world_set(&run->cluster.world, &run->proposal, PROPOSAL_GAP_US);
}

static void run_done(struct run *run)
{
    sim_world_cancel(&run->cluster.world, &run->proposal);
    quorum_cluster_done(&run->cluster);
}

/* Waits until the quorum is at rest, kills its leader at some moment, and tells how long there was none. False: it never came to that. */
static bool kill_once(struct run *run, uint64_t *ret_wait_us)
{
    struct quorum_cluster *cluster = &run->cluster;
    struct sim_world *world = &cluster->world;
    run->wanted = cluster->checker.applied_most + 5;
    if (!sim_world_run_until(world, SETTLE_US, is_settled, run) || cluster->checker.violation[0] != '\0') {
        return false;
    }
    sim_world_run_for(world, prop_below(&world->prop, SIM_SECOND_US / 10));
    struct quorum_slot *leader = quorum_cluster_leader(cluster);
    if (leader == NULL) {
        return false;
    }
    uint64_t killed_us = world->now_us;
    sim_node_kill(leader->node);
    leader->is_leader = false;
    if (!sim_world_run_until(world, GIVE_UP_US, has_leader, run) || cluster->checker.violation[0] != '\0') {
        return false;
    }
    *ret_wait_us = world->now_us - killed_us;
    sim_world_run_for(world, prop_below(&world->prop, DOWN_US_MOST));
    sim_node_start(leader->node, quorum_cluster_boot, cluster);
    return true;
}

struct waits {
    uint64_t buckets[BUCKETS];
    uint64_t count;
    uint64_t sum_us;
    uint64_t most_us;
};

static void waits_add(struct waits *waits, uint64_t wait_us)
{
    uint64_t bucket = wait_us / (BUCKET_MS * 1000u);
    waits->buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    waits->count++;
    waits->sum_us += wait_us;
    waits->most_us = wait_us > waits->most_us ? wait_us : waits->most_us;
}

static void waits_print(const struct waits *waits, const struct disk *disk)
{
    printf("# %s: syncs of %" PRIu64 " to %" PRIu64 " ms: %" PRIu64 " elections, mean %" PRIu64 " ms, longest %" PRIu64
           " ms; per %u ms:",
           disk->name, disk->sync_us_least / 1000, disk->sync_us_most / 1000, waits->count,
           waits->count == 0 ? 0 : waits->sum_us / waits->count / 1000, waits->most_us / 1000, BUCKET_MS);
    for (unsigned i = 0; i < BUCKETS; i++) {
        printf(" %" PRIu64, waits->buckets[i]);
    }
    printf("\n");
}

static bool check_disk(const struct disk *disk, uint64_t seed, uint64_t kills)
{
    static struct run run;
    struct waits waits = {0};
    bool is_ok = true;
    for (uint64_t done = 0; done < kills && is_ok; done += KILLS_PER_WORLD, seed++) {
        run_init(&run, seed, disk);
        for (unsigned i = 0; i < KILLS_PER_WORLD && is_ok; i++) {
            uint64_t wait_us = 0;
            is_ok = kill_once(&run, &wait_us);
            if (is_ok) {
                waits_add(&waits, wait_us);
            } else {
                printf("# seed=%" PRIu64 " kill=%u: %s\n", seed, i,
                       run.cluster.checker.violation[0] == '\0' ? "no leader" : run.cluster.checker.violation);
                quorum_cluster_print(&run.cluster);
            }
        }
        run_done(&run);
    }
    waits_print(&waits, disk);
    return is_ok && waits.most_us <= disk->wait_ms_most * 1000;
}

static const struct disk disks[] = {
    {"a quick disk", 200, 6000, 1200},
    {"a busy disk", 20000, 60000, 1800},
    {"a crowded disk", 60000, 200000, 2700},
    {"a disk slower than the timeouts", 200000, 500000, 6000},
};

int main(int argument_count, char **argument_texts)
{
    uint64_t seed = prop_seed_choose(PROP_SEED_DEFAULT);
    uint64_t kills = prop_runs(KILLS_DEFAULT);
    bool is_ok = true;
    for (int i = 1; i + 1 < argument_count; i += 2) {
        uint64_t value = prop_number(argument_texts[i], argument_texts[i + 1], 0);
        seed = strcmp(argument_texts[i], "--seed") == 0 ? value : seed;
        kills = strcmp(argument_texts[i], "--kills") == 0 ? value : kills;
    }
    printf("# election_sim seed=%" PRIu64 " kills=%" PRIu64 "\n", seed, kills);
    for (size_t i = 0; i < ARRAY_COUNT(disks); i++) {
        bool is_good = check_disk(&disks[i], seed, kills);
        printf("%sok %zu - %s: there is a leader again within %" PRIu64 " ms\n", is_good ? "" : "not ", i + 1,
               disks[i].name, disks[i].wait_ms_most);
        fflush(stdout);
        is_ok = is_ok && is_good;
    }
    printf("1..%zu\n", ARRAY_COUNT(disks));
    return is_ok ? 0 : 1;
}

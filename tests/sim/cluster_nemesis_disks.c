/* Sick disks, and losses of power within what the topics promise to survive (correctness.md 1, note 1). */
#include "tests/sim/cluster_nemesis.h"

#define TROUBLE_US_MOST (5u * SIM_SECOND_US)
#define SLOW_SYNC_US_MOST 500000u
#define CRASH_IN_CALL_MOST 300u /* how many calls ahead */
#define FULL_SLACK_BYTES_MOST 20000u

/* Normal latencies of a small cloud disk (design.md 6). */
void cluster_nemesis_repair_disk(struct nemesis_node *target)
{
    struct fs_sim *disk = target->node->machine->disk;
    fs_sim_set_total_bytes(disk, 1ull << 40);
    struct fs_sim_latency sync = {.least_us = 150, .most_us = 2000};
    fs_sim_set_latency(disk, FS_SIM_SYNC, sync);
    fs_sim_set_latency(disk, FS_SIM_SYNC_DIR, sync);
    fs_sim_set_latency(disk, FS_SIM_SYNC_ALL, (struct fs_sim_latency){.least_us = 400, .most_us = 6000});
    for (unsigned call = 0; call < FS_SIM_CALL_COUNT; call++) {
        fs_sim_fail_at(disk, (enum fs_sim_call)call, 0, ERR_IO, false);
    }
}

void cluster_nemesis_hit_disk(struct cluster_nemesis *nemesis, enum cluster_fault fault, struct nemesis_node *target)
{
    struct sim_world *world = &nemesis->cluster->world;
    struct fs_sim *disk = target->node->machine->disk;
    if (fault == CLUSTER_FAULT_SYNC_ERROR) {
        fs_sim_fail_at(disk, FS_SIM_SYNC, 1 + prop_below(&world->prop, 5), ERR_IO, prop_chance(&world->prop, 1, 2));
    } else if (fault == CLUSTER_FAULT_WRITE_ERROR) {
        fs_sim_fail_at(disk, FS_SIM_WRITE, 1 + prop_below(&world->prop, 5), ERR_IO, prop_chance(&world->prop, 1, 2));
    } else if (fault == CLUSTER_FAULT_DISK_FULL) {
        fs_sim_set_total_bytes(disk, fs_sim_used_bytes(disk) + prop_below(&world->prop, FULL_SLACK_BYTES_MOST));
    } else {
        struct fs_sim_latency slow = {.least_us = 10000,
                                      .most_us = 10000 + prop_below(&world->prop, SLOW_SYNC_US_MOST)};
        fs_sim_set_latency(disk, FS_SIM_SYNC, slow);
        fs_sim_set_latency(disk, FS_SIM_SYNC_ALL, slow);
    }
    sim_world_set(world, &target->repair, world->now_us + cluster_nemesis_draw_us(nemesis, TROUBLE_US_MOST));
}

/* ---- what may be lost ---- */

/* The partitions of the node that would miss what is lost (cached ones, or all) are whole and have a minimum above one. */
static bool is_whole(const struct cluster_nemesis *nemesis, unsigned node, bool has_all)
{
    const struct cluster_world *cluster = nemesis->cluster;
    for (unsigned i = 0; i < cluster->plan.partition_count; i++) {
        const struct meta_partition *partition = &cluster->meta.partitions[i];
        unsigned index = 0;
        const struct cluster_plan_topic *topic = cluster_plan_topic_of(&cluster->plan, i, &index);
        if (!partition->is_known) {
            return false;
        }
        bool is_concerned = (topic->is_cached || has_all) && (partition->replicas & (1u << node)) != 0;
        if (is_concerned && (topic->min_insync < 2 || partition->isr != partition->replicas)) {
            return false;
        }
    }
    return true;
}

/* Nobody else still misses something. */
static bool is_first(struct cluster_nemesis *nemesis)
{
    for (unsigned i = 0; i < nemesis->cluster->plan.broker_count; i++) {
        struct nemesis_node *other = &nemesis->nodes[i];
        bool is_back = other->node->is_ready && other->node->machine->start_count > other->lossy_start_count;
        if (other->is_lossy && is_back && is_whole(nemesis, i, other->lost_disk)) {
            other->is_lossy = false; /* it registered anew and is back in all its ISRs */
        }
        if (other->is_lossy) {
            return false;
        }
    }
    return true;
}

/* A majority keeps its disks: one voter at a time, and the next when people see all of them in their places again. */
static bool is_quorum_well(const struct cluster_nemesis *nemesis)
{
    const struct cluster_world *cluster = nemesis->cluster;
    for (unsigned i = 0; i < cluster->plan.node_count; i++) {
        if (cluster->plan.nodes[i].is_controller && nemesis->nodes[i].wants_disk) {
            return false;
        }
    }
    return cluster->people != NULL && cluster->plan.controller_count >= 3 && cluster_operator_is_quiet(cluster->people);
}

static bool may_lose(struct cluster_nemesis *nemesis, unsigned node, bool has_all)
{
    const struct cluster_world *cluster = nemesis->cluster;
    if (!cluster->plan.nodes[node].is_broker || (!has_all && !cluster_plan_has_cached(&cluster->plan))) {
        return true;
    }
    return is_first(nemesis) && is_whole(nemesis, node, has_all);
}

static void set_lossy(struct nemesis_node *target, bool lost_disk)
{
    target->is_lossy = true;
    target->lost_disk = lost_disk;
    target->lossy_start_count = target->node->machine->start_count;
}

static void lose_power(struct cluster_nemesis *nemesis, struct nemesis_node *target, enum fs_sim_crash_mode mode)
{
    if (target->node->plan->is_broker && cluster_plan_has_cached(&nemesis->cluster->plan)) {
        set_lossy(target, target->is_lossy && target->lost_disk);
    }
    sim_node_power_loss(target->node->machine, mode);
}

static void crash_in_call(struct cluster_nemesis *nemesis, struct nemesis_node *target)
{
    struct prop *prop = &nemesis->cluster->world.prop;
    struct sim_node *machine = target->node->machine;
    /* When it strikes is not known yet: a loss of power only where nothing unsynced matters. */
    bool may_cut = !target->node->plan->is_broker || !cluster_plan_has_cached(&nemesis->cluster->plan);
    machine->in_call_mode = may_cut && prop_chance(prop, 1, 2) ? FS_SIM_CRASH_RANDOM : FS_SIM_CRASH_KILL;
    fs_sim_crash_at(machine->disk, fs_sim_call_count(machine->disk) + 1 + prop_below(prop, CRASH_IN_CALL_MOST),
                    (enum fs_sim_tear)prop_below(prop, 3));
}

bool cluster_nemesis_hit_power(struct cluster_nemesis *nemesis, enum cluster_fault fault, struct nemesis_node *target)
{
    struct prop *prop = &nemesis->cluster->world.prop;
    if (fault == CLUSTER_FAULT_CRASH_IN_CALL) {
        crash_in_call(nemesis, target);
        return true;
    }
    if (fault == CLUSTER_FAULT_POWER_LOSS_ALL) {
        if (cluster_plan_has_cached(&nemesis->cluster->plan)) {
            return false;
        }
        for (unsigned i = 0; i < nemesis->cluster->plan.node_count; i++) {
            lose_power(nemesis, &nemesis->nodes[i], prop_chance(prop, 1, 2) ? FS_SIM_CRASH_LOSE : FS_SIM_CRASH_RANDOM);
        }
        return true;
    }
    bool loses_disk = fault == CLUSTER_FAULT_NEW_DISK;
    if (!may_lose(nemesis, target->node->index, loses_disk)) {
        return false;
    }
    if (loses_disk) {
        if (!target->node->is_ready || (target->node->plan->is_controller && !is_quorum_well(nemesis))) {
            return false;
        }
        target->wants_disk = true;
        set_lossy(target, true);
        target->node->lost_directory = target->node->directory;
        target->node->lost_start_count = target->node->machine->start_count;
        sim_node_kill(target->node->machine);
        /* So that people don't think the quorum whole and take another voter out. */
        target->node->directory = UUID_ZERO;
        return true;
    }
    lose_power(nemesis, target, fault == CLUSTER_FAULT_POWER_LOSS ? FS_SIM_CRASH_LOSE : FS_SIM_CRASH_RANDOM);
    return true;
}

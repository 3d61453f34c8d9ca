#include "tests/sim/cluster_nemesis.h"

#include <stdio.h>

#define RESTART_US_MOST (4u * SIM_SECOND_US)
#define RESTART_LATE_US_MOST (20u * SIM_SECOND_US)
#define RESTART_HEALED_US_MOST SIM_SECOND_US
#define PAUSE_US_MOST SIM_SECOND_US
#define QUICK_US_MOST 400000u
#define CLOCK_JUMP_MS_MOST (3600 * 1000)

static struct prop *prop_of(struct cluster_nemesis *nemesis)
{
    return &nemesis->cluster->world.prop;
}

uint64_t cluster_nemesis_draw_us(struct cluster_nemesis *nemesis, uint64_t most_us)
{
    return 1000 + prop_below(prop_of(nemesis), most_us);
}

static void set_timer(struct cluster_nemesis *nemesis, struct loop_timer *timer, uint64_t most_us)
{
    struct sim_world *world = &nemesis->cluster->world;
    sim_world_set(world, timer, world->now_us + cluster_nemesis_draw_us(nemesis, most_us));
}

/* ---- coming back ---- */

static void on_restart(struct loop_timer *event)
{
    struct nemesis_node *target = CONTAINER_OF(event, struct nemesis_node, restart);
    struct sim_node *machine = target->node->machine;
    if (machine->state == SIM_NODE_OFF) {
        sim_node_power_on(machine);
    }
    if (machine->state == SIM_NODE_DEAD && target->wants_disk) {
        target->wants_disk = false;
        sim_node_replace_disk(machine);
        cluster_nemesis_repair_disk(target);
    }
    if (machine->state == SIM_NODE_DEAD) {
        cluster_node_boot(target->node);
    }
}

/* Whatever ended it, it comes back: soon, or now and then late. */
static void on_death(struct cluster_node *node)
{
    struct nemesis_node *target = (struct nemesis_node *)node->nemesis;
    struct cluster_nemesis *nemesis = target->nemesis;
    bool is_late = nemesis->is_active && prop_chance(prop_of(nemesis), 1, 6);
    set_timer(nemesis, &target->restart,
              !nemesis->is_active ? RESTART_HEALED_US_MOST
              : is_late           ? RESTART_LATE_US_MOST
                                  : RESTART_US_MOST);
}

static void on_repair(struct loop_timer *event)
{
    cluster_nemesis_repair_disk(CONTAINER_OF(event, struct nemesis_node, repair));
}

static void on_heal_links(struct loop_timer *event)
{
    cluster_nemesis_heal_links(CONTAINER_OF(event, struct cluster_nemesis, heal_links));
}

/* ---- who is hit ---- */

static struct nemesis_node *any_node(struct cluster_nemesis *nemesis)
{
    return &nemesis->nodes[prop_below(prop_of(nemesis), nemesis->cluster->plan.node_count)];
}

static struct nemesis_node *any_leader(struct cluster_nemesis *nemesis)
{
    const struct cluster_world *cluster = nemesis->cluster;
    const struct meta_partition *partition =
        &cluster->meta.partitions[prop_below(prop_of(nemesis), cluster->plan.partition_count)];
    return partition->is_known && partition->leader >= 0 ? &nemesis->nodes[partition->leader] : any_node(nemesis);
}

static struct nemesis_node *any_controller(struct cluster_nemesis *nemesis)
{
    struct nemesis_node *chosen = any_node(nemesis);
    for (unsigned i = 0; i < nemesis->cluster->plan.node_count; i++) {
        if (nemesis->cluster->meta.active_node == (int32_t)i) {
            chosen = &nemesis->nodes[i];
        }
    }
    return chosen;
}

static struct nemesis_node *draw_target(struct cluster_nemesis *nemesis, enum cluster_fault fault)
{
    if (fault == CLUSTER_FAULT_KILL_CONTROLLER) {
        return any_controller(nemesis);
    }
    bool wants_leader = fault == CLUSTER_FAULT_KILL_LEADER || fault == CLUSTER_FAULT_FREEZE_LEADER;
    return wants_leader || prop_chance(prop_of(nemesis), 1, 4) ? any_leader(nemesis) : any_node(nemesis);
}

/* ---- the faults ---- */

static void freeze(struct cluster_nemesis *nemesis, struct nemesis_node *target, uint64_t duration_us)
{
    uint64_t until_us = nemesis->cluster->world.now_us + duration_us;
    target->frozen_until_us = until_us > target->frozen_until_us ? until_us : target->frozen_until_us;
    sim_node_pause(target->node->machine, duration_us);
}

static void kill_all(struct cluster_nemesis *nemesis)
{
    for (unsigned i = 0; i < nemesis->cluster->plan.node_count; i++) {
        sim_node_kill(nemesis->nodes[i].node->machine);
    }
}

static void renew_session(struct sim_node *machine, void *ctx)
{
    (void)machine;
    cluster_producer_renew((struct cluster_producer *)ctx);
}

static void new_session(struct cluster_nemesis *nemesis)
{
    struct cluster_world *cluster = nemesis->cluster;
    unsigned index = (unsigned)prop_below(prop_of(nemesis), cluster->plan.producer_count);
    sim_node_run(cluster->clients[index], renew_session, cluster->producers[index]);
}

static void disturb_quorum(struct sim_node *machine, void *ctx)
{
    (void)machine;
    cluster_operator_disturb((struct cluster_operator *)ctx);
}

static bool take_voter_out(struct cluster_nemesis *nemesis)
{
    struct cluster_world *cluster = nemesis->cluster;
    if (cluster->people == NULL) {
        return false;
    }
    sim_node_run(cluster->people_machine, disturb_quorum, cluster->people);
    return true;
}

/* False: it was not possible. */
static bool hit(struct cluster_nemesis *nemesis, enum cluster_fault fault, struct nemesis_node *target)
{
    struct prop *prop = prop_of(nemesis);
    struct sim_node *machine = target->node->machine;
    uint64_t session_us = (uint64_t)nemesis->cluster->plan.session_timeout_ms * 1000;
    switch (fault) {
    case CLUSTER_FAULT_KILL:
    case CLUSTER_FAULT_KILL_LEADER:
    case CLUSTER_FAULT_KILL_CONTROLLER:
        sim_node_kill(machine);
        return true;
    case CLUSTER_FAULT_KILL_ALL:
        kill_all(nemesis);
        return true;
    case CLUSTER_FAULT_STOP:
        cluster_node_stop(target->node);
        return target->node->is_stopping;
    case CLUSTER_FAULT_POWER_LOSS:
    case CLUSTER_FAULT_POWER_LOSS_RANDOM:
    case CLUSTER_FAULT_POWER_LOSS_ALL:
    case CLUSTER_FAULT_CRASH_IN_CALL:
    case CLUSTER_FAULT_NEW_DISK:
        return cluster_nemesis_hit_power(nemesis, fault, target);
    case CLUSTER_FAULT_PAUSE:
        freeze(nemesis, target, cluster_nemesis_draw_us(nemesis, PAUSE_US_MOST));
        return true;
    case CLUSTER_FAULT_FREEZE:
    case CLUSTER_FAULT_FREEZE_LEADER:
        freeze(nemesis, target, session_us / 2 + prop_below(prop, 2 * session_us));
        return true;
    case CLUSTER_FAULT_CUT:
    case CLUSTER_FAULT_CUT_ONE_WAY:
    case CLUSTER_FAULT_ISOLATE:
    case CLUSTER_FAULT_ISOLATE_ONE_WAY:
    case CLUSTER_FAULT_SPLIT:
    case CLUSTER_FAULT_SLOW_LINK:
        cluster_nemesis_hit_links(nemesis, fault, target->node);
        return true;
    case CLUSTER_FAULT_RESET:
        return sim_fabric_reset_one(nemesis->cluster->fabric, machine->host);
    case CLUSTER_FAULT_SYNC_ERROR:
    case CLUSTER_FAULT_WRITE_ERROR:
    case CLUSTER_FAULT_DISK_FULL:
    case CLUSTER_FAULT_SLOW_DISK:
        cluster_nemesis_hit_disk(nemesis, fault, target);
        return true;
    case CLUSTER_FAULT_CLOCK_JUMP:
        machine->clock.wall_offset_ms = prop_range_signed(prop, -CLOCK_JUMP_MS_MOST, CLOCK_JUMP_MS_MOST);
        return true;
    case CLUSTER_FAULT_VOTER_OUT:
        return take_voter_out(nemesis);
    case CLUSTER_FAULT_NEW_SESSION:
        new_session(nemesis);
        return true;
    case CLUSTER_FAULT_COUNT:
        break;
    }
    UNREACHABLE();
}

static const char *fault_text(enum cluster_fault fault)
{
    static const char *const texts[] = {
#define X(name, text) text,
        CLUSTER_FAULT_TABLE(X)
#undef X
    };
    CHECK(fault < CLUSTER_FAULT_COUNT);
    return texts[fault];
}

static void on_next(struct loop_timer *event)
{
    struct cluster_nemesis *nemesis = CONTAINER_OF(event, struct cluster_nemesis, next);
    struct sim_world *world = &nemesis->cluster->world;
    enum cluster_fault fault = (enum cluster_fault)prop_below(prop_of(nemesis), CLUSTER_FAULT_COUNT);
    struct nemesis_node *target = draw_target(nemesis, fault);
    bool is_quick = prop_chance(prop_of(nemesis), 1, 4);
    if ((nemesis->enabled & (1u << fault)) == 0) {
        set_timer(nemesis, &nemesis->next, QUICK_US_MOST); /* another one soon: the rate is the plan's */
        return;
    }
    set_timer(nemesis, &nemesis->next, is_quick ? QUICK_US_MOST : nemesis->cluster->plan.gap_us_most);
    if (target->node->machine->state != SIM_NODE_RUNNING) {
        return;
    }
    sim_trace_write(&world->trace, world->now_us, target->node->plan->name, "fault %s", fault_text(fault));
    nemesis->counts[fault] += hit(nemesis, fault, target) ? 1 : 0;
}

/* ---- life ---- */

void cluster_nemesis_init(struct cluster_nemesis *nemesis, struct cluster_world *cluster)
{
    *nemesis = (struct cluster_nemesis){.cluster = cluster};
    nemesis->next.fire = on_next;
    nemesis->heal_links.fire = on_heal_links;
    for (unsigned i = 0; i < cluster->plan.node_count; i++) {
        struct nemesis_node *target = &nemesis->nodes[i];
        target->nemesis = nemesis;
        target->node = &cluster->nodes[i];
        target->restart.fire = on_restart;
        target->repair.fire = on_repair;
        cluster->nodes[i].nemesis = target;
        cluster->nodes[i].on_death = on_death;
        cluster_nemesis_repair_disk(target);
    }
    cluster_nemesis_heal_links(nemesis);
    /* Swarm: a third of the kinds stays away from this seed, which lets the others go further. */
    for (unsigned fault = 0; fault < CLUSTER_FAULT_COUNT; fault++) {
        nemesis->enabled |= prop_chance(prop_of(nemesis), 2, 3) ? 1u << fault : 0;
    }
}

void cluster_nemesis_start(struct cluster_nemesis *nemesis)
{
    nemesis->is_active = true;
    set_timer(nemesis, &nemesis->next, nemesis->cluster->plan.gap_us_most);
}

void cluster_nemesis_heal(struct cluster_nemesis *nemesis)
{
    struct sim_world *world = &nemesis->cluster->world;
    sim_trace_write(&world->trace, world->now_us, "world", "heal");
    nemesis->is_active = false;
    sim_world_cancel(world, &nemesis->next);
    sim_world_cancel(world, &nemesis->heal_links);
    cluster_nemesis_heal_links(nemesis);
    uint64_t frozen_until_us = world->now_us;
    for (unsigned i = 0; i < nemesis->cluster->plan.node_count; i++) {
        struct nemesis_node *target = &nemesis->nodes[i];
        sim_world_cancel(world, &target->repair);
        cluster_nemesis_repair_disk(target);
        fs_sim_crash_at(target->node->machine->disk, 0, FS_SIM_TEAR_NONE);
        if (target->node->machine->state != SIM_NODE_RUNNING) {
            set_timer(nemesis, &target->restart, RESTART_HEALED_US_MOST);
        }
        frozen_until_us = target->frozen_until_us > frozen_until_us ? target->frozen_until_us : frozen_until_us;
    }
    sim_world_run_for(world, frozen_until_us - world->now_us);
}

void cluster_nemesis_done(struct cluster_nemesis *nemesis)
{
    struct sim_world *world = &nemesis->cluster->world;
    sim_world_cancel(world, &nemesis->next);
    sim_world_cancel(world, &nemesis->heal_links);
    for (unsigned i = 0; i < nemesis->cluster->plan.node_count; i++) {
        sim_world_cancel(world, &nemesis->nodes[i].restart);
        sim_world_cancel(world, &nemesis->nodes[i].repair);
        nemesis->nodes[i].node->on_death = NULL;
    }
}

uint64_t cluster_nemesis_fault_count(const struct cluster_nemesis *nemesis)
{
    uint64_t count = 0;
    for (unsigned fault = 0; fault < CLUSTER_FAULT_COUNT; fault++) {
        count += nemesis->counts[fault];
    }
    return count;
}

void cluster_nemesis_describe(const struct cluster_nemesis *nemesis, char *ret_text, size_t bytes_max)
{
    size_t bytes = 0;
    ret_text[0] = '\0';
    for (unsigned fault = 0; fault < CLUSTER_FAULT_COUNT && bytes < bytes_max; fault++) {
        if (nemesis->counts[fault] > 0) {
            int added = snprintf(ret_text + bytes, bytes_max - bytes, "%s%s=%" PRIu64, bytes == 0 ? "" : " ",
                                 fault_text((enum cluster_fault)fault), nemesis->counts[fault]);
            bytes += added > 0 ? (size_t)added : 0;
        }
    }
}

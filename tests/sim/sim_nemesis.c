#include "tests/sim/sim_nemesis.h"

#include <stdio.h>

#define RESTART_US_MOST (3u * SIM_SECOND_US)
#define POWER_CUT_US_MOST (2u * SIM_SECOND_US)
#define PAUSE_US_MOST (4u * SIM_SECOND_US)
#define LINK_TROUBLE_US_MOST (4u * SIM_SECOND_US)
#define DISK_TROUBLE_US_MOST (3u * SIM_SECOND_US)
#define NORMAL_LINK_US_LEAST 60u
#define NORMAL_LINK_US_MOST 800u
#define SLOW_LINK_US_MOST 400000u
#define SLOW_SYNC_US_MOST 500000u
#define CRASH_IN_CALL_MOST 200u /* how many calls ahead */
#define CLOCK_JUMP_MS_MOST (3600 * 1000)
#define FULL_SLACK_BYTES_MOST 8192u

static struct prop *prop_of(struct sim_nemesis *nemesis)
{
    return &nemesis->options.world->prop;
}

static uint64_t draw_us(struct sim_nemesis *nemesis, uint64_t most_us)
{
    return 1000 + prop_below(prop_of(nemesis), most_us);
}

/* Normal latencies of a small cloud disk (design.md 6). */
static void repair_disk(struct sim_node *node)
{
    fs_sim_set_total_bytes(node->disk, 1ull << 40);
    struct fs_sim_latency sync = {.least_us = 150, .most_us = 2000};
    fs_sim_set_latency(node->disk, FS_SIM_SYNC, sync);
    fs_sim_set_latency(node->disk, FS_SIM_SYNC_DIR, sync);
    fs_sim_set_latency(node->disk, FS_SIM_SYNC_ALL, (struct fs_sim_latency){.least_us = 400, .most_us = 6000});
}

static void on_repair(struct loop_timer *event)
{
    repair_disk(CONTAINER_OF(event, struct sim_nemesis_node, repair)->node);
}

static void on_restart(struct loop_timer *event)
{
    struct sim_nemesis_node *target = CONTAINER_OF(event, struct sim_nemesis_node, restart);
    struct sim_nemesis *nemesis = target->nemesis;
    if (target->node->state == SIM_NODE_OFF) {
        sim_node_power_on(target->node);
    }
    if (target->node->state == SIM_NODE_DEAD) {
        nemesis->restart_count++;
        sim_node_start(target->node, nemesis->options.boot, nemesis->options.ctx);
        bool may_cut = (nemesis->options.disabled & (1u << SIM_FAULT_POWER_LOSS)) == 0;
        if (target->had_sync_error && may_cut && prop_chance(prop_of(nemesis), 1, 2)) {
            struct sim_world *world = nemesis->options.world;
            sim_world_set(world, &target->power_cut, world->now_us + draw_us(nemesis, POWER_CUT_US_MOST));
        }
        target->had_sync_error = false;
    }
}

static void on_power_cut(struct loop_timer *event)
{
    struct sim_nemesis_node *target = CONTAINER_OF(event, struct sim_nemesis_node, power_cut);
    if (target->nemesis->is_active && target->node->state == SIM_NODE_RUNNING) {
        target->nemesis->counts[SIM_FAULT_POWER_LOSS]++;
        sim_node_power_loss(target->node, FS_SIM_CRASH_LOSE);
    }
}

static struct sim_nemesis_node *find_target(struct sim_nemesis *nemesis, const struct sim_node *node)
{
    for (unsigned i = 0; i < nemesis->options.node_count; i++) {
        if (nemesis->nodes[i].node == node) {
            return &nemesis->nodes[i];
        }
    }
    return NULL;
}

/* Whatever killed it, it comes back. */
static void on_death(struct sim_node *node)
{
    struct sim_nemesis *nemesis = (struct sim_nemesis *)node->ctx;
    struct sim_nemesis_node *target = find_target(nemesis, node);
    CHECK(target != NULL);
    struct sim_world *world = nemesis->options.world;
    sim_world_set(world, &target->restart, world->now_us + draw_us(nemesis, RESTART_US_MOST));
}

static unsigned machine_count(const struct sim_nemesis *nemesis)
{
    return nemesis->options.node_count + nemesis->options.bystander_count;
}

static struct sim_node *any_machine(const struct sim_nemesis *nemesis, unsigned index)
{
    unsigned node_count = nemesis->options.node_count;
    return index < node_count ? nemesis->options.nodes[index] : nemesis->options.bystanders[index - node_count];
}

static void on_heal_links(struct loop_timer *event)
{
    struct sim_nemesis *nemesis = CONTAINER_OF(event, struct sim_nemesis, heal_links);
    sim_fabric_heal(nemesis->options.fabric);
    for (unsigned a = 0; a < machine_count(nemesis); a++) {
        for (unsigned b = 0; b < machine_count(nemesis); b++) {
            struct sim_link *link =
                sim_fabric_link(nemesis->options.fabric, any_machine(nemesis, a)->host, any_machine(nemesis, b)->host);
            if (a != b) {
                link->latency_us_least = NORMAL_LINK_US_LEAST;
                link->latency_us_most = NORMAL_LINK_US_MOST;
            }
        }
    }
}

/* ---- the faults ---- */

static void hit_link(struct sim_nemesis *nemesis, enum sim_fault fault, struct sim_node *node)
{
    struct prop *prop = prop_of(nemesis);
    struct sim_node *other = any_machine(nemesis, (unsigned)prop_below(prop, machine_count(nemesis)));
    if (other == node) {
        return;
    }
    if (fault != SIM_FAULT_CUT && prop_chance(prop, 1, 2)) { /* the other direction */
        struct sim_node *swapped = node;
        node = other;
        other = swapped;
    }
    struct sim_fabric *fabric = nemesis->options.fabric;
    if (fault == SIM_FAULT_CUT) {
        sim_fabric_cut(fabric, node->host, other->host, true);
    } else if (fault == SIM_FAULT_CUT_ONE_WAY) {
        sim_fabric_link(fabric, node->host, other->host)->is_blocked = true;
    } else {
        struct sim_link *link = sim_fabric_link(fabric, node->host, other->host);
        link->latency_us_most = 1000 + prop_below(prop, SLOW_LINK_US_MOST);
        link->loss_percent = (unsigned)prop_below(prop, 30);
    }
    struct sim_world *world = nemesis->options.world;
    if (nemesis->heal_links.heap_slot == 0) {
        sim_world_set(world, &nemesis->heal_links, world->now_us + draw_us(nemesis, LINK_TROUBLE_US_MOST));
    }
}

static void hit_disk(struct sim_nemesis *nemesis, enum sim_fault fault, struct sim_nemesis_node *target)
{
    struct prop *prop = prop_of(nemesis);
    struct fs_sim *disk = target->node->disk;
    if (fault == SIM_FAULT_SYNC_ERROR) {
        target->had_sync_error = true;
        fs_sim_fail_at(disk, FS_SIM_SYNC, 1 + prop_below(prop, 5), ERR_IO, prop_chance(prop, 1, 2));
    } else if (fault == SIM_FAULT_WRITE_ERROR) {
        fs_sim_fail_at(disk, FS_SIM_WRITE, 1 + prop_below(prop, 5), ERR_IO, prop_chance(prop, 1, 2));
    } else if (fault == SIM_FAULT_DISK_FULL) {
        fs_sim_set_total_bytes(disk, fs_sim_used_bytes(disk) + prop_below(prop, FULL_SLACK_BYTES_MOST));
    } else {
        struct fs_sim_latency slow = {.least_us = 10000, .most_us = 10000 + prop_below(prop, SLOW_SYNC_US_MOST)};
        fs_sim_set_latency(disk, FS_SIM_SYNC, slow);
        fs_sim_set_latency(disk, FS_SIM_SYNC_ALL, slow);
    }
    struct sim_world *world = nemesis->options.world;
    sim_world_set(world, &target->repair, world->now_us + draw_us(nemesis, DISK_TROUBLE_US_MOST));
}

static void hit(struct sim_nemesis *nemesis, enum sim_fault fault, struct sim_nemesis_node *target)
{
    struct prop *prop = prop_of(nemesis);
    struct sim_node *node = target->node;
    switch (fault) {
    case SIM_FAULT_KILL:
        sim_node_kill(node);
        break;
    case SIM_FAULT_POWER_LOSS:
        sim_node_power_loss(node, FS_SIM_CRASH_LOSE);
        break;
    case SIM_FAULT_POWER_LOSS_RANDOM:
        sim_node_power_loss(node, FS_SIM_CRASH_RANDOM);
        break;
    case SIM_FAULT_CRASH_IN_CALL:
        node->in_call_mode =
            (nemesis->options.disabled & (1u << SIM_FAULT_POWER_LOSS_RANDOM)) == 0 && prop_chance(prop, 1, 2)
                ? FS_SIM_CRASH_RANDOM
                : FS_SIM_CRASH_KILL;
        fs_sim_crash_at(node->disk, fs_sim_call_count(node->disk) + 1 + prop_below(prop, CRASH_IN_CALL_MOST),
                        (enum fs_sim_tear)prop_below(prop, 3));
        break;
    case SIM_FAULT_PAUSE:
        sim_node_pause(node, draw_us(nemesis, PAUSE_US_MOST));
        break;
    case SIM_FAULT_CUT:
    case SIM_FAULT_CUT_ONE_WAY:
    case SIM_FAULT_SLOW_LINK:
        hit_link(nemesis, fault, node);
        break;
    case SIM_FAULT_RESET:
        (void)sim_fabric_reset_one(nemesis->options.fabric, node->host);
        break;
    case SIM_FAULT_SYNC_ERROR:
    case SIM_FAULT_WRITE_ERROR:
    case SIM_FAULT_DISK_FULL:
    case SIM_FAULT_SLOW_DISK:
        hit_disk(nemesis, fault, target);
        break;
    case SIM_FAULT_CLOCK_JUMP:
        node->clock.wall_offset_ms = prop_range_signed(prop, -CLOCK_JUMP_MS_MOST, CLOCK_JUMP_MS_MOST);
        break;
    case SIM_FAULT_COUNT:
        UNREACHABLE();
    }
}

static const char *fault_text(enum sim_fault fault)
{
    static const char *const texts[] = {
#define X(name, text) text,
        SIM_FAULT_TABLE(X)
#undef X
    };
    CHECK(fault < SIM_FAULT_COUNT);
    return texts[fault];
}

static void set_next(struct sim_nemesis *nemesis)
{
    struct sim_world *world = nemesis->options.world;
    sim_world_set(world, &nemesis->next, world->now_us + draw_us(nemesis, nemesis->options.gap_us_most));
}

static void on_next(struct loop_timer *event)
{
    struct sim_nemesis *nemesis = CONTAINER_OF(event, struct sim_nemesis, next);
    enum sim_fault fault = (enum sim_fault)prop_below(prop_of(nemesis), SIM_FAULT_COUNT);
    struct sim_nemesis_node *target = &nemesis->nodes[prop_below(prop_of(nemesis), nemesis->options.node_count)];
    set_next(nemesis);
    if ((nemesis->enabled & (1u << fault)) == 0 || target->node->state != SIM_NODE_RUNNING) {
        return;
    }
    struct sim_world *world = nemesis->options.world;
    sim_trace_write(&world->trace, world->now_us, target->node->options.name, "fault %s", fault_text(fault));
    nemesis->counts[fault]++;
    hit(nemesis, fault, target);
}

void sim_nemesis_init(struct sim_nemesis *nemesis, const struct sim_nemesis_options *options)
{
    CHECK(options->node_count <= SIM_NEMESIS_NODES_MAX);
    *nemesis = (struct sim_nemesis){.options = *options};
    nemesis->next.fire = on_next;
    nemesis->heal_links.fire = on_heal_links;
    for (unsigned i = 0; i < options->node_count; i++) {
        struct sim_nemesis_node *target = &nemesis->nodes[i];
        target->nemesis = nemesis;
        target->node = options->nodes[i];
        target->node->ctx = nemesis;
        target->node->on_death = on_death;
        target->restart.fire = on_restart;
        target->repair.fire = on_repair;
        target->power_cut.fire = on_power_cut;
        repair_disk(target->node);
    }
    /* Swarm: a third of the kinds stays away from this seed, which lets the others go further. */
    for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        if (prop_chance(prop_of(nemesis), 2, 3)) {
            nemesis->enabled |= 1u << fault;
        }
    }
    nemesis->enabled &= ~options->disabled;
}

void sim_nemesis_start(struct sim_nemesis *nemesis)
{
    nemesis->is_active = true;
    set_next(nemesis);
}

void sim_nemesis_heal(struct sim_nemesis *nemesis)
{
    struct sim_world *world = nemesis->options.world;
    nemesis->is_active = false;
    sim_world_cancel(world, &nemesis->next);
    sim_world_cancel(world, &nemesis->heal_links);
    on_heal_links(&nemesis->heal_links);
    for (unsigned i = 0; i < nemesis->options.node_count; i++) {
        struct sim_nemesis_node *target = &nemesis->nodes[i];
        sim_world_cancel(world, &target->repair);
        repair_disk(target->node);
        fs_sim_crash_at(target->node->disk, 0, FS_SIM_TEAR_NONE);
        for (unsigned call = 0; call < FS_SIM_CALL_COUNT; call++) {
            fs_sim_fail_at(target->node->disk, (enum fs_sim_call)call, 0, ERR_IO, false);
        }
        if (target->node->state != SIM_NODE_RUNNING) {
            sim_world_set(world, &target->restart, world->now_us + draw_us(nemesis, SIM_SECOND_US));
        }
    }
}

void sim_nemesis_done(struct sim_nemesis *nemesis)
{
    struct sim_world *world = nemesis->options.world;
    sim_world_cancel(world, &nemesis->next);
    sim_world_cancel(world, &nemesis->heal_links);
    for (unsigned i = 0; i < nemesis->options.node_count; i++) {
        sim_world_cancel(world, &nemesis->nodes[i].restart);
        sim_world_cancel(world, &nemesis->nodes[i].repair);
        sim_world_cancel(world, &nemesis->nodes[i].power_cut);
        nemesis->nodes[i].node->on_death = NULL;
    }
}

uint64_t sim_nemesis_fault_count(const struct sim_nemesis *nemesis)
{
    uint64_t count = 0;
    for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        count += nemesis->counts[fault];
    }
    return count;
}

void sim_nemesis_describe(const struct sim_nemesis *nemesis, char *ret_text, size_t bytes_max)
{
    size_t bytes = 0;
    ret_text[0] = '\0';
    for (unsigned fault = 0; fault < SIM_FAULT_COUNT && bytes < bytes_max; fault++) {
        if (nemesis->counts[fault] > 0) {
            int added = snprintf(ret_text + bytes, bytes_max - bytes, "%s%s=%" PRIu64, bytes == 0 ? "" : " ",
                                 fault_text((enum sim_fault)fault), nemesis->counts[fault]);
            bytes += added > 0 ? (size_t)added : 0;
        }
    }
}

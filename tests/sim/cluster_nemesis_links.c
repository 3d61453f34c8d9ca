/* What happens to cables: nothing is lost for ever on a connection that lives (TCP), so a cut shows as silence, loss as delay. */
#include "tests/sim/cluster_nemesis.h"

#define TROUBLE_US_MOST (12u * SIM_SECOND_US)
#define NORMAL_US_LEAST 60u
#define SLOW_US_MOST 300000u

static unsigned host_count(const struct cluster_nemesis *nemesis)
{
    return nemesis->cluster->plan.node_count + nemesis->cluster->client_count;
}

static struct sim_host *host_at(const struct cluster_nemesis *nemesis, unsigned index)
{
    const struct cluster_world *cluster = nemesis->cluster;
    unsigned node_count = cluster->plan.node_count;
    return index < node_count ? cluster->nodes[index].machine->host : cluster->clients[index - node_count]->host;
}

static void block(struct cluster_nemesis *nemesis, struct sim_host *from, struct sim_host *to)
{
    if (from != to) {
        sim_fabric_link(nemesis->cluster->fabric, from, to)->is_blocked = true;
    }
}

static void isolate(struct cluster_nemesis *nemesis, struct sim_host *host, bool is_one_way)
{
    struct prop *prop = &nemesis->cluster->world.prop;
    bool is_deaf = !is_one_way || prop_chance(prop, 1, 2);
    bool is_mute = !is_one_way || !is_deaf;
    /* Clients may still reach it, or be cut off as well. */
    unsigned count = prop_chance(prop, 1, 2) ? host_count(nemesis) : nemesis->cluster->plan.node_count;
    for (unsigned i = 0; i < count; i++) {
        if (is_deaf) {
            block(nemesis, host_at(nemesis, i), host);
        }
        if (is_mute) {
            block(nemesis, host, host_at(nemesis, i));
        }
    }
}

/* Two groups of nodes, clients see both. */
static void split(struct cluster_nemesis *nemesis)
{
    uint64_t group = prop_u64(&nemesis->cluster->world.prop);
    for (unsigned a = 0; a < nemesis->cluster->plan.node_count; a++) {
        for (unsigned b = 0; b < nemesis->cluster->plan.node_count; b++) {
            if (((group >> a) & 1) != ((group >> b) & 1)) {
                block(nemesis, host_at(nemesis, a), host_at(nemesis, b));
            }
        }
    }
}

static void hit_pair(struct cluster_nemesis *nemesis, enum cluster_fault fault, struct sim_host *host)
{
    struct prop *prop = &nemesis->cluster->world.prop;
    struct sim_host *other = host_at(nemesis, (unsigned)prop_below(prop, host_count(nemesis)));
    bool is_swapped = prop_chance(prop, 1, 2);
    struct sim_host *from = is_swapped ? other : host;
    struct sim_host *to = is_swapped ? host : other;
    if (from == to) {
        return;
    }
    if (fault == CLUSTER_FAULT_SLOW_LINK) {
        struct sim_link *link = sim_fabric_link(nemesis->cluster->fabric, from, to);
        link->latency_us_most = 1000 + prop_below(prop, SLOW_US_MOST);
        link->loss_percent = (unsigned)prop_below(prop, 30);
        return;
    }
    block(nemesis, from, to);
    if (fault == CLUSTER_FAULT_CUT) {
        block(nemesis, to, from);
    }
}

void cluster_nemesis_hit_links(struct cluster_nemesis *nemesis, enum cluster_fault fault, struct cluster_node *node)
{
    struct sim_host *host = node->machine->host;
    if (fault == CLUSTER_FAULT_ISOLATE || fault == CLUSTER_FAULT_ISOLATE_ONE_WAY) {
        isolate(nemesis, host, fault == CLUSTER_FAULT_ISOLATE_ONE_WAY);
    } else if (fault == CLUSTER_FAULT_SPLIT) {
        split(nemesis);
    } else {
        hit_pair(nemesis, fault, host);
    }
    struct sim_world *world = &nemesis->cluster->world;
    if (nemesis->heal_links.heap_slot == 0) {
        sim_world_set(world, &nemesis->heal_links, world->now_us + cluster_nemesis_draw_us(nemesis, TROUBLE_US_MOST));
    }
}

void cluster_nemesis_heal_links(struct cluster_nemesis *nemesis)
{
    sim_fabric_heal(nemesis->cluster->fabric);
    for (unsigned a = 0; a < host_count(nemesis); a++) {
        for (unsigned b = 0; b < host_count(nemesis); b++) {
            if (a != b) {
                struct sim_link *link =
                    sim_fabric_link(nemesis->cluster->fabric, host_at(nemesis, a), host_at(nemesis, b));
                link->latency_us_least = NORMAL_US_LEAST;
                link->latency_us_most = nemesis->cluster->plan.link_us_most;
            }
        }
    }
}

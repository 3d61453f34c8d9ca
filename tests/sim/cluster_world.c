#include "tests/sim/cluster_world.h"

#include "common/mem.h"
#include "tests/sim/cluster_churn.h"
#include "tests/support/plain_mem.h"

#include <stdio.h>

/* ---- the world ---- */

/* By the metadata as well: a new leader may have been chosen that does not know it yet. */
static bool is_leader(void *ctx, unsigned partition, unsigned broker)
{
    const struct cluster_world *cluster = (const struct cluster_world *)ctx;
    return cluster_ledger_is_leader(&cluster->ledger, partition, broker) &&
           cluster->meta.partitions[partition].leader == (int32_t)broker;
}

static bool is_exposed(void *ctx, unsigned partition, int64_t offset)
{
    return cluster_ledger_is_exposed(&((struct cluster_world *)ctx)->ledger, partition, offset);
}

static struct cluster_exposed exposed(void *ctx, unsigned partition)
{
    const struct ledger_partition *known = &((const struct cluster_world *)ctx)->ledger.partitions[partition];
    return (struct cluster_exposed){
        .leader_epoch = known->epoch_count > 0 ? known->epochs[known->epoch_count - 1].leader_epoch : -1,
        .end = known->exposed_end};
}

/* A script aborts when a reply is none: out of order, a second one, undecodable. */
static void on_client_death(struct sim_node *machine)
{
    struct cluster_world *cluster = (struct cluster_world *)machine->ctx;
    if (machine->abort_count > 0) {
        cluster_verdict_violation(&cluster->verdict, "client %s was answered wrongly: %s", machine->options.name,
                                  machine->abort_sentence);
    }
}

static void add_client(struct cluster_world *cluster, const char *name, const char *address)
{
    enum log_level level = cluster->world.trace.is_compact ? LOG_INFO : LOG_DEBUG;
    struct sim_node *machine =
        sim_node_new(&cluster->world, cluster->fabric,
                     &(struct sim_node_options){.name = name, .address = address, .log_level = level});
    machine->ctx = cluster;
    machine->on_death = on_client_death;
    cluster->clients[cluster->client_count++] = machine;
}

static void add_clients(struct cluster_world *cluster)
{
    static const char *const producers[CLUSTER_PRODUCERS_MAX][2] = {
        {"p0", "10.0.1.1"}, {"p1", "10.0.1.2"}, {"p2", "10.0.1.3"}};
    static const char *const readers[CLUSTER_READERS_MAX][2] = {{"r0", "10.0.2.1"}, {"r1", "10.0.2.2"}};
    for (unsigned i = 0; i < cluster->plan.producer_count; i++) {
        add_client(cluster, producers[i][0], producers[i][1]);
    }
    for (unsigned i = 0; i < cluster->plan.reader_count; i++) {
        add_client(cluster, readers[i][0], readers[i][1]);
    }
    if (cluster->plan.churn_us > 0) {
        add_client(cluster, "churn", "10.0.3.1");
    }
    if (cluster->plan.has_people) {
        add_client(cluster, "people", "10.0.3.2");
        cluster->people_machine = cluster->clients[cluster->client_count - 1];
    }
    if (cluster->plan.has_lister) {
        add_client(cluster, "lister", "10.0.3.3");
        cluster->lister_machine = cluster->clients[cluster->client_count - 1];
    }
}

void cluster_world_init(struct cluster_world *cluster, uint64_t seed, const struct cluster_options *options)
{
    *cluster = (struct cluster_world){0};
    sim_world_init(&cluster->world, seed, options->trace_kept_bytes);
    cluster->world.trace.is_printed = options->is_traced || options->is_logged;
    cluster->world.trace.is_compact = !options->is_traced;
    cluster->fabric = sim_fabric_new(&cluster->world);
    cluster_plan_draw(&cluster->plan, &cluster->world.prop, &options->limits);
    cluster_history_init(&cluster->history, cluster->plan.partition_count, &cluster->verdict);
    cluster_ledger_init(&cluster->ledger, &cluster->plan, &cluster->meta, &cluster->verdict);
    cluster_meta_init(&cluster->meta, &cluster->plan, &cluster->verdict);
    for (unsigned i = 0; i < cluster->plan.node_count; i++) {
        cluster_node_make(cluster, i);
    }
    add_clients(cluster);
    cluster->script_options = (struct cluster_script_options){.plan = &cluster->plan,
                                                              .history = &cluster->history,
                                                              .verdict = &cluster->verdict,
                                                              .is_exposed = is_exposed,
                                                              .exposed = exposed,
                                                              .is_leader = is_leader,
                                                              .ctx = cluster};
}

void cluster_world_done(struct cluster_world *cluster)
{
    for (unsigned i = 0; i < cluster->plan.node_count; i++) {
        cluster->nodes[i].machine->on_death = NULL;
        sim_world_cancel(&cluster->world, &cluster->nodes[i].reap);
        sim_node_free(cluster->nodes[i].machine);
    }
    for (unsigned i = 0; i < cluster->client_count; i++) {
        cluster->clients[i]->on_death = NULL;
        sim_node_free(cluster->clients[i]);
    }
    sim_fabric_free(cluster->fabric);
    cluster_history_done(&cluster->history);
    cluster_ledger_done(&cluster->ledger);
    cluster_meta_done(&cluster->meta);
    sim_world_done(&cluster->world);
}

static bool is_waiting(void *ctx, unsigned node, struct uuid *ret_directory)
{
    const struct cluster_node *asked = &((const struct cluster_world *)ctx)->nodes[node];
    *ret_directory = asked->directory;
    return asked->is_waiting;
}

static void boot_client(struct sim_node *machine, void *ctx)
{
    struct cluster_world *cluster = (struct cluster_world *)ctx;
    unsigned producer_count = cluster->plan.producer_count;
    if (machine == cluster->people_machine) {
        struct cluster_operator_options options = {
            .plan = &cluster->plan, .verdict = &cluster->verdict, .is_waiting = is_waiting, .ctx = cluster};
        cluster->people = cluster_operator_start(&machine->env, &options);
        return;
    }
    if (machine == cluster->lister_machine) {
        cluster->lister = cluster_lister_start(&machine->env, &cluster->script_options);
        return;
    }
    for (unsigned i = 0; i < cluster->client_count; i++) {
        if (cluster->clients[i] == machine && i < producer_count) {
            cluster->producers[i] = cluster_producer_start(&machine->env, &cluster->script_options, i);
        } else if (cluster->clients[i] == machine && i < producer_count + cluster->plan.reader_count) {
            cluster->readers[i - producer_count] = cluster_reader_start(&machine->env, &cluster->script_options);
        } else if (cluster->clients[i] == machine) {
            (void)cluster_churn_start(&machine->env, &cluster->plan, &cluster->verdict);
        }
    }
}

void cluster_world_start(struct cluster_world *cluster)
{
    for (unsigned i = 0; i < cluster->plan.node_count; i++) {
        cluster_node_boot(&cluster->nodes[i]);
    }
    for (unsigned i = 0; i < cluster->client_count; i++) {
        sim_node_start(cluster->clients[i], boot_client, cluster);
    }
}

/* ---- conditions ---- */

bool cluster_world_is_wrong(void *ctx)
{
    return !cluster_verdict_is_ok(&((const struct cluster_world *)ctx)->verdict);
}

static const struct cluster_node *find_not_ready(const struct cluster_world *cluster)
{
    for (unsigned i = 0; i < cluster->plan.node_count; i++) {
        const struct cluster_node *node = &cluster->nodes[i];
        if (node->machine->state != SIM_NODE_RUNNING || !node->is_ready) {
            return node;
        }
    }
    return NULL;
}

bool cluster_world_is_quorum_whole(const struct cluster_world *cluster)
{
    return cluster->people == NULL || cluster_operator_is_whole(cluster->people);
}

static bool are_producers_through(const struct cluster_world *cluster)
{
    for (unsigned i = 0; i < cluster->plan.producer_count; i++) {
        if (!cluster_producer_is_through(cluster->producers[i])) {
            return false;
        }
    }
    return true;
}

bool cluster_world_is_settled(void *ctx)
{
    struct cluster_world *cluster = (struct cluster_world *)ctx;
    return cluster_world_is_wrong(ctx) ||
           (find_not_ready(cluster) == NULL && cluster_meta_is_full(&cluster->meta) && are_producers_through(cluster));
}

bool cluster_world_is_manned(void *ctx)
{
    return cluster_world_is_wrong(ctx) || cluster_world_is_quorum_whole((const struct cluster_world *)ctx);
}

bool cluster_world_is_verified(void *ctx)
{
    struct cluster_world *cluster = (struct cluster_world *)ctx;
    for (unsigned i = 0; i < cluster->plan.reader_count; i++) {
        if (!cluster_reader_is_through(cluster->readers[i])) {
            return cluster_world_is_wrong(ctx);
        }
    }
    return true;
}

void cluster_world_describe(const struct cluster_world *cluster, char *ret_text, size_t bytes_max)
{
    const struct cluster_node *node = find_not_ready(cluster);
    if (node != NULL) {
        (void)snprintf(ret_text, bytes_max, "%s is not ready%s%s", node->plan->name,
                       node->problem[0] == '\0' ? "" : ": ", node->problem);
    } else if (!cluster_meta_is_full(&cluster->meta)) {
        cluster_meta_describe_gap(&cluster->meta, ret_text, bytes_max);
    } else if (!cluster_world_is_quorum_whole(cluster)) {
        (void)snprintf(ret_text, bytes_max, "the quorum lacks a voter");
    } else if (!are_producers_through(cluster)) {
        (void)snprintf(ret_text, bytes_max, "not everything that was produced is acknowledged");
    } else {
        (void)snprintf(ret_text, bytes_max, "the readers do not reach the ends");
    }
}

/* ---- the end of a run ---- */

void cluster_world_end_producers(struct cluster_world *cluster)
{
    for (unsigned i = 0; i < cluster->plan.producer_count; i++) {
        cluster_producer_end(cluster->producers[i]);
    }
}

static void end_people_code(struct sim_node *machine, void *ctx)
{
    (void)machine;
    cluster_operator_end((struct cluster_operator *)ctx);
}

void cluster_world_end_people(struct cluster_world *cluster)
{
    if (cluster->people != NULL) {
        sim_node_run(cluster->people_machine, end_people_code, cluster->people);
    }
}

static void verify_code(struct sim_node *machine, void *ctx)
{
    (void)machine;
    cluster_reader_verify((struct cluster_reader *)ctx);
}

void cluster_world_verify(struct cluster_world *cluster)
{
    for (unsigned i = 0; i < cluster->plan.reader_count; i++) {
        sim_node_run(cluster->clients[cluster->plan.producer_count + i], verify_code, cluster->readers[i]);
    }
}

void cluster_world_compare(struct cluster_world *cluster)
{
    for (unsigned partition = 0; partition < cluster->plan.partition_count; partition++) {
        int64_t expected = -1;
        for (unsigned i = 0; i < cluster->plan.broker_count; i++) {
            const struct cluster_node *node = &cluster->nodes[i];
            if ((cluster->meta.partitions[partition].replicas & (1u << i)) == 0 || node->broker == NULL) {
                continue;
            }
            int64_t high_watermark =
                cluster_ledger_compare(&cluster->ledger, i, partition, node->broker, node->machine->disk);
            if (high_watermark < 0 || (expected >= 0 && high_watermark != expected)) {
                cluster_verdict_violation(&cluster->verdict,
                                          "R2: partition %u: %s has a high watermark of %" PRId64
                                          ", another replica of %" PRId64 " (-1: no such replica)",
                                          partition, node->plan->name, high_watermark, expected);
            }
            expected = high_watermark;
        }
    }
}

#include "tests/unit/stream/stream_sim.h"

#include "common/mem.h"
#include "tests/support/plain_mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char *const names[NODES_MAX] = {"n1", "n2", "n3"};
static const char *const hosts[NODES_MAX] = {"10.0.0.1", "10.0.0.2", "10.0.0.3"};

static void on_step(void *ctx)
{
    struct sim_machine *machine = ctx;
    node_step(&machine->broker);
}

static unsigned index_of(const struct sim_machine *machine)
{
    return (unsigned)(machine - machine->sim->machines);
}

static void boot(struct sim_node *node, void *ctx)
{
    struct sim_machine *machine = ctx;
    struct sim *sim = machine->sim;
    unsigned i = index_of(machine);
    struct loop *loop = NULL;
    CHECK(runtime_loop_new(node->env.runtime, "worker", &loop) == ERR_OK);
    struct node_config config = {
        .id = (int32_t)i + 1,
        .partition_count = sim->config.partition_count,
        .worker_count = sim->config.worker_counts[i] == 0 ? 1 : sim->config.worker_counts[i],
        .durability = sim->config.durability,
        .memory_bytes = sim->config.memory_bytes,
        .env = &node->env,
        .loop = loop,
        .dir_path = "/data",
        .host = hosts[i],
        .port = NODE_PORT,
    };
    node_boot(&machine->broker, &config);
    node_join(&machine->broker, sim->config.node_count, sim->addresses, sim->broker_epochs);
    loop_set_step(loop, on_step, machine);
    runtime_loop_start(node->env.runtime, loop);
    for (unsigned p = 0; p < sim->config.partition_count; p++) {
        if (sim->epochs[p] >= 0) {
            node_elect(&machine->broker, p, sim->leaders[p], sim->epochs[p]);
        }
    }
}

struct sim *sim_new(const struct sim_config *config)
{
    struct sim *sim = PLAIN_NEW(struct sim);
    sim->config = *config;
    sim_world_init(&sim->world, config->seed, 1u << 20);
    sim->world.trace.is_compact = true;
    sim->fabric = sim_fabric_new(&sim->world);
    for (unsigned p = 0; p < PARTITIONS_MAX; p++) {
        sim->epochs[p] = -1;
    }
    for (unsigned i = 0; i < config->node_count; i++) {
        struct sim_machine *machine = &sim->machines[i];
        (void)snprintf(sim->addresses[i].host, sizeof(sim->addresses[i].host), "%s", hosts[i]);
        sim->addresses[i].port = NODE_PORT;
        sim->broker_epochs[i] = (int64_t)i + 2;
        sim->last_broker_epoch = sim->broker_epochs[i];
        machine->sim = sim;
        struct sim_node_options options = {.name = names[i], .address = hosts[i], .log_level = LOG_INFO};
        machine->node = sim_node_new(&sim->world, sim->fabric, &options);
    }
    for (unsigned i = 0; i < config->node_count; i++) {
        sim_node_start(sim->machines[i].node, boot, &sim->machines[i]);
    }
    return sim;
}

void sim_free(struct sim *sim)
{
    for (unsigned i = 0; i < sim->config.node_count; i++) {
        if (sim->machines[i].node->abort_count > 0) {
            fail_msg("node %u: %s", i + 1, sim->machines[i].node->abort_sentence);
        }
        sim_node_free(sim->machines[i].node);
    }
    sim_fabric_free(sim->fabric);
    sim_world_done(&sim->world);
    plain_free(sim);
}

bool sim_is_up(const struct sim *sim, int32_t id)
{
    return sim->machines[id - 1].node->state == SIM_NODE_RUNNING;
}

static void rejoin_now(struct sim_node *node, void *ctx)
{
    struct sim_machine *machine = ctx;
    struct sim *sim = machine->sim;
    (void)node;
    node_join(&machine->broker, sim->config.node_count, sim->addresses, sim->broker_epochs);
}

void sim_start(struct sim *sim, int32_t id)
{
    sim->broker_epochs[id - 1] = ++sim->last_broker_epoch;
    sim->machines[id - 1].is_stopped = false;
    sim_node_start(sim->machines[id - 1].node, boot, &sim->machines[id - 1]);
    for (int32_t other = 1; other <= (int32_t)sim->config.node_count; other++) {
        if (other != id && sim_is_up(sim, other)) {
            sim_run_on(sim, other, rejoin_now, &sim->machines[other - 1]);
        }
    }
}

void sim_kill(struct sim *sim, int32_t id)
{
    sim_node_kill(sim->machines[id - 1].node);
}

static void on_stopped(struct stream_node *broker)
{
    struct sim_machine *machine = CONTAINER_OF(broker, struct sim_machine, broker);
    machine->is_stopped = true;
    loop_stop(broker->loop);
}

static void stop_now(struct sim_node *node, void *ctx)
{
    (void)node;
    node_stop(ctx, on_stopped);
}

static void end_now(struct sim_node *node, void *ctx)
{
    struct stream_node *broker = ctx;
    runtime_loop_join(node->env.runtime, broker->loop);
    node_done(broker);
    runtime_loop_free(node->env.runtime, broker->loop);
}

static bool is_stopped(void *ctx)
{
    return ((struct sim_machine *)ctx)->is_stopped;
}

void sim_stop(struct sim *sim, int32_t id)
{
    struct sim_machine *machine = &sim->machines[id - 1];
    sim_node_run(machine->node, stop_now, &machine->broker);
    assert_true(sim_world_run_until(&sim->world, 30 * SIM_SECOND_US, is_stopped, machine));
    sim_node_run(machine->node, end_now, &machine->broker);
    assert_int_equal(sim_node_reap(machine->node), 0);
}

struct stream_node *sim_broker(struct sim *sim, int32_t id)
{
    return &sim->machines[id - 1].broker;
}

struct fake_partition *sim_partition(struct sim *sim, int32_t id, unsigned index)
{
    return &sim->machines[id - 1].broker.partitions[index];
}

/* ---- code on the nodes ---- */

struct sim_code {
    struct sim *sim;
    int32_t id;
    unsigned index;
    int32_t record_count;
    size_t value_bytes;
    uint64_t content;
    bool is_done;
};

static void no_task(struct loop_task *task)
{
    mem_free(task);
}

/* What was done from outside needs an iteration for its step. */
static void wake_now(struct sim_node *node, void *ctx)
{
    struct stream_node *broker = ctx;
    struct loop_task *task = MEM_NEW(struct loop_task);
    (void)node;
    task->run = no_task;
    loop_post(broker->loop, task);
}

void sim_run_on(struct sim *sim, int32_t id, sim_node_code_fn code, void *ctx)
{
    assert_true(sim_is_up(sim, id));
    sim_node_run(sim->machines[id - 1].node, code, ctx);
    if (sim_is_up(sim, id)) {
        sim_node_run(sim->machines[id - 1].node, wake_now, sim_broker(sim, id));
    }
}

static void tell_now(struct sim_node *node, void *ctx)
{
    struct sim_code *code = ctx;
    struct sim *sim = code->sim;
    (void)node;
    node_elect(sim_broker(sim, code->id), code->index, sim->leaders[code->index], sim->epochs[code->index]);
}

void sim_tell(struct sim *sim, int32_t id, unsigned index)
{
    struct sim_code code = {.sim = sim, .id = id, .index = index};
    if (sim_is_up(sim, id)) {
        sim_run_on(sim, id, tell_now, &code);
    }
}

void sim_elect_silently(struct sim *sim, unsigned index, int32_t leader_id)
{
    sim->leaders[index] = leader_id;
    sim->epochs[index]++;
}

void sim_elect(struct sim *sim, unsigned index, int32_t leader_id)
{
    sim_elect_silently(sim, index, leader_id);
    for (int32_t id = 1; id <= (int32_t)sim->config.node_count; id++) {
        sim_tell(sim, id, index);
    }
}

static void append_now(struct sim_node *node, void *ctx)
{
    struct sim_code *code = ctx;
    struct stream_node *broker = sim_broker(code->sim, code->id);
    (void)node;
    code->is_done = broker->partitions[code->index].leads;
    if (code->is_done) {
        node_append(broker, code->index, code->record_count, code->value_bytes, code->content);
    }
}

bool sim_append(struct sim *sim, int32_t id, unsigned index, int32_t record_count, size_t value_bytes, uint64_t content)
{
    struct sim_code code = {.sim = sim,
                            .id = id,
                            .index = index,
                            .record_count = record_count,
                            .value_bytes = value_bytes,
                            .content = content};
    if (!sim_is_up(sim, id)) {
        return false;
    }
    sim_run_on(sim, id, append_now, &code);
    return code.is_done;
}

/* ---- waiting ---- */

void sim_run(struct sim *sim, uint64_t duration_us)
{
    sim_world_run_for(&sim->world, duration_us);
}

struct agreement {
    struct sim *sim;
    int32_t id;
    unsigned index;
    bool agrees;
};

static void compare_now(struct sim_node *node, void *ctx)
{
    struct agreement *agreement = ctx;
    struct sim *sim = agreement->sim;
    (void)node;
    agreement->agrees =
        nodes_agree(sim_broker(sim, sim->leaders[agreement->index]), sim_broker(sim, agreement->id), agreement->index);
}

static bool agrees_on(struct sim *sim, unsigned index)
{
    int32_t leader_id = sim->leaders[index];
    if (sim->epochs[index] < 0) {
        return true;
    }
    if (!sim_is_up(sim, leader_id) || !sim_partition(sim, leader_id, index)->leads) {
        return false;
    }
    int64_t end_offset = partition_log_end_offset(node_log(sim_broker(sim, leader_id), index));
    for (int32_t id = 1; id <= (int32_t)sim->config.node_count; id++) {
        struct fake_partition *fake = sim_is_up(sim, id) ? sim_partition(sim, id, index) : NULL;
        if (fake == NULL || id == leader_id) {
            continue;
        }
        if (fake->is_busy || fake->base.leader_epoch != sim->epochs[index] ||
            partition_log_counted_end(fake->base.log) != end_offset ||
            sim_partition(sim, leader_id, index)->followers[id - 1].counted_end != end_offset) {
            return false;
        }
    }
    return true;
}

bool sim_agrees(struct sim *sim)
{
    for (unsigned p = 0; p < sim->config.partition_count; p++) {
        if (!agrees_on(sim, p)) {
            return false;
        }
    }
    return true;
}

static bool is_agreed(void *ctx)
{
    return sim_agrees(ctx);
}

void sim_await_agreement(struct sim *sim, uint64_t duration_us)
{
    bool is_in_time = sim_world_run_until(&sim->world, duration_us, is_agreed, sim);
    for (unsigned i = 0; i < sim->config.node_count; i++) {
        if (sim->machines[i].node->abort_count > 0) {
            fail_msg("node %u: %s", i + 1, sim->machines[i].node->abort_sentence);
        }
    }
    for (unsigned p = 0; p < sim->config.partition_count; p++) {
        for (int32_t id = 1; id <= (int32_t)sim->config.node_count; id++) {
            struct fake_partition *fake = sim_is_up(sim, id) ? sim_partition(sim, id, p) : NULL;
            if (fake != NULL && !is_in_time && !agrees_on(sim, p)) {
                printf(
                    "# partition %u node %d leads %d epoch %d busy %d start %lld end %lld counted %lld last epoch %d\n",
                    p, id, fake->leads, fake->base.leader_epoch, fake->is_busy,
                    (long long)partition_log_start_offset(fake->base.log),
                    (long long)partition_log_end_offset(fake->base.log),
                    (long long)partition_log_counted_end(fake->base.log), partition_log_last_epoch(fake->base.log));
            }
            if (fake == NULL || sim->epochs[p] < 0 || !is_in_time) {
                continue;
            }
            struct agreement agreement = {.sim = sim, .id = id, .index = p};
            sim_run_on(sim, id, compare_now, &agreement);
            assert_true(agreement.agrees);
        }
    }
    assert_true(is_in_time);
}

#include "tests/sim/sim_node.h"

#include "tests/sim/sim_runtime_internal.h"
#include "tests/support/plain_mem.h"

#include <stdio.h>

#define POOL_THREADS_DEFAULT 4u
#define CPU_COUNT_DEFAULT 2u

static void log_to_trace(void *ctx, enum log_level level, const char *line, size_t bytes)
{
    (void)level;
    struct sim_node *node = (struct sim_node *)ctx;
    if (node->on_log != NULL) {
        node->on_log(node, line, bytes);
    }
    size_t text_bytes = bytes > 0 && line[bytes - 1] == '\n' ? bytes - 1 : bytes;
    sim_trace_write(&node->world->trace, node->world->now_us, node->options.name, "log %.*s", (int)text_bytes, line);
}

static void disk_to_trace(void *ctx, const char *line)
{
    struct sim_node *node = (struct sim_node *)ctx;
    sim_trace_write(&node->world->trace, node->world->now_us, node->options.name, "disk %s", line);
}

static void set_state(struct sim_node *node, enum sim_node_state state)
{
    static const char *const names[] = {"off", "dead", "running"};
    CHECK(node->state != state);
    node->state = state;
    sim_trace_write(&node->world->trace, node->world->now_us, node->options.name, "node %s", names[state]);
}

static void new_disk(struct sim_node *node)
{
    node->disk = fs_sim_new(&(struct fs_sim_options){
        .seed = prop_u64(&node->world->prop), .page_bytes = node->options.page_bytes, .clock = &node->clock.base});
    if (!node->world->trace.is_compact) {
        fs_sim_set_log(node->disk, disk_to_trace, node);
    }
}

static void new_boot_id(struct sim_node *node)
{
    node->boot_count++;
    (void)snprintf(node->boot_id, sizeof(node->boot_id), "%08x-0000-4000-8000-%012" PRIx64, sim_host_index(node->host),
                   node->boot_count);
}

struct sim_node *sim_node_new(struct sim_world *world, struct sim_fabric *fabric,
                              const struct sim_node_options *options)
{
    struct sim_node *node = PLAIN_NEW(struct sim_node);
    node->options = *options;
    node->world = world;
    node->state = SIM_NODE_DEAD;
    node->host = sim_host_new(fabric, options->name, options->address);
    sim_clock_init(&node->clock, world);
    sim_rng_init(&node->rng, prop_u64(&world->prop));
    new_disk(node);
    new_boot_id(node);
    return node;
}

/* The process is gone: its callbacks first, then its memory. */
static void drop_process(struct sim_node *node)
{
    sim_host_kill_process(node->host);
    sim_runtime_free(node->runtime);
    node->runtime = NULL;
    fs_sim_abandon_files(node->disk);
    sim_mem_free_all(&node->memory);
    node->is_kill_wanted = false;
    node->has_aborted = false;
    node->is_power_loss_wanted = false;
    if (node->on_death != NULL) {
        node->on_death(node);
    }
}

void sim_node_free(struct sim_node *node)
{
    if (node == NULL) {
        return;
    }
    if (node->state == SIM_NODE_RUNNING) {
        drop_process(node);
    }
    fs_sim_free(node->disk);
    plain_free(node);
}

static bool has_code_on_stack(const struct sim_node *node)
{
    return node->runtime != NULL && sim_runtime_is_running(node->runtime);
}

static void do_power_loss(struct sim_node *node, enum fs_sim_crash_mode mode)
{
    sim_host_set_power(node->host, false);
    if (node->state == SIM_NODE_RUNNING) {
        node->crash_count++;
        drop_process(node);
    }
    fs_sim_crash(node->disk, mode, prop_u64(&node->world->prop));
    set_state(node, SIM_NODE_OFF);
}

static void do_kill(struct sim_node *node)
{
    node->crash_count++;
    drop_process(node);
    fs_sim_crash(node->disk, FS_SIM_CRASH_KILL, 0);
    set_state(node, SIM_NODE_DEAD);
}

/* Between two pieces of the node's code: does it die here? */
static void after_code(void *ctx)
{
    struct sim_node *node = (struct sim_node *)ctx;
    if (has_code_on_stack(node)) {
        return;
    }
    /* Also when it dies here: what it has sent is on its way. */
    if (node->on_turn != NULL && !node->has_aborted) {
        node->on_turn(node);
    }
    if (node->is_power_loss_wanted) {
        do_power_loss(node, node->wanted_mode);
    } else if (fs_sim_is_crashed(node->disk) && node->in_call_mode != FS_SIM_CRASH_KILL) {
        do_power_loss(node, node->in_call_mode);
    } else if (node->is_kill_wanted || fs_sim_is_crashed(node->disk)) {
        do_kill(node);
    }
}

/* abort() by a failed CHECK: the process is gone, the machine lives. */
static void on_abort(void *ctx, const char *sentence)
{
    struct sim_node *node = (struct sim_node *)ctx;
    node->abort_count++;
    (void)snprintf(node->abort_sentence, sizeof(node->abort_sentence), "%s", sentence);
    sim_trace_write(&node->world->trace, node->world->now_us, node->options.name, "abort %s", sentence);
    node->is_kill_wanted = true;
    node->has_aborted = true;
}

struct node_code {
    struct sim_node *node;
    sim_node_code_fn code;
    void *ctx;
};

static void run_code(void *ctx)
{
    const struct node_code *code = (const struct node_code *)ctx;
    code->code(code->node, code->ctx);
}

void sim_node_run(struct sim_node *node, sim_node_code_fn code, void *ctx)
{
    CHECK(node->state == SIM_NODE_RUNNING);
    struct node_code node_code = {.node = node, .code = code, .ctx = ctx};
    (void)sim_runtime_run(node->runtime, run_code, &node_code);
    after_code(node);
}

void sim_node_start(struct sim_node *node, sim_node_code_fn boot, void *ctx)
{
    CHECK(node->state == SIM_NODE_DEAD && node->runtime == NULL);
    set_state(node, SIM_NODE_RUNNING);
    node->start_count++;
    node->runtime = sim_runtime_new(&(struct sim_runtime_options){
        .who = node->options.name,
        .world = node->world,
        .clock = &node->clock,
        .disk = node->disk,
        .owner = &node->memory,
        .pool_threads = node->options.pool_threads == 0 ? POOL_THREADS_DEFAULT : node->options.pool_threads,
        .cpu_count = node->options.cpu_count == 0 ? CPU_COUNT_DEFAULT : node->options.cpu_count,
        .after_turn = after_code,
        .on_abort = on_abort,
        .ctx = node,
    });
    logger_init(&node->logger, &node->clock.base, node->options.log_level, log_to_trace, node);
    node->env = (struct env){
        .clock = &node->clock.base,
        .rng = &node->rng.base,
        .fs = fs_sim_fs(node->disk),
        .net = sim_host_net(node->host),
        .runtime = sim_runtime_get(node->runtime),
        .logger = &node->logger,
        .boot_id = node->options.has_boot_id ? node->boot_id : NULL,
    };
    sim_node_run(node, boot, ctx);
}

void sim_node_kill(struct sim_node *node)
{
    if (node->state == SIM_NODE_RUNNING) {
        node->is_kill_wanted = true;
        after_code(node);
    }
}

void sim_node_power_loss(struct sim_node *node, enum fs_sim_crash_mode mode)
{
    CHECK(mode != FS_SIM_CRASH_KILL);
    if (node->state == SIM_NODE_OFF) {
        return;
    }
    node->is_power_loss_wanted = true;
    node->wanted_mode = mode;
    after_code(node);
}

void sim_node_power_on(struct sim_node *node)
{
    CHECK(node->state == SIM_NODE_OFF);
    sim_host_set_power(node->host, true);
    sim_clock_boot(&node->clock);
    new_boot_id(node);
    set_state(node, SIM_NODE_DEAD);
}

void sim_node_replace_disk(struct sim_node *node)
{
    CHECK(node->state != SIM_NODE_RUNNING);
    sim_trace_write(&node->world->trace, node->world->now_us, node->options.name, "node has a new disk");
    fs_sim_free(node->disk);
    new_disk(node);
}

void sim_node_pause(struct sim_node *node, uint64_t duration_us)
{
    if (node->state == SIM_NODE_RUNNING) {
        sim_trace_write(&node->world->trace, node->world->now_us, node->options.name, "pause us=%" PRIu64, duration_us);
        sim_runtime_pause(node->runtime, node->world->now_us + duration_us);
    }
}

size_t sim_node_reap(struct sim_node *node)
{
    CHECK(node->state == SIM_NODE_RUNNING && !has_code_on_stack(node));
    /* Loops that were not freed are the product's leak too, but the check here is on what it allocated. */
    size_t leaked_count = node->memory.block_count + fs_sim_open_files(node->disk) + sim_host_socket_count(node->host);
    drop_process(node);
    set_state(node, SIM_NODE_DEAD);
    return leaked_count;
}

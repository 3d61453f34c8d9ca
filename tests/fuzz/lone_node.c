#include "tests/fuzz/lone_node.h"

#include "common/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define START_US (30u * SIM_SECOND_US)
#define STOP_US (60u * SIM_SECOND_US)
#define TRACE_BYTES_MAX (1u << 20)
#define TRACE_TAIL_BYTES 4000u

void lone_node_problem(const struct lone_node *node, const char *format, ...)
{
    va_list args;
    sim_trace_print_tail(&node->world.trace, TRACE_TAIL_BYTES);
    fprintf(stderr, "fuzz_node: ");
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    abort();
}

static void check_life(const struct lone_node *node)
{
    if (node->machine->abort_count > 0) {
        lone_node_problem(node, "the node aborted: %s", node->machine->abort_sentence);
    }
    if (node->client->abort_count > 0) {
        lone_node_problem(node, "the client aborted: %s", node->client->abort_sentence);
    }
    if (node->has_failed) {
        lone_node_problem(node, "the node gave up");
    }
}

bool lone_node_run_until(struct lone_node *node, uint64_t duration_us, sim_world_done_fn is_done, void *ctx)
{
    bool result = sim_world_run_until(&node->world, duration_us, is_done, ctx);
    check_life(node);
    return result;
}

void lone_node_run_for(struct lone_node *node, uint64_t duration_us)
{
    sim_world_run_for(&node->world, duration_us);
    check_life(node);
}

void lone_node_run_client(struct lone_node *node, sim_node_code_fn code, void *ctx)
{
    sim_node_run(node->client, code, ctx);
    check_life(node);
}

/* ---- the process ---- */

static void on_ready(void *ctx)
{
    ((struct lone_node *)ctx)->is_ready = true;
}

static void on_failed(void *ctx)
{
    ((struct lone_node *)ctx)->has_failed = true;
}

static void start_on_home(struct loop_task *task)
{
    struct lone_node *node = CONTAINER_OF(task, struct lone_node, task);
    struct option_problem problem = {0};
    enum err err = broker_start(node->broker, on_ready, on_failed, node, &problem);
    if (err != ERR_OK) {
        lone_node_problem(node, "start failed: %s", problem.text);
    }
}

static void set_text(char **text, const char *value)
{
    mem_free(*text);
    *text = mem_strdup(value);
}

/* Heartbeats seldom: virtual time without events costs nothing. Files of removed segments go at once, so that what is left open
 * can be compared. */
static void set_options(struct broker_options *options)
{
    broker_options_init(options);
    options->node_id = LONE_NODE_ID;
    set_text(&options->listeners, "PLAINTEXT://10.0.0.1:9092,INTERNAL://10.0.0.1:9093");
    set_text(&options->controller_quorum_voters, "1@10.0.0.1:9093");
    set_text(&options->log_dirs, "/data");
    options->num_worker_threads = 2;
    options->log_segment_bytes = 2048;
    options->log_index_interval_bytes = 256;
    options->log_segment_delete_delay_ms = 0;
    options->socket_request_max_bytes = LONE_NODE_FRAME_BYTES_MAX;
    options->metadata_snapshot_entries = 16;
    options->metadata_trailing_entries = 16;
    options->controller_quorum_heartbeat_ms = 1000;
    options->controller_quorum_election_timeout_ms = 5000;
    options->broker_heartbeat_interval_ms = 3000;
    options->broker_session_timeout_ms = 20000;
}

static void boot(struct sim_node *machine, void *ctx)
{
    struct lone_node *node = (struct lone_node *)ctx;
    set_options(&node->options);
    enum err err = runtime_loop_new(machine->env.runtime, "home", &node->home);
    CHECK(err == ERR_OK);
    node->broker = broker_new(&machine->env, &node->options, node->home);
    node->task = (struct loop_task){.run = start_on_home};
    loop_post(node->home, &node->task);
    runtime_loop_start(machine->env.runtime, node->home);
}

static bool is_ready(void *ctx)
{
    const struct lone_node *node = (const struct lone_node *)ctx;
    return node->is_ready || node->has_failed || node->machine->abort_count > 0;
}

void lone_node_start(struct lone_node *node)
{
    node->is_ready = false;
    node->is_stopped = false;
    sim_node_start(node->machine, boot, node);
    if (!lone_node_run_until(node, START_US, is_ready, node)) {
        lone_node_problem(node, "the node does not become ready");
    }
}

static void on_stopped(void *ctx)
{
    ((struct lone_node *)ctx)->is_stopped = true;
}

static void stop_on_home(struct loop_task *task)
{
    struct lone_node *node = CONTAINER_OF(task, struct lone_node, task);
    broker_stop(node->broker, on_stopped, node);
}

static void stop_code(struct sim_node *machine, void *ctx)
{
    (void)machine;
    struct lone_node *node = (struct lone_node *)ctx;
    node->task = (struct loop_task){.run = stop_on_home};
    loop_post(node->home, &node->task);
}

static void free_code(struct sim_node *machine, void *ctx)
{
    struct lone_node *node = (struct lone_node *)ctx;
    loop_stop(node->home);
    runtime_loop_join(machine->env.runtime, node->home);
    broker_free(node->broker);
    runtime_loop_free(machine->env.runtime, node->home);
    broker_options_done(&node->options);
}

static bool is_stopped(void *ctx)
{
    const struct lone_node *node = (const struct lone_node *)ctx;
    return node->is_stopped || node->has_failed || node->machine->abort_count > 0;
}

void lone_node_stop(struct lone_node *node)
{
    sim_node_run(node->machine, stop_code, node);
    if (!lone_node_run_until(node, STOP_US, is_stopped, node)) {
        lone_node_problem(node, "the node does not stop");
    }
    sim_node_run(node->machine, free_code, node);
    check_life(node);
    node->broker = NULL;
    char blocks[512];
    sim_mem_describe(&node->machine->memory, blocks, sizeof(blocks));
    size_t leaked_count = sim_node_reap(node->machine);
    if (leaked_count != 0) {
        lone_node_problem(node, "an orderly end leaks %zu blocks, files or sockets (memory: %s)", leaked_count, blocks);
    }
}

/* ---- the world ---- */

static void boot_client(struct sim_node *machine, void *ctx)
{
    struct lone_node *node = (struct lone_node *)ctx;
    enum err err = runtime_loop_new(machine->env.runtime, "client", &node->client_loop);
    CHECK(err == ERR_OK);
    runtime_loop_start(machine->env.runtime, node->client_loop);
}

void lone_node_init(struct lone_node *node, uint64_t seed)
{
    *node = (struct lone_node){0};
    sim_world_init(&node->world, seed, TRACE_BYTES_MAX);
    node->world.trace.is_printed = getenv("MOLDAU_TEST_LOG") != NULL;
    node->world.trace.is_compact = !node->world.trace.is_printed;
    node->fabric = sim_fabric_new(&node->world);
    enum log_level level = node->world.trace.is_printed ? LOG_DEBUG : LOG_INFO;
    node->machine =
        sim_node_new(&node->world, node->fabric,
                     &(struct sim_node_options){
                         .name = "node", .address = LONE_NODE_ADDRESS, .log_level = level, .has_boot_id = true});
    node->client =
        sim_node_new(&node->world, node->fabric,
                     &(struct sim_node_options){.name = "client", .address = "10.0.0.2", .log_level = level});
    sim_node_start(node->client, boot_client, node);
}

void lone_node_done(struct lone_node *node)
{
    sim_node_free(node->client);
    sim_node_free(node->machine);
    sim_fabric_free(node->fabric);
    sim_world_done(&node->world);
}

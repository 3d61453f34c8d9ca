/* The processes of a simulated cluster: how a node is configured, booted, looked at, stopped and buried. */
#include "common/mem.h"
#include "controller/controller.h"
#include "tests/sim/cluster_world.h"

#include <stdio.h>
#include <string.h>

/* The one abort that is right: the metadata's disk failed (correctness.md 7), and the process says so. */
static bool is_rightful_abort(const char *sentence)
{
    return strstr(sentence, "controller") != NULL && strstr(sentence, "on_fatal") != NULL;
}

static void note_aborts(struct cluster_node *node)
{
    struct cluster_world *cluster = node->cluster;
    if (node->machine->abort_count > node->seen_abort_count) {
        node->seen_abort_count = node->machine->abort_count;
        if (is_rightful_abort(node->machine->abort_sentence)) {
            cluster->counts.aborts++;
        } else {
            cluster_verdict_violation(&cluster->verdict, "%s aborted: %s", node->plan->name,
                                      node->machine->abort_sentence);
        }
    }
}

static void on_machine_death(struct sim_node *machine)
{
    struct cluster_node *node = (struct cluster_node *)machine->ctx;
    note_aborts(node);
    node->broker = NULL;
    node->stopping = NULL;
    node->is_ready = false;
    node->is_stopping = false;
    sim_world_cancel(&node->cluster->world, &node->reap);
    cluster_ledger_forget(&node->cluster->ledger, node->index);
    cluster_meta_forget(&node->cluster->meta, node->index);
    if (node->on_death != NULL) {
        node->on_death(node);
    }
}

/* Trap 16: a voter without its log is nobody that has voted. */
static void check_identity(const struct cluster_node *node)
{
    bool has_lost = !uuid_is_zero(node->lost_directory) && node->machine->start_count > node->lost_start_count;
    if (has_lost && uuid_equal(node->directory, node->lost_directory)) {
        cluster_verdict_violation(&node->cluster->verdict,
                                  "R8: the controller of %s lost its disk, and goes on under the same identity",
                                  node->plan->name);
    }
}

/* Everything that checkers look at lies in the memory of the node: after each piece of its code. */
static void on_machine_turn(struct sim_node *machine)
{
    struct cluster_node *node = (struct cluster_node *)machine->ctx;
    if (node->broker != NULL) {
        cluster_meta_observe(&node->cluster->meta, node->index, node->broker);
        if (node->broker->controller != NULL) {
            node->directory = controller_directory_id(node->broker->controller);
            check_identity(node);
        }
        cluster_ledger_observe(&node->cluster->ledger, node->index, machine->start_count, node->broker, machine->disk);
    }
}

static bool has_event(const char *line, size_t bytes, const char *event)
{
    return memmem(line, bytes, event, strlen(event)) != NULL;
}

/* What a node says of itself that shows nowhere else. */
static void on_machine_log(struct sim_node *machine, const char *line, size_t bytes)
{
    struct cluster_node *node = (struct cluster_node *)machine->ctx;
    struct cluster_world *cluster = node->cluster;
    node->is_waiting = node->is_waiting || has_event(line, bytes, " event=waits_for_admission ");
    if (has_event(line, bytes, " subsystem=broker event=failed ")) {
        (void)snprintf(node->problem, sizeof(node->problem), "%.*s", (int)bytes, line);
    }
    cluster->counts.metadata_snapshots += has_event(line, bytes, " event=metadata_snapshot ") ? 1 : 0;
    if (has_event(line, bytes, " event=metadata_differs ")) {
        cluster_verdict_violation(&cluster->verdict, "R8: %s: %.*s", node->plan->name, (int)bytes, line);
    }
}

/* ---- booting ---- */

static void on_ready(void *ctx)
{
    struct cluster_node *node = (struct cluster_node *)ctx;
    node->cluster->counts.readies++;
    node->is_ready = true;
}

/* The process's main would end with status 1 here. */
static void on_failed(void *ctx)
{
    struct cluster_node *node = (struct cluster_node *)ctx;
    node->cluster->counts.failures++;
    sim_node_kill(node->machine);
}

static void trace_node(struct cluster_node *node, const char *text, const char *detail)
{
    struct sim_world *world = &node->cluster->world;
    sim_trace_write(&world->trace, world->now_us, node->plan->name, "%s%s", text, detail);
}

static void start_on_home(struct loop_task *task)
{
    struct cluster_node *node = CONTAINER_OF(task, struct cluster_node, task);
    struct option_problem problem = {0};
    enum err err = broker_start(node->broker, on_ready, on_failed, node, &problem);
    if (err != ERR_OK) {
        trace_node(node, "start failed: ", problem.text);
        (void)snprintf(node->problem, sizeof(node->problem), "%s", problem.text);
        on_failed(node);
    }
}

static void set_text(char **text, const char *value)
{
    mem_free(*text);
    *text = mem_strdup(value);
}

static void set_addresses(struct cluster_node *node)
{
    const struct cluster_plan *plan = &node->cluster->plan;
    char listeners[128];
    bool is_alone = plan->voters[0] == '\0';
    int bytes = 0;
    if (node->plan->is_broker) {
        bytes = snprintf(listeners, sizeof(listeners), "PLAINTEXT://%s:%u%s", node->plan->address, CLUSTER_CLIENT_PORT,
                         is_alone ? "" : ",");
    }
    if (!is_alone) {
        (void)snprintf(listeners + bytes, sizeof(listeners) - (size_t)bytes, "INTERNAL://%s:%u", node->plan->address,
                       CLUSTER_INTERNAL_PORT);
    }
    set_text(&node->options.listeners, listeners);
    set_text(&node->options.controller_quorum_voters, plan->voters);
    set_text(&node->options.process_roles, !node->plan->is_broker      ? "controller"
                                           : node->plan->is_controller ? "broker,controller"
                                                                       : "broker");
}

static void set_options(struct cluster_node *node)
{
    const struct cluster_plan *plan = &node->cluster->plan;
    struct broker_options *options = &node->options;
    broker_options_init(options);
    options->node_id = node->plan->node_id;
    set_addresses(node);
    set_text(&options->log_dirs, "/data");
    options->num_worker_threads = node->plan->worker_count;
    options->log_segment_bytes = plan->segment_bytes;
    options->log_index_interval_bytes = plan->index_interval_bytes;
    options->log_retention_ms = -1;
    options->metadata_snapshot_entries = plan->snapshot_entries;
    options->metadata_trailing_entries = plan->trailing_entries;
    options->broker_session_timeout_ms = plan->session_timeout_ms;
    options->broker_heartbeat_interval_ms = plan->heartbeat_interval_ms;
    options->replica_lag_time_max_ms = plan->lag_time_ms;
}

static void boot(struct sim_node *machine, void *ctx)
{
    struct cluster_node *node = (struct cluster_node *)ctx;
    node->problem[0] = '\0';
    node->is_waiting = false;
    set_options(node);
    enum err err = runtime_loop_new(machine->env.runtime, "home", &node->home);
    CHECK(err == ERR_OK);
    node->broker = broker_new(&machine->env, &node->options, node->home);
    node->task = (struct loop_task){.run = start_on_home};
    loop_post(node->home, &node->task);
    runtime_loop_start(machine->env.runtime, node->home);
}

void cluster_node_boot(struct cluster_node *node)
{
    struct sim_node *machine = node->machine;
    node->cluster->counts.starts++;
    if (node->plan->is_broker && machine->start_count > 0 && machine->boot_count != node->last_boot_count) {
        node->cluster->counts.unclean_boots++;
    }
    node->last_boot_count = machine->boot_count;
    sim_node_start(machine, boot, node);
}

/* ---- stopping ---- */

static void free_code(struct sim_node *machine, void *ctx)
{
    struct cluster_node *node = (struct cluster_node *)ctx;
    loop_stop(node->home);
    runtime_loop_join(machine->env.runtime, node->home);
    broker_free(node->stopping);
    runtime_loop_free(machine->env.runtime, node->home);
    broker_options_done(&node->options);
}

static void on_reap(struct loop_timer *event)
{
    struct cluster_node *node = CONTAINER_OF(event, struct cluster_node, reap);
    struct sim_node *machine = node->machine;
    if (machine->state != SIM_NODE_RUNNING) {
        return;
    }
    uint64_t start_count = machine->start_count;
    node->stopping = node->broker;
    node->broker = NULL; /* it is taken apart: nobody looks */
    sim_node_run(machine, free_code, node);
    if (machine->state != SIM_NODE_RUNNING || machine->start_count != start_count) {
        return; /* killed meanwhile */
    }
    node->cluster->counts.orderly_stops++;
    char blocks[256];
    sim_mem_describe(&machine->memory, blocks, sizeof(blocks));
    size_t leaked_count = sim_node_reap(machine);
    if (leaked_count != 0) {
        cluster_verdict_violation(&node->cluster->verdict,
                                  "the orderly end of %s leaks %zu blocks, files or sockets (memory: %s)",
                                  node->plan->name, leaked_count, blocks);
    }
}

static void on_stopped(void *ctx)
{
    struct cluster_node *node = (struct cluster_node *)ctx;
    sim_world_set(&node->cluster->world, &node->reap, node->cluster->world.now_us + 1000);
}

static void stop_on_home(struct loop_task *task)
{
    struct cluster_node *node = CONTAINER_OF(task, struct cluster_node, task);
    broker_stop(node->broker, on_stopped, node);
}

static void stop_code(struct sim_node *machine, void *ctx)
{
    (void)machine;
    struct cluster_node *node = (struct cluster_node *)ctx;
    node->task = (struct loop_task){.run = stop_on_home};
    loop_post(node->home, &node->task);
}

void cluster_node_stop(struct cluster_node *node)
{
    if (node->machine->state == SIM_NODE_RUNNING && node->is_ready && !node->is_stopping) {
        node->is_stopping = true;
        trace_node(node, "stop", "");
        sim_node_run(node->machine, stop_code, node);
    }
}

void cluster_node_make(struct cluster_world *cluster, unsigned index)
{
    struct cluster_node *node = &cluster->nodes[index];
    node->cluster = cluster;
    node->index = index;
    node->plan = &cluster->plan.nodes[index];
    node->reap.fire = on_reap;
    node->machine =
        sim_node_new(&cluster->world, cluster->fabric,
                     &(struct sim_node_options){.name = node->plan->name,
                                                .address = node->plan->address,
                                                .page_bytes = node->plan->page_bytes,
                                                .log_level = cluster->world.trace.is_compact ? LOG_INFO : LOG_DEBUG,
                                                .has_boot_id = true});
    node->machine->ctx = node;
    node->machine->on_death = on_machine_death;
    node->machine->on_turn = on_machine_turn;
    node->machine->on_log = on_machine_log;
}

/* Life of the controller: start, links, stop. */
#include "controller/controller.h"

#include "common/logger.h"
#include "common/mem.h"
#include "common/metric.h"
#include "common/seam/fs.h"
#include "controller/controller_metrics.h"
#include "controller/controller_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

static const struct metric_row metric_rows[] = {
#define X(member, metric_name, metric_kind, metric_help)                                                               \
    {.name = (metric_name), .kind = (metric_kind), .help = (metric_help)},
    CONTROLLER_METRICS(X)
#undef X
};

const struct metric_table controller_metric_table = {metric_rows, ARRAY_COUNT(metric_rows)};

void controller_options_init(struct controller_options *options)
{
    *options = (struct controller_options){
        .session_timeout_ms = 3000,
        .auto_rebalance = true,
        .imbalance_check_ms = 300000,
        .election_timeout_ms = 400,
        .heartbeat_timeout_ms = 80,
        .snapshot_entries = 4096,
        .trailing_entries = 8192,
        .segment_bytes = 8u << 20,
        .num_partitions = 1,
        .default_replication_factor = 1,
        .min_insync_replicas = 1,
    };
}

/* ---- links ---- */

bool controller_is_own_cluster(const struct controller *controller, const char *cluster_id)
{
    const char *own = controller_cluster_id(controller);
    return cluster_id[0] == '\0' || own[0] == '\0' || strcmp(cluster_id, own) == 0;
}

void controller_fill_hello(const struct controller *controller, struct rpc_hello *ret_hello)
{
    *ret_hello = (struct rpc_hello){.node_id = controller->options.node_id,
                                    .directory_id = controller->directory.id,
                                    .incarnation_id = controller->options.incarnation_id,
                                    .broker_epoch = -1};
    (void)snprintf(ret_hello->cluster_id, sizeof(ret_hello->cluster_id), "%s", controller_cluster_id(controller));
}

/* On the server's loop: only what is constant or atomic. */
static bool check_any(void *ctx, const struct rpc_hello *peer, struct loop **ret_loop,
                      char ret_refusal[RPC_REFUSAL_BYTES])
{
    (void)peer;
    (void)ret_refusal; /* who belongs to another cluster learns it from our hello */
    *ret_loop = ((struct controller *)ctx)->loop;
    return true;
}

static bool check_voter(void *ctx, const struct rpc_hello *peer, struct loop **ret_loop,
                        char ret_refusal[RPC_REFUSAL_BYTES])
{
    struct controller *controller = (struct controller *)ctx;
    if (uuid_equal(peer->directory_id, controller->directory.id)) {
        (void)snprintf(ret_refusal, RPC_REFUSAL_BYTES,
                       "node %" PRId32 " has the metadata directory id of node %" PRId32
                       ": was the directory copied, or does controller.quorum.voters name one node twice?",
                       peer->node_id, controller->options.node_id);
        return false;
    }
    if (!controller_is_own_cluster(controller, peer->cluster_id)) {
        (void)snprintf(ret_refusal, RPC_REFUSAL_BYTES, "this controller is of cluster %s, not of %.40s",
                       controller_cluster_id(controller), peer->cluster_id);
        return false;
    }
    *ret_loop = controller->loop;
    return true;
}

static void set_acceptors(struct controller *controller, bool is_on)
{
    struct rpc_server *server = controller->options.server;
    struct rpc_acceptor quorum = {.ctx = controller, .check = check_voter, .on_link = controller_links_accept};
    struct rpc_acceptor call = {.ctx = controller, .check = check_any, .on_link = controller_serve_call};
    struct rpc_acceptor metadata = {.ctx = controller, .check = check_any, .on_link = controller_serve_metadata};
    if (server != NULL) {
        rpc_server_set_acceptor(server, RPC_KIND_QUORUM, is_on ? &quorum : NULL);
        rpc_server_set_acceptor(server, RPC_KIND_CALL, is_on ? &call : NULL);
        rpc_server_set_acceptor(server, RPC_KIND_METADATA, is_on ? &metadata : NULL);
    }
}

/* ---- start ---- */

static struct controller *make(struct env *env, const struct controller_options *options)
{
    struct controller *controller = MEM_NEW(struct controller);
    controller->env = env;
    controller->options = *options;
    controller->defaults = (struct decision_defaults){
        .num_partitions = options->num_partitions,
        .default_replication_factor = options->default_replication_factor,
        .min_insync_replicas = options->min_insync_replicas,
        .partitions_max = options->partitions_max,
        .is_cached = options->is_cached,
        .allows_unclean = options->allows_unclean,
        .broker_options = options->broker_options,
    };
    controller->image = image_new_empty();
    controller->view.leader.node_id = -1;
    controller->round_task.run = controller_round_run;
    controller->activate_task.run = controller_activate;
    controller->activate_timer.fire = controller_activate_again;
    controller->members_task.run = controller_voters_dial;
    controller->sweep_timer.fire = controller_sweep;
    controller->balance_timer.fire = controller_balance;
    controller_serve_init(&controller->serve, controller);
    controller_links_init(&controller->links, controller);
    if (options->metrics != NULL) {
        controller->metrics = metric_set_new(options->metrics, &controller_metric_table);
    }
    return controller;
}

static void make_sessions(struct controller *controller)
{
    const struct controller_options *options = &controller->options;
    struct broker_sessions_config config = {.env = controller->env,
                                            .loop = controller->loop,
                                            .timeout_us = (uint64_t)options->session_timeout_ms * 1000,
                                            .local_broker_id = options->is_broker ? options->node_id : -1,
                                            .ctx = controller,
                                            .fence = controller_fence};
    controller_fill_hello(controller, &config.hello);
    if (options->server != NULL) {
        controller->sessions = broker_sessions_new(&config);
    }
}

/* Before the loop runs. */
static enum err prepare(struct controller *controller, struct option_problem *ret_problem)
{
    enum err err = controller_form_open(controller, ret_problem);
    if (err == ERR_OK && controller->directory.is_formed) {
        err = controller_form_open_quorum(controller, ret_problem);
    }
    if (err != ERR_OK) {
        return err;
    }
    /* A vote or an entry that waits behind the brokers' syncs, openings and reads would hold up everybody. */
    err = runtime_loop_new_apart(controller->env->runtime, "controller", &controller->loop);
    if (err != ERR_OK) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text), "can't start the controller's thread: %s",
                       err_text(err));
        return err;
    }
    controller->publisher.loop = controller->loop;
    make_sessions(controller);
    if (controller->quorum != NULL) {
        return controller_start_quorum(controller, ret_problem);
    }
    return ERR_OK;
}

/* First on the loop. */
static void begin(struct loop_task *task)
{
    struct controller *controller = CONTAINER_OF(task, struct controller, begin_task);
    if (controller->options.server != NULL) {
        controller_links_start(&controller->links);
    }
    if (controller->quorum == NULL) {
        controller_form_start(controller);
    }
}

enum err controller_start(struct env *env, const struct controller_options *options, struct controller **ret_controller,
                          struct option_problem *ret_problem)
{
    struct controller *controller = make(env, options);
    enum err err = prepare(controller, ret_problem);
    if (err != ERR_OK) {
        controller_free(controller);
        return err;
    }
    set_acceptors(controller, true);
    controller->begin_task.run = begin;
    loop_post(controller->loop, &controller->begin_task);
    runtime_loop_start(env->runtime, controller->loop);
    *ret_controller = controller;
    return ERR_OK;
}

const char *controller_cluster_id(const struct controller *controller)
{
    return atomic_load_explicit(&controller->is_cluster_known, memory_order_acquire) ? controller->cluster_id : "";
}

struct uuid controller_directory_id(const struct controller *controller)
{
    return controller->directory.id;
}

/* ---- stop: no new requests -> leadership is handed over -> requests under way end -> links close -> the quorum stops -> the loop ends.
 * Jobs of links and of the formation end before the loop does (loop_stop). ---- */

static void quorum_stopped(void *ctx)
{
    struct controller *controller = (struct controller *)ctx;
    loop_stop(controller->loop);
}

static void close_all(struct controller *controller)
{
    controller->is_stopping = true;
    controller->is_active = false;
    loop_timer_cancel(controller->loop, &controller->sweep_timer);
    loop_timer_cancel(controller->loop, &controller->activate_timer);
    loop_timer_cancel(controller->loop, &controller->balance_timer);
    loop_timer_cancel(controller->loop, &controller->stop_timer);
    controller_round_abort(controller, ERR_CLOSED);
    controller_form_stop(controller);
    controller_serve_stop(&controller->serve);
    controller_links_stop(&controller->links);
    if (controller->sessions != NULL) {
        broker_sessions_deactivate(controller->sessions);
    }
    if (controller->quorum != NULL) {
        quorum_stop(controller->quorum, quorum_stopped, controller);
    } else {
        loop_stop(controller->loop);
    }
}

/* Nobody took over: there may be nobody left. */
static void hand_over_late(struct loop_timer *timer)
{
    close_all(CONTAINER_OF(timer, struct controller, stop_timer));
}

static void handed_over(void *ctx, enum err err)
{
    struct controller *controller = (struct controller *)ctx;
    if (controller->is_stopping) {
        return; /* too late */
    }
    log_info(controller->env->logger, "controller", "handed_over", "err=%s", err_name(err));
    close_all(controller);
}

/* A request that passed the test of is_closed is posted when submitting_count is 0, and received one turn later. */
static void stop_on_loop(struct loop_task *task)
{
    struct controller *controller = CONTAINER_OF(task, struct controller, stop_task);
    if (controller->stop_turns == 0 && atomic_load(&controller->submitting_count) > 0) {
        loop_defer(controller->loop, task);
        return;
    }
    if (controller->stop_turns++ < 2) {
        loop_defer(controller->loop, task);
        return;
    }
    struct quorum_facts facts = {0};
    if (controller->quorum != NULL) {
        quorum_get_facts(controller->quorum, &facts);
    }
    if (controller->is_leader && !controller->is_failed && facts.voter_count > 1) {
        controller->stop_timer.fire = hand_over_late;
        loop_timer_set(controller->loop, &controller->stop_timer,
                       loop_now_us(controller->loop) + 2000 * (uint64_t)controller->options.election_timeout_ms);
        quorum_transfer(controller->quorum, handed_over, controller);
    } else {
        close_all(controller);
    }
}

void controller_stop(struct controller *controller)
{
    set_acceptors(controller, false);
    atomic_store(&controller->is_closed, true);
    controller->stop_task = (struct loop_task){.run = stop_on_loop};
    loop_post(controller->loop, &controller->stop_task);
    runtime_loop_join(controller->env->runtime, controller->loop);
}

void controller_free(struct controller *controller)
{
    if (controller == NULL) {
        return;
    }
    CHECK(controller->publisher.subscriptions == NULL && controller->watches == NULL && controller->waiting == NULL &&
          controller->round.requests == NULL);
    quorum_free(controller->quorum);
    broker_sessions_free(controller->sessions);
    if (controller->loop != NULL) {
        runtime_loop_free(controller->env->runtime, controller->loop);
    }
    if (controller->metrics != NULL) {
        metric_set_free(controller->options.metrics, controller->metrics);
    }
    controller_serve_done(&controller->serve);
    controller_directory_close(&controller->directory);
    image_unref(controller->image);
    mem_free(controller);
}

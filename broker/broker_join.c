/* The second half of the start: the cluster is known. Identity of the directories, threads, streams; then registration, after which
 * everything waits for the metadata. Clients that connect meanwhile wait in the listener and are served when the node is ready. */
#include "broker/broker_internal.h"
#include "broker/broker_metrics.h"
#include "broker/meta/metadata_follow.h"
#include "broker/meta/registration.h"
#include "broker/replica/checkpointer.h"
#include "broker/replica/log_dirs.h"
#include "broker/replica/partition_set.h"
#include "broker/replica/place_claims.h"
#include "broker/replica/strays.h"
#include "broker/stream/stream_client.h"
#include "broker/stream/stream_lane.h"
#include "broker/stream/stream_server.h"
#include "broker/worker.h"
#include "common/check.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/rpc/rpc_server.h"
#include "common/seam/clock.h"
#include "controller/controller_client.h"

#include <stdio.h>

/* ---- directories ---- */

static enum err identify_directories(struct broker *broker, struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    enum err err = log_dirs_identify(broker->log_dirs, priv->cluster_id, broker->options->node_id, ret_problem);
    if (err != ERR_OK) {
        return err;
    }
    priv->strays = strays_find(broker->log_dirs, broker->env);
    bool is_clean = log_dirs_take_clean_marks(broker->log_dirs, &priv->previous_epoch);
    log_info(broker->env->logger, "broker", "directories_open", "cluster_id=%s node_id=%d clean_stop=%s",
             priv->cluster_id, broker->options->node_id, is_clean ? "yes" : "no");
    return ERR_OK;
}

/* ---- what the workers tell ---- */

static void on_applied(void *ctx, struct worker *worker, int64_t metadata_offset)
{
    struct broker *broker = ctx;
    metadata_follow_on_applied(broker->metadata_follow, worker, metadata_offset);
}

static void on_proposals(void *ctx, struct worker *worker, struct isr_batch *batch)
{
    struct broker *broker = ctx;
    (void)worker;
    isr_proposer_offer(broker->isr_proposer, batch);
}

static void on_checkpoint_due(void *ctx, struct worker *worker)
{
    struct broker *broker = ctx;
    checkpointer_due(broker->priv->checkpointer, worker);
}

static void on_partitions_stopped(void *ctx, struct worker *worker)
{
    struct broker *broker = ctx;
    loop_post(broker->home, &broker->priv->notes[worker->index].partitions_stopped.task);
}

/* Every worker puts its partitions of failed directories offline; the node ends when no directory is left. */
struct dir_failure {
    struct loop_task task;
    struct worker *worker;
};

static void offline_failed_dirs(struct loop_task *task)
{
    struct dir_failure *failure = CONTAINER_OF(task, struct dir_failure, task);
    struct log_dirs *dirs = failure->worker->broker->log_dirs;
    for (size_t i = 0; i < dirs->dir_count; i++) {
        if (log_dir_is_failed(dirs->dirs[i])) {
            partition_set_dir_failed(failure->worker->partitions, dirs->dirs[i]);
        }
    }
    mem_free(failure);
}

static void on_dir_failed_home(struct loop_task *task)
{
    struct broker *broker = CONTAINER_OF(task, struct broker_note, task)->broker;
    atomic_store(&broker->priv->is_dir_failure_posted, false);
    for (unsigned i = 0; i < broker->worker_count; i++) {
        struct dir_failure *failure = MEM_NEW(struct dir_failure);
        failure->task.run = offline_failed_dirs;
        failure->worker = broker->workers[i];
        loop_post(broker->workers[i]->loop, &failure->task);
    }
    if (log_dirs_all_failed(broker->log_dirs)) {
        broker_fail(broker, "every log directory has failed: mend the disks and start again");
    }
}

static void on_dir_failed(void *ctx, struct worker *worker, struct log_dir *dir)
{
    struct broker *broker = ctx;
    (void)worker;
    (void)dir;
    if (!atomic_exchange(&broker->priv->is_dir_failure_posted, true)) {
        loop_post(broker->home, &broker->priv->dir_failed.task);
    }
}

/* ---- workers ---- */

unsigned broker_worker_count(const struct broker *broker)
{
    int32_t wanted = broker->options->num_worker_threads;
    return wanted > 0 ? (unsigned)wanted : runtime_cpu_count(broker->env->runtime);
}

static void set_limits(struct broker *broker)
{
    const struct broker_options *options = broker->options;
    struct broker_private *priv = broker->priv;
    size_t memory_bytes = (size_t)options->memory_limit;
    if (options->queued_max_request_bytes >= 0 && (size_t)options->queued_max_request_bytes < memory_bytes) {
        memory_bytes = (size_t)options->queued_max_request_bytes;
    }
    priv->limits = (struct connection_limits){
        .request_bytes_max = (size_t)options->socket_request_max_bytes,
        .request_bytes_max_unauthenticated = BROKER_UNAUTHENTICATED_BYTES,
        .requests_in_flight_max = BROKER_REQUESTS_IN_FLIGHT,
        .idle_us = (uint64_t)options->connections_max_idle_ms * 1000,
        .read_stall_us = BROKER_READ_STALL_US,
        .write_stall_us = BROKER_WRITE_STALL_US,
        .handshake_us = BROKER_HANDSHAKE_US,
        .drain_us = BROKER_DRAIN_US,
    };
    memory_budget_init(&priv->budget, memory_bytes, broker->worker_count);
}

static enum err make_workers(struct broker *broker, struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    unsigned count = broker_worker_count(broker);
    broker->worker_count = count;
    broker->workers = mem_array(count, sizeof(broker->workers[0]));
    priv->sets = mem_array(count, sizeof(priv->sets[0]));
    priv->loops = mem_array(count, sizeof(priv->loops[0]));
    priv->notes = mem_array(count, sizeof(priv->notes[0]));
    set_limits(broker);
    priv->places = place_claims_new(broker->home);
    struct partition_set_options partition_options = {
        .broker_id = broker->options->node_id,
        .defaults = broker->options,
        .places = priv->places,
        .on_applied = on_applied,
        .on_stopped = on_partitions_stopped,
        .on_dir_failed = on_dir_failed,
        .on_checkpoint_due = on_checkpoint_due,
        .propose = on_proposals,
        .ctx = broker,
    };
    for (unsigned i = 0; i < count; i++) {
        struct worker_config config = {.broker = broker,
                                       .index = i,
                                       .worker_count = count,
                                       .budget = &priv->budget,
                                       .limits = &priv->limits,
                                       .partition_options = &partition_options};
        enum err err = worker_new(&config, &broker->workers[i]);
        if (err != ERR_OK) {
            (void)snprintf(ret_problem->text, sizeof(ret_problem->text), "can't make worker thread %u of %u: %s", i + 1,
                           count, err_text(err));
            return err;
        }
        priv->sets[i] = broker->workers[i]->connections;
        priv->loops[i] = broker->workers[i]->loop;
    }
    return ERR_OK;
}

/* ---- streams from followers ---- */

static bool check_follower(void *ctx, const struct rpc_hello *peer, struct loop **ret_loop,
                           char ret_refusal[RPC_REFUSAL_BYTES])
{
    struct broker *broker = ctx;
    if (strcmp(peer->cluster_id, broker->priv->cluster_id) != 0) {
        (void)snprintf(ret_refusal, RPC_REFUSAL_BYTES, "this broker belongs to cluster %s, not to %s",
                       broker->priv->cluster_id, peer->cluster_id);
        return false;
    }
    if (peer->worker_count == 0) {
        (void)snprintf(ret_refusal, RPC_REFUSAL_BYTES, "node %d is no broker", peer->node_id);
        return false;
    }
    *ret_loop = broker->workers[stream_lane_worker(peer->lane, broker->worker_count)]->loop;
    return true;
}

static void on_follower(void *ctx, struct rpc_link *link)
{
    struct broker *broker = ctx;
    struct worker *worker = broker->workers[stream_lane_worker(rpc_link_peer(link)->lane, broker->worker_count)];
    stream_server_accept(worker->stream_server, link);
}

static void open_streams(struct broker *broker)
{
    if (broker->priv->internal != NULL) {
        struct rpc_acceptor acceptor = {.ctx = broker, .check = check_follower, .on_link = on_follower};
        rpc_server_set_acceptor(broker->priv->internal, RPC_KIND_REPLICA, &acceptor);
    }
}

/* ---- joining ---- */

static void serve(struct broker *broker)
{
    struct broker_private *priv = broker->priv;
    broker_set_state(broker, BROKER_READY);
    log_info(broker->env->logger, "broker", "ready",
             "cluster_id=%s node_id=%d broker_epoch=%lld workers=%u start_ms=%llu", priv->cluster_id,
             broker->options->node_id, (long long)atomic_load(&priv->broker_epoch), broker->worker_count,
             (unsigned long long)(clock_mono_us(broker->env->clock) - priv->start_us) / 1000);
    priv->on_ready(priv->events_ctx);
}

/* A worker learns what this node says of itself to leaders. */
struct identity_delivery {
    struct loop_task task;
    struct worker *worker;
    struct rpc_hello hello;
};

static void set_identity(struct loop_task *task)
{
    struct identity_delivery *delivery = CONTAINER_OF(task, struct identity_delivery, task);
    stream_client_set_identity(delivery->worker->stream_client, &delivery->hello);
    mem_free(delivery);
}

/* Posted before the first metadata is: a worker knows its broker epoch when it hears of the partitions that it follows. */
static void tell_identity(struct broker *broker)
{
    for (unsigned i = 0; i < broker->worker_count; i++) {
        struct identity_delivery *delivery = MEM_NEW(struct identity_delivery);
        delivery->task.run = set_identity;
        delivery->worker = broker->workers[i];
        broker_hello(broker, &delivery->hello);
        loop_post(broker->workers[i]->loop, &delivery->task);
    }
}

static void on_epoch(void *ctx, int64_t broker_epoch)
{
    struct broker *broker = ctx;
    atomic_store(&broker->priv->broker_epoch, broker_epoch);
    controller_client_set_broker_epoch(broker->controller_client, broker_epoch);
    tell_identity(broker);
    broker_renew_hello(broker);
}

static void on_registered(void *ctx)
{
    struct broker *broker = ctx;
    struct broker_private *priv = broker->priv;
    if (broker_state(broker) != BROKER_STARTING) {
        return; /* asked to stop meanwhile */
    }
    (void)strays_set_aside(priv->strays, metadata_follow_image(broker->metadata_follow), broker->options->node_id);
    strays_free(priv->strays);
    priv->strays = NULL;
    struct listener_targets targets = {
        .admission = priv->admission, .sets = priv->sets, .loops = priv->loops, .metrics = priv->home_metrics};
    for (size_t i = 0; i < BROKER_LISTENERS_MAX; i++) {
        if (priv->listeners[i] != NULL) {
            listener_open(priv->listeners[i], &targets);
        }
    }
    serve(broker);
}

static void on_registration_failed(void *ctx, enum err err, const char *message)
{
    (void)err;
    broker_fail(ctx, message);
}

static void submit_proposals(void *ctx, struct controller_request *request)
{
    const struct broker *broker = ctx;
    controller_client_submit(broker->controller_client, request);
}

static int64_t registered_epoch(void *ctx)
{
    const struct broker *broker = ctx;
    return atomic_load(&broker->priv->broker_epoch);
}

static void make_isr_proposer(struct broker *broker)
{
    struct isr_proposer_config config = {.home = broker->home,
                                         .broker_id = broker->options->node_id,
                                         .ctx = broker,
                                         .submit = submit_proposals,
                                         .broker_epoch = registered_epoch};
    broker->isr_proposer = isr_proposer_new(&config);
}

static enum err join_as_broker(struct broker *broker, struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    enum err err = identify_directories(broker, ret_problem);
    if (err == ERR_OK) {
        err = make_workers(broker, ret_problem);
    }
    if (err != ERR_OK) {
        return err;
    }
    priv->home_metrics = metric_set_new(broker->metrics, broker_metrics_table());
    priv->dir_failed = (struct broker_note){.task = {.run = on_dir_failed_home}, .broker = broker};
    priv->admission = admission_new(broker->home, broker->worker_count, (size_t)broker->options->max_connections,
                                    (size_t)broker->options->max_connections_per_ip);
    priv->checkpointer = checkpointer_new(broker);
    broker->metadata_follow = metadata_follow_new(broker);
    make_isr_proposer(broker);
    priv->registration = registration_new(broker, broker->metadata_follow);
    open_streams(broker);
    for (unsigned i = 0; i < broker->worker_count; i++) {
        worker_start(broker->workers[i]);
    }
    return ERR_OK;
}

enum err broker_join(struct broker *broker, struct option_problem *ret_problem)
{
    if (broker_options_is_broker(broker->options)) {
        enum err err = join_as_broker(broker, ret_problem);
        if (err != ERR_OK) {
            return err;
        }
    }
    broker->priv->is_joined = true;
    broker_renew_hello(broker); /* a new directory has its id now */
    return ERR_OK;
}

void broker_register(struct broker *broker)
{
    struct broker_private *priv = broker->priv;
    if (priv->registration == NULL) {
        serve(broker);
        return;
    }
    struct registration_facts facts = {.previous_epoch = priv->previous_epoch,
                                       .endpoints = priv->endpoints,
                                       .endpoint_count = priv->endpoint_count,
                                       .incarnation_id = priv->incarnation_id};
    struct registration_events events = {
        .on_epoch = on_epoch, .on_registered = on_registered, .on_failed = on_registration_failed, .ctx = broker};
    registration_start(priv->registration, &facts, &events);
}

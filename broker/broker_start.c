/* The start, in the order that keeps its promises: what can be refused without a trace comes first (addresses, then locks and
 * identities of the directories), then the controller, then threads, then everything that waits for the metadata.
 * Clients that connect meanwhile wait in the listener and are served when the node is ready. */
#include "broker/broker_internal.h"
#include "broker/broker_metrics.h"
#include "broker/meta/metadata_follow.h"
#include "broker/meta/registration.h"
#include "broker/replica/checkpointer.h"
#include "broker/replica/log_dirs.h"
#include "broker/replica/partition_set.h"
#include "broker/replica/place_claims.h"
#include "broker/replica/strays.h"
#include "broker/worker.h"
#include "common/check.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "controller/controller.h"

#include <stdio.h>

#define METADATA_DIR_NAME "__cluster_metadata"

/* ---- addresses ---- */

static enum err bind_one(struct broker *broker, size_t index, struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    struct broker_listener *address = &priv->addresses.items[index];
    struct listener_config config = {
        .net = broker->env->net,
        .home = broker->home,
        .logger = broker->env->logger,
        .name = address->name,
        .host = address->host,
        .port = address->port,
        .is_authenticated = true, /* PLAINTEXT: nobody is asked */
    };
    enum err err = listener_bind(&config, &priv->listeners[index]);
    if (err != ERR_OK) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                       "can't listen on %s:%u (listener %s): %s; free the address or choose another with listeners",
                       address->host, (unsigned)address->port, address->name, err_text(err));
        return err;
    }
    struct net_address bound;
    listener_address(priv->listeners[index], &bound);
    struct image_endpoint *endpoint = &priv->endpoints[priv->endpoint_count++];
    endpoint->listener_name = span_text(address->name);
    endpoint->host = span_text(address->advertised_host);
    endpoint->port = address->advertised_port == 0 ? bound.port : address->advertised_port;
    endpoint->security = IMAGE_PLAINTEXT;
    return ERR_OK;
}

static enum err bind_addresses(struct broker *broker, struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    for (size_t i = 0; i < priv->addresses.count; i++) {
        if (priv->addresses.items[i].is_internal) {
            log_info(broker->env->logger, "broker", "listener_unused",
                     "listener=INTERNAL why=\"one node has nobody to talk to: nothing is bound\"%s", "");
            continue;
        }
        enum err err = bind_one(broker, i, ret_problem);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

/* ---- controller ---- */

static char *metadata_dir(const struct broker *broker)
{
    const struct broker_options *options = broker->options;
    if (options->metadata_log_dir != NULL) {
        return mem_strdup(options->metadata_log_dir);
    }
    return mem_format("%s/%s", log_dir_path(broker->log_dirs->dirs[0]), METADATA_DIR_NAME);
}

static enum err start_controller(struct broker *broker, struct option_problem *ret_problem)
{
    const struct broker_options *options = broker->options;
    char known_cluster_id[LOG_DIR_CLUSTER_ID_BYTES];
    bool is_known = log_dirs_cluster_id(broker->log_dirs, known_cluster_id);
    char *dir = metadata_dir(broker);
    struct controller_options controller_options;
    controller_options_init(&controller_options);
    controller_options.node_id = options->node_id;
    controller_options.is_broker = true;
    controller_options.metadata_dir = dir;
    controller_options.quorum_voters = options->controller_quorum_voters;
    controller_options.cluster_name = options->cluster_name;
    controller_options.known_cluster_id = is_known ? known_cluster_id : NULL;
    controller_options.known_cluster_dir = is_known ? log_dir_path(broker->log_dirs->dirs[0]) : NULL;
    controller_options.election_timeout_ms = (uint32_t)options->controller_quorum_election_timeout_ms;
    controller_options.heartbeat_timeout_ms = (uint32_t)options->controller_quorum_heartbeat_ms;
    controller_options.snapshot_entries = (uint32_t)options->metadata_snapshot_entries;
    controller_options.trailing_entries = (uint32_t)options->metadata_trailing_entries;
    controller_options.segment_bytes = (uint64_t)options->metadata_log_segment_bytes;
    controller_options.num_partitions = options->num_partitions;
    controller_options.default_replication_factor = options->default_replication_factor;
    controller_options.min_insync_replicas = options->min_insync_replicas;
    controller_options.broker_options = broker_options_table();
    controller_options.metrics = broker->metrics;
    broker->priv->metadata_dir = dir;
    enum err err = controller_start(broker->env, &controller_options, &broker->controller, ret_problem);
    if (err == ERR_OK) {
        (void)snprintf(broker->priv->cluster_id, sizeof(broker->priv->cluster_id), "%s",
                       controller_cluster_id(broker->controller));
    }
    return err;
}

static enum err open_state(struct broker *broker, int64_t *ret_previous_epoch, struct option_problem *ret_problem)
{
    enum err err = log_dirs_open(broker->env, broker->options->log_dirs, &broker->log_dirs, ret_problem);
    char known_cluster_id[LOG_DIR_CLUSTER_ID_BYTES];
    if (err == ERR_OK && log_dirs_cluster_id(broker->log_dirs, known_cluster_id)) {
        /* Before the controller writes to its log: directories that don't belong together stay as they are. */
        err = log_dirs_check_identity(broker->log_dirs, known_cluster_id, broker->options->node_id, ret_problem);
    }
    if (err == ERR_OK) {
        err = start_controller(broker, ret_problem);
    }
    if (err == ERR_OK) {
        err = log_dirs_identify(broker->log_dirs, broker->priv->cluster_id, broker->options->node_id, ret_problem);
    }
    if (err != ERR_OK) {
        return err;
    }
    broker->priv->strays = strays_find(broker->log_dirs, broker->env);
    bool is_clean = log_dirs_take_clean_marks(broker->log_dirs, ret_previous_epoch);
    log_info(broker->env->logger, "broker", "directories_open", "cluster_id=%s node_id=%d clean_stop=%s",
             broker->priv->cluster_id, broker->options->node_id, is_clean ? "yes" : "no");
    return ERR_OK;
}

/* ---- workers ---- */

static void on_applied(void *ctx, struct worker *worker, int64_t metadata_offset)
{
    struct broker *broker = ctx;
    metadata_follow_on_applied(broker->metadata_follow, worker, metadata_offset);
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
    unsigned count = broker->options->num_worker_threads > 0 ? (unsigned)broker->options->num_worker_threads
                                                             : runtime_cpu_count(broker->env->runtime);
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

/* ---- joining the cluster ---- */

static void on_registered(void *ctx)
{
    struct broker *broker = ctx;
    struct broker_private *priv = broker->priv;
    priv->is_registering = false;
    if (broker_state(broker) == BROKER_STOPPING) {
        broker_begin_stop(broker); /* asked to stop meanwhile */
        return;
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
    broker_set_state(broker, BROKER_READY);
    log_info(broker->env->logger, "broker", "ready",
             "cluster_id=%s node_id=%d broker_epoch=%lld workers=%u start_ms=%llu", priv->cluster_id,
             broker->options->node_id, (long long)registration_broker_epoch(priv->registration), broker->worker_count,
             (unsigned long long)(clock_mono_us(broker->env->clock) - priv->start_us) / 1000);
    priv->on_ready(priv->events_ctx);
}

static void on_registration_failed(void *ctx, enum err err, const char *message)
{
    struct broker *broker = ctx;
    (void)err;
    broker->priv->is_registering = false;
    if (broker_state(broker) == BROKER_STOPPING) {
        broker_begin_stop(broker);
        return;
    }
    broker_fail(broker, message);
}

static void join_cluster(struct broker *broker, int64_t previous_epoch)
{
    struct broker_private *priv = broker->priv;
    struct registration_facts facts = {
        .previous_epoch = previous_epoch, .endpoints = priv->endpoints, .endpoint_count = priv->endpoint_count};
    struct registration_events events = {
        .on_registered = on_registered, .on_failed = on_registration_failed, .ctx = broker};
    priv->registration = registration_new(broker, broker->metadata_follow);
    priv->is_registering = true;
    registration_start(priv->registration, &facts, &events);
}

static enum err start_parts(struct broker *broker, struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    int64_t previous_epoch = -1;
    enum err err = broker_listeners_parse(broker->options, &priv->addresses, ret_problem);
    if (err == ERR_OK) {
        err = bind_addresses(broker, ret_problem);
    }
    if (err == ERR_OK) {
        err = open_state(broker, &previous_epoch, ret_problem);
    }
    if (err == ERR_OK) {
        err = make_workers(broker, ret_problem);
    }
    if (err != ERR_OK) {
        return err;
    }
    priv->admission = admission_new(broker->home, broker->worker_count, (size_t)broker->options->max_connections,
                                    (size_t)broker->options->max_connections_per_ip);
    priv->checkpointer = checkpointer_new(broker);
    broker->metadata_follow = metadata_follow_new(broker);
    for (unsigned i = 0; i < broker->worker_count; i++) {
        worker_start(broker->workers[i]);
    }
    join_cluster(broker, previous_epoch);
    return ERR_OK;
}

enum err broker_start(struct broker *broker, broker_event_fn on_ready, broker_event_fn on_failed, void *ctx,
                      struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    broker_set_state(broker, BROKER_STARTING);
    priv->start_us = clock_mono_us(broker->env->clock);
    priv->on_ready = on_ready;
    priv->on_failed = on_failed;
    priv->events_ctx = ctx;
    priv->home_metrics = metric_set_new(broker->metrics, broker_metrics_table());
    priv->dir_failed = (struct broker_note){.task = {.run = on_dir_failed_home}, .broker = broker};
    enum err err = start_parts(broker, ret_problem);
    if (err != ERR_OK) {
        if (broker->controller != NULL) {
            controller_stop(broker->controller);
        }
        broker_unmake(broker);
        broker_set_state(broker, BROKER_NEW);
    }
    return err;
}

void broker_unmake(struct broker *broker)
{
    struct broker_private *priv = broker->priv;
    for (size_t i = 0; i < BROKER_LISTENERS_MAX; i++) {
        listener_close(priv->listeners[i]);
        priv->listeners[i] = NULL;
    }
    for (unsigned i = 0; i < broker->worker_count; i++) {
        worker_free(broker->workers[i]);
    }
    registration_free(priv->registration);
    metadata_follow_free(broker->metadata_follow);
    checkpointer_free(priv->checkpointer);
    place_claims_free(priv->places);
    strays_free(priv->strays);
    controller_free(broker->controller);
    if (broker->worker_count > 0) {
        memory_budget_done(&priv->budget);
    }
    log_dirs_close(broker->log_dirs);
    admission_free(priv->admission);
    if (priv->home_metrics != NULL) {
        metric_set_free(broker->metrics, priv->home_metrics);
    }
    mem_free(broker->workers);
    mem_free(priv->sets);
    mem_free(priv->loops);
    mem_free(priv->notes);
    mem_free(priv->metadata_dir);
    enum broker_state state = broker_state(broker);
    *priv = (struct broker_private){0};
    atomic_init(&priv->state, state);
    broker->workers = NULL;
    broker->worker_count = 0;
    broker->log_dirs = NULL;
    broker->controller = NULL;
    broker->metadata_follow = NULL;
}

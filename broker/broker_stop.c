/* The orderly end:
 *
 *   leave (others lead this node's partitions) -> listeners closed -> connections drain (BROKER_DRAIN_US) -> checkpoints -> streams end
 *   -> partitions close: whoever still waits is answered -> metadata unsubscribed -> the way to the controllers closed: requests end
 *   -> last connections gone -> controller stopped -> clean-shutdown mark -> workers end
 *
 * Fetches that wait for news would hold the drain up for as long as they may wait; closing the partitions wakes them. Requests that a
 * far controller does not answer end with the way to it. The clean-shutdown mark is the last thing on the disk: it says that
 * everything before it has happened. A node that has not joined yet has only the way to the controllers and its own one to end. */
#include "broker/broker_internal.h"
#include "broker/meta/metadata_follow.h"
#include "broker/meta/registration.h"
#include "broker/replica/checkpointer.h"
#include "broker/replica/isr_proposer.h"
#include "broker/replica/log_dirs.h"
#include "broker/replica/partition_set.h"
#include "broker/replica/place_claims.h"
#include "broker/replica/strays.h"
#include "broker/stream/stream_client.h"
#include "broker/stream/stream_server.h"
#include "broker/worker.h"
#include "common/check.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/rpc/rpc_server.h"
#include "common/seam/clock.h"
#include "controller/controller_client.h"

static struct broker *broker_of(struct loop_task *task)
{
    return CONTAINER_OF(task, struct broker_note, task)->broker;
}

static unsigned index_of(const struct broker *broker, const struct broker_worker_notes *notes)
{
    return (unsigned)(notes - broker->priv->notes);
}

/* ---- 6: the end, when nothing is left but idle threads ---- */

static void put_clean_marks(struct broker *broker)
{
    int64_t broker_epoch = atomic_load(&broker->priv->broker_epoch);
    if (broker_epoch < 0 || broker->log_dirs == NULL) {
        return; /* never became a member: nothing to promise */
    }
    enum err err = log_dirs_put_clean_marks(broker->log_dirs, broker_epoch);
    if (err != ERR_OK) {
        log_warn(broker->env->logger, "broker", "clean_mark_failed",
                 "err=%s effect=\"the next start recovers the logs\"", err_name(err));
    }
}

static void finish(struct broker *broker)
{
    struct broker_private *priv = broker->priv;
    if (broker->controller != NULL) {
        controller_stop(broker->controller); /* its last callbacks are posted before worker_stop */
    }
    if (priv->internal != NULL) {
        rpc_server_close(priv->internal);
    }
    put_clean_marks(broker);
    for (unsigned i = 0; i < broker->worker_count; i++) {
        if (broker->workers[i] != NULL) { /* else the join has failed in the middle of making them */
            worker_stop(broker->workers[i]);
        }
    }
    broker_set_state(broker, BROKER_STOPPED);
    log_info(broker->env->logger, "broker", "stopped", "node_id=%d", broker->options->node_id);
    priv->on_stopped(priv->stop_ctx);
}

static void end_when_quiet(struct broker *broker)
{
    struct broker_private *priv = broker->priv;
    if (priv->connections_running == 0 && priv->is_client_stopped) {
        finish(broker);
    }
}

/* ---- 5: the metadata and the way to the controllers ---- */

static void on_client_stopped(void *ctx)
{
    struct broker *broker = ctx;
    broker->priv->is_client_stopped = true;
    end_when_quiet(broker);
}

static void on_unsubscribed(void *ctx)
{
    struct broker *broker = ctx;
    if (broker->isr_proposer != NULL) {
        isr_proposer_stop(broker->isr_proposer);
    }
    controller_client_stop(broker->controller_client, on_client_stopped, broker);
}

/* ---- 4: partitions ---- */

static void on_partitions_stopped(struct loop_task *task)
{
    struct broker *broker = broker_of(task);
    CHECK(broker->priv->partitions_running > 0);
    broker->priv->partitions_running--;
    if (broker->priv->partitions_running == 0) {
        metadata_follow_stop(broker->metadata_follow, on_unsubscribed, broker);
    }
}

static void stop_partitions_here(struct loop_task *task)
{
    struct broker *broker = broker_of(task);
    struct broker_worker_notes *notes = CONTAINER_OF(task, struct broker_worker_notes, stop_partitions.task);
    partition_set_stop(broker->workers[index_of(broker, notes)]->partitions);
}

/* ---- 3: checkpoints, then streams ---- */

static void on_streams_stopped(struct loop_task *task)
{
    struct broker *broker = broker_of(task);
    CHECK(broker->priv->streams_running > 0);
    broker->priv->streams_running--;
    for (unsigned i = 0; broker->priv->streams_running == 0 && i < broker->worker_count; i++) {
        loop_post(broker->workers[i]->loop, &broker->priv->notes[i].stop_partitions.task);
    }
}

/* On the worker. */
static void on_server_stopped(void *ctx)
{
    struct broker_worker_notes *notes = ctx;
    struct broker *broker = notes->streams_stopped.broker;
    loop_post(broker->home, &notes->streams_stopped.task);
}

static void on_stream_client_stopped(void *ctx)
{
    struct broker_worker_notes *notes = ctx;
    struct broker *broker = notes->streams_stopped.broker;
    stream_server_stop(broker->workers[index_of(broker, notes)]->stream_server, on_server_stopped, notes);
}

static void stop_streams_here(struct loop_task *task)
{
    struct broker *broker = broker_of(task);
    struct broker_worker_notes *notes = CONTAINER_OF(task, struct broker_worker_notes, stop_streams.task);
    stream_client_stop(broker->workers[index_of(broker, notes)]->stream_client, on_stream_client_stopped, notes);
}

static void stop_streams(struct loop_task *task)
{
    struct broker *broker = broker_of(task);
    if (broker->priv->internal != NULL) {
        rpc_server_set_acceptor(broker->priv->internal, RPC_KIND_REPLICA, NULL);
    }
    for (unsigned i = 0; i < broker->worker_count; i++) {
        loop_post(broker->workers[i]->loop, &broker->priv->notes[i].stop_streams.task);
    }
}

static void on_flushed(void *ctx)
{
    struct broker *broker = ctx;
    loop_post(broker->home, &broker->priv->flushed.task); /* this runs on the first worker */
}

static void flush(struct broker *broker)
{
    struct broker_private *priv = broker->priv;
    if (priv->is_closing_partitions) {
        return;
    }
    priv->is_closing_partitions = true;
    loop_timer_cancel(broker->home, &priv->drain_timer);
    checkpointer_flush(priv->checkpointer, on_flushed, broker);
}

static void drain_is_over(struct loop_timer *timer)
{
    flush(CONTAINER_OF(timer, struct broker_private, drain_timer)->flushed.broker);
}

/* ---- 2: connections ---- */

static void on_connections_stopped(struct loop_task *task)
{
    struct broker *broker = broker_of(task);
    CHECK(broker->priv->connections_running > 0);
    broker->priv->connections_running--;
    if (broker->priv->connections_running == 0) {
        flush(broker);
        end_when_quiet(broker);
    }
}

static void on_set_stopped(void *ctx)
{
    struct broker_worker_notes *notes = ctx;
    struct broker *broker = notes->connections_stopped.broker;
    loop_post(broker->home, &notes->connections_stopped.task);
}

static void stop_connections_here(struct loop_task *task)
{
    struct broker *broker = broker_of(task);
    struct broker_worker_notes *notes = CONTAINER_OF(task, struct broker_worker_notes, stop_connections.task);
    connection_set_stop(broker->workers[index_of(broker, notes)]->connections, on_set_stopped, notes);
}

static void make_notes(struct broker *broker)
{
    for (unsigned i = 0; i < broker->worker_count; i++) {
        struct broker_worker_notes *notes = &broker->priv->notes[i];
        notes->stop_connections = (struct broker_note){.task = {.run = stop_connections_here}, .broker = broker};
        notes->stop_streams = (struct broker_note){.task = {.run = stop_streams_here}, .broker = broker};
        notes->streams_stopped = (struct broker_note){.task = {.run = on_streams_stopped}, .broker = broker};
        notes->stop_partitions = (struct broker_note){.task = {.run = stop_partitions_here}, .broker = broker};
        notes->connections_stopped = (struct broker_note){.task = {.run = on_connections_stopped}, .broker = broker};
        notes->partitions_stopped = (struct broker_note){.task = {.run = on_partitions_stopped}, .broker = broker};
    }
    broker->priv->flushed = (struct broker_note){.task = {.run = stop_streams}, .broker = broker};
}

static void close_listeners(struct broker *broker)
{
    for (size_t i = 0; i < BROKER_LISTENERS_MAX; i++) {
        listener_close(broker->priv->listeners[i]);
        broker->priv->listeners[i] = NULL;
    }
}

static void stop_connections(struct broker *broker)
{
    struct broker_private *priv = broker->priv;
    make_notes(broker);
    priv->connections_running = broker->worker_count;
    priv->streams_running = broker->worker_count;
    priv->partitions_running = broker->worker_count;
    for (unsigned i = 0; i < broker->worker_count; i++) {
        loop_post(broker->workers[i]->loop, &priv->notes[i].stop_connections.task);
    }
    priv->drain_timer.fire = drain_is_over;
    loop_timer_set(broker->home, &priv->drain_timer, loop_now_us(broker->home) + BROKER_DRAIN_US);
}

/* ---- 1: leaving ---- */

static void on_left(void *ctx)
{
    struct broker *broker = ctx;
    close_listeners(broker);
    stop_connections(broker);
}

void broker_stop(struct broker *broker, broker_event_fn on_stopped, void *ctx)
{
    struct broker_private *priv = broker->priv;
    bool has_failed = broker_state(broker) == BROKER_FAILED;
    broker_set_state(broker, BROKER_STOPPING);
    log_info(broker->env->logger, "broker", "stopping", "node_id=%d", broker->options->node_id);
    priv->on_stopped = on_stopped;
    priv->stop_ctx = ctx;
    if (priv->registration != NULL) {
        registration_leave(priv->registration, has_failed, on_left, broker);
        return;
    }
    close_listeners(broker);
    on_unsubscribed(broker);
}

/* ---- freeing ---- */

void broker_unmake(struct broker *broker)
{
    struct broker_private *priv = broker->priv;
    close_listeners(broker);
    for (unsigned i = 0; i < broker->worker_count; i++) {
        worker_free(broker->workers[i]);
    }
    registration_free(priv->registration);
    metadata_follow_free(broker->metadata_follow);
    isr_proposer_free(broker->isr_proposer);
    checkpointer_free(priv->checkpointer);
    place_claims_free(priv->places);
    strays_free(priv->strays);
    controller_client_free(broker->controller_client);
    controller_free(broker->controller);
    if (priv->internal != NULL) {
        rpc_server_close(priv->internal);
        rpc_server_free(priv->internal);
    }
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
    broker->controller_client = NULL;
    broker->isr_proposer = NULL;
    broker->metadata_follow = NULL;
}

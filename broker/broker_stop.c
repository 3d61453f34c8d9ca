/* The orderly end:
 *
 *   listeners closed -> connections drain (BROKER_DRAIN_US) -> checkpoints -> partitions close: whoever still waits is
 *   answered -> last connections gone -> metadata unsubscribed -> controller stopped -> clean-shutdown mark -> workers end
 *
 * Fetches that wait for news would hold the drain up for as long as they may wait; closing the partitions wakes them. The
 * clean-shutdown mark is the last thing on the disk: it says that everything before it has happened. */
#include "broker/broker_internal.h"
#include "broker/meta/metadata_follow.h"
#include "broker/meta/registration.h"
#include "broker/replica/checkpointer.h"
#include "broker/replica/log_dirs.h"
#include "broker/replica/partition_set.h"
#include "broker/worker.h"
#include "common/check.h"
#include "common/logger.h"
#include "common/seam/clock.h"
#include "controller/controller.h"

static struct broker *broker_of(struct loop_task *task)
{
    return CONTAINER_OF(task, struct broker_note, task)->broker;
}

/* ---- 4: the end, when nothing is left but idle threads ---- */

static void put_clean_marks(struct broker *broker)
{
    int64_t broker_epoch = registration_broker_epoch(broker->priv->registration);
    if (broker_epoch < 0) {
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
    put_clean_marks(broker);
    for (unsigned i = 0; i < broker->worker_count; i++) {
        worker_stop(broker->workers[i]);
    }
    broker_set_state(broker, BROKER_STOPPED);
    log_info(broker->env->logger, "broker", "stopped", "node_id=%d", broker->options->node_id);
    priv->on_stopped(priv->stop_ctx);
}

static void on_unsubscribed(void *ctx)
{
    struct broker *broker = ctx;
    controller_stop(
        broker->controller); /* ends the requests under way; their callbacks are posted before worker_stop */
    finish(broker);
}

static void end_when_quiet(struct broker *broker)
{
    struct broker_private *priv = broker->priv;
    if (priv->connections_running > 0 || priv->partitions_running > 0) {
        return;
    }
    if (registration_broker_epoch(priv->registration) < 0) {
        on_unsubscribed(broker); /* refused by the controller: there is no subscription */
        return;
    }
    metadata_follow_stop(broker->metadata_follow, on_unsubscribed, broker);
}

/* ---- 3: partitions ---- */

static void on_partitions_stopped(struct loop_task *task)
{
    struct broker *broker = broker_of(task);
    CHECK(broker->priv->partitions_running > 0);
    broker->priv->partitions_running--;
    end_when_quiet(broker);
}

static unsigned index_of(const struct broker *broker, const struct broker_worker_notes *notes)
{
    return (unsigned)(notes - broker->priv->notes);
}

static void stop_partitions_here(struct loop_task *task)
{
    struct broker *broker = broker_of(task);
    struct broker_worker_notes *notes = CONTAINER_OF(task, struct broker_worker_notes, stop_partitions.task);
    partition_set_stop(broker->workers[index_of(broker, notes)]->partitions);
}

static void stop_partitions(struct loop_task *task)
{
    struct broker *broker = broker_of(task);
    for (unsigned i = 0; i < broker->worker_count; i++) {
        loop_post(broker->workers[i]->loop, &broker->priv->notes[i].stop_partitions.task);
    }
}

/* ---- 2: checkpoints ---- */

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

/* ---- 1: connections ---- */

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
        notes->stop_partitions = (struct broker_note){.task = {.run = stop_partitions_here}, .broker = broker};
        notes->connections_stopped = (struct broker_note){.task = {.run = on_connections_stopped}, .broker = broker};
        notes->partitions_stopped = (struct broker_note){.task = {.run = on_partitions_stopped}, .broker = broker};
    }
    broker->priv->flushed = (struct broker_note){.task = {.run = stop_partitions}, .broker = broker};
}

void broker_begin_stop(struct broker *broker)
{
    struct broker_private *priv = broker->priv;
    make_notes(broker);
    priv->connections_running = broker->worker_count;
    priv->partitions_running = broker->worker_count;
    for (unsigned i = 0; i < broker->worker_count; i++) {
        loop_post(broker->workers[i]->loop, &priv->notes[i].stop_connections.task);
    }
    priv->drain_timer.fire = drain_is_over;
    loop_timer_set(broker->home, &priv->drain_timer, loop_now_us(broker->home) + BROKER_DRAIN_US);
}

void broker_stop(struct broker *broker, broker_event_fn on_stopped, void *ctx)
{
    struct broker_private *priv = broker->priv;
    broker_set_state(broker, BROKER_STOPPING);
    log_info(broker->env->logger, "broker", "stopping", "node_id=%d", broker->options->node_id);
    priv->on_stopped = on_stopped;
    priv->stop_ctx = ctx;
    for (size_t i = 0; i < BROKER_LISTENERS_MAX; i++) {
        listener_close(priv->listeners[i]);
        priv->listeners[i] = NULL;
    }
    if (!priv->is_registering) {
        broker_begin_stop(broker);
    }
}

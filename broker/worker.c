/* One thread of the broker. The step is the one place where the order of durability is visible: partitions first (counted ends,
 * high watermarks, the answers that wait for them, the next syncs), sockets last. */
#include "broker/worker.h"

#include "broker/api/dispatch.h"
#include "broker/api/fetch_session.h"
#include "broker/api/producer_ids.h"
#include "broker/broker.h"
#include "broker/broker_metrics.h"
#include "broker/net/connection_set.h"
#include "broker/replica/partition_set.h"
#include "broker/stream/stream_client.h"
#include "broker/stream/stream_lane.h"
#include "broker/stream/stream_server.h"
#include "common/check.h"
#include "common/mem.h"
#include "controller/image.h"

#include <stdio.h>

#define WORKER_NAME_BYTES 16
/* Segment files that one worker keeps open; more are opened again when they are used. */
#define WORKER_FILES_MAX 4096

static void step(void *ctx)
{
    struct worker *worker = ctx;
    partition_set_step(worker->partitions);
    stream_server_step(worker->stream_server);
    stream_client_step(worker->stream_client);
    connection_set_write(worker->connections);
}

static void take_request(void *ctx, struct request *request)
{
    struct worker *worker = ctx;
    dispatch_request(worker->broker->dispatch, request);
}

static void run_stop(struct loop_task *task)
{
    loop_stop(CONTAINER_OF(task, struct worker, stop_task)->loop);
}

static void make_connections(struct worker *worker, const struct worker_config *config)
{
    struct env *env = config->broker->env;
    memory_queue_init(&worker->memory, config->budget, config->index, worker->loop);
    struct connection_set_config set_config = {
        .worker = worker,
        .loop = worker->loop,
        .clock = env->clock,
        .logger = env->logger,
        .metrics = worker->metrics,
        .memory = &worker->memory,
        .limits = config->limits,
        .sink = take_request,
        .sink_ctx = worker,
    };
    worker->connections = connection_set_new(&set_config);
}

static uint32_t session_slots(const struct worker_config *config)
{
    uint32_t slots = (uint32_t)config->broker->options->max_incremental_fetch_session_cache_slots;
    return (slots + config->worker_count - 1) / config->worker_count;
}

enum err worker_new(const struct worker_config *config, struct worker **ret_worker)
{
    struct broker *broker = config->broker;
    struct env *env = broker->env;
    char name[WORKER_NAME_BYTES];
    (void)snprintf(name, sizeof(name), "worker-%u", config->index);
    struct loop *loop = NULL;
    enum err err = runtime_loop_new(env->runtime, name, &loop);
    if (err != ERR_OK) {
        return err;
    }
    struct worker *worker = MEM_NEW(struct worker);
    worker->broker = broker;
    worker->index = config->index;
    worker->loop = loop;
    worker->lost_broker_waits.loop = loop;
    worker->stop_task.run = run_stop;
    worker->metrics = metric_set_new(broker->metrics, broker_metrics_table());
    make_connections(worker, config);
    struct partition_set_options options = *config->partition_options;
    options.files_max = WORKER_FILES_MAX;
    worker->stream_server = stream_server_new(worker);
    worker->stream_client = stream_client_new(worker);
    stream_client_events(worker->stream_client, &options.follow);
    worker->partitions = partition_set_new(worker, env, broker->log_dirs, &options);
    worker->fetch_sessions =
        fetch_session_cache_new(env->rng, config->index, config->worker_count, session_slots(config));
    worker->producer_ids = producer_ids_new(worker);
    loop_set_step(loop, step, worker);
    *ret_worker = worker;
    return ERR_OK;
}

void worker_start(struct worker *worker)
{
    partition_set_start(worker->partitions);
    worker->is_started = true;
    runtime_loop_start(worker->broker->env->runtime, worker->loop);
}

void worker_stop(struct worker *worker)
{
    loop_post(worker->loop, &worker->stop_task);
}

void worker_free(struct worker *worker)
{
    if (worker == NULL) {
        return;
    }
    struct runtime *runtime = worker->broker->env->runtime;
    if (worker->is_started) {
        runtime_loop_join(runtime, worker->loop);
    }
    producer_ids_free(worker->producer_ids);
    fetch_session_cache_free(worker->fetch_sessions);
    stream_client_free(worker->stream_client);
    stream_server_free(worker->stream_server);
    partition_set_free(worker->partitions);
    connection_set_free(worker->connections);
    if (worker->image != NULL) {
        image_unref(worker->image);
    }
    metric_set_free(worker->broker->metrics, worker->metrics);
    runtime_loop_free(runtime, worker->loop);
    mem_free(worker);
}

/* The id is random, so that topics spread; the partitions of one topic go round, so that each topic spreads evenly. */
struct worker *worker_of_partition(struct broker *broker, struct uuid topic_id, int32_t partition_index)
{
    CHECK(partition_index >= 0);
    return broker->workers[stream_lane_hash(topic_id, partition_index, broker->worker_count)];
}

#include "net_harness.h"

#include "broker/broker_metrics.h"
#include "common/big_endian.h"
#include "common/check.h"
#include "common/mem.h"
#include "common/seam/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct net_harness_config net_harness_defaults(void)
{
    return (struct net_harness_config){
        .limits = {.request_bytes_max = 16u << 20,
                   .request_bytes_max_unauthenticated = 4096,
                   .requests_in_flight_max = 64,
                   .idle_us = 60000000,
                   .read_stall_us = 60000000,
                   .write_stall_us = 60000000,
                   .handshake_us = 60000000,
                   .drain_us = 10000000},
        .memory_bytes = 256u << 20,
        .connection_count_max = 1000,
        .per_address_max = 1000,
    };
}

static void keep_log(void *ctx, enum log_level level, const char *line, size_t bytes)
{
    struct net_harness *harness = ctx;
    (void)level;
    pthread_mutex_lock(&harness->lock);
    if (harness->log_bytes + bytes < sizeof(harness->log)) {
        memcpy(harness->log + harness->log_bytes, line, bytes);
        harness->log_bytes += bytes;
    }
    pthread_mutex_unlock(&harness->lock);
}

static void keep_request(void *ctx, struct request *request)
{
    struct net_harness *harness = ctx;
    pthread_mutex_lock(&harness->lock);
    CHECK(harness->request_count < HARNESS_REQUESTS_MAX);
    harness->requests[harness->request_count++] = request;
    pthread_cond_broadcast(&harness->changed);
    pthread_mutex_unlock(&harness->lock);
}

static void worker_step(void *ctx)
{
    struct net_harness *harness = ctx;
    connection_set_write(harness->worker.connections);
}

static void start_worker(struct net_harness *harness, const struct net_harness_config *config)
{
    struct env *env = &harness->posix->env;
    harness->broker = (struct broker){.env = env, .dispatch = config->dispatch};
    harness->broker.metrics = metric_registry_new();
    harness->worker = (struct worker){.broker = &harness->broker};
    harness->worker.metrics = metric_set_new(harness->broker.metrics, broker_metrics_table());
    harness->home_metrics = metric_set_new(harness->broker.metrics, broker_metrics_table());
    assert_int_equal(runtime_loop_new(env->runtime, "test-worker", &harness->worker.loop), ERR_OK);
    memory_budget_init(&harness->budget, config->memory_bytes, 1);
    memory_queue_init(&harness->queue, &harness->budget, 0, harness->worker.loop);
    struct connection_set_config set_config = {
        .worker = &harness->worker,
        .loop = harness->worker.loop,
        .clock = env->clock,
        .logger = &harness->logger,
        .metrics = harness->worker.metrics,
        .memory = &harness->queue,
        .limits = &harness->limits,
        .sink = config->sink == NULL ? keep_request : config->sink,
        .sink_ctx = config->sink == NULL ? harness : config->sink_ctx,
    };
    harness->worker.connections = connection_set_new(&set_config);
    loop_set_step(harness->worker.loop, worker_step, harness);
}

struct net_harness *net_harness_start(const struct net_harness_config *config)
{
    struct net_harness *harness = MEM_NEW(struct net_harness);
    pthread_mutex_init(&harness->lock, NULL);
    pthread_cond_init(&harness->changed, NULL);
    harness->posix = posix_env_new(LOG_WARN);
    struct env *env = &harness->posix->env;
    logger_init(&harness->logger, env->clock, LOG_DEBUG, keep_log, harness);
    harness->limits = config->limits;
    start_worker(harness, config);
    assert_int_equal(runtime_loop_new(env->runtime, "test-home", &harness->home), ERR_OK);
    harness->admission = admission_new(harness->home, 1, config->connection_count_max, config->per_address_max);
    struct listener_config listener_config = {.net = env->net,
                                              .home = harness->home,
                                              .logger = &harness->logger,
                                              .name = "PLAINTEXT",
                                              .host = "127.0.0.1",
                                              .port = 0,
                                              .is_authenticated = !config->is_unauthenticated};
    assert_int_equal(listener_bind(&listener_config, &harness->listener), ERR_OK);
    listener_address(harness->listener, &harness->address);
    harness->targets = (struct listener_targets){.admission = harness->admission,
                                                 .sets = &harness->worker.connections,
                                                 .loops = &harness->worker.loop,
                                                 .metrics = harness->home_metrics};
    listener_open(harness->listener, &harness->targets);
    runtime_loop_start(env->runtime, harness->worker.loop);
    runtime_loop_start(env->runtime, harness->home);
    return harness;
}

struct run_task {
    struct loop_task task;
    struct net_harness *harness;
    void (*fn)(struct net_harness *harness, void *ctx);
    void *ctx;
    bool is_done;
};

static void run_posted(struct loop_task *task)
{
    struct run_task *run = CONTAINER_OF(task, struct run_task, task);
    struct net_harness *harness = run->harness;
    run->fn(harness, run->ctx);
    pthread_mutex_lock(&harness->lock);
    run->is_done = true;
    pthread_cond_broadcast(&harness->changed);
    pthread_mutex_unlock(&harness->lock);
}

static void wait_changed(struct net_harness *harness)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += HARNESS_DEADLINE_S;
    assert_int_equal(pthread_cond_timedwait(&harness->changed, &harness->lock, &until), 0);
}

static void run_on(struct net_harness *harness, struct loop *loop, void (*fn)(struct net_harness *, void *), void *ctx)
{
    struct run_task run = {.task = {.run = run_posted}, .harness = harness, .fn = fn, .ctx = ctx};
    loop_post(loop, &run.task);
    pthread_mutex_lock(&harness->lock);
    while (!run.is_done) {
        wait_changed(harness);
    }
    pthread_mutex_unlock(&harness->lock);
}

void net_harness_run(struct net_harness *harness, void (*fn)(struct net_harness *harness, void *ctx), void *ctx)
{
    run_on(harness, harness->worker.loop, fn, ctx);
}

static void close_listener(struct net_harness *harness, void *ctx)
{
    (void)ctx;
    listener_close(harness->listener);
}

static void set_stopped(void *ctx)
{
    struct net_harness *harness = ctx;
    loop_stop(harness->worker.loop);
}

static void stop_set(struct net_harness *harness, void *ctx)
{
    (void)ctx;
    connection_set_stop(harness->worker.connections, set_stopped, harness);
}

static void stop_home(struct net_harness *harness, void *ctx)
{
    (void)ctx;
    CHECK(admission_count(harness->admission) == 0);
    loop_stop(harness->home);
}

void net_harness_begin_stop(struct net_harness *harness)
{
    if (!harness->is_stopping) {
        harness->is_stopping = true;
        run_on(harness, harness->home, close_listener, NULL);
        net_harness_run(harness, stop_set, NULL);
    }
}

void net_harness_stop(struct net_harness *harness)
{
    struct runtime *runtime = harness->posix->env.runtime;
    net_harness_begin_stop(harness);
    runtime_loop_join(runtime, harness->worker.loop);
    run_on(harness, harness->home, stop_home, NULL);
    runtime_loop_join(runtime, harness->home);
    connection_set_free(harness->worker.connections);
    admission_free(harness->admission);
    memory_budget_done(&harness->budget);
    runtime_loop_free(runtime, harness->worker.loop);
    runtime_loop_free(runtime, harness->home);
    metric_set_free(harness->broker.metrics, harness->worker.metrics);
    metric_set_free(harness->broker.metrics, harness->home_metrics);
    metric_registry_free(harness->broker.metrics);
    posix_env_free(harness->posix);
    pthread_cond_destroy(&harness->changed);
    pthread_mutex_destroy(&harness->lock);
    mem_free(harness);
}

void net_harness_wait_requests(struct net_harness *harness, size_t count)
{
    pthread_mutex_lock(&harness->lock);
    while (harness->request_count < count) {
        wait_changed(harness);
    }
    pthread_mutex_unlock(&harness->lock);
}

size_t net_harness_request_count(struct net_harness *harness)
{
    pthread_mutex_lock(&harness->lock);
    size_t count = harness->request_count;
    pthread_mutex_unlock(&harness->lock);
    return count;
}

static void count_connections(struct net_harness *harness, void *ctx)
{
    *(size_t *)ctx = connection_set_count(harness->worker.connections);
}

static void do_nothing(struct net_harness *harness, void *ctx)
{
    (void)harness;
    (void)ctx;
}

void net_harness_wait_connections(struct net_harness *harness, size_t count)
{
    time_t until_s = time(NULL) + HARNESS_DEADLINE_S;
    size_t now = SIZE_MAX;
    while (now != count) {
        assert_true(time(NULL) < until_s);
        net_harness_run(harness, count_connections, &now);
    }
    /* The places of those that went are told to the home thread by posts: behind this one it knows them all. */
    run_on(harness, harness->home, do_nothing, NULL);
}

size_t net_harness_log_count(struct net_harness *harness, const char *text)
{
    size_t count = 0;
    pthread_mutex_lock(&harness->lock);
    harness->log[harness->log_bytes] = '\0';
    for (const char *at = harness->log; (at = strstr(at, text)) != NULL; at++) {
        count++;
    }
    pthread_mutex_unlock(&harness->lock);
    return count;
}

bool net_harness_log_has(struct net_harness *harness, const char *text)
{
    return net_harness_log_count(harness, text) > 0;
}

struct reply_args {
    size_t index;
    const void *payload;
    size_t bytes;
    bool is_nothing;
};

static struct request *take_request(struct net_harness *harness, size_t index)
{
    pthread_mutex_lock(&harness->lock);
    CHECK(index < harness->request_count);
    struct request *request = harness->requests[index];
    harness->requests[index] = NULL;
    pthread_mutex_unlock(&harness->lock);
    CHECK(request != NULL); /* cmocka can only fail the test thread */
    return request;
}

static void reply_here(struct net_harness *harness, void *ctx)
{
    const struct reply_args *args = ctx;
    struct request *request = take_request(harness, args->index);
    if (args->is_nothing) {
        connection_reply_nothing(request);
        return;
    }
    struct reply_output output = {.bytes = 4 + args->bytes};
    output.data = mem_alloc(output.bytes);
    be32_put(output.data, (uint32_t)args->bytes);
    memcpy(output.data + 4, args->payload, args->bytes);
    connection_reply(request, &output);
}

void net_harness_reply(struct net_harness *harness, size_t index, const void *payload, size_t bytes)
{
    struct reply_args args = {.index = index, .payload = payload, .bytes = bytes};
    net_harness_run(harness, reply_here, &args);
}

void net_harness_reply_nothing(struct net_harness *harness, size_t index)
{
    struct reply_args args = {.index = index, .is_nothing = true};
    net_harness_run(harness, reply_here, &args);
}

int net_client_connect(struct net_harness *harness)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct timeval deadline = {.tv_sec = HARNESS_DEADLINE_S};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline)), 0);
    int on = 1;
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(harness->address.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

void net_client_send(int fd, const void *bytes, size_t count)
{
    const uint8_t *from = bytes;
    while (count > 0) {
        ssize_t sent = send(fd, from, count, MSG_NOSIGNAL);
        assert_true(sent > 0);
        from += sent;
        count -= (size_t)sent;
    }
}

void net_client_send_frame(int fd, const void *body, size_t bytes)
{
    uint8_t *frame = mem_alloc(bytes + 4);
    be32_put(frame, (uint32_t)bytes);
    memcpy(frame + 4, body, bytes);
    net_client_send(fd, frame, bytes + 4);
    mem_free(frame);
}

void net_client_receive(int fd, void *ret_bytes, size_t bytes)
{
    uint8_t *to = ret_bytes;
    while (bytes > 0) {
        ssize_t got = recv(fd, to, bytes, 0);
        assert_true(got > 0);
        to += got;
        bytes -= (size_t)got;
    }
}

uint8_t *net_client_receive_frame(int fd, size_t *ret_bytes)
{
    uint8_t size[4];
    net_client_receive(fd, size, sizeof(size));
    size_t bytes = be32_get(size);
    assert_true(bytes < 1u << 30);
    uint8_t *body = malloc(bytes + 1);
    assert_non_null(body);
    net_client_receive(fd, body, bytes);
    *ret_bytes = bytes;
    return body;
}

void net_client_expect_closed(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
}

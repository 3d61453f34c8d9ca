/* net_harness: a listener, a worker loop and a connection_set with a sink that tests steer, on real loopback sockets.
 *
 * Shape:     the sink keeps every request; the test answers them, in any order, on the worker's thread. Clients are plain
 *            blocking sockets of the test's own thread, with a deadline on every call.
 * Threads:   the test's; the harness runs a home and a worker loop in threads of their own.
 */
#ifndef TESTS_UNIT_BROKER_NET_HARNESS_H
#define TESTS_UNIT_BROKER_NET_HARNESS_H

#include "broker/broker.h"
#include "broker/net/connection.h"
#include "broker/net/connection_set.h"
#include "broker/net/listener.h"
#include "broker/worker.h"
#include "common/logger.h"
#include "common/metric.h"
#include "common/posix/posix_env.h"

#include <pthread.h>

#define HARNESS_REQUESTS_MAX 8192
#define HARNESS_LOG_BYTES 65536
#define HARNESS_DEADLINE_S 20

struct net_harness {
    struct posix_env *posix;
    struct loop *home;
    struct broker broker;
    struct worker worker;
    struct metric_set *home_metrics;
    struct memory_budget budget;
    struct memory_queue queue;
    struct connection_limits limits;
    struct admission *admission;
    struct listener *listener;
    struct listener_targets targets;
    struct net_address address;
    struct logger logger;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct request *requests[HARNESS_REQUESTS_MAX]; /* NULL when answered */
    size_t request_count;
    char log[HARNESS_LOG_BYTES];
    size_t log_bytes;
    bool is_stopping;
};

struct net_harness_config {
    struct connection_limits limits;
    size_t memory_bytes;
    size_t connection_count_max;
    size_t per_address_max;
    bool is_unauthenticated;
    request_sink_fn sink; /* NULL: keep the requests for the test */
    void *sink_ctx;
    const struct dispatch_table *dispatch;
};

/* Generous limits: a test lowers what it is about. */
struct net_harness_config net_harness_defaults(void);
struct net_harness *net_harness_start(const struct net_harness_config *config);
/* Listener closed, connections draining: requests may still be answered. */
void net_harness_begin_stop(struct net_harness *harness);
/* Begins it where needed. Every request has been answered. */
void net_harness_stop(struct net_harness *harness);

/* Runs fn on the worker's thread and waits for it. */
void net_harness_run(struct net_harness *harness, void (*fn)(struct net_harness *harness, void *ctx), void *ctx);
void net_harness_wait_requests(struct net_harness *harness, size_t count);
size_t net_harness_request_count(struct net_harness *harness);
/* Waits until the worker has this many connections. */
void net_harness_wait_connections(struct net_harness *harness, size_t count);
size_t net_harness_log_count(struct net_harness *harness, const char *text);
bool net_harness_log_has(struct net_harness *harness, const char *text);

/* Answers request `index` with a frame that holds `payload`. */
void net_harness_reply(struct net_harness *harness, size_t index, const void *payload, size_t bytes);
void net_harness_reply_nothing(struct net_harness *harness, size_t index);

/* Client side. */
int net_client_connect(struct net_harness *harness);
void net_client_send(int fd, const void *bytes, size_t count);
/* One frame with this body. */
void net_client_send_frame(int fd, const void *body, size_t bytes);
void net_client_receive(int fd, void *ret_bytes, size_t bytes);
/* Reads a frame; its body comes from malloc. */
uint8_t *net_client_receive_frame(int fd, size_t *ret_bytes);
/* The broker has closed: orderly end or reset. */
void net_client_expect_closed(int fd);

#endif

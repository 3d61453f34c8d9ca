/* connection_set: the connections of one worker: takes accepted sockets, hands their requests to the sink in the order of
 * arrival, and writes replies in the same order, once per iteration of the loop.
 *
 * Shape:     listener -> connection_set_add (posted to the worker) -> sink(request) ... connection_reply (connection.h) ->
 *            connection_set_write, the last part of the worker's end-of-iteration step.
 * Limits:    struct connection_limits.
 * Ownership: owns its connections. A connection whose socket is gone lives on until its last handler has answered.
 * Threads:   the worker's loop only, except connection_set_new/free (its maker, while the loop does not run).
 * Source:    design.md 5, protocol.md trap 5, correctness.md 9.
 */
#ifndef BROKER_NET_CONNECTION_SET_H
#define BROKER_NET_CONNECTION_SET_H

#include "broker/net/memory_budget.h"
#include "common/seam/net.h"

#define CONNECTION_SCRATCH_BYTES 65536        /* one read of pipelined small frames */
#define CONNECTION_DIRECT_BYTES 16384         /* a frame that misses at least this much is read into directly */
#define CONNECTION_READS_MAX 16               /* reads of one connection per iteration: fairness among connections */
#define CONNECTION_WRITE_BYTES_MAX (8u << 20) /* written to one connection per iteration */

struct admission_ticket;
struct clock;
struct connection;
struct connection_set;
struct logger;
struct metric_set;
struct request;
struct worker;

/* Gets one request: frame, worker, connection, context and received_us are set, the header is not parsed. */
typedef void (*request_sink_fn)(void *ctx, struct request *request);

struct connection_limits {
    size_t request_bytes_max;                 /* a frame after authentication */
    size_t request_bytes_max_unauthenticated; /* S1 of correctness.md 3 */
    unsigned requests_in_flight_max;          /* received and not yet wholly answered; then reading stops */
    uint64_t idle_us;                         /* without a request in work */
    uint64_t read_stall_us;                   /* inside a frame without a byte */
    uint64_t write_stall_us;                  /* with a reply waiting and not a byte taken */
    uint64_t handshake_us;                    /* from accept to authentication */
    uint64_t drain_us;                        /* at the end: how long replies may still be written */
};

struct connection_set_config {
    struct worker *worker;
    struct loop *loop;
    struct clock *clock;
    struct logger *logger;
    struct metric_set *metrics; /* rows of broker/broker_metrics.h */
    struct memory_queue *memory;
    const struct connection_limits *limits;
    request_sink_fn sink;
    void *sink_ctx;
};

/* One accepted socket on its way to a worker. From mem_alloc; freed by connection_set_add. */
struct connection_offer {
    struct loop_task task;
    struct connection_set *set;
    struct socket *socket;
    struct net_address client;
    struct admission_ticket *ticket; /* given back when the socket is closed */
    const char *listener_name;       /* lives longer than the connection */
    bool is_authenticated;           /* a PLAINTEXT listener asks for nothing */
};

struct connection_set *connection_set_new(const struct connection_set_config *config);
/* Every connection is gone. */
void connection_set_free(struct connection_set *set);
/* Takes ownership of the offer and of all it holds. A set that is stopping closes the socket. */
void connection_set_add(struct connection_set *set, struct connection_offer *offer);
/* Writes what can be written to the connections that have replies. */
void connection_set_write(struct connection_set *set);
/* Stops reading; lets replies out for at most drain_us; `on_stopped` when the last connection is freed, which needs every
 * handler's answer. */
void connection_set_stop(struct connection_set *set, void (*on_stopped)(void *ctx), void *ctx);
size_t connection_set_count(const struct connection_set *set);

#endif

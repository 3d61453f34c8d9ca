/* broker_internal: what the files broker.c, broker_start.c, broker_join.c and broker_stop.c share: the private part of a broker.
 *
 * Shape:     NEW -> STARTING -> READY -> STOPPING -> STOPPED; STARTING -> FAILED -> STOPPING; READY -> FAILED.
 * Threads:   home, but `state`, which HTTP pages on other loops may read.
 */
#ifndef BROKER_BROKER_INTERNAL_H
#define BROKER_BROKER_INTERNAL_H

#include "broker/broker.h"
#include "broker/broker_listeners.h"
#include "broker/net/connection_set.h"
#include "broker/net/listener.h"
#include "broker/storage/log_dir.h"
#include "common/metric.h"
#include "controller/image.h"

#include <stdatomic.h>

/* A Kafka client has 5 requests in flight, librdkafka more: enough to keep the pipe full, bounded per connection. */
#define BROKER_REQUESTS_IN_FLIGHT 64
#define BROKER_UNAUTHENTICATED_BYTES (512u << 10)
#define BROKER_READ_STALL_US 60000000u
#define BROKER_WRITE_STALL_US 60000000u
#define BROKER_HANDSHAKE_US 10000000u
/* At the end: how long replies may still go out before waiting fetches are cut off. */
#define BROKER_DRAIN_US 500000u

enum broker_state { BROKER_NEW, BROKER_STARTING, BROKER_READY, BROKER_FAILED, BROKER_STOPPING, BROKER_STOPPED };

struct checkpointer;
struct place_claims;
struct rpc_server;
struct strays;
struct registration;

/* One worker's way of telling home that a part of it has ended. */
struct broker_note {
    struct loop_task task;
    struct broker *broker;
};

struct broker_worker_notes {
    struct broker_note stop_connections; /* towards the worker */
    struct broker_note stop_streams;
    struct broker_note streams_stopped;
    struct broker_note stop_partitions;
    struct broker_note connections_stopped; /* towards home */
    struct broker_note partitions_stopped;
};

struct broker_private {
    _Atomic enum broker_state state;
    uint64_t start_us;
    struct broker_listeners addresses;
    struct listener *listeners[BROKER_LISTENERS_MAX]; /* NULL where nothing is bound */
    struct image_endpoint endpoints[BROKER_LISTENERS_MAX];
    uint32_t endpoint_count;
    struct connection_limits limits;
    struct memory_budget budget;
    struct admission *admission;
    struct connection_set **sets; /* of the workers, for the listeners */
    struct loop **loops;
    struct metric_set *home_metrics;
    struct checkpointer *checkpointer;
    struct place_claims *places;
    struct strays *strays;             /* between the opening of the directories and the registration */
    struct registration *registration; /* NULL before the node has joined, and on a node without a broker */
    struct uuid incarnation_id;        /* of this process */
    _Atomic int64_t broker_epoch;      /* of the registration; -1: none yet */
    int64_t previous_epoch;            /* of the last orderly stop; -1: it was not orderly */
    struct rpc_server *internal;       /* the INTERNAL listener; NULL: none */
    bool is_joined;                    /* the cluster is known: workers run, or there is no broker */
    atomic_bool is_controller_failed;
    struct broker_note controller_failed;
    char cluster_id[64];
    char known_cluster_id[LOG_DIR_CLUSTER_ID_BYTES]; /* that the log directories say; borrowed by the controller */
    char *metadata_dir;                              /* borrowed by the controller */

    broker_event_fn on_ready;
    broker_event_fn on_failed;
    void *events_ctx;

    /* the stop */
    broker_event_fn on_stopped;
    void *stop_ctx;
    struct broker_worker_notes *notes; /* one per worker */
    unsigned connections_running;
    unsigned partitions_running;
    unsigned streams_running;
    bool is_closing_partitions;
    bool is_client_stopped;
    struct loop_timer drain_timer;
    struct broker_note flushed;
    atomic_bool is_dir_failure_posted;
    struct broker_note dir_failed;
};

/* broker.c */
void broker_set_state(struct broker *broker, enum broker_state state);
enum broker_state broker_state(const struct broker *broker);
const char *broker_state_name(enum broker_state state);
/* Logs the sentence and calls on_failed, once. */
void broker_fail(struct broker *broker, const char *sentence);

/* broker_start.c: what the node says of itself to other nodes, anew after each change. */
void broker_renew_hello(struct broker *broker);

/* broker_join.c: the cluster is known: identity of the directories, workers, streams. Then, with a way to the controllers:
 * registration, and service when it is done. */
enum err broker_join(struct broker *broker, struct option_problem *ret_problem) MUST_USE;
void broker_register(struct broker *broker);
unsigned broker_worker_count(const struct broker *broker);

/* broker_stop.c: frees what start has made, in any state of completion. */
void broker_unmake(struct broker *broker);

#endif

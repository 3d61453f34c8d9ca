/* broker: one node, with a broker, a controller or both (process.roles), as a value: no globals, may be made twice in a process (the simulator does).
 *
 * Shape:     broker_new (options checked, nothing touched) -> broker_start (addresses bound, directories locked, controller started;
 *            then, when the cluster is known: logs recovered, registered, listeners open; ready when on_ready is called) ->
 *            broker_stop (leaderships moved, drained, clean-shutdown mark) -> broker_free.
 * Errors:    broker_start fails with one clear sentence in the problem; nothing on disk has changed then unless start had begun
 *            to recover.
 * Ownership: the env and options are borrowed and outlive the broker.
 * Threads:   new/start/stop/free: the thread that runs `home`, the loop handed in; callbacks run there.
 * Source:    design.md 1, 3, 5; KIP-500 for the order of start.
 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "broker/broker_options.h"
#include "broker/meta/lost_brokers.h"
#include "common/option.h"
#include "common/seam/env.h"
#include "common/seam/loop.h"
#include "common/seam/net.h"

struct controller;
struct controller_client;
struct dispatch_table;
struct isr_proposer;
struct checkpointer;
struct log_dirs;
struct metadata_follow;
struct metric_registry;
struct rpc_hello;
struct worker;

typedef void (*broker_event_fn)(void *ctx);

struct broker {
    struct env *env;
    const struct broker_options *options;
    struct loop *home;
    const struct dispatch_table *dispatch;       /* what is served: handlers_table() */
    struct controller *controller;               /* of this node; NULL: the cluster's controllers are elsewhere */
    struct controller_client *controller_client; /* the way to the active one: controller/controller_client.h */
    struct worker **workers;
    unsigned worker_count;
    struct log_dirs *log_dirs;
    struct checkpointer *checkpointer;       /* broker/replica/checkpointer.h */
    struct isr_proposer *isr_proposer;       /* broker/replica/isr_proposer.h */
    struct metadata_follow *metadata_follow; /* broker/meta/metadata_follow.h */
    struct lost_brokers lost_brokers;        /* a hint for Metadata: broker/meta/lost_brokers.h */
    struct metric_registry *metrics;
    struct broker_private *priv; /* lifecycle, listeners: broker/broker_internal.h */
};

struct broker *broker_new(struct env *env, const struct broker_options *options, struct loop *home);
/* Starts; `on_ready` is called once the node serves its partitions, `on_failed` when it must end (a failed start that shows
 * later, the last log directory lost); the problem's sentence has been logged. */
enum err broker_start(struct broker *broker, broker_event_fn on_ready, broker_event_fn on_failed, void *ctx,
                      struct option_problem *ret_problem) MUST_USE;
/* Orderly end: stop accepting, finish or refuse what waits, sync, clean-shutdown mark; `on_stopped` then. Also after on_failed. */
void broker_stop(struct broker *broker, broker_event_fn on_stopped, void *ctx);
/* Before broker_start, after it has failed, or after on_stopped; waits for the workers' threads: not from a loop. */
void broker_free(struct broker *broker);
/* What the node says of itself on a link that it opens (kind and lane are the caller's). Any thread, once the node has joined. */
void broker_hello(const struct broker *broker, struct rpc_hello *ret_hello);
/* Where clients of the index-th listener (in the order of `listeners`) connect; for the command line and tests. */
bool broker_listener_address(const struct broker *broker, size_t index, struct net_address *ret_address);

#endif

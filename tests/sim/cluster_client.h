/* cluster_client: what scripted producers and readers know of a cluster: who leads which partition, and a connection to every
 * broker. It asks for metadata by itself when it knows too little or is told that it is wrong, from any broker that is up.
 *
 * Shape:     one kafka_client per broker of the plan, connected for as long as the process lives; a table of leaders by partition
 *            (numbered through). Leader epochs only grow: older metadata of a slow broker is not believed.
 * Ownership: lives until its process dies.
 * Threads:   its loop's.
 * Source:    KIP-320 (leader epochs in clients' metadata).
 */
#ifndef TESTS_SIM_CLUSTER_CLIENT_H
#define TESTS_SIM_CLUSTER_CLIENT_H

#include "tests/sim/cluster_plan.h"
#include "tests/sim/kafka_client.h"

struct cluster_client;

struct cluster_client_events {
    void *ctx;
    void (*on_broker_up)(void *ctx, unsigned broker);
    void (*on_broker_down)(void *ctx, unsigned broker);
    /* Newer metadata is there. */
    void (*on_metadata)(void *ctx);
};

struct cluster_client_leader {
    int32_t broker;       /* index in the plan; -1: none known */
    int32_t leader_epoch; /* -1: none known */
};

struct cluster_client *cluster_client_new(struct env *env, struct loop *loop, const struct cluster_plan *plan,
                                          const char *client_id, const struct cluster_client_events *events);
struct cluster_client_leader cluster_client_leader_of(const struct cluster_client *client, unsigned partition);
/* The connection to a broker, NULL while it is down. */
struct kafka_client *cluster_client_broker(struct cluster_client *client, unsigned broker);
/* Any broker that is up, drawn; NULL. */
struct kafka_client *cluster_client_any(struct cluster_client *client);
/* What is known is wrong or too little: asks soon. Any number of times. */
void cluster_client_refresh(struct cluster_client *client);

#endif

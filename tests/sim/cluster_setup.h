/* cluster_setup: creates the topics of a plan through any broker that is up, again and again until they exist.
 *
 * Shape:     before all brokers have registered there is no room for the replicas: refusals are no violation here.
 * Ownership: lives until its process dies.
 * Threads:   its loop's.
 */
#ifndef TESTS_SIM_CLUSTER_SETUP_H
#define TESTS_SIM_CLUSTER_SETUP_H

#include "tests/sim/cluster_client.h"
#include "tests/sim/cluster_verdict.h"

struct cluster_setup;

struct cluster_setup *cluster_setup_start(struct env *env, struct loop *loop, struct cluster_client *client,
                                          const struct cluster_plan *plan, struct cluster_verdict *verdict);

#endif

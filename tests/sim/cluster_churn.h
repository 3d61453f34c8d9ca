/* cluster_churn: a client that makes metadata: it creates topics and deletes them again, so that logs of metadata grow, snapshots are
 * taken, nodes that were away need them, and partitions come and go beside those that are checked.
 *
 * Shape:     one request at a time to any broker that is up; what becomes of it is nobody's concern but for answers that must not be.
 * Ownership: lives until its process dies.
 * Threads:   a loop of its own node.
 */
#ifndef TESTS_SIM_CLUSTER_CHURN_H
#define TESTS_SIM_CLUSTER_CHURN_H

#include "tests/sim/cluster_client.h"
#include "tests/sim/cluster_verdict.h"

struct cluster_churn;

struct cluster_churn *cluster_churn_start(struct env *env, const struct cluster_plan *plan,
                                          struct cluster_verdict *verdict);

#endif

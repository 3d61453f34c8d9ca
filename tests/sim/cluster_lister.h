/* cluster_lister: a client that asks every broker again and again where the partitions end (ListOffsets, latest), also those that do not
 * lead, or no longer. Whoever answers as the leader of the newest epoch knows all that was shown as committed before it was asked
 * (R3, trap 10): one that has just been elected says that it does not know yet.
 *
 * Shape:     one request at a time per broker, for all partitions, without a leader epoch; the answer names the epoch in which it was
 *            given. Only in runs with plan->has_lister: the seeds of the others
 *            are what they were before there was one.
 * Ownership: lives until its process dies.
 * Threads:   a loop of its own node.
 * Source:    KIP-207.
 */
#ifndef TESTS_SIM_CLUSTER_LISTER_H
#define TESTS_SIM_CLUSTER_LISTER_H

#include "tests/sim/cluster_script.h"

struct cluster_lister;

struct cluster_lister_counts {
    uint64_t checked; /* answers that were held against what was known before */
    uint64_t refused; /* by leaders that did not know yet */
};

struct cluster_lister *cluster_lister_start(struct env *env, const struct cluster_script_options *options);
const struct cluster_lister_counts *cluster_lister_count(const struct cluster_lister *lister);

#endif

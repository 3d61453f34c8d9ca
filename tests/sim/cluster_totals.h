/* cluster_totals: what has happened in simulated clusters, summed up: a run that never elected a leader has shown nothing.
 *
 * Threads:   one.
 * Source:    issue 4, deliverable 5.
 */
#ifndef TESTS_SIM_CLUSTER_TOTALS_H
#define TESTS_SIM_CLUSTER_TOTALS_H

#include "tests/sim/cluster_nemesis.h"
#include "tests/support/plain_mem.h"

/* name, what a run of a hundred seeds must have at least */
#define CLUSTER_TOTAL_TABLE(X)                                                                                         \
    X(minutes, 500)                                                                                                    \
    X(events, 0)                                                                                                       \
    X(faults, 1000)                                                                                                    \
    X(starts, 0)                                                                                                       \
    X(stops, 20)                                                                                                       \
    X(failures, 0)                                                                                                     \
    X(aborts, 0)                                                                                                       \
    X(acknowledged, 100000)                                                                                            \
    X(read, 100000)                                                                                                    \
    X(listed_ends, 10000)                                                                                              \
    X(unknown_ends, 100)                                                                                               \
    X(retries, 100)                                                                                                    \
    X(elections, 1000)                                                                                                 \
    X(leaderships, 1000)                                                                                               \
    X(truncations, 100)                                                                                                \
    X(isr_shrinks, 1000)                                                                                               \
    X(isr_expansions, 1000)                                                                                            \
    X(isr_joins, 1000)                                                                                                 \
    X(elr_elections, 100)                                                                                              \
    X(unclean_restarts, 50)                                                                                            \
    X(snapshot_installs, 10)                                                                                           \
    X(metadata_snapshots, 50)                                                                                          \
    X(controller_failovers, 200)                                                                                       \
    X(voter_changes, 50)                                                                                               \
    X(registrations, 0)                                                                                                \
    X(fencings, 0)                                                                                                     \
    X(compared_batches, 100000)                                                                                        \
    X(compared_hashes, 10000)

struct cluster_totals {
#define X(name, least) uint64_t name;
    CLUSTER_TOTAL_TABLE(X)
#undef X
    uint64_t seconds; /* what `minutes` is made of */
};

void cluster_totals_add(struct cluster_totals *totals, const struct cluster_world *cluster,
                        const struct cluster_nemesis *nemesis);
void cluster_totals_describe(const struct cluster_totals *totals, char *ret_text, size_t bytes_max);
/* Says what is missing, or that nothing is. */
bool cluster_totals_suffice(const struct cluster_totals *totals, char *ret_text, size_t bytes_max);

#endif

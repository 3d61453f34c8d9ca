/* cluster_totals: what has happened in simulated clusters, summed up: a run that never elected a leader has shown nothing.
 *
 * Threads:   one.
 * Source:    issue 4, deliverable 5.
 */
#ifndef TESTS_SIM_CLUSTER_TOTALS_H
#define TESTS_SIM_CLUSTER_TOTALS_H

#include "tests/sim/cluster_nemesis.h"
#include "tests/support/plain_mem.h"

/* name, what a run of many seeds must have at least */
#define CLUSTER_TOTAL_TABLE(X)                                                                                         \
    X(minutes, 0)                                                                                                      \
    X(events, 0)                                                                                                       \
    X(faults, 0)                                                                                                       \
    X(starts, 0)                                                                                                       \
    X(stops, 1)                                                                                                        \
    X(failures, 0)                                                                                                     \
    X(aborts, 0)                                                                                                       \
    X(acknowledged, 1000)                                                                                              \
    X(read, 1000)                                                                                                      \
    X(retries, 10)                                                                                                     \
    X(elections, 100)                                                                                                  \
    X(leaderships, 100)                                                                                                \
    X(truncations, 10)                                                                                                 \
    X(isr_shrinks, 100)                                                                                                \
    X(isr_expansions, 100)                                                                                             \
    X(elr_elections, 3)                                                                                                \
    X(unclean_restarts, 10)                                                                                            \
    X(snapshot_installs, 10)                                                                                           \
    X(metadata_snapshots, 10)                                                                                          \
    X(controller_failovers, 20)                                                                                        \
    X(voter_changes, 5)                                                                                                \
    X(registrations, 0)                                                                                                \
    X(fencings, 0)                                                                                                     \
    X(compared_batches, 1000)                                                                                          \
    X(compared_hashes, 1000)

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

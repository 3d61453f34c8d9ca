/* cluster_operator: the people of a simulated cluster: they look at the quorum, take voters out and bring them back, and admit a
 * controller that lost its disk when it asks for it.
 *
 * Shape:     describe the quorum -> do one thing, or nothing -> wait -> describe ... A waiting node's new directory id is what its
 *            process has printed. A voter that was taken out is brought back some seconds later, with the same directory.
 * Ownership: lives until its process dies.
 * Threads:   a loop of its own node.
 * Source:    KIP-853; design.md 8 (formation).
 */
#ifndef TESTS_SIM_CLUSTER_OPERATOR_H
#define TESTS_SIM_CLUSTER_OPERATOR_H

#include "common/uuid.h"
#include "tests/sim/cluster_client.h"
#include "tests/sim/cluster_verdict.h"

struct cluster_operator;

struct cluster_operator_options {
    const struct cluster_plan *plan;
    struct cluster_verdict *verdict;
    /* The directory id of the node's controller, zero while that is not known; whether it has asked to be admitted. */
    bool (*is_waiting)(void *ctx, unsigned node, struct uuid *ret_directory);
    void *ctx;
};

struct cluster_operator_counts {
    uint64_t removed;  /* voters taken out for a while */
    uint64_t added;    /* back again */
    uint64_t replaced; /* voters without their disk taken out */
    uint64_t admitted;
};

struct cluster_operator *cluster_operator_start(struct env *env, const struct cluster_operator_options *options);
/* Takes some voter out as soon as that is possible. Harmless while another change is under way. On its node. */
void cluster_operator_disturb(struct cluster_operator *people);
/* No more disturbances; whoever is out comes back at once. On its node. */
void cluster_operator_end(struct cluster_operator *people);
/* As was seen last: the planned controllers are the voters, with the directories that they have now. */
bool cluster_operator_is_whole(const struct cluster_operator *people);
/* And no change is wanted or may still take effect, though its answer was lost. */
bool cluster_operator_is_quiet(const struct cluster_operator *people);
const struct cluster_operator_counts *cluster_operator_count(const struct cluster_operator *people);

#endif

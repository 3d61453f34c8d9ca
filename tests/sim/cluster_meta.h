/* cluster_meta: the committed metadata as controllers and brokers hold it, looked at after every piece of their code: R8 of
 * correctness.md, the invariants of partitions, and a mirror of the newest state for the test itself.
 *
 * Shape:     the hash of each metadata offset that anybody has shown; per node the offset seen last; a small copy of every
 *            planned partition in the newest metadata, compared with the one before to count what has happened.
 *            Broker sets are bits by index of the node in the plan.
 * Errors:    cluster_verdict.
 * Threads:   one.
 * Source:    testing.md 6 (4, 5), correctness.md 5; KIP-966.
 */
#ifndef TESTS_SIM_CLUSTER_META_H
#define TESTS_SIM_CLUSTER_META_H

#include "broker/broker.h"
#include "controller/image.h"
#include "tests/sim/cluster_plan.h"
#include "tests/sim/cluster_verdict.h"

struct meta_partition {
    bool is_known;
    int32_t leader; /* index in the plan; -1: none */
    int32_t leader_epoch;
    int32_t partition_epoch;
    uint32_t replicas;
    uint32_t isr;
    uint32_t elr;
};

struct meta_hash {
    bool is_known;
    uint8_t node; /* who showed it first */
    uint8_t bytes[IMAGE_HASH_BYTES];
};

struct meta_counts {
    uint64_t elections;
    uint64_t elr_elections;
    uint64_t isr_shrinks;
    uint64_t isr_expansions;
    uint64_t controller_failovers;
    uint64_t registrations;
    uint64_t fencings;
    uint64_t compared_hashes;
    uint64_t snapshot_installs; /* at controllers that had fallen behind the log */
};

struct meta_view { /* of one node: its controller's image, and its broker's */
    const struct image *image;
    int64_t offset;
};

struct cluster_meta {
    const struct cluster_plan *plan;
    struct cluster_verdict *verdict;
    struct meta_hash *hashes; /* by offset */
    size_t hash_capacity;
    struct meta_view views[CLUSTER_NODES_MAX][2];
    uint64_t applied_index[CLUSTER_NODES_MAX]; /* of the controllers' quorums */
    uint8_t *term_leaders;                     /* by term: 1 + the node that led in it; 0: nobody was seen to */
    size_t term_capacity;
    int64_t offset; /* of the mirror */
    int64_t controller_epoch;
    int32_t active_node; /* index of the active controller in the plan; -1: none known */
    int64_t broker_epochs[CLUSTER_NODES_MAX];
    bool is_fenced[CLUSTER_NODES_MAX];
    struct meta_partition partitions[CLUSTER_PARTITIONS_MAX];
    struct meta_counts counts;
};

void cluster_meta_init(struct cluster_meta *meta, const struct cluster_plan *plan, struct cluster_verdict *verdict);
void cluster_meta_done(struct cluster_meta *meta);
void cluster_meta_observe(struct cluster_meta *meta, unsigned node, const struct broker *broker);
/* The node's process is gone. */
void cluster_meta_forget(struct cluster_meta *meta, unsigned node);
/* Every planned partition exists, has a leader, and all its replicas in sync. */
bool cluster_meta_is_full(const struct cluster_meta *meta);
/* The first partition that is not so, in words. */
void cluster_meta_describe_gap(const struct cluster_meta *meta, char *ret_text, size_t bytes_max);

#endif

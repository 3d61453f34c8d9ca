/* cluster_ledger: what the brokers' partitions say of themselves, looked at after every piece of a broker's code: who led in which
 * epoch and from which offset, how far high watermarks have moved, what lies below them on each replica. R1 to R3 and R7 of
 * correctness.md, on the state in memory and on the bytes of the logs.
 *
 * Shape:     per partition: its leader epochs with their leaders, the highest watermark that a leader has shown, and the batches
 *            below high watermarks in order. Per broker and partition: what was seen last, and how far its log was compared.
 *            Every batch below a replica's high watermark is compared once per process with what others hold there.
 * Errors:    cluster_verdict.
 * Threads:   one.
 * Source:    testing.md 6 (epoch ledger, replica compare); correctness.md 4, traps 1, 2, 3, 6.
 */
#ifndef TESTS_SIM_CLUSTER_LEDGER_H
#define TESTS_SIM_CLUSTER_LEDGER_H

#include "broker/broker.h"
#include "tests/sim/cluster_meta.h"
#include "tests/sim/cluster_plan.h"
#include "tests/sim/cluster_verdict.h"
#include "tests/support/fs_sim.h"

struct ledger_epoch {
    int32_t leader_epoch;
    unsigned node;
    uint64_t start_count; /* of the node: its process */
    int64_t start_offset;
};

struct ledger_batch {
    int64_t base_offset;
    int64_t last_offset;
    size_t batch_bytes;
    int32_t leader_epoch;
    uint32_t crc;
};

/* A walk over the batches of one replica's segments. */
struct ledger_walk {
    int64_t end; /* everything below was compared */
    size_t batch_index;
    int64_t segment_base;
    size_t segment_pos;
};

struct ledger_replica {
    bool is_seen; /* the rest holds */
    int state;    /* enum partition_state */
    int32_t leader_epoch;
    int32_t isr_count;
    int64_t high_watermark;
    int64_t log_end;
    struct ledger_walk walk;
};

struct ledger_partition {
    struct ledger_epoch *epochs; /* ascending */
    size_t epoch_count;
    int64_t exposed_end; /* the highest watermark that a leader has shown */
    uint32_t isr;        /* when it was looked at last */
    struct ledger_batch *batches;
    size_t batch_count;
    size_t batch_capacity;
};

struct ledger_counts {
    uint64_t leaderships; /* leader epochs that began */
    uint64_t truncations; /* of logs that were open */
    uint64_t compared_batches;
    uint64_t joins; /* of replicas that ran when they came into an ISR */
};

struct cluster_ledger {
    const struct cluster_plan *plan;
    const struct cluster_meta *meta; /* whose ISRs must hold what is committed */
    struct cluster_verdict *verdict;
    struct ledger_partition partitions[CLUSTER_PARTITIONS_MAX];
    struct ledger_replica replicas[CLUSTER_NODES_MAX][CLUSTER_PARTITIONS_MAX];
    int64_t meta_offset; /* up to which ISRs were looked at */
    struct ledger_counts counts;
};

void cluster_ledger_init(struct cluster_ledger *ledger, const struct cluster_plan *plan,
                         const struct cluster_meta *meta, struct cluster_verdict *verdict);
void cluster_ledger_done(struct cluster_ledger *ledger);

/* A piece of the broker's code has run. */
void cluster_ledger_observe(struct cluster_ledger *ledger, unsigned node, uint64_t start_count,
                            const struct broker *broker, const struct fs_sim *disk);
/* The node's process is gone. */
void cluster_ledger_forget(struct cluster_ledger *ledger, unsigned node);
bool cluster_ledger_is_leader(const struct cluster_ledger *ledger, unsigned partition, unsigned node);
bool cluster_ledger_is_exposed(const struct cluster_ledger *ledger, unsigned partition, int64_t offset);

/* After healing, on one replica: everything up to its high watermark once more from the beginning, CRCs too, and its leader
 * epochs. Returns its high watermark, or -1 when the broker has no such replica. */
int64_t cluster_ledger_compare(struct cluster_ledger *ledger, unsigned node, unsigned partition,
                               const struct broker *broker, const struct fs_sim *disk);

/* cluster_ledger_logs.c: compares batches below `end` that were not compared yet. */
void cluster_ledger_walk(struct cluster_ledger *ledger, unsigned node, unsigned partition, struct ledger_walk *walk,
                         int64_t end, const struct fs_sim *disk, bool has_crc_check);

#endif

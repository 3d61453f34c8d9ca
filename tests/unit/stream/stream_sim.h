/* stream_sim: three brokers of stream_harness on the simulated network and disks: machines that can be killed, cut off and started again.
 *
 * Ownership: sim_free ends everything, and fails the test for a process that aborted.
 * Threads:   one.
 */
#ifndef TESTS_UNIT_STREAM_STREAM_SIM_H
#define TESTS_UNIT_STREAM_STREAM_SIM_H

#include "tests/sim/sim_node.h"
#include "tests/unit/stream/stream_harness.h"

struct sim;

struct sim_config {
    uint64_t seed;
    unsigned node_count;
    unsigned partition_count;
    uint32_t worker_counts[NODES_MAX]; /* 0: 1 */
    enum log_durability durability;
    size_t memory_bytes;
};

struct sim_machine {
    struct sim *sim;
    struct sim_node *node;
    struct stream_node broker; /* of the process that runs */
    bool is_stopped;
};

struct sim {
    struct sim_config config;
    struct sim_world world;
    struct sim_fabric *fabric;
    struct sim_machine machines[NODES_MAX];
    struct net_address addresses[NODES_MAX];
    int64_t broker_epochs[NODES_MAX];
    int64_t last_broker_epoch;
    int32_t leaders[PARTITIONS_MAX]; /* as elected last */
    int32_t epochs[PARTITIONS_MAX];
};

struct sim *sim_new(const struct sim_config *config);
void sim_free(struct sim *sim);
bool sim_is_up(const struct sim *sim, int32_t id);
void sim_start(struct sim *sim, int32_t id);
void sim_kill(struct sim *sim, int32_t id);
/* Orderly: the streams stop, the logs close, nothing may have leaked. */
void sim_stop(struct sim *sim, int32_t id);
struct stream_node *sim_broker(struct sim *sim, int32_t id);
struct fake_partition *sim_partition(struct sim *sim, int32_t id, unsigned index);
/* The next epoch, told to all nodes that are up, in their order. */
void sim_elect(struct sim *sim, unsigned index, int32_t leader_id);
/* The next epoch, told to one node only (the others hear later: sim_tell). */
void sim_elect_silently(struct sim *sim, unsigned index, int32_t leader_id);
void sim_tell(struct sim *sim, int32_t id, unsigned index);
/* Appends when the node leads; false otherwise. */
bool sim_append(struct sim *sim, int32_t id, unsigned index, int32_t record_count, size_t value_bytes,
                uint64_t content);
/* Runs code on a node, with its memory and its step to follow. */
void sim_run_on(struct sim *sim, int32_t id, sim_node_code_fn code, void *ctx);

void sim_run(struct sim *sim, uint64_t duration_us);
/* Until the leader leads and every node that is up has its bytes; fails the test after `duration_us`. */
void sim_await_agreement(struct sim *sim, uint64_t duration_us);
bool sim_agrees(struct sim *sim);

#endif

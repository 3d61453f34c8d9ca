/* cluster_script: scripted clients of a simulated cluster: producers that follow the leaders, and readers of everything.
 *
 * Shape:     a producer keeps batches of each partition under way at the leader that it knows, and sends what was not
 *            acknowledged again, in order, to whoever leads then. A promised one is idempotent with acks=all: every
 *            acknowledgement is told to the history. The other kind (acks=1) gives each value one try more than it must.
 *            A record's value is "session:number:" and padding.
 *            A reader fetches its partitions from their leaders, one fetch at a time per broker, with the leader epoch that it
 *            knows and the epoch of what it read last; now and then it goes back to an earlier offset.
 * Ownership: scripts live until their node's process dies.
 * Threads:   each on a loop of its own node.
 */
#ifndef TESTS_SIM_CLUSTER_SCRIPT_H
#define TESTS_SIM_CLUSTER_SCRIPT_H

#include "tests/sim/cluster_client.h"
#include "tests/sim/cluster_history.h"

/* What a partition's leaders have shown so far. */
struct cluster_exposed {
    int32_t leader_epoch; /* the newest that has begun; -1: none */
    int64_t end;          /* the highest high watermark of a leader */
};

struct cluster_script_options {
    const struct cluster_plan *plan;
    struct cluster_history *history;
    struct cluster_verdict *verdict;
    /* Whether some leader has ever shown a high watermark above `offset`: a reader must not have seen it otherwise. */
    bool (*is_exposed)(void *ctx, unsigned partition, int64_t offset);
    struct cluster_exposed (*exposed)(void *ctx, unsigned partition);
    /* Whether the broker leads in the newest leader epoch that has begun: others may know less than they think. */
    bool (*is_leader)(void *ctx, unsigned partition, unsigned broker);
    void *ctx;
};

struct cluster_producer;
struct cluster_reader;

/* Creates the topics if it is the first, gets a producer id, and writes until cluster_producer_end. */
struct cluster_producer *cluster_producer_start(struct env *env, const struct cluster_script_options *options,
                                                unsigned index);
/* No new records; what is under way is still brought home. */
void cluster_producer_end(struct cluster_producer *producer);
/* A new session: what is under way stays unknown, numbers begin anew. On its node (sim_node_run). */
void cluster_producer_renew(struct cluster_producer *producer);
bool cluster_producer_has_topics(const struct cluster_producer *producer);
bool cluster_producer_is_through(const struct cluster_producer *producer);
uint64_t cluster_producer_retries(const struct cluster_producer *producer);

struct cluster_reader *cluster_reader_start(struct env *env, const struct cluster_script_options *options);
/* From now on everything once more, from the beginning to the ends, in large pieces. On its node. */
void cluster_reader_verify(struct cluster_reader *reader);
/* It has read everything that is known to exist. */
bool cluster_reader_is_through(const struct cluster_reader *reader);
uint64_t cluster_reader_restarts(const struct cluster_reader *reader);

#endif

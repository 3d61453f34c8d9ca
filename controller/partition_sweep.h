/* partition_sweep: one visit to every partition that a decision concerns, its changes collected into records, as many as one entry
 * of the log can hold.
 *
 * Shape:     for each partition: a draft -> visit -> commit. When the records reach what an entry holds the sweep ends as partial:
 *            the decision says so (decision_result.is_partial), what it has is committed, and it is made again upon the result,
 *            where the partitions that are done need nothing any more.
 * Limits:    SWEEP_BYTES_MAX: some 45,000 changes of partitions with three replicas.
 * Threads:   pure.
 * Source:    correctness.md 6 (one entry is one atomic batch of at most 1 MiB).
 */
#ifndef CONTROLLER_PARTITION_SWEEP_H
#define CONTROLLER_PARTITION_SWEEP_H

#include "controller/partition_control.h"

/* Leaves room for the other records of the decision: the largest registration takes some 30 KiB. */
#define SWEEP_BYTES_MAX (META_BATCH_BYTES_MAX - (64u << 10))

/* Who may lead: brokers that are alive and have the replica's directory online; while one broker comes or goes with this very
 * decision, whatever the image says of its being alive. */
struct sweep_fitness {
    const struct image *image;
    const struct decision_defaults *defaults;
    int32_t broker_id; /* -1: nobody comes or goes */
    enum elect_fitness fitness;
};

/* An elect_fitness_fn; its ctx is a struct sweep_fitness. */
enum elect_fitness sweep_fitness_of(const void *ctx, const struct image_partition *partition, int32_t broker_id);
/* Whether the broker, as it is registered, has the directory of its replica. */
bool sweep_has_directory(const struct image_broker *broker, const struct image_partition *partition);
bool sweep_allows_unclean(const struct sweep_fitness *fitness, const struct image_topic *topic);

typedef void (*sweep_visit_fn)(void *ctx, const struct image_topic *topic, struct partition_draft *draft);

struct partition_sweep {
    struct decision *decision;
    sweep_visit_fn visit;
    void *ctx;
    size_t bytes_max; /* 0: SWEEP_BYTES_MAX */
    /* results */
    size_t bytes;
    uint32_t changed_count;
    bool is_partial;
};

/* Partitions that have a replica on the broker. */
void partition_sweep_broker(struct partition_sweep *sweep, int32_t broker_id);
void partition_sweep_topic(struct partition_sweep *sweep, const struct image_topic *topic);
void partition_sweep_all(struct partition_sweep *sweep);
/* Makes the draft of one partition for a visit out of a sweep's order; then partition_sweep_put. */
void partition_sweep_draft(struct partition_draft *draft, const struct decision *decision,
                           const struct image_topic *topic, const struct image_partition *partition);
/* Commits the draft. Returns whether it changed anything. */
bool partition_sweep_put(struct partition_sweep *sweep, struct partition_draft *draft, const struct image_topic *topic);

#endif

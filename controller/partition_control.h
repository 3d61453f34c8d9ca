/* partition_control: the legal changes of one partition's state. Every change of leader, ISR or ELR is made here, on a draft, so
 * that epochs and sets always move together: a new leader (or none) is a new leader epoch, any change a new partition epoch.
 *
 * Shape:     draft_init -> leave, lose, rehome, replace_isr, elect in any order -> commit, which writes one record if anything changed.
 *            Effective min ISR = min(min.insync.replicas, replicas). At or above it the ELR is empty; below it the ELR is who was
 *            in ISR or ELR before the draft, without who is in the ISR now and without who lost data. So all who go at once
 *            enter it together: the high watermark waited for every one of them until this change (KIP-966).
 * Threads:   pure.
 * Source:    correctness.md 4 (2, 15, 16), KIP-966, KIP-704.
 */
#ifndef CONTROLLER_PARTITION_CONTROL_H
#define CONTROLLER_PARTITION_CONTROL_H

#include "controller/decision.h"
#include "controller/elect.h"

struct partition_draft {
    struct image_partition state; /* isr, elr, last_known and directories point to the arrays below */
    const struct image_partition *before;
    uint32_t min_isr; /* effective */
    uint32_t lost_count;
    bool is_unclean; /* nobody but the leader counts any more */
    int32_t isr[IMAGE_REPLICAS_MAX];
    int32_t elr[IMAGE_REPLICAS_MAX];
    int32_t last_known[IMAGE_REPLICAS_MAX];
    int32_t lost[IMAGE_REPLICAS_MAX];
    struct uuid directories[IMAGE_REPLICAS_MAX];
};

/* min_insync_replicas: the topic's setting. */
void partition_draft_init(struct partition_draft *draft, const struct image_partition *before,
                          int32_t min_insync_replicas);
/* The broker is gone for now: out of the ISR, into the ELR if that falls below min ISR. It may come back with all its data. */
void partition_control_leave(struct partition_draft *draft, int32_t broker_id);
/* The broker's replica may have lost data (directory gone, unclean restart of a cached topic): out of ISR and ELR. */
void partition_control_lose(struct partition_draft *draft, int32_t broker_id);
/* The broker's replica begins anew in another of its directories: what it held is lost. */
void partition_control_rehome(struct partition_draft *draft, int32_t broker_id, struct uuid directory);
/* The leader's proposal, checked by the caller: replicas, each once, the leader among them; in any order. */
void partition_control_replace_isr(struct partition_draft *draft, const int32_t *ids, uint32_t count);
/* Elects if the present leader may not go on; with keep == false also to bring back the first of the ISR. */
void partition_control_elect(struct partition_draft *draft, elect_fitness_fn fitness, const void *ctx, bool keep,
                             bool allows_unclean);
/* Writes the record of what changed; returns whether anything did. */
bool partition_draft_commit(struct partition_draft *draft, struct meta_records *records, struct uuid topic_id);

#endif

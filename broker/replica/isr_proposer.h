/* isr_proposer: carries the proposals of all partitions of this node to the controller, in bulk: a dead follower makes thousands of
 * partitions propose in one moment, which is one request.
 *
 * Shape:     worker: partition_set gathers an isr_batch in its step -> isr_proposer_offer -> (home) queue -> one request at a time, as many
 *            batches as fit -> the answers' codes go back into the batches -> each back to its worker, whose partitions take them.
 * Limits:    one request in flight; CONTROLLER_ISR_CHANGES_MAX changes in it and in a batch. A partition is in at most one batch.
 * Errors:    a request without an answer gives ISR_CHANGE_UNKNOWN for its changes: the partitions propose again.
 * Ownership: a batch belongs to its worker until it is offered and again in its `answered`, which frees it.
 * Threads:   offer: any worker. new, stop, free and all else: home. `answered` runs on the batch's loop.
 * Source:    correctness.md 4, traps 3, 4; KIP-497; controller/controller.h (CONTROLLER_ALTER_ISR).
 */
#ifndef BROKER_REPLICA_ISR_PROPOSER_H
#define BROKER_REPLICA_ISR_PROPOSER_H

#include "controller/controller.h"

/* controller_isr_change.code when the outcome is not known. */
#define ISR_CHANGE_UNKNOWN (-1)

struct isr_proposer;

struct isr_batch {
    struct loop_task task;
    struct loop *loop; /* of the worker */
    void *ctx;
    /* Exactly once, on `loop`: every change has its code. */
    void (*answered)(struct isr_batch *batch);
    struct controller_isr_change *changes; /* owned, like each one's `isr` */
    uint32_t change_count;
    uint32_t change_capacity;
    struct isr_proposer *proposer; /* the proposer's own, like next */
    struct isr_batch *next;
};

struct isr_batch *isr_batch_new(struct loop *loop, void (*answered)(struct isr_batch *batch), void *ctx);
void isr_batch_free(struct isr_batch *batch);
/* Copies the change and its members. There must be room: change_count < CONTROLLER_ISR_CHANGES_MAX. */
void isr_batch_add(struct isr_batch *batch, const struct controller_isr_change *change);

struct isr_proposer_config {
    struct loop *home;
    int32_t broker_id;
    void *ctx;
    void (*submit)(void *ctx, struct controller_request *request);
    int64_t (*broker_epoch)(
        void *ctx); /* of the registration; -1: none yet, proposals are answered with ISR_CHANGE_UNKNOWN */
};

struct isr_proposer *isr_proposer_new(const struct isr_proposer_config *config);
void isr_proposer_offer(struct isr_proposer *proposer, struct isr_batch *batch);
/* Nothing is submitted any more: what waits, and what still comes, goes back at once. Before controller_client_stop, which ends the
 * request under way; while the workers' loops still run. */
void isr_proposer_stop(struct isr_proposer *proposer);
/* No request is in flight: after the client has stopped. Batches whose worker has ended are freed with it. NULL is accepted. */
void isr_proposer_free(struct isr_proposer *proposer);

#endif

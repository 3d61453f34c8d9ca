/* metadata_follow: this node's subscription to the committed metadata: hands every change to every worker and knows up to
 * which metadata offset all of them have applied it, partitions opened.
 *
 * Shape:     controller --publish--> home loop --one task per worker--> worker->image, partition_set_apply
 *            worker --applied note--> home: applied offset = minimum over the workers -> waits up to it are released.
 * Limits:    one change travels per publication; publications that come quickly are merged by the controller.
 * Ownership: owned by the broker. A wait is borrowed from its request until its task runs.
 * Threads:   new, start, stop, free: home. metadata_follow_applied_offset, metadata_follow_wait: any worker.
 *            metadata_follow_on_applied: the worker named.
 * Source:    correctness.md 5 (in order, never back; reads after a write wait for its metadata offset); design.md 8.
 */
#ifndef BROKER_META_METADATA_FOLLOW_H
#define BROKER_META_METADATA_FOLLOW_H

#include "common/seam/loop.h"
#include "controller/image.h"

struct broker;
struct metadata_follow;
struct worker;

struct metadata_wait {
    struct loop_task task; /* its `run` is called on `loop` when the offset is applied; set it */
    struct loop *loop;
    int64_t offset;
    struct metadata_wait *next;
    void (*run)(struct loop_task *task); /* kept here while the task travels to home */
    struct metadata_follow *follow;
};

/* The broker's workers exist and have partition sets. */
struct metadata_follow *metadata_follow_new(struct broker *broker);
/* Subscribes. The workers' loops run. Metadata from before `least_offset`, the registration of this process, is not shown to them: in it the
 * process before may still lead, and this one would go on in an epoch that is not its own (correctness.md 5). */
void metadata_follow_start(struct metadata_follow *follow, int64_t least_offset);
/* False: another process has registered under this node's id since, or the broker was unregistered. Whoever leads as `node_id` in such
 * metadata is the other one: there is one leader in an epoch (R7), and this process would be a second. It is not shown to the workers. */
static inline bool metadata_is_for_process(const struct image *image, int32_t node_id, int64_t broker_epoch)
{
    const struct image_broker *self = image_find_broker(image, node_id);
    return self != NULL && self->epoch == broker_epoch;
}
/* Unsubscribes; `done` runs on home. Whoever still waits, or waits later, is released: what was answered has happened, only this node
 * will not show it any more. Harmless when it was never started. */
void metadata_follow_stop(struct metadata_follow *follow, void (*done)(void *ctx), void *ctx);
/* After the workers have ended. */
void metadata_follow_free(struct metadata_follow *follow);

/* The newest metadata that was handed to the workers; NULL before the first. Borrowed, home only. */
const struct image *metadata_follow_image(const struct metadata_follow *follow);
/* Everything up to here is applied by all workers of this node. */
int64_t metadata_follow_applied_offset(const struct metadata_follow *follow);
/* Runs wait->task on wait->loop once `wait->offset` is applied; inline when it is already. */
void metadata_follow_wait(struct metadata_follow *follow, struct metadata_wait *wait);
/* partition_set_options.on_applied of every worker leads here. */
void metadata_follow_on_applied(struct metadata_follow *follow, struct worker *worker, int64_t metadata_offset);

#endif

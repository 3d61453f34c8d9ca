#include "broker/meta/metadata_follow.h"

#include "broker/broker.h"
#include "broker/replica/partition_set.h"
#include "broker/stream/stream_client.h"
#include "broker/worker.h"
#include "common/mem.h"
#include "controller/controller_client.h"

#include <stdatomic.h>
#include <utlist.h>

/* One change on its way to the workers; freed by the last. */
struct metadata_change {
    atomic_uint reference_count;
    struct image_delta *delta;
};

struct metadata_delivery {
    struct loop_task task;
    struct worker *worker;
    struct metadata_change *change;
};

/* A worker's news of what it has applied; posted at most once at a time. */
struct metadata_note {
    struct loop_task task;
    struct metadata_follow *follow;
    _Atomic int64_t offset;
    atomic_bool is_posted;
    int64_t seen_offset; /* home's */
};

struct metadata_follow {
    struct broker *broker;
    struct controller_subscription subscription;
    const struct image *image; /* the newest that was handed out */
    struct metadata_note *notes;
    struct metadata_wait *waits;
    _Atomic int64_t applied_offset;
    int64_t least_offset; /* older metadata is not for this process */
    bool is_subscribed;
    bool is_stopped; /* nothing will be applied any more: nobody waits */
    void (*stop_done)(void *ctx);
    void *stop_ctx;
};

static void metadata_change_unref(struct metadata_change *change)
{
    if (atomic_fetch_sub(&change->reference_count, 1) == 1) {
        image_delta_free(change->delta);
        mem_free(change);
    }
}

static void metadata_deliver(struct loop_task *task)
{
    struct metadata_delivery *delivery = CONTAINER_OF(task, struct metadata_delivery, task);
    struct worker *worker = delivery->worker;
    const struct image_delta *delta = delivery->change->delta;
    const struct image *old = worker->image;
    worker->image = image_ref(delta->after);
    if (old != NULL) {
        image_unref(old);
    }
    partition_set_apply(worker->partitions, worker->image, delta);
    stream_client_metadata(worker->stream_client, worker->image, delta);
    lost_broker_waits_metadata(&worker->lost_broker_waits, worker->image);
    metadata_change_unref(delivery->change);
    mem_free(delivery);
}

static void metadata_on_publish(void *ctx, const struct image *image, const struct image_delta *delta)
{
    struct metadata_follow *follow = ctx;
    struct broker *broker = follow->broker;
    (void)delta; /* borrowed for the call; the workers need one that lives on */
    if (image_offset(image) < follow->least_offset) {
        return; /* a controller that lags; the next change is made from what was shown last, and so holds this one */
    }
    if (!metadata_is_for_process(image, broker->options->node_id, follow->least_offset)) {
        return; /* the next heartbeat says so to the registration, which ends the node */
    }
    struct metadata_change *change = MEM_NEW(struct metadata_change);
    atomic_init(&change->reference_count, broker->worker_count);
    change->delta = image_delta_new(follow->image, image);
    if (follow->image != NULL) {
        image_unref(follow->image);
    }
    follow->image = image_ref(image);
    for (unsigned i = 0; i < broker->worker_count; i++) {
        struct metadata_delivery *delivery = MEM_NEW(struct metadata_delivery);
        delivery->worker = broker->workers[i];
        delivery->change = change;
        delivery->task.run = metadata_deliver;
        loop_post(broker->workers[i]->loop, &delivery->task);
    }
}

/* ---- what is applied ---- */

static void metadata_wait_release(struct metadata_wait *wait)
{
    wait->task.run = wait->run;
    loop_post(wait->loop, &wait->task);
}

static void metadata_release_waits(struct metadata_follow *follow)
{
    int64_t applied_offset = atomic_load(&follow->applied_offset);
    struct metadata_wait *wait = NULL;
    struct metadata_wait *next = NULL;
    LL_FOREACH_SAFE (follow->waits, wait, next) {
        if (wait->offset <= applied_offset || follow->is_stopped) {
            LL_DELETE(follow->waits, wait);
            metadata_wait_release(wait);
        }
    }
}

static void metadata_on_note(struct loop_task *task)
{
    struct metadata_note *note = CONTAINER_OF(task, struct metadata_note, task);
    struct metadata_follow *follow = note->follow;
    atomic_store(&note->is_posted, false);
    note->seen_offset = atomic_load(&note->offset);
    int64_t applied_offset = INT64_MAX;
    for (unsigned i = 0; i < follow->broker->worker_count; i++) {
        if (follow->notes[i].seen_offset < applied_offset) {
            applied_offset = follow->notes[i].seen_offset;
        }
    }
    if (applied_offset > atomic_load(&follow->applied_offset)) {
        atomic_store(&follow->applied_offset, applied_offset);
        metadata_release_waits(follow);
    }
}

void metadata_follow_on_applied(struct metadata_follow *follow, struct worker *worker, int64_t metadata_offset)
{
    struct metadata_note *note = &follow->notes[worker->index];
    atomic_store(&note->offset, metadata_offset);
    if (!atomic_exchange(&note->is_posted, true)) {
        loop_post(follow->broker->home, &note->task);
    }
}

const struct image *metadata_follow_image(const struct metadata_follow *follow)
{
    return follow->image;
}

int64_t metadata_follow_applied_offset(const struct metadata_follow *follow)
{
    return atomic_load(&follow->applied_offset);
}

static void metadata_wait_on_home(struct loop_task *task)
{
    struct metadata_wait *wait = CONTAINER_OF(task, struct metadata_wait, task);
    struct metadata_follow *follow = wait->follow;
    if (wait->offset <= atomic_load(&follow->applied_offset) || follow->is_stopped) {
        metadata_wait_release(wait);
    } else {
        LL_APPEND(follow->waits, wait);
    }
}

void metadata_follow_wait(struct metadata_follow *follow, struct metadata_wait *wait)
{
    if (wait->offset <= metadata_follow_applied_offset(follow)) {
        wait->task.run(&wait->task);
        return;
    }
    wait->follow = follow;
    wait->run = wait->task.run;
    wait->task.run = metadata_wait_on_home;
    loop_post(follow->broker->home, &wait->task);
}

/* ---- life ---- */

struct metadata_follow *metadata_follow_new(struct broker *broker)
{
    struct metadata_follow *follow = MEM_NEW(struct metadata_follow);
    follow->broker = broker;
    atomic_init(&follow->applied_offset, -1);
    follow->notes = mem_array(broker->worker_count, sizeof(struct metadata_note));
    for (unsigned i = 0; i < broker->worker_count; i++) {
        follow->notes[i].follow = follow;
        follow->notes[i].task.run = metadata_on_note;
        follow->notes[i].seen_offset = -1;
        atomic_init(&follow->notes[i].offset, -1);
    }
    return follow;
}

void metadata_follow_start(struct metadata_follow *follow, int64_t least_offset)
{
    follow->least_offset = least_offset;
    follow->subscription.loop = follow->broker->home;
    follow->subscription.on_publish = metadata_on_publish;
    follow->subscription.ctx = follow;
    follow->is_subscribed = true;
    controller_client_subscribe(follow->broker->controller_client, &follow->subscription);
}

static void metadata_on_unsubscribed(void *ctx)
{
    struct metadata_follow *follow = ctx;
    follow->is_stopped = true;
    metadata_release_waits(follow);
    follow->stop_done(follow->stop_ctx);
}

void metadata_follow_stop(struct metadata_follow *follow, void (*done)(void *ctx), void *ctx)
{
    follow->stop_done = done;
    follow->stop_ctx = ctx;
    follow->subscription.on_unsubscribed = metadata_on_unsubscribed;
    if (!follow->is_subscribed) {
        metadata_on_unsubscribed(follow);
        return;
    }
    controller_client_unsubscribe(follow->broker->controller_client, &follow->subscription);
}

void metadata_follow_free(struct metadata_follow *follow)
{
    if (follow == NULL) {
        return;
    }
    if (follow->image != NULL) {
        image_unref(follow->image);
    }
    mem_free(follow->notes);
    mem_free(follow);
}

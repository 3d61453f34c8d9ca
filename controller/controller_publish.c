/* Subscriptions. The publisher leaves the newest image in the subscription (one atomic exchange) and wakes the subscriber's loop if
 * it had taken the one before; the subscriber compares with what it was shown last. So a slow subscriber costs one
 * reference, sees fewer and larger changes, and never waits. */
#include "controller/controller_private.h"

#include <utlist.h>

static void deliver(struct loop_task *task)
{
    struct controller_subscription *subscription = CONTAINER_OF(task, struct controller_subscription, task);
    const struct image *image = atomic_exchange(&subscription->pending, NULL);
    CHECK(image != NULL);
    if (subscription->is_closing) {
        image_unref(image);
        return;
    }
    CHECK(subscription->delivered == NULL || image_offset(image) > image_offset(subscription->delivered));
    struct image_delta *delta = image_delta_new(subscription->delivered, image);
    image_unref(subscription->delivered);
    subscription->delivered = image;
    subscription->on_publish(subscription->ctx, image, delta);
    image_delta_free(delta);
}

static void show(struct controller_publisher *publisher, struct controller_subscription *subscription)
{
    const struct image *older = atomic_exchange(&subscription->pending, image_ref(publisher->image));
    if (older != NULL) {
        image_unref(older); /* the subscriber is on its way already */
        return;
    }
    subscription->task = (struct loop_task){.run = deliver};
    loop_post(subscription->loop, &subscription->task);
}

void controller_publish(struct controller_publisher *publisher, const struct image *image)
{
    struct controller_subscription *subscription;
    publisher->image = image;
    DL_FOREACH (publisher->subscriptions, subscription) {
        show(publisher, subscription);
    }
}

static void add_subscription(struct loop_task *task)
{
    struct controller_subscription *subscription = CONTAINER_OF(task, struct controller_subscription, control_task);
    struct controller_publisher *publisher = subscription->publisher;
    DL_APPEND(publisher->subscriptions, subscription);
    if (publisher->image != NULL && image_offset(publisher->image) > 0) {
        show(publisher, subscription);
    }
}

/* Last on the subscriber's loop: posted by the controller's loop behind any deliver. */
static void unsubscribed(struct loop_task *task)
{
    struct controller_subscription *subscription = CONTAINER_OF(task, struct controller_subscription, control_task);
    CHECK(atomic_load(&subscription->pending) == NULL);
    image_unref(subscription->delivered);
    subscription->delivered = NULL;
    subscription->on_unsubscribed(subscription->ctx);
}

static void remove_subscription(struct loop_task *task)
{
    struct controller_subscription *subscription = CONTAINER_OF(task, struct controller_subscription, control_task);
    DL_DELETE(subscription->publisher->subscriptions, subscription);
    subscription->control_task = (struct loop_task){.run = unsubscribed};
    loop_post(subscription->loop, &subscription->control_task);
}

void controller_publish_subscribe(struct controller_publisher *publisher, struct controller_subscription *subscription)
{
    subscription->publisher = publisher;
    subscription->delivered = NULL;
    subscription->is_closing = false;
    atomic_init(&subscription->pending, NULL);
    subscription->control_task = (struct loop_task){.run = add_subscription};
    loop_post(publisher->loop, &subscription->control_task);
}

void controller_subscribe(struct controller *controller, struct controller_subscription *subscription)
{
    controller_publish_subscribe(&controller->publisher, subscription);
}

void controller_unsubscribe(struct controller_subscription *subscription)
{
    CHECK(!subscription->is_closing);
    subscription->is_closing = true;
    subscription->control_task = (struct loop_task){.run = remove_subscription};
    loop_post(subscription->publisher->loop, &subscription->control_task);
}

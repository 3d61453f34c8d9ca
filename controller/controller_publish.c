/* Subscriptions. The controller leaves the newest image in the subscription (one atomic exchange) and wakes the subscriber's loop if
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

static void show(struct controller *controller, struct controller_subscription *subscription)
{
    const struct image *older = atomic_exchange(&subscription->pending, image_ref(controller->image));
    if (older != NULL) {
        image_unref(older); /* the subscriber is on its way already */
        return;
    }
    subscription->task = (struct loop_task){.run = deliver};
    loop_post(subscription->loop, &subscription->task);
}

void controller_publish(struct controller *controller)
{
    struct controller_subscription *subscription;
    DL_FOREACH (controller->subscriptions, subscription) {
        show(controller, subscription);
    }
}

void controller_publish_add(struct loop_task *task)
{
    struct controller_subscription *subscription = CONTAINER_OF(task, struct controller_subscription, control_task);
    struct controller *controller = subscription->controller;
    DL_APPEND(controller->subscriptions, subscription);
    if (image_offset(controller->image) > 0) {
        show(controller, subscription);
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
    DL_DELETE(subscription->controller->subscriptions, subscription);
    subscription->control_task = (struct loop_task){.run = unsubscribed};
    loop_post(subscription->loop, &subscription->control_task);
}

void controller_subscribe(struct controller *controller, struct controller_subscription *subscription)
{
    subscription->controller = controller;
    subscription->delivered = NULL;
    subscription->is_closing = false;
    atomic_init(&subscription->pending, NULL);
    subscription->control_task = (struct loop_task){.run = controller_publish_add};
    loop_post(controller->loop, &subscription->control_task);
}

void controller_unsubscribe(struct controller_subscription *subscription)
{
    CHECK(!subscription->is_closing);
    subscription->is_closing = true;
    subscription->control_task = (struct loop_task){.run = remove_subscription};
    loop_post(subscription->controller->loop, &subscription->control_task);
}

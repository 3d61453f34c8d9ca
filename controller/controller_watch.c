/* Who watches which controller is active: few watchers, few changes, so each change travels as a message of its own, in order. */
#include "common/mem.h"
#include "controller/controller_private.h"

#include <utlist.h>

struct view_message {
    struct loop_task task;
    struct controller_watch *watch;
    struct controller_view view;
};

static void deliver(struct loop_task *task)
{
    struct view_message *message = CONTAINER_OF(task, struct view_message, task);
    if (!message->watch->is_closing) {
        message->watch->on_view(message->watch->ctx, &message->view);
    }
    mem_free(message);
}

static void show(struct controller *controller, struct controller_watch *watch)
{
    struct view_message *message = MEM_NEW(struct view_message);
    message->task.run = deliver;
    message->watch = watch;
    message->view = controller->view;
    loop_post(watch->loop, &message->task);
}

void controller_watch_show(struct controller *controller)
{
    struct controller_watch *watch;
    DL_FOREACH (controller->watches, watch) {
        show(controller, watch);
    }
}

static void add(struct loop_task *task)
{
    struct controller_watch *watch = CONTAINER_OF(task, struct controller_watch, task);
    DL_APPEND(watch->controller->watches, watch);
    show(watch->controller, watch);
}

/* Last on the watcher's loop: posted behind every message. */
static void unwatched(struct loop_task *task)
{
    struct controller_watch *watch = CONTAINER_OF(task, struct controller_watch, task);
    watch->on_unwatched(watch->ctx);
}

static void remove_watch(struct loop_task *task)
{
    struct controller_watch *watch = CONTAINER_OF(task, struct controller_watch, task);
    DL_DELETE(watch->controller->watches, watch);
    watch->task = (struct loop_task){.run = unwatched};
    loop_post(watch->loop, &watch->task);
}

void controller_watch(struct controller *controller, struct controller_watch *watch)
{
    watch->controller = controller;
    watch->is_closing = false;
    watch->task = (struct loop_task){.run = add};
    loop_post(controller->loop, &watch->task);
}

void controller_unwatch(struct controller_watch *watch)
{
    CHECK(!watch->is_closing);
    watch->is_closing = true;
    watch->task = (struct loop_task){.run = remove_watch};
    loop_post(watch->controller->loop, &watch->task);
}

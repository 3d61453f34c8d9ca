/* The way of a request to the loop, and its end when it waits too long. */
#include "common/logger.h"
#include "controller/controller_metrics.h"
#include "controller/controller_private.h"

#include <utlist.h>

/* Requests that wait too long are told so; what was proposed for them may still be committed. */
static void end_late(struct controller_request **list, uint64_t now_us)
{
    struct controller_request *request, *next;
    DL_FOREACH_SAFE (*list, request, next) {
        if (request->deadline_us <= now_us) {
            DL_DELETE(*list, request);
            controller_complete(request, ERR_TIMEOUT, 0);
        }
    }
}

void controller_sweep(struct loop_timer *timer)
{
    struct controller *controller = CONTAINER_OF(timer, struct controller, sweep_timer);
    uint64_t now_us = loop_now_us(controller->loop);
    end_late(&controller->waiting, now_us);
    end_late(&controller->round.requests, now_us);
    if (controller->waiting != NULL || controller->round.requests != NULL) {
        loop_timer_set(controller->loop, timer, now_us + CONTROLLER_SWEEP_US);
    }
}

/* Whoever asks for something is there. */
static void touch_session(struct controller *controller, const struct controller_request *request)
{
    if (controller->sessions == NULL || !controller->is_active) {
        return;
    }
    switch (request->kind) {
    case CONTROLLER_HEARTBEAT:
        broker_sessions_touch(controller->sessions, request->heartbeat.broker_id, request->heartbeat.broker_epoch);
        return;
    case CONTROLLER_PRODUCER_IDS:
        broker_sessions_touch(controller->sessions, request->producer_ids.broker_id,
                              request->producer_ids.broker_epoch);
        return;
    case CONTROLLER_ALTER_ISR:
        broker_sessions_touch(controller->sessions, request->alter_isr.broker_id, request->alter_isr.broker_epoch);
        return;
    case CONTROLLER_ADMIN:
    case CONTROLLER_AUTO_CREATE:
    case CONTROLLER_REGISTER:
    case CONTROLLER_STATUS:
    case CONTROLLER_FENCE:
    case CONTROLLER_PREFERRED_LEADERS:
        return; /* name no epoch, or come from the controller itself */
    }
    UNREACHABLE();
}

/* It may have been sent to a controller of before: a copy that was late on its way, while another copy went to the one that followed. Requests of
 * this term are done in the order in which they come; what waits is ended with the leadership, so nothing else needs to be looked at later. */
static bool is_for_another_term(const struct controller *controller, const struct controller_request *request)
{
    return request->for_term != 0 && (!controller->is_active || request->for_term != controller->active_term);
}

/* On the controller's loop. */
static void receive(struct loop_task *task)
{
    struct controller_request *request = CONTAINER_OF(task, struct controller_request, task);
    struct controller *controller = request->controller;
    controller_count(controller, CONTROLLER_METRIC_REQUESTS, 1);
    if (controller->is_stopping || controller->is_failed) {
        controller_complete(request, ERR_CLOSED, 0);
        return;
    }
    if (request->kind == CONTROLLER_STATUS) {
        controller_get_status(controller, &request->status);
        controller_complete(request, ERR_OK, image_offset(controller->image));
        return;
    }
    if (!controller->is_leader || is_for_another_term(controller, request)) {
        controller_complete(request, ERR_NOT_LEADER, 0);
        return;
    }
    touch_session(controller, request);
    uint64_t now_us = loop_now_us(controller->loop);
    uint64_t timeout_us = request->timeout_us == 0 ? CONTROLLER_TIMEOUT_US_DEFAULT : request->timeout_us;
    request->deadline_us = now_us + (timeout_us < CONTROLLER_TIMEOUT_US_MAX ? timeout_us : CONTROLLER_TIMEOUT_US_MAX);
    DL_APPEND(controller->waiting, request);
    loop_defer(controller->loop, &controller->round_task);
    if (controller->sweep_timer.heap_slot == 0) {
        loop_timer_set(controller->loop, &controller->sweep_timer, now_us + CONTROLLER_SWEEP_US);
    }
}

void controller_submit(struct controller *controller, struct controller_request *request)
{
    request->controller = controller;
    request->err = ERR_OK;
    request->metadata_offset = 0;
    request->message[0] = '\0';
    request->hint = (struct controller_hint){.node_id = -1};
    request->term = 0;
    if (request->kind == CONTROLLER_ADMIN) {
        request->admin.frame = shared_bytes_ref(request->admin.frame);
        request->admin.response = NULL;
    }
    atomic_fetch_add(&controller->submitting_count, 1);
    if (atomic_load(&controller->is_closed)) {
        controller_complete(request, ERR_CLOSED, 0);
    } else {
        request->task = (struct loop_task){.run = receive};
        loop_post(controller->loop, &request->task);
    }
    atomic_fetch_sub(&controller->submitting_count, 1);
}

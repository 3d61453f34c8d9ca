#include "broker/meta/registration.h"

#include "broker/broker.h"
#include "broker/meta/metadata_follow.h"
#include "broker/replica/log_dirs.h"
#include "common/logger.h"
#include "common/mem.h"
#include "controller/controller_client.h"

#define US_PER_MS 1000u
/* After an attempt that failed, and while something is waited for that takes the others a moment. */
#define AGAIN_US 100000u
#define LEAVE_AGAIN_US 20000u

struct registration {
    struct broker *broker;
    struct metadata_follow *follow;
    struct registration_facts facts;
    struct registration_events events;
    struct controller_request request;
    bool is_asking; /* the request is with the controller */
    struct metadata_wait wait;
    bool is_waiting; /* for metadata to be applied; the timer stands still */
    struct loop_timer timer;
    struct uuid directories[LOG_DIRS_MAX];
    int64_t broker_epoch;
    bool is_member; /* on_registered was called */
    bool is_over;   /* failed, or left: nothing is asked any more */

    void (*left)(void *ctx); /* NULL: not leaving */
    void *left_ctx;
    struct loop_timer leave_timer;
};

static void ask(struct registration *registration);

static void ask_in(struct registration *registration, uint64_t delay_us)
{
    struct loop *home = registration->broker->home;
    if (!registration->is_over) {
        loop_timer_set(home, &registration->timer, loop_now_us(home) + delay_us);
    }
}

static uint64_t interval_us(const struct registration *registration)
{
    return (uint64_t)registration->broker->options->broker_heartbeat_interval_ms * US_PER_MS;
}

static void end(struct registration *registration)
{
    registration->is_over = true;
    loop_timer_cancel(registration->broker->home, &registration->timer);
    loop_timer_cancel(registration->broker->home, &registration->leave_timer);
}

static void end_leave(struct registration *registration)
{
    void (*left)(void *ctx) = registration->left;
    registration->left = NULL;
    end(registration);
    if (left != NULL) {
        left(registration->left_ctx);
    }
}

/* True: the answer is no answer. Refusals are for good; everything else is asked again. */
static bool has_failed(struct registration *registration)
{
    struct controller_request *request = &registration->request;
    if (request->err == ERR_OK) {
        return false;
    }
    if (registration->is_over) {
        return true;
    }
    const char *message = request->message[0] == '\0' ? err_text(request->err) : request->message;
    if (request->err != ERR_STALE && request->err != ERR_INVALID && request->err != ERR_UNSUPPORTED) {
        log_debug(registration->broker->env->logger, "registration", "again", "why=\"%s\"", message);
        ask_in(registration, AGAIN_US);
        return true;
    }
    if (registration->left != NULL) {
        end_leave(registration); /* somebody has taken over the id: nothing is left to hand over */
        return true;
    }
    end(registration);
    registration->events.on_failed(registration->events.ctx, request->err, message);
    return true;
}

static void wait_for(struct registration *registration, int64_t offset, void (*run)(struct loop_task *task))
{
    registration->wait.task.run = run;
    registration->wait.loop = registration->broker->home;
    registration->wait.offset = offset;
    registration->is_waiting = true;
    metadata_follow_wait(registration->follow, &registration->wait);
}

static void submit(struct registration *registration)
{
    registration->is_asking = true;
    controller_client_submit(registration->broker->controller_client, &registration->request);
}

/* ---- heartbeats ---- */

static void is_visible(struct loop_task *task)
{
    struct registration *registration = CONTAINER_OF(task, struct registration, wait.task);
    registration->is_waiting = false;
    registration->is_member = true;
    if (!registration->is_over) {
        ask_in(registration, registration->left != NULL ? 0 : interval_us(registration));
        registration->events.on_registered(registration->events.ctx);
    }
}

static void heartbeat_done(struct controller_request *request)
{
    struct registration *registration = CONTAINER_OF(request, struct registration, request);
    registration->is_asking = false;
    if (has_failed(registration) || registration->is_over) {
        return;
    }
    if (request->heartbeat.wants_shut_down && request->heartbeat.may_shut_down) {
        end_leave(registration);
    } else if (registration->left != NULL) {
        ask_in(registration, LEAVE_AGAIN_US);
    } else if (request->heartbeat.is_fenced) {
        ask_in(registration, AGAIN_US);
    } else if (!registration->is_member) {
        wait_for(registration, request->metadata_offset, is_visible);
    } else {
        ask_in(registration, interval_us(registration));
    }
}

static void send_heartbeat(struct registration *registration)
{
    registration->request = (struct controller_request){
        .kind = CONTROLLER_HEARTBEAT,
        .loop = registration->broker->home,
        .on_done = heartbeat_done,
        .timeout_us = (uint64_t)registration->broker->options->broker_session_timeout_ms * US_PER_MS,
        .heartbeat = {.broker_id = registration->broker->options->node_id,
                      .broker_epoch = registration->broker_epoch,
                      .applied_offset = metadata_follow_applied_offset(registration->follow),
                      .wants_shut_down = registration->left != NULL},
    };
    submit(registration);
}

/* ---- registering ---- */

static void is_applied(struct loop_task *task)
{
    struct registration *registration = CONTAINER_OF(task, struct registration, wait.task);
    registration->is_waiting = false;
    ask_in(registration, 0);
}

static void register_done(struct controller_request *request)
{
    struct registration *registration = CONTAINER_OF(request, struct registration, request);
    registration->is_asking = false;
    if (has_failed(registration) || registration->is_over) {
        return;
    }
    registration->broker_epoch = request->registration.broker_epoch;
    registration->events.on_epoch(registration->events.ctx, registration->broker_epoch);
    /* Only now: the first image must hold this incarnation and the leader epochs that it begins. */
    metadata_follow_start(registration->follow, registration->broker_epoch);
    wait_for(registration, registration->broker_epoch, is_applied);
}

static void send_registration(struct registration *registration)
{
    struct broker *broker = registration->broker;
    const char *boot_id = broker->env->boot_id == NULL ? "" : broker->env->boot_id;
    registration->request = (struct controller_request){
        .kind = CONTROLLER_REGISTER,
        .loop = broker->home,
        .on_done = register_done,
        .registration =
            {
                .broker_id = broker->options->node_id,
                .incarnation_id = registration->facts.incarnation_id,
                .previous_epoch = registration->facts.previous_epoch,
                .level_min = IMAGE_LEVEL_MIN,
                .level_max = IMAGE_LEVEL_MAX,
                .boot_id = span_text(boot_id),
                .rack = span_text(broker->options->broker_rack),
                .endpoints = registration->facts.endpoints,
                .endpoint_count = registration->facts.endpoint_count,
                .directories = registration->directories,
                .directory_count = (uint32_t)broker->log_dirs->dir_count,
            },
    };
    submit(registration);
}

static void ask(struct registration *registration)
{
    if (registration->is_asking || registration->is_waiting || registration->is_over) {
        return;
    }
    if (registration->broker_epoch < 0) {
        send_registration(registration);
    } else {
        send_heartbeat(registration);
    }
}

static void on_timer(struct loop_timer *timer)
{
    ask(CONTAINER_OF(timer, struct registration, timer));
}

/* ---- leaving ---- */

static void on_leave_deadline(struct loop_timer *timer)
{
    struct registration *registration = CONTAINER_OF(timer, struct registration, leave_timer);
    log_warn(registration->broker->env->logger, "registration", "leave_unfinished",
             "why=\"the controller did not confirm in time that others lead this node's partitions\" waited_ms=%u",
             REGISTRATION_LEAVE_US / US_PER_MS);
    end_leave(registration);
}

static bool is_alone(const struct registration *registration)
{
    const struct image *image = metadata_follow_image(registration->follow);
    return image == NULL || image_broker_count(image) < 2;
}

void registration_leave(struct registration *registration, bool is_hurried, void (*done)(void *ctx), void *ctx)
{
    struct loop *home = registration->broker->home;
    if (is_hurried || registration->is_over || !registration->is_member || is_alone(registration)) {
        end(registration);
        done(ctx);
        return;
    }
    registration->left = done;
    registration->left_ctx = ctx;
    loop_timer_set(home, &registration->leave_timer, loop_now_us(home) + REGISTRATION_LEAVE_US);
    ask_in(registration, 0);
}

/* ---- life ---- */

struct registration *registration_new(struct broker *broker, struct metadata_follow *follow)
{
    struct registration *registration = MEM_NEW(struct registration);
    registration->broker = broker;
    registration->follow = follow;
    registration->broker_epoch = -1;
    registration->timer.fire = on_timer;
    registration->leave_timer.fire = on_leave_deadline;
    return registration;
}

void registration_start(struct registration *registration, const struct registration_facts *facts,
                        const struct registration_events *events)
{
    struct broker *broker = registration->broker;
    registration->facts = *facts;
    registration->events = *events;
    for (size_t i = 0; i < broker->log_dirs->dir_count; i++) {
        registration->directories[i] = log_dir_meta(broker->log_dirs->dirs[i])->directory_id;
    }
    ask(registration);
}

int64_t registration_broker_epoch(const struct registration *registration)
{
    return registration->broker_epoch;
}

void registration_free(struct registration *registration)
{
    if (registration != NULL) {
        CHECK(!registration->is_asking);
        mem_free(registration);
    }
}

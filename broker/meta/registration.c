#include "broker/meta/registration.h"

#include "broker/broker.h"
#include "broker/meta/metadata_follow.h"
#include "broker/replica/log_dirs.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "controller/controller.h"

struct registration {
    struct broker *broker;
    struct metadata_follow *follow;
    struct registration_events events;
    struct controller_request request;
    struct metadata_wait wait;
    struct uuid directories[LOG_DIRS_MAX];
    int64_t broker_epoch;
};

static bool registration_request_failed(struct registration *registration)
{
    struct controller_request *request = &registration->request;
    if (request->err == ERR_OK) {
        return false;
    }
    const char *message = request->message[0] == '\0' ? err_text(request->err) : request->message;
    registration->events.on_failed(registration->events.ctx, request->err, message);
    return true;
}

static void registration_is_visible(struct loop_task *task)
{
    struct registration *registration = CONTAINER_OF(task, struct registration, wait.task);
    registration->events.on_registered(registration->events.ctx);
}

static void registration_wait_for(struct registration *registration, int64_t offset,
                                  void (*run)(struct loop_task *task))
{
    registration->wait.task.run = run;
    registration->wait.loop = registration->broker->home;
    registration->wait.offset = offset;
    metadata_follow_wait(registration->follow, &registration->wait);
}

static void registration_heartbeat_done(struct controller_request *request)
{
    struct registration *registration = CONTAINER_OF(request, struct registration, request);
    if (!registration_request_failed(registration)) {
        registration_wait_for(registration, request->metadata_offset, registration_is_visible);
    }
}

static void registration_heartbeat(struct loop_task *task)
{
    struct registration *registration = CONTAINER_OF(task, struct registration, wait.task);
    registration->request = (struct controller_request){
        .kind = CONTROLLER_HEARTBEAT,
        .loop = registration->broker->home,
        .on_done = registration_heartbeat_done,
        .heartbeat = {.broker_id = registration->broker->options->node_id,
                      .broker_epoch = registration->broker_epoch,
                      .applied_offset = metadata_follow_applied_offset(registration->follow)},
    };
    controller_submit(registration->broker->controller, &registration->request);
}

static void registration_done(struct controller_request *request)
{
    struct registration *registration = CONTAINER_OF(request, struct registration, request);
    if (registration_request_failed(registration)) {
        return;
    }
    registration->broker_epoch = request->registration.broker_epoch;
    /* Subscribed only now: the first image holds this incarnation and the leader epochs that it begins. */
    metadata_follow_start(registration->follow);
    registration_wait_for(registration, registration->broker_epoch, registration_heartbeat);
}

struct registration *registration_new(struct broker *broker, struct metadata_follow *follow)
{
    struct registration *registration = MEM_NEW(struct registration);
    registration->broker = broker;
    registration->follow = follow;
    registration->broker_epoch = -1;
    return registration;
}

void registration_start(struct registration *registration, const struct registration_facts *facts,
                        const struct registration_events *events)
{
    struct broker *broker = registration->broker;
    registration->events = *events;
    for (size_t i = 0; i < broker->log_dirs->dir_count; i++) {
        registration->directories[i] = log_dir_meta(broker->log_dirs->dirs[i])->directory_id;
    }
    registration->request = (struct controller_request){
        .kind = CONTROLLER_REGISTER,
        .loop = broker->home,
        .on_done = registration_done,
        .registration =
            {
                .broker_id = broker->options->node_id,
                .incarnation_id = uuid_random(broker->env->rng),
                .previous_epoch = facts->previous_epoch,
                .boot_id = span_make("", 0),
                .rack = span_text(broker->options->broker_rack),
                .endpoints = facts->endpoints,
                .endpoint_count = facts->endpoint_count,
                .directories = registration->directories,
                .directory_count = (uint32_t)broker->log_dirs->dir_count,
            },
    };
    controller_submit(broker->controller, &registration->request);
}

int64_t registration_broker_epoch(const struct registration *registration)
{
    return registration->broker_epoch;
}

void registration_free(struct registration *registration)
{
    mem_free(registration);
}

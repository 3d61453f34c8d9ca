/* controller_harness: a controller on the real world in a directory of its own, and requests to it that the test waits for.
 *
 * Threads:   the test's thread runs one loop, on which answers and publications arrive.
 */
#ifndef TESTS_UNIT_CONTROLLER_CONTROLLER_HARNESS_H
#define TESTS_UNIT_CONTROLLER_CONTROLLER_HARNESS_H

#include "common/mem.h"
#include "common/posix/posix_env.h"
#include "controller/controller.h"
#include "controller/controller_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define HARNESS_DEADLINE_US 20000000u

struct harness {
    char dir[64];
    struct posix_env *posix;
    struct env *env;
    struct loop *loop;
    struct loop_timer deadline;
    struct controller_options options;
    struct controller *controller;
    struct controller_subscription subscription;
    const struct image *image; /* newest published, a reference */
    unsigned publish_count;
    unsigned full_count; /* deltas with before == NULL */
    bool is_unsubscribed;
};

static inline void harness_on_deadline(struct loop_timer *timer)
{
    (void)timer;
    CHECK(false && "the test did not come to its end in time");
}

static inline void harness_init(struct harness *harness)
{
    *harness = (struct harness){0};
    snprintf(harness->dir, sizeof(harness->dir), "/tmp/moldau-ctl-XXXXXX");
    assert_non_null(mkdtemp(harness->dir));
    harness->posix = posix_env_new(LOG_ERROR);
    harness->env = &harness->posix->env;
    assert_int_equal(runtime_loop_new(harness->env->runtime, "test", &harness->loop), ERR_OK);
    harness->deadline.fire = harness_on_deadline;
    loop_timer_set(harness->loop, &harness->deadline, loop_now_us(harness->loop) + HARNESS_DEADLINE_US);
    controller_options_init(&harness->options);
    harness->options.node_id = 1;
    harness->options.is_broker = true;
    harness->options.metadata_dir = harness->dir;
    harness->options.cluster_name = "tests";
}

static inline void harness_done(struct harness *harness)
{
    char command[128];
    image_unref(harness->image);
    runtime_loop_free(harness->env->runtime, harness->loop);
    posix_env_free(harness->posix);
    snprintf(command, sizeof(command), "rm -rf %s", harness->dir);
    assert_int_equal(system(command), 0);
}

static inline void harness_start(struct harness *harness)
{
    struct option_problem problem = {0};
    enum err err = controller_start(harness->env, &harness->options, &harness->controller, &problem);
    if (err != ERR_OK) {
        print_message("%s\n", problem.text);
    }
    assert_int_equal(err, ERR_OK);
}

static inline void harness_stop(struct harness *harness)
{
    controller_stop(harness->controller);
    controller_free(harness->controller);
    harness->controller = NULL;
}

/* ---- requests ---- */

struct pending {
    struct controller_request request;
    struct harness *harness;
    bool is_done;
};

static inline void pending_done(struct controller_request *request)
{
    struct pending *pending = CONTAINER_OF(request, struct pending, request);
    assert_false(pending->is_done);
    pending->is_done = true;
}

static inline void harness_submit(struct harness *harness, struct pending *pending)
{
    pending->harness = harness;
    pending->is_done = false;
    pending->request.loop = harness->loop;
    pending->request.on_done = pending_done;
    controller_submit(harness->controller, &pending->request);
}

static inline void harness_ask(struct harness *harness, struct pending *pending)
{
    harness_submit(harness, pending);
    posix_loop_run_until(harness->loop, &pending->is_done);
}

/* ---- publications ---- */

static inline void harness_on_publish(void *ctx, const struct image *image, const struct image_delta *delta)
{
    struct harness *harness = (struct harness *)ctx;
    assert_ptr_equal(delta->after, image);
    assert_ptr_equal(delta->before, harness->image);
    harness->publish_count++;
    harness->full_count += delta->before == NULL;
    image_unref(harness->image);
    harness->image = image_ref(image);
}

static inline void harness_on_unsubscribed(void *ctx)
{
    ((struct harness *)ctx)->is_unsubscribed = true;
}

static inline void harness_subscribe(struct harness *harness)
{
    image_unref(harness->image);
    harness->image = NULL;
    harness->is_unsubscribed = false;
    harness->subscription = (struct controller_subscription){
        .loop = harness->loop,
        .on_publish = harness_on_publish,
        .on_unsubscribed = harness_on_unsubscribed,
        .ctx = harness,
    };
    controller_subscribe(harness->controller, &harness->subscription);
}

static inline void harness_unsubscribe(struct harness *harness)
{
    controller_unsubscribe(&harness->subscription);
    posix_loop_run_until(harness->loop, &harness->is_unsubscribed);
}

/* Until the subscription has shown `offset`: a status request has passed through the controller's loop behind it. */
static inline void harness_follow(struct harness *harness, int64_t offset)
{
    while (harness->image == NULL || image_offset(harness->image) < offset) {
        struct pending status = {.request = {.kind = CONTROLLER_STATUS}};
        harness_ask(harness, &status);
        assert_int_equal(status.request.err, ERR_OK);
    }
}

/* ---- brokers ---- */

static const struct image_endpoint harness_endpoint = {
    .listener_name = {(const uint8_t *)"PLAINTEXT", 9},
    .host = {(const uint8_t *)"127.0.0.1", 9},
    .port = 9092,
    .security = IMAGE_PLAINTEXT,
};

static const struct uuid harness_directory = {{9, 9, 9}};

/* Registers a broker with this incarnation and unfences it; returns the broker epoch. */
static inline int64_t harness_register(struct harness *harness, int32_t broker_id, uint8_t incarnation)
{
    struct uuid directory = harness_directory;
    directory.bytes[15] = (uint8_t)broker_id;
    struct pending registration = {.request = {.kind = CONTROLLER_REGISTER,
                                               .registration = {.broker_id = broker_id,
                                                                .incarnation_id = {{incarnation}},
                                                                .previous_epoch = -1,
                                                                .boot_id = span_text("boot"),
                                                                .endpoints = &harness_endpoint,
                                                                .endpoint_count = 1,
                                                                .directories = &directory,
                                                                .directory_count = 1}}};
    harness_ask(harness, &registration);
    assert_string_equal(registration.request.message, "");
    assert_int_equal(registration.request.err, ERR_OK);
    int64_t epoch = registration.request.registration.broker_epoch;
    assert_true(epoch > 0);
    struct pending heartbeat = {
        .request = {.kind = CONTROLLER_HEARTBEAT,
                    .heartbeat = {.broker_id = broker_id, .broker_epoch = epoch, .applied_offset = epoch}}};
    harness_ask(harness, &heartbeat);
    assert_int_equal(heartbeat.request.err, ERR_OK);
    assert_false(heartbeat.request.heartbeat.is_fenced);
    return epoch;
}

#endif

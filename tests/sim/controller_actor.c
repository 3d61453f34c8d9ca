#include "tests/sim/controller_actor.h"

#include "common/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define VOTERS "1@10.0.0.1:9093,2@10.0.0.2:9093,3@10.0.0.3:9093"
#define HEARTBEAT_US 300000u
#define WISH_US 120000u

void actor_violation(struct actor_sight *sight, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (sight->violation_count++ == 0) {
        (void)vsnprintf(sight->violation, sizeof(sight->violation), format, arguments);
    }
    va_end(arguments);
}

/* ---- what is seen ---- */

static void see(struct actor *actor, const struct image *image)
{
    struct actor_sight *sight = actor->sight;
    int64_t offset = image_offset(image);
    if (offset >= ACTOR_OFFSETS_MAX) {
        actor_violation(sight, "more offsets than the test has room for");
    } else if (!sight->is_known[offset]) {
        sight->is_known[offset] = true;
        memcpy(sight->hashes[offset], image_hash(image), IMAGE_HASH_BYTES);
    } else if (memcmp(sight->hashes[offset], image_hash(image), IMAGE_HASH_BYTES) != 0) {
        actor_violation(sight, "node %d has another hash at offset %lld (R8)", (int)actor->id, (long long)offset);
    }
}

static void on_publish(void *ctx, const struct image *image, const struct image_delta *delta)
{
    struct actor *actor = (struct actor *)ctx;
    (void)delta;
    if (actor->image != NULL && image_offset(image) <= image_offset(actor->image)) {
        actor_violation(actor->sight, "node %d goes backwards", (int)actor->id);
    }
    see(actor, image);
    actor->sight->delivered_count++;
    image_unref(actor->image);
    actor->image = image_ref(image);
}

bool actor_sees_alive(const struct actor *actor, int32_t broker_id)
{
    return actor->image != NULL && image_is_broker_alive(actor->image, broker_id);
}

/* ---- a broker ---- */

static void send_heartbeat(struct actor *actor);

static void heartbeat_done(struct controller_request *request)
{
    struct actor *actor = CONTAINER_OF(request, struct actor, heartbeat);
    actor->is_heartbeating = false;
    if (request->err == ERR_STALE) {
        actor_violation(actor->sight, "broker %d is told that another incarnation has registered", (int)actor->id);
    }
}

static void heartbeat_due(struct loop_timer *timer)
{
    struct actor *actor = CONTAINER_OF(timer, struct actor, heartbeat_timer);
    if (!actor->is_heartbeating) {
        send_heartbeat(actor);
    }
    loop_timer_set(actor->home, timer, loop_now_us(actor->home) + HEARTBEAT_US);
}

static void send_heartbeat(struct actor *actor)
{
    actor->is_heartbeating = true;
    actor->heartbeat = (struct controller_request){
        .kind = CONTROLLER_HEARTBEAT,
        .loop = actor->home,
        .on_done = heartbeat_done,
        .heartbeat = {.broker_id = actor->id,
                      .broker_epoch = actor->broker_epoch,
                      .applied_offset = actor->image == NULL ? 0 : image_offset(actor->image)}};
    controller_client_submit(actor->client, &actor->heartbeat);
}

static void wish_done(struct controller_request *request)
{
    struct actor *actor = CONTAINER_OF(request, struct actor, wish);
    actor->is_wishing = false;
    if (request->err == ERR_OK && actor->wish_code == 0) {
        actor->sight->topics[actor->sight->topic_count++] = actor->wish_number;
    }
}

static void wish_due(struct loop_timer *timer)
{
    struct actor *actor = CONTAINER_OF(timer, struct actor, wish_timer);
    loop_timer_set(actor->home, timer, loop_now_us(actor->home) + WISH_US);
    if (actor->is_wishing || actor->is_quiet || actor->sight->topic_count + 10 >= ACTOR_TOPICS_MAX) {
        return;
    }
    actor->is_wishing = true;
    actor->wish_number = actor->sight->wish_count++;
    (void)snprintf(actor->wish_text, sizeof(actor->wish_text), "t-%u", (unsigned)actor->wish_number);
    actor->wish_name = span_text(actor->wish_text);
    actor->wish = (struct controller_request){
        .kind = CONTROLLER_AUTO_CREATE,
        .loop = actor->home,
        .on_done = wish_done,
        .timeout_us = 5000000,
        .auto_create = {.names = &actor->wish_name, .name_count = 1, .ret_error_codes = &actor->wish_code}};
    controller_client_submit(actor->client, &actor->wish);
}

static void registered(struct controller_request *request)
{
    struct actor *actor = CONTAINER_OF(request, struct actor, registration);
    if (request->err == ERR_TIMEOUT) {
        controller_client_submit(actor->client, request);
        return;
    }
    if (request->err != ERR_OK) {
        if (request->err != ERR_CLOSED) {
            actor_violation(actor->sight, "broker %d can't register: %s", (int)actor->id, request->message);
        }
        return;
    }
    actor->broker_epoch = request->registration.broker_epoch;
    controller_client_set_broker_epoch(actor->client, actor->broker_epoch);
    heartbeat_due(&actor->heartbeat_timer);
    wish_due(&actor->wish_timer);
}

static void on_cluster_id(void *ctx, const char *cluster_id)
{
    (void)ctx;
    (void)cluster_id;
}

static void on_fatal(void *ctx, const char *sentence)
{
    struct actor *actor = (struct actor *)ctx;
    actor_violation(actor->sight, "node %d: %s", (int)actor->id, sentence);
}

static void start_broker(struct actor *actor, const struct rpc_hello *hello)
{
    struct controller_voter voters[CONTROLLER_VOTERS_MAX];
    struct option_problem problem;
    struct controller_client_config config = {.env = &actor->machine->env,
                                              .home = actor->home,
                                              .voters = voters,
                                              .hello = *hello,
                                              .ctx = actor,
                                              .on_cluster_id = on_cluster_id,
                                              .on_fatal = on_fatal};
    CHECK(controller_voters_parse(span_text(VOTERS), voters, &config.voter_count, &problem) == ERR_OK);
    actor->client = controller_client_new(&config);
    controller_client_start(actor->client);
    actor->subscription = (struct controller_subscription){.loop = actor->home, .on_publish = on_publish, .ctx = actor};
    controller_client_subscribe(actor->client, &actor->subscription);
    actor->endpoint = (struct image_endpoint){
        .listener_name = span_text("INTERNAL"), .host = span_text(actor->machine->options.address), .port = ACTOR_PORT};
    actor->directory = (struct uuid){{9, (uint8_t)actor->id}};
    actor->registration = (struct controller_request){.kind = CONTROLLER_REGISTER,
                                                      .loop = actor->home,
                                                      .on_done = registered,
                                                      .timeout_us = 60000000,
                                                      .registration = {.broker_id = actor->id,
                                                                       .incarnation_id = actor->incarnation_id,
                                                                       .previous_epoch = -1,
                                                                       .boot_id = span_text("boot"),
                                                                       .rack = SPAN_NULL,
                                                                       .endpoints = &actor->endpoint,
                                                                       .endpoint_count = 1,
                                                                       .directories = &actor->directory,
                                                                       .directory_count = 1}};
    controller_client_submit(actor->client, &actor->registration);
    actor->heartbeat_timer.fire = heartbeat_due;
    actor->wish_timer.fire = wish_due;
}

/* ---- a controller ---- */

static void on_view(void *ctx, const struct controller_view *view)
{
    ((struct actor *)ctx)->is_active = view->is_active;
}

static void start_controller(struct actor *actor)
{
    struct option_problem problem = {0};
    controller_options_init(&actor->options);
    actor->options.node_id = actor->id;
    actor->options.metadata_dir = "/data";
    actor->options.quorum_voters = VOTERS;
    actor->options.server = actor->server;
    actor->options.incarnation_id = actor->incarnation_id;
    actor->options.snapshot_entries = 40;
    actor->options.trailing_entries = 30;
    actor->options.segment_bytes = 16384;
    enum err err = controller_start(&actor->machine->env, &actor->options, &actor->controller, &problem);
    if (err != ERR_OK) {
        actor_violation(actor->sight, "controller %d does not start: %s", (int)actor->id, problem.text);
        return;
    }
    actor->watch = (struct controller_watch){.loop = actor->home, .on_view = on_view, .ctx = actor};
    controller_watch(actor->controller, &actor->watch);
    actor->subscription = (struct controller_subscription){.loop = actor->home, .on_publish = on_publish, .ctx = actor};
    controller_subscribe(actor->controller, &actor->subscription);
}

/* ---- processes ---- */

static void start_on_home(struct loop_task *task)
{
    struct actor *actor = CONTAINER_OF(task, struct actor, task);
    struct env *env = &actor->machine->env;
    actor->incarnation_id = uuid_random(env->rng);
    CHECK(rpc_server_new(env, actor->home, actor->machine->options.address, ACTOR_PORT, &actor->server) == ERR_OK);
    struct rpc_hello hello = {.node_id = actor->id,
                              .directory_id = {{8, (uint8_t)actor->id}},
                              .incarnation_id = actor->incarnation_id,
                              .broker_epoch = -1,
                              .worker_count = actor->is_controller ? 0 : 1};
    if (actor->is_controller) {
        start_controller(actor);
        hello.directory_id = actor->controller == NULL ? UUID_ZERO : controller_directory_id(actor->controller);
    } else {
        start_broker(actor, &hello);
    }
    rpc_server_set_hello(actor->server, &hello);
}

static void boot(struct sim_node *machine, void *ctx)
{
    struct actor *actor = (struct actor *)ctx;
    CHECK(runtime_loop_new(machine->env.runtime, "home", &actor->home) == ERR_OK);
    actor->task = (struct loop_task){.run = start_on_home};
    loop_post(actor->home, &actor->task);
    runtime_loop_start(machine->env.runtime, actor->home);
}

/* Everything of the process is gone. */
static void forget(struct actor *actor)
{
    actor->home = NULL;
    actor->server = NULL;
    actor->controller = NULL;
    actor->client = NULL;
    actor->image = NULL;
    actor->is_active = false;
    actor->is_heartbeating = false;
    actor->is_wishing = false;
    actor->is_quiet = false;
    actor->is_stopped = false;
    actor->heartbeat_timer = (struct loop_timer){0};
    actor->wish_timer = (struct loop_timer){0};
}

static void on_death(struct sim_node *machine)
{
    forget((struct actor *)machine->ctx);
}

static void on_log(struct sim_node *machine, const char *line, size_t bytes)
{
    struct actor *actor = (struct actor *)machine->ctx;
    const char *command = (const char *)memmem(line, bytes, "add-controller ", 15);
    if (command != NULL) {
        (void)snprintf(actor->waits, sizeof(actor->waits), "%.*s", (int)(bytes - (size_t)(command - line)), command);
    }
    actor->sight->snapshot_count += memmem(line, bytes, "event=metadata_snapshot", 23) != NULL;
    if (memmem(line, bytes, "event=metadata_differs", 22) != NULL) {
        actor_violation(actor->sight, "node %d: metadata differs", (int)actor->id);
    }
}

struct actor *actor_new(struct sim_world *world, struct sim_fabric *fabric, struct actor_sight *sight, int32_t id,
                        bool is_controller)
{
    static const char *const names[] = {"", "c1", "c2", "c3", "b4", "b5"};
    static const char *const addresses[] = {"", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"};
    struct actor *actor = MEM_NEW(struct actor);
    actor->world = world;
    actor->sight = sight;
    actor->id = id;
    actor->is_controller = is_controller;
    struct sim_node_options options = {.name = names[id], .address = addresses[id], .log_level = LOG_INFO};
    actor->machine = sim_node_new(world, fabric, &options);
    actor->machine->ctx = actor;
    actor->machine->on_death = on_death;
    actor->machine->on_log = on_log;
    return actor;
}

void actor_free(struct actor *actor)
{
    sim_node_free(actor->machine);
    mem_free(actor);
}

void actor_start(struct actor *actor)
{
    actor->waits[0] = '\0';
    sim_node_start(actor->machine, boot, actor);
}

/* ---- the orderly end ---- */

static void part_closed(struct actor *actor)
{
    if (--actor->parts_open > 0) {
        return;
    }
    image_unref(actor->image);
    actor->image = NULL;
    if (actor->controller != NULL) {
        controller_stop(actor->controller);
    }
    rpc_server_close(actor->server);
    actor->is_stopped = true;
}

static void on_closed(void *ctx)
{
    part_closed((struct actor *)ctx);
}

static void on_unsubscribed(void *ctx)
{
    struct actor *actor = (struct actor *)ctx;
    if (actor->client != NULL) {
        loop_timer_cancel(actor->home, &actor->heartbeat_timer);
        loop_timer_cancel(actor->home, &actor->wish_timer);
        controller_client_stop(actor->client, on_closed, actor);
    } else {
        part_closed(actor);
    }
}

static void stop_on_home(struct loop_task *task)
{
    struct actor *actor = CONTAINER_OF(task, struct actor, task);
    actor->subscription.on_unsubscribed = on_unsubscribed;
    actor->parts_open = 1;
    if (actor->controller != NULL) {
        actor->parts_open = 2;
        actor->watch.on_unwatched = on_closed;
        controller_unwatch(&actor->watch);
    }
    controller_unsubscribe(&actor->subscription);
}

static void stop_code(struct sim_node *machine, void *ctx)
{
    struct actor *actor = (struct actor *)ctx;
    (void)machine;
    actor->task = (struct loop_task){.run = stop_on_home};
    loop_post(actor->home, &actor->task);
}

void actor_stop(struct actor *actor)
{
    sim_node_run(actor->machine, stop_code, actor);
}

static void free_code(struct sim_node *machine, void *ctx)
{
    struct actor *actor = (struct actor *)ctx;
    loop_stop(actor->home);
    runtime_loop_join(machine->env.runtime, actor->home);
    controller_client_free(actor->client);
    controller_free(actor->controller);
    rpc_server_free(actor->server);
    runtime_loop_free(machine->env.runtime, actor->home);
}

bool actor_is_stopped(struct actor *actor)
{
    if (!actor->is_stopped || actor->machine->state != SIM_NODE_RUNNING) {
        return actor->machine->state != SIM_NODE_RUNNING;
    }
    sim_node_run(actor->machine, free_code, actor);
    size_t leaked_count = sim_node_reap(actor->machine);
    if (leaked_count != 0) {
        actor_violation(actor->sight, "the orderly end of node %d leaks %zu blocks, files or sockets", (int)actor->id,
                        leaked_count);
    }
    forget(actor);
    return true;
}

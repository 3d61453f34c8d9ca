/* Life of the client, and the way of a request: to the local controller while it is the active one, else over the CALL link; back again
 * when it was certainly not done, or may be done twice. */
#include "controller/controller_client.h"

#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "controller/controller_client_private.h"
#include "controller/controller_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

/* ---- the cluster ---- */

void client_fail(struct controller_client *client, const char *sentence)
{
    if (!client->is_running) {
        return;
    }
    client->is_running = false;
    client_call_stop(client);
    client_metadata_stop(client);
    log_error(client->config.env->logger, "controller_client", "failed", "reason=\"%s\"", sentence);
    client->config.on_fatal(client->config.ctx, sentence);
}

bool client_learn_cluster(struct controller_client *client, const char *cluster_id, const char *who)
{
    if (cluster_id[0] == '\0') {
        return true; /* not formed yet */
    }
    if (client->cluster_id[0] != '\0' && strcmp(client->cluster_id, cluster_id) != 0) {
        char sentence[OPTION_PROBLEM_BYTES];
        (void)snprintf(
            sentence, sizeof(sentence),
            "%s belongs to cluster %s, but this node belongs to cluster %s: check controller.quorum.voters and "
            "log.dirs",
            who, cluster_id, client->cluster_id);
        client_fail(client, sentence);
        return false;
    }
    (void)snprintf(client->cluster_id, sizeof(client->cluster_id), "%s", cluster_id);
    if (!client->is_cluster_told) {
        client->is_cluster_told = true;
        client->config.on_cluster_id(client->config.ctx, client->cluster_id);
    }
    return client->is_running;
}

void client_fill_hello(struct controller_client *client, struct rpc_hello *ret_hello)
{
    enum rpc_kind kind = ret_hello->kind;
    *ret_hello = client->config.hello;
    ret_hello->kind = kind;
    ret_hello->broker_epoch = client->broker_epoch;
    (void)snprintf(ret_hello->cluster_id, sizeof(ret_hello->cluster_id), "%s", client->cluster_id);
}

/* ---- terms: a controller may be deposed and not know it (ADR-0012) ---- */

void client_see_term(struct controller_client *client, uint64_t term)
{
    if (term > client->term) {
        client->term = term;
        client_call_term_changed(client);
    }
}

bool client_is_local_active(const struct controller_client *client)
{
    return client->local_view.is_active && client->local_view.term >= client->term;
}

void client_judge_answer(struct client_call *call)
{
    struct controller_client *client = call->client;
    struct controller_request *inner = &call->inner;
    bool is_decision = inner->kind != CONTROLLER_STATUS && inner->err != ERR_NOT_LEADER && inner->err != ERR_CLOSED &&
                       inner->err != ERR_TIMEOUT && inner->err != ERR_UNSUPPORTED;
    if (is_decision && inner->term < client->term) {
        log_info(client->config.env->logger, "controller_client", "answer_of_deposed_controller",
                 "kind=%d err=%s term=%" PRIu64 " newest_term=%" PRIu64, (int)inner->kind, err_name(inner->err),
                 inner->term, client->term);
        inner->err = ERR_CLOSED;
        inner->metadata_offset = 0;
    } else if (is_decision) {
        client_see_term(client, inner->term);
    }
}

static void on_view(void *ctx, const struct controller_view *view)
{
    struct controller_client *client = (struct controller_client *)ctx;
    client->local_view = *view;
    if (!client->is_running || !client_learn_cluster(client, view->cluster_id, "the controller of this node")) {
        return;
    }
    client_see_term(client, view->term);
    client_call_local_changed(client);
    client_pump(client);
}

/* ---- requests ---- */

static void take_results(const struct controller_request *inner, struct controller_request *outer)
{
    switch (inner->kind) {
    case CONTROLLER_ADMIN:
        outer->admin.response = inner->admin.response;
        return;
    case CONTROLLER_REGISTER:
        outer->registration.broker_epoch = inner->registration.broker_epoch;
        return;
    case CONTROLLER_HEARTBEAT:
        outer->heartbeat = inner->heartbeat;
        return;
    case CONTROLLER_PRODUCER_IDS:
        outer->producer_ids = inner->producer_ids;
        return;
    case CONTROLLER_STATUS:
        outer->status = inner->status;
        return;
    case CONTROLLER_AUTO_CREATE:
    case CONTROLLER_ALTER_ISR:
    case CONTROLLER_FENCE:
    case CONTROLLER_PREFERRED_LEADERS:
        return; /* in arrays of the caller */
    }
    UNREACHABLE();
}

static void complete(struct client_call *call, enum err err)
{
    struct controller_client *client = call->client;
    struct controller_request *outer = call->outer;
    take_results(&call->inner, outer);
    outer->hint = call->inner.hint;
    outer->term = call->inner.term;
    (void)snprintf(outer->message, sizeof(outer->message), "%s", call->inner.message);
    if (call->inner.metadata_offset > 0) {
        client_metadata_want(client, call->inner.metadata_offset);
    }
    controller_complete(outer, err, call->inner.metadata_offset);
    mem_free(call);
}

void client_settle(struct client_call *call)
{
    struct controller_client *client = call->client;
    struct controller_request *inner = &call->inner;
    bool is_undone = inner->err == ERR_NOT_LEADER;
    bool is_repeatable = inner->err == ERR_CLOSED && inner->kind != CONTROLLER_ADMIN;
    if (!client->is_running) {
        complete(call, is_undone ? ERR_CLOSED : inner->err);
        return;
    }
    if (!is_undone && !is_repeatable) {
        complete(call, inner->err);
        return;
    }
    call->place = CLIENT_WAITING;
    DL_APPEND(client->waiting, call);
    loop_timer_set(client->config.home, &client->call.retry_timer, loop_now_us(client->config.home) + CLIENT_RETRY_US);
}

static void local_done(struct controller_request *inner)
{
    struct client_call *call = CONTAINER_OF(inner, struct client_call, inner);
    call->client->local_count--;
    client_judge_answer(call);
    client_settle(call);
}

static void give_to_local(struct client_call *call, uint64_t now_us)
{
    struct controller_client *client = call->client;
    call->place = CLIENT_LOCAL;
    call->inner.loop = client->config.home;
    call->inner.on_done = local_done;
    call->inner.timeout_us = call->deadline_us > now_us ? call->deadline_us - now_us : 1;
    call->inner.for_term = client->local_view.term;
    client->local_count++;
    controller_submit(client->config.local, &call->inner);
}

void client_pump(struct controller_client *client)
{
    struct client_call *call, *next;
    uint64_t now_us = loop_now_us(client->config.home);
    DL_FOREACH_SAFE (client->waiting, call, next) {
        if (!client->is_running) {
            return;
        }
        if (client_is_local_active(client)) {
            DL_DELETE(client->waiting, call);
            give_to_local(call, now_us);
        } else if (!client_call_send(call)) {
            return;
        }
    }
}

static void end_late(struct controller_client *client, struct client_call **list, uint64_t now_us)
{
    struct client_call *call, *next;
    DL_FOREACH_SAFE (*list, call, next) {
        if (call->deadline_us <= now_us) {
            DL_DELETE(*list, call);
            complete(call, ERR_TIMEOUT);
        }
    }
    (void)client;
}

static void sweep(struct loop_timer *timer)
{
    struct controller_client *client = CONTAINER_OF(timer, struct controller_client, sweep_timer);
    uint64_t now_us = loop_now_us(client->config.home);
    end_late(client, &client->waiting, now_us);
    end_late(client, &client->sent, now_us);
    if (client->waiting != NULL || client->sent != NULL) {
        loop_timer_set(client->config.home, timer, now_us + CLIENT_SWEEP_US);
    }
}

/* On home. */
static void receive(struct loop_task *task)
{
    struct controller_request *request = CONTAINER_OF(task, struct controller_request, task);
    struct controller_client *client = request->client;
    if (!client->is_running) {
        controller_complete(request, ERR_CLOSED, 0);
        return;
    }
    struct client_call *call = MEM_NEW(struct client_call);
    call->client = client;
    call->outer = request;
    call->inner = *request;
    call->inner.task = (struct loop_task){0};
    uint64_t now_us = loop_now_us(client->config.home);
    call->deadline_us = now_us + (request->timeout_us == 0 ? CONTROLLER_TIMEOUT_US_DEFAULT : request->timeout_us);
    DL_APPEND(client->waiting, call);
    if (client->sweep_timer.heap_slot == 0) {
        loop_timer_set(client->config.home, &client->sweep_timer, now_us + CLIENT_SWEEP_US);
    }
    client_pump(client);
}

void controller_client_submit(struct controller_client *client, struct controller_request *request)
{
    if (client->is_direct) {
        controller_submit(client->config.local, request);
        return;
    }
    request->client = client;
    request->controller = NULL;
    request->err = ERR_OK;
    request->metadata_offset = 0;
    request->message[0] = '\0';
    request->hint = (struct controller_hint){.node_id = -1};
    if (request->kind == CONTROLLER_ADMIN) {
        request->admin.frame = shared_bytes_ref(request->admin.frame);
        request->admin.response = NULL;
    }
    atomic_fetch_add(&client->submitting_count, 1);
    if (atomic_load(&client->is_closed)) {
        controller_complete(request, ERR_CLOSED, 0);
    } else {
        request->task = (struct loop_task){.run = receive};
        loop_post(client->config.home, &request->task);
    }
    atomic_fetch_sub(&client->submitting_count, 1);
}

/* ---- subscriptions ---- */

void controller_client_subscribe(struct controller_client *client, struct controller_subscription *subscription)
{
    if (client->is_direct) {
        controller_subscribe(client->config.local, subscription);
    } else {
        controller_publish_subscribe(&client->publisher, subscription);
    }
}

void controller_client_unsubscribe(struct controller_client *client, struct controller_subscription *subscription)
{
    (void)client;
    controller_unsubscribe(subscription);
}

/* ---- life ---- */

struct controller_client *controller_client_new(const struct controller_client_config *config)
{
    struct controller_client *client = MEM_NEW(struct controller_client);
    client->config = *config;
    client->config.voters = client->voters;
    for (uint32_t i = 0; i < config->voter_count; i++) {
        if (config->local == NULL || config->voters[i].node_id != config->hello.node_id) {
            CHECK(client->voter_count < CONTROLLER_VOTERS_MAX);
            client->voters[client->voter_count++] = config->voters[i];
        }
    }
    CHECK(config->local != NULL || client->voter_count > 0);
    client->is_direct = config->local != NULL && client->voter_count == 0;
    client->broker_epoch = config->hello.broker_epoch;
    (void)snprintf(client->cluster_id, sizeof(client->cluster_id), "%s", config->hello.cluster_id);
    client->local_view.leader.node_id = -1;
    client->next_id = 1;
    client->sweep_timer.fire = sweep;
    client->publisher.loop = config->home;
    client->image = image_new_empty();
    client_metadata_init(client);
    return client;
}

static void on_local_image(void *ctx, const struct image *image, const struct image_delta *delta)
{
    (void)delta; /* the subscribers are shown what is different for them */
    client_metadata_local((struct controller_client *)ctx, image);
}

static void on_local_unsubscribed(void *ctx)
{
    ((struct controller_client *)ctx)->is_following_local = false;
}

static void follow_local(struct controller_client *client)
{
    client->is_following_local = true;
    client->local = (struct controller_subscription){.loop = client->config.home,
                                                     .on_publish = on_local_image,
                                                     .on_unsubscribed = on_local_unsubscribed,
                                                     .ctx = client};
    controller_subscribe(client->config.local, &client->local);
}

static void on_unwatched(void *ctx)
{
    ((struct controller_client *)ctx)->is_watching = false;
}

void controller_client_start(struct controller_client *client)
{
    client->is_running = true;
    if (client->config.local != NULL) {
        client->is_watching = true;
        client->watch = (struct controller_watch){
            .loop = client->config.home, .on_view = on_view, .on_unwatched = on_unwatched, .ctx = client};
        controller_watch(client->config.local, &client->watch);
        if (!client->is_direct) {
            follow_local(client);
        }
    } else {
        client_metadata_start(client);
    }
    client_call_start(client);
}

void controller_client_set_broker_epoch(struct controller_client *client, int64_t broker_epoch)
{
    client->broker_epoch = broker_epoch;
}

/* ---- stop: no new requests -> those under way end -> links are closed -> on_stopped ---- */

static void abort_calls(struct client_call **list)
{
    struct client_call *call, *next;
    DL_FOREACH_SAFE (*list, call, next) {
        DL_DELETE(*list, call);
        complete(call, ERR_CLOSED);
    }
}

/* A request that passed the test of is_closed is posted when submitting_count is 0, and received one turn later. Calls with the local
 * controller come back by themselves: soon, as it leads or learns that it does not. */
static void stop_step(struct loop_timer *timer)
{
    struct controller_client *client = CONTAINER_OF(timer, struct controller_client, sweep_timer);
    bool is_quiet = atomic_load(&client->submitting_count) == 0 && !client->is_watching &&
                    !client->is_following_local && client->local_count == 0;
    client->stop_turns = is_quiet ? client->stop_turns + 1 : 0;
    if (client->stop_turns == 3) {
        client->on_stopped(client->on_stopped_ctx);
        return;
    }
    loop_timer_set(client->config.home, timer, loop_now_us(client->config.home) + CLIENT_STOP_STEP_US);
}

void controller_client_stop(struct controller_client *client, void (*on_stopped)(void *ctx), void *ctx)
{
    atomic_store(&client->is_closed, true);
    client->is_running = false;
    client->on_stopped = on_stopped;
    client->on_stopped_ctx = ctx;
    client_call_stop(client);
    client_metadata_stop(client);
    abort_calls(&client->waiting);
    abort_calls(&client->sent);
    if (client->is_watching) {
        controller_unwatch(&client->watch);
    }
    if (client->is_following_local) {
        controller_unsubscribe(&client->local);
    }
    client->sweep_timer.fire = stop_step;
    loop_timer_set(client->config.home, &client->sweep_timer, loop_now_us(client->config.home));
}

void controller_client_free(struct controller_client *client)
{
    if (client == NULL) {
        return;
    }
    CHECK(client->waiting == NULL && client->sent == NULL && client->local_count == 0 && !client->is_watching &&
          !client->is_following_local && client->publisher.subscriptions == NULL);
    image_unref(client->image);
    mem_free(client);
}

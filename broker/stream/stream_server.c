/* Links and subscriptions of a leader's worker: who is there, who has something to send, who has gone. */
#include "broker/broker.h"
#include "broker/broker_metrics.h"
#include "broker/stream/stream_server_private.h"
#include "common/mem.h"
#include "common/seam/env.h"

#include <utlist.h>

#define STREAM_SWEEP_US 1000000u
/* A sweep so late means that this process stood still itself: what it has not read yet may lie in the sockets. */
#define STREAM_SWEEP_LATE_US (2 * STREAM_SWEEP_US)

/* ---- subscriptions ---- */

void stream_sub_set_place(struct stream_sub *sub, enum stream_place place)
{
    struct stream_server_link *link = sub->link;
    if (sub->place == STREAM_READY) {
        DL_DELETE(link->ready, sub);
    } else if (sub->place == STREAM_MARKED) {
        DL_DELETE(link->marked, sub);
    }
    sub->place = place;
    if (place == STREAM_READY) {
        DL_APPEND(link->ready, sub);
    } else if (place == STREAM_MARKED) {
        link->marked_us = link->marked == NULL ? loop_now_us(link->server->worker->loop) : link->marked_us;
        DL_APPEND(link->marked, sub);
    }
}

void stream_sub_drop(struct stream_sub *sub)
{
    struct stream_server_link *link = sub->link;
    bool is_reading = sub->place == STREAM_READING;
    stream_sub_set_place(sub, is_reading ? STREAM_READING : STREAM_QUIET);
    HASH_DEL(link->subs, sub);
    partition_unsubscribe(&sub->cursor);
    if (sub->has_read) {
        log_read_done(&sub->read);
        sub->has_read = false;
    }
    file_unref(sub->rest_file);
    sub->rest_file = NULL;
    sub->link = NULL;
    if (is_reading) {
        link->read_count--;
        return; /* freed by its job's end */
    }
    mem_free(sub);
}

void stream_sub_end(struct stream_sub *sub, enum error_code error)
{
    struct stream_server_link *link = sub->link;
    if (link->end_count == link->end_capacity) {
        link->end_capacity = link->end_capacity * 2 + 8;
        link->ends = mem_grow(link->ends, link->end_capacity, sizeof(*link->ends));
    }
    Node__ReplicaEnd *end = &link->ends[link->end_count++];
    node__replica_end__init(end);
    end->handle = sub->handle;
    end->error_code = error;
    stream_sub_drop(sub);
    stream_server_activate(link);
}

Node__ReplicaAnswer *stream_server_add_answer(struct stream_server_link *link, uint32_t handle)
{
    if (link->answer_count == link->answer_capacity) {
        link->answer_capacity = link->answer_capacity * 2 + 8;
        link->answers = mem_grow(link->answers, link->answer_capacity, sizeof(*link->answers));
    }
    Node__ReplicaAnswer *answer = &link->answers[link->answer_count++];
    node__replica_answer__init(answer);
    answer->handle = handle;
    stream_server_activate(link);
    return answer;
}

/* ---- links ---- */

void stream_server_activate(struct stream_server_link *link)
{
    if (!link->is_active) {
        link->is_active = true;
        LL_PREPEND2(link->server->active, link, next_active);
    }
}

static void stream_server_link_free(struct stream_server_link *link)
{
    struct stream_server *server = link->server;
    struct stream_sub *sub = NULL;
    struct stream_sub *next = NULL;
    HASH_ITER (hh, link->subs, sub, next) {
        stream_sub_drop(sub);
    }
    if (link->is_active) {
        LL_DELETE2(server->active, link, next_active);
    }
    if (server->stepping == link) {
        server->stepping = NULL;
    }
    DL_DELETE(server->links, link);
    server->link_count--;
    metric_add(server->worker->metrics, METRIC_REPLICA_LINKS_IN, -1);
    rpc_link_free(link->rpc);
    if (link->copied_bytes > 0) {
        memory_give(&server->worker->memory, link->copied_bytes);
    }
    mem_free(link->answers);
    mem_free(link->ends);
    mem_free(link);
}

void stream_server_close(struct stream_server_link *link, const char *reason)
{
    struct stream_server *server = link->server;
    struct net_address address;
    rpc_link_peer_address(link->rpc, &address);
    logger_limited(server->logger, &server->line_limit, LOG_WARN, "stream", "link_closed",
                   "follower=%d address=%s:%u subscriptions=%u reason=\"%s\"", link->broker_id, address.host,
                   (unsigned)address.port, HASH_COUNT(link->subs), reason);
    stream_server_link_free(link);
}

static void stream_server_on_drained(void *ctx)
{
    struct stream_server_link *link = ctx;
    if (link->is_paused) {
        link->is_paused = false;
        rpc_link_resume(link->rpc);
    }
    stream_server_settle(link);
    if (link->ready != NULL || link->are_marks_due) {
        stream_server_activate(link);
        loop_defer(link->server->worker->loop, &link->server->again); /* this may be the step already */
    }
}

static void stream_server_on_closed(void *ctx, enum err err)
{
    struct stream_server_link *link = ctx;
    struct stream_server *server = link->server;
    logger_limited(server->logger, &server->line_limit, LOG_INFO, "stream", "link_lost",
                   "follower=%d subscriptions=%u err=%s", link->broker_id, HASH_COUNT(link->subs), err_name(err));
    stream_server_link_free(link);
}

static void stream_server_arm_sweep(struct stream_server *server)
{
    struct loop *loop = server->worker->loop;
    loop_timer_set(loop, &server->sweep_timer, loop_now_us(loop) + STREAM_SWEEP_US);
}

void stream_server_accept(struct stream_server *server, struct rpc_link *rpc)
{
    if (server->is_stopping || server->link_count >= STREAM_LINKS_MAX) {
        rpc_link_free(rpc);
        return;
    }
    const struct rpc_hello *peer = rpc_link_peer(rpc);
    struct stream_server_link *link = MEM_NEW(struct stream_server_link);
    link->server = server;
    link->rpc = rpc;
    link->is_catch_up = stream_lane_is_catch_up(peer->lane);
    link->broker_id = peer->node_id;
    link->credit_bytes = STREAM_WINDOW_BYTES;
    link->heard_us = loop_now_us(server->worker->loop);
    if (server->links == NULL) {
        stream_server_arm_sweep(server);
    }
    DL_APPEND(server->links, link);
    server->link_count++;
    metric_add(server->worker->metrics, METRIC_REPLICA_LINKS_IN, 1);
    rpc_link_set_low_mark(rpc, STREAM_QUEUED_LOW_BYTES);
    struct rpc_link_events events = {
        .ctx = link,
        .on_frame = stream_server_on_frame,
        .on_drained = stream_server_on_drained,
        .on_closed = stream_server_on_closed,
    };
    rpc_link_set_events(rpc, &events);
}

/* A follower pings: silence means that it, or the way to it, is gone. */
static void stream_server_sweep(struct loop_timer *timer)
{
    struct stream_server *server = CONTAINER_OF(timer, struct stream_server, sweep_timer);
    uint64_t now_us = loop_now_us(server->worker->loop);
    bool is_late = now_us > timer->deadline_us + STREAM_SWEEP_LATE_US;
    struct stream_server_link *link = NULL;
    struct stream_server_link *next = NULL;
    DL_FOREACH_SAFE (server->links, link, next) {
        if (is_late || link->is_paused) {
            link->heard_us = now_us; /* nobody listened */
        } else if (now_us - link->heard_us > STREAM_SILENCE_US) {
            stream_server_close(link, "silent");
        }
    }
    if (server->links != NULL) {
        stream_server_arm_sweep(server);
    }
}

/* ---- the step ---- */

void stream_server_arm_marks(struct stream_server *server, uint64_t at_us)
{
    if (!server->is_marks_timer_set) {
        server->is_marks_timer_set = true;
        loop_timer_set(server->worker->loop, &server->marks_timer, at_us);
    }
}

/* Steady data takes the marks along before their time is over. */
static void stream_server_marks_due(struct loop_timer *timer)
{
    struct stream_server *server = CONTAINER_OF(timer, struct stream_server, marks_timer);
    struct stream_server_link *link = NULL;
    uint64_t now_us = loop_now_us(server->worker->loop);
    uint64_t next_us = UINT64_MAX;
    server->is_marks_timer_set = false;
    DL_FOREACH (server->links, link) {
        uint64_t due_us = link->marked_us + STREAM_MARKS_DELAY_US;
        if (link->marked != NULL && due_us <= now_us) {
            link->are_marks_due = true;
            stream_server_activate(link);
        } else if (link->marked != NULL) {
            next_us = due_us < next_us ? due_us : next_us;
        }
    }
    if (next_us != UINT64_MAX) {
        stream_server_arm_marks(server, next_us);
    }
}

static void stream_server_again(struct loop_task *task)
{
    (void)task; /* the step that follows does the work */
}

void stream_server_step(struct stream_server *server)
{
    struct stream_server_link *todo = server->active;
    server->active = NULL;
    /* Nothing but a link's own sending can close it here, so those that wait in `todo` stay. */
    while (todo != NULL) {
        struct stream_server_link *link = todo;
        todo = todo->next_active;
        link->is_active = false;
        server->stepping = link;
        if (!stream_server_send(link)) {
            continue;
        }
        rpc_link_flush(link->rpc);
        if (server->stepping == link) {
            stream_server_settle(link);
        }
    }
    server->stepping = NULL;
    server->step_number++;
}

/* ---- life ---- */

struct stream_server *stream_server_new(struct worker *worker)
{
    struct stream_server *server = MEM_NEW(struct stream_server);
    server->worker = worker;
    server->logger = worker->broker->env->logger;
    server->step_number = 1;
    server->again.run = stream_server_again;
    server->marks_timer.fire = stream_server_marks_due;
    server->sweep_timer.fire = stream_server_sweep;
    arena_init(&server->arena, STREAM_HEADER_ARENA_BYTES);
    return server;
}

static void stream_server_stopped(struct loop_task *task)
{
    struct stream_server *server = CONTAINER_OF(task, struct stream_server, stopped);
    server->stop_done(server->stop_ctx);
}

void stream_server_check_stopped(struct stream_server *server)
{
    if (server->is_stopping && server->read_count == 0) {
        loop_defer(server->worker->loop, &server->stopped);
    }
}

void stream_server_stop(struct stream_server *server, void (*done)(void *ctx), void *ctx)
{
    CHECK(!server->is_stopping);
    server->is_stopping = true;
    server->stop_done = done;
    server->stop_ctx = ctx;
    server->stopped.run = stream_server_stopped;
    while (server->links != NULL) {
        stream_server_link_free(server->links);
    }
    loop_timer_cancel(server->worker->loop, &server->marks_timer);
    loop_timer_cancel(server->worker->loop, &server->sweep_timer);
    stream_server_check_stopped(server);
}

void stream_server_free(struct stream_server *server)
{
    if (server == NULL) {
        return;
    }
    CHECK(server->links == NULL && server->read_count == 0);
    stream_packing_done(&server->packing);
    arena_done(&server->arena);
    mem_free(server);
}

/* Listening and connecting:
 *
 *     connect --(latency)--> asked: nobody listens --(latency)--> refused
 *                            asked: accepted, both ends exist --(latency)--> connected
 *     Nothing gets through: asked again every second until the deadline: timed out.
 */
#include "tests/sim/sim_net_internal.h"
#include "tests/support/plain_mem.h"

#include <stdio.h>
#include <utlist.h>

#define ASK_AGAIN_US SIM_SECOND_US
#define RESOLVE_US_MOST 300u

enum connect_state { CONNECT_ASKING, CONNECT_ANSWERING, CONNECT_ENDED };

struct sim_connect {
    struct sim_host *host;
    struct sim_host *target; /* NULL: nobody has this name */
    struct net_address address;
    struct loop *loop;
    net_connect_fn on_connected;
    void *ctx;
    uint64_t deadline_us; /* of the world */
    enum connect_state state;
    enum err err;               /* the answer */
    struct sim_end *end;        /* accepted, ours until it is handed over */
    struct loop_timer event;    /* the next step, in the world */
    struct loop_task done_task; /* the callback, on its loop */
    struct sim_end_hook end_hook;
    struct sim_connect *prev;
    struct sim_connect *next;
};

static bool is_any_host(const char *host)
{
    return host == NULL || host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static bool is_loopback(const char *host)
{
    return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0;
}

/* ---- listening ---- */

static struct net_listener *find_listener(const struct sim_host *host, const char *address, uint16_t port)
{
    struct net_listener *listener = NULL;
    DL_FOREACH (host->listeners, listener) {
        if (!listener->is_closed && listener->address.port == port &&
            (listener->address.host[0] == '\0' || strcmp(listener->address.host, address) == 0)) {
            return listener;
        }
    }
    return NULL;
}

static unsigned listener_possible(struct sim_watch *watch)
{
    return CONTAINER_OF(watch, struct net_listener, watch)->queue != NULL ? NET_READABLE : 0;
}

static void listener_free(struct net_listener *listener)
{
    plain_free(listener);
}

static void listener_on_event(struct sim_watch *watch, unsigned events)
{
    (void)events;
    struct net_listener *listener = CONTAINER_OF(watch, struct net_listener, watch);
    listener->is_accepting = true;
    while (!listener->is_closed && listener->queue != NULL) {
        struct sim_accept *accepted = listener->queue;
        LL_DELETE(listener->queue, accepted);
        struct sim_end *end = accepted->end;
        plain_free(accepted);
        listener->on_accept(listener->ctx, &end->base);
    }
    listener->is_accepting = false;
    if (listener->is_closed) {
        listener_free(listener);
    }
}

static uint16_t free_port(struct sim_host *host)
{
    do {
        host->next_port = host->next_port == UINT16_MAX ? 1024 : (uint16_t)(host->next_port + 1);
    } while (find_listener(host, host->address, host->next_port) != NULL);
    return host->next_port;
}

enum err sim_net_listen(struct net *net, struct loop *loop, const char *host_text, uint16_t port,
                        net_accept_fn on_accept, void *ctx, struct net_listener **ret_listener)
{
    struct sim_host *host = CONTAINER_OF(net, struct sim_host, net);
    struct net_address address = {.port = port};
    if (!is_any_host(host_text)) {
        bool is_own =
            is_loopback(host_text) || strcmp(host_text, host->address) == 0 || strcmp(host_text, host->name) == 0;
        if (!is_own) {
            return ERR_ADDRESS_UNKNOWN;
        }
        (void)snprintf(address.host, sizeof(address.host), "%s", is_loopback(host_text) ? "127.0.0.1" : host->address);
    }
    if (port == 0) {
        address.port = free_port(host);
    } else if (find_listener(host, is_any_host(host_text) ? host->address : address.host, port) != NULL) {
        return ERR_ADDRESS_IN_USE;
    }
    struct net_listener *listener = PLAIN_NEW(struct net_listener);
    listener->host = host;
    listener->address = address;
    listener->on_accept = on_accept;
    listener->ctx = ctx;
    listener->watch.possible = listener_possible;
    listener->watch.on_event = listener_on_event;
    sim_watch_start(&listener->watch, loop);
    sim_watch_set(&listener->watch, NET_READABLE);
    DL_APPEND(host->listeners, listener);
    *ret_listener = listener;
    return ERR_OK;
}

void sim_net_listener_address(struct net_listener *listener, struct net_address *ret_address)
{
    *ret_address = listener->address;
    if (listener->address.host[0] == '\0') {
        (void)snprintf(ret_address->host, sizeof(ret_address->host), "0.0.0.0");
    }
}

void sim_net_listener_close(struct net_listener *listener)
{
    CHECK(!listener->is_closed);
    listener->is_closed = true;
    sim_watch_stop(&listener->watch);
    while (listener->queue != NULL) {
        struct sim_accept *accepted = listener->queue;
        LL_DELETE(listener->queue, accepted);
        if (!accepted->end->is_gone) {
            sim_end_leave(accepted->end, true);
        }
        plain_free(accepted);
    }
    DL_DELETE(listener->host->listeners, listener);
    if (!listener->is_accepting) {
        listener_free(listener);
    }
}

/* ---- connecting ---- */

static struct sim_host *find_host(struct sim_host *host, const char *text)
{
    if (is_loopback(text)) {
        return host;
    }
    for (unsigned i = 0; i < host->fabric->host_count; i++) {
        struct sim_host *other = host->fabric->hosts[i];
        if (strcmp(text, other->address) == 0 || strcmp(text, other->name) == 0) {
            return other;
        }
    }
    return NULL;
}

static void attempt_free(struct sim_connect *attempt)
{
    sim_world_cancel(attempt->host->fabric->world, &attempt->event);
    sim_loop_remove_end_hook(attempt->loop, &attempt->end_hook);
    DL_DELETE(attempt->host->connects, attempt);
    plain_free(attempt);
}

static void attempt_call_back(struct sim_connect *attempt)
{
    net_connect_fn on_connected = attempt->on_connected;
    void *ctx = attempt->ctx;
    enum err err = attempt->err;
    struct socket *socket = err == ERR_OK ? &attempt->end->base : NULL;
    attempt_free(attempt);
    on_connected(ctx, err, socket);
}

static void run_done_task(struct loop_task *task)
{
    attempt_call_back(CONTAINER_OF(task, struct sim_connect, done_task));
}

static void attempt_end(struct sim_connect *attempt, enum err err)
{
    struct sim_world *world = attempt->host->fabric->world;
    sim_world_cancel(world, &attempt->event);
    if (err != ERR_OK && attempt->end != NULL) {
        sim_end_leave(attempt->end, true);
        attempt->end = NULL;
    }
    if (err == ERR_REFUSED) {
        attempt->host->fabric->counts.refused_count++;
    }
    attempt->state = CONNECT_ENDED;
    attempt->err = err;
    sim_trace_detail(&world->trace, world->now_us, attempt->host->name, "connect %s:%u %s", attempt->address.host,
                     attempt->address.port, err_name(err));
    loop_post(attempt->loop, &attempt->done_task);
}

static void attempt_step_at(struct sim_connect *attempt, uint64_t at_us)
{
    sim_world_set(attempt->host->fabric->world, &attempt->event,
                  at_us < attempt->deadline_us ? at_us : attempt->deadline_us);
}

/* The question has arrived: accept or refuse. */
static void attempt_ask(struct sim_connect *attempt)
{
    struct sim_host *host = attempt->host;
    struct net_listener *listener = find_listener(
        attempt->target,
        attempt->target == host && is_loopback(attempt->address.host) ? "127.0.0.1" : attempt->target->address,
        attempt->address.port);
    attempt->state = CONNECT_ANSWERING;
    attempt->err = ERR_REFUSED;
    if (listener != NULL) {
        struct net_address local = {.port = free_port(host)};
        (void)snprintf(local.host, sizeof(local.host), "%s", attempt->target == host ? "127.0.0.1" : host->address);
        struct sim_connection *connection = sim_connection_new(host, attempt->target, &local, &attempt->address);
        struct sim_accept *accepted = PLAIN_NEW(struct sim_accept);
        accepted->end = &connection->ends[1];
        LL_APPEND(listener->queue, accepted);
        sim_watch_touch(&listener->watch);
        attempt->end = &connection->ends[0];
        attempt->err = ERR_OK;
    }
}

static void on_attempt_event(struct loop_timer *event)
{
    struct sim_connect *attempt = CONTAINER_OF(event, struct sim_connect, event);
    struct sim_world *world = attempt->host->fabric->world;
    if (attempt->target == NULL) {
        attempt_end(attempt, ERR_ADDRESS_UNKNOWN);
        return;
    }
    if (world->now_us >= attempt->deadline_us) {
        attempt_end(attempt, ERR_TIMEOUT);
        return;
    }
    bool is_asking = attempt->state == CONNECT_ASKING;
    struct sim_host *from = is_asking ? attempt->host : attempt->target;
    struct sim_host *to = is_asking ? attempt->target : attempt->host;
    if (!attempt->target->is_on || !sim_net_is_open(from, to)) {
        attempt_step_at(attempt, world->now_us + ASK_AGAIN_US);
        return;
    }
    if (is_asking) {
        attempt_ask(attempt);
        attempt_step_at(attempt, world->now_us + sim_net_latency_us(attempt->target, attempt->host));
        return;
    }
    attempt_end(attempt, attempt->err);
}

static void on_loop_end(struct sim_end_hook *hook)
{
    struct sim_connect *attempt = CONTAINER_OF(hook, struct sim_connect, end_hook);
    if (attempt->state != CONNECT_ENDED) {
        attempt_end(attempt, ERR_CANCELLED);
    }
}

void sim_net_connect(struct net *net, struct loop *loop, const char *host_text, uint16_t port, uint64_t timeout_us,
                     net_connect_fn on_connected, void *ctx)
{
    struct sim_host *host = CONTAINER_OF(net, struct sim_host, net);
    struct sim_world *world = host->fabric->world;
    struct sim_connect *attempt = PLAIN_NEW(struct sim_connect);
    attempt->host = host;
    attempt->target = find_host(host, host_text);
    attempt->address.port = port;
    const char *address = is_loopback(host_text)    ? "127.0.0.1"
                          : attempt->target == NULL ? ""
                                                    : attempt->target->address;
    (void)snprintf(attempt->address.host, sizeof(attempt->address.host), "%s", address);
    attempt->loop = loop;
    attempt->on_connected = on_connected;
    attempt->ctx = ctx;
    attempt->deadline_us = world->now_us + timeout_us;
    attempt->event.fire = on_attempt_event;
    attempt->done_task.run = run_done_task;
    attempt->end_hook.run = on_loop_end;
    sim_loop_add_end_hook(loop, &attempt->end_hook);
    DL_APPEND(host->connects, attempt);
    uint64_t travel_us = attempt->target == NULL ? sim_world_draw_us(world, 1, RESOLVE_US_MOST)
                                                 : sim_net_latency_us(host, attempt->target);
    attempt_step_at(attempt, world->now_us + travel_us);
}

void sim_connect_abandon(struct sim_connect *attempt)
{
    if (attempt->end != NULL && !attempt->end->is_gone) {
        sim_end_leave(attempt->end, true);
    }
    attempt_free(attempt);
}

/* libevent 2.1's evhttp neither counts its connections nor limits their whole life, and tells nobody when one ends
 * before its first request. It does ask us to make each connection's bufferevent, and it lists the events of a base.
 * So we keep the addresses of the bufferevents that we made, and those that still have an event are alive. An
 * address is only compared, never followed: what it pointed to may be gone. That an event belongs to a bufferevent,
 * and not to something else at a recycled address, shows in its callback, which we learn from a bufferevent of our
 * own at the start. */
#include "common/posix/http_connections.h"

#include "common/check.h"
#include "common/mem.h"
#include "common/posix/posix_loop.h"

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWEEP_US_MIN 100000u /* between two looks, when full or when a connection is slow to go */

struct http_connection {
    const void *bufferevent; /* compared only */
    uint64_t since_us;       /* it came, or its last request came */
    int fd;                  /* -1: no event, so it is gone */
};

/* libevent's own callbacks for the events of every bufferevent with a socket. */
struct callback_pair {
    event_callback_fn reading;
    event_callback_fn writing;
};

struct http_connections {
    struct loop *loop;
    struct event_base *event_base;
    struct evconnlistener *listener;
    struct event *marker;
    struct callback_pair callbacks;
    struct loop_timer sweep_timer;
    uint64_t connection_us_max;
    bool is_full;
    size_t count;
    size_t connections_max;
    struct http_connection items[];
};

struct callback_search {
    const void *bufferevent;
    struct callback_pair found;
};

static int callback_look(const struct event_base *base, const struct event *event, void *ctx)
{
    (void)base;
    struct callback_search *search = ctx;
    if (event_get_callback_arg(event) == search->bufferevent) {
        if ((event_get_events(event) & EV_READ) != 0) {
            search->found.reading = event_get_callback(event);
        } else if ((event_get_events(event) & EV_WRITE) != 0) {
            search->found.writing = event_get_callback(event);
        }
    }
    return 0;
}

static struct callback_pair callbacks_learn(struct event_base *base)
{
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    struct bufferevent *probe = bufferevent_socket_new(base, fds[0], 0);
    /* With something to write both of its events wait. */
    CHECK(probe != NULL && bufferevent_enable(probe, EV_READ | EV_WRITE) == 0);
    CHECK(bufferevent_write(probe, "x", 1) == 0);
    struct callback_search search = {.bufferevent = probe};
    (void)event_base_foreach_event(base, callback_look, &search);
    CHECK(search.found.reading != NULL && search.found.writing != NULL);
    bufferevent_free(probe);
    close(fds[0]);
    close(fds[1]);
    return search.found;
}

static int sweep_look(const struct event_base *base, const struct event *event, void *ctx)
{
    (void)base;
    struct http_connections *connections = ctx;
    event_callback_fn callback = event_get_callback(event);
    bool is_ours = callback == connections->callbacks.reading || callback == connections->callbacks.writing;
    for (size_t i = 0; is_ours && i < connections->count; i++) {
        if (connections->items[i].bufferevent == event_get_callback_arg(event)) {
            connections->items[i].fd = event_get_fd(event);
        }
    }
    return 0;
}

/* Without connections nothing ticks; with them, the next look is when the oldest has had its time. */
static void connections_plan_sweep(struct http_connections *connections)
{
    uint64_t now_us = loop_now_us(connections->loop);
    uint64_t next_us = UINT64_MAX;
    for (size_t i = 0; i < connections->count; i++) {
        uint64_t end_us = connections->items[i].since_us + connections->connection_us_max;
        next_us = end_us < next_us ? end_us : next_us;
    }
    if (connections->is_full || next_us < now_us + SWEEP_US_MIN) {
        next_us = now_us + SWEEP_US_MIN;
    }
    if (next_us == UINT64_MAX) {
        loop_timer_cancel(connections->loop, &connections->sweep_timer);
    } else {
        loop_timer_set(connections->loop, &connections->sweep_timer, next_us);
    }
}

/* Forgets connections that are gone, ends those that are too old, and lets the listener go on when there is room. */
static void connections_sweep(struct http_connections *connections)
{
    uint64_t now_us = loop_now_us(connections->loop);
    size_t kept_count = 0;
    for (size_t i = 0; i < connections->count; i++) {
        connections->items[i].fd = -1;
    }
    (void)event_base_foreach_event(connections->event_base, sweep_look, connections);
    for (size_t i = 0; i < connections->count; i++) {
        if (connections->items[i].fd >= 0) {
            if (now_us - connections->items[i].since_us >= connections->connection_us_max) {
                (void)shutdown(connections->items[i].fd, SHUT_RDWR); /* evhttp sees the end and closes */
            }
            connections->items[kept_count++] = connections->items[i];
        }
    }
    connections->count = kept_count;
    if (connections->is_full && kept_count < connections->connections_max) {
        connections->is_full = false;
        (void)evconnlistener_enable(connections->listener);
    }
    connections_plan_sweep(connections);
}

static void connections_pause(struct http_connections *connections)
{
    connections->is_full = true;
    (void)evconnlistener_disable(connections->listener);
    connections_plan_sweep(connections);
}

static void connections_on_sweep(struct loop_timer *timer)
{
    connections_sweep(CONTAINER_OF(timer, struct http_connections, sweep_timer));
}

static void marker_never(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    (void)ctx; /* a listening socket never becomes writable */
}

struct marker_search {
    const struct evconnlistener *listener;
    struct http_connections *found;
};

static int marker_look(const struct event_base *base, const struct event *event, void *ctx)
{
    (void)base;
    struct marker_search *search = ctx;
    if (event_get_callback(event) == marker_never) {
        struct http_connections *connections = event_get_callback_arg(event);
        search->found = connections->listener == search->listener ? connections : search->found;
    }
    return 0;
}

/* accept failed: without descriptors it would fail again at once, so the listener waits as when full. Its context is
 * evhttp's, not ours: a marker among the base's events leads to us. */
static void connections_on_accept_error(struct evconnlistener *listener, void *ctx)
{
    (void)ctx;
    struct marker_search search = {.listener = listener};
    (void)event_base_foreach_event(evconnlistener_get_base(listener), marker_look, &search);
    CHECK(search.found != NULL);
    connections_pause(search.found);
}

static struct bufferevent *connections_on_accept(struct event_base *base, void *ctx)
{
    struct http_connections *connections = ctx;
    connections_sweep(connections);
    struct bufferevent *bufferevent = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    CHECK(bufferevent != NULL);
    if (connections->count < connections->connections_max) { /* else it came with the batch that filled the table */
        connections->items[connections->count++] =
            (struct http_connection){.bufferevent = bufferevent, .since_us = loop_now_us(connections->loop)};
    }
    if (connections->count == connections->connections_max) {
        connections_pause(connections);
    } else {
        connections_plan_sweep(connections);
    }
    return bufferevent;
}

struct http_connections *http_connections_new(struct loop *loop, void *evhttp, void *listener, size_t connections_max,
                                              uint64_t connection_us_max)
{
    struct http_connections *connections =
        mem_zalloc(sizeof(*connections) + connections_max * sizeof(connections->items[0]));
    connections->loop = loop;
    connections->event_base = posix_loop_event_base(loop);
    connections->listener = listener;
    connections->callbacks = callbacks_learn(connections->event_base);
    connections->sweep_timer.fire = connections_on_sweep;
    connections->connection_us_max = connection_us_max;
    connections->connections_max = connections_max;
    connections->marker = event_new(connections->event_base, evconnlistener_get_fd(listener), EV_WRITE | EV_PERSIST,
                                    marker_never, connections);
    CHECK(connections->marker != NULL && event_add(connections->marker, NULL) == 0);
    evconnlistener_set_error_cb(listener, connections_on_accept_error);
    evhttp_set_bevcb(evhttp, connections_on_accept, connections);
    return connections;
}

void http_connections_stop(struct http_connections *connections)
{
    event_free(connections->marker);
    connections->marker = NULL;
    loop_timer_cancel(connections->loop, &connections->sweep_timer);
}

void http_connections_free(struct http_connections *connections)
{
    mem_free(connections);
}

void http_connections_touch(struct http_connections *connections, const void *bufferevent)
{
    for (size_t i = 0; i < connections->count; i++) {
        if (connections->items[i].bufferevent == bufferevent) {
            connections->items[i].since_us = loop_now_us(connections->loop);
        }
    }
}

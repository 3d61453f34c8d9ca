/*     WAITING --timer--> CONNECTING --connected--> GREETING --welcome--> UP
 *        ^                   |                        |               |
 *        +------ backoff ----+---- lost, refused -----+---- lost -----+        (once: OVER instead of WAITING)
 *
 * A connect can't be taken back: each is an `attempt` of its own, which the dialer disowns when it wants no more of it; a socket
 * that comes in spite of that is closed. The first connect, too, begins by the timer, so that a dialer whose loop never ran
 * leaves nothing behind.
 *
 * The wait begins with RPC_BACKOFF_MIN_US, doubles with every failure up to RPC_BACKOFF_MAX_US and is drawn from its upper half,
 * so that nodes which lost the same peer do not come back together. A link that did not live for RPC_BACKOFF_MAX_US counts as a
 * failure: a server that welcomes and closes is not asked at full speed.
 *
 * Callbacks to the owner are the last thing that a function does: they may free the dialer.
 */
#include "common/rpc/rpc_dial.h"

#include "common/mem.h"
#include "common/rpc/rpc_greeting.h"
#include "common/seam/rng.h"

#include <stdio.h>

enum dial_state { DIAL_WAITING, DIAL_CONNECTING, DIAL_GREETING, DIAL_UP, DIAL_OVER };

/* One net_connect. */
struct dial_attempt {
    struct rpc_dial *dial; /* NULL: disowned */
};

struct rpc_dial {
    struct rpc_dial_config config;
    struct rpc_dial_events events;
    char *host;
    uint16_t port;
    enum dial_state state;
    struct loop_timer timer;      /* WAITING: the next try; GREETING: the deadline */
    struct dial_attempt *attempt; /* CONNECTING */
    struct socket *socket;        /* GREETING */
    struct rpc_greeting greeting; /* GREETING */
    struct rpc_link *link;        /* UP */
    uint64_t up_us;
    uint64_t backoff_us; /* of the next wait */
};

/* Leaves whatever state it is in, without a word; what follows sets the next one. */
static void drop(struct rpc_dial *dial)
{
    loop_timer_cancel(dial->config.loop, &dial->timer);
    switch (dial->state) {
    case DIAL_CONNECTING:
        dial->attempt->dial = NULL;
        dial->attempt = NULL;
        break;
    case DIAL_GREETING:
        if (dial->socket != NULL) {
            socket_close(dial->socket);
            dial->socket = NULL;
        }
        rpc_greeting_done(&dial->greeting);
        break;
    case DIAL_UP:
        rpc_link_free(dial->link);
        dial->link = NULL;
        break;
    case DIAL_WAITING:
    case DIAL_OVER:
        break;
    }
    dial->state = DIAL_WAITING;
}

static void wait_for(struct rpc_dial *dial, uint64_t wait_us)
{
    CHECK(dial->state == DIAL_WAITING);
    loop_timer_set(dial->config.loop, &dial->timer, loop_now_us(dial->config.loop) + wait_us);
}

static void wait_backoff(struct rpc_dial *dial)
{
    uint64_t half_us = dial->backoff_us / 2;
    dial->backoff_us = 2 * dial->backoff_us < RPC_BACKOFF_MAX_US ? 2 * dial->backoff_us : RPC_BACKOFF_MAX_US;
    wait_for(dial, half_us + rng_below(dial->config.env->rng, half_us + 1));
}

/* The link or the attempt is lost. */
static void fail(struct rpc_dial *dial, enum err err, const char *text)
{
    bool was_up = dial->state == DIAL_UP;
    if (was_up && loop_now_us(dial->config.loop) - dial->up_us >= RPC_BACKOFF_MAX_US) {
        dial->backoff_us = RPC_BACKOFF_MIN_US;
    }
    drop(dial);
    if (dial->config.is_once) {
        dial->state = DIAL_OVER;
    } else if (err != ERR_CANCELLED) { /* the loop has ended */
        wait_backoff(dial);
    }
    dial->events.on_down(dial->events.ctx, err, was_up, text);
}

/* ---- UP ---- */

static void link_on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct rpc_dial *dial = ctx;
    dial->events.on_frame(dial->events.ctx, frame);
}

static void link_on_drained(void *ctx)
{
    struct rpc_dial *dial = ctx;
    dial->events.on_drained(dial->events.ctx);
}

static void link_on_closed(void *ctx, enum err err)
{
    fail(ctx, err, err_text(err));
}

static void go_up(struct rpc_dial *dial, const struct rpc_hello *peer)
{
    struct socket *socket = dial->socket;
    dial->socket = NULL;
    socket_detach(socket);
    drop(dial);
    struct rpc_link_config config = {
        .loop = dial->config.loop, .logger = dial->config.env->logger, .stall_us = dial->config.stall_us};
    struct rpc_link_events events = {.ctx = dial,
                                     .on_frame = link_on_frame,
                                     .on_drained = dial->events.on_drained == NULL ? NULL : link_on_drained,
                                     .on_closed = link_on_closed};
    dial->link = rpc_link_new(&config, socket, peer, &events);
    dial->state = DIAL_UP;
    dial->up_us = loop_now_us(dial->config.loop);
    dial->events.on_up(dial->events.ctx, dial->link);
}

/* ---- GREETING ---- */

static void judge_answer(struct rpc_dial *dial, struct span message)
{
    struct rpc_answer answer;
    enum err err = rpc_answer_decode(message, &answer);
    if (err == ERR_OK && answer.refusal[0] != '\0') {
        fail(dial, ERR_INVALID, answer.refusal);
    } else if (err != ERR_OK) {
        fail(dial, err,
             err == ERR_UNSUPPORTED ? "the node speaks another version of the protocol between nodes"
                                    : "the answer is not that of a node");
    } else {
        go_up(dial, &answer.hello);
    }
}

static void greeting_on_ready(void *ctx, unsigned events)
{
    (void)events;
    struct rpc_dial *dial = ctx;
    struct span message = SPAN_NULL;
    enum err err = rpc_greeting_write(&dial->greeting, dial->socket);
    if (err == ERR_OK) {
        socket_watch(dial->socket, NET_READABLE);
        err = rpc_greeting_read(&dial->greeting, dial->socket, &message);
    }
    if (err == ERR_OK) {
        judge_answer(dial, message);
    } else if (err != ERR_WOULD_BLOCK) {
        fail(dial, err, err == ERR_MALFORMED ? "the answer is not that of a node" : err_text(err));
    }
}

static void greet(struct rpc_dial *dial, struct socket *socket)
{
    struct rpc_hello hello = {.kind = dial->config.kind};
    drop(dial);
    dial->state = DIAL_GREETING;
    dial->socket = socket;
    rpc_greeting_init(&dial->greeting);
    socket_attach(socket, dial->config.loop, greeting_on_ready, dial);
    loop_timer_set(dial->config.loop, &dial->timer, loop_now_us(dial->config.loop) + RPC_DIAL_HELLO_US);
    dial->events.on_hello(dial->events.ctx, &hello);
    CHECK(rpc_hello_encode(&hello, &dial->greeting.out) == ERR_OK); /* our own words fit */
    socket_watch(socket, NET_WRITABLE);
}

/* ---- CONNECTING ---- */

static void attempt_on_connected(void *ctx, enum err err, struct socket *socket)
{
    struct dial_attempt *attempt = ctx;
    struct rpc_dial *dial = attempt->dial;
    if (dial != NULL) {
        dial->attempt = NULL;
        dial->state = DIAL_WAITING;
    }
    mem_free(attempt);
    if (dial == NULL) {
        if (socket != NULL) {
            socket_close(socket);
        }
    } else if (err != ERR_OK) {
        fail(dial, err, err_text(err));
    } else {
        greet(dial, socket);
    }
}

static void connect_now(struct rpc_dial *dial)
{
    dial->attempt = MEM_NEW(struct dial_attempt);
    dial->attempt->dial = dial;
    dial->state = DIAL_CONNECTING;
    net_connect(dial->config.env->net, dial->config.loop, dial->host, dial->port, dial->config.connect_timeout_us,
                attempt_on_connected, dial->attempt);
}

static void on_timer(struct loop_timer *timer)
{
    struct rpc_dial *dial = CONTAINER_OF(timer, struct rpc_dial, timer);
    if (dial->state == DIAL_WAITING) {
        connect_now(dial);
    } else {
        CHECK(dial->state == DIAL_GREETING);
        fail(dial, ERR_TIMEOUT, "no answer to the hello");
    }
}

/* ---- the owner's calls ---- */

struct rpc_dial *rpc_dial_new(const struct rpc_dial_config *config, const char *host, uint16_t port,
                              const struct rpc_dial_events *events)
{
    CHECK(events->on_hello != NULL && events->on_up != NULL && events->on_frame != NULL && events->on_down != NULL);
    struct rpc_dial *dial = MEM_NEW(struct rpc_dial);
    dial->config = *config;
    dial->config.connect_timeout_us = config->connect_timeout_us == 0 ? RPC_CONNECT_US : config->connect_timeout_us;
    dial->events = *events;
    dial->host = mem_strdup(host);
    dial->port = port;
    dial->timer.fire = on_timer;
    dial->backoff_us = RPC_BACKOFF_MIN_US;
    wait_for(dial, 0);
    return dial;
}

struct rpc_link *rpc_dial_link(struct rpc_dial *dial)
{
    return dial->link;
}

void rpc_dial_set_address(struct rpc_dial *dial, const char *host, uint16_t port)
{
    if (dial->port == port && strcmp(dial->host, host) == 0) {
        return;
    }
    char *copy = mem_strdup(host); /* the old text may be what was given */
    mem_free(dial->host);
    dial->host = copy;
    dial->port = port;
    dial->backoff_us = RPC_BACKOFF_MIN_US;
    rpc_dial_redo(dial);
}

void rpc_dial_hurry(struct rpc_dial *dial)
{
    if (dial->state == DIAL_WAITING) {
        wait_for(dial, 0);
    }
}

void rpc_dial_redo(struct rpc_dial *dial)
{
    drop(dial);
    wait_for(dial, 0);
}

void rpc_dial_free(struct rpc_dial *dial)
{
    if (dial == NULL) {
        return;
    }
    drop(dial);
    mem_free(dial->host);
    mem_free(dial);
}

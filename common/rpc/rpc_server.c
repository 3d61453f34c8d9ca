/* An accepted connection is a `pending` until its hello is answered, then, if it is welcome, a `handover`:
 *
 *     READING the hello --check--> ANSWERING --sent--> (welcome) handover --posted--> on_link, on the link's loop
 *                                                      (refused, probe) closed
 *
 * With RPC_SERVER_PENDING_MAX of them the oldest goes: a node says its hello at once, so that who waits longest is none.
 *
 * A handover belongs to the server from beginning to end, and only home's thread touches the list; the other loop marks it as done, as
 * its last act on it. What its loop never ran (it ended first) is closed by rpc_server_free.
 */
#include "common/rpc/rpc_server.h"

#include "common/logger.h"
#include "common/mem.h"
#include "common/rpc/rpc_greeting.h"

#include <stdio.h>
#include <utlist.h>

struct rpc_pending {
    struct rpc_server *server;
    struct rpc_pending *prev, *next;
    struct socket *socket;
    struct rpc_greeting greeting;
    struct loop_timer deadline;
    bool is_answering;
    bool is_welcome;
    bool is_dropped; /* closed while its check was on the stack: freed behind it */
    struct rpc_hello peer;
    struct rpc_acceptor acceptor;
    struct loop *loop;
};

struct rpc_handover {
    struct loop_task task;
    struct rpc_handover *prev, *next;
    struct rpc_server *server;
    struct socket *socket;
    struct rpc_hello peer;
    struct rpc_acceptor acceptor;
    struct loop *loop;
    atomic_bool is_done; /* release by the link's loop: nothing of it is used any more */
};

struct rpc_server {
    struct env *env;
    struct loop *home;
    struct net_listener *listener; /* NULL when closed */
    struct net_address address;
    struct rpc_hello hello;
    struct rpc_acceptor acceptors[RPC_KIND_MAX + 1]; /* check == NULL: none */
    struct rpc_pending *pendings;                    /* utlist DL, oldest first */
    unsigned pending_count;
    struct rpc_handover *handovers; /* utlist DL */
    struct rpc_pending *in_check;   /* its check is on the stack */
    bool is_freed;                  /* by that check */
    atomic_bool is_closed;
    struct log_limit log_limit;
};

/* ---- the end of a pending connection ---- */

static void pending_close(struct rpc_pending *pending)
{
    struct rpc_server *server = pending->server;
    DL_DELETE(server->pendings, pending);
    server->pending_count--;
    loop_timer_cancel(server->home, &pending->deadline);
    if (pending->socket != NULL) {
        socket_close(pending->socket);
        pending->socket = NULL;
    }
    rpc_greeting_done(&pending->greeting);
    if (pending == server->in_check) {
        pending->is_dropped = true;
    } else {
        mem_free(pending);
    }
}

static void log_refusal(struct rpc_pending *pending, const char *reason)
{
    struct net_address address;
    char quoted[2 * RPC_REFUSAL_BYTES];
    socket_peer(pending->socket, &address);
    logger_limited(pending->server->env->logger, &pending->server->log_limit, LOG_WARN, "rpc", "node_refused",
                   "peer=%s:%u node_id=%d kind=%d reason=%s", address.host, address.port, pending->peer.node_id,
                   (int)pending->peer.kind, logger_quote(span_text(reason), quoted, sizeof(quoted)));
}

/* ---- on to the link's loop ---- */

static void reap_handovers(struct rpc_server *server)
{
    struct rpc_handover *handover = NULL;
    struct rpc_handover *next = NULL;
    DL_FOREACH_SAFE (server->handovers, handover, next) {
        if (atomic_load_explicit(&handover->is_done, memory_order_acquire)) {
            DL_DELETE(server->handovers, handover);
            mem_free(handover);
        }
    }
}

/* On the link's loop. */
static void run_handover(struct loop_task *task)
{
    struct rpc_handover *handover = CONTAINER_OF(task, struct rpc_handover, task);
    struct rpc_acceptor acceptor = handover->acceptor;
    struct rpc_link_config config = {.loop = handover->loop, .logger = handover->server->env->logger};
    struct rpc_link *link = NULL;
    if (atomic_load_explicit(&handover->server->is_closed, memory_order_acquire)) {
        socket_close(handover->socket);
    } else {
        link = rpc_link_new(&config, handover->socket, &handover->peer, NULL);
    }
    atomic_store_explicit(&handover->is_done, true, memory_order_release); /* home may free it, and the server, now */
    if (link != NULL) {
        acceptor.on_link(acceptor.ctx, link);
    }
}

static void hand_over(struct rpc_pending *pending)
{
    struct rpc_server *server = pending->server;
    struct rpc_handover *handover = MEM_NEW(struct rpc_handover);
    reap_handovers(server);
    DL_APPEND(server->handovers, handover);
    handover->task.run = run_handover;
    handover->server = server;
    handover->socket = pending->socket;
    handover->peer = pending->peer;
    handover->peer.authentication = SPAN_NULL; /* goes with the pending connection */
    handover->acceptor = pending->acceptor;
    handover->loop = pending->loop;
    pending->socket = NULL;
    socket_detach(handover->socket);
    pending_close(pending);
    loop_post(handover->loop, &handover->task);
}

/* ---- hello and answer ---- */

static void send_answer(struct rpc_pending *pending)
{
    enum err err = rpc_greeting_write(&pending->greeting, pending->socket);
    if (err == ERR_WOULD_BLOCK) {
        socket_watch(pending->socket, NET_WRITABLE);
    } else if (err == ERR_OK && pending->is_welcome && pending->peer.kind != RPC_KIND_PROBE) {
        hand_over(pending);
    } else {
        pending_close(pending);
    }
}

static void answer(struct rpc_pending *pending, const char *refusal)
{
    struct rpc_answer answer = {.hello = pending->server->hello};
    answer.hello.kind = pending->peer.kind;
    answer.hello.lane = pending->peer.lane;
    (void)snprintf(answer.refusal, sizeof(answer.refusal), "%s", refusal);
    if (refusal[0] != '\0') {
        log_refusal(pending, refusal);
    }
    pending->is_answering = true;
    pending->is_welcome = refusal[0] == '\0';
    CHECK(rpc_answer_encode(&answer, &pending->greeting.out) == ERR_OK); /* rpc_server_set_hello has tried */
    send_answer(pending);
}

/* Asks the acceptor. False when the connection is gone behind it. */
static bool check(struct rpc_pending *pending, char ret_refusal[RPC_REFUSAL_BYTES])
{
    struct rpc_server *server = pending->server;
    pending->acceptor = server->acceptors[pending->peer.kind];
    if (pending->acceptor.check == NULL) {
        if (pending->peer.kind != RPC_KIND_PROBE) {
            (void)snprintf(ret_refusal, RPC_REFUSAL_BYTES, "this node accepts no links of kind %d (now)",
                           (int)pending->peer.kind);
        }
        return true;
    }
    server->in_check = pending;
    bool is_welcome = pending->acceptor.check(pending->acceptor.ctx, &pending->peer, &pending->loop, ret_refusal);
    server->in_check = NULL;
    if (pending->is_dropped) {
        bool is_freed = server->is_freed;
        mem_free(pending);
        if (is_freed) {
            mem_free(server);
        }
        return false;
    }
    if (is_welcome) {
        CHECK(pending->loop != NULL || pending->peer.kind == RPC_KIND_PROBE);
        ret_refusal[0] = '\0';
    } else if (ret_refusal[0] == '\0') {
        (void)snprintf(ret_refusal, RPC_REFUSAL_BYTES, "refused");
    }
    return true;
}

static void judge_hello(struct rpc_pending *pending, struct span message)
{
    char refusal[RPC_REFUSAL_BYTES] = "";
    enum err err = rpc_hello_decode(message, &pending->peer);
    if (err == ERR_UNSUPPORTED) {
        pending->peer.kind = RPC_KIND_PROBE; /* what it wants can't be read; an answer needs a kind */
        answer(pending, "this node speaks version 1 of the protocol between nodes, not yours");
    } else if (err != ERR_OK) {
        log_refusal(pending, "malformed hello");
        pending_close(pending);
    } else if (check(pending, refusal)) {
        answer(pending, refusal);
    }
}

static void pending_on_ready(void *ctx, unsigned events)
{
    (void)events;
    struct rpc_pending *pending = ctx;
    struct span message = SPAN_NULL;
    if (pending->is_answering) {
        send_answer(pending);
        return;
    }
    enum err err = rpc_greeting_read(&pending->greeting, pending->socket, &message);
    if (err == ERR_OK) {
        judge_hello(pending, message);
    } else if (err == ERR_MALFORMED) {
        log_refusal(pending, "no node: INTERNAL is for nodes, clients use another listener");
        pending_close(pending);
    } else if (err != ERR_WOULD_BLOCK) {
        pending_close(pending);
    }
}

static void pending_on_deadline(struct loop_timer *timer)
{
    struct rpc_pending *pending = CONTAINER_OF(timer, struct rpc_pending, deadline);
    log_refusal(pending, pending->is_answering ? "took no answer in time" : "said no hello in time");
    pending_close(pending);
}

static void on_accept(void *ctx, struct socket *socket)
{
    struct rpc_server *server = ctx;
    if (server->pending_count == RPC_SERVER_PENDING_MAX) {
        log_refusal(server->pendings, "too many connections without a hello");
        pending_close(server->pendings);
    }
    struct rpc_pending *pending = MEM_NEW(struct rpc_pending);
    pending->server = server;
    pending->socket = socket;
    pending->peer.node_id = -1;
    pending->deadline.fire = pending_on_deadline;
    rpc_greeting_init(&pending->greeting);
    DL_APPEND(server->pendings, pending);
    server->pending_count++;
    loop_timer_set(server->home, &pending->deadline, loop_now_us(server->home) + RPC_HELLO_US);
    socket_attach(socket, server->home, pending_on_ready, pending);
    socket_watch(socket, NET_READABLE);
}

/* ---- the owner's calls ---- */

enum err rpc_server_new(struct env *env, struct loop *home, const char *host, uint16_t port,
                        struct rpc_server **ret_server)
{
    struct rpc_server *server = MEM_NEW(struct rpc_server);
    server->env = env;
    server->home = home;
    server->hello = (struct rpc_hello){.kind = RPC_KIND_PROBE, .node_id = -1, .broker_epoch = -1};
    enum err err = net_listen(env->net, home, host, port, on_accept, server, &server->listener);
    if (err != ERR_OK) {
        mem_free(server);
        return err;
    }
    net_listener_address(env->net, server->listener, &server->address);
    *ret_server = server;
    return ERR_OK;
}

void rpc_server_address(const struct rpc_server *server, struct net_address *ret_address)
{
    *ret_address = server->address;
}

void rpc_server_set_hello(struct rpc_server *server, const struct rpc_hello *hello)
{
    CHECK(hello->authentication.bytes == 0); /* no room is made for it yet */
    server->hello = *hello;
}

void rpc_server_set_acceptor(struct rpc_server *server, enum rpc_kind kind, const struct rpc_acceptor *acceptor)
{
    CHECK(kind >= RPC_KIND_PROBE && (int)kind <= RPC_KIND_MAX);
    CHECK(acceptor == NULL || (acceptor->check != NULL && (acceptor->on_link != NULL || kind == RPC_KIND_PROBE)));
    server->acceptors[kind] = acceptor == NULL ? (struct rpc_acceptor){0} : *acceptor;
}

void rpc_server_close(struct rpc_server *server)
{
    if (server->listener == NULL) {
        return;
    }
    net_listener_close(server->env->net, server->listener);
    server->listener = NULL;
    atomic_store_explicit(&server->is_closed, true, memory_order_release);
    while (server->pendings != NULL) {
        pending_close(server->pendings);
    }
}

void rpc_server_free(struct rpc_server *server)
{
    if (server == NULL) {
        return;
    }
    rpc_server_close(server);
    reap_handovers(server);
    while (server->handovers != NULL) { /* their loops ended before they ran */
        struct rpc_handover *handover = server->handovers;
        DL_DELETE(server->handovers, handover);
        socket_close(handover->socket);
        mem_free(handover);
    }
    if (server->in_check != NULL) {
        server->is_freed = true;
    } else {
        mem_free(server);
    }
}

/* rpc_server: the INTERNAL listener: accepts nodes, reads their hello, asks the kind's acceptor, answers, hands the link over.
 *
 * Shape:     accept (home) -> hello within RPC_HELLO_US -> acceptor->check (home) -> answer -> the socket moves to the loop that check named
 *            -> acceptor->on_link there. No acceptor for the kind: a refusal that says so. A probe is answered and closed.
 * Limits:    RPC_SERVER_PENDING_MAX connections whose hello is not read yet (the oldest goes); RPC_HELLO_BYTES_MAX.
 * Ownership: owns what is not handed over yet. A link given to on_link belongs to the acceptor (rpc_link_set_events, rpc_link_free).
 * Threads:   new, set_*, close, free: home's. on_link: the loop that check named, which must outlive rpc_server_close.
 * Source:    design.md 1 (INTERNAL), 8; correctness.md S1.
 */
#ifndef COMMON_RPC_RPC_SERVER_H
#define COMMON_RPC_RPC_SERVER_H

#include "common/rpc/rpc_link.h"
#include "common/seam/env.h"

#define RPC_HELLO_US 10000000u
#define RPC_SERVER_PENDING_MAX 256

struct rpc_server;

struct rpc_acceptor {
    void *ctx;
    /* Home's loop. Who may come in: fills ret_loop and returns true, or writes a sentence and returns false. For RPC_KIND_PROBE an
     * acceptor may be missing (all are answered); its ret_loop and on_link are not used. May close and free the server. */
    bool (*check)(void *ctx, const struct rpc_hello *peer, struct loop **ret_loop, char ret_refusal[RPC_REFUSAL_BYTES]);
    /* On that loop. Frames follow once the events are set. */
    void (*on_link)(void *ctx, struct rpc_link *link);
};

/* Binds and listens on `home` (before or while it runs); answers with refusals until acceptors are set. */
enum err rpc_server_new(struct env *env, struct loop *home, const char *host, uint16_t port,
                        struct rpc_server **ret_server) MUST_USE;
void rpc_server_address(const struct rpc_server *server, struct net_address *ret_address);
/* What this node says of itself in answers (kind and lane are the peer's). May change: copied. */
void rpc_server_set_hello(struct rpc_server *server, const struct rpc_hello *hello);
/* acceptor == NULL: the kind is refused again. Copied. */
void rpc_server_set_acceptor(struct rpc_server *server, enum rpc_kind kind, const struct rpc_acceptor *acceptor);
/* Stops accepting; drops what is not handed over. What is on its way to a loop is closed there; a loop of another thread may be
 * calling on_link right now. */
void rpc_server_close(struct rpc_server *server);
/* After rpc_server_close, when the loops that links may be on their way to have ended or run once more. NULL is accepted. */
void rpc_server_free(struct rpc_server *server);

#endif

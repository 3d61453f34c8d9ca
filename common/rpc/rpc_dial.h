/* rpc_dial: keeps one link to one address open: connects, exchanges hellos, tells when the link is up and when it is lost, tries again.
 *
 * Shape:     connecting -> hello sent -> UP -> lost -> (backoff: RPC_BACKOFF_MIN_US doubling to RPC_BACKOFF_MAX_US, with jitter) -> connecting.
 *            A dialer made with is_once tries once and tells the outcome (a probe).
 * Errors:    on_down says why: ERR_REFUSED (nobody listens at the address), ERR_TIMEOUT, ERR_RESET, ERR_END, ERR_MALFORMED,
 *            ERR_INVALID (refused by the server: `text` is its sentence), ERR_UNSUPPORTED (another version), ERR_CANCELLED (the loop
 *            has ended; nothing follows).
 * Ownership: the maker owns the dialer; the dialer owns the link. The link given to on_up is borrowed until on_down.
 *            rpc_dial_free: no callback follows, also when called from one; a connect under way is dropped when it ends.
 * Threads:   those of its loop.
 * Source:    design.md 8 (failure detection: "refuses, or answers as another incarnation").
 */
#ifndef COMMON_RPC_RPC_DIAL_H
#define COMMON_RPC_RPC_DIAL_H

#include "common/rpc/rpc_link.h"
#include "common/seam/env.h"

#define RPC_BACKOFF_MIN_US 20000u
#define RPC_BACKOFF_MAX_US 1000000u
#define RPC_CONNECT_US 3000000u
#define RPC_DIAL_HELLO_US 3000000u

struct rpc_dial;

struct rpc_dial_events {
    void *ctx;
    /* Fills what is sent this time; zeroed but for the kind given at creation. May not free the dialer, as the others may. */
    void (*on_hello)(void *ctx, struct rpc_hello *ret_hello);
    /* The link is up; rpc_link_peer has the server's hello. Its events are the dialer's: don't set them. A server closes a
     * probe behind its answer: on_down(ERR_END, true) follows unless the dialer is freed. */
    void (*on_up)(void *ctx, struct rpc_link *link);
    void (*on_frame)(void *ctx, const struct rpc_frame *frame);
    void (*on_drained)(void *ctx); /* may be NULL */
    /* was_up: the link that on_up gave is gone (already freed); else: an attempt has failed. `text` is never NULL. */
    void (*on_down)(void *ctx, enum err err, bool was_up, const char *text);
};

struct rpc_dial_config {
    struct env *env;
    struct loop *loop;
    enum rpc_kind kind;
    bool is_once;
    uint64_t connect_timeout_us; /* 0: RPC_CONNECT_US */
    uint64_t stall_us;           /* of the link; 0: default */
};

/* Begins to connect at once (on_up and on_down never come before it returns). The host is copied. */
struct rpc_dial *rpc_dial_new(const struct rpc_dial_config *config, const char *host, uint16_t port,
                              const struct rpc_dial_events *events);
/* NULL while it is not up. */
struct rpc_link *rpc_dial_link(struct rpc_dial *dial);
/* Another address from now on: drops the link (on_down does not come) and connects anew. No-op when it is the same. */
void rpc_dial_set_address(struct rpc_dial *dial, const char *host, uint16_t port);
/* Tries now instead of waiting for the backoff. */
void rpc_dial_hurry(struct rpc_dial *dial);
/* Drops the link, as if it had been lost (on_down does not come), and connects anew at once; also a dialer made with is_once. */
void rpc_dial_redo(struct rpc_dial *dial);
void rpc_dial_free(struct rpc_dial *dial);

#endif

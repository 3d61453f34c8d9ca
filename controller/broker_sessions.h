/* broker_sessions: which registered brokers are still there, as far as the active controller can tell: sessions, their ends, and the quick way to
 * learn of a dead process. It decides nothing about partitions: it says whom to fence.
 *
 * Shape:     per registered broker: deadline (moved by each heartbeat), CALL links of its incarnation, a probe of its INTERNAL address.
 *              unfenced, deadline passed                                -> fence
 *              unfenced, last CALL link lost, or none within SESSIONS_GRACE_US of an activation -> probe:
 *                  refused, or another incarnation answers              -> fence at once
 *                  anything else                                        -> probe again, SESSIONS_PROBES_MAX times, while the session runs
 *            Whoever was silent while this very loop stood still (deadline met SESSIONS_LATE_US late or more) gets as much more, at most half a session: what it
 *            said may wait unread, and if its link did not survive that, it dials anew. So a controller on a busy machine is late by what it lacked, not by more.
 *            Everybody gets a fresh session when this controller becomes active: never is anybody fenced by another controller's clock.
 * Ownership: the maker's; images are borrowed for the calls.
 * Threads:   the controller's loop.
 * Source:    design.md 8 (failure detection), correctness.md 2 (L2), 4 (15), 5; KIP-631.
 */
#ifndef CONTROLLER_BROKER_SESSIONS_H
#define CONTROLLER_BROKER_SESSIONS_H

#include "common/rpc/rpc_hello.h"
#include "common/seam/env.h"
#include "common/seam/loop.h"
#include "controller/image.h"

#define SESSIONS_GRACE_US 100000u
#define SESSIONS_PROBES_MAX 12u
#define SESSIONS_PROBE_GAP_US 25000u /* before the second probe; doubled for each one after it */
#define SESSIONS_PROBE_GAP_US_MAX 500000u
#define SESSIONS_PROBE_CONNECT_US 500000u
#define SESSIONS_LATE_US 100000u
#define SESSIONS_LISTENER "INTERNAL"

struct broker_sessions_config {
    struct env *env;
    struct loop *loop;
    uint64_t timeout_us;
    int32_t local_broker_id; /* of this very process: needs no link, is never probed; -1: none */
    struct rpc_hello hello;  /* of probes; kind is filled in */
    void *ctx;
    /* Ask for it to be fenced. Again after SESSIONS_REFENCE_US, for as long as it is not. */
    void (*fence)(void *ctx, int32_t broker_id, int64_t broker_epoch, const char *why);
};
#define SESSIONS_REFENCE_US 1000000u

struct broker_sessions;

struct broker_sessions *broker_sessions_new(const struct broker_sessions_config *config);
void broker_sessions_free(struct broker_sessions *sessions);
/* This controller is active now, or is not any more. */
void broker_sessions_activate(struct broker_sessions *sessions, const struct image *image);
void broker_sessions_deactivate(struct broker_sessions *sessions);
/* A commit while active. */
void broker_sessions_update(struct broker_sessions *sessions, const struct image *image);
/* The broker was heard of (any request of its that names its epoch). */
void broker_sessions_touch(struct broker_sessions *sessions, int32_t broker_id, int64_t broker_epoch);
/* A CALL link of this incarnation has come, or gone. Also while not active. */
void broker_sessions_link_up(struct broker_sessions *sessions, int32_t broker_id, struct uuid incarnation_id);
void broker_sessions_link_down(struct broker_sessions *sessions, int32_t broker_id, struct uuid incarnation_id);

#endif

/* controller_client_private: the client's state, shared by controller_client.c (life, requests), controller_client_call.c (the link to the active
 * controller) and controller_client_metadata.c (committed entries from afar).
 *
 * Threads:   home's, but for what is marked.
 */
#ifndef CONTROLLER_CONTROLLER_CLIENT_PRIVATE_H
#define CONTROLLER_CONTROLLER_CLIENT_PRIVATE_H

#include "common/rpc/rpc_dial.h"
#include "controller/controller_client.h"

#include <stdatomic.h>

#define CLIENT_RETRY_US 20000u     /* between two attempts */
#define CLIENT_SWEEP_US 100000u    /* late requests are looked for */
#define CLIENT_PING_US 400000u     /* a link is asked whether it is alive */
#define CLIENT_SILENCE_US 1200000u /* and given up */
#define CLIENT_ATTEMPT_US                                                                                              \
    800000u /* for connecting and the hellos; a stopped process takes connections and says nothing */
#define CLIENT_UNDECIDED_US 500000u /* with a controller that knows no leader, before another is asked */
#define CLIENT_MISSED_US 300000u    /* a controller that did not answer is not dialled again because of a hint */
#define CLIENT_LAG_US 1500000u      /* metadata that an answer named does not come: another controller is followed */
#define CLIENT_STOP_STEP_US 500u
#define CLIENT_UNAPPLIED_TOLD 64 /* entries applied before the controller is told in any case */

enum client_place { CLIENT_WAITING, CLIENT_LOCAL, CLIENT_SENT };

/* One request under way. */
struct client_call {
    struct controller_request inner; /* a copy of the outer one; what a local controller is given */
    struct controller_request *outer;
    struct controller_client *client;
    enum client_place place;
    uint64_t id; /* CLIENT_SENT */
    uint64_t deadline_us;
    struct client_call *prev, *next; /* in `waiting` or `sent`, or none (CLIENT_LOCAL) */
};

/* The link to the active controller. */
struct client_call_link {
    struct rpc_dial *dial; /* NULL: none */
    int32_t node_id;       /* of the controller that is dialled, as far as it is known; -1 */
    char host[CONTROLLER_HOST_BYTES];
    uint16_t port;
    bool is_up;
    bool is_active;              /* it said so: requests are sent */
    uint64_t term;               /* in which it is active */
    uint32_t attempt_count;      /* hellos said: the controller goes by the newest link (rpc_hello.lane) */
    struct controller_hint hint; /* to dial next; node_id -1: none */
    uint32_t voter_index;        /* to dial next without a hint */
    int32_t missed_node_id;      /* named by a hint, and not there at missed_us; -1: none */
    uint64_t missed_us;
    uint64_t up_since_us;
    uint64_t heard_us;
    uint64_t pinged_us;
    struct loop_timer retry_timer;
    struct loop_timer ping_timer;
};

/* The link that committed metadata comes by. */
struct client_metadata_link {
    struct rpc_dial *dial;
    bool is_up;
    uint32_t voter_index;
    uint64_t heard_us;
    uint64_t pinged_us;
    uint32_t unapplied_told_count; /* entries that the controller was not told of */
    struct loop_task applied_task;
    struct loop_timer retry_timer;
    struct loop_timer ping_timer;
    /* A snapshot that is coming; data == NULL: none. */
    uint8_t *snapshot;
    uint64_t snapshot_bytes;
    uint64_t snapshot_done_bytes;
    int64_t snapshot_offset;
    uint8_t snapshot_sha256[32];
    int64_t wanted_offset;    /* named by an answer */
    uint64_t wanted_since_us; /* 0: it is there */
};

struct controller_client {
    struct controller_client_config config;
    struct controller_voter voters[CONTROLLER_VOTERS_MAX]; /* but this node itself, when it has a controller */
    uint32_t voter_count;
    bool is_direct;  /* a lone local controller: requests go straight to it */
    bool is_running; /* started, and neither stopping nor failed */
    int64_t broker_epoch;
    char cluster_id[RPC_CLUSTER_ID_BYTES];
    bool is_cluster_told;

    struct controller_subscription local; /* to the local controller's images, which are shown on */
    bool is_following_local;
    struct controller_watch watch; /* of the local controller */
    bool is_watching;
    struct controller_view local_view;
    uint64_t term; /* the newest in which a controller is known to be, or to have been, active */

    struct client_call *waiting;
    struct client_call *sent;
    uint32_t local_count; /* calls with the local controller */
    uint64_t next_id;
    struct loop_timer sweep_timer;
    struct client_call_link call;

    struct client_metadata_link metadata;
    struct controller_publisher publisher;
    const struct image *image;

    /* Stopping. */
    unsigned stop_turns;
    void (*on_stopped)(void *ctx);
    void *on_stopped_ctx;
    atomic_bool is_closed;        /* any thread: requests are refused from now on */
    atomic_uint submitting_count; /* any thread */
};

/* The cluster is known to be this one; false: it is another than before, and on_fatal was called. `who` names who says so. */
bool client_learn_cluster(struct controller_client *client, const char *cluster_id, const char *who);
void client_fail(struct controller_client *client, const char *sentence);
/* Fills the hello of a new link, but for the kind. */
void client_fill_hello(struct controller_client *client, struct rpc_hello *ret_hello);
/* A controller was active in this term: who was so in an earlier one is not any more, although it may not know yet. */
void client_see_term(struct controller_client *client, uint64_t term);
/* The local controller is the active one, as far as anybody knows. */
bool client_is_local_active(const struct controller_client *client);
/* An answer has come: if it is the decision of a controller that is known to be deposed, its outcome is unknown. */
void client_judge_answer(struct client_call *call);
/* Sends what waits, to whoever is active. */
void client_pump(struct controller_client *client);
/* The call has come back with inner's results: it is completed, or tried again. In no list any more. */
void client_settle(struct client_call *call);

/* ---- controller_client_call.c ---- */

void client_call_start(struct controller_client *client);
void client_call_stop(struct controller_client *client);
/* Sends one call; false: it can't be sent now and waits on. Moves it to `sent`, or settles it. */
bool client_call_send(struct client_call *call);
/* Somebody else than the one dialled is active. */
void client_call_follow_hint(struct controller_client *client, const struct controller_hint *hint);
/* A newer term is known. */
void client_call_term_changed(struct controller_client *client);
/* The local controller has become active, or is not any more. */
void client_call_local_changed(struct controller_client *client);

/* ---- controller_client_metadata.c ---- */

void client_metadata_init(struct controller_client *client);
/* Follows from afar. */
void client_metadata_start(struct controller_client *client);
/* An image of the local controller. */
void client_metadata_local(struct controller_client *client, const struct image *image);
void client_metadata_stop(struct controller_client *client);
/* An answer named this offset: it must come. */
void client_metadata_want(struct controller_client *client, int64_t offset);

#endif

/* controller: the metadata of the cluster as brokers see it: give it requests, subscribe to what is committed. Inside: a
 * quorum on its own loop, the image that its committed records make, and the decisions upon it.
 *
 * Shape:     broker loops --controller_submit--> controller loop: decide (pure) -> one entry -> quorum (log synced) -> apply ->
 *            new image -> publish to the subscribers' loops, reply to the requester's loop.
 *            A decision looks at the image of what is committed; what others have proposed and is not applied yet
 *            is waited for, so two decisions never build on one state.
 * Errors:    controller_start fails with one sentence in the problem (what is wrong, where, what to do) and has then changed
 *            nothing on disk unless the node was forming. Requests end with struct controller_request.err:
 *              ERR_OK          answered; Kafka's own error codes are inside of the answer
 *              ERR_NOT_LEADER  certainly not done: this node is not the active controller; `hint` names it when it is known
 *              ERR_CLOSED      the controller stops, or ceased to be active after it had proposed this: the outcome is unknown
 *              ERR_TIMEOUT     not committed in time; the outcome is unknown
 *              ERR_STALE       the broker epoch named is not the current one: another incarnation has registered
 *              ERR_INVALID     registration refused; `message` says why
 * Ownership: requests and subscriptions are intrusive and belong to the caller, who must not touch or free a request between
 *            controller_submit and its on_done.
 * Threads:   controller_start/stop/free: the thread that makes the node. controller_submit, controller_subscribe: any thread.
 *            on_done and on_publish run on the loop that the request or subscription names.
 * Source:    design.md 5, 8; correctness.md 5, 6; KIP-500, KIP-590 (forwarding), KIP-631; ADR-0001.
 */
#ifndef CONTROLLER_CONTROLLER_H
#define CONTROLLER_CONTROLLER_H

#include "common/option.h"
#include "common/seam/env.h"
#include "common/seam/loop.h"
#include "common/shared_bytes.h"
#include "controller/controller_options.h"
#include "controller/image.h"
#include "controller/image_delta.h"

struct controller;
struct controller_client;

/* ---- life ---- */

/* Opens the metadata of this node and starts the controller's loop. Blocks for a few syncs and for the reading of the log, never for
 * another node. A lone voter's empty directory is formed before it returns; with several voters that goes on afterwards (controller_form.c).
 * The image follows by subscription. */
enum err controller_start(struct env *env, const struct controller_options *options, struct controller **ret_controller,
                          struct option_problem *ret_problem) MUST_USE;
/* The cluster's id as text (22 characters); "" before it is formed. Any thread. */
const char *controller_cluster_id(const struct controller *controller);
/* The id of the metadata directory: what a node with a controller says in its hellos (rpc_hello.directory_id). Constant, any thread. */
struct uuid controller_directory_id(const struct controller *controller);
/* Ends the loop after what is being written; requests under way end with ERR_CLOSED (their on_done is posted). Unsubscribe and
 * unwatch first, and close the server that was given (rpc_server_close), but free it later. On the server's loop. Waits for the loop's thread: not from a loop that must go on running to let the controller finish, in the simulator
 * the runtime joins by running the schedule. */
void controller_stop(struct controller *controller);
/* After controller_stop, when every on_done has run. NULL is accepted. */
void controller_free(struct controller *controller);

/* ---- requests ---- */

enum controller_request_kind {
    CONTROLLER_ADMIN,        /* a Kafka admin request, as the client sent it: admin */
    CONTROLLER_AUTO_CREATE,  /* topics that a client wanted to exist: auto_create */
    CONTROLLER_REGISTER,     /* a broker's registration, once per incarnation: registration */
    CONTROLLER_HEARTBEAT,    /* a registered broker: it applied its registration, it wants to leave: heartbeat */
    CONTROLLER_PRODUCER_IDS, /* a block of producer ids: producer_ids */
    CONTROLLER_STATUS,       /* facts for people and metrics: status */
    CONTROLLER_ALTER_ISR,    /* a leader's proposals for the ISR of many partitions: alter_isr */
    /* The controller's own, never from elsewhere. */
    CONTROLLER_FENCE,             /* a broker whose session has ended: fence */
    CONTROLLER_PREFERRED_LEADERS, /* bring leaderships back to the preferred replicas */
};

/* Forwarded request of CreateTopics, DeleteTopics, CreatePartitions, AlterConfigs or IncrementalAlterConfigs (KIP-590). */
struct controller_admin {
    int16_t api_key;
    int16_t api_version;
    struct shared_bytes *frame; /* the controller takes a reference of its own */
    struct span body;           /* the message behind the request header, inside of `frame` */
    struct span principal;      /* borrowed until on_done, like the next three */
    struct span client_id;
    struct span host;
    struct span listener_name;
    /* Result: the encoded response body at api_version. The requester drops the reference (shared_bytes_unref). */
    struct shared_bytes *response;
};

#define CONTROLLER_AUTO_CREATE_TOPICS_MAX 1000

/* Partition and replica counts are the configured defaults. */
struct controller_auto_create {
    const struct span *names; /* borrowed until on_done */
    uint32_t name_count;      /* <= CONTROLLER_AUTO_CREATE_TOPICS_MAX */
    bool is_internal;         /* made by the broker itself for its own use */
    int16_t *ret_error_codes; /* caller's array: Kafka error codes in the order of names; 0 also when it existed */
};

struct controller_registration {
    int32_t broker_id;
    struct uuid incarnation_id; /* random, made anew by every process */
    int64_t previous_epoch;     /* from the clean-shutdown mark; -1: no mark, the last stop was not orderly */
    struct span boot_id;        /* of the machine; empty when unknown */
    struct span rack;           /* null when none */
    const struct image_endpoint *endpoints; /* arrays borrowed until on_done */
    uint32_t endpoint_count;
    const struct uuid *directories; /* ids of the online log directories */
    uint32_t directory_count;
    uint32_t level_min; /* metadata levels that the process understands; 0, 0: only the first */
    uint32_t level_max;
    int64_t broker_epoch; /* result: the metadata offset of the registration */
};

struct controller_heartbeat {
    int32_t broker_id;
    int64_t broker_epoch;
    int64_t applied_offset; /* the metadata that the broker has applied; at or above broker_epoch it is unfenced */
    bool wants_fence;
    bool wants_shut_down;
    bool is_fenced;     /* results */
    bool may_shut_down; /* no partition is led by it, or nobody else could lead them */
};

struct controller_producer_ids {
    int32_t broker_id;
    int64_t broker_epoch;
    int64_t first_producer_id; /* results: [first, first + count) is this broker's alone, for ever */
    int32_t count;
};

struct controller_isr_member {
    int32_t broker_id;
    int64_t broker_epoch; /* of the incarnation that is in sync */
};

/* The sender leads the partition in leader_epoch and proposes its next ISR; it changes nothing by itself before the metadata says so
 * (correctness.md 4, traps 3 and 4). */
struct controller_isr_change {
    struct uuid topic_id;
    int32_t partition_index;
    int32_t leader_epoch;
    int32_t partition_epoch;                 /* that the proposal builds on */
    bool is_recovered;                       /* KIP-704: an unclean leader has recovered */
    uint32_t isr_count;                      /* <= IMAGE_REPLICAS_MAX */
    const struct controller_isr_member *isr; /* with the leader itself */
    int16_t code;                            /* result: a Kafka error code */
};

#define CONTROLLER_ISR_CHANGES_MAX 10000

struct controller_alter_isr {
    int32_t broker_id;
    int64_t broker_epoch;
    struct controller_isr_change *changes; /* the caller's array until on_done */
    uint32_t change_count;                 /* <= CONTROLLER_ISR_CHANGES_MAX */
};

struct controller_fence {
    int32_t broker_id;
    int64_t broker_epoch;
};

/* "host:port" with its terminator. */
#define CONTROLLER_ADDRESS_BYTES 272
#define CONTROLLER_VOTERS_MAX 16

/* One member of the quorum, as the controller that was asked knows it. */
struct controller_member {
    uint64_t raft_id;
    int32_t node_id;                        /* -1: not known */
    struct uuid directory_id;               /* zero: not known */
    char address[CONTROLLER_ADDRESS_BYTES]; /* "" when nobody needs to reach it */
    bool is_voter;                          /* false: it follows, to be made a voter */
    /* As the active controller sees it; of others only their own is known. */
    uint64_t log_end;          /* first index that it is not known to have; 0: not known */
    int64_t last_fetch_ms;     /* wall clock: it was last heard of; -1: never */
    int64_t last_caught_up_ms; /* and had all there was; -1: never */
};

struct controller_status {
    bool is_active;
    uint64_t raft_id;
    uint64_t term;
    uint64_t leader_raft_id; /* 0: none known */
    int32_t controller_id;
    int64_t controller_epoch;
    uint64_t first_index; /* of the log that is kept */
    uint64_t last_index;
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t snapshot_index;
    uint64_t log_bytes;
    uint32_t voter_count;
    uint8_t hash[IMAGE_HASH_BYTES];        /* at applied_index */
    struct controller_member *ret_members; /* set by the caller: room for CONTROLLER_VOTERS_MAX, or NULL */
    uint32_t member_count;                 /* result: of what stands in ret_members */
};

/* Who the active controller is. */
struct controller_hint {
    int32_t node_id; /* -1: not known */
    char address[CONTROLLER_ADDRESS_BYTES];
};

#define CONTROLLER_MESSAGE_BYTES 256

struct controller_request {
    enum controller_request_kind kind;
    struct loop *loop; /* on_done runs here, never before controller_submit has returned */
    void (*on_done)(struct controller_request *request);
    uint64_t timeout_us; /* 0: the controller's own (30 s) */
    uint64_t for_term; /* only a controller that is active in this very term does it; 0: whichever (a client sets it) */
    union {
        struct controller_admin admin;
        struct controller_auto_create auto_create;
        struct controller_registration registration;
        struct controller_heartbeat heartbeat;
        struct controller_producer_ids producer_ids;
        struct controller_status status;
        struct controller_alter_isr alter_isr;
        struct controller_fence fence;
    };

    /* results */
    enum err err;
    struct controller_hint hint; /* with ERR_NOT_LEADER */
    uint64_t term;               /* in which whoever answers is, or was last, active; 0: never */
    int64_t metadata_offset;     /* whoever has applied it sees the effect of this request (and of all it looked at) */
    char message[CONTROLLER_MESSAGE_BYTES]; /* for ERR_INVALID and ERR_STALE: a sentence; "" otherwise */

    /* the controller's (or its client's) own, between submit and on_done; no need to set them */
    struct loop_task task;
    struct controller *controller;
    struct controller_client *client;
    struct controller_request *prev, *next;
    uint64_t deadline_us;
    bool is_proposed;
};

/* Hands the request over; on_done comes exactly once, also when the controller stops. */
void controller_submit(struct controller *controller, struct controller_request *request);

/* ---- subscription: committed metadata, in order, never backwards ---- */

/* `image` is the newest; `delta` says what changed since the last call; the first call's delta has before == NULL and holds
 * everything. Commits that come quickly may arrive as one change. Both are borrowed for the call (image_ref to keep). */
typedef void (*controller_publish_fn)(void *ctx, const struct image *image, const struct image_delta *delta);

struct controller_subscription;

/* Who shows images to subscribers: a controller, or a client that follows one from afar. */
struct controller_publisher {
    struct loop *loop;         /* all of it belongs to this loop */
    const struct image *image; /* what is shown; borrowed */
    struct controller_subscription *subscriptions;
};

struct controller_subscription {
    struct loop *loop;
    controller_publish_fn on_publish;
    void *ctx;
    /* After controller_unsubscribe: nothing more comes and the memory is the caller's again. */
    void (*on_unsubscribed)(void *ctx);

    /* the controller's own */
    struct loop_task task;         /* towards the subscriber */
    struct loop_task control_task; /* towards the publisher */
    struct controller_publisher *publisher;
    struct controller_subscription *prev, *next;
    const struct image *delivered;         /* subscriber's side */
    _Atomic(const struct image *) pending; /* newest not taken yet, with a reference */
    bool is_closing;
};

void controller_subscribe(struct controller *controller, struct controller_subscription *subscription);
/* On the subscription's loop. on_publish does not run after this returns. */
void controller_unsubscribe(struct controller_subscription *subscription);

/* ---- watching who is active ---- */

/* What a controller knows of the cluster and of its controllers. */
struct controller_view {
    char cluster_id[UUID_TEXT_BYTES]; /* "" before formation */
    bool is_active;                   /* this one: it takes requests */
    uint64_t term;                    /* in which it is active; 0 when it is not */
    struct controller_hint leader;
};

struct controller_watch {
    struct loop *loop;
    /* At first and with each change, in order; the view is borrowed. */
    void (*on_view)(void *ctx, const struct controller_view *view);
    void *ctx;
    /* After controller_unwatch: nothing more comes and the memory is the caller's again. */
    void (*on_unwatched)(void *ctx);

    /* the controller's own */
    struct loop_task task;
    struct controller *controller;
    struct controller_watch *prev, *next;
    bool is_closing;
};

void controller_watch(struct controller *controller, struct controller_watch *watch);
/* On the watch's loop. on_view does not run after this returns. Before controller_stop. */
void controller_unwatch(struct controller_watch *watch);

#endif

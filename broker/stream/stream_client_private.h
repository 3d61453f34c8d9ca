/* stream_client_private: what the files of the follower's side share.
 *
 * Shape:     stream_client.h has the states. stream_follow_set_state is the only setter: it keeps the lists of the lane.
 * Threads:   the worker's.
 */
#ifndef BROKER_STREAM_STREAM_CLIENT_PRIVATE_H
#define BROKER_STREAM_STREAM_CLIENT_PRIVATE_H

#include "broker/replica/partition.h"
#include "broker/replica/replica_link.h"
#include "broker/stream/stream_client.h"
#include "broker/stream/stream_lane.h"
#include "broker/stream/stream_limits.h"
#include "broker/stream/stream_wire.h"
#include "broker/worker.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/rpc/rpc_dial.h"

#include <uthash.h>

#undef uthash_malloc
#undef uthash_free
#define uthash_malloc(bytes) mem_alloc(bytes)
#define uthash_free(memory, bytes) mem_free(memory)

#define STREAM_HOST_BYTES 256

enum stream_follow_state {
    STREAM_FOLLOW_WAITING,
    STREAM_FOLLOW_DUE,
    STREAM_FOLLOW_ASKED,
    STREAM_FOLLOW_STREAMING,
    STREAM_FOLLOW_CUTTING,
    STREAM_FOLLOW_BACKOFF,
};

struct stream_lane;

struct stream_follow {
    struct partition *partition;
    struct stream_client *client;
    struct stream_lane *lane;
    struct stream_follow *prev, *next; /* of the lane */
    struct stream_follow *due_prev, *due_next;
    struct stream_follow *ack_prev, *ack_next;
    enum stream_follow_state state;
    bool is_ack_due;  /* in the lane's list */
    bool has_refused; /* the last failure was a batch that was not taken, not a subscription */
    uint32_t handle;  /* while ASKED or STREAMING */
    int32_t leader_epoch;
    int64_t acked_end; /* -1: nothing yet in this subscription */
    uint32_t failures; /* in a row */
    struct loop_timer retry;
    struct stream_cutting *cutting;
    /* A batch that comes in pieces. */
    uint8_t *batch;
    size_t batch_bytes; /* of the whole */
    size_t batch_filled_bytes;
    UT_hash_handle hh; /* of the lane's handles */
};

/* A truncation under way; may outlive the follow. */
struct stream_cutting {
    struct stream_client *client;
    struct stream_follow *follow; /* NULL: nobody waits any more */
    int64_t end_offset;           /* before it */
    int32_t last_epoch;
    bool is_full;
};

struct stream_lane {
    struct stream_peer *peer;
    struct stream_lane *prev, *next; /* of the peer */
    struct stream_lane *next_dirty;
    bool is_dirty;
    uint32_t number; /* as in the hello */
    struct rpc_dial *dial;
    struct rpc_link *link; /* NULL: down */
    struct stream_follow *follows;
    struct stream_follow *by_handle;
    struct stream_follow *due;
    struct stream_follow *acks;
    uint32_t next_handle;
    uint32_t *gone_handles; /* to unsubscribe */
    size_t gone_count;
    size_t gone_capacity;
    uint64_t credit_due_bytes;
    uint64_t heard_us;
    uint64_t said_us;
    uint64_t ping_id;
    struct loop_timer tick; /* pings; without a dial: to make one again */
};

struct stream_peer {
    struct stream_client *client;
    struct stream_peer *prev, *next;
    int32_t broker_id;
    int64_t broker_epoch; /* as the metadata says; -1: not there */
    char host[STREAM_HOST_BYTES];
    uint16_t port;         /* 0: not known */
    uint32_t worker_count; /* as its hello said, or a guess */
    struct stream_lane *lanes;
};

struct stream_client {
    struct worker *worker;
    struct logger *logger;
    struct rpc_hello hello;
    bool has_identity;
    struct stream_peer *peers;
    struct stream_lane *dirty;
    struct arena arena; /* of the frame in hand */
    unsigned cutting_count;
    bool is_stopping;
    struct loop_task stopped;
    void (*stop_done)(void *ctx);
    void *stop_ctx;
    struct log_limit line_limit;
    struct log_limit cut_limit;
};

/* stream_client.c */
struct stream_peer *stream_client_peer(struct stream_client *client, int32_t broker_id);
void stream_client_check_stopped(struct stream_client *client);

/* stream_client_follow.c: one partition */
void stream_follow_set_state(struct stream_follow *follow, enum stream_follow_state state);
/* Joins the lane (leaving another one, if any): DUE when its link is up. */
void stream_follow_join(struct stream_follow *follow, struct stream_lane *lane);
/* The lane that its partition belongs on. */
void stream_follow_place(struct stream_follow *follow, bool is_catch_up);
/* Subscribes again after a while. */
void stream_follow_fail(struct stream_follow *follow);
void stream_follow_cut(struct stream_follow *follow, int64_t offset, bool is_full);
void stream_follow_free(struct stream_follow *follow);
void stream_follow_on_follow(void *ctx, struct partition *partition);
void stream_follow_on_unfollow(void *ctx, struct partition *partition);
void stream_follow_on_counted(void *ctx, struct partition *partition);
/* Forgets pieces of a batch. */
void stream_follow_drop_batch(struct stream_follow *follow);

/* stream_client_lane.c: one link */
struct stream_lane *stream_lane_get(struct stream_peer *peer, uint32_t number);
void stream_lane_mark_dirty(struct stream_lane *lane);
/* Dials, if identity and address are known. */
void stream_lane_open(struct stream_lane *lane);
/* The link is lost, or is to be: everybody on it waits. */
void stream_lane_lose(struct stream_lane *lane);
/* Closes and tries again in a while: the peer does not speak properly. */
void stream_lane_reject(struct stream_lane *lane, const char *reason);
/* Sends what is due; frees the lane when nobody is on it. */
void stream_lane_step(struct stream_lane *lane);
void stream_lane_free(struct stream_lane *lane);

/* stream_client_data.c: what the leader says; NULL or what is wrong with the frame. */
const char *stream_lane_take_frame(struct stream_lane *lane, const struct rpc_frame *frame);

#endif

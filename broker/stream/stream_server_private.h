/* stream_server_private: what the files of the leader's side share.
 *
 * Shape:     a subscription is at exactly one place: QUIET, in its link's list of READY or MARKED ones, or READING (a pool job has it).
 *
 *              QUIET --news--> READY --data sent--> READY (there is more) or QUIET
 *                              READY --only marks moved--> MARKED --sent with data or by the timer--> QUIET
 *                              READY --disk needed--> READING --job done--> READY (has_read)
 *
 *            A link is ACTIVE (in the server's list) when the next step has something to do for it.
 * Threads:   the worker's.
 */
#ifndef BROKER_STREAM_STREAM_SERVER_PRIVATE_H
#define BROKER_STREAM_STREAM_SERVER_PRIVATE_H

#include "broker/replica/partition_set.h"
#include "broker/replica/replica_link.h"
#include "broker/storage/log_read.h"
#include "broker/stream/stream_lane.h"
#include "broker/stream/stream_limits.h"
#include "broker/stream/stream_server.h"
#include "broker/stream/stream_wire.h"
#include "broker/worker.h"
#include "common/logger.h"
#include "common/mem.h"

#include <uthash.h>

#undef uthash_malloc
#undef uthash_free
#define uthash_malloc(bytes) mem_alloc(bytes)
#define uthash_free(memory, bytes) mem_free(memory)

enum stream_place { STREAM_QUIET, STREAM_READY, STREAM_MARKED, STREAM_READING };

struct stream_sub {
    struct replica_cursor cursor;
    struct stream_server *server;
    struct stream_server_link *link; /* NULL: ended while a job has it */
    uint32_t handle;
    int32_t leader_epoch;
    int64_t next_offset; /* everything below was sent, or the follower had it */
    int64_t sent_high_watermark;
    int64_t sent_log_start_offset;
    /* The follower's end lies below the log start: where it may begin is not known before the log was read. */
    bool is_anew;
    bool is_empty; /* the follower's log, when it subscribed */
    enum stream_place place;
    bool has_sent_all;  /* up to the log end, when it left READY last */
    uint64_t news_step; /* in which it was told of bytes, having sent all before: they are of this very iteration */
    struct stream_sub *prev;
    struct stream_sub *next;
    bool has_read; /* `read` was tried or run: its slice is known */
    struct log_read read;
    struct loop_job job;
    enum err read_err;
    /* A batch that goes in pieces: what is left of it. */
    struct file *rest_file;
    uint64_t rest_pos;
    size_t rest_bytes;
    int64_t rest_first_offset;
    int64_t rest_next_offset;
    uint64_t frame_number; /* of the last frame in which it had its turn: one a frame */
    UT_hash_handle hh;
};

/* One part of the DATA frame that is being packed. */
struct stream_item {
    struct stream_sub *sub;
    struct file *file; /* a reference; NULL: marks only */
    uint64_t pos;
    size_t bytes;
    bool is_bad; /* could not be read */
};

/* The DATA frame that is being packed; arrays of STREAM_PARTS_MAX at most, kept from frame to frame. */
struct stream_packing {
    struct stream_item *items;
    Node__ReplicaPart *parts; /* of the items */
    Node__ReplicaPart **part_pointers;
    struct rpc_piece *pieces;
    size_t count;
    size_t capacity;
    uint64_t frame_number;
    size_t bytes;      /* of bodies */
    size_t copy_bytes; /* of those that are to be copied */
};

struct stream_server_link {
    struct stream_server *server;
    struct rpc_link *rpc;
    struct stream_server_link *prev;
    struct stream_server_link *next;
    struct stream_server_link *next_active;
    bool is_active;
    bool is_catch_up;
    bool is_paused; /* its frames are not read: it does not take its answers */
    bool are_marks_due;
    uint64_t marked_us; /* when the first of `marked` came there */
    int32_t broker_id;
    int64_t credit_bytes; /* may fall below 0 by one batch */
    uint64_t heard_us;
    struct stream_sub *subs; /* by handle */
    struct stream_sub *ready;
    struct stream_sub *marked;
    unsigned read_count; /* jobs in the pool */
    size_t copied_bytes; /* taken from the memory budget for what is queued */
    Node__ReplicaAnswer *answers;
    size_t answer_count;
    size_t answer_capacity;
    Node__ReplicaEnd *ends;
    size_t end_count;
    size_t end_capacity;
};

struct stream_server {
    struct worker *worker;
    struct logger *logger;
    struct stream_server_link *links;
    unsigned link_count;
    struct stream_server_link *active;
    uint64_t step_number;                /* of the next step */
    struct stream_server_link *stepping; /* NULL again when it was closed in its own step */
    struct arena arena;                  /* of the frame in hand */
    struct stream_packing packing;
    struct loop_task again; /* another iteration */
    struct loop_timer marks_timer;
    struct loop_timer sweep_timer;
    bool is_marks_timer_set;
    unsigned read_count; /* jobs in the pool, of ended subscriptions too */
    bool is_stopping;
    struct loop_task stopped;
    void (*stop_done)(void *ctx);
    void *stop_ctx;
    struct log_limit line_limit;
};

/* stream_server.c */
void stream_server_activate(struct stream_server_link *link);
/* The link is gone when this returns. */
void stream_server_close(struct stream_server_link *link, const char *reason);
/* The timer of marks fires at that time or before. */
void stream_server_arm_marks(struct stream_server *server, uint64_t at_us);
void stream_server_check_stopped(struct stream_server *server);
void stream_sub_set_place(struct stream_sub *sub, enum stream_place place);
/* Takes it from its link and its partition; freed now, or when its job is done. */
void stream_sub_drop(struct stream_sub *sub);
/* The same, and tells the follower. */
void stream_sub_end(struct stream_sub *sub, enum error_code error);
/* Fields are the caller's; error_code 0 with defaults. */
Node__ReplicaAnswer *stream_server_add_answer(struct stream_server_link *link, uint32_t handle);

/* stream_server_frames.c */
void stream_server_on_frame(void *ctx, const struct rpc_frame *frame);

/* stream_server_data.c: reads and sends for one link; false when the link was closed meanwhile. */
bool stream_server_send(struct stream_server_link *link);
/* Gives memory back that the link has sent away. */
void stream_server_settle(struct stream_server_link *link);
void stream_packing_done(struct stream_packing *packing);

/* stream_server_read.c: the next bytes of a subscription. */
enum stream_found {
    STREAM_FOUND,   /* in sub->read, or the rest of a batch */
    STREAM_NOTHING, /* all is sent */
    STREAM_NO_ROOM, /* another frame */
    STREAM_IN_POOL, /* the subscription is READING now */
    STREAM_LATER,   /* enough reads are in the pool */
    STREAM_ENDED,   /* the subscription is gone */
};
enum stream_found stream_sub_find(struct stream_sub *sub, size_t room_bytes, bool is_first);
uint64_t stream_sub_lag_bytes(const struct stream_sub *sub);

#endif

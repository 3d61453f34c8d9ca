/* fetch: one Fetch request under way: what is asked of which partitions, the waiting for enough bytes, the answer.
 *
 * Shape:     handle_fetch -> (the session's home worker) fetch_plan: session and wishes -> round: every part is read on its
 *            owner (fetch_part.c) -> enough bytes, an error or no time left: cancel what waits, answer (fetch_answer.c);
 *            else wait until a partition has news or the deadline comes, and read the parts with news again.
 *            Reading only plans: bytes are sent by sendfile when the answer is written, so what the answer has no room for
 *            costs an index lookup and no copy.
 * Ownership: everything lies in the request's arena; slices hold references to their files until they move to the answer.
 * Threads:   `struct fetch` belongs to its home worker; a part belongs to its partition's owner while a round runs it. A
 *            part's waiter stays with the owner until it has woken or is cancelled.
 * Source:    Fetch v4-v18 of Kafka 4.3; KIP-74 (limits), KIP-227 (sessions), KIP-320 and KIP-595 (divergence), KIP-516.
 */
#ifndef BROKER_API_FETCH_H
#define BROKER_API_FETCH_H

#include "broker/api/fetch_session.h"
#include "broker/api/request.h"
#include "broker/api/scatter.h"
#include "broker/replica/partition.h"
#include "broker/storage/log_read.h"
#include "proto/kmsg/fetch.h"

#define FETCH_VERSION_SESSIONS 7
#define FETCH_VERSION_CURRENT_LEADER 12
#define FETCH_VERSION_TOPIC_IDS 13
#define FETCH_VERSION_NODE_ENDPOINTS 16
/* Longest wait that a client may ask for: bounds what a client that has gone leaves behind. */
#define FETCH_WAIT_MS_MAX 600000
/* A fetch that holds this much of the memory for requests waits only FETCH_LARGE_WAIT_MS_MAX: a few of them, maybe of clients that
 * have gone, would keep everybody else from being read. */
#define FETCH_LARGE_BYTES (4u << 20)
#define FETCH_LARGE_WAIT_MS_MAX 1000

struct fetch;

enum fetch_part_news { FETCH_NEWS_NONE, FETCH_NEWS_UNREAD };

struct fetch_part {
    struct scatter_part part;
    struct fetch *fetch;
    struct fetch_wish wish;
    const struct image_topic *topic; /* NULL: unknown. Of the image of the beginning: not to be followed after a wait */

    /* The owner's, between rounds. */
    struct partition_waiter waiter;
    struct loop_task news_task; /* owner -> home: the waiter has woken */
    struct loop_job read_job;

    /* The home's. */
    bool is_waiting; /* a waiter was left with the owner, and no news has come from it */
    enum fetch_part_news news;
    bool may_wait; /* the fetch's, as of the round's begin: the owner reads it while the deadline may come */

    /* What the last round found; written by the owner in a round, read by home behind it. */
    enum error_code error;
    bool leaves_waiter;
    bool has_read; /* `read` holds references */
    struct log_read read;
    int64_t high_watermark;
    int64_t last_stable_offset;
    int64_t log_start_offset;
    int32_t diverging_epoch; /* -1: the histories agree */
    int64_t diverging_end_offset;
};

enum fetch_phase { FETCH_READING, FETCH_WAITING, FETCH_CANCELLING };

struct fetch {
    struct scatter scatter;
    struct loop_task move_task; /* between the request's worker and home */
    struct loop_timer timer;
    struct request *request;
    const struct fetch_request *message;
    struct worker *home;
    enum fetch_phase phase;
    bool is_read_committed;
    bool may_wait;     /* the deadline is ahead */
    int64_t bytes_max; /* of the answer */
    struct fetch_part *parts;
    size_t part_count;

    int32_t session_id; /* as the answer says it */
    bool is_incremental;
    enum error_code error; /* of the whole request */
    struct fetch_response response;
};

/* The request's session and the partitions that it asks for. false: the arena is exhausted. */
bool fetch_plan(struct fetch *fetch);
/* scatter_run_fn of one part: cancels its waiter, reads, and leaves a waiter when there was too little. */
void fetch_part_run(struct scatter_part *part, struct partition *partition);
/* scatter_run_fn: cancels the waiter. */
void fetch_part_cancel(struct scatter_part *part, struct partition *partition);
/* Drops what the part has read. Any thread. */
void fetch_part_drop(struct fetch_part *part);
/* Called by the owner's waiter, on home. */
void fetch_on_news(struct fetch_part *part);
/* Fills fetch->response and brings the session up to date. false: the arena is exhausted. */
bool fetch_answer(struct fetch *fetch);
/* Bytes that the part would contribute to an answer without limits. */
static inline size_t fetch_part_bytes(const struct fetch_part *part)
{
    return part->has_read ? part->read.slice.bytes : 0;
}

#endif

/* scatter: one request's parts run on the workers that own their partitions; when the last part is back, the request's
 * worker goes on. Used by every handler that touches partitions.
 *
 * Shape:     home worker -> part (a task) -> owner worker: `run` -> scatter_part_done, now or later -> home: `on_gathered`.
 *            Parts of one worker's own partitions run at once, without a message.
 *            Parts for one owner arrive in the order in which they were sent, also across requests: the order of a
 *            connection's produces is kept (correctness trap 13).
 * Ownership: parts and scatter belong to the request (its arena); between scatter_send and the way back a part is
 *            touched by the owner worker only.
 * Threads:   scatter_begin, scatter_send, scatter_end, on_gathered: home; run, scatter_part_done: owner.
 * Source:    design.md 5.
 */
#ifndef BROKER_API_SCATTER_H
#define BROKER_API_SCATTER_H

#include "common/seam/loop.h"
#include "common/uuid.h"

struct partition;
struct scatter;
struct scatter_part;
struct worker;

/* `partition` is NULL when the owner has no replica of it (any more). Ends with scatter_part_done. */
typedef void (*scatter_run_fn)(struct scatter_part *part, struct partition *partition);
typedef void (*scatter_gathered_fn)(struct scatter *scatter);

struct scatter {
    struct worker *home;
    scatter_gathered_fn on_gathered;
    unsigned outstanding_count; /* parts under way, + 1 between scatter_begin and scatter_end */
};

struct scatter_part {
    struct loop_task task; /* the way there and the way back */
    struct scatter *scatter;
    struct worker *owner;
    struct uuid topic_id;
    int32_t partition_index;
    scatter_run_fn run;
};

/* A round may begin again once the previous one is gathered. */
void scatter_begin(struct scatter *scatter, struct worker *home, scatter_gathered_fn on_gathered);
void scatter_send(struct scatter *scatter, struct scatter_part *part, struct uuid topic_id, int32_t partition_index,
                  scatter_run_fn run);
/* The last call of a handler: on_gathered may run inside of it, and the request may be gone then. */
void scatter_end(struct scatter *scatter);
void scatter_part_done(struct scatter_part *part);

#endif

/* memory_budget: bounds the bytes of requests and replies that one broker holds at a time. Over the limit no connection
 * begins another frame: the broker stops reading sockets instead of growing.
 *
 * Shape:     one budget per broker (an atomic count), one memory_queue per worker. A frame is admitted at once while
 *            nobody waits and it fits; otherwise its connection waits. Waiting connections of all workers are served
 *            strictly in the order of their tickets, so that a large frame is not starved by small ones. The last eighth is
 *            for small frames, which do not queue: connections that announce much and send little can't shut the others out.
 * Units:     bytes. The whole frame is taken before its first byte is stored: what was admitted can always complete.
 * Errors:    none. A frame larger than the limit is admitted when nothing else is held.
 * Ownership: waiters are members of their owners, borrowed while they wait.
 * Threads:   a queue and its waiters belong to the queue's loop; the counts are atomic. A release on one worker wakes the worker
 *            whose first waiter has the lowest ticket with one posted task.
 * Source:    correctness.md 9 ("in-flight request bytes per broker"); Kafka's queued.max.request.bytes.
 */
#ifndef BROKER_NET_MEMORY_BUDGET_H
#define BROKER_NET_MEMORY_BUDGET_H

#include "common/seam/loop.h"

#include <stdatomic.h>

/* A frame of at most this many bytes may use the reserve. Budgets too small to be divided have none. */
#define MEMORY_SMALL_BYTES 65536u
#define MEMORY_RESERVE_LIMIT_MIN (8u * 8u * MEMORY_SMALL_BYTES)

struct memory_queue;

struct memory_budget {
    size_t limit_bytes;
    size_t reserve_bytes; /* of limit_bytes, for small frames */
    atomic_size_t used_bytes;
    atomic_uint_fast64_t next_ticket;
    atomic_uint waiting_queues; /* how many queues have a waiter */
    struct memory_queue **queues;
    unsigned queue_count;
};

struct memory_waiter {
    struct memory_waiter *prev, *next;
    void (*granted)(
        struct memory_waiter *waiter); /* the bytes are taken; on the queue's loop, never inside memory_wait */
    uint64_t ticket;
    size_t bytes;
    bool is_waiting;
};

struct memory_queue {
    struct memory_budget *budget;
    struct loop *loop;
    struct memory_waiter *waiters;
    atomic_uint_fast64_t head_ticket; /* MEMORY_NO_TICKET when nobody waits */
    atomic_bool is_wake_posted;
    struct loop_task wake;
};

#define MEMORY_NO_TICKET UINT64_MAX

void memory_budget_init(struct memory_budget *budget, size_t limit_bytes, unsigned queue_count);
void memory_budget_done(struct memory_budget *budget);
size_t memory_budget_used(const struct memory_budget *budget);

/* Becomes queue `index` of the budget. All queues exist before the first is used. */
void memory_queue_init(struct memory_queue *queue, struct memory_budget *budget, unsigned index, struct loop *loop);

/* False when it does not fit or somebody waits already: then memory_wait. */
bool memory_try_take(struct memory_queue *queue, size_t bytes) MUST_USE;
void memory_wait(struct memory_queue *queue, struct memory_waiter *waiter, size_t bytes);
/* Harmless on an idle waiter. */
void memory_cancel(struct memory_queue *queue, struct memory_waiter *waiter);
/* Takes without asking: replies that are being encoded exist already and are only counted. */
void memory_take(struct memory_queue *queue, size_t bytes);
void memory_give(struct memory_queue *queue, size_t bytes);

#endif

/* The fast path is one compare-and-swap to take and one subtraction to give. The slow path is lock-free as well: each
 * queue publishes the ticket of its first waiter; whoever gives memory back wakes the queue with the lowest one, and that
 * queue, when it has served its waiter, wakes the next lowest.
 *
 * No wake is lost: a waiter publishes its ticket and then has its own queue look once more; a giver subtracts and then
 * looks for tickets. Both are sequentially consistent, so at least one of the two sees the other.
 */
#include "broker/net/memory_budget.h"

#include "common/check.h"
#include "common/mem.h"

#include <utlist.h>

static void queue_woken(struct loop_task *task);

void memory_budget_init(struct memory_budget *budget, size_t limit_bytes, unsigned queue_count)
{
    CHECK(limit_bytes > 0 && queue_count > 0);
    budget->limit_bytes = limit_bytes;
    budget->reserve_bytes = limit_bytes >= MEMORY_RESERVE_LIMIT_MIN ? limit_bytes / 8 : 0;
    atomic_init(&budget->used_bytes, 0);
    atomic_init(&budget->next_ticket, 0);
    atomic_init(&budget->waiting_queues, 0);
    budget->queues = mem_array(queue_count, sizeof(budget->queues[0]));
    budget->queue_count = queue_count;
}

void memory_budget_done(struct memory_budget *budget)
{
    CHECK(atomic_load(&budget->used_bytes) == 0);
    mem_free(budget->queues);
    budget->queues = NULL;
}

size_t memory_budget_used(const struct memory_budget *budget)
{
    return atomic_load_explicit(&budget->used_bytes, memory_order_relaxed);
}

void memory_queue_init(struct memory_queue *queue, struct memory_budget *budget, unsigned index, struct loop *loop)
{
    CHECK(index < budget->queue_count && budget->queues[index] == NULL);
    queue->budget = budget;
    queue->loop = loop;
    queue->waiters = NULL;
    atomic_init(&queue->head_ticket, MEMORY_NO_TICKET);
    atomic_init(&queue->is_wake_posted, false);
    queue->wake = (struct loop_task){.run = queue_woken};
    budget->queues[index] = queue;
}

static bool is_small(const struct memory_budget *budget, size_t bytes)
{
    return budget->reserve_bytes > 0 && bytes <= MEMORY_SMALL_BYTES;
}

static bool admit(struct memory_budget *budget, size_t bytes)
{
    size_t limit_bytes = budget->limit_bytes - (is_small(budget, bytes) ? 0 : budget->reserve_bytes);
    size_t used_bytes = atomic_load(&budget->used_bytes);
    do {
        bool is_fitting = bytes <= limit_bytes && used_bytes <= limit_bytes - bytes;
        if (used_bytes != 0 && !is_fitting) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&budget->used_bytes, &used_bytes, used_bytes + bytes));
    return true;
}

/* The queue whose first waiter came first, or NULL. */
static struct memory_queue *find_first_queue(struct memory_budget *budget)
{
    struct memory_queue *first = NULL;
    uint64_t first_ticket = MEMORY_NO_TICKET;
    for (unsigned i = 0; i < budget->queue_count; i++) {
        uint64_t ticket = atomic_load(&budget->queues[i]->head_ticket);
        if (ticket < first_ticket) {
            first = budget->queues[i];
            first_ticket = ticket;
        }
    }
    return first;
}

static void wake(struct memory_queue *queue)
{
    if (!atomic_exchange(&queue->is_wake_posted, true)) {
        loop_post(queue->loop, &queue->wake);
    }
}

static void publish_head(struct memory_queue *queue)
{
    bool was_waiting = atomic_load(&queue->head_ticket) != MEMORY_NO_TICKET;
    bool is_waiting = queue->waiters != NULL;
    atomic_store(&queue->head_ticket, is_waiting ? queue->waiters->ticket : MEMORY_NO_TICKET);
    if (is_waiting && !was_waiting) {
        atomic_fetch_add(&queue->budget->waiting_queues, 1);
    } else if (!is_waiting && was_waiting) {
        atomic_fetch_sub(&queue->budget->waiting_queues, 1);
    }
}

static void wake_first(struct memory_budget *budget)
{
    if (atomic_load(&budget->waiting_queues) == 0) {
        return;
    }
    struct memory_queue *first = find_first_queue(budget);
    if (first != NULL) {
        wake(first);
    }
}

static void queue_woken(struct loop_task *task)
{
    struct memory_queue *queue = CONTAINER_OF(task, struct memory_queue, wake);
    atomic_store(&queue->is_wake_posted, false);
    while (queue->waiters != NULL && find_first_queue(queue->budget) == queue) {
        struct memory_waiter *waiter = queue->waiters;
        if (!admit(queue->budget, waiter->bytes)) {
            return; /* the next memory_give wakes us again */
        }
        DL_DELETE(queue->waiters, waiter);
        waiter->is_waiting = false;
        publish_head(queue);
        waiter->granted(waiter);
    }
    wake_first(queue->budget);
}

bool memory_try_take(struct memory_queue *queue, size_t bytes)
{
    bool may_pass = is_small(queue->budget, bytes) || atomic_load(&queue->budget->waiting_queues) == 0;
    return may_pass && admit(queue->budget, bytes);
}

void memory_wait(struct memory_queue *queue, struct memory_waiter *waiter, size_t bytes)
{
    CHECK(!waiter->is_waiting && waiter->granted != NULL);
    waiter->bytes = bytes;
    waiter->ticket = atomic_fetch_add(&queue->budget->next_ticket, 1);
    waiter->is_waiting = true;
    DL_APPEND(queue->waiters, waiter);
    publish_head(queue);
    wake(queue); /* memory may have been given back in between */
}

void memory_cancel(struct memory_queue *queue, struct memory_waiter *waiter)
{
    if (!waiter->is_waiting) {
        return;
    }
    DL_DELETE(queue->waiters, waiter);
    waiter->is_waiting = false;
    publish_head(queue);
    wake_first(queue->budget); /* those behind it may fit */
}

void memory_take(struct memory_queue *queue, size_t bytes)
{
    atomic_fetch_add(&queue->budget->used_bytes, bytes);
}

void memory_give(struct memory_queue *queue, size_t bytes)
{
    size_t before_bytes = atomic_fetch_sub(&queue->budget->used_bytes, bytes);
    CHECK(before_bytes >= bytes);
    wake_first(queue->budget);
}

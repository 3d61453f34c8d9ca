#include "broker/replica/isr_proposer.h"

#include "common/mem.h"

struct isr_proposer {
    struct isr_proposer_config config;
    struct controller_request request;
    struct isr_batch *waiting; /* not sent yet */
    struct isr_batch **waiting_end;
    struct isr_batch *sent; /* of the request in flight, in its order */
    bool is_in_flight;
    bool is_stopped;
};

/* ---- batches ---- */

struct isr_batch *isr_batch_new(struct loop *loop, void (*answered)(struct isr_batch *batch), void *ctx)
{
    struct isr_batch *batch = MEM_NEW(struct isr_batch);
    batch->loop = loop;
    batch->answered = answered;
    batch->ctx = ctx;
    return batch;
}

void isr_batch_free(struct isr_batch *batch)
{
    if (batch == NULL) {
        return;
    }
    for (uint32_t i = 0; i < batch->change_count; i++) {
        mem_free((void *)(uintptr_t)batch->changes[i].isr);
    }
    mem_free(batch->changes);
    mem_free(batch);
}

void isr_batch_add(struct isr_batch *batch, const struct controller_isr_change *change)
{
    CHECK(batch->change_count < CONTROLLER_ISR_CHANGES_MAX);
    if (batch->change_count == batch->change_capacity) {
        batch->change_capacity = batch->change_capacity == 0 ? 4 : batch->change_capacity * 2;
        batch->changes = mem_grow(batch->changes, batch->change_capacity, sizeof(*batch->changes));
    }
    struct controller_isr_member *members = mem_array(change->isr_count, sizeof(*members));
    memcpy(members, change->isr, change->isr_count * sizeof(*members));
    struct controller_isr_change *own = &batch->changes[batch->change_count++];
    *own = *change;
    own->isr = members;
    own->code = ISR_CHANGE_UNKNOWN;
}

static void isr_batch_on_worker(struct loop_task *task)
{
    struct isr_batch *batch = CONTAINER_OF(task, struct isr_batch, task);
    batch->answered(batch);
}

static void isr_batch_return(struct isr_batch *batch)
{
    batch->next = NULL;
    batch->task.run = isr_batch_on_worker;
    loop_post(batch->loop, &batch->task);
}

/* ---- requests ---- */

static void isr_proposer_send(struct isr_proposer *proposer);

/* The controller has set the codes in the request's own array. */
static void isr_proposer_on_done(struct controller_request *request)
{
    struct isr_proposer *proposer = CONTAINER_OF(request, struct isr_proposer, request);
    const struct controller_isr_change *answer = request->alter_isr.changes;
    struct isr_batch *batch = proposer->sent;
    proposer->sent = NULL;
    while (batch != NULL) {
        struct isr_batch *next = batch->next;
        for (uint32_t i = 0; i < batch->change_count; i++, answer++) {
            batch->changes[i].code = request->err == ERR_OK ? answer->code : ISR_CHANGE_UNKNOWN;
        }
        isr_batch_return(batch);
        batch = next;
    }
    mem_free(request->alter_isr.changes);
    proposer->is_in_flight = false;
    isr_proposer_send(proposer);
}

/* As many batches as fit into one request; at least one. */
static uint32_t isr_proposer_take(struct isr_proposer *proposer)
{
    struct isr_batch **sent_end = &proposer->sent;
    uint32_t change_count = 0;
    while (proposer->waiting != NULL && change_count + proposer->waiting->change_count <= CONTROLLER_ISR_CHANGES_MAX) {
        struct isr_batch *batch = proposer->waiting;
        proposer->waiting = batch->next;
        batch->next = NULL;
        *sent_end = batch;
        sent_end = &batch->next;
        change_count += batch->change_count;
    }
    if (proposer->waiting == NULL) {
        proposer->waiting_end = &proposer->waiting;
    }
    return change_count;
}

static void isr_proposer_return_waiting(struct isr_proposer *proposer)
{
    while (proposer->waiting != NULL) {
        struct isr_batch *batch = proposer->waiting;
        proposer->waiting = batch->next;
        isr_batch_return(batch);
    }
    proposer->waiting_end = &proposer->waiting;
}

static void isr_proposer_send(struct isr_proposer *proposer)
{
    if (proposer->is_in_flight || proposer->waiting == NULL) {
        return;
    }
    int64_t broker_epoch = proposer->is_stopped ? -1 : proposer->config.broker_epoch(proposer->config.ctx);
    if (broker_epoch < 0) {
        isr_proposer_return_waiting(proposer);
        return;
    }
    uint32_t change_count = isr_proposer_take(proposer);
    struct controller_isr_change *changes = mem_array(change_count, sizeof(*changes));
    uint32_t at = 0;
    for (const struct isr_batch *batch = proposer->sent; batch != NULL; batch = batch->next) {
        memcpy(&changes[at], batch->changes, batch->change_count * sizeof(*changes));
        at += batch->change_count;
    }
    proposer->request = (struct controller_request){
        .kind = CONTROLLER_ALTER_ISR,
        .loop = proposer->config.home,
        .on_done = isr_proposer_on_done,
        .alter_isr = {.broker_id = proposer->config.broker_id,
                      .broker_epoch = broker_epoch,
                      .changes = changes,
                      .change_count = change_count},
    };
    proposer->is_in_flight = true;
    proposer->config.submit(proposer->config.ctx, &proposer->request);
}

static void isr_proposer_on_offer(struct loop_task *task)
{
    struct isr_batch *batch = CONTAINER_OF(task, struct isr_batch, task);
    struct isr_proposer *proposer = batch->proposer;
    batch->next = NULL;
    *proposer->waiting_end = batch;
    proposer->waiting_end = &batch->next;
    isr_proposer_send(proposer);
}

void isr_proposer_offer(struct isr_proposer *proposer, struct isr_batch *batch)
{
    CHECK(batch->change_count > 0);
    batch->proposer = proposer;
    batch->task.run = isr_proposer_on_offer;
    loop_post(proposer->config.home, &batch->task);
}

/* ---- life ---- */

struct isr_proposer *isr_proposer_new(const struct isr_proposer_config *config)
{
    struct isr_proposer *proposer = MEM_NEW(struct isr_proposer);
    proposer->config = *config;
    proposer->waiting_end = &proposer->waiting;
    return proposer;
}

void isr_proposer_stop(struct isr_proposer *proposer)
{
    proposer->is_stopped = true;
    isr_proposer_return_waiting(proposer);
}

void isr_proposer_free(struct isr_proposer *proposer)
{
    if (proposer == NULL) {
        return;
    }
    CHECK(!proposer->is_in_flight && proposer->waiting == NULL);
    mem_free(proposer);
}

#include "broker/api/producer_ids.h"

#include "broker/broker.h"
#include "broker/worker.h"
#include "common/check.h"
#include "common/mem.h"
#include "controller/controller_client.h"

#include <utlist.h>

static void producer_ids_ask(struct producer_ids *ids);

static void producer_ids_serve(struct producer_ids *ids)
{
    while (ids->takers != NULL && ids->next_id < ids->end_id) {
        struct producer_id_taker *taker = ids->takers;
        LL_DELETE(ids->takers, taker);
        taker->done(taker, ERROR_NONE, ids->next_id++);
    }
    if (ids->takers != NULL && !ids->is_asking) {
        producer_ids_ask(ids);
    }
}

static void producer_ids_answered(struct controller_request *request)
{
    struct producer_ids *ids = CONTAINER_OF(request, struct producer_ids, request);
    ids->is_asking = false;
    if (request->err == ERR_OK) {
        CHECK(request->producer_ids.count > 0);
        ids->next_id = request->producer_ids.first_producer_id;
        ids->end_id = ids->next_id + request->producer_ids.count;
        producer_ids_serve(ids);
        return;
    }
    while (ids->takers != NULL) {
        struct producer_id_taker *taker = ids->takers;
        LL_DELETE(ids->takers, taker);
        taker->done(taker, ERROR_COORDINATOR_LOAD_IN_PROGRESS, -1); /* retriable in every client */
    }
}

static void producer_ids_ask(struct producer_ids *ids)
{
    struct broker *broker = ids->worker->broker;
    const struct image_broker *self = image_find_broker(ids->worker->image, broker->options->node_id);
    ids->is_asking = true;
    ids->request = (struct controller_request){
        .kind = CONTROLLER_PRODUCER_IDS,
        .loop = ids->worker->loop,
        .on_done = producer_ids_answered,
        .producer_ids = {.broker_id = broker->options->node_id, .broker_epoch = self == NULL ? -1 : self->epoch},
    };
    controller_client_submit(broker->controller_client, &ids->request);
}

struct producer_ids *producer_ids_new(struct worker *worker)
{
    struct producer_ids *ids = MEM_NEW(struct producer_ids);
    ids->worker = worker;
    return ids;
}

void producer_ids_free(struct producer_ids *ids)
{
    CHECK(ids == NULL || !ids->is_asking);
    mem_free(ids);
}

void producer_ids_take(struct producer_ids *ids, struct producer_id_taker *taker)
{
    LL_APPEND(ids->takers, taker);
    producer_ids_serve(ids);
}

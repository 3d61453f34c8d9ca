/* InitProducerId: a new identity for an idempotent producer.
 *
 * Source: InitProducerId v0-v5 of Kafka 4.3; KIP-98. Like Kafka, a producer without a transactional id gets a new id however
 * often it asks. Transactional producers need the transaction coordinator, which a later release brings; until then
 * FindCoordinator and the transaction APIs are not advertised, so no client comes here with a transactional id. */
#include "broker/api/authorise.h"
#include "broker/api/handlers.h"
#include "broker/api/producer_ids.h"
#include "broker/api/request.h"
#include "broker/worker.h"
#include "common/check.h"
#include "proto/kmsg/init_producer_id.h"

struct init_producer_id {
    struct producer_id_taker taker;
    struct request *request;
};

static void init_reply(struct request *request, enum error_code error, int64_t producer_id)
{
    struct init_producer_id_response response;
    codec_set_defaults(&init_producer_id_response_codec, &response);
    response.error_code = (int16_t)error;
    response.producer_id = producer_id;
    response.producer_epoch = error == ERROR_NONE ? 0 : -1;
    request_reply(request, &response);
}

static void init_on_id(struct producer_id_taker *taker, enum error_code error, int64_t producer_id)
{
    init_reply(CONTAINER_OF(taker, struct init_producer_id, taker)->request, error, producer_id);
}

void handle_init_producer_id(struct request *request)
{
    const struct init_producer_id_request *message = request->message;
    if (!span_is_null(message->transactional_id)) {
        init_reply(request, message->transactional_id.bytes == 0 ? ERROR_INVALID_REQUEST : ERROR_UNSUPPORTED_VERSION,
                   -1);
        return;
    }
    if ((message->producer_id < 0) != (message->producer_epoch < 0)) {
        init_reply(request, ERROR_INVALID_REQUEST, -1); /* an identity of two parts, of which one is missing */
        return;
    }
    if (!authorise_cluster(request, AUTHORISE_IDEMPOTENT_WRITE)) {
        init_reply(request, ERROR_CLUSTER_AUTHORIZATION_FAILED, -1);
        return;
    }
    struct init_producer_id *init = arena_alloc(&request->arena, sizeof(*init));
    if (init == NULL) { /* the decoded message may have filled the arena */
        request_close_connection(request, "the request for a producer id needs more memory than one request may use");
        return;
    }
    init->request = request;
    init->taker.done = init_on_id;
    producer_ids_take(request->worker->producer_ids, &init->taker);
}

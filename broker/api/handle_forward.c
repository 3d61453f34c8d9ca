/* Requests that change the metadata go to the controller as the client sent them, with who asked; the answer waits until this
 * node has applied the change, so that a client sees its own topic at once (correctness.md 5).
 *
 * Serves what controller/controller_api.c decides: topics, partitions, settings, elections, brokers, voters. Source: KIP-590. */
#include "broker/api/handlers.h"
#include "broker/api/request.h"
#include "broker/broker.h"
#include "broker/meta/metadata_follow.h"
#include "broker/worker.h"
#include "common/check.h"
#include "controller/controller_client.h"
#include "proto/api/api_table.h"

struct forward {
    struct request *request;
    struct controller_request call;
    struct metadata_wait wait;
};

static void forward_reply(struct loop_task *task)
{
    struct forward *forward = CONTAINER_OF(task, struct forward, wait.task);
    struct shared_bytes *response = forward->call.admin.response;
    request_reply_encoded(forward->request, span_make(response->data, response->bytes));
    shared_bytes_unref(response);
}

static void forward_done(struct controller_request *call)
{
    struct forward *forward = CONTAINER_OF(call, struct forward, call);
    if (call->err != ERR_OK) {
        /* The outcome is unknown; a closed connection makes the client ask again, which is safe: the controller refuses what
         * has been done already. */
        request_close_connection(forward->request, err_text(call->err));
        return;
    }
    forward->wait.task.run = forward_reply;
    forward->wait.loop = forward->request->worker->loop;
    forward->wait.offset = call->metadata_offset;
    metadata_follow_wait(forward->request->worker->broker->metadata_follow, &forward->wait);
}

void handle_forward(struct request *request)
{
    struct forward *forward = arena_alloc(&request->arena, sizeof(*forward));
    if (forward == NULL) { /* the decoded message may have filled the arena */
        request_close_connection(request, "the request needs more memory than one request may use");
        return;
    }
    forward->request = request;
    forward->call = (struct controller_request){
        .kind = CONTROLLER_ADMIN,
        .loop = request->worker->loop,
        .on_done = forward_done,
        .admin = {.api_key = request->api->key,
                  .api_version = request->api_version,
                  .frame = request->frame,
                  .body = request->body,
                  .principal = span_text(request->context.principal),
                  .client_id = request->context.client_id,
                  .host = span_text(request->context.client.host),
                  .listener_name = span_text(request->context.listener_name)},
    };
    controller_client_submit(request->worker->broker->controller_client, &forward->call);
}

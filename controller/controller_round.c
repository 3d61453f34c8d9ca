/* Rounds: all requests that wait are decided one after the other, each upon what the ones before it will have made of the image; their
 * records become one entry. While it is being committed, the next requests wait: so no decision is ever made upon a
 * state that it doesn't know, and many small requests cost one sync. */
#include "common/logger.h"
#include "common/mem.h"
#include "controller/broker_control.h"
#include "controller/call_codec.h"
#include "controller/controller_api.h"
#include "controller/controller_private.h"
#include "controller/image_apply.h"
#include "controller/isr_control.h"
#include "controller/leader_control.h"
#include "controller/producer_id_control.h"

#include <stdio.h>
#include <utlist.h>

#define ROUND_REQUESTS_MAX 256

static void deliver(struct loop_task *task)
{
    struct controller_request *request = CONTAINER_OF(task, struct controller_request, task);
    request->on_done(request);
}

void controller_complete(struct controller_request *request, enum err err, int64_t metadata_offset)
{
    if (request->kind == CONTROLLER_ADMIN) {
        shared_bytes_unref(request->admin.frame);
        if (err != ERR_OK && request->admin.response != NULL) {
            shared_bytes_unref(request->admin.response);
            request->admin.response = NULL;
        }
    }
    if (err == ERR_NOT_LEADER && request->controller != NULL) {
        request->hint = request->controller->view.leader;
    }
    if (request->controller != NULL) {
        request->term = request->controller->active_term;
    }
    request->err = err;
    request->metadata_offset = metadata_offset;
    request->task = (struct loop_task){.run = deliver};
    loop_post(request->loop, &request->task);
}

static void set_message(struct controller_request *request, const struct decision_result *result)
{
    snprintf(request->message, sizeof(request->message), "%.*s", (int)result->message.bytes,
             (const char *)result->message.data);
}

static enum err err_of_code(int16_t code)
{
    return code == ERROR_STALE_BROKER_EPOCH ? ERR_STALE : ERR_INVALID;
}

static enum err decide_registration(struct api_call *call, struct controller_request *request, bool *ret_is_partial)
{
    struct decision_result result = {0};
    int64_t epoch = 0;
    if (!broker_control_register(&call->decision, &request->registration, &epoch, &result)) {
        set_message(request, &result);
        return err_of_code(result.code);
    }
    *ret_is_partial = result.is_partial;
    request->registration.broker_epoch = epoch == 0 ? call->index : epoch;
    return ERR_OK;
}

static enum err decide_heartbeat(struct api_call *call, struct controller_request *request, bool *ret_is_partial)
{
    struct decision_result result = {0};
    if (!broker_control_heartbeat(&call->decision, &request->heartbeat, &request->heartbeat.is_fenced,
                                  &request->heartbeat.may_shut_down, &result)) {
        set_message(request, &result);
        return err_of_code(result.code);
    }
    *ret_is_partial = result.is_partial;
    return ERR_OK;
}

static enum err decide_fence(struct api_call *call, const struct controller_fence *fence, bool *ret_is_partial)
{
    struct decision_result result = {0};
    if (!broker_control_fence(&call->decision, fence->broker_id, fence->broker_epoch, &result)) {
        return err_of_code(result.code);
    }
    *ret_is_partial = result.is_partial;
    return ERR_OK;
}

static enum err decide_alter_isr(struct api_call *call, struct controller_request *request)
{
    struct decision_result result = {0};
    if (!isr_control_alter(&call->decision, &request->alter_isr, &result)) {
        set_message(request, &result);
        return err_of_code(result.code);
    }
    return ERR_OK;
}

static enum err decide_producer_ids(struct api_call *call, struct controller_request *request)
{
    struct decision_result result = {0};
    struct controller_producer_ids *ids = &request->producer_ids;
    if (!producer_id_control_take(&call->decision, ids->broker_id, ids->broker_epoch, &ids->first_producer_id,
                                  &result)) {
        set_message(request, &result);
        return err_of_code(result.code);
    }
    ids->count = PRODUCER_ID_BLOCK_COUNT;
    return ERR_OK;
}

static enum err decide_admin(struct api_call *call, struct controller_request *request)
{
    call->admin = &request->admin;
    enum err err = controller_api_handle(call);
    request->admin.response = call->response;
    call->response = NULL;
    if (err == ERR_OK && request->admin.response != NULL && request->admin.response->bytes > CALL_BODY_BYTES_MAX) {
        /* Nothing is done that can't be told. */
        (void)snprintf(request->message, sizeof(request->message),
                       "The answer would have more than %u bytes: split the request.", CALL_BODY_BYTES_MAX);
        return ERR_LIMIT;
    }
    return err;
}

static enum err decide(struct api_call *call, struct controller_request *request, bool *ret_is_partial)
{
    switch (request->kind) {
    case CONTROLLER_ADMIN:
        return decide_admin(call, request);
    case CONTROLLER_AUTO_CREATE:
        controller_api_auto_create(call, &request->auto_create);
        return ERR_OK;
    case CONTROLLER_REGISTER:
        return decide_registration(call, request, ret_is_partial);
    case CONTROLLER_HEARTBEAT:
        return decide_heartbeat(call, request, ret_is_partial);
    case CONTROLLER_PRODUCER_IDS:
        return decide_producer_ids(call, request);
    case CONTROLLER_FENCE:
        return decide_fence(call, &request->fence, ret_is_partial);
    case CONTROLLER_ALTER_ISR:
        return decide_alter_isr(call, request);
    case CONTROLLER_PREFERRED_LEADERS:
        request->controller->is_balance_unfinished =
            leader_control_balance(&call->decision, CONTROLLER_IMBALANCE_PERCENT, CONTROLLER_BALANCE_MOVES_MAX) ==
            CONTROLLER_BALANCE_MOVES_MAX;
        return ERR_OK;
    case CONTROLLER_STATUS:
        break; /* answered at once */
    }
    UNREACHABLE();
}

/* A round takes no further request when its memory is used up to here: what one request decodes to and decides, at most
 * META_DECISION_BYTES_MAX times some forty, must still fit into the arena. */
#define ROUND_ARENA_BYTES_MAX (32u << 20)

/* Everything of a round while it is put together. */
struct gathering {
    struct controller *controller;
    struct arena arena;
    struct meta_records records;
    const struct image *image; /* a reference: the committed one, then drafts */
    int64_t index;
    struct controller_request *changing; /* wants the voters changed, which is an entry of its own: behind this one */
    struct voter_change change;
};

enum gathered {
    GATHERED,
    GATHER_FULL,   /* its records do not fit into this entry any more; it goes first into the next */
    GATHER_CHANGE, /* it is no matter of records: it is out of `waiting`, and ends the round */
    GATHER_PARTIAL, /* its records are a first part (decision.h); when they are committed it is decided again, before all others */
};

/* Decides one request. */
static enum gathered gather(struct gathering *gathering, struct controller_request *request)
{
    struct controller *controller = gathering->controller;
    size_t first_record = gathering->records.count;
    struct api_call call = {
        .decision = {.image = gathering->image,
                     .defaults = &controller->defaults,
                     .records = &gathering->records,
                     .arena = &gathering->arena},
        .index = gathering->index,
        .rng = controller->env->rng,
    };
    struct quorum_view view;
    struct controller_member members[QUORUM_MEMBERS_MAX];
    if (request->kind == CONTROLLER_ADMIN && controller_api_needs_quorum(request->admin.api_key)) {
        controller_voters_view(controller, members, &view);
        call.quorum = &view;
    }
    bool is_partial = false;
    enum err err = decide(&call, request, &is_partial);
    api_call_done(&call);
    if (err == ERR_OK && call.voter_change.kind != VOTER_CHANGE_NONE) {
        DL_DELETE(controller->waiting, request);
        gathering->changing = request;
        gathering->change = call.voter_change;
        return GATHER_CHANGE;
    }
    if (err != ERR_OK) {
        meta_records_cut(&gathering->records, first_record);
    }
    size_t count = gathering->records.count - first_record;
    size_t bytes = count == 0 ? 0 : meta_packed_bytes(&gathering->records, 0, gathering->records.count, INT64_MAX);
    if (bytes > META_BATCH_BYTES_MAX) {
        meta_records_cut(&gathering->records, first_record);
        if (request->kind == CONTROLLER_ADMIN) {
            shared_bytes_unref(request->admin.response);
            request->admin.response = NULL;
        }
        if (first_record > 0) {
            return GATHER_FULL;
        }
        snprintf(request->message, sizeof(request->message), "The change is too large for one entry (%zu bytes).",
                 bytes);
        err = ERR_LIMIT;
        count = 0;
    }
    if (count > 0) {
        struct image *draft = image_draft(gathering->image, gathering->index, &gathering->records, first_record, count);
        CHECK(draft != NULL); /* a decision upon an image applies to it */
        image_unref(gathering->image);
        gathering->image = draft;
    }
    request->err = err;
    return is_partial && count > 0 ? GATHER_PARTIAL : GATHERED;
}

/* Ends what needed no record, and nothing that was not committed yet. */
static void finish_without_entry(struct controller *controller)
{
    struct controller_request *request, *next;
    DL_FOREACH_SAFE (controller->round.requests, request, next) {
        DL_DELETE(controller->round.requests, request);
        controller_complete(request, request->err, image_offset(controller->image));
    }
}

static void propose(struct gathering *gathering)
{
    struct controller *controller = gathering->controller;
    struct bytebuf bytes;
    uint64_t index = 0;
    bytebuf_init(&bytes, META_BATCH_BYTES_MAX);
    enum err err =
        meta_pack(&gathering->records, 0, gathering->records.count, image_controller_epoch(controller->image), &bytes);
    CHECK(err == ERR_OK);
    err = quorum_propose(controller->quorum, bytebuf_span(&bytes), &index);
    bytebuf_done(&bytes);
    if (err == ERR_OK) {
        CHECK((int64_t)index == gathering->index);
        controller->round.index = index;
        return;
    }
    struct controller_request *request, *next;
    DL_FOREACH_SAFE (controller->round.requests, request, next) {
        DL_DELETE(controller->round.requests, request);
        controller_complete(request, err == ERR_CLOSED ? ERR_CLOSED : ERR_NOT_LEADER, 0);
    }
}

void controller_round_run(struct loop_task *task)
{
    struct controller *controller = CONTAINER_OF(task, struct controller, round_task);
    if (!controller->is_active || controller->is_failed || controller->is_stopping || controller->round.index != 0 ||
        controller->waiting == NULL) {
        return;
    }
    struct quorum_facts facts;
    quorum_get_facts(controller->quorum, &facts);
    struct gathering gathering = {
        .controller = controller,
        .image = image_ref(controller->image),
        .index = (int64_t)facts.last_index + 1,
    };
    arena_init(&gathering.arena, 0);
    meta_records_init(&gathering.records, &gathering.arena);
    for (unsigned i = 0;
         i < ROUND_REQUESTS_MAX && controller->waiting != NULL && gathering.arena.used_bytes < ROUND_ARENA_BYTES_MAX;
         i++) {
        struct controller_request *request = controller->waiting;
        if (gather(&gathering, request) != GATHERED) {
            break;
        }
        DL_DELETE(controller->waiting, request);
        DL_APPEND(controller->round.requests, request);
    }
    if (gathering.records.count > 0) {
        propose(&gathering);
    } else {
        finish_without_entry(controller);
    }
    if (gathering.changing != NULL) {
        controller_voters_change(controller, gathering.changing, &gathering.change);
    }
    image_unref(gathering.image);
    arena_done(&gathering.arena);
    if (controller->round.index == 0 && controller->waiting != NULL) {
        loop_defer(controller->loop, &controller->round_task);
    }
}

void controller_round_committed(struct controller *controller, uint64_t index, bool is_applied)
{
    if (controller->round.index != index) {
        return;
    }
    controller->round.index = 0;
    struct controller_request *request, *next;
    DL_FOREACH_SAFE (controller->round.requests, request, next) {
        DL_DELETE(controller->round.requests, request);
        /* A batch that was refused on its way had been decided by a controller that was not active any more. */
        controller_complete(request, is_applied ? request->err : ERR_NOT_LEADER, (int64_t)index);
    }
    loop_defer(controller->loop, &controller->round_task);
}

void controller_round_abort(struct controller *controller, enum err err)
{
    struct controller_request *request, *next;
    controller->round.index = 0;
    DL_FOREACH_SAFE (controller->round.requests, request, next) {
        DL_DELETE(controller->round.requests, request);
        controller_complete(request, ERR_CLOSED, 0); /* the next leader may still commit it */
    }
    DL_FOREACH_SAFE (controller->waiting, request, next) {
        DL_DELETE(controller->waiting, request);
        controller_complete(request, err, 0);
    }
}

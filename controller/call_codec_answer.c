/* Answers, and the notice of who leads. */
#include "controller/call_codec_private.h"

#include <stdio.h>

/* ---- packing ---- */

static void *take(struct arena *arena, size_t count, size_t item_bytes)
{
    void *memory = arena_array(arena, count + 1, item_bytes);
    CHECK(memory != NULL); /* bounded by controller.h */
    return memory;
}

static void fill_codes(struct arena *arena, const struct controller_request *request, Node__CallAnswer *message)
{
    bool is_isr = request->kind == CONTROLLER_ALTER_ISR;
    uint32_t count = is_isr ? request->alter_isr.change_count : request->auto_create.name_count;
    message->n_codes = count;
    message->codes = (int32_t *)take(arena, count, sizeof(message->codes[0]));
    for (uint32_t i = 0; i < count; i++) {
        message->codes[i] = is_isr ? request->alter_isr.changes[i].code : request->auto_create.ret_error_codes[i];
    }
}

static Node__CallVoterStatus *pack_member(struct arena *arena, const struct controller_member *member)
{
    Node__CallVoterStatus *fields = (Node__CallVoterStatus *)take(arena, 1, sizeof(*fields));
    node__call_voter_status__init(fields);
    fields->raft_id = member->raft_id;
    fields->node_id = member->node_id;
    fields->directory_id =
        (ProtobufCBinaryData){.len = UUID_BYTES, .data = (uint8_t *)(uintptr_t)member->directory_id.bytes};
    fields->address = (char *)(uintptr_t)member->address;
    fields->is_voter = member->is_voter;
    fields->log_end = member->log_end;
    fields->last_fetch_ms = member->last_fetch_ms;
    fields->last_caught_up_ms = member->last_caught_up_ms;
    return fields;
}

static void fill_status(struct arena *arena, const struct controller_status *status, Node__CallAnswer *message)
{
    Node__CallStatusAnswer *fields = (Node__CallStatusAnswer *)take(arena, 1, sizeof(*fields));
    node__call_status_answer__init(fields);
    fields->is_active = status->is_active;
    fields->raft_id = status->raft_id;
    fields->term = status->term;
    fields->leader_raft_id = status->leader_raft_id;
    fields->controller_id = status->controller_id;
    fields->controller_epoch = status->controller_epoch;
    fields->first_index = status->first_index;
    fields->last_index = status->last_index;
    fields->commit_index = status->commit_index;
    fields->applied_index = status->applied_index;
    fields->snapshot_index = status->snapshot_index;
    fields->log_bytes = status->log_bytes;
    fields->voter_count = status->voter_count;
    fields->hash = (ProtobufCBinaryData){.len = IMAGE_HASH_BYTES, .data = (uint8_t *)(uintptr_t)status->hash};
    fields->n_voters = status->ret_members == NULL ? 0 : status->member_count;
    fields->voters = (Node__CallVoterStatus **)take(arena, fields->n_voters, sizeof(fields->voters[0]));
    for (size_t i = 0; i < fields->n_voters; i++) {
        fields->voters[i] = pack_member(arena, &status->ret_members[i]);
    }
    message->status = fields;
}

static void fill_results(struct arena *arena, const struct controller_request *request, Node__CallAnswer *message)
{
    switch (request->kind) {
    case CONTROLLER_ADMIN:
        return; /* the body */
    case CONTROLLER_AUTO_CREATE:
    case CONTROLLER_ALTER_ISR:
        fill_codes(arena, request, message);
        return;
    case CONTROLLER_REGISTER:
        message->broker_epoch = request->registration.broker_epoch;
        return;
    case CONTROLLER_HEARTBEAT:
        message->is_fenced = request->heartbeat.is_fenced;
        message->may_shut_down = request->heartbeat.may_shut_down;
        return;
    case CONTROLLER_PRODUCER_IDS:
        message->first_producer_id = request->producer_ids.first_producer_id;
        message->producer_id_count = request->producer_ids.count;
        return;
    case CONTROLLER_STATUS:
        fill_status(arena, &request->status, message);
        return;
    case CONTROLLER_FENCE:
    case CONTROLLER_PREFERRED_LEADERS:
        break; /* never from elsewhere */
    }
    UNREACHABLE();
}

enum err call_codec_pack_answer(const struct controller_request *request, uint64_t id, struct bytebuf *header)
{
    struct arena arena;
    arena_init(&arena, 0);
    Node__CallAnswer message = NODE__CALL_ANSWER__INIT;
    message.id = id;
    message.err = (uint32_t)request->err;
    message.metadata_offset = request->metadata_offset;
    message.term = request->term;
    message.message = (char *)(uintptr_t)request->message;
    message.leader_node_id = request->hint.node_id;
    message.leader_address = (char *)(uintptr_t)request->hint.address;
    if (request->err == ERR_OK) {
        fill_results(&arena, request, &message);
    }
    enum err err = call_codec_pack_message(&message.base, CALL_HEADER_BYTES_MAX, header);
    arena_done(&arena);
    return err;
}

enum err call_codec_pack_leader(const struct controller_view *view, struct bytebuf *header)
{
    Node__CallLeader message = NODE__CALL_LEADER__INIT;
    message.is_active = view->is_active;
    message.term = view->term;
    message.leader_node_id = view->leader.node_id;
    message.leader_address = (char *)(uintptr_t)view->leader.address;
    message.cluster_id = (char *)(uintptr_t)view->cluster_id;
    return call_codec_pack_message(&message.base, CALL_HEADER_BYTES_MAX, header);
}

/* ---- unpacking ---- */

static void read_hint(int32_t node_id, const char *address, struct controller_hint *ret_hint)
{
    bool is_known = node_id >= 0 && strlen(address) < sizeof(ret_hint->address);
    ret_hint->node_id = is_known ? node_id : -1;
    (void)snprintf(ret_hint->address, sizeof(ret_hint->address), "%s", is_known ? address : "");
}

static bool read_codes(const Node__CallAnswer *message, struct controller_request *request)
{
    bool is_isr = request->kind == CONTROLLER_ALTER_ISR;
    uint32_t count = is_isr ? request->alter_isr.change_count : request->auto_create.name_count;
    if (message->n_codes != count) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        int32_t code = message->codes[i];
        if (code < INT16_MIN || code > INT16_MAX) {
            return false;
        }
        if (is_isr) {
            request->alter_isr.changes[i].code = (int16_t)code;
        } else {
            request->auto_create.ret_error_codes[i] = (int16_t)code;
        }
    }
    return true;
}

static bool read_members(const Node__CallStatusAnswer *fields, struct controller_status *status)
{
    status->member_count = 0;
    if (fields->n_voters > CONTROLLER_VOTERS_MAX) {
        return false;
    }
    for (size_t i = 0; i < fields->n_voters && status->ret_members != NULL; i++) {
        const Node__CallVoterStatus *voter = fields->voters[i];
        struct controller_member member = {
            .raft_id = voter->raft_id,
            .node_id = voter->node_id,
            .is_voter = voter->is_voter != 0,
            .log_end = voter->log_end,
            .last_fetch_ms = voter->last_fetch_ms,
            .last_caught_up_ms = voter->last_caught_up_ms,
        };
        if (!call_codec_take_uuid(voter->directory_id, &member.directory_id) ||
            strlen(voter->address) >= sizeof(member.address)) {
            return false;
        }
        (void)snprintf(member.address, sizeof(member.address), "%s", voter->address);
        status->ret_members[status->member_count++] = member;
    }
    return true;
}

static bool read_status(const Node__CallStatusAnswer *fields, struct controller_status *status)
{
    if (fields == NULL || fields->hash.len != IMAGE_HASH_BYTES || !read_members(fields, status)) {
        return false;
    }
    status->is_active = fields->is_active != 0;
    status->raft_id = fields->raft_id;
    status->term = fields->term;
    status->leader_raft_id = fields->leader_raft_id;
    status->controller_id = fields->controller_id;
    status->controller_epoch = fields->controller_epoch;
    status->first_index = fields->first_index;
    status->last_index = fields->last_index;
    status->commit_index = fields->commit_index;
    status->applied_index = fields->applied_index;
    status->snapshot_index = fields->snapshot_index;
    status->log_bytes = fields->log_bytes;
    status->voter_count = fields->voter_count;
    memcpy(status->hash, fields->hash.data, IMAGE_HASH_BYTES);
    return true;
}

static bool read_response(struct span body, struct controller_admin *admin)
{
    admin->response = shared_bytes_new(body.bytes);
    if (body.bytes > 0) {
        memcpy(admin->response->data, body.data, body.bytes);
    }
    return true;
}

static bool read_results(const Node__CallAnswer *message, struct span body, struct controller_request *request)
{
    switch (request->kind) {
    case CONTROLLER_ADMIN:
        return read_response(body, &request->admin);
    case CONTROLLER_AUTO_CREATE:
    case CONTROLLER_ALTER_ISR:
        return read_codes(message, request);
    case CONTROLLER_REGISTER:
        request->registration.broker_epoch = message->broker_epoch;
        return message->broker_epoch > 0;
    case CONTROLLER_HEARTBEAT:
        request->heartbeat.is_fenced = message->is_fenced != 0;
        request->heartbeat.may_shut_down = message->may_shut_down != 0;
        return true;
    case CONTROLLER_PRODUCER_IDS:
        request->producer_ids.first_producer_id = message->first_producer_id;
        request->producer_ids.count = message->producer_id_count;
        return message->first_producer_id >= 0 && message->producer_id_count > 0;
    case CONTROLLER_STATUS:
        return read_status(message->status, &request->status);
    case CONTROLLER_FENCE:
    case CONTROLLER_PREFERRED_LEADERS:
        break; /* never sent */
    }
    UNREACHABLE();
}

static const Node__CallAnswer *unpack_answer(const struct rpc_frame *frame, struct arena *arena)
{
    if (frame->header.bytes > CALL_HEADER_BYTES_MAX) {
        return NULL;
    }
    arena_init(arena, CALL_UNPACK_BYTES_MAX);
    return (const Node__CallAnswer *)call_codec_unpack_message(&node__call_answer__descriptor, frame->header, arena);
}

enum err call_codec_answer_id(const struct rpc_frame *frame, uint64_t *ret_id)
{
    struct arena arena = {0};
    const Node__CallAnswer *message = unpack_answer(frame, &arena);
    enum err err = message == NULL ? ERR_MALFORMED : ERR_OK;
    if (err == ERR_OK) {
        *ret_id = message->id;
    }
    arena_done(&arena);
    return err;
}

enum err call_codec_unpack_answer(const struct rpc_frame *frame, struct controller_request *request)
{
    struct arena arena = {0};
    const Node__CallAnswer *message = unpack_answer(frame, &arena);
    enum err err = ERR_OK;
    if (message == NULL || message->err >= ERR_COUNT ||
        (message->err == ERR_OK && !read_results(message, frame->body, request))) {
        err = ERR_MALFORMED;
    } else {
        request->err = (enum err)message->err;
        request->metadata_offset = message->metadata_offset;
        request->term = message->term;
        (void)snprintf(request->message, sizeof(request->message), "%s", message->message);
        read_hint(message->leader_node_id, message->leader_address, &request->hint);
    }
    arena_done(&arena);
    return err;
}

enum err call_codec_unpack_leader(const struct rpc_frame *frame, struct controller_view *ret_view)
{
    struct arena arena;
    arena_init(&arena, CALL_UNPACK_BYTES_MAX);
    const Node__CallLeader *message = NULL;
    if (frame->header.bytes <= CALL_HEADER_BYTES_MAX) {
        message =
            (const Node__CallLeader *)call_codec_unpack_message(&node__call_leader__descriptor, frame->header, &arena);
    }
    message = message != NULL && strlen(message->cluster_id) >= sizeof(ret_view->cluster_id) ? NULL : message;
    if (message != NULL) {
        *ret_view = (struct controller_view){.is_active = message->is_active != 0, .term = message->term};
        (void)snprintf(ret_view->cluster_id, sizeof(ret_view->cluster_id), "%s", message->cluster_id);
        read_hint(message->leader_node_id, message->leader_address, &ret_view->leader);
    }
    arena_done(&arena);
    return message == NULL ? ERR_MALFORMED : ERR_OK;
}

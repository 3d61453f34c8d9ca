/* Requests. Every field is looked at before it is used: what a peer says may be anything. */
#include "controller/call_codec.h"

#include "controller/call_codec_private.h"

/* ---- packing ---- */

static ProtobufCBinaryData binary(struct span span)
{
    return (ProtobufCBinaryData){.len = span.bytes, .data = (uint8_t *)(uintptr_t)span.data};
}

static ProtobufCBinaryData binary_uuid(const struct uuid *uuid)
{
    return binary(span_make(uuid->bytes, UUID_BYTES));
}

static void *take(struct arena *arena, size_t count, size_t item_bytes)
{
    void *memory = arena_array(arena, count + 1, item_bytes);
    CHECK(memory != NULL); /* our own request, within the limits of controller.h */
    return memory;
}

enum err call_codec_pack_message(const ProtobufCMessage *message, size_t bytes_max, struct bytebuf *buf)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *room = NULL;
    if (bytes > bytes_max) {
        return ERR_LIMIT;
    }
    enum err err = bytebuf_reserve(buf, bytes, &room);
    if (err == ERR_OK) {
        bytebuf_added(buf, protobuf_c_message_pack(message, room));
    }
    return err;
}

static void fill_admin(struct arena *arena, const struct controller_admin *admin, Node__CallRequest *message)
{
    Node__CallAdmin *fields = (Node__CallAdmin *)take(arena, 1, sizeof(*fields));
    node__call_admin__init(fields);
    fields->api_key = admin->api_key;
    fields->api_version = admin->api_version;
    fields->principal = binary(admin->principal);
    fields->client_id = binary(admin->client_id);
    fields->host = binary(admin->host);
    fields->listener_name = binary(admin->listener_name);
    fields->is_client_id_null = span_is_null(admin->client_id);
    message->request_case = NODE__CALL_REQUEST__REQUEST_ADMIN;
    message->admin = fields;
}

static void fill_auto_create(struct arena *arena, const struct controller_auto_create *create,
                             Node__CallRequest *message)
{
    Node__CallAutoCreate *fields = (Node__CallAutoCreate *)take(arena, 1, sizeof(*fields));
    node__call_auto_create__init(fields);
    fields->n_names = create->name_count;
    fields->names = (ProtobufCBinaryData *)take(arena, create->name_count, sizeof(fields->names[0]));
    for (uint32_t i = 0; i < create->name_count; i++) {
        fields->names[i] = binary(create->names[i]);
    }
    fields->is_internal = create->is_internal;
    message->request_case = NODE__CALL_REQUEST__REQUEST_AUTO_CREATE;
    message->auto_create = fields;
}

static char *text_copy(struct arena *arena, struct span text)
{
    struct span copy = arena_copy(arena, text);
    CHECK(copy.data != NULL);
    return (char *)(uintptr_t)copy.data;
}

static void fill_register(struct arena *arena, const struct controller_registration *registration,
                          Node__CallRequest *message)
{
    Node__CallRegister *fields = (Node__CallRegister *)take(arena, 1, sizeof(*fields));
    node__call_register__init(fields);
    fields->broker_id = registration->broker_id;
    fields->incarnation_id = binary_uuid(&registration->incarnation_id);
    fields->previous_epoch = registration->previous_epoch;
    fields->level_min = registration->level_min;
    fields->level_max = registration->level_max;
    fields->boot_id = binary(registration->boot_id);
    fields->rack = binary(registration->rack);
    fields->has_rack = !span_is_null(registration->rack);
    fields->n_endpoints = registration->endpoint_count;
    fields->endpoints = (Node__CallEndpoint **)take(arena, registration->endpoint_count, sizeof(fields->endpoints[0]));
    for (uint32_t i = 0; i < registration->endpoint_count; i++) {
        Node__CallEndpoint *endpoint = (Node__CallEndpoint *)take(arena, 1, sizeof(*endpoint));
        node__call_endpoint__init(endpoint);
        endpoint->listener_name = text_copy(arena, registration->endpoints[i].listener_name);
        endpoint->host = text_copy(arena, registration->endpoints[i].host);
        endpoint->port = registration->endpoints[i].port;
        endpoint->security = (uint32_t)registration->endpoints[i].security;
        fields->endpoints[i] = endpoint;
    }
    fields->n_directories = registration->directory_count;
    fields->directories =
        (ProtobufCBinaryData *)take(arena, registration->directory_count, sizeof(fields->directories[0]));
    for (uint32_t i = 0; i < registration->directory_count; i++) {
        fields->directories[i] = binary_uuid(&registration->directories[i]);
    }
    message->request_case = NODE__CALL_REQUEST__REQUEST_REGISTER_BROKER;
    message->register_broker = fields;
}

static void fill_heartbeat(struct arena *arena, const struct controller_heartbeat *heartbeat,
                           Node__CallRequest *message)
{
    Node__CallHeartbeat *fields = (Node__CallHeartbeat *)take(arena, 1, sizeof(*fields));
    node__call_heartbeat__init(fields);
    fields->broker_id = heartbeat->broker_id;
    fields->broker_epoch = heartbeat->broker_epoch;
    fields->applied_offset = heartbeat->applied_offset;
    fields->wants_fence = heartbeat->wants_fence;
    fields->wants_shut_down = heartbeat->wants_shut_down;
    message->request_case = NODE__CALL_REQUEST__REQUEST_HEARTBEAT;
    message->heartbeat = fields;
}

static void fill_producer_ids(struct arena *arena, const struct controller_producer_ids *ids,
                              Node__CallRequest *message)
{
    Node__CallProducerIds *fields = (Node__CallProducerIds *)take(arena, 1, sizeof(*fields));
    node__call_producer_ids__init(fields);
    fields->broker_id = ids->broker_id;
    fields->broker_epoch = ids->broker_epoch;
    message->request_case = NODE__CALL_REQUEST__REQUEST_PRODUCER_IDS;
    message->producer_ids = fields;
}

static Node__CallIsrChange *pack_isr_change(struct arena *arena, const struct controller_isr_change *change)
{
    Node__CallIsrChange *fields = (Node__CallIsrChange *)take(arena, 1, sizeof(*fields));
    node__call_isr_change__init(fields);
    fields->topic_id = binary_uuid(&change->topic_id);
    fields->partition = (uint32_t)change->partition_index;
    fields->leader_epoch = change->leader_epoch;
    fields->partition_epoch = change->partition_epoch;
    fields->is_recovered = change->is_recovered;
    fields->n_isr = change->isr_count;
    fields->isr = (Node__CallIsrMember **)take(arena, change->isr_count, sizeof(fields->isr[0]));
    Node__CallIsrMember *members = (Node__CallIsrMember *)take(arena, change->isr_count, sizeof(members[0]));
    for (uint32_t i = 0; i < change->isr_count; i++) {
        node__call_isr_member__init(&members[i]);
        members[i].broker_id = change->isr[i].broker_id;
        members[i].broker_epoch = change->isr[i].broker_epoch;
        fields->isr[i] = &members[i];
    }
    return fields;
}

static enum err pack_alter_isr(struct arena *arena, const struct controller_alter_isr *alter,
                               Node__CallRequest *message, struct bytebuf *body)
{
    Node__CallAlterIsr *fields = (Node__CallAlterIsr *)take(arena, 1, sizeof(*fields));
    node__call_alter_isr__init(fields);
    fields->broker_id = alter->broker_id;
    fields->broker_epoch = alter->broker_epoch;
    message->request_case = NODE__CALL_REQUEST__REQUEST_ALTER_ISR;
    message->alter_isr = fields;
    Node__CallIsrChanges changes = NODE__CALL_ISR_CHANGES__INIT;
    changes.n_changes = alter->change_count;
    changes.changes = (Node__CallIsrChange **)take(arena, alter->change_count, sizeof(changes.changes[0]));
    for (uint32_t i = 0; i < alter->change_count; i++) {
        changes.changes[i] = pack_isr_change(arena, &alter->changes[i]);
    }
    return call_codec_pack_message(&changes.base, CALL_BODY_BYTES_MAX, body);
}

static enum err fill_request(struct arena *arena, const struct controller_request *request, Node__CallRequest *message,
                             struct bytebuf *body)
{
    switch (request->kind) {
    case CONTROLLER_ADMIN:
        fill_admin(arena, &request->admin, message);
        return request->admin.body.bytes > CALL_BODY_BYTES_MAX ? ERR_LIMIT : ERR_OK;
    case CONTROLLER_AUTO_CREATE:
        fill_auto_create(arena, &request->auto_create, message);
        return ERR_OK;
    case CONTROLLER_REGISTER:
        fill_register(arena, &request->registration, message);
        return ERR_OK;
    case CONTROLLER_HEARTBEAT:
        fill_heartbeat(arena, &request->heartbeat, message);
        return ERR_OK;
    case CONTROLLER_PRODUCER_IDS:
        fill_producer_ids(arena, &request->producer_ids, message);
        return ERR_OK;
    case CONTROLLER_STATUS:
        message->status = (Node__CallStatus *)take(arena, 1, sizeof(*message->status));
        node__call_status__init(message->status);
        message->request_case = NODE__CALL_REQUEST__REQUEST_STATUS;
        return ERR_OK;
    case CONTROLLER_ALTER_ISR:
        return pack_alter_isr(arena, &request->alter_isr, message, body);
    case CONTROLLER_FENCE:
    case CONTROLLER_PREFERRED_LEADERS:
        break; /* never from elsewhere */
    }
    UNREACHABLE();
}

enum err call_codec_pack_request(const struct controller_request *request, uint64_t id, uint64_t timeout_us,
                                 struct bytebuf *header, struct bytebuf *body)
{
    struct arena arena;
    arena_init(&arena, 0);
    Node__CallRequest message = NODE__CALL_REQUEST__INIT;
    message.id = id;
    message.timeout_us = timeout_us;
    message.term = request->for_term;
    enum err err = fill_request(&arena, request, &message, body);
    if (err == ERR_OK) {
        err = call_codec_pack_message(&message.base, CALL_HEADER_BYTES_MAX, header);
    }
    arena_done(&arena);
    return err;
}

/* ---- unpacking ---- */

static void *unpack_alloc(void *arena, size_t bytes)
{
    return arena_alloc((struct arena *)arena, bytes);
}

static void unpack_free(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

ProtobufCMessage *call_codec_unpack_message(const ProtobufCMessageDescriptor *descriptor, struct span bytes,
                                            struct arena *arena)
{
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, arena};
    return protobuf_c_message_unpack(descriptor, &allocator, bytes.bytes, bytes.data);
}

static struct span span_of(ProtobufCBinaryData data)
{
    return span_make(data.data == NULL ? (const uint8_t *)"" : data.data, data.len);
}

bool call_codec_take_uuid(ProtobufCBinaryData data, struct uuid *ret_uuid)
{
    if (data.len != UUID_BYTES) {
        return false;
    }
    memcpy(ret_uuid->bytes, data.data, UUID_BYTES);
    return true;
}

static enum err read_admin(const Node__CallAdmin *fields, const struct rpc_frame *frame,
                           struct controller_admin *ret_admin)
{
    if (fields->api_key < 0 || fields->api_key > INT16_MAX || fields->api_version < 0 ||
        fields->api_version > INT16_MAX || fields->principal.len > CALL_TEXT_BYTES_MAX ||
        fields->client_id.len > INT16_MAX || fields->host.len > CALL_TEXT_BYTES_MAX ||
        fields->listener_name.len > CALL_TEXT_BYTES_MAX) {
        return ERR_MALFORMED;
    }
    *ret_admin = (struct controller_admin){
        .api_key = (int16_t)fields->api_key,
        .api_version = (int16_t)fields->api_version,
        .frame = frame->buffer,
        .body = frame->body,
        .principal = span_of(fields->principal),
        .client_id = fields->is_client_id_null ? SPAN_NULL : span_of(fields->client_id),
        .host = span_of(fields->host),
        .listener_name = span_of(fields->listener_name),
    };
    return ERR_OK;
}

static enum err read_auto_create(const Node__CallAutoCreate *fields, struct arena *arena,
                                 struct controller_auto_create *ret_create)
{
    if (fields->n_names == 0 || fields->n_names > CONTROLLER_AUTO_CREATE_TOPICS_MAX) {
        return ERR_MALFORMED;
    }
    struct span *names = (struct span *)arena_array(arena, fields->n_names, sizeof(names[0]));
    int16_t *codes = (int16_t *)arena_array(arena, fields->n_names, sizeof(codes[0]));
    if (names == NULL || codes == NULL) {
        return ERR_LIMIT;
    }
    for (size_t i = 0; i < fields->n_names; i++) {
        names[i] = span_of(fields->names[i]);
    }
    *ret_create = (struct controller_auto_create){.names = names,
                                                  .name_count = (uint32_t)fields->n_names,
                                                  .is_internal = fields->is_internal != 0,
                                                  .ret_error_codes = codes};
    return ERR_OK;
}

static bool read_endpoint(const Node__CallEndpoint *fields, struct image_endpoint *ret_endpoint)
{
    *ret_endpoint = (struct image_endpoint){.listener_name = span_text(fields->listener_name),
                                            .host = span_text(fields->host),
                                            .port = (uint16_t)fields->port,
                                            .security = (enum image_security)fields->security};
    return ret_endpoint->listener_name.bytes > 0 && ret_endpoint->listener_name.bytes <= CALL_TEXT_BYTES_MAX &&
           ret_endpoint->host.bytes <= CALL_TEXT_BYTES_MAX && fields->port <= UINT16_MAX &&
           fields->security <= IMAGE_SASL_SSL;
}

static enum err read_register(const Node__CallRegister *fields, struct arena *arena,
                              struct controller_registration *ret_registration)
{
    *ret_registration = (struct controller_registration){
        .broker_id = fields->broker_id,
        .previous_epoch = fields->previous_epoch,
        .level_min = fields->level_min,
        .level_max = fields->level_max,
        .boot_id = span_of(fields->boot_id),
        .rack = fields->has_rack ? span_of(fields->rack) : SPAN_NULL,
        .endpoint_count = (uint32_t)fields->n_endpoints,
        .directory_count = (uint32_t)fields->n_directories,
    };
    if (fields->n_endpoints > IMAGE_ENDPOINTS_MAX || fields->n_directories > IMAGE_DIRECTORIES_MAX ||
        fields->boot_id.len > CALL_TEXT_BYTES_MAX || fields->rack.len > CALL_TEXT_BYTES_MAX ||
        !call_codec_take_uuid(fields->incarnation_id, &ret_registration->incarnation_id)) {
        return ERR_MALFORMED;
    }
    struct image_endpoint *endpoints =
        (struct image_endpoint *)arena_array(arena, fields->n_endpoints + 1, sizeof(endpoints[0]));
    struct uuid *directories = (struct uuid *)arena_array(arena, fields->n_directories + 1, sizeof(directories[0]));
    if (endpoints == NULL || directories == NULL) {
        return ERR_LIMIT;
    }
    for (size_t i = 0; i < fields->n_endpoints; i++) {
        if (!read_endpoint(fields->endpoints[i], &endpoints[i])) {
            return ERR_MALFORMED;
        }
    }
    for (size_t i = 0; i < fields->n_directories; i++) {
        if (!call_codec_take_uuid(fields->directories[i], &directories[i])) {
            return ERR_MALFORMED;
        }
    }
    ret_registration->endpoints = endpoints;
    ret_registration->directories = directories;
    return ERR_OK;
}

static enum err read_isr_change(const Node__CallIsrChange *fields, struct arena *arena,
                                struct controller_isr_change *ret_change)
{
    if (fields->partition >= IMAGE_PARTITIONS_PER_TOPIC_MAX || fields->n_isr > IMAGE_REPLICAS_MAX ||
        !call_codec_take_uuid(fields->topic_id, &ret_change->topic_id)) {
        return ERR_MALFORMED;
    }
    struct controller_isr_member *isr =
        (struct controller_isr_member *)arena_array(arena, fields->n_isr + 1, sizeof(isr[0]));
    if (isr == NULL) {
        return ERR_LIMIT;
    }
    for (size_t i = 0; i < fields->n_isr; i++) {
        isr[i] = (struct controller_isr_member){fields->isr[i]->broker_id, fields->isr[i]->broker_epoch};
    }
    ret_change->partition_index = (int32_t)fields->partition;
    ret_change->leader_epoch = fields->leader_epoch;
    ret_change->partition_epoch = fields->partition_epoch;
    ret_change->is_recovered = fields->is_recovered != 0;
    ret_change->isr_count = (uint32_t)fields->n_isr;
    ret_change->isr = isr;
    return ERR_OK;
}

static enum err read_alter_isr(const Node__CallAlterIsr *fields, struct span body, struct arena *arena,
                               struct controller_alter_isr *ret_alter)
{
    const Node__CallIsrChanges *message =
        (const Node__CallIsrChanges *)call_codec_unpack_message(&node__call_isr_changes__descriptor, body, arena);
    if (message == NULL || message->n_changes > CONTROLLER_ISR_CHANGES_MAX) {
        return ERR_MALFORMED;
    }
    struct controller_isr_change *changes =
        (struct controller_isr_change *)arena_array(arena, message->n_changes + 1, sizeof(changes[0]));
    enum err err = changes == NULL ? ERR_LIMIT : ERR_OK;
    for (size_t i = 0; i < message->n_changes && err == ERR_OK; i++) {
        err = read_isr_change(message->changes[i], arena, &changes[i]);
    }
    *ret_alter = (struct controller_alter_isr){.broker_id = fields->broker_id,
                                               .broker_epoch = fields->broker_epoch,
                                               .changes = changes,
                                               .change_count = (uint32_t)message->n_changes};
    return err;
}

static enum err read_status(struct arena *arena, struct controller_status *ret_status)
{
    *ret_status = (struct controller_status){.ret_members = (struct controller_member *)arena_array(
                                                 arena, CONTROLLER_VOTERS_MAX, sizeof(struct controller_member))};
    return ret_status->ret_members == NULL ? ERR_LIMIT : ERR_OK;
}

static enum err read_request(const Node__CallRequest *message, const struct rpc_frame *frame, struct arena *arena,
                             struct controller_request *request)
{
    switch (message->request_case) {
    case NODE__CALL_REQUEST__REQUEST_ADMIN:
        request->kind = CONTROLLER_ADMIN;
        return read_admin(message->admin, frame, &request->admin);
    case NODE__CALL_REQUEST__REQUEST_AUTO_CREATE:
        request->kind = CONTROLLER_AUTO_CREATE;
        return read_auto_create(message->auto_create, arena, &request->auto_create);
    case NODE__CALL_REQUEST__REQUEST_REGISTER_BROKER:
        request->kind = CONTROLLER_REGISTER;
        return read_register(message->register_broker, arena, &request->registration);
    case NODE__CALL_REQUEST__REQUEST_HEARTBEAT:
        request->kind = CONTROLLER_HEARTBEAT;
        request->heartbeat = (struct controller_heartbeat){.broker_id = message->heartbeat->broker_id,
                                                           .broker_epoch = message->heartbeat->broker_epoch,
                                                           .applied_offset = message->heartbeat->applied_offset,
                                                           .wants_fence = message->heartbeat->wants_fence != 0,
                                                           .wants_shut_down = message->heartbeat->wants_shut_down != 0};
        return ERR_OK;
    case NODE__CALL_REQUEST__REQUEST_PRODUCER_IDS:
        request->kind = CONTROLLER_PRODUCER_IDS;
        request->producer_ids = (struct controller_producer_ids){.broker_id = message->producer_ids->broker_id,
                                                                 .broker_epoch = message->producer_ids->broker_epoch};
        return ERR_OK;
    case NODE__CALL_REQUEST__REQUEST_ALTER_ISR:
        request->kind = CONTROLLER_ALTER_ISR;
        return read_alter_isr(message->alter_isr, frame->body, arena, &request->alter_isr);
    case NODE__CALL_REQUEST__REQUEST_STATUS:
        request->kind = CONTROLLER_STATUS;
        return read_status(arena, &request->status);
    case NODE__CALL_REQUEST__REQUEST__NOT_SET:
    case _NODE__CALL_REQUEST__REQUEST__CASE_IS_INT_SIZE:
        break;
    }
    return ERR_UNSUPPORTED; /* also a request that only a later version knows */
}

enum err call_codec_unpack_request(const struct rpc_frame *frame, struct arena *arena, uint64_t *ret_id,
                                   struct controller_request *ret_request)
{
    if (frame->header.bytes > CALL_HEADER_BYTES_MAX || frame->body.bytes > CALL_BODY_BYTES_MAX) {
        return ERR_LIMIT;
    }
    const Node__CallRequest *message =
        (const Node__CallRequest *)call_codec_unpack_message(&node__call_request__descriptor, frame->header, arena);
    if (message == NULL) {
        return ERR_MALFORMED;
    }
    struct controller_request request = {.timeout_us = message->timeout_us, .for_term = message->term};
    enum err err = read_request(message, frame, arena, &request);
    if (err == ERR_UNSUPPORTED) {
        *ret_id = message->id; /* who asked can be told */
    }
    if (err != ERR_OK) {
        return err;
    }
    *ret_id = message->id;
    *ret_request = request;
    return ERR_OK;
}

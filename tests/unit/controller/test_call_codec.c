/* Requests and answers over CALL links: what goes in comes out, and what makes no sense is refused, whatever it is. */
#include "call.pb-c.h"
#include "common/mem.h"
#include "controller/call_codec.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct wire {
    struct bytebuf header;
    struct bytebuf body;
    struct arena arena;
    struct rpc_frame frame;
};

static void wire_init(struct wire *wire)
{
    bytebuf_init(&wire->header, CALL_HEADER_BYTES_MAX);
    bytebuf_init(&wire->body, CALL_BODY_BYTES_MAX);
    arena_init(&wire->arena, CALL_UNPACK_BYTES_MAX);
}

static void wire_done(struct wire *wire)
{
    bytebuf_done(&wire->header);
    bytebuf_done(&wire->body);
    arena_done(&wire->arena);
}

/* Packs, unpacks; the result lives as long as the wire. */
static struct controller_request carry(struct wire *wire, const struct controller_request *request)
{
    struct controller_request result = {0};
    uint64_t id = 0;
    assert_int_equal(call_codec_pack_request(request, 77, 1234567, &wire->header, &wire->body), ERR_OK);
    wire->frame =
        (struct rpc_frame){.type = CALL_FRAME_REQUEST,
                           .header = bytebuf_span(&wire->header),
                           .body = request->kind == CONTROLLER_ADMIN ? request->admin.body : bytebuf_span(&wire->body)};
    assert_int_equal(call_codec_unpack_request(&wire->frame, &wire->arena, &id, &result), ERR_OK);
    assert_int_equal(id, 77);
    assert_int_equal(result.kind, request->kind);
    assert_int_equal(result.timeout_us, 1234567);
    return result;
}

/* An answer's way back into the request that was sent. */
static void answer(const struct controller_request *served, struct controller_request *sent)
{
    struct bytebuf header;
    uint64_t id = 0;
    bytebuf_init(&header, CALL_HEADER_BYTES_MAX);
    assert_int_equal(call_codec_pack_answer(served, 9000, &header), ERR_OK);
    struct rpc_frame frame = {.type = CALL_FRAME_ANSWER, .header = bytebuf_span(&header)};
    assert_int_equal(call_codec_answer_id(&frame, &id), ERR_OK);
    assert_int_equal(id, 9000);
    assert_int_equal(call_codec_unpack_answer(&frame, sent), ERR_OK);
    bytebuf_done(&header);
}

static const struct image_endpoint endpoints[2] = {
    {{(const uint8_t *)"PLAINTEXT", 9}, {(const uint8_t *)"127.0.0.1", 9}, 9092, IMAGE_PLAINTEXT},
    {{(const uint8_t *)"INTERNAL", 8}, {(const uint8_t *)"::1", 3}, 65535, IMAGE_PLAINTEXT},
};
static const struct uuid directories[3] = {{{1}}, {{2}}, {{3}}};

static struct controller_request a_registration(void)
{
    return (struct controller_request){.kind = CONTROLLER_REGISTER,
                                       .registration = {.broker_id = 3,
                                                        .incarnation_id = {{7, 7}},
                                                        .previous_epoch = -1,
                                                        .boot_id = span_text("boot"),
                                                        .rack = span_text(""),
                                                        .endpoints = endpoints,
                                                        .endpoint_count = 2,
                                                        .directories = directories,
                                                        .directory_count = 3}};
}

static void test_registration(void **state)
{
    (void)state;
    struct wire wire;
    wire_init(&wire);
    struct controller_request sent = a_registration();
    sent.for_term = UINT64_MAX;
    struct controller_request served = carry(&wire, &sent);
    assert_true(served.for_term == UINT64_MAX);
    assert_int_equal(served.registration.broker_id, 3);
    assert_int_equal(served.registration.previous_epoch, -1);
    assert_true(uuid_equal(served.registration.incarnation_id, sent.registration.incarnation_id));
    assert_true(span_equal_text(served.registration.boot_id, "boot"));
    assert_false(span_is_null(served.registration.rack));
    assert_int_equal(served.registration.endpoint_count, 2);
    assert_true(span_equal_text(served.registration.endpoints[1].listener_name, "INTERNAL"));
    assert_true(span_equal_text(served.registration.endpoints[1].host, "::1"));
    assert_int_equal(served.registration.endpoints[1].port, 65535);
    assert_int_equal(served.registration.directory_count, 3);
    assert_true(uuid_equal(served.registration.directories[2], directories[2]));
    served.registration.broker_epoch = 42;
    served.metadata_offset = 43;
    served.term = 44;
    answer(&served, &sent);
    assert_int_equal(sent.term, 44);
    assert_int_equal(sent.registration.broker_epoch, 42);
    assert_int_equal(sent.metadata_offset, 43);
    assert_int_equal(sent.err, ERR_OK);
    wire_done(&wire);
    wire_init(&wire);
    sent.registration.rack = SPAN_NULL;
    served = carry(&wire, &sent);
    assert_true(span_is_null(served.registration.rack));
    wire_done(&wire);
}

static void test_alter_isr_of_ten_thousand(void **state)
{
    (void)state;
    struct wire wire;
    wire_init(&wire);
    struct controller_isr_member isr[3] = {{1, 100}, {2, INT64_MAX}, {3, 300}};
    struct controller_isr_change *changes =
        (struct controller_isr_change *)mem_array(CONTROLLER_ISR_CHANGES_MAX, sizeof(changes[0]));
    for (int32_t i = 0; i < CONTROLLER_ISR_CHANGES_MAX; i++) {
        changes[i] = (struct controller_isr_change){.topic_id = {{1, 2, 3}},
                                                    .partition_index = i,
                                                    .leader_epoch = i + 1,
                                                    .partition_epoch = i + 2,
                                                    .is_recovered = i % 2 == 0,
                                                    .isr_count = 3,
                                                    .isr = isr};
    }
    struct controller_request sent = {
        .kind = CONTROLLER_ALTER_ISR,
        .alter_isr = {
            .broker_id = 1, .broker_epoch = 100, .changes = changes, .change_count = CONTROLLER_ISR_CHANGES_MAX}};
    struct controller_request served = carry(&wire, &sent);
    assert_int_equal(served.alter_isr.change_count, CONTROLLER_ISR_CHANGES_MAX);
    assert_int_equal(served.alter_isr.broker_epoch, 100);
    const struct controller_isr_change *last = &served.alter_isr.changes[CONTROLLER_ISR_CHANGES_MAX - 1];
    assert_int_equal(last->partition_index, CONTROLLER_ISR_CHANGES_MAX - 1);
    assert_int_equal(last->leader_epoch, CONTROLLER_ISR_CHANGES_MAX);
    assert_int_equal(last->partition_epoch, CONTROLLER_ISR_CHANGES_MAX + 1);
    assert_false(last->is_recovered);
    assert_int_equal(last->isr_count, 3);
    assert_int_equal(last->isr[1].broker_epoch, INT64_MAX);
    served.alter_isr.changes[5].code = 97;
    served.alter_isr.changes[6].code = -1;
    answer(&served, &sent);
    assert_int_equal(changes[5].code, 97);
    assert_int_equal(changes[6].code, -1);
    assert_int_equal(changes[7].code, 0);
    mem_free(changes);
    wire_done(&wire);
}

static void test_small_kinds(void **state)
{
    (void)state;
    struct wire wire;
    wire_init(&wire);
    struct controller_request sent = {
        .kind = CONTROLLER_HEARTBEAT,
        .heartbeat = {
            .broker_id = 0, .broker_epoch = 5, .applied_offset = 6, .wants_fence = true, .wants_shut_down = true}};
    struct controller_request served = carry(&wire, &sent);
    assert_int_equal(served.heartbeat.broker_epoch, 5);
    assert_int_equal(served.heartbeat.applied_offset, 6);
    assert_true(served.heartbeat.wants_fence && served.heartbeat.wants_shut_down);
    served.heartbeat.is_fenced = served.heartbeat.may_shut_down = true;
    answer(&served, &sent);
    assert_true(sent.heartbeat.is_fenced && sent.heartbeat.may_shut_down);
    wire_done(&wire);

    wire_init(&wire);
    struct span names[2] = {span_text("a"), span_text("")};
    int16_t codes[2] = {-7, -7};
    sent = (struct controller_request){
        .kind = CONTROLLER_AUTO_CREATE,
        .auto_create = {.names = names, .name_count = 2, .is_internal = true, .ret_error_codes = codes}};
    served = carry(&wire, &sent);
    assert_true(span_equal_text(served.auto_create.names[0], "a"));
    assert_true(served.auto_create.names[1].bytes == 0 && !span_is_null(served.auto_create.names[1]));
    served.auto_create.ret_error_codes[0] = 36;
    answer(&served, &sent);
    assert_int_equal(codes[0], 36);
    assert_int_equal(codes[1], 0);
    wire_done(&wire);

    wire_init(&wire);
    sent = (struct controller_request){.kind = CONTROLLER_PRODUCER_IDS,
                                       .producer_ids = {.broker_id = 4, .broker_epoch = 8}};
    served = carry(&wire, &sent);
    assert_int_equal(served.producer_ids.broker_epoch, 8);
    served.producer_ids.first_producer_id = 3000;
    served.producer_ids.count = 1000;
    answer(&served, &sent);
    assert_int_equal(sent.producer_ids.first_producer_id, 3000);
    assert_int_equal(sent.producer_ids.count, 1000);
    wire_done(&wire);
}

static void test_admin_and_refusals(void **state)
{
    (void)state;
    struct wire wire;
    wire_init(&wire);
    struct controller_request sent = {.kind = CONTROLLER_ADMIN,
                                      .admin = {.api_key = 19,
                                                .api_version = 7,
                                                .body = span_text("body"),
                                                .principal = span_text("User:ANONYMOUS"),
                                                .client_id = SPAN_NULL,
                                                .host = span_text("h"),
                                                .listener_name = span_text("PLAINTEXT")}};
    struct controller_request served = carry(&wire, &sent);
    assert_int_equal(served.admin.api_key, 19);
    assert_int_equal(served.admin.api_version, 7);
    assert_true(span_equal_text(served.admin.body, "body"));
    assert_true(span_equal_text(served.admin.principal, "User:ANONYMOUS"));
    assert_true(span_is_null(served.admin.client_id));
    served.err = ERR_NOT_LEADER;
    served.hint.node_id = 2;
    strcpy(served.hint.address, "127.0.0.1:9193");
    strcpy(served.message, "why");
    answer(&served, &sent);
    assert_int_equal(sent.err, ERR_NOT_LEADER);
    assert_int_equal(sent.hint.node_id, 2);
    assert_string_equal(sent.hint.address, "127.0.0.1:9193");
    assert_string_equal(sent.message, "why");
    assert_null(sent.admin.response);
    sent.admin.body.bytes = CALL_BODY_BYTES_MAX + 1u;
    bytebuf_clear(&wire.header);
    assert_int_equal(call_codec_pack_request(&sent, 1, 1, &wire.header, &wire.body), ERR_LIMIT);
    wire_done(&wire);
}

static void test_status_and_leader(void **state)
{
    (void)state;
    struct wire wire;
    wire_init(&wire);
    struct controller_member members[CONTROLLER_VOTERS_MAX];
    struct controller_request sent = {.kind = CONTROLLER_STATUS, .status = {.ret_members = members}};
    struct controller_request served = carry(&wire, &sent);
    served.status.member_count = 2;
    served.status.term = 6;
    served.status.hash[31] = 9;
    served.status.ret_members[1] = (struct controller_member){
        .raft_id = UINT64_MAX, .node_id = 2, .address = "h:1", .is_voter = true, .log_end = 10, .last_fetch_ms = -1};
    answer(&served, &sent);
    assert_ptr_equal(sent.status.ret_members, members);
    assert_int_equal(sent.status.member_count, 2);
    assert_int_equal(sent.status.term, 6);
    assert_int_equal(sent.status.hash[31], 9);
    assert_true(members[1].raft_id == UINT64_MAX && members[1].is_voter);
    assert_int_equal(members[1].last_fetch_ms, -1);
    assert_string_equal(members[1].address, "h:1");
    wire_done(&wire);

    struct controller_view view = {.is_active = true, .term = 8, .leader = {.node_id = -1}};
    struct bytebuf header;
    bytebuf_init(&header, CALL_HEADER_BYTES_MAX);
    assert_int_equal(call_codec_pack_leader(&view, &header), ERR_OK);
    struct rpc_frame frame = {.header = bytebuf_span(&header)};
    view = (struct controller_view){0};
    assert_int_equal(call_codec_unpack_leader(&frame, &view), ERR_OK);
    assert_true(view.is_active);
    assert_int_equal(view.term, 8);
    assert_int_equal(view.leader.node_id, -1);
    bytebuf_done(&header);
}

/* Packs a message by hand and must see it refused. */
static void must_refuse(Node__CallRequest *message, struct span body, enum err expected)
{
    uint8_t bytes[4096];
    size_t count = node__call_request__pack(message, bytes);
    assert_true(count <= sizeof(bytes));
    struct arena arena;
    struct controller_request request;
    uint64_t id = 0;
    arena_init(&arena, CALL_UNPACK_BYTES_MAX);
    struct rpc_frame frame = {.header = span_make(bytes, count), .body = body};
    assert_int_equal(call_codec_unpack_request(&frame, &arena, &id, &request), expected);
    arena_done(&arena);
}

static void test_hostile_fields(void **state)
{
    (void)state;
    uint8_t short_id[15] = {0};
    Node__CallRequest message = NODE__CALL_REQUEST__INIT;
    must_refuse(&message, SPAN_NULL, ERR_UNSUPPORTED);

    Node__CallRegister registration = NODE__CALL_REGISTER__INIT;
    message.request_case = NODE__CALL_REQUEST__REQUEST_REGISTER_BROKER;
    message.register_broker = &registration;
    registration.incarnation_id = (ProtobufCBinaryData){.len = sizeof(short_id), .data = short_id};
    must_refuse(&message, SPAN_NULL, ERR_MALFORMED);
    uint8_t id[16] = {0};
    registration.incarnation_id = (ProtobufCBinaryData){.len = sizeof(id), .data = id};
    Node__CallEndpoint endpoint = NODE__CALL_ENDPOINT__INIT;
    Node__CallEndpoint *list[IMAGE_ENDPOINTS_MAX + 1];
    for (size_t i = 0; i < ARRAY_COUNT(list); i++) {
        list[i] = &endpoint;
    }
    endpoint.listener_name = (char *)(uintptr_t) "L";
    endpoint.port = 65536;
    registration.n_endpoints = 1;
    registration.endpoints = list;
    must_refuse(&message, SPAN_NULL, ERR_MALFORMED);
    endpoint.port = 1;
    endpoint.security = 4;
    must_refuse(&message, SPAN_NULL, ERR_MALFORMED);
    endpoint.security = 0;
    registration.n_endpoints = ARRAY_COUNT(list);
    must_refuse(&message, SPAN_NULL, ERR_MALFORMED);

    Node__CallAdmin admin = NODE__CALL_ADMIN__INIT;
    message.request_case = NODE__CALL_REQUEST__REQUEST_ADMIN;
    message.admin = &admin;
    admin.api_key = 65536 + 19;
    must_refuse(&message, SPAN_NULL, ERR_MALFORMED);

    Node__CallAlterIsr alter = NODE__CALL_ALTER_ISR__INIT;
    message.request_case = NODE__CALL_REQUEST__REQUEST_ALTER_ISR;
    message.alter_isr = &alter;
    must_refuse(&message, span_text("\xff\xff\xff"), ERR_MALFORMED);
}

/* Bytes that were changed anywhere are refused or give a request within all limits. */
static void test_mutations(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "call_codec", PROP_SEED_DEFAULT);
    struct controller_request sent = a_registration();
    struct wire wire;
    wire_init(&wire);
    (void)carry(&wire, &sent);
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[512];
        size_t count = wire.header.bytes;
        assert_true(count <= sizeof(bytes));
        memcpy(bytes, wire.header.data, count);
        for (uint64_t changes = 1 + prop_below(&prop, 4); changes > 0; changes--) {
            bytes[prop_below(&prop, count)] = (uint8_t)prop_below(&prop, 256);
        }
        count -= prop_below(&prop, 3) == 0 ? prop_below(&prop, count) : 0;
        struct rpc_frame frame = {.header = span_make(bytes, count), .body = span_make(bytes, count)};
        struct arena arena;
        struct controller_request request = {0};
        uint64_t id = 0;
        arena_init(&arena, CALL_UNPACK_BYTES_MAX);
        if (call_codec_unpack_request(&frame, &arena, &id, &request) == ERR_OK && request.kind == CONTROLLER_REGISTER) {
            assert_true(request.registration.endpoint_count <= IMAGE_ENDPOINTS_MAX);
            assert_true(request.registration.directory_count <= IMAGE_DIRECTORIES_MAX);
        }
        arena_done(&arena);
        struct controller_request asked = a_registration();
        (void)!call_codec_unpack_answer(&frame, &asked);
    }
    wire_done(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registration),      cmocka_unit_test(test_alter_isr_of_ten_thousand),
        cmocka_unit_test(test_small_kinds),       cmocka_unit_test(test_admin_and_refusals),
        cmocka_unit_test(test_status_and_leader), cmocka_unit_test(test_hostile_fields),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests_name("call_codec", tests, NULL, NULL);
}

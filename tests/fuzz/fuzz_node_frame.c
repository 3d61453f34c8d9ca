/* fuzz_node_frame: bytes that claim to be a frame of a CALL or METADATA link, or an address of a voter.
 *
 * Input:     byte 0: which decoder (0 request, 1 answer, 2 notice of the leader, 3 headers of metadata frames, 4 voters and places); bytes 1-2: how
 *            many of the rest are the header (big-endian); what follows it is the body.
 * Asserts:   what is accepted keeps the limits of controller.h and image.h; a request that is accepted can be packed, is accepted again,
 *            and is then packed as the same bytes; an answer that is accepted by whoever asked for that can be packed, and says the
 *            same again.
 */
#include "common/big_endian.h"
#include "common/mem.h"
#include "controller/call_codec.h"
#include "controller/controller_private.h"
#include "controller/metadata_frames.h"

/* So many error codes an answer on topics or partitions must have. */
#define FUZZ_CODES 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_limits(const struct controller_request *request)
{
    switch (request->kind) {
    case CONTROLLER_REGISTER:
        CHECK(request->registration.endpoint_count <= IMAGE_ENDPOINTS_MAX);
        CHECK(request->registration.directory_count <= IMAGE_DIRECTORIES_MAX);
        return;
    case CONTROLLER_AUTO_CREATE:
        CHECK(request->auto_create.name_count > 0 &&
              request->auto_create.name_count <= CONTROLLER_AUTO_CREATE_TOPICS_MAX);
        return;
    case CONTROLLER_ALTER_ISR:
        CHECK(request->alter_isr.change_count <= CONTROLLER_ISR_CHANGES_MAX);
        for (uint32_t i = 0; i < request->alter_isr.change_count; i++) {
            CHECK(request->alter_isr.changes[i].isr_count <= IMAGE_REPLICAS_MAX);
            CHECK(request->alter_isr.changes[i].partition_index >= 0);
        }
        return;
    case CONTROLLER_ADMIN:
    case CONTROLLER_HEARTBEAT:
    case CONTROLLER_PRODUCER_IDS:
    case CONTROLLER_STATUS:
        return;
    case CONTROLLER_FENCE:
    case CONTROLLER_PREFERRED_LEADERS:
        break; /* never from elsewhere */
    }
    UNREACHABLE();
}

static void check_request(const struct rpc_frame *frame)
{
    struct arena arena;
    struct controller_request request = {0};
    uint64_t id = 0;
    arena_init(&arena, CALL_UNPACK_BYTES_MAX);
    if (call_codec_unpack_request(frame, &arena, &id, &request) == ERR_OK) {
        struct bytebuf header;
        struct bytebuf body;
        struct bytebuf header_again;
        struct bytebuf body_again;
        struct controller_request again = {0};
        uint64_t id_again = 0;
        check_limits(&request);
        bytebuf_init(&header, CALL_HEADER_BYTES_MAX);
        bytebuf_init(&body, CALL_BODY_BYTES_MAX);
        bytebuf_init(&header_again, CALL_HEADER_BYTES_MAX);
        bytebuf_init(&body_again, CALL_BODY_BYTES_MAX);
        CHECK(call_codec_pack_request(&request, id, request.timeout_us, &header, &body) == ERR_OK);
        struct rpc_frame packed = {.header = bytebuf_span(&header),
                                   .body = request.kind == CONTROLLER_ADMIN ? frame->body : bytebuf_span(&body)};
        CHECK(call_codec_unpack_request(&packed, &arena, &id_again, &again) == ERR_OK);
        CHECK(id_again == id && again.kind == request.kind);
        CHECK(call_codec_pack_request(&again, id, again.timeout_us, &header_again, &body_again) == ERR_OK);
        CHECK(span_equal(bytebuf_span(&header_again), bytebuf_span(&header)));
        CHECK(span_equal(bytebuf_span(&body_again), bytebuf_span(&body)));
        bytebuf_done(&body_again);
        bytebuf_done(&header_again);
        bytebuf_done(&header);
        bytebuf_done(&body);
    }
    arena_done(&arena);
}

/* Room for the results of one request, as whoever asked has it. */
struct asked {
    struct controller_request request;
    struct controller_member members[CONTROLLER_VOTERS_MAX];
    struct controller_isr_change changes[FUZZ_CODES];
    struct span names[FUZZ_CODES];
    int16_t codes[FUZZ_CODES];
};

static void ask(struct asked *asked, enum controller_request_kind kind)
{
    *asked = (struct asked){.request = {.kind = kind}};
    if (kind == CONTROLLER_STATUS) {
        asked->request.status.ret_members = asked->members;
    } else if (kind == CONTROLLER_ALTER_ISR) {
        asked->request.alter_isr = (struct controller_alter_isr){.changes = asked->changes, .change_count = FUZZ_CODES};
    } else if (kind == CONTROLLER_AUTO_CREATE) {
        asked->request.auto_create = (struct controller_auto_create){
            .names = asked->names, .name_count = FUZZ_CODES, .ret_error_codes = asked->codes};
    }
}

static void check_results(const struct controller_request *request)
{
    CHECK(request->err < ERR_COUNT && request->hint.node_id >= -1);
    if (request->err != ERR_OK) {
        return;
    }
    CHECK(request->kind != CONTROLLER_STATUS || request->status.member_count <= CONTROLLER_VOTERS_MAX);
    CHECK(request->kind != CONTROLLER_REGISTER || request->registration.broker_epoch > 0);
    CHECK(request->kind != CONTROLLER_PRODUCER_IDS ||
          (request->producer_ids.first_producer_id >= 0 && request->producer_ids.count > 0));
}

static bool is_same_member(const struct controller_member *a, const struct controller_member *b)
{
    return a->raft_id == b->raft_id && a->node_id == b->node_id && uuid_equal(a->directory_id, b->directory_id) &&
           strcmp(a->address, b->address) == 0 && a->is_voter == b->is_voter && a->log_end == b->log_end &&
           a->last_fetch_ms == b->last_fetch_ms && a->last_caught_up_ms == b->last_caught_up_ms;
}

static bool is_same_status(const struct controller_status *a, const struct controller_status *b)
{
    bool is_same = a->is_active == b->is_active && a->raft_id == b->raft_id && a->term == b->term &&
                   a->leader_raft_id == b->leader_raft_id && a->controller_id == b->controller_id &&
                   a->controller_epoch == b->controller_epoch && a->first_index == b->first_index &&
                   a->last_index == b->last_index && a->commit_index == b->commit_index &&
                   a->applied_index == b->applied_index && a->snapshot_index == b->snapshot_index &&
                   a->log_bytes == b->log_bytes && a->voter_count == b->voter_count &&
                   memcmp(a->hash, b->hash, sizeof(a->hash)) == 0 && a->member_count == b->member_count;
    for (uint32_t i = 0; is_same && i < a->member_count; i++) {
        is_same = is_same_member(&a->ret_members[i], &b->ret_members[i]);
    }
    return is_same;
}

static bool is_same_result(const struct asked *left, const struct asked *right)
{
    const struct controller_request *a = &left->request;
    const struct controller_request *b = &right->request;
    if (a->err != b->err || a->term != b->term || a->metadata_offset != b->metadata_offset ||
        a->hint.node_id != b->hint.node_id || strcmp(a->hint.address, b->hint.address) != 0 ||
        strcmp(a->message, b->message) != 0) {
        return false;
    }
    if (a->err != ERR_OK) {
        return true;
    }
    switch (a->kind) {
    case CONTROLLER_STATUS:
        return is_same_status(&a->status, &b->status);
    case CONTROLLER_REGISTER:
        return a->registration.broker_epoch == b->registration.broker_epoch;
    case CONTROLLER_HEARTBEAT:
        return a->heartbeat.is_fenced == b->heartbeat.is_fenced &&
               a->heartbeat.may_shut_down == b->heartbeat.may_shut_down;
    case CONTROLLER_PRODUCER_IDS:
        return a->producer_ids.first_producer_id == b->producer_ids.first_producer_id &&
               a->producer_ids.count == b->producer_ids.count;
    case CONTROLLER_ALTER_ISR:
        return left->changes[0].code == right->changes[0].code && left->changes[1].code == right->changes[1].code;
    case CONTROLLER_AUTO_CREATE:
        return memcmp(left->codes, right->codes, sizeof(left->codes)) == 0;
    case CONTROLLER_ADMIN:
        return true; /* the body */
    case CONTROLLER_FENCE:
    case CONTROLLER_PREFERRED_LEADERS:
        break; /* never sent */
    }
    UNREACHABLE();
}

/* What a request of this kind makes of the answer. */
static bool take_answer(const struct rpc_frame *frame, enum controller_request_kind kind, struct asked *ret_asked)
{
    ask(ret_asked, kind);
    if (call_codec_unpack_answer(frame, &ret_asked->request) != ERR_OK) {
        return false;
    }
    check_results(&ret_asked->request);
    struct shared_bytes *response = kind == CONTROLLER_ADMIN ? ret_asked->request.admin.response : NULL;
    if (response != NULL) {
        CHECK(span_equal(span_make(response->data, response->bytes), frame->body));
        shared_bytes_unref(response);
        ret_asked->request.admin.response = NULL;
    }
    return true;
}

static void check_answer(const struct rpc_frame *frame)
{
    uint64_t id = 0;
    uint64_t id_again = 0;
    if (call_codec_answer_id(frame, &id) != ERR_OK) {
        return;
    }
    for (int kind = CONTROLLER_ADMIN; kind <= CONTROLLER_ALTER_ISR; kind++) {
        struct asked first;
        struct asked second;
        struct bytebuf header;
        bytebuf_init(&header, CALL_HEADER_BYTES_MAX);
        if (take_answer(frame, (enum controller_request_kind)kind, &first)) {
            CHECK(call_codec_pack_answer(&first.request, id, &header) == ERR_OK);
            struct rpc_frame packed = {.header = bytebuf_span(&header), .body = frame->body};
            CHECK(take_answer(&packed, (enum controller_request_kind)kind, &second));
            CHECK(call_codec_answer_id(&packed, &id_again) == ERR_OK && id_again == id);
            CHECK(is_same_result(&first, &second));
        }
        bytebuf_done(&header);
    }
}

static void check_leader(const struct rpc_frame *frame)
{
    struct controller_view view;
    if (call_codec_unpack_leader(frame, &view) == ERR_OK) {
        CHECK(strlen(view.cluster_id) < sizeof(view.cluster_id) && view.leader.node_id >= -1);
    }
}

static void check_metadata(struct span header)
{
    struct metadata_entry entry;
    struct metadata_chunk chunk;
    uint8_t hash[IMAGE_HASH_BYTES];
    int64_t offset = 0;
    if (metadata_entry_unpack(header, &entry)) {
        CHECK(entry.index > 0);
    }
    if (metadata_chunk_unpack(header, &chunk)) {
        CHECK(chunk.offset > 0 && chunk.total_bytes > 0 && chunk.position < chunk.total_bytes);
    }
    if (metadata_subscribe_unpack(header, &offset, hash)) {
        CHECK(offset >= 0);
    }
    (void)!metadata_applied_unpack(header, &offset);
}

static void check_texts(struct span text)
{
    struct controller_voter voters[CONTROLLER_VOTERS_MAX];
    struct option_problem problem;
    uint32_t count = 0;
    if (text.bytes > 0 && controller_voters_parse(text, voters, &count, &problem) == ERR_OK) {
        CHECK(count > 0 && count <= CONTROLLER_VOTERS_MAX);
        for (uint32_t i = 0; i < count; i++) {
            CHECK(voters[i].port > 0 && voters[i].host[0] != '\0' && voters[i].node_id >= 0);
        }
    }
    struct controller_place place;
    char *copy = mem_format("%.*s", (int)text.bytes, (const char *)text.data);
    controller_place_parse(copy, 1, &place);
    CHECK((place.address.port == 0) == (place.address.host[0] == '\0'));
    mem_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 3) {
        return 0;
    }
    struct span rest = span_make(data + 3, bytes - 3);
    size_t header_bytes = be16_get(data + 1);
    header_bytes = header_bytes > rest.bytes ? rest.bytes : header_bytes;
    struct rpc_frame frame = {.header = span_sub(rest, 0, header_bytes),
                              .body = span_sub(rest, header_bytes, rest.bytes - header_bytes)};
    switch (data[0]) {
    case 0:
        check_request(&frame);
        break;
    case 1:
        check_answer(&frame);
        break;
    case 2:
        check_leader(&frame);
        break;
    case 3:
        check_metadata(frame.header);
        break;
    default:
        check_texts(rest);
        break;
    }
    return 0;
}

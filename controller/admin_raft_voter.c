/* AddRaftVoter (80) and RemoveRaftVoter (81): checked here against what is known of the members; the quorum then makes the change. */
#include "common/mem.h"
#include "controller/controller_api.h"
#include "controller/quorum_view.h"
#include "proto/kmsg/add_raft_voter.h"
#include "proto/kmsg/remove_raft_voter.h"

#include <inttypes.h>
#include <stdio.h>

typedef struct add_raft_voter_request_listener voter_listener;

static uint32_t count_voters(const struct quorum_view *view)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->member_count; i++) {
        count += view->members[i].is_voter;
    }
    return count;
}

static const struct controller_member *find_voter(const struct quorum_view *view, int32_t node_id)
{
    for (uint32_t i = 0; i < view->member_count; i++) {
        if (view->members[i].is_voter && view->members[i].node_id == node_id) {
            return &view->members[i];
        }
    }
    return NULL;
}

/* A stand-by that an interrupted AddRaftVoter has left behind. Brokers that follow the metadata have no raft id. */
static const struct controller_member *find_standby(const struct quorum_view *view, int32_t node_id,
                                                    struct uuid directory_id)
{
    for (uint32_t i = 0; i < view->member_count; i++) {
        const struct controller_member *member = &view->members[i];
        if (!member->is_voter && member->raft_id != 0 && member->node_id == node_id &&
            uuid_equal(member->directory_id, directory_id)) {
            return member;
        }
    }
    return NULL;
}

static bool is_alive(const struct quorum_view *view, const struct controller_member *member)
{
    return member->raft_id == view->leader_raft_id ||
           (member->last_fetch_ms >= 0 && view->now_ms - member->last_fetch_ms <= QUORUM_VIEW_CONTACT_MS_MAX);
}

static bool check_cluster(struct decision *decision, struct span cluster_id, struct decision_result *result)
{
    const char *own = image_cluster_id(decision->image);
    if (!span_is_null(cluster_id) && !span_equal_text(cluster_id, own)) {
        return decision_refuse(decision, result, ERROR_INCONSISTENT_CLUSTER_ID,
                               "This is cluster %s; the request is meant for cluster %.*s.", own,
                               DECISION_TEXT(cluster_id));
    }
    return true;
}

/* The listener of that name, or the only one. */
static const voter_listener *choose_listener(const struct add_raft_voter_request *request)
{
    for (size_t i = 0; i < request->listeners_count; i++) {
        if (span_equal_text(request->listeners[i].name, QUORUM_VIEW_LISTENER)) {
            return &request->listeners[i];
        }
    }
    return request->listeners_count == 1 ? &request->listeners[0] : NULL;
}

/* Letters, digits, and what else host names and addresses have: the text must stand in the configuration. */
static bool is_host(struct span host)
{
    for (size_t i = 0; i < host.bytes; i++) {
        uint8_t c = host.data[i];
        bool is_legal = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                        c == '-' || c == '_' || c == ':' || c == '%';
        if (!is_legal) {
            return false;
        }
    }
    return host.bytes > 0 && host.bytes <= 255;
}

static bool check_addition(struct decision *decision, const struct quorum_view *view,
                           const struct add_raft_voter_request *request, struct decision_result *result)
{
    char text[UUID_TEXT_BYTES];
    const struct controller_member *voter = find_voter(view, request->voter_id);
    const voter_listener *listener = choose_listener(request);
    if (request->voter_id < 0 || uuid_is_zero(request->voter_directory_id)) {
        return decision_refuse(decision, result, ERROR_INVALID_REQUEST,
                               "A voter is named by its node.id (0 or more) and the id of its metadata directory.");
    }
    if (listener == NULL || !is_host(listener->host) || listener->port == 0) {
        return decision_refuse(decision, result, ERROR_INVALID_REQUEST,
                               "The request names no address that controllers could reach voter %" PRId32
                               " at: give its %s listener, host and port.",
                               request->voter_id, QUORUM_VIEW_LISTENER);
    }
    if (voter != NULL) {
        uuid_format(voter->directory_id, text);
        return decision_refuse(decision, result, ERROR_DUPLICATE_VOTER,
                               "Node %" PRId32 " is a voter already, with directory %s%s.", request->voter_id, text,
                               uuid_equal(voter->directory_id, request->voter_directory_id)
                                   ? ""
                                   : ": if that directory is lost, remove that voter first");
    }
    uint32_t voter_count = count_voters(view);
    if (voter_count >= QUORUM_VIEW_VOTERS_MAX) {
        return decision_refuse(decision, result, ERROR_INVALID_REQUEST,
                               "The quorum has %" PRIu32
                               " voters; more than %d would only slow it down: remove one first.",
                               voter_count, QUORUM_VIEW_VOTERS_MAX);
    }
    return true;
}

static bool decide_addition(struct api_call *call, const struct add_raft_voter_request *request,
                            struct decision_result *result)
{
    struct decision *decision = &call->decision;
    const struct quorum_view *view = call->quorum;
    char address[CONTROLLER_ADDRESS_BYTES];
    char text[UUID_TEXT_BYTES];
    if (!check_cluster(decision, request->cluster_id, result) || !check_addition(decision, view, request, result)) {
        return false;
    }
    const voter_listener *listener = choose_listener(request);
    bool is_v6 = memchr(listener->host.data, ':', listener->host.bytes) != NULL;
    snprintf(address, sizeof(address), "%s%.*s%s:%u", is_v6 ? "[" : "", (int)listener->host.bytes,
             (const char *)listener->host.data, is_v6 ? "]" : "", listener->port);
    for (uint32_t i = 0; i < view->member_count; i++) {
        if (view->members[i].is_voter && strcmp(view->members[i].address, address) == 0) {
            return decision_refuse(decision, result, ERROR_INVALID_REQUEST,
                                   "Address %s is that of voter %" PRId32 " already.", address,
                                   view->members[i].node_id);
        }
    }
    call->voter_change = (struct voter_change){
        .kind = VOTER_CHANGE_ADD,
        .node_id = request->voter_id,
        .directory_id = request->voter_directory_id,
    };
    uuid_format(request->voter_directory_id, text);
    snprintf(call->voter_change.address, sizeof(call->voter_change.address), "%" PRId32 "@%s/%s", request->voter_id,
             address, text);
    return true;
}

/* Whoever remains must be able to elect a leader and to commit. */
static bool check_rest(struct decision *decision, const struct quorum_view *view,
                       const struct controller_member *removed, struct decision_result *result)
{
    uint32_t rest_count = count_voters(view) - 1;
    uint32_t alive_count = 0;
    if (rest_count == 0) {
        return decision_refuse(decision, result, ERROR_INVALID_REQUEST,
                               "Node %" PRId32 " is the only voter: add another one before it is removed.",
                               removed->node_id);
    }
    for (uint32_t i = 0; i < view->member_count; i++) {
        const struct controller_member *member = &view->members[i];
        alive_count += member->is_voter && member != removed && is_alive(view, member);
    }
    if (alive_count < rest_count / 2 + 1) {
        return decision_refuse(
            decision, result, ERROR_INVALID_REQUEST,
            "Of the %" PRIu32 " voters that would remain only %" PRIu32
            " can be reached, which is no majority: the cluster could decide nothing any more. Remove the dead "
            "ones first, or start them.",
            rest_count, alive_count);
    }
    return true;
}

static bool check_removal(struct decision *decision, const struct quorum_view *view,
                          const struct remove_raft_voter_request *request, struct decision_result *result)
{
    const struct controller_member *voter = find_voter(view, request->voter_id);
    char text[UUID_TEXT_BYTES];
    if (voter == NULL) {
        return decision_refuse(decision, result, ERROR_VOTER_NOT_FOUND, "Node %" PRId32 " is no voter.",
                               request->voter_id);
    }
    if (!uuid_equal(voter->directory_id, request->voter_directory_id)) {
        uuid_format(voter->directory_id, text);
        return decision_refuse(decision, result, ERROR_VOTER_NOT_FOUND,
                               "Voter %" PRId32 " has the directory %s, not the one that was named.", request->voter_id,
                               text);
    }
    return check_rest(decision, view, voter, result);
}

static bool decide_removal(struct api_call *call, const struct remove_raft_voter_request *request,
                           struct decision_result *result)
{
    struct decision *decision = &call->decision;
    const struct quorum_view *view = call->quorum;
    const struct controller_member *member = find_standby(view, request->voter_id, request->voter_directory_id);
    if (!check_cluster(decision, request->cluster_id, result) ||
        (member == NULL && !check_removal(decision, view, request, result))) {
        return false;
    }
    member = member == NULL ? find_voter(view, request->voter_id) : member;
    call->voter_change = (struct voter_change){
        .kind = VOTER_CHANGE_REMOVE,
        .node_id = member->node_id,
        .directory_id = member->directory_id,
        .raft_id = member->raft_id,
    };
    return true;
}

static enum err encode(struct api_call *call, const struct decision_result *outcome)
{
    if (call->admin->api_key == 80) {
        struct add_raft_voter_response response;
        codec_set_defaults(&add_raft_voter_response_codec, &response);
        response.error_code = outcome->code;
        response.error_message = outcome->message;
        return api_call_encode(call, &add_raft_voter_response_codec, &response);
    }
    struct remove_raft_voter_response response;
    codec_set_defaults(&remove_raft_voter_response_codec, &response);
    response.error_code = outcome->code;
    response.error_message = outcome->message;
    return api_call_encode(call, &remove_raft_voter_response_codec, &response);
}

enum err admin_add_raft_voter(struct api_call *call)
{
    struct add_raft_voter_request request;
    struct decision_result outcome = {0};
    if (call->quorum == NULL) {
        return ERR_UNSUPPORTED;
    }
    enum err err = api_call_decode(call, &add_raft_voter_request_codec, &request);
    if (err != ERR_OK) {
        return err;
    }
    return decide_addition(call, &request, &outcome) ? ERR_OK : encode(call, &outcome);
}

enum err admin_remove_raft_voter(struct api_call *call)
{
    struct remove_raft_voter_request request;
    struct decision_result outcome = {0};
    if (call->quorum == NULL) {
        return ERR_UNSUPPORTED;
    }
    enum err err = api_call_decode(call, &remove_raft_voter_request_codec, &request);
    if (err != ERR_OK) {
        return err;
    }
    return decide_removal(call, &request, &outcome) ? ERR_OK : encode(call, &outcome);
}

/* What became of the change, for the client. */
struct outcome_row {
    enum err err;
    int16_t code;
    const char *message; /* NULL: none */
};

static const struct outcome_row outcomes[] = {
    {ERR_OK, ERROR_NONE, NULL},
    {ERR_EXISTS, ERROR_DUPLICATE_VOTER, "The voter, or its address, is in the configuration already."},
    {ERR_NOT_FOUND, ERROR_VOTER_NOT_FOUND, "The voter is not in the configuration any more."},
    {ERR_INVALID, ERROR_INVALID_REQUEST, "The quorum can't make this change."},
    {ERR_BUSY, ERROR_REQUEST_TIMED_OUT,
     "Another change of voters is under way, or this controller has only just become active: try again."},
    {ERR_TIMEOUT, ERROR_REQUEST_TIMED_OUT,
     "The controller did not catch up in time, and is no voter: does it run, with that directory and at that address?"},
};

static struct decision_result outcome_of(enum err err)
{
    for (size_t i = 0; i < ARRAY_COUNT(outcomes); i++) {
        if (outcomes[i].err == err) {
            return (struct decision_result){
                .code = outcomes[i].code,
                .message = outcomes[i].message == NULL ? SPAN_NULL : span_text(outcomes[i].message),
            };
        }
    }
    return (struct decision_result){
        .code = ERROR_UNKNOWN_SERVER_ERROR,
        .message = span_text("The change was interrupted; whether it was made is not known: see DescribeQuorum."),
    };
}

enum err controller_api_answer_voter(struct controller_admin *admin, enum err err)
{
    struct api_call call = {.admin = admin};
    struct decision_result outcome = outcome_of(err);
    enum err encode_err = encode(&call, &outcome);
    admin->response = call.response;
    return encode_err;
}

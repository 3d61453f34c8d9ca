/* DescribeQuorum (55): offsets are indexes of the log; the high watermark is behind the last committed one. */
#include "controller/controller_api.h"
#include "controller/quorum_view.h"
#include "proto/kmsg/describe_quorum.h"

#include <stdlib.h>

#define METADATA_TOPIC "__cluster_metadata"

typedef struct describe_quorum_request_topic_data request_topic;
typedef struct describe_quorum_response_topic_data response_topic;
typedef struct describe_quorum_response_partition_data partition_data;
typedef struct describe_quorum_response_replica_state replica_state;
typedef struct describe_quorum_response_node response_node;
typedef struct describe_quorum_response_listener response_listener;

static replica_state state_of(const struct api_call *call, const struct controller_member *member)
{
    return (replica_state){
        .replica_id = member->node_id,
        .replica_directory_id = call->admin->api_version >= 2 ? member->directory_id : UUID_ZERO,
        .log_end_offset = member->log_end == 0 ? -1 : (int64_t)member->log_end,
        .last_fetch_timestamp = member->last_fetch_ms,
        .last_caught_up_timestamp = member->last_caught_up_ms,
    };
}

/* False when the arena is exhausted. */
static bool describe(struct api_call *call, partition_data *result)
{
    const struct quorum_view *view = call->quorum;
    struct arena *arena = call->decision.arena;
    result->current_voters =
        (replica_state *)codec_array(&describe_quorum_response_replica_state_layout, view->member_count + 1u, arena);
    result->observers =
        (replica_state *)codec_array(&describe_quorum_response_replica_state_layout, view->member_count + 1u, arena);
    if (result->current_voters == NULL || result->observers == NULL) {
        return false;
    }
    result->leader_id = view->leader_node_id;
    result->leader_epoch = view->term > INT32_MAX ? INT32_MAX : (int32_t)view->term;
    result->high_watermark = (int64_t)view->commit_index + 1;
    for (uint32_t i = 0; i < view->member_count; i++) {
        const struct controller_member *member = &view->members[i];
        if (member->is_voter) {
            result->current_voters[result->current_voters_count++] = state_of(call, member);
        } else {
            result->observers[result->observers_count++] = state_of(call, member);
        }
    }
    return true;
}

/* "host:port" or "[host]:port" in two; false when it is neither. */
static bool split_address(const char *address, struct span *ret_host, uint16_t *ret_port)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon == address) {
        return false;
    }
    size_t bytes = (size_t)(colon - address);
    bool is_bracketed = bytes > 2 && address[0] == '[' && address[bytes - 1] == ']';
    *ret_host = span_make(address + is_bracketed, bytes - 2 * (size_t)is_bracketed);
    *ret_port = (uint16_t)strtoul(colon + 1, NULL, 10);
    return true;
}

/* Where the voters listen. */
static bool describe_nodes(struct api_call *call, struct describe_quorum_response *response)
{
    const struct quorum_view *view = call->quorum;
    struct arena *arena = call->decision.arena;
    response->nodes =
        (response_node *)codec_array(&describe_quorum_response_node_layout, view->member_count + 1u, arena);
    if (response->nodes == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < view->member_count; i++) {
        const struct controller_member *member = &view->members[i];
        response_listener listener = {.name = span_text(QUORUM_VIEW_LISTENER)};
        if (!member->is_voter || !split_address(member->address, &listener.host, &listener.port)) {
            continue;
        }
        response_node *node = &response->nodes[response->nodes_count++];
        node->node_id = member->node_id;
        node->listeners = (response_listener *)codec_array(&describe_quorum_response_listener_layout, 1, arena);
        if (node->listeners == NULL) {
            return false;
        }
        node->listeners[0] = listener;
        node->listeners_count = 1;
    }
    return true;
}

static bool describe_topic(struct api_call *call, const request_topic *topic, response_topic *result)
{
    result->topic_name = topic->topic_name;
    result->partitions = (partition_data *)codec_array(&describe_quorum_response_partition_data_layout,
                                                       topic->partitions_count + 1, call->decision.arena);
    if (result->partitions == NULL) {
        return false;
    }
    result->partitions_count = topic->partitions_count;
    for (size_t i = 0; i < topic->partitions_count; i++) {
        partition_data *partition = &result->partitions[i];
        partition->partition_index = topic->partitions[i].partition_index;
        if (!span_equal_text(topic->topic_name, METADATA_TOPIC) || partition->partition_index != 0) {
            partition->error_code = ERROR_UNKNOWN_TOPIC_OR_PARTITION;
            partition->error_message = span_text("Only partition 0 of " METADATA_TOPIC " has a quorum.");
        } else if (!describe(call, partition)) {
            return false;
        }
    }
    return true;
}

enum err admin_describe_quorum(struct api_call *call)
{
    struct describe_quorum_request request;
    struct describe_quorum_response response;
    if (call->quorum == NULL) {
        return ERR_UNSUPPORTED;
    }
    enum err err = api_call_decode(call, &describe_quorum_request_codec, &request);
    if (err != ERR_OK) {
        return err;
    }
    codec_set_defaults(&describe_quorum_response_codec, &response);
    response.topics = (response_topic *)codec_array(&describe_quorum_response_topic_data_layout,
                                                    request.topics_count + 1, call->decision.arena);
    if (response.topics == NULL) {
        return ERR_LIMIT;
    }
    response.topics_count = request.topics_count;
    for (size_t i = 0; i < request.topics_count; i++) {
        if (!describe_topic(call, &request.topics[i], &response.topics[i])) {
            return ERR_LIMIT;
        }
    }
    if (call->admin->api_version >= 2 && !describe_nodes(call, &response)) {
        return ERR_LIMIT;
    }
    return api_call_encode(call, &describe_quorum_response_codec, &response);
}

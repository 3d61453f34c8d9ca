#include "cli/quorum_ask.h"

#include "proto/api/api_table.h"
#include "proto/wire/error_code.h"

#define METADATA_TOPIC "__cluster_metadata"

static enum err refuse(struct session *session, int16_t error_code, struct span message)
{
    struct span said = message.bytes > 0 ? message : span_text(error_code_text(error_code));
    client_complain(session->client, "the quorum: %.*s (%s)", (int)said.bytes, (const char *)said.data,
                    error_code_name(error_code));
    return ERR_INVALID;
}

static enum err look(struct session *session, const struct describe_quorum_response *response,
                     const struct describe_quorum_response_partition_data **ret_quorum)
{
    if (response->error_code != ERROR_NONE) {
        return refuse(session, response->error_code, response->error_message);
    }
    if (response->topics_count != 1 || response->topics[0].partitions_count != 1) {
        client_complain(session->client, "the quorum: an answer without a quorum");
        return ERR_INVALID;
    }
    const struct describe_quorum_response_partition_data *quorum = &response->topics[0].partitions[0];
    if (quorum->error_code != ERROR_NONE) {
        return refuse(session, quorum->error_code, quorum->error_message);
    }
    *ret_quorum = quorum;
    return ERR_OK;
}

enum err quorum_ask(struct session *session, struct client_reply *ret_reply,
                    const struct describe_quorum_response_partition_data **ret_quorum)
{
    struct describe_quorum_request_partition_data partition = {.partition_index = 0};
    struct describe_quorum_request_topic_data topic = {
        .topic_name = span_text(METADATA_TOPIC), .partitions = &partition, .partitions_count = 1};
    struct describe_quorum_request request;
    codec_set_defaults(&describe_quorum_request_codec, &request);
    request.topics = &topic;
    request.topics_count = 1;
    enum err err = client_call(session->client, CLIENT_NODE_ANY, API_KEY_DESCRIBE_QUORUM, &request, ret_reply);
    if (err != ERR_OK) {
        return err;
    }
    err = look(session, ret_reply->message, ret_quorum);
    if (err != ERR_OK) {
        client_reply_done(ret_reply);
    }
    return err;
}

const struct describe_quorum_response_replica_state *
quorum_ask_voter(const struct describe_quorum_response_partition_data *quorum, int32_t id)
{
    for (size_t i = 0; i < quorum->current_voters_count; i++) {
        if (quorum->current_voters[i].replica_id == id) {
            return &quorum->current_voters[i];
        }
    }
    return NULL;
}

const struct describe_quorum_response_listener *quorum_ask_listener(const struct describe_quorum_response *response,
                                                                    int32_t id)
{
    for (size_t i = 0; i < response->nodes_count; i++) {
        if (response->nodes[i].node_id == id && response->nodes[i].listeners_count > 0) {
            return &response->nodes[i].listeners[0];
        }
    }
    return NULL;
}

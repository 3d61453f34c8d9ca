#include "cli/metadata_ask.h"

#include "common/mem.h"
#include "proto/api/api_table.h"

enum err metadata_ask(struct session *session, const char *const *names, size_t name_count, bool may_create,
                      struct client_reply *ret_reply)
{
    struct metadata_request_topic *topics = names == NULL ? NULL : mem_array(name_count, sizeof(*topics));
    struct metadata_request request;
    codec_set_defaults(&metadata_request_codec, &request);
    request.allow_auto_topic_creation = may_create;
    request.topics = topics;
    request.topics_count = name_count;
    for (size_t i = 0; names != NULL && i < name_count; i++) {
        topics[i].name = span_text(names[i]);
    }
    enum err err = client_call(session->client, CLIENT_NODE_ANY, API_KEY_METADATA, &request, ret_reply);
    mem_free(topics);
    if (err != ERR_OK) {
        return err;
    }
    const struct metadata_response *response = ret_reply->message;
    for (size_t i = 0; i < response->brokers_count; i++) {
        client_set_node(session->client, response->brokers[i].node_id, response->brokers[i].host,
                        response->brokers[i].port);
    }
    return ERR_OK;
}

/* topic list, topic describe. */
#include "cli/output.h"
#include "cli/topic.h"
#include "cli/units.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/describe_configs.h"
#include "proto/kmsg/list_offsets.h"
#include "proto/kmsg/metadata.h"
#include "proto/wire/error_code.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CONFIG_RESOURCE_TOPIC 2
#define CONFIG_SOURCE_TOPIC 1
#define OFFSETS_LATEST (-1)
#define OFFSETS_EARLIEST (-2)

static enum err ask_metadata(struct session *session, const struct flag_values *names, struct client_reply *ret_reply)
{
    struct metadata_request_topic topics[ARGUMENTS_VALUES_MAX] = {0};
    struct metadata_request request;
    codec_set_defaults(&metadata_request_codec, &request);
    request.allow_auto_topic_creation = false;
    request.topics = NULL; /* all */
    if (names != NULL) {
        for (size_t i = 0; i < names->count; i++) {
            topics[i].name = span_text(names->values[i]);
        }
        request.topics = topics;
        request.topics_count = names->count;
    }
    enum err err = client_call(session->client, CLIENT_NODE_ANY, API_KEY_METADATA, &request, ret_reply);
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

/* ---- list ---- */

static int compare_topics(const void *a, const void *b)
{
    const struct metadata_response_topic *left = a;
    const struct metadata_response_topic *right = b;
    size_t bytes = left->name.bytes < right->name.bytes ? left->name.bytes : right->name.bytes;
    int order = bytes == 0 ? 0 : memcmp(left->name.data, right->name.data, bytes);
    return order != 0 ? order : (left->name.bytes > right->name.bytes) - (left->name.bytes < right->name.bytes);
}

int topic_list(struct session *session)
{
    struct client_reply reply;
    if (ask_metadata(session, NULL, &reply) != ERR_OK) {
        return session_fail(session);
    }
    const struct metadata_response *response = reply.message;
    if (response->topics_count > 0) {
        qsort(response->topics, response->topics_count, sizeof(response->topics[0]), compare_topics);
    }
    struct output output;
    output_init(&output, arguments_wants_json(session->arguments), "topics");
    output_columns(&output, (const char *const[]){"name", "partitions", "replicas", "topic_id"}, 4);
    for (size_t i = 0; i < response->topics_count; i++) {
        const struct metadata_response_topic *topic = &response->topics[i];
        if (topic->is_internal && !arguments_has(session->arguments, "internal")) {
            continue;
        }
        char id[UUID_TEXT_BYTES];
        uuid_format(topic->topic_id, id);
        output_text(&output, topic->name);
        output_number(&output, (int64_t)topic->partitions_count);
        output_number(&output, topic->partitions_count == 0 ? 0 : (int64_t)topic->partitions[0].replica_nodes_count);
        output_text(&output, span_text(id));
    }
    output_end(&output);
    client_reply_done(&reply);
    return VERB_OK;
}

/* ---- describe ---- */

/* One end of one partition, from its leader; -1 when it can't be had. */
static int64_t ask_offset(struct session *session, struct span topic,
                          const struct metadata_response_partition *partition, int64_t which)
{
    struct list_offsets_request_partition wish;
    codec_struct_set_defaults(&list_offsets_request_partition_layout, &wish);
    wish.partition_index = partition->partition_index;
    wish.timestamp = which;
    struct list_offsets_request_topic topic_wish = {.name = topic, .partitions = &wish, .partitions_count = 1};
    struct list_offsets_request request;
    codec_set_defaults(&list_offsets_request_codec, &request);
    request.replica_id = -1;
    request.topics = &topic_wish;
    request.topics_count = 1;
    struct client_reply reply;
    if (partition->leader_id < 0 ||
        client_call(session->client, partition->leader_id, API_KEY_LIST_OFFSETS, &request, &reply) != ERR_OK) {
        return -1;
    }
    const struct list_offsets_response *response = reply.message;
    int64_t offset = -1;
    if (response->topics_count == 1 && response->topics[0].partitions_count == 1) {
        offset = response->topics[0].partitions[0].offset;
    }
    client_reply_done(&reply);
    return offset;
}

static void put_ids(struct output *output, const int32_t *ids, size_t count)
{
    char text[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < count && used + 16 < sizeof(text); i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%" PRId32, i == 0 ? "" : ",", ids[i]);
    }
    output_text(output, span_text(text));
}

static void show_partitions(struct session *session, const struct metadata_response_topic *topic)
{
    struct output output;
    output_init(&output, arguments_wants_json(session->arguments), "partitions");
    output_columns(&output, (const char *const[]){"partition", "leader", "epoch", "replicas", "isr", "start", "end"},
                   7);
    for (size_t i = 0; i < topic->partitions_count; i++) {
        const struct metadata_response_partition *partition = &topic->partitions[i];
        output_number(&output, partition->partition_index);
        output_number(&output, partition->leader_id);
        output_number(&output, partition->leader_epoch);
        put_ids(&output, partition->replica_nodes, partition->replica_nodes_count);
        put_ids(&output, partition->isr_nodes, partition->isr_nodes_count);
        output_number(&output, ask_offset(session, topic->name, partition, OFFSETS_EARLIEST));
        output_number(&output, ask_offset(session, topic->name, partition, OFFSETS_LATEST));
    }
    output_end(&output);
}

/* What was set on the topic itself. */
static enum err show_settings(struct session *session, struct span topic)
{
    struct describe_configs_request_resource resource = {.resource_type = CONFIG_RESOURCE_TOPIC,
                                                         .resource_name = topic};
    struct describe_configs_request request;
    codec_set_defaults(&describe_configs_request_codec, &request);
    request.resources = &resource;
    request.resources_count = 1;
    struct client_reply reply;
    enum err err = client_call(session->client, CLIENT_NODE_ANY, API_KEY_DESCRIBE_CONFIGS, &request, &reply);
    if (err != ERR_OK) {
        return err;
    }
    const struct describe_configs_response *response = reply.message;
    struct output output;
    output_init(&output, arguments_wants_json(session->arguments), "settings");
    output_columns(&output, (const char *const[]){"setting", "value"}, 2);
    for (size_t r = 0; r < response->results_count; r++) {
        for (size_t i = 0; i < response->results[r].configs_count; i++) {
            const struct describe_configs_response_resource_result *config = &response->results[r].configs[i];
            if (config->config_source == CONFIG_SOURCE_TOPIC) {
                output_text(&output, config->name);
                output_text(&output, config->value);
            }
        }
    }
    output_end(&output);
    client_reply_done(&reply);
    return ERR_OK;
}

static int describe_one(struct session *session, const struct metadata_response_topic *topic)
{
    char what[300];
    (void)snprintf(what, sizeof(what), "%.*s", (int)topic->name.bytes, (const char *)topic->name.data);
    if (topic->error_code != ERROR_NONE) {
        return session_fail_code(session, what, topic->error_code, SPAN_NULL);
    }
    if (!arguments_wants_json(session->arguments)) {
        char id[UUID_TEXT_BYTES];
        uuid_format(topic->topic_id, id);
        (void)printf("topic %s, id %s\n\n", what, id);
    }
    show_partitions(session, topic);
    return show_settings(session, topic->name) == ERR_OK ? VERB_OK : session_fail(session);
}

int topic_describe(struct session *session)
{
    struct client_reply reply;
    if (ask_metadata(session, &session->arguments->words, &reply) != ERR_OK) {
        return session_fail(session);
    }
    const struct metadata_response *response = reply.message;
    int status = VERB_OK;
    for (size_t i = 0; i < response->topics_count; i++) {
        int one = describe_one(session, &response->topics[i]);
        status = one != VERB_OK ? one : status;
    }
    client_reply_done(&reply);
    return status;
}

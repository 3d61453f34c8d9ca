/* topic list, topic describe. */
#include "cli/metadata_ask.h"
#include "cli/offset_list.h"
#include "cli/output.h"
#include "cli/topic.h"
#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/describe_configs.h"
#include "proto/wire/error_code.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CONFIG_RESOURCE_TOPIC 2
#define CONFIG_SOURCE_TOPIC 1

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
    if (metadata_ask(session, NULL, 0, false, &reply) != ERR_OK) {
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

/* The ends of all partitions; -1 where they can't be had. */
static struct offset_wish *ask_offsets(struct session *session, const struct metadata_response_topic *topic,
                                       const char *name, int64_t which)
{
    struct topic_map map = {.name = name};
    struct offset_wish *wishes = mem_array(topic->partitions_count, sizeof(*wishes));
    for (size_t i = 0; i < topic->partitions_count; i++) {
        wishes[i] = (struct offset_wish){.partition = topic->partitions[i].partition_index, .timestamp = which};
    }
    if (topic_map_take(&map, topic) == ERR_OK) {
        offset_list_try(session, &map, ISOLATION_READ_UNCOMMITTED, wishes, topic->partitions_count);
    }
    topic_map_done(&map);
    return wishes;
}

/* Rows of several topics may stand behind one another: in JSON each says its own. In a table the head says it. */
static void begin_rows(const struct session *session, struct output *output, const char *kind,
                       const char *const *columns, size_t column_count)
{
    bool is_json = arguments_wants_json(session->arguments);
    CHECK(strcmp(columns[0], "topic") == 0);
    output_init(output, is_json, kind);
    output_columns(output, is_json ? columns : columns + 1, is_json ? column_count : column_count - 1);
}

static void begin_row(struct output *output, struct span topic)
{
    if (output->is_json) {
        output_text(output, topic);
    }
}

static int compare_partitions(const void *a, const void *b)
{
    const struct metadata_response_partition *left = a;
    const struct metadata_response_partition *right = b;
    return (left->partition_index > right->partition_index) - (left->partition_index < right->partition_index);
}

static void show_partitions(struct session *session, const struct metadata_response_topic *topic, const char *name)
{
    if (topic->partitions_count > 0) {
        qsort(topic->partitions, topic->partitions_count, sizeof(topic->partitions[0]), compare_partitions);
    }
    struct offset_wish *starts = ask_offsets(session, topic, name, OFFSET_LIST_EARLIEST);
    struct offset_wish *ends = ask_offsets(session, topic, name, OFFSET_LIST_LATEST);
    struct output output;
    begin_rows(session, &output, "partitions",
               (const char *const[]){"topic", "partition", "leader", "epoch", "replicas", "isr", "start", "end"}, 8);
    for (size_t i = 0; i < topic->partitions_count; i++) {
        const struct metadata_response_partition *partition = &topic->partitions[i];
        begin_row(&output, topic->name);
        output_number(&output, partition->partition_index);
        output_number(&output, partition->leader_id);
        output_number(&output, partition->leader_epoch);
        output_ids(&output, partition->replica_nodes, partition->replica_nodes_count);
        output_ids(&output, partition->isr_nodes, partition->isr_nodes_count);
        output_number(&output, starts[i].offset);
        output_number(&output, ends[i].offset);
    }
    output_end(&output);
    mem_free(starts);
    mem_free(ends);
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
    begin_rows(session, &output, "settings", (const char *const[]){"topic", "setting", "value"}, 3);
    for (size_t r = 0; r < response->results_count; r++) {
        for (size_t i = 0; i < response->results[r].configs_count; i++) {
            const struct describe_configs_response_resource_result *config = &response->results[r].configs[i];
            if (config->config_source == CONFIG_SOURCE_TOPIC) {
                begin_row(&output, topic);
                output_text(&output, config->name);
                output_text(&output, config->value);
            }
        }
    }
    if (!output.is_json && output.cell_count == 0) {
        (void)puts("no settings of its own");
    } else {
        output_end(&output);
    }
    client_reply_done(&reply);
    return ERR_OK;
}

static int describe_one(struct session *session, const struct metadata_response_topic *topic)
{
    char what[300];
    (void)snprintf(what, sizeof(what), "%.*s", (int)topic->name.bytes, (const char *)topic->name.data);
    if (topic->error_code == ERROR_UNKNOWN_TOPIC_OR_PARTITION) {
        return topic_map_complain_unknown(session, what);
    }
    if (topic->error_code != ERROR_NONE) {
        return session_fail_code(session, what, topic->error_code, SPAN_NULL);
    }
    if (!arguments_wants_json(session->arguments)) {
        char id[UUID_TEXT_BYTES];
        uuid_format(topic->topic_id, id);
        (void)printf("topic %s, id %s\n\n", what, id);
    }
    show_partitions(session, topic, what);
    return show_settings(session, topic->name) == ERR_OK ? VERB_OK : session_fail(session);
}

int topic_describe(struct session *session)
{
    const struct flag_values *names = &session->arguments->words;
    struct client_reply reply;
    if (metadata_ask(session, names->values, names->count, false, &reply) != ERR_OK) {
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

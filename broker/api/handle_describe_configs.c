/* DescribeConfigs: the settings of topics and of this broker, with their sources.
 *
 * Source: DescribeConfigs v1-v4 of Kafka 4.3; KIP-133, KIP-226 (synonyms), KIP-569 (types and documentation). */
#include "broker/api/authorise.h"
#include "broker/api/handlers.h"
#include "broker/api/request.h"
#include "broker/broker.h"
#include "broker/meta/cluster_view.h"
#include "broker/meta/config_view.h"
#include "broker/worker.h"
#include "controller/topic_config.h"
#include "proto/kmsg/describe_configs.h"
#include "proto/wire/error_code.h"

#include <inttypes.h>
#include <stdio.h>

enum config_resource_type {
    CONFIG_RESOURCE_TOPIC = 2,
    CONFIG_RESOURCE_BROKER = 4,
    CONFIG_RESOURCE_BROKER_LOGGER = 8,
    CONFIG_RESOURCE_CLIENT_METRICS = 16,
    CONFIG_RESOURCE_GROUP = 32,
};

struct describe_configs {
    struct request *request;
    const struct describe_configs_request *message;
    struct config_view view;
    struct describe_configs_response response;
};

static bool config_is_wanted(const struct describe_configs_request_resource *resource, const char *name)
{
    if (resource->configuration_keys_count == 0) { /* null or empty: all */
        return true;
    }
    for (size_t i = 0; i < resource->configuration_keys_count; i++) {
        if (span_equal_text(resource->configuration_keys[i], name)) {
            return true;
        }
    }
    return false;
}

static bool config_fill(struct describe_configs *describe, const struct option_row *row,
                        const struct config_chain *chain, bool is_read_only,
                        struct describe_configs_response_result *result)
{
    struct describe_configs_response_resource_result *told = &result->configs[result->configs_count++];
    told->name = span_text(row->name);
    told->value = row->is_secret ? SPAN_NULL : chain->entries[0].value;
    told->read_only = is_read_only;
    told->config_source = (int8_t)chain->entries[0].source;
    told->is_sensitive = row->is_secret;
    told->config_type = topic_config_kafka_type(row);
    told->documentation = describe->message->include_documentation ? span_text(row->doc) : SPAN_NULL;
    if (!describe->message->include_synonyms) {
        return true;
    }
    told->synonyms =
        codec_array(&describe_configs_response_synonym_layout, chain->entry_count, &describe->request->arena);
    if (told->synonyms == NULL) {
        return false;
    }
    told->synonyms_count = chain->entry_count;
    for (size_t i = 0; i < chain->entry_count; i++) {
        told->synonyms[i].name = chain->entries[i].name;
        told->synonyms[i].value = row->is_secret ? SPAN_NULL : chain->entries[i].value;
        told->synonyms[i].source = (int8_t)chain->entries[i].source;
    }
    return true;
}

static void config_refuse(struct describe_configs *describe, struct describe_configs_response_result *result,
                          enum error_code error, const char *before, struct span name, const char *after)
{
    result->error_code = (int16_t)error;
    result->error_message =
        arena_format(&describe->request->arena, "%s '%.*s'%s", before, (int)name.bytes, (const char *)name.data, after);
}

static bool config_describe_topic(struct describe_configs *describe,
                                  const struct describe_configs_request_resource *resource,
                                  struct describe_configs_response_result *result)
{
    struct span name = resource->resource_name;
    if (!authorise(describe->request, AUTHORISE_DESCRIBE_CONFIGS, AUTHORISE_TOPIC, name)) {
        result->error_code = ERROR_TOPIC_AUTHORIZATION_FAILED;
        return true;
    }
    if (!cluster_view_is_topic_name(name)) {
        result->error_code = ERROR_INVALID_TOPIC_EXCEPTION;
        result->error_message = span_text(
            "a topic name has 1 to 249 characters of a-z, A-Z, 0-9, '.', '_' and '-', and is not '.' or '..'");
        return true;
    }
    if (image_find_topic(describe->view.image, name) == NULL) {
        config_refuse(describe, result, ERROR_UNKNOWN_TOPIC_OR_PARTITION, "there is no topic", name, "");
        return true;
    }
    result->configs =
        codec_array(&describe_configs_response_resource_result_layout, topic_config_count(), &describe->request->arena);
    if (result->configs == NULL) {
        return false;
    }
    for (size_t i = 0; i < topic_config_count(); i++) {
        const struct topic_config_row *row = topic_config_at(i);
        struct config_chain chain;
        if (!config_is_wanted(resource, row->row.name)) {
            continue;
        }
        if (!config_view_topic(&describe->view, name, row, &chain) ||
            !config_fill(describe, &row->row, &chain, false, result)) {
            return false;
        }
    }
    return true;
}

/* This broker by its id, or, by the empty name, what was set for all brokers while they ran. */
static bool config_describe_broker(struct describe_configs *describe,
                                   const struct describe_configs_request_resource *resource,
                                   struct describe_configs_response_result *result)
{
    struct span name = resource->resource_name;
    char own_id[16];
    (void)snprintf(own_id, sizeof(own_id), "%" PRId32, describe->view.options->node_id);
    if (!authorise_cluster(describe->request, AUTHORISE_DESCRIBE_CONFIGS)) {
        result->error_code = ERROR_CLUSTER_AUTHORIZATION_FAILED;
        return true;
    }
    if (name.bytes > 0 && !span_equal_text(name, own_id)) {
        config_refuse(describe, result, ERROR_INVALID_REQUEST, "broker", name,
                      " is not this one: ask the broker itself, or for the empty name (all brokers)");
        return true;
    }
    const struct option_table *table = broker_options_table();
    result->configs =
        codec_array(&describe_configs_response_resource_result_layout, table->row_count, &describe->request->arena);
    if (result->configs == NULL) {
        return false;
    }
    for (size_t i = 0; i < table->row_count; i++) {
        const struct option_row *row = &table->rows[i];
        struct config_chain chain;
        if (!config_is_wanted(resource, row->name)) {
            continue;
        }
        if (!config_view_broker(&describe->view, row, &chain)) {
            return false;
        }
        bool is_left_out = name.bytes == 0 && chain.entries[0].source != CONFIG_SOURCE_DEFAULT_BROKER;
        if (!is_left_out && !config_fill(describe, row, &chain, row->change == OPTION_AT_START, result)) {
            return false;
        }
    }
    return true;
}

static bool config_describe(struct describe_configs *describe, const struct describe_configs_request_resource *resource,
                            struct describe_configs_response_result *result)
{
    result->resource_type = resource->resource_type;
    result->resource_name = resource->resource_name;
    result->error_message = SPAN_NULL;
    switch (resource->resource_type) {
    case CONFIG_RESOURCE_TOPIC:
        return config_describe_topic(describe, resource, result);
    case CONFIG_RESOURCE_BROKER:
        return config_describe_broker(describe, resource, result);
    case CONFIG_RESOURCE_CLIENT_METRICS:
    case CONFIG_RESOURCE_GROUP:
        return true; /* none has any setting: this release has neither */
    case CONFIG_RESOURCE_BROKER_LOGGER:
    default:
        result->error_code = ERROR_INVALID_REQUEST;
        result->error_message = span_text("settings exist for topics (2) and brokers (4)");
        return true;
    }
}

void handle_describe_configs(struct request *request)
{
    struct describe_configs describe = {
        .request = request,
        .message = request->message,
        .view = {.image = request->worker->image,
                 .options = request->worker->broker->options,
                 .arena = &request->arena},
    };
    codec_set_defaults(&describe_configs_response_codec, &describe.response);
    size_t count = describe.message->resources_count;
    bool is_filled = true;
    describe.response.results = codec_array(&describe_configs_response_result_layout, count, &request->arena);
    if (describe.response.results == NULL) {
        is_filled = false;
        count = 0;
    }
    for (size_t i = 0; i < count && is_filled; i++) {
        is_filled = config_describe(&describe, &describe.message->resources[i], &describe.response.results[i]);
        describe.response.results_count = i + 1;
    }
    if (is_filled) {
        request_reply(request, &describe.response);
    } else {
        request_close_connection(request, "the answer on settings needs more memory than one request may use");
    }
}

/* topic create, alter, delete. */
#include "cli/line_reader.h"
#include "cli/output.h"
#include "cli/topic.h"
#include "cli/units.h"
#include "common/posix/terminal.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/create_partitions.h"
#include "proto/kmsg/create_topics.h"
#include "proto/kmsg/delete_topics.h"
#include "proto/kmsg/incremental_alter_configs.h"
#include "proto/wire/error_code.h"

#include <stdio.h>
#include <string.h>

#define CONFIG_VALUE_BYTES 1024
#define CONFIG_OPERATION_SET 0
#define CONFIG_OPERATION_DELETE 1
#define CONFIG_RESOURCE_TOPIC 2

/* A setting as it was given, NAME=VALUE, with its units worked out. */
struct setting {
    struct span name;
    char value[CONFIG_VALUE_BYTES];
};

static enum err parse_setting(const struct session *session, const char *text, struct setting *ret_setting)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        arguments_complain(session->arguments->command, "--config is NAME=VALUE, not '%s'", text);
        return ERR_INVALID;
    }
    ret_setting->name = span_make(text, (size_t)(equals - text));
    if (units_setting_value(ret_setting->name, span_text(equals + 1), ret_setting->value, CONFIG_VALUE_BYTES) !=
        ERR_OK) {
        arguments_complain(
            session->arguments->command,
            "'%s' is no value for %.*s: give a number, or one with a unit (250ms, 10s, 30m, 12h, 7d; 64KiB, "
            "512MiB, 1GiB)",
            equals + 1, (int)ret_setting->name.bytes, (const char *)ret_setting->name.data);
        return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err parse_settings(const struct session *session, struct setting *settings, size_t *ret_count)
{
    const struct flag_values *given = arguments_all(session->arguments, "config");
    for (size_t i = 0; i < given->count; i++) {
        enum err err = parse_setting(session, given->values[i], &settings[i]);
        if (err != ERR_OK) {
            return err;
        }
    }
    *ret_count = given->count;
    return ERR_OK;
}

/* What was done to a topic: "topic NAME exists already" and the like, or a row {"kind":..., "topic":...}. */
static void report_done(const struct session *session, const char *kind, const char *name, const char *done)
{
    if (!arguments_wants_json(session->arguments)) {
        (void)printf("topic %s %s\n", name, done);
        return;
    }
    struct output output;
    output_init(&output, true, kind);
    output_columns(&output, (const char *const[]){"topic"}, 1);
    output_text(&output, span_text(name));
    output_end(&output);
}

/* ---- create ---- */

static void create_report_json(const struct create_topics_response_creatable_topic_result *topic)
{
    char id[UUID_TEXT_BYTES];
    struct output output;
    uuid_format(topic->topic_id, id);
    output_init(&output, true, "created");
    output_columns(&output, (const char *const[]){"topic", "partitions", "replication_factor", "topic_id"}, 4);
    output_text(&output, topic->name);
    output_number(&output, topic->num_partitions);
    output_number(&output, topic->replication_factor);
    output_text(&output, span_text(id));
    output_end(&output);
}

static int create_report(struct session *session, const struct create_topics_response *response)
{
    int status = VERB_OK;
    bool is_json = arguments_wants_json(session->arguments);
    for (size_t i = 0; i < response->topics_count; i++) {
        const struct create_topics_response_creatable_topic_result *topic = &response->topics[i];
        char what[300];
        (void)snprintf(what, sizeof(what), "%.*s", (int)topic->name.bytes, (const char *)topic->name.data);
        bool is_there = topic->error_code == ERROR_TOPIC_ALREADY_EXISTS;
        if (is_there && arguments_has(session->arguments, "if-not-exists")) {
            report_done(session, "exists", what, "exists already");
        } else if (topic->error_code != ERROR_NONE) {
            status = session_fail_code(session, what, topic->error_code, topic->error_message);
        } else if (arguments_has(session->arguments, "check")) {
            report_done(session, "can_be_created", what, "can be created");
        } else if (is_json) {
            create_report_json(topic);
        } else {
            (void)printf("created topic %s with %d partition%s, replication factor %d\n", what, topic->num_partitions,
                         topic->num_partitions == 1 ? "" : "s", topic->replication_factor);
        }
    }
    return status;
}

int topic_create(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    struct setting settings[ARGUMENTS_VALUES_MAX];
    struct create_topics_request_creatable_topic topics[ARGUMENTS_VALUES_MAX] = {0};
    struct create_topics_request_creatable_topic_config configs[ARGUMENTS_VALUES_MAX] = {0};
    size_t config_count = 0;
    int64_t partition_count = 0;
    int64_t replica_count = 0;
    if (arguments_number(arguments, "partitions", 1, INT32_MAX, -1, &partition_count) != ERR_OK ||
        arguments_number(arguments, "replication-factor", 1, INT16_MAX, -1, &replica_count) != ERR_OK ||
        parse_settings(session, settings, &config_count) != ERR_OK) {
        return VERB_USAGE;
    }
    for (size_t i = 0; i < config_count; i++) {
        configs[i].name = settings[i].name;
        configs[i].value = span_text(settings[i].value);
    }
    struct create_topics_request request;
    codec_set_defaults(&create_topics_request_codec, &request);
    request.topics = topics;
    request.topics_count = arguments->words.count;
    request.validate_only = arguments_has(arguments, "check");
    for (size_t i = 0; i < arguments->words.count; i++) {
        topics[i].name = span_text(arguments->words.values[i]);
        topics[i].num_partitions = (int32_t)partition_count;
        topics[i].replication_factor = (int16_t)replica_count;
        topics[i].configs = configs;
        topics[i].configs_count = config_count;
    }
    struct client_reply reply;
    if (client_call(session->client, CLIENT_NODE_ANY, API_KEY_CREATE_TOPICS, &request, &reply) != ERR_OK) {
        return session_fail(session);
    }
    int status = create_report(session, reply.message);
    client_reply_done(&reply);
    return status;
}

/* ---- alter ---- */

static int alter_partitions(struct session *session, const char *name, int32_t count)
{
    struct create_partitions_request_topic topic = {.name = span_text(name), .count = count};
    struct create_partitions_request request;
    codec_set_defaults(&create_partitions_request_codec, &request);
    request.topics = &topic;
    request.topics_count = 1;
    request.timeout_ms = (int32_t)session->client->config.timeout_ms;
    struct client_reply reply;
    if (client_call(session->client, CLIENT_NODE_ANY, API_KEY_CREATE_PARTITIONS, &request, &reply) != ERR_OK) {
        return session_fail(session);
    }
    const struct create_partitions_response *response = reply.message;
    int status = VERB_OK;
    if (response->results_count == 1 && response->results[0].error_code != ERROR_NONE) {
        status = session_fail_code(session, name, response->results[0].error_code, response->results[0].error_message);
    } else {
        report_done(session, "partitions_added", name, "has more partitions now");
    }
    client_reply_done(&reply);
    return status;
}

static int alter_settings(struct session *session, const char *name, const struct setting *settings, size_t set_count)
{
    const struct flag_values *deleted = arguments_all(session->arguments, "delete-config");
    struct incremental_alter_configs_request_alterable_config configs[2 * ARGUMENTS_VALUES_MAX] = {0};
    for (size_t i = 0; i < set_count; i++) {
        configs[i].name = settings[i].name;
        configs[i].config_operation = CONFIG_OPERATION_SET;
        configs[i].value = span_text(settings[i].value);
    }
    for (size_t i = 0; i < deleted->count; i++) {
        configs[set_count + i].name = span_text(deleted->values[i]);
        configs[set_count + i].config_operation = CONFIG_OPERATION_DELETE;
    }
    struct incremental_alter_configs_request_alter_configs_resource resource = {
        .resource_type = CONFIG_RESOURCE_TOPIC,
        .resource_name = span_text(name),
        .configs = configs,
        .configs_count = set_count + deleted->count,
    };
    struct incremental_alter_configs_request request;
    codec_set_defaults(&incremental_alter_configs_request_codec, &request);
    request.resources = &resource;
    request.resources_count = 1;
    struct client_reply reply;
    if (client_call(session->client, CLIENT_NODE_ANY, API_KEY_INCREMENTAL_ALTER_CONFIGS, &request, &reply) != ERR_OK) {
        return session_fail(session);
    }
    const struct incremental_alter_configs_response *response = reply.message;
    int status = VERB_OK;
    if (response->responses_count == 1 && response->responses[0].error_code != ERROR_NONE) {
        status =
            session_fail_code(session, name, response->responses[0].error_code, response->responses[0].error_message);
    } else {
        report_done(session, "settings_changed", name, "has new settings");
    }
    client_reply_done(&reply);
    return status;
}

int topic_alter(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    const char *name = arguments->words.values[0];
    struct setting settings[ARGUMENTS_VALUES_MAX];
    size_t setting_count = 0;
    int64_t partition_count = 0;
    if (arguments_number(arguments, "partitions", 1, INT32_MAX, -1, &partition_count) != ERR_OK ||
        parse_settings(session, settings, &setting_count) != ERR_OK) {
        return VERB_USAGE;
    }
    bool has_settings = setting_count > 0 || arguments_has(arguments, "delete-config");
    if (!has_settings && partition_count < 0) {
        arguments_complain(arguments->command, "nothing to change: give --partitions, --config or --delete-config");
        return VERB_USAGE;
    }
    int status = has_settings ? alter_settings(session, name, settings, setting_count) : VERB_OK;
    if (status == VERB_OK && partition_count > 0) {
        status = alter_partitions(session, name, (int32_t)partition_count);
    }
    return status;
}

/* ---- delete ---- */

static bool delete_is_confirmed(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    if (arguments_has(arguments, "yes")) {
        return true;
    }
    if (!terminal_is_input()) {
        arguments_complain(arguments->command,
                           "records of a deleted topic are gone for good: repeat the command with --yes");
        return false;
    }
    (void)fprintf(stderr, "Delete %zu topic%s and all records? Type yes: ", arguments->words.count,
                  arguments->words.count == 1 ? "" : "s");
    struct line_reader reader;
    struct span line = SPAN_NULL;
    enum err err = line_reader_open(&reader, session, NULL);
    while (err == ERR_OK && !session->is_interrupted) {
        err = line_reader_next(&reader, &line);
        if (err != ERR_WOULD_BLOCK) {
            break;
        }
        line_reader_wait(&reader);
        err = ERR_OK;
    }
    bool is_confirmed = err == ERR_OK && !session->is_interrupted && span_equal_text(line, "yes");
    line_reader_close(&reader);
    return is_confirmed;
}

int topic_delete(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    int16_t api_version = 0;
    if (!delete_is_confirmed(session)) {
        return VERB_FAILED;
    }
    if (client_version(session->client, CLIENT_NODE_ANY, API_KEY_DELETE_TOPICS, &api_version) != ERR_OK) {
        return session_fail(session);
    }
    struct delete_topics_request_delete_topic_state topics[ARGUMENTS_VALUES_MAX] = {0};
    struct span names[ARGUMENTS_VALUES_MAX];
    for (size_t i = 0; i < arguments->words.count; i++) {
        names[i] = span_text(arguments->words.values[i]);
        topics[i].name = names[i];
    }
    struct delete_topics_request request;
    codec_set_defaults(&delete_topics_request_codec, &request);
    request.timeout_ms = (int32_t)session->client->config.timeout_ms;
    if (api_version >= 6) {
        request.topics = topics;
        request.topics_count = arguments->words.count;
    } else {
        request.topic_names = names;
        request.topic_names_count = arguments->words.count;
    }
    struct client_reply reply;
    if (client_call(session->client, CLIENT_NODE_ANY, API_KEY_DELETE_TOPICS, &request, &reply) != ERR_OK) {
        return session_fail(session);
    }
    const struct delete_topics_response *response = reply.message;
    int status = VERB_OK;
    for (size_t i = 0; i < response->responses_count; i++) {
        const struct delete_topics_response_deletable_topic_result *result = &response->responses[i];
        char what[300];
        (void)snprintf(what, sizeof(what), "%.*s", (int)result->name.bytes, (const char *)result->name.data);
        if (result->error_code != ERROR_NONE) {
            status = session_fail_code(session, what, result->error_code, result->error_message);
        } else {
            report_done(session, "deleted", what, "is deleted");
        }
    }
    client_reply_done(&reply);
    return status;
}

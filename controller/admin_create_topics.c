/* CreateTopics (19), and topics that clients make exist by asking for them. */
#include "common/seam/rng.h"
#include "controller/controller_api.h"
#include "controller/topic_config.h"
#include "proto/kmsg/create_topics.h"

/* DescribeConfigsResponse.ConfigSource */
#define SOURCE_TOPIC 1
#define SOURCE_DEFAULT 5

typedef struct create_topics_request_creatable_topic creatable_topic;
typedef struct create_topics_response_creatable_topic_result topic_result;

/* Topics of this name among those before `end`, the one at `index` left out. */
static bool is_named_before(const struct create_topics_request *request, size_t index, size_t end)
{
    for (size_t i = 0; i < end; i++) {
        if (i != index && span_equal(request->topics[i].name, request->topics[index].name)) {
            return true;
        }
    }
    return false;
}

/* The wire's topic as a wish; false when the arena is exhausted. */
static bool make_wish(struct api_call *call, const creatable_topic *topic, struct topic_wish *ret_wish)
{
    struct arena *arena = call->decision.arena;
    struct topic_assignment *assignments =
        (struct topic_assignment *)arena_array(arena, topic->assignments_count + 1, sizeof(assignments[0]));
    struct config_change *configs =
        (struct config_change *)arena_array(arena, topic->configs_count + 1, sizeof(configs[0]));
    if (assignments == NULL || configs == NULL) {
        return false;
    }
    for (size_t i = 0; i < topic->assignments_count; i++) {
        assignments[i] =
            (struct topic_assignment){topic->assignments[i].partition_index, topic->assignments[i].broker_ids,
                                      topic->assignments[i].broker_ids_count};
    }
    for (size_t i = 0; i < topic->configs_count; i++) {
        configs[i] = (struct config_change){topic->configs[i].name, topic->configs[i].value, CONFIG_SET};
    }
    *ret_wish = (struct topic_wish){
        .name = topic->name,
        .id = uuid_random(call->rng),
        .partition_count = topic->num_partitions,
        .replication_factor = topic->replication_factor,
        .assignments = assignments,
        .assignment_count = topic->assignments_count,
        .configs = configs,
        .config_count = topic->configs_count,
    };
    return true;
}

/* All settings of the new topic as versions 5 and above tell them. */
static void describe_configs(struct api_call *call, const struct topic_wish *wish, topic_result *result)
{
    size_t count = topic_config_count();
    result->configs = (struct create_topics_response_creatable_topic_configs *)codec_array(
        &create_topics_response_creatable_topic_configs_layout, count, call->decision.arena);
    if (result->configs == NULL) {
        return;
    }
    result->configs_count = count;
    for (size_t i = 0; i < count; i++) {
        const struct option_row *row = &topic_config_at(i)->row;
        result->configs[i].name = span_text(row->name);
        result->configs[i].value = span_text(row->default_text);
        result->configs[i].config_source = SOURCE_DEFAULT;
        for (size_t j = 0; j < wish->config_count; j++) {
            if (span_equal_text(wish->configs[j].name, row->name)) {
                result->configs[i].value = wish->configs[j].value;
                result->configs[i].config_source = SOURCE_TOPIC;
            }
        }
    }
}

static void create_one(struct api_call *call, const struct create_topics_request *request, size_t index,
                       uint32_t *budget, topic_result *result)
{
    struct decision_result outcome = {0};
    struct topic_created created = {0};
    struct topic_wish wish = {0};
    size_t first_record = call->decision.records->count;
    result->name = request->topics[index].name;
    api_call_draw_seed(call);
    if (is_named_before(request, index, request->topics_count)) {
        (void)decision_refuse(&call->decision, &outcome, ERROR_INVALID_REQUEST, "Topic '%.*s' is named twice.",
                              DECISION_TEXT(result->name));
    } else if (!make_wish(call, &request->topics[index], &wish)) {
        outcome.code = ERROR_UNKNOWN_SERVER_ERROR;
    } else if (topic_control_create(&call->decision, &wish, budget, &created, &outcome)) {
        api_call_advance(call, first_record, &outcome);
    }
    result->error_code = outcome.code;
    result->error_message = outcome.message;
    if (outcome.code == ERROR_NONE) {
        result->topic_id = wish.id;
        result->num_partitions = created.partition_count;
        result->replication_factor = (int16_t)created.replication_factor;
        describe_configs(call, &wish, result);
    }
}

enum err admin_create_topics(struct api_call *call)
{
    struct create_topics_request request;
    struct create_topics_response response;
    const struct image *image = call->decision.image;
    size_t first_record = call->decision.records->count;
    uint32_t budget = TOPIC_PARTITIONS_PER_REQUEST_MAX;
    enum err err = api_call_decode(call, &create_topics_request_codec, &request);
    if (err != ERR_OK) {
        return err;
    }
    codec_set_defaults(&create_topics_response_codec, &response);
    response.topics = (topic_result *)codec_array(&create_topics_response_creatable_topic_result_layout,
                                                  request.topics_count, call->decision.arena);
    if (response.topics == NULL && request.topics_count > 0) {
        return ERR_LIMIT;
    }
    struct decision_result excess = {0};
    bool is_too_much = api_call_is_too_much(call, request.topics_count, &excess);
    for (size_t i = 0; i < request.topics_count; i++) {
        if (is_too_much) {
            topic_result *result = &response.topics[response.topics_count++];
            result->name = request.topics[i].name;
            result->error_code = excess.code;
            result->error_message = excess.message;
        } else if (!is_named_before(&request, i, i)) { /* a name that comes twice is refused once */
            create_one(call, &request, i, &budget, &response.topics[response.topics_count++]);
        }
    }
    if (request.validate_only) {
        api_call_forget(call, image, first_record);
    }
    return api_call_encode(call, &create_topics_response_codec, &response);
}

void controller_api_auto_create(struct api_call *call, const struct controller_auto_create *request)
{
    uint32_t budget = TOPIC_PARTITIONS_PER_REQUEST_MAX;
    CHECK(request->name_count <= CONTROLLER_AUTO_CREATE_TOPICS_MAX);
    for (uint32_t i = 0; i < request->name_count; i++) {
        struct decision_result outcome = {0};
        struct topic_created created;
        size_t first_record = call->decision.records->count;
        struct topic_wish wish = {
            .name = request->names[i],
            .id = uuid_random(call->rng),
            .partition_count = -1,
            .replication_factor = -1,
            .is_internal = request->is_internal,
        };
        api_call_draw_seed(call);
        if (topic_control_create(&call->decision, &wish, &budget, &created, &outcome)) {
            api_call_advance(call, first_record, &outcome);
        }
        request->ret_error_codes[i] = outcome.code == ERROR_TOPIC_ALREADY_EXISTS ? (int16_t)ERROR_NONE : outcome.code;
    }
}

/* CreatePartitions (37). */
#include "controller/controller_api.h"
#include "proto/kmsg/create_partitions.h"

typedef struct create_partitions_request_topic request_topic;
typedef struct create_partitions_response_topic_result topic_result;

/* Whether the topic is named before `end`, at another place than `index`. */
static bool is_named_before(const struct create_partitions_request *request, size_t index, size_t end)
{
    for (size_t i = 0; i < end; i++) {
        if (i != index && span_equal(request->topics[i].name, request->topics[index].name)) {
            return true;
        }
    }
    return false;
}

static void add_to_one(struct api_call *call, const struct create_partitions_request *request, size_t index,
                       uint32_t *budget, topic_result *result)
{
    const request_topic *topic = &request->topics[index];
    struct decision_result outcome = {0};
    size_t first_record = call->decision.records->count;
    struct topic_assignment *assignments = NULL;
    if (topic->assignments != NULL) {
        assignments = (struct topic_assignment *)arena_array(call->decision.arena, topic->assignments_count + 1,
                                                             sizeof(assignments[0]));
        CHECK(assignments != NULL); /* bounded by META_DECISION_BYTES_MAX */
        for (size_t i = 0; i < topic->assignments_count; i++) {
            assignments[i] = (struct topic_assignment){
                .broker_ids = topic->assignments[i].broker_ids,
                .broker_count = topic->assignments[i].broker_ids_count,
            };
        }
    }
    api_call_draw_seed(call);
    if (is_named_before(request, index, request->topics_count)) {
        (void)decision_refuse(&call->decision, &outcome, ERROR_INVALID_REQUEST, "Topic '%.*s' is named twice.",
                              DECISION_TEXT(topic->name));
    } else if (topic_control_add_partitions(&call->decision, topic->name, topic->count, assignments,
                                            topic->assignments_count, budget, &outcome)) {
        api_call_advance(call, first_record, &outcome);
    }
    result->name = topic->name;
    result->error_code = outcome.code;
    result->error_message = outcome.message;
}

enum err admin_create_partitions(struct api_call *call)
{
    struct create_partitions_request request;
    struct create_partitions_response response;
    const struct image *image = call->decision.image;
    size_t first_record = call->decision.records->count;
    uint32_t budget = TOPIC_PARTITIONS_PER_REQUEST_MAX;
    enum err err = api_call_decode(call, &create_partitions_request_codec, &request);
    if (err != ERR_OK) {
        return err;
    }
    codec_set_defaults(&create_partitions_response_codec, &response);
    response.results = (topic_result *)codec_array(&create_partitions_response_topic_result_layout,
                                                   request.topics_count, call->decision.arena);
    if (response.results == NULL && request.topics_count > 0) {
        return ERR_LIMIT;
    }
    struct decision_result excess = {0};
    bool is_too_much = api_call_is_too_much(call, request.topics_count, &excess);
    for (size_t i = 0; i < request.topics_count; i++) {
        if (is_too_much) {
            response.results[response.results_count++] =
                (topic_result){request.topics[i].name, excess.code, excess.message};
        } else if (!is_named_before(&request, i, i)) {
            add_to_one(call, &request, i, &budget, &response.results[response.results_count++]);
        }
    }
    if (request.validate_only) {
        api_call_forget(call, image, first_record);
    }
    return api_call_encode(call, &create_partitions_response_codec, &response);
}

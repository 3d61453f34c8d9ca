/* DeleteTopics (20). */
#include "controller/controller_api.h"
#include "proto/kmsg/delete_topics.h"

typedef struct delete_topics_request_delete_topic_state topic_state;
typedef struct delete_topics_response_deletable_topic_result topic_result;

/* Versions below 6 carry names only: one form for both. */
static bool unify(struct api_call *call, struct delete_topics_request *request)
{
    if (call->admin->api_version >= 6) {
        return true;
    }
    request->topics = (topic_state *)codec_array(&delete_topics_request_delete_topic_state_layout,
                                                 request->topic_names_count, call->decision.arena);
    if (request->topics == NULL && request->topic_names_count > 0) {
        return false;
    }
    request->topics_count = request->topic_names_count;
    for (size_t i = 0; i < request->topic_names_count; i++) {
        request->topics[i].name = request->topic_names[i];
    }
    return true;
}

static bool is_same(const topic_state *a, const topic_state *b)
{
    return !span_is_null(a->name) ? !span_is_null(b->name) && span_equal(a->name, b->name)
                                  : span_is_null(b->name) && uuid_equal(a->topic_id, b->topic_id);
}

/* Whether the same topic is asked for before `end`, at another place than `index`. */
static bool is_named_before(const struct delete_topics_request *request, size_t index, size_t end)
{
    for (size_t i = 0; i < end; i++) {
        if (i != index && is_same(&request->topics[i], &request->topics[index])) {
            return true;
        }
    }
    return false;
}

static void delete_one(struct api_call *call, const struct delete_topics_request *request, size_t index,
                       topic_result *result)
{
    const topic_state *state = &request->topics[index];
    bool by_id = span_is_null(state->name);
    struct decision_result outcome = {0};
    const struct image_topic *topic = NULL;
    size_t first_record = call->decision.records->count;
    result->name = state->name;
    result->topic_id = state->topic_id;
    if (!by_id && !uuid_is_zero(state->topic_id)) {
        (void)decision_refuse(&call->decision, &outcome, ERROR_INVALID_REQUEST,
                              "Name either the topic or its id, not both.");
    } else if (by_id && uuid_is_zero(state->topic_id)) {
        (void)decision_refuse(&call->decision, &outcome, ERROR_INVALID_REQUEST,
                              "Neither a topic name nor an id was given.");
    } else if (is_named_before(request, index, request->topics_count)) {
        (void)decision_refuse(&call->decision, &outcome, ERROR_INVALID_REQUEST, "A topic is named twice.");
    } else if (topic_control_delete(&call->decision, state->name, state->topic_id, by_id, &topic, &outcome)) {
        /* Copied: the topic goes with the image that the next item replaces. */
        result->name = arena_copy(call->decision.arena, topic->name);
        result->topic_id = topic->id;
        api_call_advance(call, first_record, &outcome);
    }
    result->error_code = outcome.code;
    result->error_message = outcome.message;
}

enum err admin_delete_topics(struct api_call *call)
{
    struct delete_topics_request request;
    struct delete_topics_response response;
    enum err err = api_call_decode(call, &delete_topics_request_codec, &request);
    if (err != ERR_OK) {
        return err;
    }
    codec_set_defaults(&delete_topics_response_codec, &response);
    if (!unify(call, &request)) {
        return ERR_LIMIT;
    }
    response.responses = (topic_result *)codec_array(&delete_topics_response_deletable_topic_result_layout,
                                                     request.topics_count, call->decision.arena);
    if (response.responses == NULL && request.topics_count > 0) {
        return ERR_LIMIT;
    }
    struct decision_result excess = {0};
    bool is_too_much = api_call_is_too_much(call, request.topics_count, &excess);
    for (size_t i = 0; i < request.topics_count; i++) {
        if (is_too_much) {
            topic_result *result = &response.responses[response.responses_count++];
            result->name = request.topics[i].name;
            result->topic_id = request.topics[i].topic_id;
            result->error_code = excess.code;
            result->error_message = excess.message;
        } else if (!is_named_before(&request, i, i)) {
            delete_one(call, &request, i, &response.responses[response.responses_count++]);
        }
    }
    return api_call_encode(call, &delete_topics_response_codec, &response);
}

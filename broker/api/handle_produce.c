/* Produce: every batch goes to the worker that owns its partition; the answer is made when the last one is back.
 *
 * Source: Produce v3-v13 of Kafka 4.3; KIP-516 (topic ids since v13), KIP-467 (record errors), KIP-951 (current leader in
 * the answer). Batches are appended in the order of arrival without waiting for earlier requests (design.md 5). */
#include "broker/api/authorise.h"
#include "broker/api/handlers.h"
#include "broker/api/leader_hint.h"
#include "broker/api/request.h"
#include "broker/api/scatter.h"
#include "broker/broker.h"
#include "broker/broker_metrics.h"
#include "broker/replica/partition.h"
#include "broker/worker.h"
#include "common/metric.h"
#include "controller/image.h"
#include "proto/kmsg/produce.h"

#include <stdio.h>

#define PRODUCE_VERSION_TOPIC_IDS 13
#define PRODUCE_VERSION_ZSTD 7
#define PRODUCE_VERSION_CURRENT_LEADER 10
/* A client that asks for less than nothing, or for ever, waits at most this long. */
#define PRODUCE_TIMEOUT_MS_MAX 900000

struct produce_part {
    struct scatter_part part;
    struct partition_append append;
    struct produce_response_partition_produce_response *response;
    const struct image_topic *topic; /* NULL: unknown. Of the image of the beginning: not to be followed after a wait */
};

struct produce {
    struct scatter scatter;
    struct request *request;
    const struct produce_request *message;
    struct produce_response response;
    struct produce_part *parts;
    size_t part_count;
};

static void produce_on_owner_done(struct partition_append *append)
{
    struct produce_part *part = CONTAINER_OF(append, struct produce_part, append);
    scatter_part_done(&part->part);
}

static void produce_on_owner(struct scatter_part *scatter_part, struct partition *partition)
{
    struct produce_part *part = CONTAINER_OF(scatter_part, struct produce_part, part);
    if (partition == NULL) {
        part->append.error = ERROR_NOT_LEADER_OR_FOLLOWER;
        scatter_part_done(scatter_part);
        return;
    }
    partition_append(partition, &part->append);
}

/* The known leader, for clients that asked the wrong broker (KIP-951). Without room for it the client asks for itself. */
static void produce_tell_leader(struct leader_hints *hints, struct produce_part *part)
{
    const struct image_partition *partition = NULL;
    if (part->append.error != ERROR_NOT_LEADER_OR_FOLLOWER ||
        hints->request->api_version < PRODUCE_VERSION_CURRENT_LEADER) {
        return;
    }
    /* Looked up again: the image of the beginning, and the topic in it, may be gone after a wait. */
    if (leader_hints_add(hints, part->part.topic_id, part->part.partition_index, &partition) && partition != NULL) {
        part->response->current_leader.leader_id = partition->leader_id;
        part->response->current_leader.leader_epoch = partition->leader_epoch;
    }
}

static void produce_tell_nodes(struct produce *produce, const struct leader_hints *hints)
{
    struct produce_response *response = &produce->response;
    if (hints->node_count == 0) {
        return;
    }
    response->node_endpoints =
        codec_array(&produce_response_node_endpoint_layout, hints->node_count, &produce->request->arena);
    for (size_t i = 0; response->node_endpoints != NULL && i < hints->node_count; i++) {
        const struct leader_hint_node *node = &hints->nodes[i];
        response->node_endpoints[response->node_endpoints_count++] = (struct produce_response_node_endpoint){
            .node_id = node->node_id, .host = node->host, .port = node->port, .rack = node->rack};
    }
}

static void produce_fill_answer(struct produce *produce, struct produce_part *part)
{
    struct produce_response_partition_produce_response *response = part->response;
    const struct partition_append *append = &part->append;
    response->error_code = (int16_t)append->error;
    response->base_offset = append->base_offset;
    response->log_append_time_ms = append->append_time_ms;
    response->log_start_offset = append->log_start_offset;
    if (append->error == ERROR_NONE || append->message[0] == '\0') {
        return;
    }
    response->error_message = span_text(append->message);
    if (append->bad_record_index < 0) {
        return;
    }
    struct produce_response_batch_index_and_error_message *bad =
        codec_array(&produce_response_batch_index_and_error_message_layout, 1, &produce->request->arena);
    if (bad != NULL) {
        bad->batch_index = append->bad_record_index;
        bad->batch_index_error_message = response->error_message;
        response->record_errors = bad;
        response->record_errors_count = 1;
    }
}

static void produce_count(struct produce *produce, struct produce_part *part)
{
    struct metric_set *metrics = produce->request->worker->metrics;
    if (part->append.error == ERROR_NONE) {
        metric_add(metrics, METRIC_PRODUCE_BYTES, (int64_t)part->append.batch_bytes);
        metric_add(metrics, METRIC_PRODUCE_BATCHES, 1);
    } else {
        metric_add(metrics, METRIC_PRODUCE_ERRORS, 1);
    }
}

static void produce_on_gathered(struct scatter *scatter)
{
    struct produce *produce = CONTAINER_OF(scatter, struct produce, scatter);
    struct request *request = produce->request;
    enum error_code first_error = ERROR_NONE;
    struct leader_hints hints = {.request = request, .image = request->worker->image};
    for (size_t i = 0; i < produce->part_count; i++) {
        struct produce_part *part = &produce->parts[i];
        produce_count(produce, part);
        produce_fill_answer(produce, part);
        produce_tell_leader(&hints, part);
        if (first_error == ERROR_NONE) {
            first_error = part->append.error;
        }
    }
    produce_tell_nodes(produce, &hints);
    if (produce->message->acks != APPEND_ACKS_NONE) {
        request_reply(request, &produce->response);
    } else if (first_error == ERROR_NONE) {
        request_reply_nothing(request);
    } else {
        /* Without an answer this is the only way to make the client look for a better leader or smaller batches. */
        request_close_connection(request, error_code_name((int16_t)first_error));
    }
}

/* What can be said without asking the partition. */
static enum error_code produce_part_refuse(struct produce *produce, const struct produce_part *part,
                                           const struct produce_request_topic_produce_data *topic)
{
    struct request *request = produce->request;
    bool by_id = request->api_version >= PRODUCE_VERSION_TOPIC_IDS;
    if (part->topic == NULL) {
        return by_id ? ERROR_UNKNOWN_TOPIC_ID : ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    struct span name = by_id ? part->topic->name : topic->name;
    if (!authorise(request, AUTHORISE_WRITE, AUTHORISE_TOPIC, name)) {
        return ERROR_TOPIC_AUTHORIZATION_FAILED;
    }
    if (image_find_partition(part->topic, part->part.partition_index) == NULL) {
        return ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    return ERROR_NONE;
}

static void produce_part_start(struct produce *produce, struct produce_part *part,
                               const struct produce_request_topic_produce_data *topic,
                               const struct produce_request_partition_produce_data *data)
{
    struct partition_append *append = &part->append;
    append->base_offset = -1;
    append->append_time_ms = -1;
    append->log_start_offset = -1;
    append->bad_record_index = -1;
    part->part.partition_index = data->index;
    append->error = produce_part_refuse(produce, part, topic);
    if (append->error != ERROR_NONE) {
        return;
    }
    int32_t timeout_ms = produce->message->timeout_ms;
    if (timeout_ms < 0 || timeout_ms > PRODUCE_TIMEOUT_MS_MAX) {
        timeout_ms = timeout_ms < 0 ? 0 : PRODUCE_TIMEOUT_MS_MAX;
    }
    /* The frame belongs to this request alone until the answer: its batches are stamped in place. */
    append->batch = (uint8_t *)(uintptr_t)data->records.bytes.data;
    append->batch_bytes = data->records.bytes.bytes;
    append->acks = (enum append_acks)produce->message->acks;
    append->timeout_us = (uint64_t)timeout_ms * 1000;
    append->is_zstd_allowed = produce->request->api_version >= PRODUCE_VERSION_ZSTD;
    append->done = produce_on_owner_done;
    scatter_send(&produce->scatter, &part->part, part->topic->id, data->index, produce_on_owner);
}

static const struct image_topic *produce_find_topic(struct request *request,
                                                    const struct produce_request_topic_produce_data *topic)
{
    const struct image *image = request->worker->image;
    return request->api_version >= PRODUCE_VERSION_TOPIC_IDS ? image_find_topic_id(image, topic->topic_id)
                                                             : image_find_topic(image, topic->name);
}

/* Answers have the shape of the request: allocates both sides before the first part leaves. */
static bool produce_prepare(struct produce *produce)
{
    const struct produce_request *message = produce->message;
    struct arena *arena = &produce->request->arena;
    for (size_t t = 0; t < message->topic_data_count; t++) {
        produce->part_count += message->topic_data[t].partition_data_count;
    }
    produce->parts = arena_array(arena, produce->part_count, sizeof(*produce->parts));
    struct produce_response *response = &produce->response;
    codec_set_defaults(&produce_response_codec, response);
    response->responses =
        codec_array(&produce_response_topic_produce_response_layout, message->topic_data_count, arena);
    if (produce->parts == NULL || response->responses == NULL) {
        return false;
    }
    response->responses_count = message->topic_data_count;
    size_t part_index = 0;
    for (size_t t = 0; t < message->topic_data_count; t++) {
        const struct produce_request_topic_produce_data *topic = &message->topic_data[t];
        struct produce_response_topic_produce_response *answer = &response->responses[t];
        answer->name = topic->name;
        answer->topic_id = topic->topic_id;
        answer->partition_responses =
            codec_array(&produce_response_partition_produce_response_layout, topic->partition_data_count, arena);
        if (answer->partition_responses == NULL) {
            return false;
        }
        answer->partition_responses_count = topic->partition_data_count;
        const struct image_topic *found = produce_find_topic(produce->request, topic);
        for (size_t p = 0; p < topic->partition_data_count; p++) {
            struct produce_part *part = &produce->parts[part_index++];
            part->topic = found;
            part->response = &answer->partition_responses[p];
            part->response->index = topic->partition_data[p].index;
        }
    }
    return true;
}

static void produce_refuse_all(struct produce *produce, enum error_code error, const char *text)
{
    for (size_t i = 0; i < produce->part_count; i++) {
        struct produce_part *part = &produce->parts[i];
        part->append.error = error;
        part->append.base_offset = -1;
        part->append.append_time_ms = -1;
        part->append.log_start_offset = -1;
        part->append.bad_record_index = -1;
        (void)snprintf(part->append.message, sizeof(part->append.message), "%s", text);
    }
}

void handle_produce(struct request *request)
{
    struct produce *produce = arena_alloc(&request->arena, sizeof(*produce));
    if (produce == NULL) {
        request_close_connection(request, "the produce request needs more memory than one request may use");
        return;
    }
    produce->request = request;
    produce->message = request->message;
    if (!produce_prepare(produce)) {
        request_close_connection(request, "the produce request needs more memory than one request may use");
        return;
    }
    const struct produce_request *message = produce->message;
    scatter_begin(&produce->scatter, request->worker, produce_on_gathered);
    if (!span_is_null(message->transactional_id) &&
        !authorise(request, AUTHORISE_WRITE, AUTHORISE_TRANSACTIONAL_ID, message->transactional_id)) {
        produce_refuse_all(produce, ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "");
    } else if (message->acks < -1 || message->acks > 1) {
        produce_refuse_all(produce, ERROR_INVALID_REQUIRED_ACKS, "acks must be 0, 1 or -1 (all)");
    } else {
        size_t part_index = 0;
        for (size_t t = 0; t < message->topic_data_count; t++) {
            const struct produce_request_topic_produce_data *topic = &message->topic_data[t];
            for (size_t p = 0; p < topic->partition_data_count; p++) {
                produce_part_start(produce, &produce->parts[part_index++], topic, &topic->partition_data[p]);
            }
        }
    }
    scatter_end(&produce->scatter);
}

/* Metadata: the brokers, the topics that were asked for, and where each partition is led. Topics that are missing are created
 * first when the client and auto.create.topics.enable want that; the answer then waits for them to be led here. It also waits, for a moment, for
 * new leaders of partitions whose broker was just lost (broker/meta/lost_brokers.h).
 *
 * Source: Metadata v0-v13 of Kafka 4.3; KIP-516 (topic ids), KIP-430 (authorised operations), KIP-101 (leader epochs). */
#include "broker/api/authorise.h"
#include "broker/api/handlers.h"
#include "broker/api/request.h"
#include "broker/api/seen_set.h"
#include "broker/broker.h"
#include "broker/meta/cluster_view.h"
#include "broker/meta/metadata_follow.h"
#include "broker/worker.h"
#include "common/check.h"
#include "controller/controller_client.h"
#include "proto/kmsg/metadata.h"
#include "proto/wire/error_code.h"

#define METADATA_VERSION_NULL_IS_ALL 1
#define METADATA_VERSION_ASK_BY_ID 12

struct metadata_answer {
    struct request *request;
    const struct metadata_request *message;
    const struct image *image;
    struct metadata_response response;
    size_t room_count;                      /* elements of response.topics */
    const struct image_broker *lost_leader; /* one of those that the answer would name */
    bool has_waited;
    struct lost_broker_wait lost_wait;

    /* auto-creation */
    struct controller_request creation;
    struct metadata_wait wait;
    struct span *missing;
    int16_t *missing_errors;
    uint32_t missing_count;
    uint32_t missing_told; /* both lists have the order of the request */
};

static bool metadata_wants_all(const struct metadata_answer *answer)
{
    return answer->request->api_version < METADATA_VERSION_NULL_IS_ALL ? answer->message->topics_count == 0
                                                                       : answer->message->topics == NULL;
}

static bool metadata_is_lost(const struct metadata_answer *answer, const struct image_broker *broker)
{
    struct worker *worker = answer->request->worker;
    return lost_brokers_contain(&worker->broker->lost_brokers, broker->id, broker->epoch, loop_now_us(worker->loop));
}

static bool metadata_fill_brokers(struct metadata_answer *answer)
{
    const struct image *image = answer->image;
    struct metadata_response *response = &answer->response;
    response->brokers =
        codec_array(&metadata_response_broker_layout, image_broker_count(image), &answer->request->arena);
    if (response->brokers == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < image_broker_count(image); i++) {
        const struct image_broker *broker = image_broker_at(image, i);
        const struct image_endpoint *endpoint = cluster_view_endpoint(answer->request, broker);
        if (endpoint != NULL) {
            struct metadata_response_broker *told = &response->brokers[response->brokers_count++];
            told->node_id = broker->id;
            told->host = endpoint->host;
            told->port = endpoint->port;
            told->rack = broker->rack;
        }
    }
    return true;
}

/* The arrays of the image are only read by the encoder. */
static int32_t *metadata_ids(const int32_t *ids)
{
    return (int32_t *)(uintptr_t)ids;
}

static bool metadata_fill_partition(struct metadata_answer *answer, const struct image_partition *partition,
                                    struct metadata_response_partition *told)
{
    const struct image_broker *leader = image_find_broker(answer->image, partition->leader_id);
    told->partition_index = partition->partition_index;
    told->leader_id = partition->leader_id;
    told->leader_epoch = partition->leader_epoch;
    told->replica_nodes = metadata_ids(partition->replicas);
    told->replica_nodes_count = partition->replica_count;
    told->isr_nodes = metadata_ids(partition->isr);
    told->isr_nodes_count = partition->isr_count;
    told->offline_replicas = arena_array(&answer->request->arena, partition->replica_count, sizeof(int32_t));
    if (told->offline_replicas == NULL) {
        return false;
    }
    told->offline_replicas_count = cluster_view_offline_replicas(answer->image, partition, told->offline_replicas);
    if (cluster_view_endpoint(answer->request, leader) == NULL) {
        told->leader_id = IMAGE_NO_LEADER;
        told->error_code = leader == NULL || leader->is_fenced ? ERROR_LEADER_NOT_AVAILABLE : ERROR_LISTENER_NOT_FOUND;
    } else if (metadata_is_lost(answer, leader)) {
        told->leader_id = IMAGE_NO_LEADER;
        told->error_code = ERROR_LEADER_NOT_AVAILABLE;
        answer->lost_leader = leader;
    }
    return true;
}

static struct metadata_response_topic *metadata_next_topic(struct metadata_answer *answer)
{
    CHECK(answer->response.topics_count < answer->room_count);
    return &answer->response.topics[answer->response.topics_count++];
}

static bool metadata_fill_topic(struct metadata_answer *answer, const struct image_topic *topic)
{
    struct metadata_response_topic *told = metadata_next_topic(answer);
    told->name = topic->name;
    told->topic_id = topic->id;
    told->is_internal = topic->is_internal;
    if (answer->message->include_topic_authorized_operations) {
        told->topic_authorized_operations = cluster_view_topic_operations(answer->request, topic->name);
    }
    told->partitions =
        codec_array(&metadata_response_partition_layout, topic->partition_count, &answer->request->arena);
    if (told->partitions == NULL) {
        return false;
    }
    told->partitions_count = topic->partition_count;
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        if (!metadata_fill_partition(answer, topic->partitions[i], &told->partitions[i])) {
            return false;
        }
    }
    return true;
}

static void metadata_fill_error(struct metadata_answer *answer, const struct metadata_request_topic *wish,
                                enum error_code error)
{
    struct metadata_response_topic *told = metadata_next_topic(answer);
    told->error_code = (int16_t)error;
    told->topic_id = wish->topic_id;
    told->name = wish->name;
    if (span_is_null(told->name) && answer->request->api_version < METADATA_VERSION_ASK_BY_ID) {
        told->name = span_make("", 0);
    }
}

/* Why a named topic is not there. */
static enum error_code metadata_missing_error(struct metadata_answer *answer, struct span name)
{
    while (answer->missing_told < answer->missing_count && answer->missing[answer->missing_told].data <= name.data) {
        uint32_t index = answer->missing_told++;
        if (answer->missing[index].data == name.data && answer->missing_errors[index] != ERROR_NONE) {
            return (enum error_code)answer->missing_errors[index];
        }
    }
    return cluster_view_is_topic_name(name) ? ERROR_UNKNOWN_TOPIC_OR_PARTITION : ERROR_INVALID_TOPIC_EXCEPTION;
}

static bool metadata_fill_wish(struct metadata_answer *answer, const struct metadata_request_topic *wish)
{
    bool by_id = !uuid_is_zero(wish->topic_id);
    if (answer->request->api_version < METADATA_VERSION_ASK_BY_ID && (by_id || span_is_null(wish->name))) {
        metadata_fill_error(answer, wish, ERROR_INVALID_REQUEST);
        return true;
    }
    if (!by_id && span_is_null(wish->name)) {
        metadata_fill_error(answer, wish, ERROR_INVALID_REQUEST);
        return true;
    }
    const struct image_topic *topic =
        by_id ? image_find_topic_id(answer->image, wish->topic_id) : image_find_topic(answer->image, wish->name);
    if (topic == NULL) {
        struct metadata_request_topic unknown = *wish;
        unknown.name = by_id ? SPAN_NULL : wish->name;
        metadata_fill_error(answer, &unknown,
                            by_id ? ERROR_UNKNOWN_TOPIC_ID : metadata_missing_error(answer, wish->name));
        return true;
    }
    if (!authorise(answer->request, AUTHORISE_DESCRIBE, AUTHORISE_TOPIC, topic->name)) {
        metadata_fill_error(answer, wish, by_id ? ERROR_UNKNOWN_TOPIC_ID : ERROR_TOPIC_AUTHORIZATION_FAILED);
        return true;
    }
    return metadata_fill_topic(answer, topic);
}

/* Those that were asked for, each once. */
static bool metadata_fill_wishes(struct metadata_answer *answer)
{
    const struct metadata_request *message = answer->message;
    struct seen_set seen;
    bool is_filled = true;
    seen_set_init(&seen, &answer->request->arena);
    for (size_t i = 0; i < message->topics_count && is_filled; i++) {
        const struct metadata_request_topic *wish = &message->topics[i];
        const struct seen_key *key = seen_set_add(&seen, span_make(wish->topic_id.bytes, UUID_BYTES), wish->name);
        is_filled = key != NULL && (key->count > 1 || metadata_fill_wish(answer, wish));
    }
    seen_set_done(&seen);
    return is_filled;
}

static bool metadata_fill_topics(struct metadata_answer *answer)
{
    const struct metadata_request *message = answer->message;
    bool wants_all = metadata_wants_all(answer);
    answer->room_count = wants_all ? image_topic_count(answer->image) : message->topics_count;
    answer->response.topics = codec_array(&metadata_response_topic_layout, answer->room_count, &answer->request->arena);
    if (answer->response.topics == NULL) {
        return false;
    }
    if (!wants_all) {
        return metadata_fill_wishes(answer);
    }
    for (size_t i = 0; i < answer->room_count; i++) {
        const struct image_topic *topic = image_topic_at(answer->image, (uint32_t)i);
        if (authorise(answer->request, AUTHORISE_DESCRIBE, AUTHORISE_TOPIC, topic->name) &&
            !metadata_fill_topic(answer, topic)) {
            return false;
        }
    }
    return true;
}

static void metadata_reply(struct metadata_answer *answer);

static void metadata_on_lost_wait_done(struct lost_broker_wait *wait)
{
    metadata_reply(CONTAINER_OF(wait, struct metadata_answer, lost_wait));
}

static void metadata_wait_for_leaders(struct metadata_answer *answer)
{
    answer->has_waited = true;
    answer->lost_wait.done = metadata_on_lost_wait_done;
    answer->lost_wait.broker_id = answer->lost_leader->id;
    answer->lost_wait.broker_epoch = answer->lost_leader->epoch;
    lost_broker_wait_begin(&answer->request->worker->lost_broker_waits, &answer->lost_wait);
}

static void metadata_reply(struct metadata_answer *answer)
{
    struct request *request = answer->request;
    struct metadata_response *response = &answer->response;
    answer->image = request->worker->image;
    answer->missing_told = 0;
    codec_set_defaults(&metadata_response_codec, response);
    response->cluster_id = span_text(image_cluster_id(answer->image));
    response->controller_id = cluster_view_controller_id(request);
    if (answer->message->include_cluster_authorized_operations) {
        response->cluster_authorized_operations = cluster_view_cluster_operations(request);
    }
    if (!metadata_fill_brokers(answer) || !metadata_fill_topics(answer)) {
        request_close_connection(request, "the answer on metadata needs more memory than one request may use");
        return;
    }
    if (answer->lost_leader != NULL && !answer->has_waited) {
        metadata_wait_for_leaders(answer);
        return;
    }
    request_reply(request, response);
}

/* ---- topics that are wanted but do not exist ---- */

static void metadata_on_created_applied(struct loop_task *task)
{
    metadata_reply(CONTAINER_OF(task, struct metadata_answer, wait.task));
}

static void metadata_on_created(struct controller_request *creation)
{
    struct metadata_answer *answer = CONTAINER_OF(creation, struct metadata_answer, creation);
    if (creation->err != ERR_OK) {
        for (uint32_t i = 0; i < answer->missing_count; i++) {
            answer->missing_errors[i] = ERROR_LEADER_NOT_AVAILABLE; /* unknown outcome: ask again */
        }
        metadata_reply(answer);
        return;
    }
    answer->wait.task.run = metadata_on_created_applied;
    answer->wait.loop = answer->request->worker->loop;
    answer->wait.offset = creation->metadata_offset;
    metadata_follow_wait(answer->request->worker->broker->metadata_follow, &answer->wait);
}

/* Names worth creating; true when there are some and the controller was asked. */
static bool metadata_create_missing(struct metadata_answer *answer)
{
    struct request *request = answer->request;
    const struct metadata_request *message = answer->message;
    struct broker *broker = request->worker->broker;
    if (!message->allow_auto_topic_creation || !broker->options->auto_create_topics_enable ||
        metadata_wants_all(answer)) {
        return false;
    }
    answer->missing = arena_array(&request->arena, message->topics_count, sizeof(struct span));
    answer->missing_errors = arena_array(&request->arena, message->topics_count, sizeof(int16_t));
    if (answer->missing == NULL || answer->missing_errors == NULL) {
        return false;
    }
    for (size_t i = 0; i < message->topics_count && answer->missing_count < CONTROLLER_AUTO_CREATE_TOPICS_MAX; i++) {
        struct span name = message->topics[i].name;
        if (!span_is_null(name) && uuid_is_zero(message->topics[i].topic_id) && cluster_view_is_topic_name(name) &&
            image_find_topic(request->worker->image, name) == NULL &&
            authorise(request, AUTHORISE_CREATE, AUTHORISE_TOPIC, name)) {
            answer->missing[answer->missing_count++] = name;
        }
    }
    if (answer->missing_count == 0) {
        return false;
    }
    answer->creation = (struct controller_request){
        .kind = CONTROLLER_AUTO_CREATE,
        .loop = request->worker->loop,
        .on_done = metadata_on_created,
        .auto_create = {.names = answer->missing,
                        .name_count = answer->missing_count,
                        .ret_error_codes = answer->missing_errors},
    };
    controller_client_submit(broker->controller_client, &answer->creation);
    return true;
}

void handle_metadata(struct request *request)
{
    struct metadata_answer *answer = arena_alloc(&request->arena, sizeof(*answer));
    if (answer == NULL) { /* the decoded message may have filled the arena */
        request_close_connection(request, "the request for metadata needs more memory than one request may use");
        return;
    }
    answer->request = request;
    answer->message = request->message;
    if (!metadata_create_missing(answer)) {
        metadata_reply(answer);
    }
}

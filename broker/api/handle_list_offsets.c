/* ListOffsets: the offset of a moment (first record at or after a timestamp) or of a special place in the log.
 *
 * Source: ListOffsets v1-v11 of Kafka 4.3; KIP-79, KIP-207 (OFFSET_NOT_AVAILABLE), KIP-734 (max timestamp), KIP-405,
 * KIP-1005 and KIP-1023 (tiered storage, which a log without a second tier answers as Kafka does). */
#include "broker/api/authorise.h"
#include "broker/api/handlers.h"
#include "broker/api/request.h"
#include "broker/api/scatter.h"
#include "broker/api/seen_set.h"
#include "broker/replica/partition.h"
#include "broker/worker.h"
#include "common/check.h"
#include "controller/image.h"
#include "proto/kmsg/list_offsets.h"

enum list_offsets_time {
    LIST_LATEST = -1,
    LIST_EARLIEST = -2,
    LIST_MAX_TIMESTAMP = -3,
    LIST_EARLIEST_LOCAL = -4,
    LIST_LATEST_TIERED = -5,
    LIST_EARLIEST_PENDING_UPLOAD = -6,
};

#define LIST_REPLICA_DEBUGGING (-2) /* Kafka's ListOffsetsRequest.DEBUGGING_REPLICA_ID */
#define LIST_OFFSETS_VERSION_LEADER_EPOCH 4
#define LIST_OFFSETS_VERSION_NOT_AVAILABLE 5

struct list_part {
    struct scatter_part part;
    struct seen_key *key; /* of the partition's name */
    struct list_offsets *list;
    const struct list_offsets_request_partition *wish;
    struct list_offsets_response_partition_response *answer;
    struct loop_job job;
    struct log_time_query query;
    enum err query_err;
};

struct list_offsets {
    struct scatter scatter;
    struct request *request;
    const struct list_offsets_request *message;
    struct list_offsets_response response;
    struct list_part *parts;
};

/* The first version that knows the special value; Kafka 4.3's isListOffsetsTimestampUnsupported. */
static bool list_is_known(int64_t timestamp, int16_t version)
{
    switch (timestamp) {
    case LIST_MAX_TIMESTAMP:
        return version >= 7;
    case LIST_EARLIEST_LOCAL:
        return version >= 8;
    case LIST_LATEST_TIERED:
        return version >= 9;
    case LIST_EARLIEST_PENDING_UPLOAD:
        return version >= 11;
    default:
        return timestamp >= LIST_EARLIEST; /* other negative values mean nothing */
    }
}

static void list_part_end(struct list_part *part, enum error_code error)
{
    part->answer->error_code = (int16_t)error;
    scatter_part_done(&part->part);
}

static void list_part_found(struct list_part *part, int64_t offset, int64_t timestamp_ms, int32_t leader_epoch)
{
    part->answer->offset = offset;
    part->answer->timestamp = timestamp_ms;
    if (part->list->request->api_version >= LIST_OFFSETS_VERSION_LEADER_EPOCH) {
        part->answer->leader_epoch = leader_epoch;
    }
    list_part_end(part, ERROR_NONE);
}

static void list_part_search(struct loop_job *job)
{
    struct list_part *part = CONTAINER_OF(job, struct list_part, job);
    part->query_err = log_time_run(&part->query);
}

static void list_part_searched(struct loop_job *job)
{
    struct list_part *part = CONTAINER_OF(job, struct list_part, job);
    struct log_time_query query = part->query;
    log_time_done(&part->query);
    if (part->query_err != ERR_OK) {
        list_part_end(part, ERROR_KAFKA_STORAGE_ERROR);
    } else {
        list_part_found(part, query.offset, query.found_timestamp_ms, query.leader_epoch);
    }
}

static void list_part_search_start(struct list_part *part, const struct partition *partition, int64_t read_end)
{
    enum log_time_kind kind = part->wish->timestamp == LIST_MAX_TIMESTAMP ? LOG_TIME_MAX : LOG_TIME_AT_OR_AFTER;
    enum err err = log_time_plan(partition->log, kind, part->wish->timestamp, read_end, &part->query);
    if (err != ERR_OK) {
        list_part_end(part, ERROR_KAFKA_STORAGE_ERROR);
        return;
    }
    part->job.work = list_part_search;
    part->job.done = list_part_searched;
    loop_submit(part->part.owner->loop, &part->job);
}

/* A leader whose high watermark has not reached its own epoch does not know yet what is committed (KIP-207, trap 10). */
static bool list_is_settled(const struct partition *partition)
{
    int64_t epoch_start = partition_log_epoch_start_offset(partition->log, partition->leader_epoch);
    return epoch_start == LOG_NO_OFFSET || partition->high_watermark >= epoch_start;
}

/* Whoever looks for faults may ask any replica where its own log ends (Kafka's ReplicaManager.fetchOffset): how far a
 * follower is behind shows in nothing else. */
static bool list_is_own_end_asked(const struct list_part *part, const struct partition *partition)
{
    return part->list->message->replica_id == LIST_REPLICA_DEBUGGING && part->wish->timestamp == LIST_LATEST &&
           partition != NULL && (partition->state == PARTITION_LEADER || partition->state == PARTITION_FOLLOWER);
}

static void list_part_run(struct scatter_part *scatter_part, struct partition *partition)
{
    struct list_part *part = CONTAINER_OF(scatter_part, struct list_part, part);
    struct request *request = part->list->request;
    if (list_is_own_end_asked(part, partition)) {
        list_part_found(part, partition_log_end_offset(partition->log), -1, partition->leader_epoch);
        return;
    }
    enum error_code error = partition == NULL ? ERROR_NOT_LEADER_OR_FOLLOWER
                                              : partition_check_leader(partition, part->wish->current_leader_epoch);
    if (error != ERROR_NONE) {
        list_part_end(part, error);
        return;
    }
    int64_t start_offset = partition_log_start_offset(partition->log);
    int64_t read_end = partition_read_end(partition, part->list->message->isolation_level != 0);
    int64_t timestamp = part->wish->timestamp;
    if (timestamp == LIST_EARLIEST || timestamp == LIST_EARLIEST_LOCAL) {
        list_part_found(part, start_offset, -1, partition_log_epoch_at(partition->log, start_offset));
    } else if (timestamp == LIST_LATEST_TIERED || timestamp == LIST_EARLIEST_PENDING_UPLOAD) {
        list_part_found(part, -1, -1, -1);
    } else if (!list_is_settled(partition)) {
        list_part_end(part, request->api_version >= LIST_OFFSETS_VERSION_NOT_AVAILABLE ? ERROR_OFFSET_NOT_AVAILABLE
                                                                                       : ERROR_LEADER_NOT_AVAILABLE);
    } else if (timestamp == LIST_LATEST) {
        list_part_found(part, read_end, -1, partition->leader_epoch);
    } else {
        list_part_search_start(part, partition, read_end);
    }
}

static void list_gathered(struct scatter *scatter)
{
    struct list_offsets *list = CONTAINER_OF(scatter, struct list_offsets, scatter);
    request_reply(list->request, &list->response);
}

static void list_part_start(struct list_offsets *list, struct list_part *part, const struct image_topic *topic,
                            struct span topic_name)
{
    part->answer->partition_index = part->wish->partition_index;
    enum error_code error = ERROR_NONE;
    if (!authorise(list->request, AUTHORISE_DESCRIBE, AUTHORISE_TOPIC, topic_name)) {
        error = ERROR_TOPIC_AUTHORIZATION_FAILED;
    } else if (!list_is_known(part->wish->timestamp, list->request->api_version)) {
        error = ERROR_UNSUPPORTED_VERSION;
    } else if (image_find_partition(topic, part->wish->partition_index) == NULL) {
        error = ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (error != ERROR_NONE) {
        part->answer->error_code = (int16_t)error;
        return;
    }
    part->list = list;
    scatter_send(&list->scatter, &part->part, topic->id, part->wish->partition_index, list_part_run);
}

/* The answer has the shape of the request. */
static bool list_prepare(struct list_offsets *list)
{
    const struct list_offsets_request *message = list->message;
    struct arena *arena = &list->request->arena;
    size_t part_count = 0;
    codec_set_defaults(&list_offsets_response_codec, &list->response);
    list->response.topics = codec_array(&list_offsets_response_topic_response_layout, message->topics_count, arena);
    if (list->response.topics == NULL) {
        return false;
    }
    list->response.topics_count = message->topics_count;
    for (size_t t = 0; t < message->topics_count; t++) {
        struct list_offsets_response_topic_response *answer = &list->response.topics[t];
        answer->name = message->topics[t].name;
        answer->partitions_count = message->topics[t].partitions_count;
        answer->partitions =
            codec_array(&list_offsets_response_partition_response_layout, answer->partitions_count, arena);
        if (answer->partitions == NULL) {
            return false;
        }
        part_count += answer->partitions_count;
    }
    list->parts = arena_array(arena, part_count, sizeof(*list->parts));
    return list->parts != NULL;
}

/* Which partitions are named how often. */
static bool list_note_wishes(struct list_offsets *list)
{
    struct seen_set seen;
    bool is_noted = true;
    size_t part_index = 0;
    seen_set_init(&seen, &list->request->arena);
    for (size_t t = 0; t < list->message->topics_count && is_noted; t++) {
        const struct list_offsets_request_topic *wish = &list->message->topics[t];
        for (size_t p = 0; p < wish->partitions_count && is_noted; p++) {
            struct list_part *part = &list->parts[part_index++];
            part->wish = &wish->partitions[p];
            part->key = seen_set_add(&seen, span_make(&part->wish->partition_index, sizeof(int32_t)), wish->name);
            is_noted = part->key != NULL;
        }
    }
    seen_set_done(&seen);
    return is_noted;
}

/* One answer for each partition; one that was named twice has no meaning, as in Kafka. */
static void list_start_topic(struct list_offsets *list, size_t topic_index, struct list_part *parts)
{
    const struct list_offsets_request_topic *wish = &list->message->topics[topic_index];
    struct list_offsets_response_topic_response *answer = &list->response.topics[topic_index];
    const struct image_topic *topic = image_find_topic(list->request->worker->image, wish->name);
    answer->partitions_count = 0;
    for (size_t p = 0; p < wish->partitions_count; p++) {
        struct list_part *part = &parts[p];
        if (part->key->count == 0) {
            continue; /* answered before */
        }
        part->answer = &answer->partitions[answer->partitions_count++];
        if (part->key->count > 1) {
            part->answer->partition_index = part->wish->partition_index;
            part->answer->error_code = ERROR_INVALID_REQUEST;
            part->key->count = 0;
        } else {
            list_part_start(list, part, topic, wish->name);
        }
    }
}

void handle_list_offsets(struct request *request)
{
    struct list_offsets *list = arena_alloc(&request->arena, sizeof(*list));
    if (list != NULL) {
        list->request = request;
        list->message = request->message;
    }
    if (list == NULL || !list_prepare(list) || !list_note_wishes(list)) {
        request_close_connection(request, "the list-offsets request needs more memory than one request may use");
        return;
    }
    scatter_begin(&list->scatter, request->worker, list_gathered);
    struct list_part *parts = list->parts;
    for (size_t t = 0; t < list->message->topics_count; t++) {
        list_start_topic(list, t, parts);
        parts += list->message->topics[t].partitions_count;
    }
    scatter_end(&list->scatter);
}

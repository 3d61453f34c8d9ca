/* OffsetForLeaderEpoch: where a leader epoch ended in this log: how clients find out that their history was cut.
 *
 * Source: OffsetForLeaderEpoch v2-v4 of Kafka 4.3; KIP-101, KIP-320. */
#include "broker/api/authorise.h"
#include "broker/api/handlers.h"
#include "broker/api/request.h"
#include "broker/api/scatter.h"
#include "broker/replica/partition.h"
#include "broker/worker.h"
#include "common/check.h"
#include "controller/image.h"
#include "proto/kmsg/offset_for_leader_epoch.h"

struct epoch_part {
    struct scatter_part part;
    const struct offset_for_leader_epoch_request_offset_for_leader_partition *wish;
    struct offset_for_leader_epoch_response_epoch_end_offset *answer;
};

struct epoch_ends {
    struct scatter scatter;
    struct request *request;
    const struct offset_for_leader_epoch_request *message;
    struct offset_for_leader_epoch_response response;
    struct epoch_part *parts;
};

static void epoch_part_run(struct scatter_part *scatter_part, struct partition *partition)
{
    struct epoch_part *part = CONTAINER_OF(scatter_part, struct epoch_part, part);
    enum error_code error = partition == NULL ? ERROR_NOT_LEADER_OR_FOLLOWER
                                              : partition_check_leader(partition, part->wish->current_leader_epoch);
    part->answer->error_code = (int16_t)error;
    if (error == ERROR_NONE) {
        partition_log_end_offset_for_epoch(partition->log, part->wish->leader_epoch, &part->answer->leader_epoch,
                                           &part->answer->end_offset);
    }
    scatter_part_done(scatter_part);
}

static void epoch_ends_gathered(struct scatter *scatter)
{
    struct epoch_ends *ends = CONTAINER_OF(scatter, struct epoch_ends, scatter);
    request_reply(ends->request, &ends->response);
}

static void epoch_part_start(struct epoch_ends *ends, struct epoch_part *part, const struct image_topic *topic,
                             struct span topic_name)
{
    part->answer->partition = part->wish->partition;
    if (!authorise(ends->request, AUTHORISE_DESCRIBE, AUTHORISE_TOPIC, topic_name)) {
        part->answer->error_code = ERROR_TOPIC_AUTHORIZATION_FAILED;
    } else if (image_find_partition(topic, part->wish->partition) == NULL) {
        part->answer->error_code = ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    } else {
        scatter_send(&ends->scatter, &part->part, topic->id, part->wish->partition, epoch_part_run);
    }
}

static bool epoch_ends_prepare(struct epoch_ends *ends)
{
    const struct offset_for_leader_epoch_request *message = ends->message;
    struct arena *arena = &ends->request->arena;
    size_t part_count = 0;
    codec_set_defaults(&offset_for_leader_epoch_response_codec, &ends->response);
    ends->response.topics = codec_array(&offset_for_leader_epoch_response_offset_for_leader_topic_result_layout,
                                        message->topics_count, arena);
    if (ends->response.topics == NULL) {
        return false;
    }
    ends->response.topics_count = message->topics_count;
    for (size_t t = 0; t < message->topics_count; t++) {
        struct offset_for_leader_epoch_response_offset_for_leader_topic_result *answer = &ends->response.topics[t];
        answer->topic = message->topics[t].topic;
        answer->partitions_count = message->topics[t].partitions_count;
        answer->partitions =
            codec_array(&offset_for_leader_epoch_response_epoch_end_offset_layout, answer->partitions_count, arena);
        if (answer->partitions == NULL) {
            return false;
        }
        part_count += answer->partitions_count;
    }
    ends->parts = arena_array(arena, part_count, sizeof(*ends->parts));
    return ends->parts != NULL;
}

void handle_offset_for_leader_epoch(struct request *request)
{
    struct epoch_ends *ends = arena_alloc(&request->arena, sizeof(*ends));
    if (ends != NULL) {
        ends->request = request;
        ends->message = request->message;
    }
    if (ends == NULL || !epoch_ends_prepare(ends)) {
        request_close_connection(request, "the offset-for-leader-epoch request needs more memory than one may use");
        return;
    }
    scatter_begin(&ends->scatter, request->worker, epoch_ends_gathered);
    size_t part_index = 0;
    for (size_t t = 0; t < ends->message->topics_count; t++) {
        const struct offset_for_leader_epoch_request_offset_for_leader_topic *wish = &ends->message->topics[t];
        const struct image_topic *topic = image_find_topic(request->worker->image, wish->topic);
        for (size_t p = 0; p < wish->partitions_count; p++) {
            struct epoch_part *part = &ends->parts[part_index++];
            part->wish = &wish->partitions[p];
            part->answer = &ends->response.topics[t].partitions[p];
            epoch_part_start(ends, part, topic, wish->topic);
        }
    }
    scatter_end(&ends->scatter);
}

/* DescribeTopicPartitions: topics in the order of their names, a page of partitions at a time, with eligible leaders.
 *
 * Source: DescribeTopicPartitions v0 of Kafka 4.3; KIP-966. */
#include "broker/api/authorise.h"
#include "broker/api/handlers.h"
#include "broker/api/request.h"
#include "broker/broker.h"
#include "broker/meta/cluster_view.h"
#include "broker/worker.h"
#include "proto/kmsg/describe_topic_partitions.h"
#include "proto/wire/error_code.h"

#include <stdlib.h>

struct describe_page {
    struct request *request;
    const struct describe_topic_partitions_request *message;
    struct describe_topic_partitions_response response;
    struct span *names; /* those that are asked for, sorted, each once */
    size_t name_count;
    uint32_t room; /* partitions that the page may still take */
};

static int span_compare(const void *a, const void *b)
{
    const struct span *left = a;
    const struct span *right = b;
    size_t bytes = left->bytes < right->bytes ? left->bytes : right->bytes;
    int order = bytes == 0 ? 0 : memcmp(left->data, right->data, bytes);
    return order != 0 ? order : (left->bytes > right->bytes) - (left->bytes < right->bytes);
}

static bool describe_page_names(struct describe_page *page)
{
    const struct describe_topic_partitions_request *message = page->message;
    const struct image *image = page->request->worker->image;
    bool wants_all = message->topics_count == 0;
    size_t count = wants_all ? image_topic_count(image) : message->topics_count;
    page->names = arena_array(&page->request->arena, count, sizeof(struct span));
    if (page->names == NULL) {
        return false;
    }
    struct span *all = page->names;
    for (size_t i = 0; i < count; i++) {
        all[i] = wants_all ? image_topic_at(image, (uint32_t)i)->name : message->topics[i].name;
    }
    qsort(all, count, sizeof(struct span), span_compare);
    for (size_t i = 0; i < count; i++) {
        bool is_again = page->name_count > 0 && span_equal(all[i], page->names[page->name_count - 1]);
        bool is_before_page = message->cursor != NULL && span_compare(&all[i], &message->cursor->topic_name) < 0;
        if (!is_again && !is_before_page) {
            page->names[page->name_count++] = all[i];
        }
    }
    return true;
}

/* The arrays of the image are only read by the encoder. */
static int32_t *describe_ids(const int32_t *ids)
{
    return ids == NULL ? CODEC_EMPTY_ARRAY : (int32_t *)(uintptr_t)ids;
}

static bool describe_page_partition(struct describe_page *page, const struct image_partition *partition,
                                    struct describe_topic_partitions_response_partition *told)
{
    const struct image *image = page->request->worker->image;
    const struct image_broker *leader = image_find_broker(image, partition->leader_id);
    told->partition_index = partition->partition_index;
    told->leader_id = partition->leader_id;
    told->leader_epoch = partition->leader_epoch;
    told->replica_nodes = describe_ids(partition->replicas);
    told->replica_nodes_count = partition->replica_count;
    told->isr_nodes = describe_ids(partition->isr);
    told->isr_nodes_count = partition->isr_count;
    told->eligible_leader_replicas = describe_ids(partition->elr);
    told->eligible_leader_replicas_count = partition->elr_count;
    told->last_known_elr = describe_ids(partition->last_known);
    told->last_known_elr_count = partition->last_known_count;
    told->offline_replicas = arena_array(&page->request->arena, partition->replica_count, sizeof(int32_t));
    if (told->offline_replicas == NULL) {
        return false;
    }
    told->offline_replicas_count = cluster_view_offline_replicas(image, partition, told->offline_replicas);
    if (cluster_view_endpoint(page->request, leader) == NULL) {
        told->leader_id = IMAGE_NO_LEADER;
        told->error_code = leader == NULL || leader->is_fenced ? ERROR_LEADER_NOT_AVAILABLE : ERROR_LISTENER_NOT_FOUND;
    }
    return true;
}

static bool describe_page_end(struct describe_page *page, struct span topic_name, uint32_t partition_index)
{
    page->response.next_cursor =
        codec_array(&describe_topic_partitions_response_cursor_layout, 1, &page->request->arena);
    if (page->response.next_cursor == NULL) {
        return false;
    }
    page->response.next_cursor->topic_name = topic_name;
    page->response.next_cursor->partition_index = (int32_t)partition_index;
    return true;
}

static bool describe_page_topic(struct describe_page *page, const struct image_topic *topic)
{
    struct describe_topic_partitions_response_topic *told = &page->response.topics[page->response.topics_count++];
    const struct describe_topic_partitions_request_cursor *cursor = page->message->cursor;
    uint32_t first =
        cursor != NULL && span_equal(cursor->topic_name, topic->name) ? (uint32_t)cursor->partition_index : 0;
    first = first < topic->partition_count ? first : topic->partition_count;
    uint32_t count = topic->partition_count - first < page->room ? topic->partition_count - first : page->room;
    told->name = topic->name;
    told->topic_id = topic->id;
    told->is_internal = topic->is_internal;
    told->topic_authorized_operations = cluster_view_topic_operations(page->request, topic->name);
    told->partitions = codec_array(&describe_topic_partitions_response_partition_layout, count, &page->request->arena);
    if (told->partitions == NULL) {
        return false;
    }
    told->partitions_count = count;
    for (uint32_t i = 0; i < count; i++) {
        if (!describe_page_partition(page, topic->partitions[first + i], &told->partitions[i])) {
            return false;
        }
    }
    page->room -= count;
    return first + count == topic->partition_count || describe_page_end(page, topic->name, first + count);
}

static bool describe_page_name(struct describe_page *page, struct span name)
{
    const struct image_topic *topic = image_find_topic(page->request->worker->image, name);
    bool is_allowed = authorise(page->request, AUTHORISE_DESCRIBE, AUTHORISE_TOPIC, name);
    if (topic != NULL && is_allowed) {
        return describe_page_topic(page, topic);
    }
    if (!is_allowed && page->message->topics_count == 0) {
        return true; /* what was not asked for by name is not told of */
    }
    struct describe_topic_partitions_response_topic *told = &page->response.topics[page->response.topics_count++];
    told->name = name;
    if (!is_allowed) {
        told->error_code = ERROR_TOPIC_AUTHORIZATION_FAILED;
    } else {
        told->error_code =
            cluster_view_is_topic_name(name) ? ERROR_UNKNOWN_TOPIC_OR_PARTITION : ERROR_INVALID_TOPIC_EXCEPTION;
    }
    return true;
}

static bool describe_page_fill(struct describe_page *page)
{
    if (!describe_page_names(page)) {
        return false;
    }
    page->response.topics =
        codec_array(&describe_topic_partitions_response_topic_layout, page->name_count, &page->request->arena);
    if (page->response.topics == NULL) {
        return false;
    }
    for (size_t i = 0; i < page->name_count && page->response.next_cursor == NULL; i++) {
        bool is_filled =
            page->room > 0 ? describe_page_name(page, page->names[i]) : describe_page_end(page, page->names[i], 0);
        if (!is_filled) {
            return false;
        }
    }
    return true;
}

/* A cursor that can't be: every topic that was asked for says so. */
static void describe_page_refuse(struct describe_page *page)
{
    size_t count = page->message->topics_count;
    page->response.topics = codec_array(&describe_topic_partitions_response_topic_layout, count, &page->request->arena);
    if (page->response.topics == NULL) {
        request_close_connection(page->request, "the cursor of DescribeTopicPartitions names a negative partition");
        return;
    }
    page->response.topics_count = count;
    for (size_t i = 0; i < count; i++) {
        page->response.topics[i].name = page->message->topics[i].name;
        page->response.topics[i].error_code = ERROR_INVALID_REQUEST;
    }
    request_reply(page->request, &page->response);
}

void handle_describe_topic_partitions(struct request *request)
{
    const struct describe_topic_partitions_request *message = request->message;
    struct describe_page page = {.request = request, .message = message};
    codec_set_defaults(&describe_topic_partitions_response_codec, &page.response);
    if (message->cursor != NULL && message->cursor->partition_index < 0) {
        describe_page_refuse(&page);
        return;
    }
    int32_t limit = request->worker->broker->options->max_request_partition_size_limit;
    if (message->response_partition_limit < limit) {
        limit = message->response_partition_limit;
    }
    page.room = limit < 1 ? 1 : (uint32_t)limit;
    if (describe_page_fill(&page)) {
        request_reply(request, &page.response);
    } else {
        request_close_connection(request, "the answer on partitions needs more memory than one request may use");
    }
}

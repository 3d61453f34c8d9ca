/* The answer to a fetch: what fits, in the order of the session; slices move from the reads into the response. */
#include "broker/api/fetch.h"
#include "broker/api/leader_hint.h"
#include "broker/broker_metrics.h"
#include "broker/worker.h"
#include "common/mem.h"
#include "common/metric.h"
#include "controller/image.h"

static bool fetch_answer_aborted(struct fetch *fetch, const struct fetch_part *part,
                                 struct fetch_response_partition_data *data)
{
    if (!fetch->is_read_committed) {
        data->aborted_transactions = NULL;
        return true;
    }
    data->aborted_transactions = CODEC_EMPTY_ARRAY;
    if (part->read.aborted_count == 0) {
        return true;
    }
    data->aborted_transactions =
        codec_array(&fetch_response_aborted_transaction_layout, part->read.aborted_count, &fetch->request->arena);
    if (data->aborted_transactions == NULL) {
        return false;
    }
    data->aborted_transactions_count = part->read.aborted_count;
    for (size_t i = 0; i < part->read.aborted_count; i++) {
        data->aborted_transactions[i].producer_id = part->read.aborted[i].producer_id;
        data->aborted_transactions[i].first_offset = part->read.aborted[i].first_offset;
    }
    return true;
}

/* The newest leader that this broker knows, for clients whose idea is older (KIP-951). */
static bool fetch_answer_leader(struct leader_hints *hints, const struct fetch_part *part,
                                struct fetch_response_partition_data *data)
{
    const struct image_partition *partition = NULL;
    if (part->fetch->request->api_version < FETCH_VERSION_CURRENT_LEADER) {
        return true;
    }
    if (part->error != ERROR_NOT_LEADER_OR_FOLLOWER && part->error != ERROR_FENCED_LEADER_EPOCH) {
        return true;
    }
    /* Looked up again: the image of the beginning, and the topic in it, may be gone after a wait. */
    if (!leader_hints_add(hints, part->part.topic_id, part->wish.name.partition_index, &partition)) {
        return false;
    }
    if (partition != NULL) {
        data->current_leader.leader_id = partition->leader_id;
        data->current_leader.leader_epoch = partition->leader_epoch;
    }
    return true;
}

static bool fetch_answer_nodes(struct fetch *fetch, const struct leader_hints *hints)
{
    struct fetch_response *response = &fetch->response;
    if (hints->node_count == 0 || fetch->request->api_version < FETCH_VERSION_NODE_ENDPOINTS) {
        return true;
    }
    response->node_endpoints =
        codec_array(&fetch_response_node_endpoint_layout, hints->node_count, &fetch->request->arena);
    if (response->node_endpoints == NULL) {
        return false;
    }
    for (size_t i = 0; i < hints->node_count; i++) {
        const struct leader_hint_node *node = &hints->nodes[i];
        response->node_endpoints[response->node_endpoints_count++] = (struct fetch_response_node_endpoint){
            .node_id = node->node_id, .host = node->host, .port = node->port, .rack = node->rack};
    }
    return true;
}

static bool fetch_answer_part(struct fetch *fetch, struct leader_hints *hints, struct fetch_part *part, bool has_room,
                              struct fetch_response_partition_data *data)
{
    data->partition_index = part->wish.name.partition_index;
    data->error_code = (int16_t)part->error;
    data->high_watermark = part->high_watermark;
    data->last_stable_offset = part->last_stable_offset;
    data->log_start_offset = part->log_start_offset;
    data->records.bytes = span_make("", 0);
    data->aborted_transactions = NULL;
    if (part->diverging_epoch >= 0) {
        data->diverging_epoch.epoch = part->diverging_epoch;
        data->diverging_epoch.end_offset = part->diverging_end_offset;
    }
    if (part->error != ERROR_NONE) {
        data->high_watermark = -1; /* nothing is said of a partition that could not be read */
        data->last_stable_offset = -1;
        data->log_start_offset = -1;
        metric_add(fetch->home->metrics, METRIC_FETCH_ERRORS, 1);
        return fetch_answer_leader(hints, part, data);
    }
    if (!fetch_answer_aborted(fetch, part, data)) {
        return false;
    }
    if (!has_room || fetch_part_bytes(part) == 0) {
        return true;
    }
    struct file_slice *slice = MEM_NEW(struct file_slice);
    slice->file = file_ref(part->read.slice.file);
    slice->pos = part->read.slice.pos;
    slice->bytes = part->read.slice.bytes;
    data->records.external = slice;
    data->records.external_bytes = slice->bytes;
    metric_add(fetch->home->metrics, METRIC_FETCH_BYTES, (int64_t)slice->bytes);
    metric_add(fetch->home->metrics, METRIC_FETCH_PARTITIONS, 1);
    return true;
}

/* Incremental answers leave out what the client knows already. Remembers what is sent. */
static bool fetch_session_wants(struct fetch *fetch, struct fetch_session *session, const struct fetch_part *part,
                                bool has_bytes)
{
    struct fetch_session_partition *known =
        session == NULL ? NULL : fetch_session_partition_find(session, &part->wish.name);
    if (known == NULL) {
        return true;
    }
    bool is_changed = has_bytes || part->error != ERROR_NONE || part->diverging_epoch >= 0 ||
                      known->sent_high_watermark != part->high_watermark ||
                      known->sent_log_start_offset != part->log_start_offset;
    known->sent_high_watermark = part->error != ERROR_NONE ? -1 : part->high_watermark;
    known->sent_log_start_offset = part->log_start_offset;
    if (has_bytes) {
        fetch_session_move_last(session, known);
    }
    return is_changed || !fetch->is_incremental;
}

static struct fetch_response_fetchable_topic_response *fetch_answer_topic(struct fetch *fetch,
                                                                          const struct fetch_part *part)
{
    struct fetch_response *response = &fetch->response;
    const struct fetch_partition_name *name = &part->wish.name;
    if (response->responses_count > 0) {
        struct fetch_response_fetchable_topic_response *last = &response->responses[response->responses_count - 1];
        if (uuid_equal(last->topic_id, name->topic_id) && span_equal(last->topic, name->topic_name)) {
            return last;
        }
    }
    struct fetch_response_fetchable_topic_response *topic = &response->responses[response->responses_count++];
    topic->topic_id = name->topic_id;
    topic->topic = name->topic_name;
    return topic;
}

bool fetch_answer(struct fetch *fetch)
{
    struct fetch_response *response = &fetch->response;
    struct arena *arena = &fetch->request->arena;
    codec_set_defaults(&fetch_response_codec, response);
    response->error_code = (int16_t)fetch->error;
    response->session_id = fetch->session_id;
    response->responses = codec_array(&fetch_response_fetchable_topic_response_layout, fetch->part_count, arena);
    struct fetch_response_partition_data *data =
        codec_array(&fetch_response_partition_data_layout, fetch->part_count, arena);
    if (response->responses == NULL || data == NULL) {
        return false;
    }
    struct fetch_session *session = fetch->session_id == FETCH_SESSION_NONE
                                        ? NULL
                                        : fetch_session_find(fetch->home->fetch_sessions, fetch->session_id);
    struct leader_hints hints = {.request = fetch->request, .image = fetch->home->image};
    int64_t room_bytes = fetch->bytes_max;
    bool is_first = true;
    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        int64_t bytes = (int64_t)fetch_part_bytes(part);
        /* At least one batch, however large (KIP-74). */
        bool has_room = bytes > 0 && (is_first || bytes <= room_bytes);
        if (!fetch_session_wants(fetch, session, part, has_room)) {
            continue;
        }
        struct fetch_response_fetchable_topic_response *topic = fetch_answer_topic(fetch, part);
        if (topic->partitions_count == 0) {
            topic->partitions = data;
        }
        if (!fetch_answer_part(fetch, &hints, part, has_room, data)) {
            return false;
        }
        topic->partitions_count++;
        data++;
        if (has_room) {
            is_first = false;
            room_bytes -= bytes;
        }
    }
    return fetch_answer_nodes(fetch, &hints);
}

#include "cli/replica_lag.h"

#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/list_offsets.h"
#include "proto/wire/error_code.h"

#define DEBUGGING_REPLICA_ID (-2)
#define TIMESTAMP_LATEST (-1)
#define OFFSET_NONE (-1)

/* One side of the comparison: the ends of logs as the broker of each row told them. */
struct ends {
    int32_t *brokers; /* whom to ask, by row; -1: nobody */
    int64_t *offsets;
};

static void take_answers(const struct list_offsets_response *response, const struct replica_behind *rows, size_t count,
                         struct ends *ends, int32_t broker_id)
{
    for (size_t t = 0; t < response->topics_count; t++) {
        for (size_t p = 0; p < response->topics[t].partitions_count; p++) {
            const struct list_offsets_response_partition_response *answer = &response->topics[t].partitions[p];
            for (size_t i = 0; i < count && answer->error_code == ERROR_NONE; i++) {
                if (ends->brokers[i] == broker_id && rows[i].partition->partition_index == answer->partition_index &&
                    span_equal(rows[i].topic->name, response->topics[t].name)) {
                    ends->offsets[i] = answer->offset;
                }
            }
        }
    }
}

/* Rows of one topic stand together, so each run of them is one topic of the request. */
static void ask_broker(struct session *session, const struct replica_behind *rows, size_t count, struct ends *ends,
                       int32_t broker_id)
{
    struct list_offsets_request_partition *partitions = mem_array(count, sizeof(*partitions));
    struct list_offsets_request_topic *topics = mem_array(count, sizeof(*topics));
    struct list_offsets_request request;
    size_t used = 0;
    codec_set_defaults(&list_offsets_request_codec, &request);
    request.replica_id = DEBUGGING_REPLICA_ID;
    request.topics = topics;
    request.timeout_ms = (int32_t)session->client->config.timeout_ms;
    for (size_t i = 0; i < count; i++) {
        if (ends->brokers[i] != broker_id) {
            continue;
        }
        struct list_offsets_request_partition *partition = &partitions[used++];
        codec_struct_set_defaults(&list_offsets_request_partition_layout, partition);
        partition->partition_index = rows[i].partition->partition_index;
        partition->timestamp = TIMESTAMP_LATEST;
        if (request.topics_count == 0 || !span_equal(topics[request.topics_count - 1].name, rows[i].topic->name)) {
            topics[request.topics_count++] =
                (struct list_offsets_request_topic){.name = rows[i].topic->name, .partitions = partition};
        }
        topics[request.topics_count - 1].partitions_count++;
    }
    struct client_reply reply;
    if (client_call(session->client, broker_id, API_KEY_LIST_OFFSETS, &request, &reply) == ERR_OK) {
        take_answers(reply.message, rows, count, ends, broker_id);
        client_reply_done(&reply);
    }
    mem_free(topics);
    mem_free(partitions);
}

static void ask_all(struct session *session, const struct replica_behind *rows, size_t count, struct ends *ends)
{
    for (size_t i = 0; i < count; i++) {
        bool is_asked = ends->brokers[i] < 0;
        for (size_t before = 0; before < i && !is_asked; before++) {
            is_asked = ends->brokers[before] == ends->brokers[i];
        }
        if (!is_asked) {
            ask_broker(session, rows, count, ends, ends->brokers[i]);
        }
    }
}

static void ends_init(struct ends *ends, size_t count)
{
    ends->brokers = mem_array(count, sizeof(*ends->brokers));
    ends->offsets = mem_array(count, sizeof(*ends->offsets));
    for (size_t i = 0; i < count; i++) {
        ends->offsets[i] = OFFSET_NONE;
    }
}

static void ends_done(struct ends *ends)
{
    mem_free(ends->brokers);
    mem_free(ends->offsets);
}

void replica_lag_ask(struct session *session, struct replica_behind *rows, size_t count)
{
    struct ends replicas;
    struct ends leaders;
    count = count < REPLICA_LAG_ASKED_MAX ? count : REPLICA_LAG_ASKED_MAX;
    if (count == 0) {
        return;
    }
    ends_init(&replicas, count);
    ends_init(&leaders, count);
    for (size_t i = 0; i < count; i++) {
        replicas.brokers[i] = rows[i].broker_id;
        leaders.brokers[i] = rows[i].partition->leader_id;
    }
    ask_all(session, rows, count, &replicas);
    ask_all(session, rows, count, &leaders); /* later: a replica is never ahead of what its leader says then */
    for (size_t i = 0; i < count; i++) {
        if (replicas.offsets[i] != OFFSET_NONE && leaders.offsets[i] != OFFSET_NONE) {
            int64_t lag = leaders.offsets[i] - replicas.offsets[i];
            rows[i].lag = lag < 0 ? 0 : lag; /* not truncated yet to the leader's history */
        }
    }
    ends_done(&replicas);
    ends_done(&leaders);
}

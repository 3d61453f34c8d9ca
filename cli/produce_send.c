/* Sending: rounds of one request to each leader, until every sealed batch is acknowledged. What comes back for one
 *          partition decides
 * about its batch alone: acknowledged, to be sent again as it is, or failed for good, which ends everything: with a
 * batch missing, the sequences of later ones would be refused anyway. */
#include "cli/produce_queue.h"
#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/produce.h"
#include "proto/wire/error_code.h"

#include <inttypes.h>
#include <stdio.h>

#define SEND_PAUSE_MS_MIN 50u
#define SEND_PAUSE_MS_MAX 1000u

/* One request of a round. */
struct send_leader {
    int32_t node_id;
    bool is_sent;
};

struct send_round {
    struct produce_queue *queue;
    struct send_leader *leaders;
    size_t leader_count;
    char reason[CLIENT_PROBLEM_BYTES]; /* why something must be sent again */
};

static bool is_waiting(const struct produce_queue *queue, size_t index)
{
    return queue->partitions[index].sealed.bytes > 0;
}

static bool is_anything_waiting(const struct produce_queue *queue)
{
    for (size_t i = 0; i < queue->partition_count; i++) {
        if (is_waiting(queue, i)) {
            return true;
        }
    }
    return false;
}

static void acknowledge(struct produce_queue *queue, size_t index, int64_t base_offset)
{
    struct produce_partition *partition = &queue->partitions[index];
    if (base_offset >= 0) {
        partition->first_offset = partition->first_offset < 0 ? base_offset : partition->first_offset;
        partition->last_offset = base_offset + partition->sealed_count - 1;
    }
    partition->acknowledged_count += (uint64_t)partition->sealed_count;
    queue->acknowledged_count += (uint64_t)partition->sealed_count;
    queue->acknowledged_bytes += partition->sealed.bytes;
    bytebuf_clear(&partition->sealed);
    partition->sealed_count = 0;
}

/* ---- asking ---- */

static void find_leaders(struct send_round *round)
{
    struct produce_queue *queue = round->queue;
    round->leaders = mem_array(queue->partition_count, sizeof(*round->leaders));
    for (size_t i = 0; i < queue->partition_count; i++) {
        int32_t leader_id = queue->map.partitions[i].leader_id;
        size_t at = 0;
        if (!is_waiting(queue, i)) {
            continue;
        }
        if (leader_id < 0) {
            (void)snprintf(round->reason, sizeof(round->reason), "partition %zu has no leader", i);
            continue;
        }
        while (at < round->leader_count && round->leaders[at].node_id != leader_id) {
            at++;
        }
        if (at == round->leader_count) {
            round->leaders[round->leader_count++].node_id = leader_id;
        }
    }
}

static enum err send_to(struct send_round *round, int32_t node_id)
{
    struct produce_queue *queue = round->queue;
    struct client *client = queue->session->client;
    int16_t api_version = 0;
    enum err err = client_version(client, node_id, API_KEY_PRODUCE, &api_version);
    if (err != ERR_OK) {
        return err;
    }
    struct produce_request_partition_produce_data *data = mem_array(queue->partition_count, sizeof(*data));
    struct produce_request_topic_produce_data topic = {.partition_data = data};
    for (size_t i = 0; i < queue->partition_count; i++) {
        if (is_waiting(queue, i) && queue->map.partitions[i].leader_id == node_id) {
            data[topic.partition_data_count].index = (int32_t)i;
            data[topic.partition_data_count].records.bytes = bytebuf_span(&queue->partitions[i].sealed);
            topic.partition_data_count++;
        }
    }
    if (api_version >= 13) {
        topic.topic_id = queue->map.topic_id;
    } else {
        topic.name = span_text(queue->map.name);
    }
    struct produce_request request;
    codec_set_defaults(&produce_request_codec, &request);
    request.acks = queue->options.acks;
    request.timeout_ms = (int32_t)client->config.timeout_ms;
    request.topic_data = &topic;
    request.topic_data_count = 1;
    err = queue->options.acks == 0 ? client_send_unanswered(client, node_id, API_KEY_PRODUCE, &request)
                                   : client_send(client, node_id, API_KEY_PRODUCE, &request);
    mem_free(data);
    return err;
}

static void send_requests(struct send_round *round)
{
    struct produce_queue *queue = round->queue;
    for (size_t i = 0; i < round->leader_count; i++) {
        struct send_leader *leader = &round->leaders[i];
        leader->is_sent = send_to(round, leader->node_id) == ERR_OK;
        if (!leader->is_sent) {
            (void)snprintf(round->reason, sizeof(round->reason), "%s", queue->session->client->problem);
        }
        for (size_t p = 0; leader->is_sent && queue->options.acks == 0 && p < queue->partition_count; p++) {
            if (is_waiting(queue, p) && queue->map.partitions[p].leader_id == leader->node_id) {
                acknowledge(queue, p, -1); /* nobody will say more */
            }
        }
    }
}

/* ---- answers ---- */

static void take_partition(struct send_round *round, const struct produce_response_partition_produce_response *answer)
{
    struct produce_queue *queue = round->queue;
    size_t index = (size_t)answer->index;
    if (answer->index < 0 || index >= queue->partition_count || !is_waiting(queue, index)) {
        return; /* not asked for */
    }
    int16_t code = answer->error_code;
    if (code == ERROR_NONE || code == ERROR_DUPLICATE_SEQUENCE_NUMBER) {
        acknowledge(queue, index, code == ERROR_NONE ? answer->base_offset : -1); /* a duplicate was written before */
        return;
    }
    struct span said =
        answer->error_message.bytes > 0 ? answer->error_message : span_text(error_code_text(answer->error_code));
    (void)snprintf(round->reason, sizeof(round->reason), "partition %zu: %.*s (%s)", index, (int)said.bytes,
                   (const char *)said.data, error_code_name(code));
    if (!error_code_is_retriable(code)) {
        (void)produce_queue_fail(queue, "%s", round->reason);
    }
}

static void take_answers(struct send_round *round)
{
    struct client *client = round->queue->session->client;
    for (size_t i = 0; i < round->leader_count && round->queue->options.acks != 0; i++) {
        struct client_reply reply;
        if (!round->leaders[i].is_sent) {
            continue;
        }
        if (client_receive(client, round->leaders[i].node_id, API_KEY_PRODUCE, &reply) != ERR_OK) {
            (void)snprintf(round->reason, sizeof(round->reason), "%s", client->problem);
            continue;
        }
        const struct produce_response *response = reply.message;
        if (response->responses_count == 1) {
            const struct produce_response_topic_produce_response *topic = &response->responses[0];
            for (size_t p = 0; p < topic->partition_responses_count; p++) {
                take_partition(round, &topic->partition_responses[p]);
            }
        }
        client_reply_done(&reply);
    }
}

/* ---- rounds ---- */

static void run_round(struct send_round *round)
{
    find_leaders(round);
    send_requests(round);
    take_answers(round);
    mem_free(round->leaders);
}

/* Where the partitions are led now. A topic that was made anew has none of our sequences, and perhaps other
 * partitions. */
static enum err refresh(struct produce_queue *queue)
{
    struct uuid topic_id = queue->map.topic_id;
    int16_t error_code = ERROR_NONE;
    if (topic_map_load(queue->session, &queue->map, false, &error_code) != ERR_OK) {
        return ERR_OK; /* the next round will say it */
    }
    if (error_code == ERROR_NONE &&
        (!uuid_equal(queue->map.topic_id, topic_id) || queue->map.partition_count < queue->partition_count)) {
        return produce_queue_fail(queue, "topic %s was deleted and created again meanwhile", queue->map.name);
    }
    return ERR_OK;
}

enum err produce_queue_send(struct produce_queue *queue)
{
    struct session *session = queue->session;
    uint64_t begin_ms = session_now_ms(session);
    uint64_t pause_ms = SEND_PAUSE_MS_MIN;
    while (!queue->has_failed && is_anything_waiting(queue)) {
        struct send_round round = {.queue = queue, .reason = "the broker's answer leaves partitions out"};
        run_round(&round);
        if (queue->has_failed || !is_anything_waiting(queue)) {
            break;
        }
        if (session->is_stopped) {
            return produce_queue_fail(queue, "interrupted (last problem: %s)", round.reason);
        }
        uint64_t spent_ms = session_now_ms(session) - begin_ms;
        if (spent_ms >= queue->options.delivery_timeout_ms) {
            return produce_queue_fail(queue, "not within %" PRIu32 " ms: %s", queue->options.delivery_timeout_ms,
                                      round.reason);
        }
        session_pause(session, pause_ms);
        pause_ms = pause_ms * 2 > SEND_PAUSE_MS_MAX ? SEND_PAUSE_MS_MAX : pause_ms * 2;
        enum err err = refresh(queue);
        if (err != ERR_OK) {
            return err;
        }
    }
    return queue->has_failed ? ERR_CLOSED : ERR_OK;
}

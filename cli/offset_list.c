#include "cli/offset_list.h"

#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/list_offsets.h"
#include "proto/wire/error_code.h"

#include <inttypes.h>
#include <stdio.h>

#define OFFSET_LIST_PAUSE_MS 100

static int32_t leader_of(const struct topic_map *map, int32_t partition)
{
    return partition >= 0 && (size_t)partition < map->partition_count ? map->partitions[partition].leader_id : -1;
}

/* Wishes that wait for an answer have this code; a broker never sends it for one. */
#define CODE_WAITING ERROR_NETWORK_EXCEPTION

static void take_answers(const struct list_offsets_response *response, struct offset_wish *wishes, size_t count)
{
    for (size_t t = 0; t < response->topics_count; t++) {
        for (size_t p = 0; p < response->topics[t].partitions_count; p++) {
            const struct list_offsets_response_partition_response *answer = &response->topics[t].partitions[p];
            for (size_t i = 0; i < count; i++) {
                if (wishes[i].partition == answer->partition_index) {
                    wishes[i].offset = answer->offset;
                    wishes[i].error_code = answer->error_code;
                }
            }
        }
    }
}

static void ask_leader(struct session *session, const struct topic_map *map, enum isolation isolation,
                       int32_t leader_id, struct offset_wish *wishes, size_t count)
{
    struct list_offsets_request_partition *partitions = mem_array(count, sizeof(*partitions));
    struct list_offsets_request_topic topic = {.name = span_text(map->name), .partitions = partitions};
    for (size_t i = 0; i < count; i++) {
        if (leader_of(map, wishes[i].partition) == leader_id) {
            struct list_offsets_request_partition *partition = &partitions[topic.partitions_count++];
            codec_struct_set_defaults(&list_offsets_request_partition_layout, partition);
            partition->partition_index = wishes[i].partition;
            partition->timestamp = wishes[i].timestamp;
            wishes[i].error_code = CODE_WAITING;
        }
    }
    struct list_offsets_request request;
    codec_set_defaults(&list_offsets_request_codec, &request);
    request.replica_id = -1;
    request.isolation_level = (int8_t)isolation;
    request.topics = &topic;
    request.topics_count = 1;
    request.timeout_ms = (int32_t)session->client->config.timeout_ms;
    struct client_reply reply;
    if (client_call(session->client, leader_id, API_KEY_LIST_OFFSETS, &request, &reply) == ERR_OK) {
        take_answers(reply.message, wishes, count);
        client_reply_done(&reply);
    }
    mem_free(partitions);
}

void offset_list_try(struct session *session, const struct topic_map *map, enum isolation isolation,
                     struct offset_wish *wishes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        wishes[i].offset = OFFSET_LIST_NONE;
        wishes[i].error_code = ERROR_LEADER_NOT_AVAILABLE;
    }
    for (size_t i = 0; i < count; i++) {
        int32_t leader_id = leader_of(map, wishes[i].partition);
        if (leader_id >= 0 && wishes[i].error_code == ERROR_LEADER_NOT_AVAILABLE) {
            ask_leader(session, map, isolation, leader_id, wishes, count);
        }
    }
}

int offset_list_ask(struct session *session, struct topic_map *map, enum isolation isolation,
                    struct offset_wish *wishes, size_t count)
{
    uint64_t begin_ms = session_now_ms(session);
    for (;;) {
        const struct offset_wish *bad = NULL;
        offset_list_try(session, map, isolation, wishes, count);
        for (size_t i = 0; i < count && bad == NULL; i++) {
            bad = wishes[i].error_code == ERROR_NONE ? NULL : &wishes[i];
        }
        if (bad == NULL) {
            return VERB_OK;
        }
        if (session->is_interrupted) {
            return VERB_FAILED; /* no surprise to whoever interrupted */
        }
        if (!error_code_is_retriable(bad->error_code) || session_now_ms(session) - begin_ms >= session->patience_ms) {
            char what[300];
            (void)snprintf(what, sizeof(what), "%s, partition %" PRId32, map->name, bad->partition);
            return session_fail_code(session, what, bad->error_code, SPAN_NULL);
        }
        session_pause(session, OFFSET_LIST_PAUSE_MS);
        int16_t error_code = ERROR_NONE;
        enum err err = topic_map_load(session, map, false, &error_code);
        if (err != ERR_OK && !client_may_recover(session->client, err)) {
            return session_fail(session);
        }
    }
}

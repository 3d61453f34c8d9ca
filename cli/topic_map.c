#include "cli/topic_map.h"

#include "cli/metadata_ask.h"
#include "common/mem.h"
#include "common/near_name.h"
#include "proto/wire/error_code.h"

#include <stdlib.h>

static int compare_partitions(const void *a, const void *b)
{
    const struct topic_map_partition *left = a;
    const struct topic_map_partition *right = b;
    return (left->index > right->index) - (left->index < right->index);
}

enum err topic_map_take(struct topic_map *map, const struct metadata_response_topic *topic)
{
    size_t count = topic->partitions_count;
    struct topic_map_partition *partitions = mem_array(count, sizeof(*partitions));
    for (size_t i = 0; i < count; i++) {
        partitions[i] = (struct topic_map_partition){.index = topic->partitions[i].partition_index,
                                                     .leader_id = topic->partitions[i].leader_id,
                                                     .leader_epoch = topic->partitions[i].leader_epoch};
    }
    if (count > 0) {
        qsort(partitions, count, sizeof(*partitions), compare_partitions);
    }
    for (size_t i = 0; i < count; i++) {
        if (partitions[i].index != (int32_t)i) {
            mem_free(partitions);
            return ERR_MALFORMED;
        }
    }
    mem_free(map->partitions);
    map->partitions = partitions;
    map->partition_count = count;
    map->topic_id = topic->topic_id;
    return ERR_OK;
}

enum err topic_map_load(struct session *session, struct topic_map *map, bool may_create, int16_t *ret_error_code)
{
    struct client_reply reply;
    enum err err = metadata_ask(session, &map->name, 1, may_create, &reply);
    if (err != ERR_OK) {
        return err;
    }
    const struct metadata_response *response = reply.message;
    int16_t error_code = ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    if (response->topics_count == 1) {
        error_code = response->topics[0].error_code;
        err = error_code == ERROR_NONE ? topic_map_take(map, &response->topics[0]) : ERR_OK;
    }
    if (err == ERR_OK) {
        *ret_error_code = error_code;
    } else {
        client_complain(session->client, "the cluster's description of topic %s makes no sense", map->name);
    }
    client_reply_done(&reply);
    return err;
}

/* ---- a topic that does not exist ---- */

int topic_map_complain_unknown(struct session *session, const char *name)
{
    struct client_reply reply;
    if (metadata_ask(session, NULL, 0, false, &reply) != ERR_OK) {
        return session_fail(session);
    }
    const struct metadata_response *response = reply.message;
    struct span nearest = SPAN_NULL;
    size_t nearest_distance = SIZE_MAX;
    for (size_t i = 0; i < response->topics_count; i++) {
        const struct metadata_response_topic *topic = &response->topics[i];
        size_t distance = topic->is_internal ? SIZE_MAX : near_name_distance(span_text(name), topic->name);
        if (distance < nearest_distance) {
            nearest = topic->name;
            nearest_distance = distance;
        }
    }
    if (!span_is_null(nearest) && near_name_is_near(span_text(name), nearest_distance)) {
        arguments_complain(session->arguments->command, "there is no topic %s; did you mean %.*s?", name,
                           (int)nearest.bytes, (const char *)nearest.data);
    } else {
        arguments_complain(session->arguments->command, "there is no topic %s; create it with: moldau topic create %s",
                           name, name);
    }
    client_reply_done(&reply);
    return VERB_FAILED;
}

static uint64_t patience_ms(const struct session *session, int16_t error_code, bool may_create)
{
    if (error_code == ERROR_UNKNOWN_TOPIC_OR_PARTITION) {
        return may_create ? TOPIC_MAP_CREATION_WAIT_MS : TOPIC_MAP_UNKNOWN_WAIT_MS;
    }
    return error_code_is_retriable(error_code) ? session->patience_ms : 0;
}

int topic_map_open(struct session *session, struct topic_map *map, const char *name, bool may_create)
{
    *map = (struct topic_map){.name = name};
    uint64_t begin_ms = session_now_ms(session);
    for (;;) {
        int16_t error_code = ERROR_NONE;
        enum err err = topic_map_load(session, map, may_create, &error_code);
        if (err == ERR_OK && error_code == ERROR_NONE && map->partition_count > 0) {
            return VERB_OK;
        }
        uint64_t spent_ms = session_now_ms(session) - begin_ms;
        if (err != ERR_OK) {
            if (!client_may_recover(session->client, err) || spent_ms >= session->patience_ms) {
                return session_fail(session);
            }
        } else if (spent_ms >= patience_ms(session, error_code, may_create)) {
            return error_code == ERROR_UNKNOWN_TOPIC_OR_PARTITION
                       ? topic_map_complain_unknown(session, name)
                       : session_fail_code(session, name, error_code, SPAN_NULL);
        }
        session_pause(session, TOPIC_MAP_PAUSE_MS);
    }
}

void topic_map_done(struct topic_map *map)
{
    mem_free(map->partitions);
    *map = (struct topic_map){0};
}

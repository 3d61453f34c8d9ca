/* ElectLeaders (43): named partitions, or all that need it. */
#include "controller/controller_api.h"
#include "controller/leader_control.h"
#include "proto/kmsg/elect_leaders.h"

#include <stdlib.h>

typedef struct elect_leaders_response_replica_election_result topic_result;
typedef struct elect_leaders_response_partition_result partition_result;

#define BALLOTS_MAX 200000

/* One partition that was named. */
struct ballot {
    const struct image_topic *topic; /* NULL: unknown */
    partition_result *result;        /* of one array per topic: its place says which was named first */
    size_t order;
};

static int order_ballots(const void *left, const void *right)
{
    const struct ballot *a = (const struct ballot *)left;
    const struct ballot *b = (const struct ballot *)right;
    int order = (a->topic != NULL) - (b->topic != NULL);
    if (order == 0 && a->topic != NULL) {
        order = memcmp(a->topic->id.bytes, b->topic->id.bytes, UUID_BYTES);
    }
    if (order == 0) {
        order =
            (a->result->partition_id > b->result->partition_id) - (a->result->partition_id < b->result->partition_id);
    }
    return order != 0 ? order : (a->order > b->order) - (a->order < b->order);
}

static void decide_one(struct partition_sweep *sweep, const struct ballot *ballot, const struct ballot *before,
                       enum leader_election election)
{
    struct decision_result outcome = {0};
    if (before != NULL && ballot->topic != NULL && before->topic == ballot->topic &&
        before->result->partition_id == ballot->result->partition_id) {
        (void)decision_refuse(sweep->decision, &outcome, ERROR_INVALID_REQUEST, "The partition is named twice.");
    } else {
        (void)leader_control_elect(sweep, ballot->topic, ballot->result->partition_id, election, &outcome);
    }
    ballot->result->error_code = outcome.code;
    ballot->result->error_message = outcome.message;
}

/* False when there are too many, or the arena is exhausted. */
static bool elect_named(struct api_call *call, struct partition_sweep *sweep,
                        const struct elect_leaders_request *request, struct elect_leaders_response *response)
{
    struct arena *arena = call->decision.arena;
    size_t ballot_count = 0;
    for (size_t i = 0; i < request->topic_partitions_count; i++) {
        ballot_count += request->topic_partitions[i].partitions_count;
    }
    if (ballot_count > BALLOTS_MAX) {
        return false;
    }
    struct ballot *ballots = (struct ballot *)arena_array(arena, ballot_count + 1, sizeof(ballots[0]));
    response->replica_election_results = (topic_result *)codec_array(
        &elect_leaders_response_replica_election_result_layout, request->topic_partitions_count + 1, arena);
    if (ballots == NULL || response->replica_election_results == NULL) {
        return false;
    }
    size_t next = 0;
    for (size_t i = 0; i < request->topic_partitions_count; i++) {
        const struct elect_leaders_request_topic_partitions *named = &request->topic_partitions[i];
        topic_result *result = &response->replica_election_results[response->replica_election_results_count++];
        result->topic = named->topic;
        result->partition_result_count = named->partitions_count;
        result->partition_result = (partition_result *)codec_array(&elect_leaders_response_partition_result_layout,
                                                                   named->partitions_count + 1, arena);
        if (result->partition_result == NULL) {
            return false;
        }
        for (size_t j = 0; j < named->partitions_count; j++) {
            result->partition_result[j].partition_id = named->partitions[j];
            ballots[next] = (struct ballot){image_find_topic(call->decision.image, named->topic),
                                            &result->partition_result[j], next};
            next++;
        }
    }
    qsort(ballots, ballot_count, sizeof(ballots[0]), order_ballots);
    for (size_t i = 0; i < ballot_count; i++) {
        decide_one(sweep, &ballots[i], i == 0 ? NULL : &ballots[i - 1], (enum leader_election)request->election_type);
    }
    return true;
}

/* Partitions that need no election are not told of; their topics are, as Kafka does. */
static bool elect_all(struct api_call *call, struct partition_sweep *sweep, enum leader_election election,
                      struct elect_leaders_response *response)
{
    const struct image *image = call->decision.image;
    struct arena *arena = call->decision.arena;
    response->replica_election_results = (topic_result *)codec_array(
        &elect_leaders_response_replica_election_result_layout, image_topic_count(image) + 1u, arena);
    if (response->replica_election_results == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *topic = image_topic_at(image, i);
        topic_result *result = &response->replica_election_results[response->replica_election_results_count++];
        uint32_t room = 0;
        result->topic = arena_copy(arena, topic->name);
        for (uint32_t j = 0; j < topic->partition_count; j++) {
            struct decision_result outcome = {0};
            (void)leader_control_elect(sweep, topic, (int32_t)j, election, &outcome);
            if (outcome.code == ERROR_ELECTION_NOT_NEEDED) {
                continue;
            }
            if (room == 0) {
                room = topic->partition_count;
                result->partition_result =
                    (partition_result *)codec_array(&elect_leaders_response_partition_result_layout, room, arena);
            }
            if (result->partition_result == NULL) {
                return false;
            }
            result->partition_result[result->partition_result_count++] =
                (partition_result){(int32_t)j, outcome.code, outcome.message};
        }
    }
    return true;
}

enum err admin_elect_leaders(struct api_call *call)
{
    struct elect_leaders_request request;
    struct elect_leaders_response response;
    struct partition_sweep sweep = {.decision = &call->decision};
    enum err err = api_call_decode(call, &elect_leaders_request_codec, &request);
    if (err != ERR_OK) {
        return err;
    }
    codec_set_defaults(&elect_leaders_response_codec, &response);
    if (request.election_type != LEADER_ELECTION_PREFERRED && request.election_type != LEADER_ELECTION_UNCLEAN) {
        response.error_code = ERROR_INVALID_REQUEST;
        return api_call_encode(call, &elect_leaders_response_codec, &response);
    }
    bool is_fine = request.topic_partitions == NULL
                       ? elect_all(call, &sweep, (enum leader_election)request.election_type, &response)
                       : elect_named(call, &sweep, &request, &response);
    return is_fine ? api_call_encode(call, &elect_leaders_response_codec, &response) : ERR_LIMIT;
}

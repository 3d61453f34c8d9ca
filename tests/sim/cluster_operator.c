#include "tests/sim/cluster_operator.h"

#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/rng.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/add_raft_voter.h"
#include "proto/kmsg/describe_quorum.h"
#include "proto/kmsg/remove_raft_voter.h"
#include "proto/wire/error_code.h"

#define DESCRIBE_QUORUM_VERSION 2
#define VOTER_VERSION 0
#define LOOK_US 1000000u
#define AWAY_US_MOST 15000000u
#define QUIET_US 40000000u
#define VOTERS_MAX 8u
#define METADATA_TOPIC "__cluster_metadata"

struct operator_voter {
    int32_t node_id;
    struct uuid directory;
};

enum operator_change { CHANGE_REMOVED, CHANGE_REPLACED, CHANGE_ADDED, CHANGE_ADMITTED };

struct cluster_operator {
    struct env *env;
    struct cluster_operator_options options;
    struct loop *loop;
    struct cluster_client *client;
    struct kafka_request request;
    struct loop_timer timer;
    struct operator_voter voters[VOTERS_MAX];
    size_t voter_count; /* 0: not seen yet */
    bool wants_disturbance;
    bool is_ending;
    bool has_away; /* `away` was taken out and comes back at away_until_us */
    struct operator_voter away;
    uint64_t away_until_us;
    enum operator_change change; /* under way */
    uint64_t quiet_us;           /* until then the last change may still take effect */
    struct cluster_operator_counts counts;
};

static void arm(struct cluster_operator *people)
{
    loop_timer_set(people->loop, &people->timer,
                   loop_now_us(people->loop) + LOOK_US / 2 + rng_below(people->env->rng, LOOK_US));
}

static const struct operator_voter *find_voter(const struct cluster_operator *people, int32_t node_id)
{
    for (size_t i = 0; i < people->voter_count; i++) {
        if (people->voters[i].node_id == node_id) {
            return &people->voters[i];
        }
    }
    return NULL;
}

/* ---- changes ---- */

static void on_changed(struct cluster_operator *people, int16_t error_code)
{
    log_info(people->env->logger, "script", "voter_changed", "change=%d error=%s", (int)people->change,
             error_code_name(error_code));
    if (error_code != ERROR_NONE) {
        return; /* the next look shows what there is to do */
    }
    switch (people->change) {
    case CHANGE_REMOVED:
        people->counts.removed++;
        break;
    case CHANGE_REPLACED:
        people->counts.replaced++;
        break;
    case CHANGE_ADDED:
        people->counts.added++;
        break;
    case CHANGE_ADMITTED:
        people->counts.admitted++;
        break;
    }
}

static void on_added(struct kafka_request *request, struct reader *body)
{
    struct cluster_operator *people = CONTAINER_OF(request, struct cluster_operator, request);
    arm(people);
    if (body != NULL) {
        struct arena arena;
        arena_init(&arena, 0);
        struct add_raft_voter_response response;
        enum err err = codec_decode(&add_raft_voter_response_codec, VOTER_VERSION, body, &arena, &response);
        CHECK(err == ERR_OK);
        on_changed(people, response.error_code);
        arena_done(&arena);
    }
}

static void on_removed(struct kafka_request *request, struct reader *body)
{
    struct cluster_operator *people = CONTAINER_OF(request, struct cluster_operator, request);
    arm(people);
    if (body != NULL) {
        struct arena arena;
        arena_init(&arena, 0);
        struct remove_raft_voter_response response;
        enum err err = codec_decode(&remove_raft_voter_response_codec, VOTER_VERSION, body, &arena, &response);
        CHECK(err == ERR_OK);
        on_changed(people, response.error_code);
        arena_done(&arena);
    }
}

static void add(struct cluster_operator *people, const struct cluster_plan_node *node, struct uuid directory,
                enum operator_change change)
{
    struct kafka_client *connection = cluster_client_any(people->client);
    if (connection == NULL) {
        arm(people);
        return;
    }
    struct add_raft_voter_request_listener listener = {
        .name = span_text("INTERNAL"), .host = span_text(node->address), .port = CLUSTER_INTERNAL_PORT};
    struct add_raft_voter_request message = {.cluster_id = SPAN_NULL,
                                             .timeout_ms = 5000,
                                             .voter_id = node->node_id,
                                             .voter_directory_id = directory,
                                             .listeners = &listener,
                                             .listeners_count = 1,
                                             .ack_when_committed = true};
    people->change = change;
    people->quiet_us = loop_now_us(people->loop) + QUIET_US;
    people->request =
        (struct kafka_request){.api_key = API_KEY_ADD_RAFT_VOTER, .api_version = VOTER_VERSION, .on_reply = on_added};
    kafka_client_send(connection, &people->request, &message);
}

static void take_out(struct cluster_operator *people, const struct operator_voter *voter, enum operator_change change)
{
    struct kafka_client *connection = cluster_client_any(people->client);
    if (connection == NULL) {
        arm(people);
        return;
    }
    struct remove_raft_voter_request message = {
        .cluster_id = SPAN_NULL, .voter_id = voter->node_id, .voter_directory_id = voter->directory};
    people->change = change;
    people->quiet_us = loop_now_us(people->loop) + QUIET_US;
    people->request = (struct kafka_request){
        .api_key = API_KEY_REMOVE_RAFT_VOTER, .api_version = VOTER_VERSION, .on_reply = on_removed};
    kafka_client_send(connection, &people->request, &message);
}

/* A node that waits: its old self goes first. One that was half admitted when the leader changed does not ask any more, but does not
 * vote either. */
static bool admit(struct cluster_operator *people)
{
    for (unsigned i = 0; i < people->options.plan->node_count; i++) {
        const struct cluster_plan_node *node = &people->options.plan->nodes[i];
        struct uuid directory;
        bool is_waiting = node->is_controller && people->options.is_waiting(people->options.ctx, i, &directory);
        const struct operator_voter *voter = find_voter(people, node->node_id);
        bool is_away = people->has_away && people->away.node_id == node->node_id;
        if (!node->is_controller || is_away || uuid_is_zero(directory) || (!is_waiting && voter != NULL)) {
            continue;
        }
        if (voter == NULL) {
            add(people, node, directory, CHANGE_ADMITTED);
            return true;
        }
        if (!uuid_equal(voter->directory, directory)) {
            take_out(people, voter, CHANGE_REPLACED);
            return true;
        }
    }
    return false;
}

static bool bring_back(struct cluster_operator *people)
{
    if (!people->has_away) {
        return false;
    }
    if (find_voter(people, people->away.node_id) != NULL) {
        people->has_away = loop_now_us(people->loop) < people->away_until_us && !people->is_ending;
        return false;
    }
    if (loop_now_us(people->loop) < people->away_until_us && !people->is_ending) {
        return false;
    }
    for (unsigned i = 0; i < people->options.plan->node_count; i++) {
        if (people->options.plan->nodes[i].node_id == people->away.node_id) {
            add(people, &people->options.plan->nodes[i], people->away.directory, CHANGE_ADDED);
            return true;
        }
    }
    UNREACHABLE();
}

static bool disturb(struct cluster_operator *people)
{
    if (!people->wants_disturbance || people->is_ending || people->has_away || people->voter_count < 3 ||
        !cluster_operator_is_whole(people)) {
        return false;
    }
    people->wants_disturbance = false;
    people->has_away = true;
    people->away = people->voters[rng_below(people->env->rng, people->voter_count)];
    people->away_until_us = loop_now_us(people->loop) + rng_below(people->env->rng, AWAY_US_MOST);
    take_out(people, &people->away, CHANGE_REMOVED);
    return true;
}

/* ---- looking ---- */

static void on_described(struct kafka_request *request, struct reader *body)
{
    struct cluster_operator *people = CONTAINER_OF(request, struct cluster_operator, request);
    if (body == NULL) {
        arm(people);
        return;
    }
    struct arena arena;
    arena_init(&arena, 0);
    struct describe_quorum_response response;
    enum err err = codec_decode(&describe_quorum_response_codec, DESCRIBE_QUORUM_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK);
    bool is_fine = response.error_code == ERROR_NONE && response.topics_count == 1 &&
                   response.topics[0].partitions_count == 1 &&
                   response.topics[0].partitions[0].error_code == ERROR_NONE;
    if (is_fine) {
        const struct describe_quorum_response_partition_data *partition = &response.topics[0].partitions[0];
        people->voter_count = 0;
        for (size_t i = 0; i < partition->current_voters_count && i < VOTERS_MAX; i++) {
            people->voters[people->voter_count++] =
                (struct operator_voter){.node_id = partition->current_voters[i].replica_id,
                                        .directory = partition->current_voters[i].replica_directory_id};
        }
    }
    arena_done(&arena);
    if (!is_fine || (!admit(people) && !bring_back(people) && !disturb(people))) {
        arm(people);
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct cluster_operator *people = CONTAINER_OF(timer, struct cluster_operator, timer);
    struct kafka_client *connection = cluster_client_any(people->client);
    if (connection == NULL) {
        arm(people);
        return;
    }
    struct describe_quorum_request_partition_data partition = {.partition_index = 0};
    struct describe_quorum_request_topic_data topic = {
        .topic_name = span_text(METADATA_TOPIC), .partitions = &partition, .partitions_count = 1};
    struct describe_quorum_request message = {.topics = &topic, .topics_count = 1};
    people->request = (struct kafka_request){
        .api_key = API_KEY_DESCRIBE_QUORUM, .api_version = DESCRIBE_QUORUM_VERSION, .on_reply = on_described};
    kafka_client_send(connection, &people->request, &message);
}

static void on_broker(void *ctx, unsigned broker)
{
    (void)ctx;
    (void)broker;
}

static void on_metadata(void *ctx)
{
    (void)ctx;
}

struct cluster_operator *cluster_operator_start(struct env *env, const struct cluster_operator_options *options)
{
    struct cluster_operator *people = MEM_NEW(struct cluster_operator);
    people->env = env;
    people->options = *options;
    people->timer.fire = on_timer;
    enum err err = runtime_loop_new(env->runtime, "operator", &people->loop);
    CHECK(err == ERR_OK);
    struct cluster_client_events events = {
        .ctx = people, .on_broker_up = on_broker, .on_broker_down = on_broker, .on_metadata = on_metadata};
    people->client = cluster_client_new(env, people->loop, options->plan, "operator", &events);
    arm(people);
    runtime_loop_start(env->runtime, people->loop);
    return people;
}

void cluster_operator_disturb(struct cluster_operator *people)
{
    people->wants_disturbance = true;
}

void cluster_operator_end(struct cluster_operator *people)
{
    people->is_ending = true;
}

bool cluster_operator_is_whole(const struct cluster_operator *people)
{
    const struct cluster_plan *plan = people->options.plan;
    unsigned count = 0;
    for (unsigned i = 0; i < plan->node_count; i++) {
        if (!plan->nodes[i].is_controller) {
            continue;
        }
        const struct operator_voter *voter = find_voter(people, plan->nodes[i].node_id);
        struct uuid directory;
        (void)people->options.is_waiting(people->options.ctx, i, &directory);
        if (voter == NULL || !uuid_equal(voter->directory, directory)) {
            return false;
        }
        count++;
    }
    return people->voter_count == count;
}

bool cluster_operator_is_quiet(const struct cluster_operator *people)
{
    return cluster_operator_is_whole(people) && !people->wants_disturbance && !people->has_away &&
           loop_now_us(people->loop) >= people->quiet_us;
}

const struct cluster_operator_counts *cluster_operator_count(const struct cluster_operator *people)
{
    return &people->counts;
}

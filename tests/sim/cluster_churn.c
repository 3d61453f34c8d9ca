#include "tests/sim/cluster_churn.h"

#include "common/mem.h"
#include "common/seam/rng.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/create_topics.h"
#include "proto/kmsg/delete_topics.h"
#include "proto/wire/error_code.h"

#define CREATE_TOPICS_VERSION 7
#define DELETE_TOPICS_VERSION 5
#define NAMES 4u
#define PARTITIONS_MOST 3u

struct cluster_churn {
    struct env *env;
    struct loop *loop;
    struct cluster_client *client;
    const struct cluster_plan *plan;
    struct cluster_verdict *verdict;
    struct kafka_request request;
    struct loop_timer timer;
    char name[CLUSTER_TEXT_BYTES];
};

static void arm(struct cluster_churn *churn)
{
    loop_timer_set(churn->loop, &churn->timer,
                   loop_now_us(churn->loop) + 1 + rng_below(churn->env->rng, churn->plan->churn_us));
}

/* Whether the topic exists is not known here, nor how many brokers there are at the moment. */
static void judge(struct cluster_churn *churn, const char *what, int16_t error_code)
{
    bool is_fine = error_code == ERROR_NONE || error_code_is_retriable(error_code) ||
                   error_code == ERROR_TOPIC_ALREADY_EXISTS || error_code == ERROR_INVALID_REPLICATION_FACTOR;
    if (!is_fine) {
        cluster_verdict_violation(churn->verdict, "%s of a topic is answered by %s", what, error_code_name(error_code));
    }
}

static void on_created(struct kafka_request *request, struct reader *body)
{
    struct cluster_churn *churn = CONTAINER_OF(request, struct cluster_churn, request);
    arm(churn);
    if (body == NULL) {
        return;
    }
    struct arena arena;
    arena_init(&arena, 0);
    struct create_topics_response response;
    enum err err = codec_decode(&create_topics_response_codec, CREATE_TOPICS_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK && response.topics_count == 1);
    judge(churn, "the creation", response.topics[0].error_code);
    arena_done(&arena);
}

static void on_deleted(struct kafka_request *request, struct reader *body)
{
    struct cluster_churn *churn = CONTAINER_OF(request, struct cluster_churn, request);
    arm(churn);
    if (body == NULL) {
        return;
    }
    struct arena arena;
    arena_init(&arena, 0);
    struct delete_topics_response response;
    enum err err = codec_decode(&delete_topics_response_codec, DELETE_TOPICS_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK && response.responses_count == 1);
    judge(churn, "the deletion", response.responses[0].error_code);
    arena_done(&arena);
}

static void create(struct cluster_churn *churn, struct kafka_client *connection)
{
    struct create_topics_request_creatable_topic topic = {
        .name = span_text(churn->name),
        .num_partitions = 1 + (int32_t)rng_below(churn->env->rng, PARTITIONS_MOST),
        .replication_factor = 1 + (int16_t)rng_below(churn->env->rng, churn->plan->broker_count)};
    struct create_topics_request message = {.topics = &topic, .topics_count = 1, .timeout_ms = 3000};
    churn->request = (struct kafka_request){
        .api_key = API_KEY_CREATE_TOPICS, .api_version = CREATE_TOPICS_VERSION, .on_reply = on_created};
    kafka_client_send(connection, &churn->request, &message);
}

static void remove_topic(struct cluster_churn *churn, struct kafka_client *connection)
{
    struct span name = span_text(churn->name);
    struct delete_topics_request message = {.topic_names = &name, .topic_names_count = 1, .timeout_ms = 3000};
    churn->request = (struct kafka_request){
        .api_key = API_KEY_DELETE_TOPICS, .api_version = DELETE_TOPICS_VERSION, .on_reply = on_deleted};
    kafka_client_send(connection, &churn->request, &message);
}

static void on_timer(struct loop_timer *timer)
{
    struct cluster_churn *churn = CONTAINER_OF(timer, struct cluster_churn, timer);
    struct kafka_client *connection = cluster_client_any(churn->client);
    if (connection == NULL) {
        arm(churn);
        return;
    }
    (void)snprintf(churn->name, sizeof(churn->name), "churn%u", (unsigned)rng_below(churn->env->rng, NAMES));
    if (rng_below(churn->env->rng, 2) == 0) {
        create(churn, connection);
    } else {
        remove_topic(churn, connection);
    }
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

struct cluster_churn *cluster_churn_start(struct env *env, const struct cluster_plan *plan,
                                          struct cluster_verdict *verdict)
{
    struct cluster_churn *churn = MEM_NEW(struct cluster_churn);
    churn->env = env;
    churn->plan = plan;
    churn->verdict = verdict;
    churn->timer.fire = on_timer;
    enum err err = runtime_loop_new(env->runtime, "churn", &churn->loop);
    CHECK(err == ERR_OK);
    struct cluster_client_events events = {
        .ctx = churn, .on_broker_up = on_broker, .on_broker_down = on_broker, .on_metadata = on_metadata};
    churn->client = cluster_client_new(env, churn->loop, plan, "churn", &events);
    arm(churn);
    runtime_loop_start(env->runtime, churn->loop);
    return churn;
}

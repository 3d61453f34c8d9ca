#include "tests/sim/cluster_setup.h"

#include "common/logger.h"
#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/create_topics.h"
#include "proto/wire/error_code.h"

#define CREATE_TOPICS_VERSION 7
#define AGAIN_US 300000u

struct cluster_setup {
    struct env *env;
    struct loop *loop;
    struct cluster_client *client;
    const struct cluster_plan *plan;
    struct cluster_verdict *verdict;
    struct kafka_request request;
    struct loop_timer timer;
    unsigned created_count; /* the topics below exist */
};

static void arm(struct cluster_setup *setup)
{
    loop_timer_set(setup->loop, &setup->timer, loop_now_us(setup->loop) + AGAIN_US);
}

static void on_created(struct kafka_request *request, struct reader *body)
{
    struct cluster_setup *setup = CONTAINER_OF(request, struct cluster_setup, request);
    arm(setup);
    if (body == NULL) {
        return;
    }
    struct arena arena;
    arena_init(&arena, 0);
    struct create_topics_response response;
    enum err err = codec_decode(&create_topics_response_codec, CREATE_TOPICS_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK && response.topics_count == 1);
    int16_t error_code = response.topics[0].error_code;
    log_info(setup->env->logger, "script", "topic", "name=%s error=%s", setup->plan->topics[setup->created_count].name,
             error_code_name(error_code));
    if (error_code == ERROR_NONE || error_code == ERROR_TOPIC_ALREADY_EXISTS) {
        setup->created_count++;
        cluster_client_refresh(setup->client);
    } else if (!error_code_is_retriable(error_code) && error_code != ERROR_INVALID_REPLICATION_FACTOR) {
        cluster_verdict_violation(setup->verdict, "a topic can't be created: %s", error_code_name(error_code));
    }
    arena_done(&arena);
}

static void create(struct cluster_setup *setup, struct kafka_client *connection)
{
    const struct cluster_plan_topic *plan = &setup->plan->topics[setup->created_count];
    char min_insync[8];
    (void)snprintf(min_insync, sizeof(min_insync), "%u", plan->min_insync);
    struct create_topics_request_creatable_topic_config configs[] = {
        {.name = span_text("durability"), .value = span_text(plan->is_cached ? "cached" : "synced")},
        {.name = span_text("min.insync.replicas"), .value = span_text(min_insync)},
    };
    struct create_topics_request_creatable_topic topic = {.name = span_text(plan->name),
                                                          .num_partitions = (int32_t)plan->partition_count,
                                                          .replication_factor = (int16_t)plan->replica_count,
                                                          .configs = configs,
                                                          .configs_count = ARRAY_COUNT(configs)};
    struct create_topics_request message = {.topics = &topic, .topics_count = 1, .timeout_ms = 4000};
    setup->request = (struct kafka_request){
        .api_key = API_KEY_CREATE_TOPICS, .api_version = CREATE_TOPICS_VERSION, .on_reply = on_created};
    kafka_client_send(connection, &setup->request, &message);
}

static void on_timer(struct loop_timer *timer)
{
    struct cluster_setup *setup = CONTAINER_OF(timer, struct cluster_setup, timer);
    if (setup->created_count == setup->plan->topic_count) {
        return;
    }
    struct kafka_client *connection = cluster_client_any(setup->client);
    if (connection == NULL) {
        arm(setup);
        return;
    }
    create(setup, connection);
}

struct cluster_setup *cluster_setup_start(struct env *env, struct loop *loop, struct cluster_client *client,
                                          const struct cluster_plan *plan, struct cluster_verdict *verdict)
{
    struct cluster_setup *setup = MEM_NEW(struct cluster_setup);
    setup->env = env;
    setup->loop = loop;
    setup->client = client;
    setup->plan = plan;
    setup->verdict = verdict;
    setup->timer.fire = on_timer;
    arm(setup);
    return setup;
}

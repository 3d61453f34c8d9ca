#include "tests/sim/cluster_lister.h"

#include "common/mem.h"
#include "common/seam/rng.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/list_offsets.h"
#include "proto/wire/error_code.h"

#include <limits.h>

#define LIST_OFFSETS_VERSION 8
#define LATEST (-1)
#define CONSUMER (-1)
#define PACE_US 40000u /* at most so long between an answer and the next question */

struct lister_link {
    struct cluster_lister *lister;
    struct kafka_client *connection;
    struct kafka_request request;
    struct loop_timer timer;
    bool is_asking;
    struct cluster_exposed known[CLUSTER_PARTITIONS_MAX]; /* when the request under way was sent */
};

struct cluster_lister {
    struct env *env;
    struct cluster_script_options options;
    struct loop *loop;
    struct lister_link links[CLUSTER_BROKERS_MAX];
    struct cluster_lister_counts counts;
};

static void link_arm(struct lister_link *link)
{
    struct cluster_lister *lister = link->lister;
    loop_timer_set(lister->loop, &link->timer, loop_now_us(lister->loop) + 1 + rng_below(lister->env->rng, PACE_US));
}

static void judge(struct lister_link *link, unsigned partition,
                  const struct list_offsets_response_partition_response *answer)
{
    struct cluster_lister *lister = link->lister;
    const struct cluster_exposed *known = &link->known[partition];
    int16_t error_code = answer->error_code;
    lister->counts.refused += error_code == ERROR_OFFSET_NOT_AVAILABLE ? 1 : 0;
    if (error_code != ERROR_NONE) {
        if (!error_code_is_retriable(error_code)) {
            cluster_verdict_violation(lister->options.verdict, "partition %u: ListOffsets is answered by %s", partition,
                                      error_code_name(error_code));
        }
        return;
    }
    if (answer->leader_epoch < known->leader_epoch) {
        return; /* a leader of before, which does not know yet that others have gone on */
    }
    lister->counts.checked++;
    if (answer->offset < known->end) {
        cluster_verdict_violation(lister->options.verdict,
                                  "R3: partition %u: the leader of epoch %d says that it ends at %" PRId64
                                  ", but a high watermark of %" PRId64 " was shown before it was asked",
                                  partition, answer->leader_epoch, answer->offset, known->end);
    }
}

static void on_listed(struct kafka_request *request, struct reader *body)
{
    struct lister_link *link = CONTAINER_OF(request, struct lister_link, request);
    link->is_asking = false;
    if (body == NULL) {
        return; /* on_up asks again */
    }
    link_arm(link);
    struct arena arena;
    arena_init(&arena, 0);
    struct list_offsets_response response;
    enum err err = codec_decode(&list_offsets_response_codec, LIST_OFFSETS_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK);
    for (size_t i = 0; i < response.topics_count; i++) {
        const struct list_offsets_response_topic_response *topic = &response.topics[i];
        for (size_t k = 0; k < topic->partitions_count; k++) {
            unsigned partition = cluster_plan_find(link->lister->options.plan, (const char *)topic->name.data,
                                                   topic->name.bytes, topic->partitions[k].partition_index);
            CHECK(partition != UINT_MAX);
            judge(link, partition, &topic->partitions[k]);
        }
    }
    arena_done(&arena);
}

static void ask(struct lister_link *link)
{
    const struct cluster_script_options *options = &link->lister->options;
    const struct cluster_plan *plan = options->plan;
    if (!kafka_client_is_up(link->connection) || link->is_asking) {
        return;
    }
    struct list_offsets_request_partition partitions[CLUSTER_PARTITIONS_MAX];
    struct list_offsets_request_topic topics[CLUSTER_TOPICS_MAX];
    for (unsigned i = 0; i < plan->topic_count; i++) {
        const struct cluster_plan_topic *topic = &plan->topics[i];
        for (unsigned k = 0; k < topic->partition_count; k++) {
            unsigned index = topic->first_partition + k;
            partitions[index] = (struct list_offsets_request_partition){
                .partition_index = (int32_t)k, .current_leader_epoch = -1, .timestamp = LATEST};
            link->known[index] = options->exposed(options->ctx, index);
        }
        topics[i] = (struct list_offsets_request_topic){.name = span_text(topic->name),
                                                        .partitions = &partitions[topic->first_partition],
                                                        .partitions_count = topic->partition_count};
    }
    struct list_offsets_request message;
    codec_set_defaults(&list_offsets_request_codec, &message);
    message.replica_id = CONSUMER;
    message.topics = topics;
    message.topics_count = plan->topic_count;
    link->request = (struct kafka_request){
        .api_key = API_KEY_LIST_OFFSETS, .api_version = LIST_OFFSETS_VERSION, .on_reply = on_listed};
    link->is_asking = true;
    kafka_client_send(link->connection, &link->request, &message);
}

static void on_timer(struct loop_timer *timer)
{
    ask(CONTAINER_OF(timer, struct lister_link, timer));
}

static void on_up(void *ctx)
{
    link_arm((struct lister_link *)ctx);
}

static void on_down(void *ctx)
{
    struct lister_link *link = (struct lister_link *)ctx;
    loop_timer_cancel(link->lister->loop, &link->timer);
}

struct cluster_lister *cluster_lister_start(struct env *env, const struct cluster_script_options *options)
{
    struct cluster_lister *lister = MEM_NEW(struct cluster_lister);
    lister->env = env;
    lister->options = *options;
    enum err err = runtime_loop_new(env->runtime, "lister", &lister->loop);
    CHECK(err == ERR_OK);
    for (unsigned i = 0; i < options->plan->broker_count; i++) {
        struct lister_link *link = &lister->links[i];
        link->lister = lister;
        link->timer.fire = on_timer;
        link->connection = kafka_client_new(env, lister->loop, options->plan->nodes[i].address, CLUSTER_CLIENT_PORT,
                                            "lister", on_up, on_down, link);
    }
    runtime_loop_start(env->runtime, lister->loop);
    return lister;
}

const struct cluster_lister_counts *cluster_lister_count(const struct cluster_lister *lister)
{
    return &lister->counts;
}

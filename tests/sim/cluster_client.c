#include "tests/sim/cluster_client.h"

#include "common/mem.h"
#include "common/seam/rng.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/metadata.h"
#include "proto/wire/error_code.h"

#include <limits.h>

#define METADATA_VERSION 12
#define REFRESH_US 100000u       /* between two questions */
#define REFRESH_IDLE_US 5000000u /* without a reason, like metadata.max.age */

struct cluster_client_link {
    struct cluster_client *client;
    struct kafka_client *connection;
    unsigned index;
};

struct cluster_client {
    struct env *env;
    struct loop *loop;
    const struct cluster_plan *plan;
    struct cluster_client_events events;
    struct cluster_client_link links[CLUSTER_BROKERS_MAX];
    struct cluster_client_leader leaders[CLUSTER_PARTITIONS_MAX];
    struct kafka_request request;
    bool is_asking;
    struct loop_timer timer;
};

static void arm(struct cluster_client *client, uint64_t delay_us)
{
    uint64_t at_us = loop_now_us(client->loop) + delay_us;
    if (client->timer.heap_slot == 0 || client->timer.deadline_us > at_us) {
        loop_timer_set(client->loop, &client->timer, at_us);
    }
}

static int32_t broker_index(const struct cluster_client *client, int32_t node_id)
{
    for (unsigned i = 0; i < client->plan->broker_count; i++) {
        if (client->plan->nodes[i].node_id == node_id) {
            return (int32_t)i;
        }
    }
    return -1;
}

static void take_topic(struct cluster_client *client, const struct metadata_response_topic *topic)
{
    if (topic->error_code != ERROR_NONE || span_is_null(topic->name)) {
        return;
    }
    for (size_t i = 0; i < topic->partitions_count; i++) {
        const struct metadata_response_partition *partition = &topic->partitions[i];
        unsigned index = cluster_plan_find(client->plan, (const char *)topic->name.data, topic->name.bytes,
                                           partition->partition_index);
        if (index == UINT_MAX || partition->leader_epoch < client->leaders[index].leader_epoch) {
            continue;
        }
        client->leaders[index] = (struct cluster_client_leader){.broker = broker_index(client, partition->leader_id),
                                                                .leader_epoch = partition->leader_epoch};
    }
}

static bool knows_all(const struct cluster_client *client)
{
    for (unsigned i = 0; i < client->plan->partition_count; i++) {
        if (client->leaders[i].broker < 0) {
            return false;
        }
    }
    return true;
}

static void on_metadata(struct kafka_request *request, struct reader *body)
{
    struct cluster_client *client = CONTAINER_OF(request, struct cluster_client, request);
    client->is_asking = false;
    if (body == NULL) {
        arm(client, REFRESH_US);
        return;
    }
    struct arena arena;
    arena_init(&arena, 0);
    struct metadata_response response;
    enum err err = codec_decode(&metadata_response_codec, METADATA_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK);
    for (size_t i = 0; i < response.topics_count; i++) {
        take_topic(client, &response.topics[i]);
    }
    arena_done(&arena);
    arm(client, knows_all(client) ? REFRESH_IDLE_US : 3 * REFRESH_US);
    client->events.on_metadata(client->events.ctx);
}

static void ask(struct cluster_client *client)
{
    struct kafka_client *connection = cluster_client_any(client);
    if (client->is_asking) {
        return;
    }
    if (connection == NULL) {
        arm(client, REFRESH_US);
        return;
    }
    struct metadata_request_topic topics[CLUSTER_TOPICS_MAX];
    for (unsigned i = 0; i < client->plan->topic_count; i++) {
        topics[i] = (struct metadata_request_topic){.name = span_text(client->plan->topics[i].name)};
    }
    struct metadata_request message;
    codec_set_defaults(&metadata_request_codec, &message);
    message.topics = topics;
    message.topics_count = client->plan->topic_count;
    message.allow_auto_topic_creation = false;
    client->request =
        (struct kafka_request){.api_key = API_KEY_METADATA, .api_version = METADATA_VERSION, .on_reply = on_metadata};
    client->is_asking = true;
    kafka_client_send(connection, &client->request, &message);
}

static void on_timer(struct loop_timer *timer)
{
    ask(CONTAINER_OF(timer, struct cluster_client, timer));
}

static void on_up(void *ctx)
{
    struct cluster_client_link *link = (struct cluster_client_link *)ctx;
    link->client->events.on_broker_up(link->client->events.ctx, link->index);
}

static void on_down(void *ctx)
{
    struct cluster_client_link *link = (struct cluster_client_link *)ctx;
    link->client->events.on_broker_down(link->client->events.ctx, link->index);
    cluster_client_refresh(link->client);
}

struct cluster_client *cluster_client_new(struct env *env, struct loop *loop, const struct cluster_plan *plan,
                                          const char *client_id, const struct cluster_client_events *events)
{
    struct cluster_client *client = MEM_NEW(struct cluster_client);
    client->env = env;
    client->loop = loop;
    client->plan = plan;
    client->events = *events;
    client->timer.fire = on_timer;
    for (unsigned i = 0; i < plan->partition_count; i++) {
        client->leaders[i] = (struct cluster_client_leader){.broker = -1, .leader_epoch = -1};
    }
    for (unsigned i = 0; i < plan->broker_count; i++) {
        struct cluster_client_link *link = &client->links[i];
        link->client = client;
        link->index = i;
        link->connection =
            kafka_client_new(env, loop, plan->nodes[i].address, CLUSTER_CLIENT_PORT, client_id, on_up, on_down, link);
    }
    arm(client, REFRESH_US);
    return client;
}

struct cluster_client_leader cluster_client_leader_of(const struct cluster_client *client, unsigned partition)
{
    CHECK(partition < client->plan->partition_count);
    return client->leaders[partition];
}

struct kafka_client *cluster_client_broker(struct cluster_client *client, unsigned broker)
{
    CHECK(broker < client->plan->broker_count);
    struct kafka_client *connection = client->links[broker].connection;
    return kafka_client_is_up(connection) ? connection : NULL;
}

/* Mostly one that has answered already. */
struct kafka_client *cluster_client_any(struct cluster_client *client)
{
    unsigned count = client->plan->broker_count;
    unsigned first = (unsigned)rng_below(client->env->rng, count);
    bool is_choosy = rng_below(client->env->rng, 4) > 0;
    struct kafka_client *found = NULL;
    for (unsigned i = 0; i < count; i++) {
        struct kafka_client *connection = cluster_client_broker(client, (first + i) % count);
        if (connection != NULL && (found == NULL || (is_choosy && !kafka_client_has_answered(found)))) {
            found = connection;
        }
    }
    return found;
}

void cluster_client_refresh(struct cluster_client *client)
{
    if (!client->is_asking) {
        arm(client, REFRESH_US);
    }
}

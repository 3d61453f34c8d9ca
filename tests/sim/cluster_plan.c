#include "tests/sim/cluster_plan.h"

#include <limits.h>

#define SEGMENT_BYTES_LEAST 6000u
#define SEGMENT_BYTES_MOST 400000u

static void draw_counts(struct cluster_plan *plan, struct prop *prop, const struct cluster_plan_limits *limits)
{
    static const unsigned controller_counts[] = {1, 3, 3, 3, 3, 5};
    plan->broker_count = prop_chance(prop, 3, 4) ? 3 : 1 + (unsigned)prop_below(prop, CLUSTER_BROKERS_MAX);
    plan->controller_count = controller_counts[prop_below(prop, ARRAY_COUNT(controller_counts))];
    plan->is_combined = prop_chance(prop, 1, 2);
    plan->broker_count = limits->broker_count > 0 ? limits->broker_count : plan->broker_count;
    plan->controller_count = limits->controller_count > 0 ? limits->controller_count : plan->controller_count;
    if (limits->is_alone) {
        plan->broker_count = 1;
        plan->controller_count = 1;
        plan->is_combined = true;
    }
}

static void add_node(struct cluster_plan *plan, struct prop *prop, bool is_broker, bool is_controller, int32_t node_id)
{
    unsigned index = plan->node_count++;
    struct cluster_plan_node *node = &plan->nodes[index];
    (void)snprintf(node->name, sizeof(node->name), "%s%d", !is_broker ? "c" : is_controller ? "n" : "b", (int)node_id);
    (void)snprintf(node->address, sizeof(node->address), "10.0.0.%u", index + 1);
    node->node_id = node_id;
    node->is_broker = is_broker;
    node->is_controller = is_controller;
    node->worker_count = (int32_t)prop_range(prop, 1, 3);
    node->page_bytes = prop_chance(prop, 1, 2) ? 512 : 0;
}

static void draw_nodes(struct cluster_plan *plan, struct prop *prop, bool is_alone)
{
    unsigned combined_count = plan->is_combined ? plan->controller_count : 0;
    combined_count = combined_count > plan->broker_count ? plan->broker_count : combined_count;
    for (unsigned i = 0; i < plan->broker_count; i++) {
        add_node(plan, prop, true, i < combined_count, (int32_t)i + 1);
    }
    for (unsigned i = combined_count; i < plan->controller_count; i++) {
        add_node(plan, prop, false, true, 101 + (int32_t)i);
    }
    size_t bytes = 0;
    for (unsigned i = 0; i < plan->node_count && !is_alone; i++) {
        if (plan->nodes[i].is_controller) {
            int added =
                snprintf(plan->voters + bytes, sizeof(plan->voters) - bytes, "%s%d@%s:%u", bytes == 0 ? "" : ",",
                         (int)plan->nodes[i].node_id, plan->nodes[i].address, CLUSTER_INTERNAL_PORT);
            bytes += (size_t)added;
        }
    }
}

static void draw_topics(struct cluster_plan *plan, struct prop *prop)
{
    plan->topic_count = 1 + (unsigned)prop_below(prop, CLUSTER_TOPICS_MAX);
    for (unsigned i = 0; i < plan->topic_count; i++) {
        struct cluster_plan_topic *topic = &plan->topics[i];
        (void)snprintf(topic->name, sizeof(topic->name), "topic%u", i);
        topic->partition_count = 1 + (unsigned)prop_below(prop, i == 0 ? CLUSTER_TOPIC_PARTITIONS_MAX : 2);
        topic->replica_count = prop_chance(prop, 3, 4) ? 3 : 1 + (unsigned)prop_below(prop, 2);
        if (topic->replica_count > plan->broker_count) {
            topic->replica_count = plan->broker_count;
        }
        topic->min_insync = topic->replica_count > 1 && prop_chance(prop, 4, 5) ? 2 : 1;
        topic->is_cached = prop_chance(prop, 1, 2);
        topic->first_partition = plan->partition_count;
        plan->partition_count += topic->partition_count;
    }
}

static void draw_clients(struct cluster_plan *plan, struct prop *prop)
{
    static const uint32_t paces_us[] = {150000, 400000, 1500000};
    static const uint32_t value_bytes[] = {20, 100, 600};
    plan->producer_count = 1 + (unsigned)prop_below(prop, CLUSTER_PRODUCERS_MAX);
    for (unsigned i = 0; i < plan->producer_count; i++) {
        struct cluster_plan_producer *producer = &plan->producers[i];
        producer->is_promised = i == 0 || prop_chance(prop, 2, 3);
        producer->pace_us = paces_us[prop_below(prop, ARRAY_COUNT(paces_us))] * plan->partition_count / 2;
        producer->depth = 1 + (unsigned)prop_below(prop, 5);
        producer->value_bytes = value_bytes[prop_below(prop, ARRAY_COUNT(value_bytes))];
    }
    static const uint64_t churns_us[] = {0, 1500000, 10000000};
    plan->churn_us = churns_us[prop_below(prop, ARRAY_COUNT(churns_us))];
    plan->reader_count = 1 + (unsigned)prop_below(prop, CLUSTER_READERS_MAX);
}

static void draw_settings(struct cluster_plan *plan, struct prop *prop)
{
    bool is_small = prop_chance(prop, 1, 2);
    plan->segment_bytes =
        (int32_t)(is_small ? SEGMENT_BYTES_LEAST + prop_skewed(prop, SEGMENT_BYTES_MOST) : SEGMENT_BYTES_MOST * 10);
    plan->index_interval_bytes = prop_chance(prop, 1, 2) ? 4096 : (int32_t)prop_below(prop, 2000);
    bool has_snapshots = prop_chance(prop, 3, 4);
    plan->snapshot_entries = has_snapshots ? (int32_t)prop_range(prop, 3, 50) : 4096;
    plan->trailing_entries = has_snapshots ? (int32_t)prop_range(prop, 3, 50) : 8192;
    static const int32_t sessions_ms[] = {1500, 3000, 3000, 6000};
    plan->session_timeout_ms = sessions_ms[prop_below(prop, ARRAY_COUNT(sessions_ms))];
    plan->heartbeat_interval_ms = plan->session_timeout_ms / 6;
    static const int64_t lags_ms[] = {1000, 3000, 10000};
    plan->lag_time_ms = lags_ms[prop_below(prop, ARRAY_COUNT(lags_ms))];
    static const uint64_t links_us[] = {800, 800, 10000, 50000}; /* slow ones make narrow windows wide */
    plan->link_us_most = links_us[prop_below(prop, ARRAY_COUNT(links_us))];
    static const uint64_t gaps_us[] = {4000000, 10000000, 20000000};
    plan->gap_us_most = gaps_us[prop_below(prop, ARRAY_COUNT(gaps_us))];
}

void cluster_plan_draw(struct cluster_plan *plan, struct prop *prop, const struct cluster_plan_limits *limits)
{
    *plan = (struct cluster_plan){.seed = prop->seed};
    draw_counts(plan, prop, limits);
    draw_nodes(plan, prop, limits->is_alone);
    draw_topics(plan, prop);
    draw_clients(plan, prop);
    draw_settings(plan, prop);
    plan->has_people = plan->controller_count >= 3 && !limits->has_no_people;
    plan->has_lister = plan->seed % CLUSTER_LISTER_EVERY == CLUSTER_LISTER_SEED;
}

static size_t describe_clients(const struct cluster_plan *plan, char *text, size_t bytes, size_t bytes_max)
{
    for (unsigned i = 0; i < plan->producer_count && bytes < bytes_max; i++) {
        const struct cluster_plan_producer *producer = &plan->producers[i];
        bytes += (size_t)snprintf(text + bytes, bytes_max - bytes, " producer%u=%s/pace_ms=%u/depth=%u/bytes=%u", i,
                                  producer->is_promised ? "idempotent" : "acks1", producer->pace_us / 1000,
                                  producer->depth, producer->value_bytes);
    }
    return bytes;
}

void cluster_plan_describe(const struct cluster_plan *plan, char *ret_text, size_t bytes_max)
{
    size_t bytes = (size_t)snprintf(
        ret_text, bytes_max,
        "brokers=%u controllers=%u combined=%s segment=%d index=%d snapshot=%d trailing=%d session_ms=%d lag_ms=%d "
        "gap_s=%u link_us=%u churn_ms=%u people=%s%s readers=%u workers=",
        plan->broker_count, plan->controller_count, plan->is_combined ? "yes" : "no", plan->segment_bytes,
        plan->index_interval_bytes, plan->snapshot_entries, plan->trailing_entries, plan->session_timeout_ms,
        (int)plan->lag_time_ms, (unsigned)(plan->gap_us_most / 1000000), (unsigned)plan->link_us_most,
        (unsigned)(plan->churn_us / 1000), plan->has_people ? "yes" : "no", plan->has_lister ? " lister=yes" : "",
        plan->reader_count);
    for (unsigned i = 0; i < plan->node_count && bytes < bytes_max; i++) {
        bytes += (size_t)snprintf(ret_text + bytes, bytes_max - bytes, "%d", plan->nodes[i].worker_count);
    }
    for (unsigned i = 0; i < plan->topic_count && bytes < bytes_max; i++) {
        const struct cluster_plan_topic *topic = &plan->topics[i];
        bytes += (size_t)snprintf(ret_text + bytes, bytes_max - bytes, " %s=%ux%u/min=%u/%s", topic->name,
                                  topic->partition_count, topic->replica_count, topic->min_insync,
                                  topic->is_cached ? "cached" : "synced");
    }
    (void)describe_clients(plan, ret_text, bytes, bytes_max);
}

const struct cluster_plan_topic *cluster_plan_topic_of(const struct cluster_plan *plan, unsigned partition,
                                                       unsigned *ret_index)
{
    CHECK(partition < plan->partition_count);
    unsigned topic = 0;
    while (partition >= plan->topics[topic].first_partition + plan->topics[topic].partition_count) {
        topic++;
    }
    *ret_index = partition - plan->topics[topic].first_partition;
    return &plan->topics[topic];
}

unsigned cluster_plan_find(const struct cluster_plan *plan, const char *topic, size_t topic_bytes, int32_t index)
{
    for (unsigned i = 0; i < plan->topic_count; i++) {
        const struct cluster_plan_topic *candidate = &plan->topics[i];
        if (strlen(candidate->name) == topic_bytes && memcmp(candidate->name, topic, topic_bytes) == 0 && index >= 0 &&
            (unsigned)index < candidate->partition_count) {
            return candidate->first_partition + (unsigned)index;
        }
    }
    return UINT_MAX;
}

bool cluster_plan_has_cached(const struct cluster_plan *plan)
{
    for (unsigned i = 0; i < plan->topic_count; i++) {
        if (plan->topics[i].is_cached) {
            return true;
        }
    }
    return false;
}

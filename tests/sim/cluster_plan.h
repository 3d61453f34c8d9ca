/* cluster_plan: everything about one simulated cluster that its seed decides before anything happens: which nodes carry what,
 * topics, clients, and settings that make rare branches common.
 *
 * Shape:     drawn once, constant afterwards. Brokers have ids 1, 2, ...; separate controllers 101, 102, ...
 * Units:     as the names say.
 * Threads:   a value.
 * Source:    testing.md 1 (BUGGIFY), issue 4.
 */
#ifndef TESTS_SIM_CLUSTER_PLAN_H
#define TESTS_SIM_CLUSTER_PLAN_H

#include "tests/support/prop.h"

#define CLUSTER_NODES_MAX 10
#define CLUSTER_BROKERS_MAX 5
#define CLUSTER_TOPICS_MAX 3
#define CLUSTER_TOPIC_PARTITIONS_MAX 4
#define CLUSTER_PARTITIONS_MAX (CLUSTER_TOPICS_MAX * CLUSTER_TOPIC_PARTITIONS_MAX)
#define CLUSTER_PRODUCERS_MAX 3
#define CLUSTER_READERS_MAX 2
#define CLUSTER_CLIENT_PORT 9092
#define CLUSTER_INTERNAL_PORT 9093
#define CLUSTER_LISTER_EVERY 8u /* of that many seeds one, with this remainder, has a lister */
#define CLUSTER_LISTER_SEED 6u
#define CLUSTER_TEXT_BYTES 24
#define CLUSTER_VOTERS_BYTES 200

struct cluster_plan_node {
    char name[CLUSTER_TEXT_BYTES];
    char address[CLUSTER_TEXT_BYTES];
    int32_t node_id;
    bool is_broker;
    bool is_controller;
    int32_t worker_count;
    uint32_t page_bytes;
};

struct cluster_plan_topic {
    char name[CLUSTER_TEXT_BYTES];
    unsigned partition_count;
    unsigned replica_count;
    unsigned min_insync;
    bool is_cached;
    unsigned first_partition; /* of all partitions, which are numbered through */
};

struct cluster_plan_producer {
    bool is_promised;     /* acks=all and idempotent; else acks=1 without a promise */
    uint32_t pace_us;     /* at most so long between two batches of a partition */
    unsigned depth;       /* batches under way per partition */
    uint32_t value_bytes; /* at most */
};

struct cluster_plan {
    uint64_t seed;
    unsigned node_count; /* brokers first, then controllers that are no brokers */
    unsigned broker_count;
    unsigned controller_count;
    bool is_combined;
    struct cluster_plan_node nodes[CLUSTER_NODES_MAX];
    char voters[CLUSTER_VOTERS_BYTES];
    unsigned topic_count;
    unsigned partition_count; /* of all topics */
    struct cluster_plan_topic topics[CLUSTER_TOPICS_MAX];
    unsigned producer_count;
    struct cluster_plan_producer producers[CLUSTER_PRODUCERS_MAX];
    unsigned reader_count;
    bool has_people;   /* who change the voters */
    bool has_lister;   /* who asks where partitions end; by the seed, nothing is drawn for it */
    uint64_t churn_us; /* at most so long between two topics made or removed beside; 0: none are */
    /* settings of the nodes */
    int32_t segment_bytes;
    int32_t index_interval_bytes;
    int32_t snapshot_entries;
    int32_t trailing_entries;
    int32_t session_timeout_ms;
    int32_t heartbeat_interval_ms;
    int64_t lag_time_ms;
    /* faults */
    uint64_t link_us_most; /* latency of a link that is well */
    uint64_t gap_us_most;
};

struct cluster_plan_limits {
    unsigned broker_count; /* 0: drawn */
    unsigned controller_count;
    bool has_no_people;
    bool is_alone; /* one node and no quorum: what a node without a cluster is */
};

void cluster_plan_draw(struct cluster_plan *plan, struct prop *prop, const struct cluster_plan_limits *limits);
/* One line of name=value. */
void cluster_plan_describe(const struct cluster_plan *plan, char *ret_text, size_t bytes_max);

/* The topic of a partition that is numbered through, and its index in that topic. */
const struct cluster_plan_topic *cluster_plan_topic_of(const struct cluster_plan *plan, unsigned partition,
                                                       unsigned *ret_index);
/* UINT_MAX: no such partition. */
unsigned cluster_plan_find(const struct cluster_plan *plan, const char *topic, size_t topic_bytes, int32_t index);
bool cluster_plan_has_cached(const struct cluster_plan *plan);

#endif

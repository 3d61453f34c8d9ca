/* image: the cluster's committed metadata at one offset: topics, partitions, brokers, configs, ids. Immutable; knows nothing of
 * Raft, disks or threads. Built by image_apply, compared by image_delta, decided upon by the *_control files.
 *
 * Shape:     image -> topic table (sorted by name and by id) -> topics -> partitions; broker table; config table. Every one of
 *            them is shared by all images in which it is the same: a change of one partition copies that partition, its
 *            topic's array of pointers and the topic table's arrays of pointers, nothing else.
 * Units:     metadata offset = index of the committed entry (sparse); leader, partition and broker epochs as Kafka's.
 * Limits:    IMAGE_*_MAX below; apply and the controls refuse what passes them.
 * Errors:    none; a lookup that finds nothing returns NULL.
 * Ownership: shared (atomic count). What a lookup returns is borrowed from the image and lives as long as a reference to it.
 * Threads:   any thread reads without a lock and may take and drop references.
 * Source:    design.md 5 and 8; correctness.md 5; KIP-500, KIP-516 (topic ids), KIP-858 (directories), KIP-966 (ELR).
 */
#ifndef CONTROLLER_IMAGE_H
#define CONTROLLER_IMAGE_H

#include "common/uuid.h"

#include <stdatomic.h>

#define IMAGE_TOPIC_NAME_BYTES_MAX 249
#define IMAGE_PARTITIONS_PER_TOPIC_MAX 100000
#define IMAGE_REPLICAS_MAX 64     /* of one partition */
#define IMAGE_ENDPOINTS_MAX 16    /* of one broker */
#define IMAGE_DIRECTORIES_MAX 256 /* of one broker */
#define IMAGE_NO_LEADER (-1)
/* Metadata levels that this program understands. */
#define IMAGE_LEVEL_MIN 1u
#define IMAGE_LEVEL_MAX 1u
#define IMAGE_HASH_BYTES 32
#define IMAGE_CLUSTER_NAME_BYTES_MAX 255

struct image;

/* One partition. Arrays belong to the partition; isr, elr and last_known are subsets of replicas, in the order of replicas. */
struct image_partition {
    atomic_uint reference_count;
    int32_t partition_index;
    int32_t leader_id; /* IMAGE_NO_LEADER: offline */
    int32_t leader_epoch;
    int32_t partition_epoch; /* +1 with every change: what a compare-and-set names */
    bool is_recovering;      /* elected uncleanly and not yet recovered (KIP-704) */
    uint32_t replica_count;
    uint32_t isr_count;
    uint32_t elr_count;
    uint32_t last_known_count;
    const int32_t *replicas;
    const struct uuid *directories; /* of the replicas, same order and count */
    const int32_t *isr;
    const int32_t *elr;
    const int32_t
        *last_known; /* while ISR and ELR are empty: who was in them until they lost data; the best that is left */
};

struct image_topic {
    atomic_uint reference_count;
    struct uuid id;
    struct span name; /* followed by a NUL */
    bool is_internal;
    uint32_t partition_count;
    const struct image_partition *const *partitions; /* by index, all present */
};

/* Values are Kafka's SecurityProtocol ids. */
enum image_security { IMAGE_PLAINTEXT = 0, IMAGE_SSL = 1, IMAGE_SASL_PLAINTEXT = 2, IMAGE_SASL_SSL = 3 };

struct image_endpoint {
    struct span listener_name; /* "PLAINTEXT"; followed by a NUL */
    struct span host;          /* as advertised; followed by a NUL */
    uint16_t port;
    enum image_security security;
};

struct image_broker {
    atomic_uint reference_count;
    int32_t id;
    int64_t epoch; /* metadata offset of the registration */
    struct uuid incarnation_id;
    struct span rack;    /* null when none */
    struct span boot_id; /* of the machine, as it registered; empty when unknown */
    bool is_fenced;      /* true: takes no leadership; clients do not see it */
    bool is_shutting_down;
    uint32_t level_min; /* metadata levels that its process understands */
    uint32_t level_max;
    uint32_t endpoint_count;
    uint32_t directory_count;
    const struct image_endpoint *endpoints;
    const struct uuid *directories; /* online ones */
};

/* Values are Kafka's ConfigResource types. */
enum image_config_type { IMAGE_CONFIG_TOPIC = 2, IMAGE_CONFIG_BROKER = 4 };

struct image_config_entry {
    struct span key; /* both followed by a NUL */
    struct span value;
};

/* What was set on one resource; sorted by key. A broker resource with the empty name is the default of all brokers. */
struct image_config {
    atomic_uint reference_count;
    enum image_config_type type;
    struct span name;
    uint32_t entry_count;
    const struct image_config_entry *entries;
};

/* ---- references ---- */

/* An image without anything, at offset 0. */
struct image *image_new_empty(void);
struct image *image_ref(const struct image *image);
void image_unref(const struct image *image);

/* ---- the cluster ---- */

/* Index of the last committed entry that this image holds; 0 for the empty image. */
int64_t image_offset(const struct image *image);
/* Text of the cluster's id (22 characters); "" before formation. */
const char *image_cluster_id(const struct image *image);
/* The name that people gave the cluster; "" when none. */
const char *image_cluster_name(const struct image *image);
/* Node id of the active controller, -1 before the first activation. */
int32_t image_controller_id(const struct image *image);
/* Metadata offset of its activation record: the controller epoch. */
int64_t image_controller_epoch(const struct image *image);
uint32_t image_metadata_level(const struct image *image);
/* First producer id that no block holds yet. */
int64_t image_next_producer_id(const struct image *image);
/* h_i of the hash chain at image_offset (correctness.md 5). */
const uint8_t *image_hash(const struct image *image);

/* ---- topics ---- */

uint32_t image_topic_count(const struct image *image);
uint64_t image_partition_total(const struct image *image);
/* In the order of names (bytes), index < image_topic_count. */
const struct image_topic *image_topic_at(const struct image *image, uint32_t index);
/* Index of the first topic whose name is not below `name`: where a listing with a cursor begins. */
uint32_t image_topic_lower_bound(const struct image *image, struct span name);
const struct image_topic *image_find_topic(const struct image *image, struct span name);
const struct image_topic *image_find_topic_id(const struct image *image, struct uuid topic_id);
/* NULL when the topic is NULL or has no such partition. */
const struct image_partition *image_find_partition(const struct image_topic *topic, int32_t partition_index);
/* The directory that holds broker_id's replica; zero when it has none. */
struct uuid image_partition_directory(const struct image_partition *partition, int32_t broker_id);
bool image_partition_has_replica(const struct image_partition *partition, int32_t broker_id);
bool image_partition_in_isr(const struct image_partition *partition, int32_t broker_id);

/* ---- brokers ---- */

uint32_t image_broker_count(const struct image *image); /* fenced ones included */
/* In the order of ids. */
const struct image_broker *image_broker_at(const struct image *image, uint32_t index);
const struct image_broker *image_find_broker(const struct image *image, int32_t broker_id);
/* Registered and not fenced. */
bool image_is_broker_alive(const struct image *image, int32_t broker_id);
const struct image_endpoint *image_find_endpoint(const struct image_broker *broker, struct span listener_name);

/* ---- configs: only what was set, not defaults (controller/topic_config.h knows those) ---- */

const struct image_config *image_find_config(const struct image *image, enum image_config_type type, struct span name);
/* The value that was set, or the null span. */
struct span image_config_value(const struct image_config *config, const char *key);
struct span image_topic_config_value(const struct image *image, struct span topic_name, const char *key);
uint32_t image_config_count(const struct image *image);
const struct image_config *image_config_at(const struct image *image, uint32_t index);

#endif

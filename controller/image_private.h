/* image_private: what an image is made of. Only image.c, image_delta.c and image_builder.c look inside.
 *
 * Shape:     tables of pointers to reference-counted objects; a table is shared whole by images between which nothing of its kind
 *            changed.
 * Ownership: a table holds one reference to each object in it (topics: by_name holds it, by_id borrows).
 * Threads:   immutable after publication.
 */
#ifndef CONTROLLER_IMAGE_PRIVATE_H
#define CONTROLLER_IMAGE_PRIVATE_H

#include "controller/image.h"

struct image_topic_table {
    atomic_uint reference_count;
    uint32_t count;
    uint64_t partition_total;
    const struct image_topic **by_name;
    const struct image_topic **by_id;
};

struct image_broker_table {
    atomic_uint reference_count;
    uint32_t count;
    const struct image_broker **brokers; /* by id */
};

struct image_config_table {
    atomic_uint reference_count;
    uint32_t count;
    const struct image_config **configs; /* by type and name */
};

/* What is not a table: copied from image to image. */
struct image_facts {
    int64_t offset;
    uint64_t term; /* Raft's, of the entry at `offset` */
    int64_t controller_epoch;
    int64_t next_producer_id;
    int32_t controller_id;
    uint32_t metadata_level;
    char cluster_id[UUID_TEXT_BYTES];
    char cluster_name[IMAGE_CLUSTER_NAME_BYTES_MAX + 1];
    uint8_t hash[IMAGE_HASH_BYTES];
};

struct image {
    atomic_uint reference_count;
    const struct image_topic_table *topics;
    const struct image_broker_table *brokers;
    const struct image_config_table *configs;
    struct image_facts facts;
};

/* Order of names: bytes, a prefix first. */
static inline int image_compare_names(struct span a, struct span b)
{
    size_t bytes = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = bytes == 0 ? 0 : memcmp(a.data, b.data, bytes);
    return order != 0 ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static inline int image_compare_ids(struct uuid a, struct uuid b)
{
    return memcmp(a.bytes, b.bytes, UUID_BYTES);
}

static inline int image_compare_configs(enum image_config_type type, struct span name,
                                        const struct image_config *config)
{
    return type != config->type ? (type > config->type) - (type < config->type)
                                : image_compare_names(name, config->name);
}

/* Copies of the fields and all that they point to, with one reference. */
const struct image_partition *image_partition_new(const struct image_partition *fields);
const struct image_broker *image_broker_new(const struct image_broker *fields);
const struct image_config *image_config_new(const struct image_config *fields);
/* Takes over the caller's references to the partitions; copies the array. */
const struct image_topic *image_topic_new(struct uuid id, struct span name, bool is_internal,
                                          const struct image_partition *const *partitions, uint32_t partition_count);

const struct image_partition *image_partition_ref(const struct image_partition *partition);
void image_partition_unref(const struct image_partition *partition);
const struct image_topic *image_topic_ref(const struct image_topic *topic);
void image_topic_unref(const struct image_topic *topic);
const struct image_broker *image_broker_ref(const struct image_broker *broker);
void image_broker_unref(const struct image_broker *broker);
const struct image_config *image_config_ref(const struct image_config *config);
void image_config_unref(const struct image_config *config);

void image_topic_table_unref(const struct image_topic_table *table);
void image_broker_table_unref(const struct image_broker_table *table);
void image_config_table_unref(const struct image_config_table *table);

#endif

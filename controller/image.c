/* Look-ups in an image: binary searches in its sorted tables. */
#include "controller/image.h"

#include "controller/image_private.h"

int64_t image_offset(const struct image *image)
{
    return image->facts.offset;
}

const char *image_cluster_id(const struct image *image)
{
    return image->facts.cluster_id;
}

const char *image_cluster_name(const struct image *image)
{
    return image->facts.cluster_name;
}

int32_t image_controller_id(const struct image *image)
{
    return image->facts.controller_id;
}

int64_t image_controller_epoch(const struct image *image)
{
    return image->facts.controller_epoch;
}

uint32_t image_metadata_level(const struct image *image)
{
    return image->facts.metadata_level;
}

int64_t image_next_producer_id(const struct image *image)
{
    return image->facts.next_producer_id;
}

const uint8_t *image_hash(const struct image *image)
{
    return image->facts.hash;
}

/* ---- topics ---- */

uint32_t image_topic_count(const struct image *image)
{
    return image->topics->count;
}

uint64_t image_partition_total(const struct image *image)
{
    return image->topics->partition_total;
}

const struct image_topic *image_topic_at(const struct image *image, uint32_t index)
{
    CHECK(index < image->topics->count);
    return image->topics->by_name[index];
}

uint32_t image_topic_lower_bound(const struct image *image, struct span name)
{
    uint32_t low = 0;
    uint32_t high = image->topics->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (image_compare_names(image->topics->by_name[middle]->name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct image_topic *image_find_topic(const struct image *image, struct span name)
{
    uint32_t index = image_topic_lower_bound(image, name);
    if (index == image->topics->count || !span_equal(image->topics->by_name[index]->name, name)) {
        return NULL;
    }
    return image->topics->by_name[index];
}

const struct image_topic *image_find_topic_id(const struct image *image, struct uuid topic_id)
{
    uint32_t low = 0;
    uint32_t high = image->topics->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = image_compare_ids(image->topics->by_id[middle]->id, topic_id);
        if (order == 0) {
            return image->topics->by_id[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const struct image_partition *image_find_partition(const struct image_topic *topic, int32_t partition_index)
{
    if (topic == NULL || partition_index < 0 || (uint32_t)partition_index >= topic->partition_count) {
        return NULL;
    }
    return topic->partitions[partition_index];
}

static bool is_member(const int32_t *ids, uint32_t count, int32_t id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

struct uuid image_partition_directory(const struct image_partition *partition, int32_t broker_id)
{
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        if (partition->replicas[i] == broker_id) {
            return partition->directories[i];
        }
    }
    return UUID_ZERO;
}

bool image_partition_has_replica(const struct image_partition *partition, int32_t broker_id)
{
    return is_member(partition->replicas, partition->replica_count, broker_id);
}

bool image_partition_in_isr(const struct image_partition *partition, int32_t broker_id)
{
    return is_member(partition->isr, partition->isr_count, broker_id);
}

/* ---- brokers ---- */

uint32_t image_broker_count(const struct image *image)
{
    return image->brokers->count;
}

const struct image_broker *image_broker_at(const struct image *image, uint32_t index)
{
    CHECK(index < image->brokers->count);
    return image->brokers->brokers[index];
}

const struct image_broker *image_find_broker(const struct image *image, int32_t broker_id)
{
    uint32_t low = 0;
    uint32_t high = image->brokers->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct image_broker *broker = image->brokers->brokers[middle];
        if (broker->id == broker_id) {
            return broker;
        }
        if (broker->id < broker_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

bool image_is_broker_alive(const struct image *image, int32_t broker_id)
{
    const struct image_broker *broker = image_find_broker(image, broker_id);
    return broker != NULL && !broker->is_fenced;
}

const struct image_endpoint *image_find_endpoint(const struct image_broker *broker, struct span listener_name)
{
    for (uint32_t i = 0; i < broker->endpoint_count; i++) {
        if (span_equal(broker->endpoints[i].listener_name, listener_name)) {
            return &broker->endpoints[i];
        }
    }
    return NULL;
}

/* ---- configs ---- */

const struct image_config *image_find_config(const struct image *image, enum image_config_type type, struct span name)
{
    uint32_t low = 0;
    uint32_t high = image->configs->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = image_compare_configs(type, name, image->configs->configs[middle]);
        if (order == 0) {
            return image->configs->configs[middle];
        }
        if (order > 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

struct span image_config_value(const struct image_config *config, const char *key)
{
    if (config == NULL) {
        return SPAN_NULL;
    }
    uint32_t low = 0;
    uint32_t high = config->entry_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = image_compare_names(config->entries[middle].key, span_text(key));
        if (order == 0) {
            return config->entries[middle].value;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return SPAN_NULL;
}

struct span image_topic_config_value(const struct image *image, struct span topic_name, const char *key)
{
    return image_config_value(image_find_config(image, IMAGE_CONFIG_TOPIC, topic_name), key);
}

uint32_t image_config_count(const struct image *image)
{
    return image->configs->count;
}

const struct image_config *image_config_at(const struct image *image, uint32_t index)
{
    CHECK(index < image->configs->count);
    return image->configs->configs[index];
}

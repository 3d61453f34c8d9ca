/* The parts of an image: each is one allocation, its arrays and texts behind the struct, freed with the last reference. */
#include "common/mem.h"
#include "controller/image_private.h"

/* Objects are const to everybody but their count, which is the one thing that changes after they were made. */
#define COUNT_OF(object) ((atomic_uint *)(uintptr_t) & (object)->reference_count)

static void count_up(atomic_uint *count)
{
    unsigned before = atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    CHECK(before > 0);
}

/* True when the last reference is gone. */
static bool count_down(atomic_uint *count)
{
    unsigned before = atomic_fetch_sub_explicit(count, 1, memory_order_acq_rel);
    CHECK(before > 0);
    return before == 1;
}

#define DEFINE_COUNTING(type, on_last)                                                                                 \
    const struct type *type##_ref(const struct type *object)                                                           \
    {                                                                                                                  \
        count_up(COUNT_OF(object));                                                                                    \
        return object;                                                                                                 \
    }                                                                                                                  \
    void type##_unref(const struct type *object)                                                                       \
    {                                                                                                                  \
        if (object != NULL && count_down(COUNT_OF(object))) {                                                          \
            on_last(object);                                                                                           \
            mem_free((void *)(uintptr_t)object);                                                                       \
        }                                                                                                              \
    }

static void nothing_inside(const void *object)
{
    (void)object;
}

static void topic_release(const struct image_topic *topic)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        image_partition_unref(topic->partitions[i]);
    }
}

DEFINE_COUNTING(image_partition, nothing_inside)
DEFINE_COUNTING(image_topic, topic_release)
DEFINE_COUNTING(image_broker, nothing_inside)
DEFINE_COUNTING(image_config, nothing_inside)

/* A cursor over the bytes behind a struct. */
struct tail {
    uint8_t *next;
};

static void *tail_put(struct tail *tail, const void *bytes, size_t count)
{
    void *place = tail->next;
    if (count > 0) {
        memcpy(place, bytes, count);
    }
    tail->next += count;
    return place;
}

/* A copy with a NUL behind it; a null span stays null. */
static struct span tail_put_text(struct tail *tail, struct span text)
{
    if (span_is_null(text)) {
        return SPAN_NULL;
    }
    uint8_t *place = (uint8_t *)tail_put(tail, text.data, text.bytes);
    *tail->next++ = 0;
    return span_make(place, text.bytes);
}

/* Arrays are put in the order of their alignment: pointers and 8-byte structs first, then int32, then bytes. */
const struct image_partition *image_partition_new(const struct image_partition *fields)
{
    CHECK(fields->replica_count <= IMAGE_REPLICAS_MAX && fields->isr_count <= fields->replica_count &&
          fields->elr_count <= fields->replica_count && fields->last_known_count <= fields->replica_count);
    size_t ids = fields->replica_count + fields->isr_count + fields->elr_count + fields->last_known_count;
    struct image_partition *partition = (struct image_partition *)mem_alloc(
        sizeof(*partition) + ids * sizeof(int32_t) + fields->replica_count * sizeof(struct uuid));
    *partition = *fields;
    atomic_init(&partition->reference_count, 1);
    struct tail tail = {(uint8_t *)(partition + 1)};
    partition->replicas = (const int32_t *)tail_put(&tail, fields->replicas, fields->replica_count * sizeof(int32_t));
    partition->isr = (const int32_t *)tail_put(&tail, fields->isr, fields->isr_count * sizeof(int32_t));
    partition->elr = (const int32_t *)tail_put(&tail, fields->elr, fields->elr_count * sizeof(int32_t));
    partition->last_known =
        (const int32_t *)tail_put(&tail, fields->last_known, fields->last_known_count * sizeof(int32_t));
    partition->directories =
        (const struct uuid *)tail_put(&tail, fields->directories, fields->replica_count * sizeof(struct uuid));
    return partition;
}

const struct image_topic *image_topic_new(struct uuid id, struct span name, bool is_internal,
                                          const struct image_partition *const *partitions, uint32_t partition_count)
{
    struct image_topic *topic =
        (struct image_topic *)mem_alloc(sizeof(*topic) + partition_count * sizeof(partitions[0]) + name.bytes + 1);
    atomic_init(&topic->reference_count, 1);
    topic->id = id;
    topic->is_internal = is_internal;
    topic->partition_count = partition_count;
    struct tail tail = {(uint8_t *)(topic + 1)};
    topic->partitions = (const struct image_partition *const *)tail_put(&tail, (const void *)partitions,
                                                                        partition_count * sizeof(partitions[0]));
    topic->name = tail_put_text(&tail, name);
    return topic;
}

static size_t text_bytes(struct span text)
{
    return span_is_null(text) ? 0 : text.bytes + 1;
}

const struct image_broker *image_broker_new(const struct image_broker *fields)
{
    CHECK(fields->endpoint_count <= IMAGE_ENDPOINTS_MAX && fields->directory_count <= IMAGE_DIRECTORIES_MAX);
    size_t bytes = fields->endpoint_count * sizeof(struct image_endpoint) +
                   fields->directory_count * sizeof(struct uuid) + text_bytes(fields->rack) +
                   text_bytes(fields->boot_id);
    for (uint32_t i = 0; i < fields->endpoint_count; i++) {
        bytes += text_bytes(fields->endpoints[i].listener_name) + text_bytes(fields->endpoints[i].host);
    }
    struct image_broker *broker = (struct image_broker *)mem_alloc(sizeof(*broker) + bytes);
    *broker = *fields;
    atomic_init(&broker->reference_count, 1);
    struct tail tail = {(uint8_t *)(broker + 1)};
    struct image_endpoint *endpoints = (struct image_endpoint *)tail_put(
        &tail, fields->endpoints, fields->endpoint_count * sizeof(struct image_endpoint));
    broker->endpoints = endpoints;
    broker->directories =
        (const struct uuid *)tail_put(&tail, fields->directories, fields->directory_count * sizeof(struct uuid));
    broker->rack = tail_put_text(&tail, fields->rack);
    broker->boot_id = tail_put_text(&tail, fields->boot_id);
    for (uint32_t i = 0; i < fields->endpoint_count; i++) {
        endpoints[i].listener_name = tail_put_text(&tail, fields->endpoints[i].listener_name);
        endpoints[i].host = tail_put_text(&tail, fields->endpoints[i].host);
    }
    return broker;
}

const struct image_config *image_config_new(const struct image_config *fields)
{
    size_t bytes = fields->entry_count * sizeof(struct image_config_entry) + text_bytes(fields->name);
    for (uint32_t i = 0; i < fields->entry_count; i++) {
        bytes += text_bytes(fields->entries[i].key) + text_bytes(fields->entries[i].value);
    }
    struct image_config *config = (struct image_config *)mem_alloc(sizeof(*config) + bytes);
    *config = *fields;
    atomic_init(&config->reference_count, 1);
    struct tail tail = {(uint8_t *)(config + 1)};
    struct image_config_entry *entries = (struct image_config_entry *)tail_put(
        &tail, fields->entries, fields->entry_count * sizeof(struct image_config_entry));
    config->entries = entries;
    config->name = tail_put_text(&tail, fields->name);
    for (uint32_t i = 0; i < fields->entry_count; i++) {
        entries[i].key = tail_put_text(&tail, fields->entries[i].key);
        entries[i].value = tail_put_text(&tail, fields->entries[i].value);
    }
    return config;
}

/* ---- tables and the image itself ---- */

void image_topic_table_unref(const struct image_topic_table *table)
{
    if (table != NULL && count_down(COUNT_OF(table))) {
        for (uint32_t i = 0; i < table->count; i++) {
            image_topic_unref(table->by_name[i]);
        }
        mem_free((void *)table->by_name);
        mem_free((void *)table->by_id);
        mem_free((void *)(uintptr_t)table);
    }
}

void image_broker_table_unref(const struct image_broker_table *table)
{
    if (table != NULL && count_down(COUNT_OF(table))) {
        for (uint32_t i = 0; i < table->count; i++) {
            image_broker_unref(table->brokers[i]);
        }
        mem_free((void *)table->brokers);
        mem_free((void *)(uintptr_t)table);
    }
}

void image_config_table_unref(const struct image_config_table *table)
{
    if (table != NULL && count_down(COUNT_OF(table))) {
        for (uint32_t i = 0; i < table->count; i++) {
            image_config_unref(table->configs[i]);
        }
        mem_free((void *)table->configs);
        mem_free((void *)(uintptr_t)table);
    }
}

struct image *image_ref(const struct image *image)
{
    count_up(COUNT_OF(image));
    return (struct image *)(uintptr_t)image;
}

void image_unref(const struct image *image)
{
    if (image != NULL && count_down(COUNT_OF(image))) {
        image_topic_table_unref(image->topics);
        image_broker_table_unref(image->brokers);
        image_config_table_unref(image->configs);
        mem_free((void *)(uintptr_t)image);
    }
}

struct image *image_new_empty(void)
{
    struct image *image = MEM_NEW(struct image);
    atomic_init(&image->reference_count, 1);
    struct image_topic_table *topics = MEM_NEW(struct image_topic_table);
    struct image_broker_table *brokers = MEM_NEW(struct image_broker_table);
    struct image_config_table *configs = MEM_NEW(struct image_config_table);
    atomic_init(&topics->reference_count, 1);
    atomic_init(&brokers->reference_count, 1);
    atomic_init(&configs->reference_count, 1);
    image->topics = topics;
    image->brokers = brokers;
    image->configs = configs;
    image->facts.controller_id = -1;
    return image;
}

/* Drafts by hash while a batch is applied; sorted arrays when it is finished. See the header for why. */
#include "controller/image_builder.h"

#include "common/mem.h"

#include <stdlib.h>

#define uthash_malloc(bytes) mem_alloc(bytes)
#define uthash_free(memory, bytes) mem_free(memory)
#define uthash_fatal(text) UNREACHABLE()
#include <uthash.h>

/* A topic that this batch touched. `partitions` is NULL until one changes: then it holds references of its own. */
struct draft_topic {
    struct uuid id;
    const struct image_topic *before; /* of the base; NULL when added */
    char *added_name;
    size_t name_bytes;
    bool is_internal;
    bool is_removed;
    const struct image_partition **partitions;
    uint32_t partition_count;
    uint32_t partition_capacity;
    UT_hash_handle hh;
    UT_hash_handle by_name;
};

struct draft_broker {
    int32_t id;
    const struct image_broker *broker;
    UT_hash_handle hh;
};

struct draft_config {
    char *key; /* type byte and name */
    enum image_config_type type;
    struct span name; /* inside of key */
    const struct image_config *config;
    UT_hash_handle hh;
};

void image_builder_init(struct image_builder *builder, const struct image *base)
{
    *builder = (struct image_builder){.base = base, .facts = base->facts};
}

static void draft_topic_free(struct draft_topic *draft)
{
    for (uint32_t i = 0; draft->partitions != NULL && i < draft->partition_count; i++) {
        image_partition_unref(draft->partitions[i]);
    }
    mem_free(draft->partitions);
    mem_free(draft->added_name);
    mem_free(draft);
}

void image_builder_done(struct image_builder *builder)
{
    struct draft_topic *topic, *next_topic;
    HASH_CLEAR(by_name, builder->topic_names);
    HASH_ITER (hh, builder->topics, topic, next_topic) {
        HASH_DEL(builder->topics, topic);
        draft_topic_free(topic);
    }
    struct draft_broker *broker, *next_broker;
    HASH_ITER (hh, builder->brokers, broker, next_broker) {
        HASH_DEL(builder->brokers, broker);
        image_broker_unref(broker->broker);
        mem_free(broker);
    }
    struct draft_config *config, *next_config;
    HASH_ITER (hh, builder->configs, config, next_config) {
        HASH_DEL(builder->configs, config);
        image_config_unref(config->config);
        mem_free(config->key);
        mem_free(config);
    }
}

/* ---- topics ---- */

/* The draft of a topic, made from the base when there is none yet; NULL when neither knows the id. */
static struct draft_topic *topic_draft(struct image_builder *builder, struct uuid id)
{
    struct draft_topic *draft = NULL;
    HASH_FIND(hh, builder->topics, id.bytes, UUID_BYTES, draft);
    if (draft != NULL) {
        return draft;
    }
    const struct image_topic *before = image_find_topic_id(builder->base, id);
    if (before == NULL) {
        return NULL;
    }
    draft = MEM_NEW(struct draft_topic);
    draft->id = id;
    draft->before = before;
    draft->name_bytes = before->name.bytes;
    draft->is_internal = before->is_internal;
    draft->partition_count = before->partition_count;
    HASH_ADD_KEYPTR(hh, builder->topics, draft->id.bytes, UUID_BYTES, draft);
    return draft;
}

static struct span draft_name(const struct draft_topic *draft)
{
    return draft->before != NULL ? draft->before->name : span_make(draft->added_name, draft->name_bytes);
}

static bool is_name_taken(struct image_builder *builder, struct span name)
{
    struct draft_topic *draft = NULL;
    HASH_FIND(by_name, builder->topic_names, name.data, name.bytes, draft);
    if (draft != NULL) {
        return true;
    }
    const struct image_topic *before = image_find_topic(builder->base, name);
    if (before == NULL) {
        return false;
    }
    HASH_FIND(hh, builder->topics, before->id.bytes, UUID_BYTES, draft);
    return draft == NULL || !draft->is_removed;
}

enum err image_builder_add_topic(struct image_builder *builder, struct uuid id, struct span name, bool is_internal)
{
    if (topic_draft(builder, id) != NULL || is_name_taken(builder, name)) {
        return ERR_EXISTS;
    }
    struct draft_topic *draft = MEM_NEW(struct draft_topic);
    draft->id = id;
    draft->added_name = (char *)mem_alloc(name.bytes + 1);
    memcpy(draft->added_name, name.data, name.bytes);
    draft->added_name[name.bytes] = '\0';
    draft->name_bytes = name.bytes;
    draft->is_internal = is_internal;
    HASH_ADD_KEYPTR(hh, builder->topics, draft->id.bytes, UUID_BYTES, draft);
    HASH_ADD_KEYPTR(by_name, builder->topic_names, draft->added_name, draft->name_bytes, draft);
    return ERR_OK;
}

enum err image_builder_remove_topic(struct image_builder *builder, struct uuid id)
{
    struct draft_topic *draft = topic_draft(builder, id);
    if (draft == NULL || draft->is_removed) {
        return ERR_NOT_FOUND;
    }
    draft->is_removed = true;
    if (draft->before == NULL) {
        HASH_DELETE(by_name, builder->topic_names, draft);
    }
    return ERR_OK;
}

struct span image_builder_topic_name(struct image_builder *builder, struct uuid id)
{
    const struct draft_topic *draft = topic_draft(builder, id);
    return draft == NULL || draft->is_removed ? SPAN_NULL : draft_name(draft);
}

const struct image_partition *image_builder_find_partition(struct image_builder *builder, struct uuid topic_id,
                                                           uint32_t partition_index)
{
    const struct draft_topic *draft = topic_draft(builder, topic_id);
    if (draft == NULL || draft->is_removed || partition_index >= draft->partition_count) {
        return NULL;
    }
    return draft->partitions != NULL ? draft->partitions[partition_index] : draft->before->partitions[partition_index];
}

/* From here on the draft has an array of its own. */
static void own_partitions(struct draft_topic *draft)
{
    if (draft->partitions != NULL) {
        return;
    }
    draft->partition_capacity = draft->partition_count < 8 ? 8 : draft->partition_count;
    draft->partitions =
        (const struct image_partition **)mem_array(draft->partition_capacity, sizeof(draft->partitions[0]));
    for (uint32_t i = 0; i < draft->partition_count; i++) {
        draft->partitions[i] = image_partition_ref(draft->before->partitions[i]);
    }
}

enum err image_builder_put_partition(struct image_builder *builder, struct uuid topic_id,
                                     const struct image_partition *partition)
{
    struct draft_topic *draft = topic_draft(builder, topic_id);
    uint32_t index = (uint32_t)partition->partition_index;
    if (draft == NULL || draft->is_removed || index > draft->partition_count) {
        return ERR_NOT_FOUND;
    }
    own_partitions(draft);
    if (index < draft->partition_count) {
        image_partition_unref(draft->partitions[index]);
        draft->partitions[index] = partition;
        return ERR_OK;
    }
    if (draft->partition_count == draft->partition_capacity) {
        draft->partition_capacity *= 2;
        draft->partitions = (const struct image_partition **)mem_grow(
            (void *)draft->partitions, draft->partition_capacity, sizeof(draft->partitions[0]));
    }
    draft->partitions[draft->partition_count++] = partition;
    return ERR_OK;
}

/* ---- brokers and configs ---- */

const struct image_broker *image_builder_find_broker(struct image_builder *builder, int32_t broker_id)
{
    struct draft_broker *draft = NULL;
    HASH_FIND(hh, builder->brokers, &broker_id, sizeof(broker_id), draft);
    return draft != NULL ? draft->broker : image_find_broker(builder->base, broker_id);
}

static void put_broker(struct image_builder *builder, int32_t broker_id, const struct image_broker *broker)
{
    struct draft_broker *draft = NULL;
    HASH_FIND(hh, builder->brokers, &broker_id, sizeof(broker_id), draft);
    if (draft == NULL) {
        draft = MEM_NEW(struct draft_broker);
        draft->id = broker_id;
        HASH_ADD(hh, builder->brokers, id, sizeof(draft->id), draft);
    }
    image_broker_unref(draft->broker);
    draft->broker = broker;
}

void image_builder_put_broker(struct image_builder *builder, const struct image_broker *broker)
{
    put_broker(builder, broker->id, broker);
}

void image_builder_remove_broker(struct image_builder *builder, int32_t broker_id)
{
    put_broker(builder, broker_id, NULL);
}

/* The draft under type and name; with `is_made` it is made when missing. */
static struct draft_config *config_draft(struct image_builder *builder, enum image_config_type type, struct span name,
                                         bool is_made)
{
    char *key = (char *)mem_alloc(name.bytes + 2);
    key[0] = (char)type;
    memcpy(key + 1, name.data, name.bytes);
    key[name.bytes + 1] = '\0';
    struct draft_config *draft = NULL;
    HASH_FIND(hh, builder->configs, key, name.bytes + 1, draft);
    if (draft != NULL || !is_made) {
        mem_free(key);
        return draft;
    }
    draft = MEM_NEW(struct draft_config);
    draft->key = key;
    draft->type = type;
    draft->name = span_make(key + 1, name.bytes);
    HASH_ADD_KEYPTR(hh, builder->configs, draft->key, name.bytes + 1, draft);
    return draft;
}

const struct image_config *image_builder_find_config(struct image_builder *builder, enum image_config_type type,
                                                     struct span name)
{
    const struct draft_config *draft = config_draft(builder, type, name, false);
    return draft != NULL ? draft->config : image_find_config(builder->base, type, name);
}

void image_builder_put_config(struct image_builder *builder, enum image_config_type type, struct span name,
                              const struct image_config *config)
{
    struct draft_config *draft = config_draft(builder, type, name, true);
    image_config_unref(draft->config);
    draft->config = config;
}

/* ---- finish ---- */

static int order_topics_by_name(const void *left, const void *right)
{
    return image_compare_names((*(const struct image_topic *const *)left)->name,
                               (*(const struct image_topic *const *)right)->name);
}

static int order_topics_by_id(const void *left, const void *right)
{
    return image_compare_ids((*(const struct image_topic *const *)left)->id,
                             (*(const struct image_topic *const *)right)->id);
}

/* The finished topic of a draft, with one reference. */
static const struct image_topic *topic_of_draft(struct draft_topic *draft)
{
    if (draft->partitions == NULL && draft->before != NULL) {
        return image_topic_ref(draft->before);
    }
    const struct image_topic *topic =
        image_topic_new(draft->id, draft_name(draft), draft->is_internal,
                        (const struct image_partition *const *)draft->partitions, draft->partition_count);
    /* Its references to the partitions have moved. */
    mem_free((void *)draft->partitions);
    draft->partitions = NULL;
    draft->partition_count = 0;
    return topic;
}

/* Merge `base` without what was touched with `fresh`; both are sorted by `order`. */
static const struct image_topic **merge_topics(struct image_builder *builder, const struct image_topic **base,
                                               uint32_t base_count, const struct image_topic **fresh,
                                               uint32_t fresh_count, int (*order)(const void *, const void *),
                                               uint32_t *ret_count)
{
    const struct image_topic **merged =
        (const struct image_topic **)mem_array((size_t)base_count + fresh_count + 1, sizeof(merged[0]));
    uint32_t count = 0;
    uint32_t j = 0;
    for (uint32_t i = 0; i < base_count; i++) {
        struct draft_topic *draft = NULL;
        HASH_FIND(hh, builder->topics, base[i]->id.bytes, UUID_BYTES, draft);
        if (draft != NULL) {
            continue;
        }
        while (j < fresh_count && order((const void *)&fresh[j], (const void *)&base[i]) < 0) {
            merged[count++] = fresh[j++];
        }
        merged[count++] = base[i];
    }
    while (j < fresh_count) {
        merged[count++] = fresh[j++];
    }
    *ret_count = count;
    return merged;
}

static const struct image_topic_table *finish_topics(struct image_builder *builder)
{
    const struct image_topic_table *base = builder->base->topics;
    if (builder->topics == NULL) {
        atomic_fetch_add_explicit((atomic_uint *)(uintptr_t)&base->reference_count, 1, memory_order_relaxed);
        return base;
    }
    struct image_topic_table *table = MEM_NEW(struct image_topic_table);
    atomic_init(&table->reference_count, 1);
    const struct image_topic **fresh =
        (const struct image_topic **)mem_array(HASH_CNT(hh, builder->topics), sizeof(fresh[0]));
    uint32_t fresh_count = 0;
    struct draft_topic *draft, *next;
    HASH_ITER (hh, builder->topics, draft, next) {
        if (!draft->is_removed) {
            fresh[fresh_count++] = topic_of_draft(draft);
        }
    }
    uint32_t count = 0;
    qsort((void *)fresh, fresh_count, sizeof(fresh[0]), order_topics_by_id);
    table->by_id =
        merge_topics(builder, base->by_id, base->count, fresh, fresh_count, order_topics_by_id, &table->count);
    qsort((void *)fresh, fresh_count, sizeof(fresh[0]), order_topics_by_name);
    table->by_name =
        merge_topics(builder, base->by_name, base->count, fresh, fresh_count, order_topics_by_name, &count);
    CHECK(count == table->count);
    /* The table needs one reference to each topic: fresh ones bring theirs, untouched ones are counted here. */
    for (uint32_t i = 0; i < table->count; i++) {
        HASH_FIND(hh, builder->topics, table->by_id[i]->id.bytes, UUID_BYTES, draft);
        if (draft == NULL) {
            image_topic_ref(table->by_id[i]);
        }
        table->partition_total += table->by_id[i]->partition_count;
    }
    mem_free((void *)fresh);
    return table;
}

static int order_brokers(const void *left, const void *right)
{
    int32_t a = (*(const struct image_broker *const *)left)->id;
    int32_t b = (*(const struct image_broker *const *)right)->id;
    return (a > b) - (a < b);
}

static const struct image_broker_table *finish_brokers(struct image_builder *builder)
{
    const struct image_broker_table *base = builder->base->brokers;
    if (builder->brokers == NULL) {
        atomic_fetch_add_explicit((atomic_uint *)(uintptr_t)&base->reference_count, 1, memory_order_relaxed);
        return base;
    }
    struct image_broker_table *table = MEM_NEW(struct image_broker_table);
    atomic_init(&table->reference_count, 1);
    table->brokers = (const struct image_broker **)mem_array((size_t)base->count + HASH_CNT(hh, builder->brokers),
                                                             sizeof(table->brokers[0]));
    struct draft_broker *draft, *next;
    for (uint32_t i = 0; i < base->count; i++) {
        HASH_FIND(hh, builder->brokers, &base->brokers[i]->id, sizeof(int32_t), draft);
        if (draft == NULL) {
            table->brokers[table->count++] = image_broker_ref(base->brokers[i]);
        }
    }
    HASH_ITER (hh, builder->brokers, draft, next) {
        if (draft->broker != NULL) {
            table->brokers[table->count++] = image_broker_ref(draft->broker);
        }
    }
    qsort((void *)table->brokers, table->count, sizeof(table->brokers[0]), order_brokers);
    return table;
}

static int order_configs(const void *left, const void *right)
{
    const struct image_config *a = *(const struct image_config *const *)left;
    return image_compare_configs(a->type, a->name, *(const struct image_config *const *)right);
}

static const struct image_config_table *finish_configs(struct image_builder *builder)
{
    const struct image_config_table *base = builder->base->configs;
    if (builder->configs == NULL) {
        atomic_fetch_add_explicit((atomic_uint *)(uintptr_t)&base->reference_count, 1, memory_order_relaxed);
        return base;
    }
    struct image_config_table *table = MEM_NEW(struct image_config_table);
    atomic_init(&table->reference_count, 1);
    table->configs = (const struct image_config **)mem_array((size_t)base->count + HASH_CNT(hh, builder->configs),
                                                             sizeof(table->configs[0]));
    for (uint32_t i = 0; i < base->count; i++) {
        if (config_draft(builder, base->configs[i]->type, base->configs[i]->name, false) == NULL) {
            table->configs[table->count++] = image_config_ref(base->configs[i]);
        }
    }
    struct draft_config *draft, *next;
    HASH_ITER (hh, builder->configs, draft, next) {
        if (draft->config != NULL) {
            table->configs[table->count++] = image_config_ref(draft->config);
        }
    }
    qsort((void *)table->configs, table->count, sizeof(table->configs[0]), order_configs);
    return table;
}

struct image *image_builder_finish(struct image_builder *builder)
{
    struct image *image = MEM_NEW(struct image);
    atomic_init(&image->reference_count, 1);
    image->facts = builder->facts;
    image->topics = finish_topics(builder);
    image->brokers = finish_brokers(builder);
    image->configs = finish_configs(builder);
    return image;
}

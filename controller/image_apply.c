/* One function for each kind of record: check the precondition, then put the result into the builder. */
#include "controller/image_apply.h"

#include "common/mem.h"
#include "controller/image_apply_private.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

static bool apply_topic(struct apply *apply, const Meta__Topic *topic)
{
    struct uuid id;
    struct span name = span_text(topic->name);
    if (!image_apply_uuid(topic->id, &id) || name.bytes == 0 || name.bytes > IMAGE_TOPIC_NAME_BYTES_MAX) {
        return false;
    }
    return image_builder_add_topic(apply->builder, id, name, topic->is_internal) == ERR_OK;
}

static bool apply_topic_removed(struct apply *apply, const Meta__TopicRemoved *removed)
{
    struct uuid id;
    if (!image_apply_uuid(removed->id, &id)) {
        return false;
    }
    struct span name = image_builder_topic_name(apply->builder, id);
    if (span_is_null(name)) {
        return false;
    }
    if (image_builder_find_config(apply->builder, IMAGE_CONFIG_TOPIC, name) != NULL) {
        image_builder_put_config(apply->builder, IMAGE_CONFIG_TOPIC, name, NULL);
    }
    return image_builder_remove_topic(apply->builder, id) == ERR_OK;
}

static bool read_endpoints(const Meta__Broker *item, struct image_endpoint *ret_endpoints)
{
    for (size_t i = 0; i < item->n_endpoints; i++) {
        const Meta__Endpoint *endpoint = item->endpoints[i];
        if (endpoint->port > UINT16_MAX || endpoint->security > IMAGE_SASL_SSL) {
            return false;
        }
        ret_endpoints[i] = (struct image_endpoint){
            .listener_name = span_text(endpoint->listener_name),
            .host = span_text(endpoint->host),
            .port = (uint16_t)endpoint->port,
            .security = (enum image_security)endpoint->security,
        };
    }
    return true;
}

static bool apply_broker(struct apply *apply, const Meta__Broker *item)
{
    const struct image_broker *before = image_builder_find_broker(apply->builder, item->id);
    struct uuid directories[IMAGE_DIRECTORIES_MAX];
    struct image_endpoint endpoints[IMAGE_ENDPOINTS_MAX];
    if (item->id < 0 || item->n_directories > IMAGE_DIRECTORIES_MAX || item->n_endpoints > IMAGE_ENDPOINTS_MAX ||
        apply->is_snapshot != (item->epoch != 0) ||
        (!apply->is_snapshot && item->replaced_epoch != (before == NULL ? 0 : before->epoch))) {
        return false;
    }
    struct image_broker fields = {
        .id = item->id,
        .epoch = apply->is_snapshot ? item->epoch : apply->index,
        .rack = item->rack[0] == '\0' ? SPAN_NULL : span_text(item->rack),
        .boot_id = span_make(item->boot_id.len == 0 ? (const uint8_t *)"" : item->boot_id.data, item->boot_id.len),
        .is_fenced = item->is_fenced,
        .is_shutting_down = item->is_shutting_down,
        .level_min = item->level_min == 0 ? 1 : item->level_min,
        .level_max = item->level_max == 0 ? 1 : item->level_max,
        .endpoint_count = (uint32_t)item->n_endpoints,
        .directory_count = (uint32_t)item->n_directories,
        .endpoints = endpoints,
        .directories = directories,
    };
    if (!image_apply_uuid(item->incarnation_id, &fields.incarnation_id) || !read_endpoints(item, endpoints)) {
        return false;
    }
    for (size_t i = 0; i < item->n_directories; i++) {
        if (!image_apply_uuid(item->directories[i], &directories[i])) {
            return false;
        }
    }
    image_builder_put_broker(apply->builder, image_broker_new(&fields));
    return true;
}

static bool apply_broker_state(struct apply *apply, const Meta__BrokerState *state)
{
    const struct image_broker *before = image_builder_find_broker(apply->builder, state->id);
    if (before == NULL || before->epoch != state->epoch) {
        return false;
    }
    struct image_broker fields = *before;
    fields.is_fenced = state->is_fenced;
    fields.is_shutting_down = state->is_shutting_down;
    image_builder_put_broker(apply->builder, image_broker_new(&fields));
    return true;
}

static bool apply_broker_removed(struct apply *apply, const Meta__BrokerRemoved *removed)
{
    const struct image_broker *before = image_builder_find_broker(apply->builder, removed->id);
    char name[16];
    if (before == NULL || before->epoch != removed->epoch || !before->is_fenced) {
        return false;
    }
    snprintf(name, sizeof(name), "%" PRId32, removed->id);
    if (image_builder_find_config(apply->builder, IMAGE_CONFIG_BROKER, span_text(name)) != NULL) {
        image_builder_put_config(apply->builder, IMAGE_CONFIG_BROKER, span_text(name), NULL);
    }
    image_builder_remove_broker(apply->builder, removed->id);
    return true;
}

static int order_entries(const void *left, const void *right)
{
    return image_compare_names(((const struct image_config_entry *)left)->key,
                               ((const struct image_config_entry *)right)->key);
}

/* Copies the entries whose key the change neither sets nor removes; returns their count. */
static uint32_t keep_entries(const struct image_config *before, const Meta__ConfigChange *change,
                             struct image_config_entry *ret_entries)
{
    uint32_t count = 0;
    for (uint32_t i = 0; before != NULL && i < before->entry_count; i++) {
        bool is_replaced = false;
        for (size_t j = 0; j < change->n_set && !is_replaced; j++) {
            is_replaced = span_equal_text(before->entries[i].key, change->set[j]->key);
        }
        for (size_t j = 0; j < change->n_removed && !is_replaced; j++) {
            is_replaced = span_equal_text(before->entries[i].key, change->removed[j]);
        }
        if (!is_replaced) {
            ret_entries[count++] = before->entries[i];
        }
    }
    return count;
}

static bool apply_config_change(struct apply *apply, const Meta__ConfigChange *change)
{
    if (change->type != IMAGE_CONFIG_TOPIC && change->type != IMAGE_CONFIG_BROKER) {
        return false;
    }
    enum image_config_type type = (enum image_config_type)change->type;
    struct span name = span_text(change->name);
    const struct image_config *before = image_builder_find_config(apply->builder, type, name);
    size_t room = (before == NULL ? 0 : before->entry_count) + change->n_set;
    struct image_config_entry *entries = (struct image_config_entry *)mem_array(room + 1, sizeof(entries[0]));
    uint32_t count = keep_entries(before, change, entries);
    for (size_t i = 0; i < change->n_set; i++) {
        entries[count++] =
            (struct image_config_entry){span_text(change->set[i]->key), span_text(change->set[i]->value)};
    }
    qsort(entries, count, sizeof(entries[0]), order_entries);
    bool is_unique = true;
    for (uint32_t i = 1; i < count; i++) {
        is_unique = is_unique && order_entries(&entries[i - 1], &entries[i]) < 0;
    }
    if (is_unique) {
        struct image_config fields = {.type = type, .name = name, .entry_count = count, .entries = entries};
        image_builder_put_config(apply->builder, type, name, count == 0 ? NULL : image_config_new(&fields));
    }
    mem_free(entries);
    return is_unique;
}

static bool apply_producer_ids(struct apply *apply, const Meta__ProducerIds *ids)
{
    struct image_facts *facts = &apply->builder->facts;
    if (ids->first != facts->next_producer_id || ids->count <= 0 || ids->first > INT64_MAX - ids->count) {
        return false;
    }
    facts->next_producer_id = ids->first + ids->count;
    return true;
}

static bool apply_cluster(struct apply *apply, const Meta__Cluster *cluster)
{
    struct image_facts *facts = &apply->builder->facts;
    size_t id_bytes = strlen(cluster->id);
    size_t name_bytes = strlen(cluster->name);
    /* The id is set once; a later record may only give the cluster another name. */
    if (id_bytes == 0 || id_bytes >= sizeof(facts->cluster_id) || name_bytes >= sizeof(facts->cluster_name) ||
        (facts->cluster_id[0] != '\0' && strcmp(facts->cluster_id, cluster->id) != 0)) {
        return false;
    }
    memcpy(facts->cluster_id, cluster->id, id_bytes + 1);
    memset(facts->cluster_name, 0, sizeof(facts->cluster_name));
    memcpy(facts->cluster_name, cluster->name, name_bytes);
    return true;
}

static bool apply_activation(struct apply *apply, const Meta__Activation *activation)
{
    if (apply->is_snapshot != (activation->epoch != 0) || activation->controller_id < 0) {
        return false;
    }
    apply->builder->facts.controller_id = activation->controller_id;
    apply->builder->facts.controller_epoch = apply->is_snapshot ? activation->epoch : apply->index;
    return true;
}

static bool apply_level(struct apply *apply, const Meta__MetadataLevel *level)
{
    if (level->level <= apply->builder->facts.metadata_level) {
        return false;
    }
    apply->builder->facts.metadata_level = level->level;
    return true;
}

static bool apply_record(struct apply *apply, const Meta__Record *record)
{
    switch (record->fact_case) {
    case META__RECORD__FACT_TOPIC:
        return apply_topic(apply, record->topic);
    case META__RECORD__FACT_TOPIC_REMOVED:
        return apply_topic_removed(apply, record->topic_removed);
    case META__RECORD__FACT_PARTITIONS:
        return image_apply_partitions(apply, record->partitions);
    case META__RECORD__FACT_PARTITION_CHANGES:
        return image_apply_partition_changes(apply, record->partition_changes);
    case META__RECORD__FACT_BROKER:
        return apply_broker(apply, record->broker);
    case META__RECORD__FACT_BROKER_STATE:
        return apply_broker_state(apply, record->broker_state);
    case META__RECORD__FACT_CONFIG_CHANGE:
        return apply_config_change(apply, record->config_change);
    case META__RECORD__FACT_PRODUCER_IDS:
        return apply_producer_ids(apply, record->producer_ids);
    case META__RECORD__FACT_ACTIVATION:
        return apply_activation(apply, record->activation);
    case META__RECORD__FACT_CLUSTER:
        return apply_cluster(apply, record->cluster);
    case META__RECORD__FACT_METADATA_LEVEL:
        return apply_level(apply, record->metadata_level);
    case META__RECORD__FACT_BROKER_REMOVED:
        return apply_broker_removed(apply, record->broker_removed);
    case META__RECORD__FACT__NOT_SET:
    case _META__RECORD__FACT__CASE_IS_INT_SIZE:
    default:
        UNREACHABLE(); /* meta_unpack let no unknown kind through */
    }
}

static bool apply_records(struct apply *apply, Meta__Record **records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!apply_record(apply, records[i])) {
            return false;
        }
    }
    return true;
}

static void put_u64(uint8_t out[8], uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(value >> (56 - 8 * i));
    }
}

/* h_i of the chain, in place of h_{i-1}. */
static void chain_hash(uint8_t hash[IMAGE_HASH_BYTES], int64_t index, uint64_t term, struct span bytes)
{
    uint8_t numbers[16];
    put_u64(numbers, (uint64_t)index);
    put_u64(numbers + 8, term);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK(context != NULL);
    unsigned out_bytes = 0;
    CHECK(EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
    CHECK(EVP_DigestUpdate(context, hash, IMAGE_HASH_BYTES) == 1);
    CHECK(EVP_DigestUpdate(context, numbers, sizeof(numbers)) == 1);
    CHECK(EVP_DigestUpdate(context, bytes.data, bytes.bytes) == 1);
    CHECK(EVP_DigestFinal_ex(context, hash, &out_bytes) == 1 && out_bytes == IMAGE_HASH_BYTES);
    EVP_MD_CTX_free(context);
}

enum err image_apply(const struct image *before, int64_t index, uint64_t term, struct span bytes,
                     struct image **ret_after, bool *ret_is_applied)
{
    CHECK(index > before->facts.offset);
    struct arena arena;
    arena_init(&arena, META_UNPACK_BYTES_MAX);
    Meta__Batch *batch = NULL;
    enum err err = meta_unpack(bytes, &arena, &batch);
    if (err != ERR_OK) {
        arena_done(&arena);
        return err;
    }
    struct image_builder builder;
    image_builder_init(&builder, before);
    struct apply apply = {.builder = &builder, .index = index};
    bool is_applied = batch->controller_epoch == before->facts.controller_epoch &&
                      apply_records(&apply, batch->records, batch->n_records);
    if (!is_applied) {
        image_builder_done(&builder);
        image_builder_init(&builder, before);
    }
    builder.facts.offset = index;
    builder.facts.term = term;
    chain_hash(builder.facts.hash, index, term, bytes);
    *ret_after = image_builder_finish(&builder);
    *ret_is_applied = is_applied;
    image_builder_done(&builder);
    arena_done(&arena);
    return ERR_OK;
}

struct image *image_draft(const struct image *before, int64_t index, const struct meta_records *records, size_t first,
                          size_t count)
{
    CHECK(first <= records->count && count <= records->count - first);
    struct image_builder builder;
    image_builder_init(&builder, before);
    struct apply apply = {.builder = &builder, .index = index};
    struct image *after = NULL;
    if (apply_records(&apply, count == 0 ? NULL : records->records + first, count)) {
        after = image_builder_finish(&builder);
    }
    image_builder_done(&builder);
    return after;
}

uint64_t image_term(const struct image *image)
{
    return image->facts.term;
}

bool image_apply_snapshot_part(struct image_builder *builder, const Meta__Batch *batch)
{
    struct apply apply = {.builder = builder, .is_snapshot = true};
    return apply_records(&apply, batch->records, batch->n_records);
}

/* One function for each kind of record: check the precondition, then put the result into the builder. */
#include "controller/image_apply.h"

#include "common/mem.h"
#include "controller/image_builder.h"

#include <openssl/evp.h>
#include <stdlib.h>

/* How records are read: from the log their epochs are given by their place; a snapshot carries them. */
struct apply {
    struct image_builder *builder;
    int64_t index;
    bool is_snapshot;
};

static bool read_uuid(ProtobufCBinaryData data, struct uuid *ret_uuid)
{
    if (data.len != UUID_BYTES) {
        return false;
    }
    memcpy(ret_uuid->bytes, data.data, UUID_BYTES);
    return true;
}

static bool apply_topic(struct apply *apply, const Meta__Topic *topic)
{
    struct uuid id;
    struct span name = span_text(topic->name);
    if (!read_uuid(topic->id, &id) || name.bytes == 0 || name.bytes > IMAGE_TOPIC_NAME_BYTES_MAX) {
        return false;
    }
    return image_builder_add_topic(apply->builder, id, name, topic->is_internal) == ERR_OK;
}

static bool apply_topic_removed(struct apply *apply, const Meta__TopicRemoved *removed)
{
    struct uuid id;
    if (!read_uuid(removed->id, &id)) {
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

/* Whether `part` is a subset of the replicas, in their order, without repetition. */
static bool is_ordered_subset(const int32_t *part, size_t part_count, const int32_t *replicas, size_t replica_count)
{
    size_t next = 0;
    for (size_t i = 0; i < part_count; i++) {
        while (next < replica_count && replicas[next] != part[i]) {
            next++;
        }
        if (next++ >= replica_count) {
            return false;
        }
    }
    return true;
}

/* The invariants of a partition's state (testing.md 6, oracle 5). */
static bool is_sound(const struct image_partition *partition)
{
    if (partition->replica_count == 0 || partition->leader_epoch < 0 || partition->partition_epoch < 0 ||
        !is_ordered_subset(partition->isr, partition->isr_count, partition->replicas, partition->replica_count) ||
        !is_ordered_subset(partition->elr, partition->elr_count, partition->replicas, partition->replica_count)) {
        return false;
    }
    for (uint32_t i = 0; i < partition->elr_count; i++) {
        if (image_partition_in_isr(partition, partition->elr[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (partition->replicas[i] == partition->replicas[j]) {
                return false;
            }
        }
    }
    return partition->leader_id == IMAGE_NO_LEADER || image_partition_in_isr(partition, partition->leader_id);
}

static bool apply_partition(struct apply *apply, struct uuid topic_id, const Meta__Partition *item)
{
    struct uuid directories[IMAGE_REPLICAS_MAX];
    if (item->n_replicas > IMAGE_REPLICAS_MAX || item->n_directories != item->n_replicas ||
        item->n_isr > item->n_replicas || item->n_elr > item->n_replicas ||
        item->index >= IMAGE_PARTITIONS_PER_TOPIC_MAX ||
        image_builder_find_partition(apply->builder, topic_id, item->index) != NULL) {
        return false;
    }
    if (!apply->is_snapshot && (item->leader_epoch != 0 || item->partition_epoch != 0)) {
        return false;
    }
    for (size_t i = 0; i < item->n_directories; i++) {
        if (!read_uuid(item->directories[i], &directories[i])) {
            return false;
        }
    }
    struct image_partition fields = {
        .partition_index = (int32_t)item->index,
        .leader_id = item->leader,
        .leader_epoch = item->leader_epoch,
        .partition_epoch = item->partition_epoch,
        .is_recovering = item->is_recovering,
        .replica_count = (uint32_t)item->n_replicas,
        .isr_count = (uint32_t)item->n_isr,
        .elr_count = (uint32_t)item->n_elr,
        .replicas = item->replicas,
        .directories = directories,
        .isr = item->isr,
        .elr = item->elr,
    };
    if (!is_sound(&fields)) {
        return false;
    }
    const struct image_partition *partition = image_partition_new(&fields);
    if (image_builder_put_partition(apply->builder, topic_id, partition) != ERR_OK) {
        image_partition_unref(partition);
        return false;
    }
    return true;
}

static bool apply_partitions(struct apply *apply, const Meta__Partitions *group)
{
    struct uuid topic_id;
    if (!read_uuid(group->topic_id, &topic_id)) {
        return false;
    }
    for (size_t i = 0; i < group->n_partitions; i++) {
        if (!apply_partition(apply, topic_id, group->partitions[i])) {
            return false;
        }
    }
    return true;
}

/* The compare-and-set on partition epochs. */
static bool apply_partition_change(struct apply *apply, struct uuid topic_id, const Meta__PartitionChange *change)
{
    const struct image_partition *before = image_builder_find_partition(apply->builder, topic_id, change->index);
    if (before == NULL || change->partition_epoch != before->partition_epoch + 1 ||
        change->leader_epoch < before->leader_epoch || change->leader_epoch > before->leader_epoch + 1 ||
        (change->leader != before->leader_id && change->leader_epoch == before->leader_epoch) ||
        change->n_isr > IMAGE_REPLICAS_MAX || change->n_elr > IMAGE_REPLICAS_MAX) {
        return false;
    }
    struct image_partition fields = *before;
    fields.leader_id = change->leader;
    fields.leader_epoch = change->leader_epoch;
    fields.partition_epoch = change->partition_epoch;
    fields.is_recovering = change->is_recovering;
    if (change->has_members) {
        fields.isr = change->isr;
        fields.isr_count = (uint32_t)change->n_isr;
        fields.elr = change->elr;
        fields.elr_count = (uint32_t)change->n_elr;
    }
    if (!is_sound(&fields)) {
        return false;
    }
    const struct image_partition *after = image_partition_new(&fields);
    CHECK(image_builder_put_partition(apply->builder, topic_id, after) == ERR_OK);
    return true;
}

static bool apply_partition_changes(struct apply *apply, const Meta__PartitionChanges *group)
{
    struct uuid topic_id;
    if (!read_uuid(group->topic_id, &topic_id)) {
        return false;
    }
    for (size_t i = 0; i < group->n_changes; i++) {
        if (!apply_partition_change(apply, topic_id, group->changes[i])) {
            return false;
        }
    }
    return true;
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
        .endpoint_count = (uint32_t)item->n_endpoints,
        .directory_count = (uint32_t)item->n_directories,
        .endpoints = endpoints,
        .directories = directories,
    };
    if (!read_uuid(item->incarnation_id, &fields.incarnation_id) || !read_endpoints(item, endpoints)) {
        return false;
    }
    for (size_t i = 0; i < item->n_directories; i++) {
        if (!read_uuid(item->directories[i], &directories[i])) {
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
        return apply_partitions(apply, record->partitions);
    case META__RECORD__FACT_PARTITION_CHANGES:
        return apply_partition_changes(apply, record->partition_changes);
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
    if (apply_records(&apply, records->records + first, count)) {
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

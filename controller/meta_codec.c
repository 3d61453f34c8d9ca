/* protobuf-c structs in an arena. Unpacking uses an allocator over the arena, whose maximum bounds what hostile nesting of tiny
 * fields could ask for; packing is checked for size first. */
#include "controller/meta_codec.h"

#include "common/mem.h"

void meta_records_init(struct meta_records *records, struct arena *arena)
{
    *records = (struct meta_records){.arena = arena};
}

void meta_records_cut(struct meta_records *records, size_t count)
{
    CHECK(count <= records->count);
    records->count = count;
    if (records->sealed_count > count) {
        records->sealed_count = count;
    }
}

void meta_records_seal(struct meta_records *records)
{
    records->sealed_count = records->count;
}

/* The last record, if it is of this kind and more may join it. */
static Meta__Record *open_record(struct meta_records *records, Meta__Record__FactCase fact)
{
    Meta__Record *last = records->count <= records->sealed_count ? NULL : records->records[records->count - 1];
    return last != NULL && last->fact_case == fact ? last : NULL;
}

/* Decisions are bounded (META_DECISION_BYTES_MAX), so their arena can't run out. */
static void *take(struct meta_records *records, size_t bytes)
{
    void *memory = arena_alloc(records->arena, bytes);
    CHECK(memory != NULL);
    return memory;
}

static char *copy_text(struct meta_records *records, struct span text)
{
    char *copy = (char *)take(records, text.bytes + 1);
    if (text.bytes > 0) {
        memcpy(copy, text.data, text.bytes);
    }
    return copy;
}

static ProtobufCBinaryData copy_bytes(struct meta_records *records, const void *bytes, size_t count)
{
    return (ProtobufCBinaryData){.len = count, .data = (uint8_t *)copy_text(records, span_make(bytes, count))};
}

static int32_t *copy_ids(struct meta_records *records, const int32_t *ids, size_t count)
{
    int32_t *copy = (int32_t *)take(records, (count + 1) * sizeof(int32_t));
    if (count > 0) {
        memcpy(copy, ids, count * sizeof(int32_t));
    }
    return copy;
}

static ProtobufCBinaryData *copy_uuids(struct meta_records *records, const struct uuid *ids, size_t count)
{
    ProtobufCBinaryData *copy = (ProtobufCBinaryData *)take(records, (count + 1) * sizeof(*copy));
    for (size_t i = 0; i < count; i++) {
        copy[i] = copy_bytes(records, ids[i].bytes, UUID_BYTES);
    }
    return copy;
}

/* An array that doubles in the arena; the old one is left to it. */
static void *grow_array(struct meta_records *records, void *array, size_t count, size_t *capacity, size_t item_bytes)
{
    if (count < *capacity) {
        return array;
    }
    size_t larger = *capacity == 0 ? 8 : *capacity * 2;
    void *grown = take(records, larger * item_bytes);
    if (count > 0) {
        memcpy(grown, array, count * item_bytes);
    }
    *capacity = larger;
    return grown;
}

static Meta__Record *add_record(struct meta_records *records, Meta__Record__FactCase fact)
{
    Meta__Record *record = (Meta__Record *)take(records, sizeof(*record));
    meta__record__init(record);
    record->version = META_RECORD_VERSION;
    record->fact_case = fact;
    records->records = (Meta__Record **)grow_array(records, (void *)records->records, records->count,
                                                   &records->capacity, sizeof(records->records[0]));
    records->records[records->count++] = record;
    return record;
}

void meta_add_topic(struct meta_records *records, struct uuid id, struct span name, bool is_internal)
{
    Meta__Topic *topic = (Meta__Topic *)take(records, sizeof(*topic));
    meta__topic__init(topic);
    topic->id = copy_bytes(records, id.bytes, UUID_BYTES);
    topic->name = copy_text(records, name);
    topic->is_internal = is_internal;
    add_record(records, META__RECORD__FACT_TOPIC)->topic = topic;
}

void meta_add_topic_removed(struct meta_records *records, struct uuid id)
{
    Meta__TopicRemoved *removed = (Meta__TopicRemoved *)take(records, sizeof(*removed));
    meta__topic_removed__init(removed);
    removed->id = copy_bytes(records, id.bytes, UUID_BYTES);
    add_record(records, META__RECORD__FACT_TOPIC_REMOVED)->topic_removed = removed;
}

/* Whether a group is the topic's and the last record: then one more may join it. */
static bool is_group_of(ProtobufCBinaryData group_id, struct uuid topic_id)
{
    return group_id.len == UUID_BYTES && memcmp(group_id.data, topic_id.bytes, UUID_BYTES) == 0;
}

/* Groups grow by doubling at powers of two: n_* is the count, and the capacity follows from it. */
static void **append_pointer(struct meta_records *records, void **array, size_t count, void *item)
{
    if (count == 0 || (count & (count - 1)) == 0) {
        void **grown = (void **)take(records, (count == 0 ? 1 : count * 2) * sizeof(void *));
        if (count > 0) {
            memcpy(grown, array, count * sizeof(void *));
        }
        array = grown;
    }
    array[count] = item;
    return array;
}

void meta_add_partition(struct meta_records *records, struct uuid topic_id, const struct image_partition *partition)
{
    Meta__Partition *item = (Meta__Partition *)take(records, sizeof(*item));
    meta__partition__init(item);
    item->index = (uint32_t)partition->partition_index;
    item->leader = partition->leader_id;
    item->leader_epoch = partition->leader_epoch;
    item->partition_epoch = partition->partition_epoch;
    item->is_recovering = partition->is_recovering;
    item->n_replicas = item->n_directories = partition->replica_count;
    item->replicas = copy_ids(records, partition->replicas, partition->replica_count);
    item->directories = copy_uuids(records, partition->directories, partition->replica_count);
    item->n_isr = partition->isr_count;
    item->isr = copy_ids(records, partition->isr, partition->isr_count);
    item->n_elr = partition->elr_count;
    item->elr = copy_ids(records, partition->elr, partition->elr_count);
    item->n_last_known = partition->last_known_count;
    item->last_known = copy_ids(records, partition->last_known, partition->last_known_count);

    Meta__Record *last = open_record(records, META__RECORD__FACT_PARTITIONS);
    if (last == NULL || !is_group_of(last->partitions->topic_id, topic_id)) {
        Meta__Partitions *group = (Meta__Partitions *)take(records, sizeof(*group));
        meta__partitions__init(group);
        group->topic_id = copy_bytes(records, topic_id.bytes, UUID_BYTES);
        last = add_record(records, META__RECORD__FACT_PARTITIONS);
        last->partitions = group;
    }
    Meta__Partitions *group = last->partitions;
    group->partitions =
        (Meta__Partition **)append_pointer(records, (void **)group->partitions, group->n_partitions, item);
    group->n_partitions++;
}

static bool are_ids_equal(const int32_t *a, uint32_t a_count, const int32_t *b, uint32_t b_count)
{
    return a_count == b_count && (a_count == 0 || memcmp(a, b, a_count * sizeof(a[0])) == 0);
}

void meta_add_partition_change(struct meta_records *records, struct uuid topic_id, const struct image_partition *before,
                               const struct image_partition *after)
{
    Meta__PartitionChange *item = (Meta__PartitionChange *)take(records, sizeof(*item));
    meta__partition_change__init(item);
    item->index = (uint32_t)before->partition_index;
    item->leader = after->leader_id;
    item->leader_epoch = after->leader_epoch;
    item->partition_epoch = before->partition_epoch + 1;
    item->is_recovering = after->is_recovering;
    if (memcmp(before->directories, after->directories, before->replica_count * sizeof(struct uuid)) != 0) {
        item->n_directories = after->replica_count;
        item->directories = copy_uuids(records, after->directories, after->replica_count);
    }
    item->has_members =
        !are_ids_equal(before->isr, before->isr_count, after->isr, after->isr_count) ||
        !are_ids_equal(before->elr, before->elr_count, after->elr, after->elr_count) ||
        !are_ids_equal(before->last_known, before->last_known_count, after->last_known, after->last_known_count);
    if (item->has_members) {
        item->n_isr = after->isr_count;
        item->isr = copy_ids(records, after->isr, after->isr_count);
        item->n_elr = after->elr_count;
        item->elr = copy_ids(records, after->elr, after->elr_count);
        item->n_last_known = after->last_known_count;
        item->last_known = copy_ids(records, after->last_known, after->last_known_count);
    }
    Meta__Record *last = open_record(records, META__RECORD__FACT_PARTITION_CHANGES);
    if (last == NULL || !is_group_of(last->partition_changes->topic_id, topic_id)) {
        Meta__PartitionChanges *group = (Meta__PartitionChanges *)take(records, sizeof(*group));
        meta__partition_changes__init(group);
        group->topic_id = copy_bytes(records, topic_id.bytes, UUID_BYTES);
        last = add_record(records, META__RECORD__FACT_PARTITION_CHANGES);
        last->partition_changes = group;
    }
    Meta__PartitionChanges *group = last->partition_changes;
    group->changes = (Meta__PartitionChange **)append_pointer(records, (void **)group->changes, group->n_changes, item);
    group->n_changes++;
}

size_t meta_last_change_bytes(const struct meta_records *records)
{
    CHECK(records->count > 0);
    const Meta__Record *last = records->records[records->count - 1];
    CHECK(last->fact_case == META__RECORD__FACT_PARTITION_CHANGES && last->partition_changes->n_changes > 0);
    return meta__partition_change__get_packed_size(
        last->partition_changes->changes[last->partition_changes->n_changes - 1]);
}

void meta_add_broker(struct meta_records *records, const struct image_broker *broker, int64_t replaced_epoch)
{
    Meta__Broker *item = (Meta__Broker *)take(records, sizeof(*item));
    meta__broker__init(item);
    item->id = broker->id;
    item->epoch = broker->epoch;
    item->replaced_epoch = replaced_epoch;
    item->incarnation_id = copy_bytes(records, broker->incarnation_id.bytes, UUID_BYTES);
    item->rack = copy_text(records, broker->rack);
    item->boot_id = copy_bytes(records, broker->boot_id.data, broker->boot_id.bytes);
    item->is_fenced = broker->is_fenced;
    item->is_shutting_down = broker->is_shutting_down;
    item->level_min = broker->level_min;
    item->level_max = broker->level_max;
    item->n_directories = broker->directory_count;
    item->directories = copy_uuids(records, broker->directories, broker->directory_count);
    item->n_endpoints = broker->endpoint_count;
    item->endpoints = (Meta__Endpoint **)take(records, (broker->endpoint_count + 1) * sizeof(item->endpoints[0]));
    for (uint32_t i = 0; i < broker->endpoint_count; i++) {
        Meta__Endpoint *endpoint = (Meta__Endpoint *)take(records, sizeof(*endpoint));
        meta__endpoint__init(endpoint);
        endpoint->listener_name = copy_text(records, broker->endpoints[i].listener_name);
        endpoint->host = copy_text(records, broker->endpoints[i].host);
        endpoint->port = broker->endpoints[i].port;
        endpoint->security = (uint32_t)broker->endpoints[i].security;
        item->endpoints[i] = endpoint;
    }
    add_record(records, META__RECORD__FACT_BROKER)->broker = item;
}

void meta_add_broker_state(struct meta_records *records, int32_t broker_id, int64_t epoch, bool is_fenced,
                           bool is_shutting_down)
{
    Meta__BrokerState *state = (Meta__BrokerState *)take(records, sizeof(*state));
    meta__broker_state__init(state);
    state->id = broker_id;
    state->epoch = epoch;
    state->is_fenced = is_fenced;
    state->is_shutting_down = is_shutting_down;
    add_record(records, META__RECORD__FACT_BROKER_STATE)->broker_state = state;
}

void meta_add_broker_removed(struct meta_records *records, int32_t broker_id, int64_t epoch)
{
    Meta__BrokerRemoved *removed = (Meta__BrokerRemoved *)take(records, sizeof(*removed));
    meta__broker_removed__init(removed);
    removed->id = broker_id;
    removed->epoch = epoch;
    add_record(records, META__RECORD__FACT_BROKER_REMOVED)->broker_removed = removed;
}

void meta_add_config_change(struct meta_records *records, enum image_config_type type, struct span name,
                            const struct image_config_entry *set, size_t set_count, const struct span *removed,
                            size_t removed_count)
{
    Meta__ConfigChange *change = (Meta__ConfigChange *)take(records, sizeof(*change));
    meta__config_change__init(change);
    change->type = (int32_t)type;
    change->name = copy_text(records, name);
    change->n_set = set_count;
    change->set = (Meta__ConfigEntry **)take(records, (set_count + 1) * sizeof(change->set[0]));
    for (size_t i = 0; i < set_count; i++) {
        change->set[i] = (Meta__ConfigEntry *)take(records, sizeof(Meta__ConfigEntry));
        meta__config_entry__init(change->set[i]);
        change->set[i]->key = copy_text(records, set[i].key);
        change->set[i]->value = copy_text(records, set[i].value);
    }
    change->n_removed = removed_count;
    change->removed = (char **)take(records, (removed_count + 1) * sizeof(change->removed[0]));
    for (size_t i = 0; i < removed_count; i++) {
        change->removed[i] = copy_text(records, removed[i]);
    }
    add_record(records, META__RECORD__FACT_CONFIG_CHANGE)->config_change = change;
}

void meta_add_producer_ids(struct meta_records *records, int64_t first, int32_t count, int32_t broker_id,
                           int64_t broker_epoch)
{
    Meta__ProducerIds *ids = (Meta__ProducerIds *)take(records, sizeof(*ids));
    meta__producer_ids__init(ids);
    ids->first = first;
    ids->count = count;
    ids->broker_id = broker_id;
    ids->broker_epoch = broker_epoch;
    add_record(records, META__RECORD__FACT_PRODUCER_IDS)->producer_ids = ids;
}

void meta_add_activation(struct meta_records *records, int32_t controller_id, int64_t epoch)
{
    Meta__Activation *activation = (Meta__Activation *)take(records, sizeof(*activation));
    meta__activation__init(activation);
    activation->controller_id = controller_id;
    activation->epoch = epoch;
    add_record(records, META__RECORD__FACT_ACTIVATION)->activation = activation;
}

void meta_add_cluster(struct meta_records *records, struct span id, struct span name)
{
    Meta__Cluster *cluster = (Meta__Cluster *)take(records, sizeof(*cluster));
    meta__cluster__init(cluster);
    cluster->id = copy_text(records, id);
    cluster->name = copy_text(records, name);
    add_record(records, META__RECORD__FACT_CLUSTER)->cluster = cluster;
}

void meta_add_level(struct meta_records *records, uint32_t level)
{
    Meta__MetadataLevel *message = (Meta__MetadataLevel *)take(records, sizeof(*message));
    meta__metadata_level__init(message);
    message->level = level;
    add_record(records, META__RECORD__FACT_METADATA_LEVEL)->metadata_level = message;
}

/* ---- packing ---- */

static Meta__Batch batch_of(const struct meta_records *records, size_t first, size_t count, int64_t controller_epoch)
{
    CHECK(first <= records->count && count <= records->count - first);
    Meta__Batch batch = META__BATCH__INIT;
    batch.format = META_FORMAT;
    batch.controller_epoch = controller_epoch;
    batch.n_records = count;
    batch.records = count == 0 ? NULL : records->records + first;
    return batch;
}

size_t meta_packed_bytes(const struct meta_records *records, size_t first, size_t count, int64_t controller_epoch)
{
    Meta__Batch batch = batch_of(records, first, count, controller_epoch);
    return meta__batch__get_packed_size(&batch);
}

enum err meta_pack(const struct meta_records *records, size_t first, size_t count, int64_t controller_epoch,
                   struct bytebuf *ret_bytes)
{
    Meta__Batch batch = batch_of(records, first, count, controller_epoch);
    size_t bytes = meta__batch__get_packed_size(&batch);
    uint8_t *room = NULL;
    if (bytes > META_BATCH_BYTES_MAX || bytebuf_reserve(ret_bytes, bytes, &room) != ERR_OK) {
        return ERR_LIMIT;
    }
    CHECK(meta__batch__pack(&batch, room) == bytes);
    bytebuf_added(ret_bytes, bytes);
    return ERR_OK;
}

static void *unpack_alloc(void *arena, size_t bytes)
{
    return arena_alloc((struct arena *)arena, bytes);
}

static void unpack_free(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

/* Whether the message, or one inside it, has a field that this program does not know. */
static bool has_unknown(const ProtobufCMessage *message)
{
    if (message->n_unknown_fields > 0) {
        return true;
    }
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const uint8_t *base = (const uint8_t *)message;
        ProtobufCMessage *child = NULL;
        ProtobufCMessage *const *children = &child;
        size_t count = 1;
        uint32_t chosen = field->id;
        if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            memcpy(&children, base + field->offset, sizeof(children));
            memcpy(&count, base + field->quantifier_offset, sizeof(count));
        } else {
            memcpy(&child, base + field->offset, sizeof(child));
        }
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
            memcpy(&chosen, base + field->quantifier_offset, sizeof(chosen));
        }
        for (size_t j = 0; j < count && chosen == field->id; j++) {
            if (children[j] != NULL && has_unknown(children[j])) {
                return true;
            }
        }
    }
    return false;
}

/* Whether a record is of a kind and version that is known, without fields of a later one. */
static bool is_known_record(const Meta__Record *record)
{
    return record->version == META_RECORD_VERSION && record->fact_case != META__RECORD__FACT__NOT_SET &&
           !has_unknown(&record->base) &&
           (record->fact_case != META__RECORD__FACT_METADATA_LEVEL || record->metadata_level->level <= IMAGE_LEVEL_MAX);
}

enum err meta_unpack(struct span bytes, struct arena *arena, Meta__Batch **ret_batch)
{
    if (bytes.bytes > META_BATCH_BYTES_MAX) {
        return ERR_LIMIT;
    }
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, arena};
    Meta__Batch *batch = meta__batch__unpack(&allocator, bytes.bytes, bytes.data);
    if (batch == NULL) {
        return ERR_MALFORMED;
    }
    if (batch->format != META_FORMAT || batch->base.n_unknown_fields > 0) {
        return ERR_UNSUPPORTED;
    }
    for (size_t i = 0; i < batch->n_records; i++) {
        if (!is_known_record(batch->records[i])) {
            return ERR_UNSUPPORTED;
        }
    }
    *ret_batch = batch;
    return ERR_OK;
}

enum err meta_unpack_header(struct span bytes, struct arena *arena, Meta__SnapshotHeader **ret_header)
{
    if (bytes.bytes > META_BATCH_BYTES_MAX) {
        return ERR_LIMIT;
    }
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, arena};
    Meta__SnapshotHeader *header = meta__snapshot_header__unpack(&allocator, bytes.bytes, bytes.data);
    if (header == NULL) {
        return ERR_MALFORMED;
    }
    if (header->format != META_FORMAT || has_unknown(&header->base)) {
        return ERR_UNSUPPORTED;
    }
    *ret_header = header;
    return ERR_OK;
}

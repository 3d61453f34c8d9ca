/* Records of partitions: new ones, and changes with their compare-and-set on partition epochs. */
#include "controller/image_apply_private.h"

bool image_apply_uuid(ProtobufCBinaryData data, struct uuid *ret_uuid)
{
    if (data.len != UUID_BYTES) {
        return false;
    }
    memcpy(ret_uuid->bytes, data.data, UUID_BYTES);
    return true;
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
        !is_ordered_subset(partition->elr, partition->elr_count, partition->replicas, partition->replica_count) ||
        !is_ordered_subset(partition->last_known, partition->last_known_count, partition->replicas,
                           partition->replica_count)) {
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
        item->n_isr > item->n_replicas || item->n_elr > item->n_replicas || item->n_last_known > item->n_replicas ||
        item->index >= IMAGE_PARTITIONS_PER_TOPIC_MAX ||
        image_builder_find_partition(apply->builder, topic_id, item->index) != NULL) {
        return false;
    }
    if (!apply->is_snapshot && (item->leader_epoch != 0 || item->partition_epoch != 0)) {
        return false;
    }
    for (size_t i = 0; i < item->n_directories; i++) {
        if (!image_apply_uuid(item->directories[i], &directories[i])) {
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
        .last_known_count = (uint32_t)item->n_last_known,
        .replicas = item->replicas,
        .directories = directories,
        .isr = item->isr,
        .elr = item->elr,
        .last_known = item->last_known,
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

bool image_apply_partitions(struct apply *apply, const Meta__Partitions *group)
{
    struct uuid topic_id;
    if (!image_apply_uuid(group->topic_id, &topic_id)) {
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
    if (before == NULL || change->partition_epoch != (int64_t)before->partition_epoch + 1 ||
        change->leader_epoch < before->leader_epoch || change->leader_epoch > (int64_t)before->leader_epoch + 1 ||
        (change->leader != before->leader_id && change->leader_epoch == before->leader_epoch) ||
        change->n_isr > before->replica_count || change->n_elr > before->replica_count ||
        change->n_last_known > before->replica_count ||
        (change->n_directories != 0 && change->n_directories != before->replica_count)) {
        return false;
    }
    struct image_partition fields = *before;
    struct uuid directories[IMAGE_REPLICAS_MAX];
    for (size_t i = 0; i < change->n_directories; i++) {
        if (!image_apply_uuid(change->directories[i], &directories[i])) {
            return false;
        }
        fields.directories = directories;
    }
    fields.leader_id = change->leader;
    fields.leader_epoch = change->leader_epoch;
    fields.partition_epoch = change->partition_epoch;
    fields.is_recovering = change->is_recovering;
    if (change->has_members) {
        fields.isr = change->isr;
        fields.isr_count = (uint32_t)change->n_isr;
        fields.elr = change->elr;
        fields.elr_count = (uint32_t)change->n_elr;
        fields.last_known = change->last_known;
        fields.last_known_count = (uint32_t)change->n_last_known;
    }
    if (!is_sound(&fields)) {
        return false;
    }
    const struct image_partition *after = image_partition_new(&fields);
    CHECK(image_builder_put_partition(apply->builder, topic_id, after) == ERR_OK);
    return true;
}

bool image_apply_partition_changes(struct apply *apply, const Meta__PartitionChanges *group)
{
    struct uuid topic_id;
    if (!image_apply_uuid(group->topic_id, &topic_id)) {
        return false;
    }
    for (size_t i = 0; i < group->n_changes; i++) {
        if (!apply_partition_change(apply, topic_id, group->changes[i])) {
            return false;
        }
    }
    return true;
}

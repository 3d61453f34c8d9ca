/* image_apply_private: what image_apply.c and image_apply_partition.c share.
 *
 * Errors:    false: a precondition does not hold or a value makes no sense; the batch is refused as a whole.
 * Ownership: the builder is borrowed.
 * Threads:   pure functions.
 */
#ifndef CONTROLLER_IMAGE_APPLY_PRIVATE_H
#define CONTROLLER_IMAGE_APPLY_PRIVATE_H

#include "controller/image_apply.h"
#include "controller/image_builder.h"

/* How records are read: from the log their epochs are given by their place; a snapshot carries them. */
struct apply {
    struct image_builder *builder;
    int64_t index;
    bool is_snapshot;
};

bool image_apply_uuid(ProtobufCBinaryData data, struct uuid *ret_uuid);
bool image_apply_partitions(struct apply *apply, const Meta__Partitions *group);
bool image_apply_partition_changes(struct apply *apply, const Meta__PartitionChanges *group);

#endif

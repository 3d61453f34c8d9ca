/* image_delta: what is different between two images, so that whoever follows the metadata acts in O(change).
 *
 * Shape:     made by walking the two images' sorted tables side by side; what is shared is skipped by comparing pointers. It can
 *            be made between any two images, so several commits may be handed over as one change.
 * Ownership: owned by its maker; its pointers are borrowed from `before` and `after`, which the delta holds references to.
 * Threads:   a value; read by any thread.
 */
#ifndef CONTROLLER_IMAGE_DELTA_H
#define CONTROLLER_IMAGE_DELTA_H

#include "controller/image.h"

/* A topic that was created (before == NULL), removed (after == NULL), or has a changed or added partition. A topic that was
 * removed and created again under its name is two changes: ids differ. Sorted by topic id. */
struct image_topic_change {
    const struct image_topic *before;
    const struct image_topic *after;
};

/* Every partition that is new (before == NULL), gone with its topic (after == NULL) or different. topic: `after`'s, or
 * `before`'s when it is gone. Sorted by topic id and index. */
struct image_partition_change {
    const struct image_topic *topic;
    const struct image_partition *before;
    const struct image_partition *after;
};

struct image_broker_change {
    const struct image_broker *before;
    const struct image_broker *after;
};

struct image_config_change {
    const struct image_config *before;
    const struct image_config *after; /* NULL: nothing is set any more */
};

struct image_delta {
    const struct image *before; /* NULL: everything in `after` is new */
    const struct image *after;
    struct image_topic_change *topics;
    struct image_partition_change *partitions;
    struct image_broker_change *brokers;
    struct image_config_change *configs;
    uint32_t topic_count;
    uint32_t partition_count;
    uint32_t broker_count;
    uint32_t config_count;
    bool is_controller_changed; /* id or epoch of the active controller */
};

/* `before` may be NULL: the delta then holds all of `after`. Takes its own references. */
struct image_delta *image_delta_new(const struct image *before, const struct image *after);
void image_delta_free(struct image_delta *delta);

#endif

/* Two sorted tables are walked side by side; objects that both images share are the same pointer and cost one comparison. */
#include "controller/image_delta.h"

#include "common/mem.h"
#include "controller/image_private.h"

/* A growing array of one kind of change. */
#define APPEND(delta, field, count_field, capacity, ...)                                                               \
    do {                                                                                                               \
        if ((delta)->count_field == (capacity)) {                                                                      \
            (capacity) = (capacity) == 0 ? 16 : (capacity)*2;                                                          \
            (delta)->field = mem_grow((delta)->field, (capacity), sizeof((delta)->field[0]));                          \
        }                                                                                                              \
        (delta)->field[(delta)->count_field++] = __VA_ARGS__;                                                          \
    } while (0)

struct delta_room {
    uint32_t topics, partitions, brokers, configs;
};

static void compare_topics(struct image_delta *delta, struct delta_room *room, const struct image_topic *before,
                           const struct image_topic *after)
{
    APPEND(delta, topics, topic_count, room->topics, (struct image_topic_change){before, after});
    uint32_t before_count = before == NULL ? 0 : before->partition_count;
    uint32_t after_count = after == NULL ? 0 : after->partition_count;
    uint32_t count = before_count > after_count ? before_count : after_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct image_partition *old_partition = i < before_count ? before->partitions[i] : NULL;
        const struct image_partition *new_partition = i < after_count ? after->partitions[i] : NULL;
        if (old_partition != new_partition) {
            APPEND(delta, partitions, partition_count, room->partitions,
                   (struct image_partition_change){after != NULL ? after : before, old_partition, new_partition});
        }
    }
}

static void walk_topics(struct image_delta *delta, struct delta_room *room, const struct image_topic_table *before,
                        const struct image_topic_table *after)
{
    if (before == after) {
        return;
    }
    uint32_t i = 0;
    uint32_t j = 0;
    uint32_t before_count = before == NULL ? 0 : before->count;
    while (i < before_count || j < after->count) {
        const struct image_topic *old_topic = i < before_count ? before->by_id[i] : NULL;
        const struct image_topic *new_topic = j < after->count ? after->by_id[j] : NULL;
        int order = old_topic == NULL ? 1 : new_topic == NULL ? -1 : image_compare_ids(old_topic->id, new_topic->id);
        if (order == 0) {
            if (old_topic != new_topic) {
                compare_topics(delta, room, old_topic, new_topic);
            }
            i++;
            j++;
        } else if (order < 0) {
            compare_topics(delta, room, old_topic, NULL);
            i++;
        } else {
            compare_topics(delta, room, NULL, new_topic);
            j++;
        }
    }
}

static void walk_brokers(struct image_delta *delta, struct delta_room *room, const struct image_broker_table *before,
                         const struct image_broker_table *after)
{
    if (before == after) {
        return;
    }
    uint32_t i = 0;
    uint32_t j = 0;
    uint32_t before_count = before == NULL ? 0 : before->count;
    while (i < before_count || j < after->count) {
        const struct image_broker *old_broker = i < before_count ? before->brokers[i] : NULL;
        const struct image_broker *new_broker = j < after->count ? after->brokers[j] : NULL;
        bool takes_old = old_broker != NULL && (new_broker == NULL || old_broker->id <= new_broker->id);
        bool takes_new = new_broker != NULL && (old_broker == NULL || new_broker->id <= old_broker->id);
        if (old_broker != new_broker) {
            APPEND(delta, brokers, broker_count, room->brokers,
                   (struct image_broker_change){takes_old ? old_broker : NULL, takes_new ? new_broker : NULL});
        }
        i += takes_old;
        j += takes_new;
    }
}

static void walk_configs(struct image_delta *delta, struct delta_room *room, const struct image_config_table *before,
                         const struct image_config_table *after)
{
    if (before == after) {
        return;
    }
    uint32_t i = 0;
    uint32_t j = 0;
    uint32_t before_count = before == NULL ? 0 : before->count;
    while (i < before_count || j < after->count) {
        const struct image_config *old_config = i < before_count ? before->configs[i] : NULL;
        const struct image_config *new_config = j < after->count ? after->configs[j] : NULL;
        int order = old_config == NULL   ? 1
                    : new_config == NULL ? -1
                                         : image_compare_configs(old_config->type, old_config->name, new_config);
        if (old_config != new_config) {
            APPEND(delta, configs, config_count, room->configs,
                   (struct image_config_change){order <= 0 ? old_config : NULL, order >= 0 ? new_config : NULL});
        }
        i += order <= 0;
        j += order >= 0;
    }
}

struct image_delta *image_delta_new(const struct image *before, const struct image *after)
{
    struct image_delta *delta = MEM_NEW(struct image_delta);
    struct delta_room room = {0};
    delta->before = before == NULL ? NULL : image_ref(before);
    delta->after = image_ref(after);
    walk_topics(delta, &room, before == NULL ? NULL : before->topics, after->topics);
    walk_brokers(delta, &room, before == NULL ? NULL : before->brokers, after->brokers);
    walk_configs(delta, &room, before == NULL ? NULL : before->configs, after->configs);
    delta->is_controller_changed = before == NULL || before->facts.controller_epoch != after->facts.controller_epoch ||
                                   before->facts.controller_id != after->facts.controller_id;
    return delta;
}

void image_delta_free(struct image_delta *delta)
{
    if (delta == NULL) {
        return;
    }
    mem_free(delta->topics);
    mem_free(delta->partitions);
    mem_free(delta->brokers);
    mem_free(delta->configs);
    image_unref(delta->before);
    image_unref(delta->after);
    mem_free(delta);
}

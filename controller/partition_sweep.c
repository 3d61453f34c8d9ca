#include "controller/partition_sweep.h"

#include "controller/config_control.h"

/* Of a group's record, its topic id and their lengths; and of one change's tag and length. */
#define GROUP_BYTES 48
#define CHANGE_BYTES 4

bool sweep_has_directory(const struct image_broker *broker, const struct image_partition *partition)
{
    struct uuid directory = image_partition_directory(partition, broker->id);
    for (uint32_t i = 0; i < broker->directory_count; i++) {
        if (uuid_equal(broker->directories[i], directory)) {
            return true;
        }
    }
    return false;
}

enum elect_fitness sweep_fitness_of(const void *ctx, const struct image_partition *partition, int32_t broker_id)
{
    const struct sweep_fitness *fitness = (const struct sweep_fitness *)ctx;
    const struct image_broker *broker = image_find_broker(fitness->image, broker_id);
    if (broker == NULL || !sweep_has_directory(broker, partition)) {
        return ELECT_UNFIT;
    }
    if (broker_id == fitness->broker_id) {
        return fitness->fitness;
    }
    if (broker->is_fenced) {
        return ELECT_UNFIT;
    }
    return broker->is_shutting_down ? ELECT_LEAVING : ELECT_FIT;
}

bool sweep_allows_unclean(const struct sweep_fitness *fitness, const struct image_topic *topic)
{
    return config_control_topic_is(fitness->image, topic->name, "unclean.leader.election.enable", "true",
                                   fitness->defaults->allows_unclean);
}

static int32_t min_isr_of(const struct decision *decision, const struct image_topic *topic)
{
    return (int32_t)config_control_topic_number(decision->image, topic->name, "min.insync.replicas",
                                                decision->defaults->min_insync_replicas);
}

void partition_sweep_draft(struct partition_draft *draft, const struct decision *decision,
                           const struct image_topic *topic, const struct image_partition *partition)
{
    partition_draft_init(draft, partition, min_isr_of(decision, topic));
}

bool partition_sweep_put(struct partition_sweep *sweep, struct partition_draft *draft, const struct image_topic *topic)
{
    struct meta_records *records = sweep->decision->records;
    if (sweep->changed_count == 0) {
        meta_records_seal(records);
    }
    size_t record_count = records->count;
    if (!partition_draft_commit(draft, records, topic->id)) {
        return false;
    }
    sweep->bytes += meta_last_change_bytes(records) + CHANGE_BYTES + (records->count > record_count ? GROUP_BYTES : 0);
    sweep->changed_count++;
    sweep->is_partial = sweep->bytes > (sweep->bytes_max == 0 ? SWEEP_BYTES_MAX : sweep->bytes_max);
    return true;
}

/* broker_id -1: all partitions. */
static void sweep_topic(struct partition_sweep *sweep, const struct image_topic *topic, int32_t broker_id)
{
    struct partition_draft draft;
    int32_t min_isr = -1; /* looked up once, and only for topics that are concerned */
    for (uint32_t i = 0; i < topic->partition_count && !sweep->is_partial; i++) {
        if (broker_id >= 0 && !image_partition_has_replica(topic->partitions[i], broker_id)) {
            continue;
        }
        if (min_isr < 0) {
            min_isr = min_isr_of(sweep->decision, topic);
        }
        partition_draft_init(&draft, topic->partitions[i], min_isr);
        sweep->visit(sweep->ctx, topic, &draft);
        (void)partition_sweep_put(sweep, &draft, topic);
    }
}

void partition_sweep_broker(struct partition_sweep *sweep, int32_t broker_id)
{
    const struct image *image = sweep->decision->image;
    CHECK(broker_id >= 0);
    for (uint32_t i = 0; i < image_topic_count(image) && !sweep->is_partial; i++) {
        sweep_topic(sweep, image_topic_at(image, i), broker_id);
    }
}

void partition_sweep_topic(struct partition_sweep *sweep, const struct image_topic *topic)
{
    sweep_topic(sweep, topic, -1);
}

void partition_sweep_all(struct partition_sweep *sweep)
{
    const struct image *image = sweep->decision->image;
    for (uint32_t i = 0; i < image_topic_count(image) && !sweep->is_partial; i++) {
        sweep_topic(sweep, image_topic_at(image, i), -1);
    }
}

#include "broker/replica/strays.h"

#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "common/seam/env.h"

struct stray_list {
    struct log_dir *dir;
    struct log_dir_partition *partitions;
    size_t count;
};

struct strays {
    struct env *env;
    struct stray_list *lists;
    size_t list_count;
};

struct strays *strays_find(struct log_dirs *dirs, struct env *env)
{
    struct strays *strays = MEM_NEW(struct strays);
    strays->env = env;
    strays->list_count = dirs->dir_count;
    strays->lists = mem_array(dirs->dir_count, sizeof(struct stray_list));
    for (size_t i = 0; i < dirs->dir_count; i++) {
        struct stray_list *list = &strays->lists[i];
        list->dir = dirs->dirs[i];
        enum err err = log_dir_list(list->dir, &list->partitions, &list->count);
        if (err == ERR_OK) {
            err = log_dir_remove_strays(list->dir, clock_wall_ms(env->clock) - STRAYS_KEPT_MS);
        }
        if (err != ERR_OK) {
            log_warn(env->logger, "replica", "strays_unknown", "path=%s error=\"%s\"", log_dir_path(list->dir),
                     err_text(err));
        }
    }
    return strays;
}

/* Whether a partition of this topic name and index belongs here, whatever its topic's id. */
static bool is_place_taken(const struct log_dir_partition *partition, const struct image *image, int32_t broker_id)
{
    const struct image_topic *topic = image_find_topic(image, span_text(partition->topic));
    const struct image_partition *placed = image_find_partition(topic, partition->partition_index);
    return placed != NULL && image_partition_has_replica(placed, broker_id);
}

size_t strays_set_aside(struct strays *strays, const struct image *image, int32_t broker_id)
{
    size_t count = 0;
    for (size_t l = 0; l < strays->list_count; l++) {
        const struct stray_list *list = &strays->lists[l];
        for (size_t i = 0; i < list->count; i++) {
            const struct log_dir_partition *partition = &list->partitions[i];
            if (is_place_taken(partition, image, broker_id)) {
                continue;
            }
            enum err err = log_dir_mark_stray(list->dir, partition->topic, partition->partition_index);
            count += err == ERR_OK ? 1 : 0;
            if (err != ERR_OK) {
                log_warn(strays->env->logger, "replica", "stray_stays", "topic=%s partition=%d error=\"%s\"",
                         partition->topic, (int)partition->partition_index, err_text(err));
            }
        }
    }
    return count;
}

void strays_free(struct strays *strays)
{
    if (strays == NULL) {
        return;
    }
    for (size_t i = 0; i < strays->list_count; i++) {
        if (strays->lists[i].partitions != NULL) {
            log_dir_partitions_free(strays->lists[i].partitions, strays->lists[i].count);
        }
    }
    mem_free(strays->lists);
    mem_free(strays);
}

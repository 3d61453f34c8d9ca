#include "broker/replica/partition_set.h"

#include "broker/broker.h"
#include "broker/replica/log_dirs.h"
#include "broker/replica/partition_open.h"
#include "broker/replica/topic_settings.h"
#include "broker/worker.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "proto/record/decompress.h"

#include <utlist.h>

struct partition *partition_set_find(struct partition_set *set, struct uuid topic_id, int32_t partition_index)
{
    struct partition_key key = {.topic_id = topic_id, .partition_index = partition_index};
    struct partition *partition = NULL;
    HASH_FIND(hh, set->by_key, &key, sizeof(key), partition);
    return partition;
}

/* ---- applying the metadata ---- */

/* Everything below the first partition that still opens is applied. */
void partition_set_report_applied(struct partition_set *set)
{
    int64_t offset = set->opening == NULL ? set->metadata_offset : set->opening->opening_offset - 1;
    if (offset > set->reported_offset) {
        set->reported_offset = offset;
        set->options.on_applied(set->options.ctx, set->worker, offset);
    }
}

static void partition_set_apply_partition(struct partition_set *set, const struct image_delta *delta,
                                          const struct image_partition_change *change)
{
    const struct image *image = delta->after;
    const struct image_partition *any = change->after != NULL ? change->after : change->before;
    struct uuid topic_id = change->topic->id;
    if (worker_of_partition(set->worker->broker, topic_id, any->partition_index) != set->worker) {
        return;
    }
    struct partition *partition = partition_set_find(set, topic_id, any->partition_index);
    bool is_ours = change->after != NULL && image_partition_has_replica(change->after, set->options.broker_id);
    if (is_ours && partition == NULL) {
        /* The first image tells of all there is, a later one of what was made while this node ran. */
        bool is_made_now = delta->before != NULL && change->before == NULL;
        partition_open(set, image, change->topic, change->after, is_made_now);
    } else if (is_ours) {
        partition_follow_metadata(partition, change->after);
    } else if (partition != NULL) {
        partition_remove(partition);
    }
}

static void partition_set_renew_settings(struct partition *partition, const struct image *image)
{
    topic_settings_resolve(image, span_text(partition->topic_name), partition->set->options.defaults,
                           &partition->settings);
    if (partition->log != NULL && !partition->is_busy) {
        partition_log_set_settings(partition->log, &partition->settings.log);
        partition_set_mark_dirty(partition->set, partition);
    }
    partition_count(partition);
}

static void partition_set_apply_config(struct partition_set *set, const struct image *image,
                                       const struct image_config_change *change)
{
    const struct image_config *any = change->after != NULL ? change->after : change->before;
    struct partition *partition = NULL;
    struct partition *next = NULL;
    if (any->type != IMAGE_CONFIG_TOPIC) {
        HASH_ITER (hh, set->by_key, partition, next) {
            partition_set_renew_settings(partition, image);
        }
        return;
    }
    const struct image_topic *topic = image_find_topic(image, any->name);
    for (uint32_t i = 0; topic != NULL && i < topic->partition_count; i++) {
        partition = partition_set_find(set, topic->id, topic->partitions[i]->partition_index);
        if (partition != NULL) {
            partition_set_renew_settings(partition, image);
        }
    }
}

/* Brokers came, went, or registered again: whose acknowledgements count, and who may be proposed. */
static void partition_set_refresh_leaders(struct partition_set *set)
{
    struct partition *partition = NULL;
    struct partition *next = NULL;
    HASH_ITER (hh, set->by_key, partition, next) {
        if (partition->replica_count > 1) {
            partition_lead_refresh(partition);
        }
    }
}

void partition_set_apply(struct partition_set *set, const struct image *image, const struct image_delta *delta)
{
    CHECK(image_offset(image) >= set->metadata_offset); /* never backwards (correctness.md 5) */
    set->metadata_offset = image_offset(image);
    if (set->is_stopping) {
        partition_set_report_applied(set); /* requests that wait for it hold the stop up */
        return;
    }
    for (uint32_t i = 0; i < delta->partition_count; i++) {
        partition_set_apply_partition(set, delta, &delta->partitions[i]);
    }
    for (uint32_t i = 0; i < delta->config_count; i++) {
        partition_set_apply_config(set, image, &delta->configs[i]);
    }
    if (delta->broker_count > 0) {
        partition_set_refresh_leaders(set);
    }
    partition_set_report_applied(set);
}

/* ---- the step ---- */

void partition_set_mark_dirty(struct partition_set *set, struct partition *partition)
{
    if (!set->is_checkpoint_due) {
        set->is_checkpoint_due = true;
        set->options.on_checkpoint_due(set->options.ctx, set->worker);
    }
    if (partition->is_dirty) {
        return;
    }
    partition->is_dirty = true;
    partition->next_dirty = NULL;
    if (set->dirty_last == NULL) {
        set->dirty_first = partition;
    } else {
        set->dirty_last->next_dirty = partition;
    }
    set->dirty_last = partition;
}

static struct partition *partition_set_take_dirty(struct partition_set *set)
{
    struct partition *partition = set->dirty_first;
    if (partition != NULL) {
        set->dirty_first = partition->next_dirty;
        if (set->dirty_first == NULL) {
            set->dirty_last = NULL;
        }
        partition->is_dirty = false;
    }
    return partition;
}

/* The replica was moved away and back while its log was closing. */
static void partition_set_open_again(struct partition_set *set, const struct partition_key *key, bool was_deleted)
{
    const struct image *image = set->worker->image;
    const struct image_topic *topic = image == NULL ? NULL : image_find_topic_id(image, key->topic_id);
    const struct image_partition *metadata = image_find_partition(topic, key->partition_index);
    if (metadata != NULL && image_partition_has_replica(metadata, set->options.broker_id)) {
        partition_open(set, image, topic, metadata, was_deleted);
    }
}

void partition_set_forget(struct partition_set *set, struct partition *partition)
{
    CHECK(partition->read_waiters == NULL && partition->counted_waiters == NULL &&
          partition->committed_waiters == NULL);
    struct partition *kept_first = NULL;
    struct partition *kept_last = NULL;
    for (struct partition *dirty = partition_set_take_dirty(set); dirty != NULL;
         dirty = partition_set_take_dirty(set)) {
        if (dirty == partition) {
            continue;
        }
        dirty->is_dirty = true;
        dirty->next_dirty = NULL;
        if (kept_last == NULL) {
            kept_first = dirty;
        } else {
            kept_last->next_dirty = dirty;
        }
        kept_last = dirty;
    }
    set->dirty_first = kept_first;
    set->dirty_last = kept_last;
    HASH_DEL(set->by_key, partition);
    CHECK(partition->cursors == NULL && !partition->is_watched && !partition->is_following);
    struct partition_key key = partition->key;
    bool was_deleted = partition->must_delete;
    partition_count_nothing(partition);
    refused_batches_done(&partition->refused);
    mem_free(partition->topic_name);
    mem_free(partition);
    if (!set->is_stopping) {
        partition_set_open_again(set, &key, was_deleted);
    } else if (set->by_key == NULL) {
        set->options.on_stopped(set->options.ctx, set->worker);
    }
}

void partition_set_step(struct partition_set *set)
{
    for (struct partition *partition = partition_set_take_dirty(set); partition != NULL;
         partition = partition_set_take_dirty(set)) {
        partition_advance(partition);
    }
    partition_set_send_proposals(set);
    for (size_t i = 0; i < set->log_dirs->dir_count; i++) {
        sync_group_step(set->sync_groups[i]);
    }
}

static void partition_set_on_synced(void *ctx, struct partition_log *log, void *owner)
{
    struct partition_set *set = ctx;
    struct partition *partition = owner;
    (void)log;
    partition_set_mark_dirty(set, partition);
}

/* ---- failures ---- */

void partition_set_dir_failed(struct partition_set *set, struct log_dir *dir)
{
    struct partition *partition = NULL;
    struct partition *next = NULL;
    HASH_ITER (hh, set->by_key, partition, next) {
        bool is_in_dir = partition->log != NULL && partition_log_dir(partition->log) == dir;
        if (is_in_dir && partition->state != PARTITION_OFFLINE && partition->state != PARTITION_CLOSING) {
            partition_set_state(partition, PARTITION_OFFLINE);
        }
    }
}

static void partition_set_on_sync_failed(void *ctx, struct log_dir *dir, enum err err)
{
    struct partition_set *set = ctx;
    (void)err; /* logged by log_dir_fail */
    partition_set_dir_failed(set, dir);
    set->options.on_dir_failed(set->options.ctx, set->worker, dir);
}

void partition_set_write_failed(struct partition_set *set, struct log_dir *dir)
{
    if (log_dir_is_failed(dir)) {
        partition_set_on_sync_failed(set, dir, ERR_IO);
    }
}

/* ---- maintenance ---- */

static void partition_set_maintain(struct loop_timer *timer)
{
    struct partition_set *set = CONTAINER_OF(timer, struct partition_set, maintain_timer);
    struct partition *partition = NULL;
    struct partition *next = NULL;
    HASH_ITER (hh, set->by_key, partition, next) {
        bool is_open = partition->state == PARTITION_LEADER || partition->state == PARTITION_FOLLOWER;
        if (is_open && !partition->is_busy) {
            partition_log_maintain(partition->log);
        }
    }
    loop_timer_set(set->worker->loop, timer, loop_now_us(set->worker->loop) + PARTITION_SET_MAINTAIN_US);
}

void partition_set_checkpoint_rows(struct partition_set *set, struct log_dir *dir, struct log_checkpoint *checkpoint)
{
    struct partition *partition = NULL;
    struct partition *next = NULL;
    HASH_ITER (hh, set->by_key, partition, next) {
        if (partition->dir != dir) {
            continue;
        }
        if (partition->log == NULL) {
            if (!partition->must_delete) {
                log_checkpoint_keep(checkpoint, partition->topic_name, partition->key.partition_index);
            }
            continue;
        }
        struct log_checkpoint_row row;
        partition_log_checkpoint(partition->log, &row);
        log_checkpoint_add(checkpoint, partition->topic_name, partition->key.partition_index, &row);
    }
}

/* ---- life ---- */

struct partition_set *partition_set_new(struct worker *worker, struct env *env, struct log_dirs *log_dirs,
                                        const struct partition_set_options *options)
{
    struct partition_set *set = MEM_NEW(struct partition_set);
    set->worker = worker;
    set->env = env;
    set->log_dirs = log_dirs;
    set->options = *options;
    set->decompressor = decompressor_new();
    file_cache_init(&set->files, env->fs, options->files_max);
    set->sync_groups = mem_array(log_dirs->dir_count, sizeof(struct sync_group *));
    struct sync_group_events events = {
        .on_synced = partition_set_on_synced, .on_failed = partition_set_on_sync_failed, .ctx = set};
    for (size_t i = 0; i < log_dirs->dir_count; i++) {
        set->sync_groups[i] = sync_group_new(worker->loop, log_dirs->dirs[i], &events);
    }
    set->maintain_timer.fire = partition_set_maintain;
    return set;
}

void partition_set_start(struct partition_set *set)
{
    loop_timer_set(set->worker->loop, &set->maintain_timer, loop_now_us(set->worker->loop) + PARTITION_SET_MAINTAIN_US);
}

void partition_set_free(struct partition_set *set)
{
    if (set == NULL) {
        return;
    }
    CHECK(set->by_key == NULL);
    for (size_t i = 0; i < set->log_dirs->dir_count; i++) {
        sync_group_free(set->sync_groups[i]);
    }
    mem_free(set->sync_groups);
    file_cache_done(&set->files);
    decompressor_free(set->decompressor);
    mem_free(set);
}

void partition_set_stop(struct partition_set *set)
{
    set->is_stopping = true;
    loop_timer_cancel(set->worker->loop, &set->maintain_timer);
    partition_set_stop_watching(set);
    if (set->by_key == NULL) {
        set->options.on_stopped(set->options.ctx, set->worker);
        return;
    }
    struct partition *partition = NULL;
    struct partition *next = NULL;
    HASH_ITER (hh, set->by_key, partition, next) {
        partition_close(partition);
    }
}

#include "broker/replica/partition_open.h"

#include "broker/replica/log_dirs.h"
#include "broker/replica/topic_settings.h"
#include "broker/worker.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/env.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

/* Runs in the pool; owns all that it needs but the partition, which it only carries back. */
struct partition_opening {
    struct loop_job job;
    struct partition *partition;
    struct log_dir *dir;
    char *topic_name;
    struct partition_log_id id;
    struct log_settings settings;
    bool is_made_now;
    bool may_rebuild;
    bool is_rebuilt;
    struct partition_log *log;
    enum err err;
    struct option_problem problem;
    struct option_problem rebuild_reason;
};

/* No longer what the node waits for before it says that this metadata is applied. */
static void partition_opened(struct partition *partition)
{
    struct partition_set *set = partition->set;
    if (partition->opening_offset >= 0) {
        /* The first of several has a next one: for the analyser, which does not know the list. */
        CHECK(partition != set->opening || partition->prev == partition || partition->next != NULL);
        DL_DELETE(set->opening, partition);
        partition->opening_offset = -1;
        partition_set_report_applied(set);
    }
}

/* The node says that the metadata at `offset` is applied only when this partition is open, and leads if it is to. */
static void partition_is_opening(struct partition *partition, int64_t offset)
{
    if (partition->opening_offset < 0) {
        partition->opening_offset = offset;
        DL_APPEND(partition->set->opening, partition);
    }
}

/* ---- leaving ---- */

static void partition_on_place_released(struct place_claim *claim)
{
    struct partition *partition = CONTAINER_OF(claim, struct partition, place);
    partition_set_forget(partition->set, partition);
}

/* Its log is closed or deleted, or there never was one. */
static void partition_end(struct partition *partition)
{
    if (partition->has_place) {
        place_claim_give(&partition->place, partition_on_place_released);
    } else {
        partition_set_forget(partition->set, partition);
    }
}

static void partition_on_log_gone(void *ctx, enum err err)
{
    struct partition *partition = ctx;
    if (err != ERR_OK) {
        log_error(partition->set->env->logger, "replica", "partition_close_failed",
                  "topic=%s partition=%" PRId32 " error=\"%s\"", partition->topic_name, partition->key.partition_index,
                  err_text(err));
    }
    partition->log = NULL;
    partition_end(partition);
}

/* The partition is CLOSING and no job holds it. */
static void partition_leave(struct partition *partition)
{
    partition_opened(partition);
    if (partition->log == NULL) {
        partition_end(partition);
    } else if (partition->must_delete) {
        partition_log_delete(partition->log, partition_on_log_gone, partition);
    } else {
        partition_log_close(partition->log, partition_on_log_gone, partition);
    }
}

static void partition_begin_leaving(struct partition *partition)
{
    if (partition->state == PARTITION_CLOSING) {
        return;
    }
    partition_set_state(partition, PARTITION_CLOSING);
    if (!partition->is_busy) {
        partition_leave(partition);
    }
}

void partition_remove(struct partition *partition)
{
    partition->must_delete = true;
    partition_begin_leaving(partition);
}

void partition_close(struct partition *partition)
{
    partition_begin_leaving(partition);
}

/* ---- roles ---- */

/* A job has ended: do what was asked meanwhile. True when the partition goes. */
static bool partition_end_busy(struct partition *partition)
{
    partition->is_busy = false;
    if (partition->state != PARTITION_CLOSING) {
        return false;
    }
    partition_leave(partition);
    return true;
}

static void partition_on_epoch_begun(void *ctx, enum err err);

/* The epoch and its start offset are on disk before the first append of the epoch (trap 1). */
static void partition_begin_epoch(struct partition *partition)
{
    partition->is_busy = true;
    partition_is_opening(partition, partition->set->metadata_offset); /* applied is what it leads by */
    partition_log_begin_epoch(partition->log, partition->wanted_leader_epoch, partition_on_epoch_begun, partition);
}

static void partition_lead(struct partition *partition)
{
    partition_set_leader_epoch(partition, partition->wanted_leader_epoch);
    if (partition->state == PARTITION_OPENING) {
        partition->high_watermark = partition_log_high_watermark(partition->log);
    }
    if (partition->state != PARTITION_LEADER) {
        partition_set_state(partition, PARTITION_LEADER);
    }
    partition_lead_begin(partition);
    partition_count(partition);
    partition_opened(partition);
}

static void partition_follow(struct partition *partition)
{
    partition_set_leader_epoch(partition, partition->wanted_leader_epoch);
    if (partition->state == PARTITION_OPENING) {
        partition->high_watermark = partition_log_high_watermark(partition->log);
    }
    if (partition->state != PARTITION_FOLLOWER) {
        partition_set_state(partition, PARTITION_FOLLOWER);
    }
    partition_follow_begin(partition);
    partition_opened(partition);
}

/* The log is open and no job holds it: the role that the metadata gives. */
static void partition_take_role(struct partition *partition)
{
    bool is_later = partition->wanted_leader_epoch > partition->leader_epoch;
    partition_log_set_settings(partition->log, &partition->settings.log);
    partition_set_mark_dirty(partition->set, partition);
    if (!partition->is_leader_wanted) {
        bool is_told = partition->state == PARTITION_FOLLOWER && !is_later &&
                       partition->is_following == (partition->leader_id >= 0);
        if (!is_told) {
            partition_follow(partition);
        }
    } else if (partition->state == PARTITION_LEADER && !is_later) {
        partition_lead_refresh(partition);
    } else {
        partition_begin_epoch(partition);
    }
}

void partition_role_job_done(struct partition *partition, enum err err)
{
    if (partition_end_busy(partition)) {
        return;
    }
    if (err != ERR_OK) {
        if (partition->state != PARTITION_OFFLINE) {
            partition_set_state(partition, PARTITION_OFFLINE);
        }
        partition_opened(partition);
        partition_set_write_failed(partition->set, partition_log_dir(partition->log));
        return;
    }
    if (partition->state == PARTITION_OFFLINE) {
        partition_opened(partition);
    } else {
        partition_take_role(partition);
    }
}

static void partition_on_epoch_begun(void *ctx, enum err err)
{
    struct partition *partition = ctx;
    bool is_begun = err == ERR_OK && partition->is_leader_wanted && partition->state != PARTITION_CLOSING &&
                    partition->state != PARTITION_OFFLINE &&
                    partition_log_last_epoch(partition->log) == partition->wanted_leader_epoch;
    if (!is_begun) {
        partition_role_job_done(partition, err); /* a later epoch, or another role, by now */
        return;
    }
    partition->is_busy = false;
    partition_lead(partition);
    partition_log_set_settings(partition->log, &partition->settings.log);
    partition_set_mark_dirty(partition->set, partition);
}

static void partition_set_membership(struct partition *partition, const struct image_partition *metadata)
{
    partition->partition_epoch = metadata->partition_epoch;
    partition->replica_count = (int32_t)metadata->replica_count;
    partition->isr_count = (int32_t)metadata->isr_count;
    partition->is_recovering = metadata->is_recovering;
    partition->wanted_leader_epoch = metadata->leader_epoch;
    bool is_leader_wanted = metadata->leader_id == partition->set->options.broker_id;
    if (is_leader_wanted && !partition->is_leader_wanted && partition->leader_id >= 0) {
        partition->took_over_us = loop_now_us(partition->set->worker->loop);
    }
    partition->leader_id = metadata->leader_id;
    partition->is_leader_wanted = is_leader_wanted;
}

/* At once, whatever job holds the log: who does not lead in the newest epoch answers nobody any more, and who follows somebody else by
 * now takes nothing from the old one (traps 4, 6). */
static void partition_leave_role(struct partition *partition)
{
    bool is_later = partition->wanted_leader_epoch > partition->leader_epoch;
    if (partition->state == PARTITION_LEADER && !partition->is_leader_wanted) {
        partition_set_state(partition, PARTITION_FOLLOWER);
    } else if (partition->state == PARTITION_LEADER && is_later) {
        partition_end_waiting(partition, ERROR_NOT_LEADER_OR_FOLLOWER);
    } else if (partition->state == PARTITION_FOLLOWER && (partition->is_leader_wanted || partition->leader_id < 0)) {
        partition_follow_end(partition);
    }
}

/* Nothing that was promised rests on this replica: it is in neither ISR nor ELR, and comes back into them only by what it acknowledges
 * itself. Somebody else leads, so there is whom to learn from. */
static bool partition_may_rebuild(const struct partition *partition, const struct image_partition *metadata)
{
    int32_t broker_id = partition->set->options.broker_id;
    bool is_in_elr = false;
    for (uint32_t i = 0; i < metadata->elr_count; i++) {
        is_in_elr = is_in_elr || metadata->elr[i] == broker_id;
    }
    return metadata->leader_id >= 0 && metadata->leader_id != broker_id && !is_in_elr &&
           !image_partition_in_isr(metadata, broker_id);
}

void partition_follow_metadata(struct partition *partition, const struct image_partition *metadata)
{
    int32_t isr_count = partition->isr_count;
    partition_set_membership(partition, metadata);
    if (partition->state == PARTITION_OFFLINE && partition->is_damaged && partition_may_rebuild(partition, metadata)) {
        partition_close(partition); /* and open it once more (partition_set_forget), which rebuilds it */
        return;
    }
    if (partition->log == NULL || partition->state == PARTITION_OFFLINE || partition->state == PARTITION_CLOSING) {
        return;
    }
    bool was_leading = partition->state == PARTITION_LEADER;
    partition_leave_role(partition);
    partition_count(partition);
    if (was_leading && partition_is_leading(partition)) {
        partition_count_isr(partition, isr_count);
    }
    if (!partition->is_busy) {
        partition_take_role(partition);
    }
}

/* ---- opening ---- */

/* An empty log in place of a lost one would make acknowledged records vanish without a word (R9, trap 16). */
static bool partition_opening_is_lost(struct partition_opening *opening)
{
    struct log_checkpoint_row row;
    log_dir_checkpoint_row(opening->dir, opening->id.topic, opening->id.partition_index, &row);
    int64_t held_offset =
        row.recovery_point_offset > row.high_watermark ? row.recovery_point_offset : row.high_watermark;
    if (opening->is_made_now || held_offset <= 0) {
        return false; /* a row that is there belongs to an older topic of the name */
    }
    (void)snprintf(opening->problem.text, sizeof(opening->problem.text),
                   "the directory of %s-%" PRId32 " is missing in %s although it held records up to offset %" PRId64
                   "; put it back and start again, or delete the topic",
                   opening->id.topic, opening->id.partition_index, log_dir_path(opening->dir), held_offset);
    return true;
}

/* The place is claimed: what lies there under another topic id belongs to no partition of this process. A damaged log is set aside for
 * whoever wants to look at it, and the replica begins anew, if that is safe (R10). */
static void partition_opening_work(struct loop_job *job)
{
    struct partition_opening *opening = CONTAINER_OF(job, struct partition_opening, job);
    opening->err = partition_log_open(opening->dir, &opening->id, &opening->settings, &opening->log, &opening->problem);
    bool is_damaged = opening->err == ERR_CORRUPT;
    if (opening->err == ERR_STALE || (is_damaged && opening->may_rebuild)) {
        /* Another topic's: left behind by a stop or a crash before its removal. Set aside, never overwritten. */
        opening->err = log_dir_mark_stray(opening->dir, opening->id.topic, opening->id.partition_index);
        if (opening->err != ERR_OK) {
            return; /* the problem is partition_log_open's */
        }
        opening->is_rebuilt = is_damaged;
    } else if (opening->err != ERR_NOT_FOUND) {
        return;
    } else if (partition_opening_is_lost(opening)) {
        opening->is_rebuilt = opening->may_rebuild;
        opening->err = ERR_CORRUPT;
        if (!opening->may_rebuild) {
            return;
        }
    }
    if (opening->is_rebuilt) {
        opening->rebuild_reason = opening->problem;
    }
    opening->err =
        partition_log_create(opening->dir, &opening->id, &opening->settings, &opening->log, &opening->problem);
}

static size_t partition_dir_index(const struct partition_set *set, const struct log_dir *dir)
{
    for (size_t i = 0; i < set->log_dirs->dir_count; i++) {
        if (set->log_dirs->dirs[i] == dir) {
            return i;
        }
    }
    UNREACHABLE();
}

static void partition_open_failed(struct partition *partition, const struct option_problem *problem)
{
    log_error(partition->set->env->logger, "replica", "partition_offline",
              "topic=%s partition=%" PRId32 " reason=\"%s\"", partition->topic_name, partition->key.partition_index,
              problem->text);
    if (!partition_end_busy(partition)) {
        partition_set_state(partition, PARTITION_OFFLINE);
        partition_opened(partition);
    }
}

/* A disk that can't be written fails as a whole, as after a failed append: the node ends when it has no other, and comes back with the
 * disk. A damaged log is one replica's own trouble. */
static void partition_opening_blame_disk(struct partition_set *set, const struct partition_opening *opening)
{
    bool is_disk = opening->err == ERR_IO || opening->err == ERR_NO_SPACE || opening->err == ERR_PERMISSION;
    if (is_disk && !log_dir_is_failed(opening->dir)) {
        log_dir_fail(opening->dir, "open a partition", opening->err);
    }
    partition_set_write_failed(set, opening->dir);
}

static void partition_opening_done(struct loop_job *job)
{
    struct partition_opening *opening = CONTAINER_OF(job, struct partition_opening, job);
    struct partition *partition = opening->partition;
    struct partition_set *set = partition->set;
    if (opening->err != ERR_OK) {
        partition->is_damaged = opening->err == ERR_CORRUPT;
        partition_open_failed(partition, &opening->problem);
        partition_opening_blame_disk(set, opening);
    } else {
        if (opening->is_rebuilt) {
            log_warn(set->env->logger, "replica", "rebuilt_from_nothing",
                     "topic=%s partition=%" PRId32 " leader=%" PRId32 " reason=\"%s\"", partition->topic_name,
                     partition->key.partition_index, partition->leader_id, opening->rebuild_reason.text);
        }
        partition->log = opening->log;
        struct sync_group *group = set->sync_groups[partition_dir_index(set, opening->dir)];
        partition_log_attach(partition->log, set->worker->loop, &set->files, group, partition);
        partition_role_job_done(partition, ERR_OK);
    }
    mem_free(opening->topic_name);
    mem_free(opening);
}

static void partition_on_place_granted(struct place_claim *claim)
{
    struct partition *partition = CONTAINER_OF(claim, struct partition, place);
    struct partition_opening *opening = partition->opening;
    partition->opening = NULL;
    loop_submit(partition->set->worker->loop, &opening->job);
}

static void partition_claim_place(struct partition *partition, const struct partition_opening *opening)
{
    struct partition_set *set = partition->set;
    char *path =
        mem_format("%s/%s-%" PRId32, log_dir_path(opening->dir), opening->id.topic, opening->id.partition_index);
    partition->has_place = true;
    place_claim_take(set->options.places, &partition->place, set->worker->loop, path, partition_on_place_granted);
    mem_free(path);
}

void partition_open(struct partition_set *set, const struct image *image, const struct image_topic *topic,
                    const struct image_partition *metadata, bool is_made_now)
{
    struct partition *partition = MEM_NEW(struct partition);
    partition->key.topic_id = topic->id;
    partition->key.partition_index = metadata->partition_index;
    partition->set = set;
    partition->topic_name = mem_strdup((const char *)topic->name.data);
    partition->state = PARTITION_OPENING;
    partition->leader_id = IMAGE_NO_LEADER;
    partition->leader_epoch = -1;
    partition->news_end = -1;
    partition_set_membership(partition, metadata);
    topic_settings_resolve(image, topic->name, set->options.defaults, &partition->settings);
    HASH_ADD(hh, set->by_key, key, sizeof(partition->key), partition);
    partition->opening_offset = -1;
    partition_is_opening(partition, image_offset(image));
    partition->is_busy = true;

    struct partition_opening *opening = MEM_NEW(struct partition_opening);
    opening->partition = partition;
    opening->topic_name = mem_strdup(partition->topic_name);
    opening->id = (struct partition_log_id){
        .topic = opening->topic_name, .partition_index = metadata->partition_index, .topic_id = topic->id};
    opening->settings = partition->settings.log;
    opening->is_made_now = is_made_now;
    opening->may_rebuild = partition_may_rebuild(partition, metadata);
    opening->job.work = partition_opening_work;
    opening->job.done = partition_opening_done;
    opening->dir = log_dirs_find(set->log_dirs, image_partition_directory(metadata, set->options.broker_id));
    partition->dir = opening->dir;
    if (opening->dir == NULL) {
        struct option_problem problem = {
            .text =
                "the metadata places this replica in a log directory that this node does not have (any more); put it "
                "back into log.dirs"};
        partition_open_failed(partition, &problem);
        mem_free(opening->topic_name);
        mem_free(opening);
        return;
    }
    partition->opening = opening;
    partition_claim_place(partition, opening);
}

/* The owner's side of a fetch: check, plan, read without blocking or in the pool, wait. */
#include "broker/api/fetch.h"
#include "broker/replica/partition_set.h"
#include "broker/worker.h"
#include "common/check.h"

void fetch_part_drop(struct fetch_part *part)
{
    if (part->has_read) {
        log_read_done(&part->read);
        part->has_read = false;
    }
}

static void fetch_part_fail(struct fetch_part *part, enum error_code error)
{
    fetch_part_drop(part);
    part->error = error;
}

/* In a fetch every negative epoch means "none". */
static enum error_code fetch_part_check_leader(const struct fetch_part *part, const struct partition *partition)
{
    int32_t epoch = part->wish.current_leader_epoch;
    return partition_check_leader(partition, epoch < 0 ? -1 : epoch);
}

static void fetch_part_news_on_home(struct loop_task *task)
{
    fetch_on_news(CONTAINER_OF(task, struct fetch_part, news_task));
}

static void fetch_part_woken(struct partition_waiter *waiter)
{
    struct fetch_part *part = CONTAINER_OF(waiter, struct fetch_part, waiter);
    part->news_task.run = fetch_part_news_on_home;
    /* Posted also to the own loop: the fetch may end with it, which nobody expects in the middle of the step. */
    loop_post(part->fetch->home->loop, &part->news_task);
}

static bool fetch_part_wants_more(const struct fetch_part *part)
{
    const struct fetch *fetch = part->fetch;
    return part->may_wait && part->error == ERROR_NONE && part->diverging_epoch < 0 &&
           (int64_t)fetch_part_bytes(part) < fetch->message->min_bytes;
}

/* Too little so far: hear of more. Only the waiter stays behind, so the owner must still have the partition. */
static void fetch_part_leave_waiter(struct fetch_part *part, struct partition *partition)
{
    if (fetch_part_wants_more(part)) {
        part->waiter.wake = fetch_part_woken;
        partition_wait(partition, &part->waiter);
        part->leaves_waiter = true;
    }
}

static enum error_code fetch_read_error(enum err err)
{
    switch ((int)err) {
    case ERR_OK:
        return ERROR_NONE;
    case ERR_OUT_OF_RANGE:
        return ERROR_OFFSET_OUT_OF_RANGE;
    case ERR_CORRUPT:
    case ERR_MALFORMED:
        return ERROR_CORRUPT_MESSAGE;
    default:
        return ERROR_KAFKA_STORAGE_ERROR;
    }
}

static void fetch_part_read_in_pool(struct loop_job *job)
{
    struct fetch_part *part = CONTAINER_OF(job, struct fetch_part, read_job);
    enum err err = log_read_run(&part->read);
    part->error = fetch_read_error(err);
}

static void fetch_part_read_done(struct loop_job *job)
{
    struct fetch_part *part = CONTAINER_OF(job, struct fetch_part, read_job);
    if (part->error != ERROR_NONE) {
        fetch_part_drop(part);
    }
    /* The partition may have gone while the pool was reading, or be going: nobody would wake a waiter that came now. */
    struct partition *partition =
        partition_set_find(part->part.owner->partitions, part->part.topic_id, part->part.partition_index);
    bool is_led = partition != NULL && fetch_part_check_leader(part, partition) == ERROR_NONE;
    if (is_led && fetch_part_wants_more(part) &&
        partition_read_end(partition, part->fetch->is_read_committed) != part->read.request.end_offset) {
        fetch_part_run(&part->part, partition); /* there is more by now, and its wake-up has passed */
        return;
    }
    if (is_led) {
        fetch_part_leave_waiter(part, partition);
    }
    scatter_part_done(&part->part);
}

/* The consumer's last record was written in another history: tell where the histories part (KIP-595). */
static enum error_code fetch_part_check_divergence(struct fetch_part *part, const struct partition *partition)
{
    if (part->wish.last_fetched_epoch < 0) {
        return ERROR_NONE;
    }
    int32_t epoch = LOG_NO_EPOCH;
    int64_t end_offset = LOG_NO_OFFSET;
    partition_log_end_offset_for_epoch(partition->log, part->wish.last_fetched_epoch, &epoch, &end_offset);
    if (epoch == LOG_NO_EPOCH || end_offset == LOG_NO_OFFSET) {
        return ERROR_OFFSET_OUT_OF_RANGE;
    }
    if (epoch < part->wish.last_fetched_epoch || end_offset < part->wish.fetch_offset) {
        part->diverging_epoch = epoch;
        part->diverging_end_offset = end_offset;
    }
    return ERROR_NONE;
}

/* Fills what the answer says of the partition itself. */
static enum error_code fetch_part_check(struct fetch_part *part, const struct partition *partition)
{
    if (partition == NULL) {
        return ERROR_NOT_LEADER_OR_FOLLOWER;
    }
    enum error_code error = fetch_part_check_leader(part, partition);
    if (error != ERROR_NONE) {
        return error;
    }
    part->high_watermark = partition->high_watermark;
    part->last_stable_offset = partition_log_last_stable_offset(partition->log);
    part->log_start_offset = partition_log_start_offset(partition->log);
    return fetch_part_check_divergence(part, partition);
}

static enum err fetch_part_read(struct fetch_part *part, struct partition *partition)
{
    struct fetch *fetch = part->fetch;
    int64_t bytes_max = part->wish.bytes_max < fetch->bytes_max ? part->wish.bytes_max : fetch->bytes_max;
    struct log_read_request request = {
        .offset = part->wish.fetch_offset,
        .end_offset = partition_read_end(partition, fetch->is_read_committed),
        .max_bytes = bytes_max < 0 ? 0 : (size_t)bytes_max,
        .wants_one = true,
        .wants_aborted = fetch->is_read_committed,
    };
    enum err err = log_read_plan(partition->log, &request, &part->read);
    if (err != ERR_OK) {
        return err;
    }
    part->has_read = true;
    return log_read_try(&part->read);
}

void fetch_part_run(struct scatter_part *scatter_part, struct partition *partition)
{
    struct fetch_part *part = CONTAINER_OF(scatter_part, struct fetch_part, part);
    if (partition != NULL) {
        partition_wait_cancel(partition, &part->waiter);
    }
    fetch_part_drop(part);
    part->leaves_waiter = false;
    part->diverging_epoch = -1;
    part->high_watermark = -1;
    part->last_stable_offset = -1;
    part->log_start_offset = -1;
    part->error = fetch_part_check(part, partition);
    if (part->error == ERROR_NONE && part->diverging_epoch < 0) {
        enum err err = fetch_part_read(part, partition);
        if (err == ERR_WOULD_BLOCK) {
            part->read_job.work = fetch_part_read_in_pool;
            part->read_job.done = fetch_part_read_done;
            loop_submit(part->part.owner->loop, &part->read_job);
            return;
        }
        if (err != ERR_OK) {
            fetch_part_fail(part, fetch_read_error(err));
        }
    }
    fetch_part_leave_waiter(part, partition);
    scatter_part_done(scatter_part);
}

static void fetch_part_cancelled(struct loop_task *task)
{
    scatter_part_done(CONTAINER_OF(task, struct scatter_part, task));
}

void fetch_part_cancel(struct scatter_part *scatter_part, struct partition *partition)
{
    struct fetch_part *part = CONTAINER_OF(scatter_part, struct fetch_part, part);
    bool was_waiting = part->waiter.is_waiting;
    if (partition != NULL) {
        partition_wait_cancel(partition, &part->waiter);
    }
    /* A partition that has gone has woken its waiters before it went. */
    CHECK(!part->waiter.is_waiting);
    if (!was_waiting && part->part.owner == part->part.scatter->home) {
        /* Its news is queued on this very loop: the fetch must not end before. From another owner the way back is the same
         * queue, behind the news. */
        part->part.task.run = fetch_part_cancelled;
        loop_post(part->part.owner->loop, &part->part.task);
        return;
    }
    scatter_part_done(scatter_part);
}

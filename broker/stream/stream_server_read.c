/* Where the next bytes of a subscription are: tried without blocking, else by a pool job, as a fetch does (broker/api/fetch_part.c).
 *
 * A follower whose end lies below the log start begins anew. It must begin at the base of a batch: DeleteRecords may leave the log start inside
 * one, and a batch goes whole. So the batch that holds the log start is looked for before the follower is answered; when the
 * follower is empty and its end is already that base (it has begun anew just now), its data follows. Whatever else it has up there is
 * older than the log start, and may be of another history, whose batches end elsewhere: it drops that first. */
#include "broker/stream/stream_server_private.h"
#include "common/mem.h"

#include <inttypes.h>

static enum error_code stream_read_error(enum err err)
{
    switch ((int)err) {
    case ERR_OUT_OF_RANGE:
        return ERROR_OFFSET_OUT_OF_RANGE; /* retention was faster */
    case ERR_CORRUPT:
    case ERR_MALFORMED:
        return ERROR_CORRUPT_MESSAGE;
    case ERR_CLOSED:
        return ERROR_NOT_LEADER_OR_FOLLOWER;
    default:
        return ERROR_KAFKA_STORAGE_ERROR;
    }
}

static enum stream_found stream_sub_fail(struct stream_sub *sub, enum err err)
{
    struct stream_server *server = sub->server;
    const struct partition *partition = sub->cursor.partition;
    logger_limited(server->logger, &server->line_limit, LOG_WARN, "stream", "read_failed",
                   "partition=%s-%" PRId32 " follower=%d offset=%" PRId64 " err=%s", partition->topic_name,
                   partition->key.partition_index, sub->cursor.broker_id, sub->next_offset, err_name(err));
    stream_sub_end(sub, stream_read_error(err));
    return STREAM_ENDED;
}

/* ---- the pool ---- */

static void stream_read_work(struct loop_job *job)
{
    struct stream_sub *sub = CONTAINER_OF(job, struct stream_sub, job);
    sub->read_err = log_read_run(&sub->read);
}

static void stream_read_done(struct loop_job *job)
{
    struct stream_sub *sub = CONTAINER_OF(job, struct stream_sub, job);
    struct stream_server *server = sub->server;
    struct stream_server_link *link = sub->link;
    server->read_count--;
    if (link == NULL) { /* ended meanwhile */
        log_read_done(&sub->read);
        mem_free(sub);
        stream_server_check_stopped(server);
        return;
    }
    link->read_count--;
    stream_sub_set_place(sub, STREAM_READY);
    stream_server_activate(link);
    if (sub->read_err == ERR_OK) {
        sub->has_read = true;
        return;
    }
    log_read_done(&sub->read);
    (void)stream_sub_fail(sub, sub->read_err);
}

static enum err stream_sub_plan(struct stream_sub *sub, size_t bytes_max, bool wants_one)
{
    struct partition_log *log = sub->cursor.partition->log;
    struct log_read_request request = {
        .offset = sub->is_anew ? partition_log_start_offset(log) : sub->next_offset,
        .end_offset = partition_log_end_offset(log),
        .max_bytes = bytes_max,
        .wants_one = wants_one,
        .is_hot = sub->news_step == sub->server->step_number,
    };
    return log_read_plan(log, &request, &sub->read);
}

static enum stream_found stream_sub_submit(struct stream_sub *sub)
{
    log_read_done(&sub->read);
    if (sub->link->read_count >= STREAM_READS_MAX) {
        return STREAM_LATER;
    }
    enum err err = stream_sub_plan(sub, STREAM_FRAME_BYTES, true); /* worth the way, however full this frame is */
    if (err != ERR_OK) {
        return stream_sub_fail(sub, err);
    }
    sub->link->read_count++;
    sub->server->read_count++;
    stream_sub_set_place(sub, STREAM_READING);
    sub->job.work = stream_read_work;
    sub->job.done = stream_read_done;
    loop_submit(sub->server->worker->loop, &sub->job);
    return STREAM_IN_POOL;
}

/* ---- beginning anew ---- */

static enum stream_found stream_sub_answer_anew(struct stream_sub *sub)
{
    const struct partition *partition = sub->cursor.partition;
    bool is_empty = sub->read.slice.bytes == 0;
    int64_t base_offset = is_empty ? partition_log_start_offset(partition->log) : sub->read.slice.first_offset;
    struct stream_server_link *link = sub->link;
    Node__ReplicaAnswer *answer = stream_server_add_answer(link, sub->handle);
    answer->leader_epoch = sub->leader_epoch;
    answer->high_watermark = partition->high_watermark;
    answer->log_start_offset = base_offset;
    /* Nothing tells the histories apart below the log start: as if the leader knew none of the follower's epochs. */
    answer->is_diverging = sub->next_offset >= base_offset && !(sub->next_offset == base_offset && sub->is_empty);
    if (sub->next_offset < base_offset || answer->is_diverging) {
        answer->diverging_epoch = LOG_NO_EPOCH;
        answer->diverging_end_offset = LOG_NO_OFFSET;
        stream_sub_drop(sub); /* it comes again with a log that begins there */
        return STREAM_ENDED;
    }
    sub->is_anew = false;
    sub->next_offset = partition_log_start_offset(partition->log);
    answer->lag_bytes = stream_sub_lag_bytes(sub);
    log_read_done(&sub->read);
    sub->has_read = false;
    return STREAM_NO_ROOM; /* its answer leaves before its data */
}

/* ---- the next bytes ---- */

static enum stream_found stream_sub_read(struct stream_sub *sub, size_t room_bytes, bool is_first)
{
    if (!sub->is_anew && sub->next_offset >= partition_log_end_offset(sub->cursor.partition->log)) {
        return STREAM_NOTHING;
    }
    enum err err = stream_sub_plan(sub, room_bytes, is_first);
    if (err != ERR_OK) {
        return stream_sub_fail(sub, err);
    }
    err = log_read_try(&sub->read);
    if (err == ERR_WOULD_BLOCK) {
        return stream_sub_submit(sub);
    }
    if (err != ERR_OK) {
        log_read_done(&sub->read);
        return stream_sub_fail(sub, err);
    }
    sub->has_read = true;
    return STREAM_FOUND;
}

enum stream_found stream_sub_find(struct stream_sub *sub, size_t room_bytes, bool is_first)
{
    if (sub->rest_bytes > 0) {
        return is_first ? STREAM_FOUND : STREAM_NO_ROOM; /* pieces of a large batch go alone */
    }
    for (;;) {
        enum stream_found found = sub->has_read ? STREAM_FOUND : stream_sub_read(sub, room_bytes, is_first);
        if (found != STREAM_FOUND) {
            return found;
        }
        if (sub->is_anew) {
            return stream_sub_answer_anew(sub);
        }
        const struct log_slice *slice = &sub->read.slice;
        if (slice->bytes > 0) {
            return is_first || slice->bytes <= room_bytes ? STREAM_FOUND : STREAM_NO_ROOM;
        }
        int64_t next_offset = slice->next_offset;
        log_read_done(&sub->read);
        sub->has_read = false;
        if (next_offset <= sub->next_offset) {
            return STREAM_NO_ROOM; /* the first batch is larger than what is left of the frame */
        }
        sub->next_offset = next_offset; /* compacted away up to there */
    }
}

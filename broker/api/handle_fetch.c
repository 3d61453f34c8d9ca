/* Fetch, the home worker's side: rounds, waiting, the end. See fetch.h for the whole course. */
#include "broker/api/fetch.h"
#include "broker/api/handlers.h"
#include "broker/broker.h"
#include "broker/broker_metrics.h"
#include "broker/worker.h"
#include "common/check.h"

static void fetch_round_gathered(struct scatter *scatter);

/* Runs on the request's own worker. */
static void fetch_reply(struct loop_task *task)
{
    struct fetch *fetch = CONTAINER_OF(task, struct fetch, move_task);
    request_reply(fetch->request, &fetch->response);
}

static void fetch_move(struct fetch *fetch, struct worker *from, struct worker *to, void (*run)(struct loop_task *task))
{
    fetch->move_task.run = run;
    if (from == to) {
        run(&fetch->move_task);
    } else {
        loop_post(to->loop, &fetch->move_task);
    }
}

static void fetch_close_without_memory(struct loop_task *task)
{
    struct fetch *fetch = CONTAINER_OF(task, struct fetch, move_task);
    request_close_connection(fetch->request, "the fetch request needs more memory than one request may use");
}

static void fetch_give_up(struct fetch *fetch)
{
    for (size_t i = 0; i < fetch->part_count; i++) {
        fetch_part_drop(&fetch->parts[i]);
    }
    fetch_move(fetch, fetch->home, fetch->request->worker, fetch_close_without_memory);
}

static void fetch_finish(struct fetch *fetch)
{
    loop_timer_cancel(fetch->home->loop, &fetch->timer);
    if (!fetch_answer(fetch)) {
        fetch_give_up(fetch);
        return;
    }
    for (size_t i = 0; i < fetch->part_count; i++) {
        fetch_part_drop(&fetch->parts[i]);
    }
    fetch_move(fetch, fetch->home, fetch->request->worker, fetch_reply);
}

/* Everything is read that will be: take the waiters back, then answer. */
static void fetch_cancel_waiters(struct fetch *fetch)
{
    fetch->phase = FETCH_CANCELLING;
    scatter_begin(&fetch->scatter, fetch->home, fetch_round_gathered);
    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        if (part->is_waiting) {
            part->is_waiting = false;
            scatter_send(&fetch->scatter, &part->part, part->part.topic_id, part->part.partition_index,
                         fetch_part_cancel);
        }
    }
    scatter_end(&fetch->scatter);
}

/* Enough bytes, or something that the client should hear at once. */
static bool fetch_is_satisfied(const struct fetch *fetch)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < fetch->part_count; i++) {
        const struct fetch_part *part = &fetch->parts[i];
        if (part->error != ERROR_NONE || part->diverging_epoch >= 0) {
            return true;
        }
        bytes += (int64_t)fetch_part_bytes(part);
    }
    return bytes >= fetch->message->min_bytes || bytes >= fetch->bytes_max;
}

static void fetch_read_round(struct fetch *fetch)
{
    fetch->phase = FETCH_READING;
    scatter_begin(&fetch->scatter, fetch->home, fetch_round_gathered);
    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        if (part->news == FETCH_NEWS_UNREAD) {
            part->news = FETCH_NEWS_NONE;
            part->may_wait = fetch->may_wait;
            scatter_send(&fetch->scatter, &part->part, part->part.topic_id, part->part.partition_index, fetch_part_run);
        }
    }
    scatter_end(&fetch->scatter);
}

static void fetch_after_reading(struct fetch *fetch)
{
    bool has_news = false;
    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        if (part->leaves_waiter) {
            part->leaves_waiter = false;
            part->is_waiting = true;
        }
        has_news = has_news || part->news == FETCH_NEWS_UNREAD;
    }
    if (!fetch->may_wait || fetch->part_count == 0 || fetch_is_satisfied(fetch)) {
        fetch_cancel_waiters(fetch);
    } else if (has_news) {
        fetch_read_round(fetch);
    } else {
        fetch->phase = FETCH_WAITING;
    }
}

static void fetch_round_gathered(struct scatter *scatter)
{
    struct fetch *fetch = CONTAINER_OF(scatter, struct fetch, scatter);
    if (fetch->phase == FETCH_CANCELLING) {
        fetch_finish(fetch);
    } else {
        fetch_after_reading(fetch);
    }
}

void fetch_on_news(struct fetch_part *part)
{
    struct fetch *fetch = part->fetch;
    part->is_waiting = false;
    if (fetch->phase == FETCH_CANCELLING) {
        return; /* what was read is the answer already */
    }
    part->news = FETCH_NEWS_UNREAD;
    if (fetch->phase == FETCH_WAITING) {
        fetch_read_round(fetch);
    }
}

static void fetch_deadline(struct loop_timer *timer)
{
    struct fetch *fetch = CONTAINER_OF(timer, struct fetch, timer);
    fetch->may_wait = false;
    if (fetch->phase == FETCH_WAITING) {
        fetch_cancel_waiters(fetch);
    }
}

/* Nobody waits for the answer any more, so what it holds should not wait either. A session of another worker is left to its
 * deadline: only that worker may end it, and the answer could be under way already. */
static void fetch_abandoned(struct request *request)
{
    struct fetch *fetch = request->handler_state;
    if (fetch->home == request->worker && fetch->may_wait) {
        loop_timer_cancel(fetch->home->loop, &fetch->timer);
        fetch_deadline(&fetch->timer);
    }
}

static void fetch_begin(struct loop_task *task)
{
    struct fetch *fetch = CONTAINER_OF(task, struct fetch, move_task);
    if (!fetch_plan(fetch)) {
        fetch_give_up(fetch);
        return;
    }
    if (fetch->error != ERROR_NONE) {
        fetch_finish(fetch);
        return;
    }
    size_t held_bytes = fetch->request->frame->bytes + fetch->request->arena.used_bytes;
    int32_t wait_ms_max = held_bytes > FETCH_LARGE_BYTES ? FETCH_LARGE_WAIT_MS_MAX : FETCH_WAIT_MS_MAX;
    int32_t wait_ms = fetch->message->max_wait_ms > wait_ms_max ? wait_ms_max : fetch->message->max_wait_ms;
    fetch->may_wait = wait_ms > 0 && fetch->message->min_bytes > 0;
    fetch->timer.fire = fetch_deadline;
    if (fetch->may_wait) {
        loop_timer_set(fetch->home->loop, &fetch->timer, loop_now_us(fetch->home->loop) + (uint64_t)wait_ms * 1000);
    }
    fetch_read_round(fetch);
}

void handle_fetch(struct request *request)
{
    struct fetch *fetch = arena_alloc(&request->arena, sizeof(*fetch));
    if (fetch == NULL) {
        request_close_connection(request, "the fetch request needs more memory than one request may use");
        return;
    }
    struct broker *broker = request->worker->broker;
    fetch->request = request;
    fetch->message = request->message;
    fetch->is_read_committed = fetch->message->isolation_level != 0;
    fetch->bytes_max = fetch->message->max_bytes < broker->options->fetch_max_bytes ? fetch->message->max_bytes
                                                                                    : broker->options->fetch_max_bytes;
    /* A session lives on one worker; its requests run there, whichever connection they come from. */
    fetch->home = fetch->message->session_id > FETCH_SESSION_NONE
                      ? broker->workers[(unsigned)fetch->message->session_id % broker->worker_count]
                      : request->worker;
    request->handler_state = fetch;
    request->on_abandoned = fetch_abandoned;
    fetch_move(fetch, request->worker, fetch->home, fetch_begin);
}

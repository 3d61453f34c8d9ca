/* The order of an iteration is the contract of common/seam/loop.h:
 *
 *     wait -> socket callbacks (libevent) -> posted tasks and ended jobs -> due timers -> deferred tasks -> step
 *
 * Sleeping and waking. `posted` is the head of a list that posters push to; it holds one of
 *     NULL           the loop is awake and will look before it sleeps: push, no wake
 *     SLEEPING       the loop is (about to be) in epoll_wait: push, and write the wake descriptor
 *     a task         somebody pushed before and has woken the loop if that was needed: push, no wake
 * Before it sleeps the loop moves NULL -> SLEEPING by compare-and-swap; when that fails, tasks have arrived and it
 * polls instead. The list is last in first out; the loop takes it whole and reverses it, so tasks of one poster run
 * in order.
 */
#include "common/posix/posix_loop.h"

#include "common/check.h"
#include "common/mem.h"
#include "common/posix/posix_pool.h"
#include "common/posix/posix_watch.h"
#include "common/seam/clock.h"
#include "common/seam/net.h"
#include "common/timer_heap.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct posix_loop {
    struct loop base;
    struct clock *clock;
    struct posix_pool *pool;
    struct event_base *event_base;
    int wake_fd;
    int timer_fd;
    struct posix_watch *wake_watch;
    struct posix_watch *timer_watch;
    uint64_t armed_us; /* what timer_fd is set to, TIMER_HEAP_NONE_US: not set */
    struct timer_heap timers;
    uint64_t now_us;
    bool is_now_read; /* now_us belongs to this iteration */
    bool is_ended;
    size_t jobs_running_count;
    struct loop_task *deferred_first;
    struct loop_task *deferred_last;
    loop_step_fn step;
    void *step_ctx;
    struct posix_end_hook *end_hooks;
    struct posix_end_hook *ending_hooks; /* those that loop_run_end_hooks still has to run */
    struct loop_task stop_task;
    char padding[64]; /* what other threads write stays off the cache lines above */
    _Atomic(struct loop_task *) posted;
    atomic_bool is_stop_requested;
    atomic_uint posters_count; /* threads inside of posix_post */
};

static struct posix_loop *loop_of(struct loop *loop)
{
    return CONTAINER_OF(loop, struct posix_loop, base);
}

/* An address that no task can have: the loop's own. */
static struct loop_task *loop_sleeping(struct posix_loop *loop)
{
    return (struct loop_task *)(void *)loop;
}

static uint64_t posix_now_us(struct loop *base)
{
    struct posix_loop *loop = loop_of(base);
    if (!loop->is_now_read) {
        loop->now_us = clock_mono_us(loop->clock);
        loop->is_now_read = true;
    }
    return loop->now_us;
}

static void posix_timer_set(struct loop *base, struct loop_timer *timer, uint64_t deadline_us)
{
    timer_heap_set(&loop_of(base)->timers, timer, deadline_us);
}

static void posix_timer_cancel(struct loop *base, struct loop_timer *timer)
{
    timer_heap_cancel(&loop_of(base)->timers, timer);
}

static void posix_defer(struct loop *base, struct loop_task *task)
{
    struct posix_loop *loop = loop_of(base);
    if (task->is_queued) {
        return;
    }
    task->is_queued = true;
    task->next = NULL;
    if (loop->deferred_first == NULL) {
        loop->deferred_first = task;
    } else {
        loop->deferred_last->next = task;
    }
    loop->deferred_last = task;
}

static void posix_post(struct loop *base, struct loop_task *task)
{
    struct posix_loop *loop = loop_of(base);
    CHECK(!task->is_queued);
    task->is_queued = true;
    /* Counted before the task can be taken: whoever takes it may free the loop while we have yet to wake it. */
    atomic_fetch_add_explicit(&loop->posters_count, 1, memory_order_relaxed);
    struct loop_task *head = atomic_load_explicit(&loop->posted, memory_order_relaxed);
    do {
        task->next = head == loop_sleeping(loop) ? NULL : head;
    } while (
        !atomic_compare_exchange_weak_explicit(&loop->posted, &head, task, memory_order_release, memory_order_relaxed));
    if (head == loop_sleeping(loop)) {
        uint64_t one = 1;
        ssize_t written_bytes = write(loop->wake_fd, &one, sizeof(one));
        CHECK(written_bytes == (ssize_t)sizeof(one) || errno == EAGAIN); /* EAGAIN: woken already */
    }
    atomic_fetch_sub_explicit(&loop->posters_count, 1, memory_order_release); /* the last touch of the loop */
}

static void job_done(struct loop_task *task)
{
    struct loop_job *job = CONTAINER_OF(task, struct loop_job, task);
    struct posix_loop *loop = loop_of(job->loop);
    CHECK(loop->jobs_running_count > 0);
    loop->jobs_running_count--;
    job->done(job); /* may free the job */
}

static void job_work(struct loop_task *task)
{
    struct loop_job *job = CONTAINER_OF(task, struct loop_job, task);
    job->work(job);
    job->task.run = job_done;
    posix_post(job->loop, &job->task);
}

void posix_loop_submit_in(struct loop *base, struct posix_pool *pool, struct loop_job *job)
{
    CHECK(!job->task.is_queued);
    job->loop = base;
    job->task.run = job_work;
    loop_of(base)->jobs_running_count++;
    posix_pool_submit(pool, &job->task);
}

static void posix_submit(struct loop *base, struct loop_job *job)
{
    posix_loop_submit_in(base, loop_of(base)->pool, job);
}

static void posix_set_step(struct loop *base, loop_step_fn step, void *ctx)
{
    struct posix_loop *loop = loop_of(base);
    loop->step = step;
    loop->step_ctx = ctx;
}

/* The flag says it all; the task only wakes the loop. */
static void stop_on_loop(struct loop_task *task)
{
    (void)task;
}

static void posix_stop(struct loop *base)
{
    struct posix_loop *loop = loop_of(base);
    if (!atomic_exchange(&loop->is_stop_requested, true)) {
        posix_post(base, &loop->stop_task);
    }
}

static const struct loop_ops posix_loop_ops = {
    .now_us = posix_now_us,
    .timer_set = posix_timer_set,
    .timer_cancel = posix_timer_cancel,
    .defer = posix_defer,
    .post = posix_post,
    .submit = posix_submit,
    .set_step = posix_set_step,
    .stop = posix_stop,
};

static void descriptor_clear(int fd)
{
    uint64_t count = 0;
    ssize_t read_bytes = read(fd, &count, sizeof(count));
    CHECK(read_bytes == (ssize_t)sizeof(count) || errno == EAGAIN);
}

static void loop_on_wake(void *ctx, unsigned events)
{
    (void)events;
    descriptor_clear(((struct posix_loop *)ctx)->wake_fd);
}

static void loop_on_timer(void *ctx, unsigned events)
{
    (void)events;
    struct posix_loop *loop = ctx;
    descriptor_clear(loop->timer_fd);
    loop->armed_us = TIMER_HEAP_NONE_US;
}

enum err posix_loop_new(struct clock *clock, struct posix_pool *pool, struct loop **ret_loop)
{
    int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0) {
        return err_from_errno(errno);
    }
    int timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timer_fd < 0) {
        enum err err = err_from_errno(errno);
        close(wake_fd);
        return err;
    }
    struct event_config *config = event_config_new();
    CHECK(config != NULL);
    /* No locks: only the loop's thread touches the base. No environment: it could choose select. */
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
    struct event_base *event_base = event_base_new_with_config(config);
    event_config_free(config);
    if (event_base == NULL) {
        close(timer_fd);
        close(wake_fd);
        return ERR_TOO_MANY_FILES; /* its only way to fail is epoll_create */
    }
    struct posix_loop *loop = MEM_NEW(struct posix_loop);
    loop->base.ops = &posix_loop_ops;
    loop->clock = clock;
    loop->pool = pool;
    loop->event_base = event_base;
    loop->wake_fd = wake_fd;
    loop->timer_fd = timer_fd;
    loop->armed_us = TIMER_HEAP_NONE_US;
    loop->stop_task.run = stop_on_loop;
    atomic_init(&loop->posted, NULL);
    atomic_init(&loop->is_stop_requested, false);
    timer_heap_init(&loop->timers);
    loop->wake_watch = posix_watch_new(&loop->base, wake_fd, loop_on_wake, loop);
    posix_watch_set(loop->wake_watch, NET_READABLE);
    loop->timer_watch = posix_watch_new(&loop->base, timer_fd, loop_on_timer, loop);
    posix_watch_set(loop->timer_watch, NET_READABLE);
    *ret_loop = &loop->base;
    return ERR_OK;
}

static void loop_run_end_hooks(struct posix_loop *loop)
{
    /* A hook may remove others. Those that it adds wait for posix_loop_free, or a connect that is retried at once
     * would go on for ever. */
    loop->ending_hooks = loop->end_hooks;
    loop->end_hooks = NULL;
    while (loop->ending_hooks != NULL) {
        struct posix_end_hook *hook = loop->ending_hooks;
        posix_loop_remove_end_hook(&loop->base, hook);
        hook->run(hook);
    }
}

void *posix_loop_event_base(struct loop *base)
{
    return loop_of(base)->event_base;
}

bool posix_loop_is_ended(const struct loop *base)
{
    return ((const struct posix_loop *)(const void *)base)->is_ended;
}

void posix_loop_add_end_hook(struct loop *base, struct posix_end_hook *hook)
{
    struct posix_loop *loop = loop_of(base);
    hook->prev = NULL;
    hook->next = loop->end_hooks;
    if (hook->next != NULL) {
        hook->next->prev = hook;
    }
    loop->end_hooks = hook;
}

void posix_loop_remove_end_hook(struct loop *base, struct posix_end_hook *hook)
{
    struct posix_loop *loop = loop_of(base);
    if (hook->prev != NULL) {
        hook->prev->next = hook->next;
    } else if (loop->end_hooks == hook) {
        loop->end_hooks = hook->next;
    } else if (loop->ending_hooks == hook) {
        loop->ending_hooks = hook->next;
    }
    if (hook->next != NULL) {
        hook->next->prev = hook->prev;
    }
    hook->prev = hook->next = NULL;
}

static void loop_arm_timer(struct posix_loop *loop, uint64_t deadline_us)
{
    /* Armed earlier than needed is left alone: one idle wake-up is cheaper than a system call for every timer moved. */
    if (deadline_us >= loop->armed_us) {
        return;
    }
    struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(deadline_us / 1000000), .tv_nsec = (long)(deadline_us % 1000000 * 1000)}};
    CHECK(timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0);
    loop->armed_us = deadline_us;
}

/* True when nothing has been posted and posters will wake the loop from now on. */
static bool loop_try_sleep(struct posix_loop *loop)
{
    struct loop_task *awake = NULL;
    return atomic_compare_exchange_strong_explicit(&loop->posted, &awake, loop_sleeping(loop), memory_order_relaxed,
                                                   memory_order_relaxed);
}

static void loop_wait(struct posix_loop *loop)
{
    int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY;
    uint64_t deadline_us = timer_heap_deadline_us(&loop->timers);
    if (loop->deferred_first != NULL || deadline_us <= posix_now_us(&loop->base) || !loop_try_sleep(loop)) {
        flags |= EVLOOP_NONBLOCK;
    } else if (deadline_us != TIMER_HEAP_NONE_US) {
        loop_arm_timer(loop, deadline_us);
    }
    loop->is_now_read = false; /* the first callback that asks reads the clock, after the wait */
    CHECK(event_base_loop(loop->event_base, flags) >= 0);
}

static void loop_run_posted(struct posix_loop *loop)
{
    struct loop_task *taken = atomic_exchange_explicit(&loop->posted, NULL, memory_order_acquire);
    if (taken == loop_sleeping(loop)) {
        return;
    }
    struct loop_task *in_order = NULL;
    while (taken != NULL) {
        struct loop_task *next = taken->next;
        taken->next = in_order;
        in_order = taken;
        taken = next;
    }
    while (in_order != NULL) {
        struct loop_task *task = in_order;
        in_order = task->next;
        task->next = NULL;
        task->is_queued = false;
        task->run(task); /* may free the task */
    }
}

static void loop_run_timers(struct posix_loop *loop)
{
    uint64_t now_us = posix_now_us(&loop->base);
    uint64_t mark = timer_heap_mark(&loop->timers);
    struct loop_timer *timer = NULL;
    while ((timer = timer_heap_take_due(&loop->timers, now_us, mark)) != NULL) {
        timer->fire(timer); /* may free the timer */
    }
}

/* Runs what was deferred so far; what these tasks defer waits for the next iteration. */
static void loop_run_deferred(struct posix_loop *loop)
{
    struct loop_task *task = loop->deferred_first;
    loop->deferred_first = loop->deferred_last = NULL;
    while (task != NULL) {
        struct loop_task *next = task->next;
        task->next = NULL;
        task->is_queued = false;
        task->run(task); /* may free the task */
        task = next;
    }
}

/* Waits for the jobs of a stopped loop without running sockets, timers or the step. */
static void loop_drain_jobs(struct posix_loop *loop)
{
    for (;;) {
        loop_run_posted(loop);
        loop_run_deferred(loop);
        if (loop->jobs_running_count == 0) {
            return;
        }
        if (loop->deferred_first == NULL && loop_try_sleep(loop)) {
            struct pollfd wake = {.fd = loop->wake_fd, .events = POLLIN};
            CHECK(poll(&wake, 1, -1) >= 0 || errno == EINTR);
            descriptor_clear(loop->wake_fd);
        }
    }
}

static void loop_iterate(struct posix_loop *loop)
{
    loop_wait(loop);
    loop_run_posted(loop);
    loop_run_timers(loop);
    loop_run_deferred(loop);
    if (loop->step != NULL) {
        loop->step(loop->step_ctx);
    }
}

void posix_loop_run_until(struct loop *base, const bool *is_done)
{
    struct posix_loop *loop = loop_of(base);
    CHECK(!loop->is_ended);
    while (!*is_done && !atomic_load(&loop->is_stop_requested)) {
        loop_iterate(loop);
    }
}

void posix_loop_run(struct loop *base)
{
    struct posix_loop *loop = loop_of(base);
    CHECK(!loop->is_ended);
    while (!atomic_load(&loop->is_stop_requested)) {
        loop_iterate(loop);
    }
    loop_drain_jobs(loop);
    loop_run_end_hooks(loop);
    loop_drain_jobs(loop);
    loop->is_ended = true;
}

void posix_loop_free(struct loop *base)
{
    if (base == NULL) {
        return;
    }
    struct posix_loop *loop = loop_of(base);
    if (!loop->is_ended) { /* never run to its end: posix_loop_run_until, or a start that failed */
        loop_drain_jobs(loop);
    }
    CHECK(loop->jobs_running_count == 0);
    while (atomic_load_explicit(&loop->posters_count, memory_order_acquire) > 0) {
        sched_yield(); /* between a post and its wake: an instant */
    }
    loop->is_ended = true;
    loop_run_end_hooks(loop);
    posix_watch_free(loop->timer_watch);
    posix_watch_free(loop->wake_watch);
    event_base_free(loop->event_base);
    timer_heap_done(&loop->timers);
    close(loop->timer_fd);
    close(loop->wake_fd);
    mem_free(loop);
}

/* loop: one thread's event loop: timers, deferred tasks, tasks posted by other threads, jobs for the blocking pool, and
 * the one end-of-iteration step. In the simulator all loops of all nodes share one thread and virtual time.
 *
 * Shape:     one iteration, in this order: readiness callbacks of sockets -> posted tasks and ended jobs -> timers that
 *            are due -> tasks deferred so far -> the step. The loop waits only when no task is deferred or posted.
 * Units:     microseconds of the monotonic clock, read once per iteration (loop_now_us).
 * Ownership: timers, tasks and jobs are intrusive members of their owner's structs; the loop borrows them while they
 *            are armed, queued or running. A callback may free its own task, timer or job.
 * Threads:   everything belongs to the loop's own thread, except loop_post and loop_stop, which any thread may call.
 *            Before the loop is started, and after it has been joined, its maker's thread stands for it.
 * Source:    design.md 3 and 5, ADR-0005.
 */
#ifndef COMMON_SEAM_LOOP_H
#define COMMON_SEAM_LOOP_H

#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

/* A piece of work to run once on a loop. `next` belongs to the loop while the task is queued. */
struct loop_task {
    struct loop_task *next;
    void (*run)(struct loop_task *task);
    bool is_queued;
};

/* A one-shot timer; zeroed memory is an idle timer. `heap_slot` is the place in the loop's heap + 1, 0 when idle. */
struct loop_timer {
    uint64_t deadline_us;
    uint64_t order; /* timers of one deadline fire in the order in which they were set */
    void (*fire)(struct loop_timer *timer);
    size_t heap_slot;
};

/* Work that may block. `work` runs on a pool thread and may touch only what the job owns or what is immutable; then
 * `done` runs on the submitting loop. A job can't be cancelled: its owner waits for `done`. */
struct loop_job {
    struct loop_task task; /* used by the pool and for the way back */
    struct loop *loop;
    void (*work)(struct loop_job *job);
    void (*done)(struct loop_job *job);
};

typedef void (*loop_step_fn)(void *ctx);

struct loop_ops {
    uint64_t (*now_us)(struct loop *loop);
    void (*timer_set)(struct loop *loop, struct loop_timer *timer, uint64_t deadline_us);
    void (*timer_cancel)(struct loop *loop, struct loop_timer *timer);
    void (*defer)(struct loop *loop, struct loop_task *task);
    void (*post)(struct loop *loop, struct loop_task *task);
    void (*submit)(struct loop *loop, struct loop_job *job);
    void (*set_step)(struct loop *loop, loop_step_fn step, void *ctx);
    void (*stop)(struct loop *loop);
};

struct loop {
    const struct loop_ops *ops;
};

static inline uint64_t loop_now_us(struct loop *loop)
{
    return loop->ops->now_us(loop);
}

/* Arms or moves the timer; `fire` must be set. */
static inline void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_us)
{
    loop->ops->timer_set(loop, timer, deadline_us);
}

/* Harmless on an idle timer. After it returns the timer will not fire. */
static inline void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
    loop->ops->timer_cancel(loop, timer);
}

/* Runs the task later on this loop, before it waits. A task that is queued already stays queued once. */
static inline void loop_defer(struct loop *loop, struct loop_task *task)
{
    loop->ops->defer(loop, task);
}

/* Hands the task to the loop's thread; tasks of one poster arrive in order. The loop is woken once per batch. The task
 * must not be queued anywhere. */
static inline void loop_post(struct loop *loop, struct loop_task *task)
{
    loop->ops->post(loop, task);
}

static inline void loop_submit(struct loop *loop, struct loop_job *job)
{
    loop->ops->submit(loop, job);
}

/* One step per loop, run at the end of every iteration. */
static inline void loop_set_step(struct loop *loop, loop_step_fn step, void *ctx)
{
    loop->ops->set_step(loop, step, ctx);
}

/* The loop ends after the iteration that runs now (which includes all of its stages). Then it waits for the jobs
 * that were submitted: their `done`, and posted and deferred tasks, still run; sockets, timers and the step don't.
 * Connects under way end with ERR_CANCELLED. What is posted later never runs. Its owner then joins it
 * (runtime_loop_join). Calling it again is harmless. */
static inline void loop_stop(struct loop *loop)
{
    loop->ops->stop(loop);
}

struct runtime;

struct runtime_ops {
    enum err (*loop_new)(struct runtime *runtime, const char *name, struct loop **ret_loop);
    enum err (*loop_new_apart)(struct runtime *runtime, const char *name, struct loop **ret_loop); /* may be NULL */
    void (*loop_start)(struct runtime *runtime, struct loop *loop);
    void (*loop_join)(struct runtime *runtime, struct loop *loop);
    void (*loop_free)(struct runtime *runtime, struct loop *loop);
    unsigned (*cpu_count)(struct runtime *runtime);
};

/* Where loops come from: threads in production, entries of one schedule in the simulator. */
struct runtime {
    const struct runtime_ops *ops;
};

/* Makes a loop that does not run yet; `name` (at most 15 bytes) names its thread. */
static inline enum err runtime_loop_new(struct runtime *runtime, const char *name, struct loop **ret_loop)
{
    return runtime->ops->loop_new(runtime, name, ret_loop);
}

/* A loop whose jobs must not wait behind those of the others: it has pool threads of its own, where there are threads. */
static inline enum err runtime_loop_new_apart(struct runtime *runtime, const char *name, struct loop **ret_loop)
{
    return runtime->ops->loop_new_apart == NULL ? runtime->ops->loop_new(runtime, name, ret_loop)
                                                : runtime->ops->loop_new_apart(runtime, name, ret_loop);
}

/* Runs the loop in a thread of its own. Before it, the maker may arm timers, listen and post. */
static inline void runtime_loop_start(struct runtime *runtime, struct loop *loop)
{
    runtime->ops->loop_start(runtime, loop);
}

/* Waits until a started loop has stopped (loop_stop) and its jobs have drained. Not from a loop. */
static inline void runtime_loop_join(struct runtime *runtime, struct loop *loop)
{
    runtime->ops->loop_join(runtime, loop);
}

static inline void runtime_loop_free(struct runtime *runtime, struct loop *loop)
{
    runtime->ops->loop_free(runtime, loop);
}

static inline unsigned runtime_cpu_count(struct runtime *runtime)
{
    return runtime->ops->cpu_count(runtime);
}

#endif

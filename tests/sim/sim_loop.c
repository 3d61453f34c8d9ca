/* One simulated loop. An iteration ("turn") is an event of the world; between turns the loop is asleep until something wakes
 * it, and a wake-up takes a time drawn from the seed. */
#include "common/mem.h"
#include "tests/sim/sim_runtime_internal.h"
#include "tests/support/plain_mem.h"

#include <stdio.h>
#include <utlist.h>

#define WAKE_US_MOST 50u /* from a post or a readiness to the turn */
#define TURN_US_MOST 30u /* an iteration's own work */
#define TIMER_LATE_US_MOST 200u

struct sim_loop *sim_loop_of(struct loop *loop)
{
    return CONTAINER_OF(loop, struct sim_loop, base);
}

void sim_tasks_add(struct sim_tasks *tasks, struct loop_task *task)
{
    CHECK(!task->is_queued && task->run != NULL);
    task->is_queued = true;
    task->next = NULL;
    if (tasks->first == NULL) {
        tasks->first = task;
    } else {
        tasks->last->next = task;
    }
    tasks->last = task;
}

/* Runs what the list holds now; what these tasks add comes in the next round. */
static void tasks_run(struct sim_tasks *tasks)
{
    struct loop_task *task = tasks->first;
    *tasks = (struct sim_tasks){0};
    while (task != NULL) {
        struct loop_task *next = task->next;
        task->next = NULL;
        task->is_queued = false;
        task->run(task); /* may free the task */
        task = next;
    }
}

static struct sim_world *world_of(const struct sim_loop *loop)
{
    return loop->runtime->options.world;
}

/* Makes the loop turn at `at_us` or earlier. A loop that turns now looks for itself when it is through. */
static void loop_wake_at(struct sim_loop *loop, uint64_t at_us)
{
    if (loop->state == SIM_LOOP_MADE || loop->state == SIM_LOOP_ENDED || loop->is_turning) {
        return;
    }
    at_us = at_us < loop->busy_until_us ? loop->busy_until_us : at_us;
    if (loop->turn.heap_slot == 0 || loop->turn.deadline_us > at_us) {
        sim_world_set(world_of(loop), &loop->turn, at_us);
    }
}

static void loop_wake(struct sim_loop *loop)
{
    struct sim_world *world = world_of(loop);
    loop_wake_at(loop, world->now_us + sim_world_draw_us(world, 1, WAKE_US_MOST));
}

static uint64_t sim_now_us(struct loop *base)
{
    return clock_mono_us(&sim_loop_of(base)->runtime->options.clock->base);
}

/* When the loop would wake for its next timer: never early, now and then late. */
static void loop_wake_for_timers(struct sim_loop *loop)
{
    uint64_t deadline_us = timer_heap_deadline_us(&loop->timers);
    if (deadline_us != TIMER_HEAP_NONE_US) {
        struct sim_world *world = world_of(loop);
        uint64_t at_us = sim_clock_world_us(loop->runtime->options.clock, deadline_us);
        at_us = at_us < world->now_us ? world->now_us : at_us;
        loop_wake_at(loop, at_us + sim_world_draw_us(world, 1, TIMER_LATE_US_MOST));
    }
}

static void sim_timer_set(struct loop *base, struct loop_timer *timer, uint64_t deadline_us)
{
    struct sim_loop *loop = sim_loop_of(base);
    timer_heap_set(&loop->timers, timer, deadline_us);
    loop_wake_for_timers(loop);
}

static void sim_timer_cancel(struct loop *base, struct loop_timer *timer)
{
    timer_heap_cancel(&sim_loop_of(base)->timers, timer);
}

static void sim_defer(struct loop *base, struct loop_task *task)
{
    struct sim_loop *loop = sim_loop_of(base);
    if (!task->is_queued) {
        sim_tasks_add(&loop->deferred, task);
        loop_wake(loop);
    }
}

void sim_loop_post(struct sim_loop *loop, struct loop_task *task)
{
    sim_tasks_add(&loop->posted, task);
    loop_wake(loop);
}

static void sim_post(struct loop *base, struct loop_task *task)
{
    sim_loop_post(sim_loop_of(base), task);
}

static void sim_submit(struct loop *base, struct loop_job *job)
{
    struct sim_loop *loop = sim_loop_of(base);
    job->loop = base;
    loop->job_count++;
    sim_pool_submit(loop->runtime, job);
}

static void sim_set_step(struct loop *base, loop_step_fn step, void *ctx)
{
    struct sim_loop *loop = sim_loop_of(base);
    loop->step = step;
    loop->step_ctx = ctx;
}

static void sim_stop(struct loop *base)
{
    struct sim_loop *loop = sim_loop_of(base);
    loop->is_stop_requested = true;
    loop_wake(loop);
}

static const struct loop_ops sim_loop_ops = {
    .now_us = sim_now_us,
    .timer_set = sim_timer_set,
    .timer_cancel = sim_timer_cancel,
    .defer = sim_defer,
    .post = sim_post,
    .submit = sim_submit,
    .set_step = sim_set_step,
    .stop = sim_stop,
};

/* ---- watches ---- */

void sim_watch_start(struct sim_watch *watch, struct loop *base)
{
    CHECK(watch->loop == NULL);
    watch->loop = sim_loop_of(base);
    watch->events = 0;
    DL_APPEND(watch->loop->watches, watch);
}

void sim_watch_stop(struct sim_watch *watch)
{
    struct sim_loop *loop = watch->loop;
    if (loop == NULL) {
        return;
    }
    DL_DELETE(loop->watches, watch);
    watch->loop = NULL;
    for (size_t i = 0; i < loop->ready_count; i++) {
        if (loop->ready[i] == watch) {
            loop->ready[i] = NULL;
        }
    }
}

void sim_watch_set(struct sim_watch *watch, unsigned events)
{
    watch->events = events;
    sim_watch_touch(watch);
}

void sim_watch_touch(struct sim_watch *watch)
{
    if (watch->loop != NULL && (watch->events & watch->possible(watch)) != 0) {
        loop_wake(watch->loop);
    }
}

static bool has_ready_watch(const struct sim_loop *loop)
{
    struct sim_watch *watch = NULL;
    DL_FOREACH (loop->watches, watch) {
        if ((watch->events & watch->possible(watch)) != 0) {
            return true;
        }
    }
    return false;
}

static void ready_forget(struct sim_loop *loop)
{
    plain_free(loop->ready);
    plain_free(loop->ready_events);
    loop->ready = NULL;
    loop->ready_events = NULL;
    loop->ready_count = 0;
}

/* Calls the watches that are ready now, in an order drawn from the seed. A callback may stop any watch; one that an earlier
 * callback has made unready is still called, as epoll would. */
static void run_ready(struct sim_loop *loop)
{
    struct sim_watch *watch = NULL;
    size_t count = 0;
    DL_COUNT(loop->watches, watch, count);
    ready_forget(loop); /* of a turn that was aborted */
    struct sim_watch **ready = (struct sim_watch **)plain_zalloc(count * sizeof(*ready));
    unsigned *events = (unsigned *)plain_zalloc(count * sizeof(*events));
    loop->ready = ready;
    loop->ready_events = events;
    size_t ready_count = 0;
    DL_FOREACH (loop->watches, watch) {
        unsigned ready_events = watch->events & watch->possible(watch);
        if (ready_events != 0) {
            size_t place = (size_t)prop_below(&world_of(loop)->prop, ready_count + 1);
            ready[ready_count] = ready[place];
            events[ready_count] = events[place];
            ready[place] = watch;
            events[place] = ready_events;
            ready_count++;
        }
    }
    loop->ready_count = ready_count;
    for (size_t i = 0; i < ready_count; i++) {
        if (ready[i] != NULL && (ready[i]->events & events[i]) != 0) {
            ready[i]->on_event(ready[i], ready[i]->events & events[i]);
        }
    }
    ready_forget(loop);
}

/* ---- the turn ---- */

static void run_timers(struct sim_loop *loop)
{
    uint64_t now_us = sim_now_us(&loop->base);
    uint64_t mark = timer_heap_mark(&loop->timers);
    struct loop_timer *timer = NULL;
    while ((timer = timer_heap_take_due(&loop->timers, now_us, mark)) != NULL) {
        timer->fire(timer); /* may free the timer */
    }
}

static void run_end_hooks(struct sim_loop *loop)
{
    while (loop->end_hooks != NULL) {
        struct sim_end_hook *hook = loop->end_hooks;
        sim_loop_remove_end_hook(&loop->base, hook);
        hook->run(hook);
    }
}

/* A loop that was stopped runs neither sockets nor timers nor the step; it waits for its jobs, then keeps the promises of
 * calls that are open, then waits for what jobs those started. */
static void turn_draining(struct sim_loop *loop)
{
    tasks_run(&loop->posted);
    tasks_run(&loop->deferred);
    if (loop->posted.first != NULL || loop->deferred.first != NULL || loop->job_count > 0) {
        return;
    }
    if (loop->state == SIM_LOOP_DRAINING) {
        loop->state = SIM_LOOP_ENDING;
        run_end_hooks(loop);
        return;
    }
    loop->state = SIM_LOOP_ENDED;
    sim_trace_write(&world_of(loop)->trace, world_of(loop)->now_us, loop->runtime->options.who, "loop_end %s",
                    loop->name);
}

static void turn_running(struct sim_loop *loop)
{
    run_ready(loop);
    tasks_run(&loop->posted);
    run_timers(loop);
    tasks_run(&loop->deferred);
    if (loop->step != NULL) {
        loop->step(loop->step_ctx);
    }
    if (loop->is_stop_requested) {
        loop->state = SIM_LOOP_DRAINING;
    }
}

static void run_turn(void *ctx)
{
    struct sim_loop *loop = (struct sim_loop *)ctx;
    if (loop->state == SIM_LOOP_RUNNING) {
        turn_running(loop);
    } else {
        turn_draining(loop);
    }
}

static void wake_for_what_is_left(struct sim_loop *loop)
{
    bool has_tasks = loop->posted.first != NULL || loop->deferred.first != NULL;
    switch (loop->state) {
    case SIM_LOOP_RUNNING:
        if (has_tasks || loop->is_stop_requested || has_ready_watch(loop)) {
            loop_wake_at(loop, loop->busy_until_us);
        }
        loop_wake_for_timers(loop);
        return;
    case SIM_LOOP_DRAINING:
    case SIM_LOOP_ENDING:
        if (has_tasks || loop->job_count == 0) {
            loop_wake_at(loop, loop->busy_until_us);
        }
        return;
    case SIM_LOOP_MADE:
    case SIM_LOOP_ENDED:
        return;
    }
}

static void on_turn(struct loop_timer *event)
{
    struct sim_loop *loop = CONTAINER_OF(event, struct sim_loop, turn);
    struct sim_runtime *sim = loop->runtime;
    struct sim_world *world = world_of(loop);
    if (sim->paused_until_us > world->now_us) {
        sim_world_set(world, &loop->turn, sim->paused_until_us);
        return;
    }
    sim_trace_detail(&world->trace, world->now_us, sim->options.who, "turn %s", loop->name);
    loop->is_turning = true;
    (void)sim_runtime_run(sim, run_turn, loop);
    loop->is_turning = false;
    loop->busy_until_us =
        world->now_us + sim_world_draw_us(world, 1, TURN_US_MOST) + fs_sim_take_latency_us(sim->options.disk);
    wake_for_what_is_left(loop);
    sim_runtime_after_turn(sim);
}

/* ---- life ---- */

enum err sim_loop_new(struct sim_runtime *sim, const char *name, struct sim_loop **ret_loop)
{
    struct sim_loop *loop = PLAIN_NEW(struct sim_loop);
    loop->base.ops = &sim_loop_ops;
    loop->runtime = sim;
    (void)snprintf(loop->name, sizeof(loop->name), "%s", name);
    loop->turn.fire = on_turn;
    timer_heap_init(&loop->timers);
    DL_APPEND(sim->loops, loop);
    *ret_loop = loop;
    return ERR_OK;
}

void sim_loop_start(struct sim_loop *loop)
{
    CHECK(loop->state == SIM_LOOP_MADE);
    loop->state = SIM_LOOP_RUNNING;
    loop_wake(loop);
}

void sim_loop_free(struct sim_loop *loop)
{
    CHECK(!loop->is_turning);
    sim_world_cancel(world_of(loop), &loop->turn);
    run_end_hooks(loop);
    while (loop->watches != NULL) {
        sim_watch_stop(loop->watches);
    }
    ready_forget(loop);
    timer_heap_done(&loop->timers);
    DL_DELETE(loop->runtime->loops, loop);
    plain_free(loop);
}

void sim_loop_add_end_hook(struct loop *base, struct sim_end_hook *hook)
{
    DL_APPEND(sim_loop_of(base)->end_hooks, hook);
}

void sim_loop_remove_end_hook(struct loop *base, struct sim_end_hook *hook)
{
    if (hook->prev != NULL) { /* utlist: also the first one's is set while it is in the list */
        DL_DELETE(sim_loop_of(base)->end_hooks, hook);
        hook->prev = hook->next = NULL;
    }
}

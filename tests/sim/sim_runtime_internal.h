/* sim_runtime_internal: what the loops and the pool of a simulated node share.
 *
 * Threads:   one.
 */
#ifndef TESTS_SIM_SIM_RUNTIME_INTERNAL_H
#define TESTS_SIM_SIM_RUNTIME_INTERNAL_H

#include "tests/sim/sim_abort.h"
#include "tests/sim/sim_runtime.h"

#define SIM_LOOP_NAME_BYTES 16

/* A list of tasks, first in first out. */
struct sim_tasks {
    struct loop_task *first;
    struct loop_task *last;
};

/*  made --loop_start--> running --loop_stop--> draining (jobs) --> ending (hooks, jobs) --> ended  */
enum sim_loop_state { SIM_LOOP_MADE, SIM_LOOP_RUNNING, SIM_LOOP_DRAINING, SIM_LOOP_ENDING, SIM_LOOP_ENDED };

struct sim_loop {
    struct loop base;
    struct sim_runtime *runtime;
    char name[SIM_LOOP_NAME_BYTES];
    enum sim_loop_state state;
    bool is_turning; /* an iteration is on the stack */
    bool is_stop_requested;
    struct loop_timer turn; /* the next iteration, in the world */
    uint64_t busy_until_us;
    struct timer_heap timers;
    struct sim_tasks posted;
    struct sim_tasks deferred;
    size_t job_count; /* submitted, `done` not yet called */
    loop_step_fn step;
    void *step_ctx;
    struct sim_watch *watches; /* utlist DL */
    struct sim_watch **ready;  /* of the iteration that runs; NULL where one was stopped */
    unsigned *ready_events;
    size_t ready_count;
    struct sim_end_hook *end_hooks; /* utlist DL */
    struct sim_loop *prev;
    struct sim_loop *next;
};

struct sim_job;

struct sim_runtime {
    struct runtime base;
    struct sim_runtime_options options;
    struct sim_loop *loops; /* utlist DL */
    struct sim_job *jobs;   /* utlist DL: waiting, working, finishing */
    unsigned busy_threads;
    unsigned depth; /* nested turns */
    uint64_t paused_until_us;
};

/* Runs code of the node: with its memory, and caught when it aborts. False: it has aborted. */
bool sim_runtime_run(struct sim_runtime *sim, void (*code)(void *ctx), void *ctx);
/* Calls after_turn when no code of the node is on the stack any more; the runtime may be gone afterwards. */
void sim_runtime_after_turn(struct sim_runtime *sim);

void sim_tasks_add(struct sim_tasks *tasks, struct loop_task *task);
struct sim_loop *sim_loop_of(struct loop *loop);
enum err sim_loop_new(struct sim_runtime *sim, const char *name, struct sim_loop **ret_loop);
void sim_loop_start(struct sim_loop *loop);
void sim_loop_free(struct sim_loop *loop);
void sim_loop_post(struct sim_loop *loop, struct loop_task *task);

void sim_pool_submit(struct sim_runtime *sim, struct loop_job *job);
void sim_pool_free_jobs(struct sim_runtime *sim);

#endif

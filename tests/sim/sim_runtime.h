/* sim_runtime: the loops and the blocking pool of one node, as entries of the world's schedule (common/seam/loop.h).
 *
 * Shape:     each iteration of a loop is one event of the world, with the order inside that loop.h promises. What the real
 *            world leaves open is drawn from the seed: how long an iteration takes and how long a wake-up needs (so which loop
 *            runs next), the order of ready sockets, when a job starts, how long it takes. A job's `work` runs at one moment:
 *            what it asks of the disk happens there, its `done` comes after the disk's latency. The time does not move inside
 *            an iteration; file calls made inline make the iteration longer afterwards.
 * Limits:    the pool has `pool_threads`; further jobs wait in order.
 * Ownership: sim_runtime_free frees loops and jobs whatever their state: that is how a process dies.
 * Threads:   one.
 * Source:    ADR-0009.
 */
#ifndef TESTS_SIM_SIM_RUNTIME_H
#define TESTS_SIM_SIM_RUNTIME_H

#include "common/seam/loop.h"
#include "tests/sim/sim_clock.h"
#include "tests/sim/sim_mem.h"
#include "tests/sim/sim_world.h"
#include "tests/support/fs_sim.h"

struct sim_loop;
struct sim_runtime;

struct sim_runtime_options {
    const char *who; /* the node's name in the trace; outlives the runtime */
    struct sim_world *world;
    struct sim_clock *clock;
    struct fs_sim *disk;         /* whose latency the calls made here cost */
    struct sim_mem_owner *owner; /* of what the product allocates */
    unsigned pool_threads;       /* > 0 */
    unsigned cpu_count;          /* > 0 */
    /* After each iteration and each job: the node looks whether it was to die. It may free the runtime. */
    void (*after_turn)(void *ctx);
    /* A CHECK of the product failed in it: the process has aborted. Its code is off the stack. */
    void (*on_abort)(void *ctx, const char *sentence);
    void *ctx;
};

struct sim_runtime *sim_runtime_new(const struct sim_runtime_options *options);
void sim_runtime_free(struct sim_runtime *sim);
struct runtime *sim_runtime_get(struct sim_runtime *sim);
/* Nothing of this runtime runs before `until_us` (SIGSTOP). */
void sim_runtime_pause(struct sim_runtime *sim, uint64_t until_us);
/* Code of this runtime is on the stack (it waits in runtime_loop_join, say): it can't be freed now. */
bool sim_runtime_is_running(const struct sim_runtime *sim);

/* Something that a loop watches: a socket or a listener. Level-triggered. */
struct sim_watch {
    struct sim_loop *loop; /* NULL: not watched by anybody */
    unsigned events;       /* watched: union of enum net_event */
    unsigned (*possible)(struct sim_watch *watch);
    void (*on_event)(struct sim_watch *watch, unsigned events);
    struct sim_watch *prev;
    struct sim_watch *next;
};

void sim_watch_start(struct sim_watch *watch, struct loop *loop);
/* No callback follows. Harmless on one that was not started. */
void sim_watch_stop(struct sim_watch *watch);
void sim_watch_set(struct sim_watch *watch, unsigned events);
/* What is possible may have changed. */
void sim_watch_touch(struct sim_watch *watch);

/* Run once when a loop ends by loop_stop, so that calls which promised a callback keep the promise; or when it is freed. */
struct sim_end_hook {
    void (*run)(struct sim_end_hook *hook);
    struct sim_end_hook *prev;
    struct sim_end_hook *next;
};

void sim_loop_add_end_hook(struct loop *loop, struct sim_end_hook *hook);
void sim_loop_remove_end_hook(struct loop *loop, struct sim_end_hook *hook);

#endif

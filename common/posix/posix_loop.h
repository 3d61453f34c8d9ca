/* posix_loop: the loop of common/seam/loop.h on libevent's plain events; private to common/posix.
 *
 * Shape:     one event_base per loop, touched only by the loop's thread. Posted tasks form a lock-free list whose head
 *            also says whether the loop sleeps: a poster writes the wake descriptor only when it does, so a batch
 *            costs one wake and a busy loop none. Timers live in a timer_heap behind one timerfd that is armed again
 *            only when the nearest deadline comes closer: an idle loop never wakes.
 * Ownership: posix_loop_new makes, posix_loop_free frees; watches and end hooks belong to their makers.
 * Threads:   the loop's own, except for what loop.h allows elsewhere. Before the loop runs and after it has ended its
 *            maker's thread stands for it.
 * Source:    ADR-0005.
 */
#ifndef COMMON_POSIX_LOOP_H
#define COMMON_POSIX_LOOP_H

#include "common/seam/loop.h"

struct clock;
struct posix_pool;
struct posix_watch;

enum err posix_loop_new(struct clock *clock, struct posix_pool *pool, struct loop **ret_loop) MUST_USE;
/* The loop doesn't run. Jobs that are under way are waited for, end hooks that are left run. */
void posix_loop_free(struct loop *loop);
/* Runs the loop on the calling thread until loop_stop; then waits for the jobs that it submitted, runs the end
 * hooks, and returns. */
void posix_loop_run(struct loop *loop);
/* Iterates until *is_done or loop_stop, and ends nothing. */
void posix_loop_run_until(struct loop *loop, const bool *is_done);
/* The loop will not run any more: an end hook must not call back into code that expects it to. */
bool posix_loop_is_ended(const struct loop *loop);
/* loop_submit, in another pool than the loop's own. */
void posix_loop_submit_in(struct loop *loop, struct posix_pool *pool, struct loop_job *job);
/* libevent's event_base, for posix_watch.c and http_server.c only. */
void *posix_loop_event_base(struct loop *loop);

/* Something that must not outlive the loop: `run` is called once when the loop ends, on its thread, unlinked
 * already. */
struct posix_end_hook {
    struct posix_end_hook *prev;
    struct posix_end_hook *next;
    void (*run)(struct posix_end_hook *hook);
};

void posix_loop_add_end_hook(struct loop *loop, struct posix_end_hook *hook);
void posix_loop_remove_end_hook(struct loop *loop, struct posix_end_hook *hook);

#endif

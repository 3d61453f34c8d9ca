/* posix_env: the world as a node uses it in production: kernel clocks, kernel randomness, files, TCP, threads, and log
 * lines on standard error. Linked by cli/ and tests only; everything else sees the seam (common/seam/env.h).
 *
 * Shape:     making one ignores SIGPIPE for the process, raises the soft limit of open files to the hard one, and lets the C
 *            library keep freed memory for the next request.
 * Limits:    blocking pool: max(4, 2 * processors) threads, 2 more for each loop apart; resolution of names: 2 threads; a share of the
 *            descriptors is kept for files (common/posix/posix_net.h).
 * Ownership: posix_env_free after the node, its loops, sockets and files are gone.
 * Threads:   made, and freed, by one thread; the members as the seam says.
 * Source:    ADR-0005.
 */
#ifndef COMMON_POSIX_ENV_H
#define COMMON_POSIX_ENV_H

#include "common/logger.h"
#include "common/seam/env.h"
#include "common/seam/loop.h"

struct posix_parts;

struct posix_env {
    struct env env; /* lend this */
    struct posix_parts *parts;
};

/* Log lines go to standard error, from `level` on. */
struct posix_env *posix_env_new(enum log_level level);
void posix_env_free(struct posix_env *posix);

/* From now on a call to a file that does not come back for `limit_us` (at least a millisecond) ends the process: status 1, one line at
 * level error, sockets shut down first. common/posix/posix_disk_watch.h says when a disk is only slow. At most once. */
enum err posix_env_watch_disks(struct posix_env *posix, uint64_t limit_us) MUST_USE;

/* Runs a loop of this env's runtime, made but not started, on the calling thread (the main thread) until loop_stop.
 * Declared here for cli/; common/posix/posix_loop.h says more. */
void posix_loop_run(struct loop *loop);

/* Runs the loop on the calling thread until a callback has set *is_done (or loop_stop); it can be run again. For
 * programs that do one thing after the other, as the command line does. */
void posix_loop_run_until(struct loop *loop, const bool *is_done);

/* Runs on the loop, once for each signal (equal ones that arrive together count once). */
typedef void (*posix_signal_fn)(void *ctx, int signal_number);
/* SIGINT or SIGTERM: somebody wants the process to end. */
bool posix_signal_is_end(int signal_number);

/* From now on SIGINT, SIGTERM and SIGUSR1 don't end the process but reach `on_signal` on `loop`, until the loop
 * ends. Call it on the thread that makes everything, before threads that are not the env's exist: they would take
 * the signals. */
enum err posix_on_signals(struct posix_env *posix, struct loop *loop, posix_signal_fn on_signal, void *ctx) MUST_USE;

#endif

/* posix_thread: threads as Moldau wants them: named, and with every signal blocked, so that signals reach only the
 * descriptor that posix_on_signals reads.
 *
 * Ownership: the caller joins the thread.
 * Threads:   any.
 */
#ifndef COMMON_POSIX_THREAD_H
#define COMMON_POSIX_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/* False when the system has no thread left. `name`: at most 15 bytes. */
bool posix_thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *ctx), void *ctx);

#endif

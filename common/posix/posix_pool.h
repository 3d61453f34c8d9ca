/* posix_pool: threads for what may block (sync, file creation and removal, reads that miss the page cache, resolution
 * of names).
 *
 * Shape:     one queue, first in first out; threads start when work waits and none is idle, up to threads_max, and
 *            then stay.
 * Ownership: tasks are borrowed until they have run; a task may free itself.
 * Threads:   any may submit; posix_pool_free by the maker, when nobody submits any more.
 */
#ifndef COMMON_POSIX_POOL_H
#define COMMON_POSIX_POOL_H

#include "common/seam/loop.h"

struct posix_pool;

/* `name` (at most 15 bytes) names the threads. */
struct posix_pool *posix_pool_new(const char *name, unsigned threads_max);
/* Finishes what is queued, then ends the threads. */
void posix_pool_free(struct posix_pool *pool);
/* Runs task->run(task) on a thread of the pool. */
void posix_pool_submit(struct posix_pool *pool, struct loop_task *task);

#endif

/* posix_runtime: loops as threads (struct runtime of common/seam/loop.h). Private to common/posix.
 *
 * Threads:   loops are made, started, joined and freed by one thread, the maker's.
 */
#ifndef COMMON_POSIX_RUNTIME_H
#define COMMON_POSIX_RUNTIME_H

#include "common/seam/loop.h"

struct clock;
struct posix_pool;
struct posix_runtime;

struct posix_runtime *posix_runtime_new(struct clock *clock, struct posix_pool *pool, unsigned cpu_count);
/* Every loop has been freed. */
void posix_runtime_free(struct posix_runtime *posix);
struct runtime *posix_runtime_get(struct posix_runtime *posix);

#endif

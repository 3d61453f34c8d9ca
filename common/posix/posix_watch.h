/* posix_watch: tells when a descriptor can be read or written, level-triggered, on a loop. Private to common/posix.
 *
 * Ownership: the watch borrows the descriptor; free the watch before closing it. No callback follows
 *            posix_watch_free, also when called from the watch's own callback.
 * Threads:   the loop's own.
 */
#ifndef COMMON_POSIX_WATCH_H
#define COMMON_POSIX_WATCH_H

#include "common/seam/loop.h"

struct posix_watch;

/* `events`: one of enum net_event (common/seam/net.h); a descriptor that is both is reported by two calls. */
typedef void (*posix_watch_fn)(void *ctx, unsigned events);

/* Watches nothing at first. */
struct posix_watch *posix_watch_new(struct loop *loop, int fd, posix_watch_fn on_event, void *ctx);
/* Sets what is reported: a union of enum net_event. Costs nothing when nothing changes. */
void posix_watch_set(struct posix_watch *watch, unsigned events);
void posix_watch_free(struct posix_watch *watch);

#endif

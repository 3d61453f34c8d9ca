/* posix_disk_watch: finds the call to a file that does not come back. Private to common/posix.
 *
 * Shape:     a thread that looks at the calls under way some thirty times within the limit. A call is a stall when it has been seen for
 *            the limit, and the block device below it has completed nothing for a third of the limit; a device that goes on is
 *            slow (a syncfs of many gigabytes), not hung, and has ten times the limit. File systems without a block device of
 *            their own (network, overlay, FUSE) have the limit alone. Time counts only while the thread itself runs: a process that
 *            was stopped, or a machine that was paused, is no disk that hangs.
 * Errors:    on_stall comes at most once, on the watch's thread, which asks no file system but proc and sysfs: it still runs
 *            when everything else hangs.
 * Threads:   made and freed by one thread.
 * Source:    testing.md 10, row 19; ADR-0014.
 */
#ifndef COMMON_POSIX_DISK_WATCH_H
#define COMMON_POSIX_DISK_WATCH_H

#include "common/posix/posix_file_calls.h"

#include <stdbool.h>

struct posix_disk_watch;

struct posix_stall {
    const char *what;
    const char *path;
    uint64_t waited_us;
};

struct posix_disk_watch_config {
    struct posix_file_calls *calls;
    uint64_t limit_us;
    void (*on_stall)(void *ctx, const struct posix_stall *stall);
    void *ctx;
    /* How many reads and writes the device (st_dev) has completed; false: there is no such number. posix_device_done. */
    bool (*device_done)(uint64_t device, uint64_t *ret_done);
};

/* NULL when the system has no thread left. */
struct posix_disk_watch *posix_disk_watch_new(const struct posix_disk_watch_config *config);
/* NULL is fine. */
void posix_disk_watch_free(struct posix_disk_watch *watch);

bool posix_device_done(uint64_t device, uint64_t *ret_done);

#endif

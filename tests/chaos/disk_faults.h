/* disk_faults: what goes wrong on the disk of disk_fuse, as a control says it in words, and counts of it.
 *
 * Shape:     one word of command and its values on a line of the standard input, one line of JSON as the answer:
 *              lose                       the power goes: all that was not synced is gone, calls that hang or wait end with EIO
 *              off, on                    the same, and until "on" every call that reads, writes, syncs or changes names ends with EIO
 *              sync                       everything is synced
 *              slow SYNC_MS RATE          each sync takes so long, and its changed bytes at RATE bytes per second (0: at once)
 *              hang KINDS                 "write", "sync", "all" (names and reads too) are not answered until "hang none" or a loss
 *              fail KIND COUNT PATTERN    the next COUNT calls (-1: all) of "write" or "sync" on DIRECTORY/NAME like PATTERN end with EIO;
 *                                         the kernel cuts one write into several where a page was not read: one that goes on at a page
 *                                         behind the write before fails once more when it is tried again, or nobody would hear of it
 *              space BYTES                files may have so many bytes in all (-1: no limit)
 *              tear PATTERN PERMILLE      of the next write to such a file this part reaches the disk, with the file and its name; it is never answered
 *              told                       nothing but the counts, which every answer has
 * Errors:    an error for a write comes before anything is written; ENOSPC after what fits. A sync takes over what was there when it began; a slow one before or after it has waited, in turn.
 * Threads:   any; faults_lock is held around the layers as well.
 * Source:    testing.md 9 and 10 (rows 18 to 24).
 */
#ifndef TESTS_CHAOS_DISK_FAULTS_H
#define TESTS_CHAOS_DISK_FAULTS_H

#include "disk_layers.h"

#include <pthread.h>

#define FAULT_TEXT_BYTES 256u

enum fault_kind { FAULT_WRITE, FAULT_SYNC, FAULT_NAMES, FAULT_READ, FAULT_KIND_COUNT };

struct fault_counts {
    uint64_t writes, syncs, failed, failed_syncs, full, hung, torn, waiting, synced_after_failure, slow_ms, cut_syncs;
};

struct faults {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct disk *disk;
    uint64_t losses; /* how often the power went: whoever waited meanwhile has nothing to write any more */
    int64_t sync_delay_ms, bytes_per_second, bytes_max;
    bool is_off; /* without power */
    bool is_hung[FAULT_KIND_COUNT];
    int64_t fail_count[FAULT_KIND_COUNT];
    char fail_pattern[FAULT_KIND_COUNT][FAULT_TEXT_BYTES];
    uint64_t last_id, last_end;          /* of the last write that went well */
    uint64_t refused_id, refused_pos;    /* of a failed one that went on behind it (0: none) */
    char tear_pattern[FAULT_TEXT_BYTES]; /* empty: none */
    int64_t tear_permille;
    bool has_sync_failed; /* since the last "fail", from where synced_after_failure is counted */
    struct fault_counts counts;
};

void faults_init(struct faults *faults, struct disk *disk);

/* All with the lock held; they give it up while they wait. 0 or an errno. `ret_bytes`: how many of `bytes` are written. */
int faults_write(struct faults *faults, struct disk_inode *file, const void *data, size_t bytes, uint64_t pos,
                 size_t *ret_bytes);
int faults_sync(struct faults *faults, struct disk_inode *inode); /* NULL: everything */
int faults_names(struct faults *faults);                          /* before names change */
int faults_read(struct faults *faults);                           /* before something is read */

/* Reads commands until there are no more. */
void faults_obey(struct faults *faults);

#endif

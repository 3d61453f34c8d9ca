/* sync_item: what one log wants brought to disk by one sync job: captured on the log's thread, carried out by the pool,
 * applied on the log's thread again.
 *
 * Shape:     files to sync; then side files, written aside and synced, whose renames must not happen before the files are
 *            on disk (marks vouch for them); then the directory; then removal of a snapshot that is superseded.
 * Ownership: the item owns references and bytes until sync_item_done. `log` is borrowed: it waits for its jobs.
 * Threads:   capture and apply: the log's; the three sync_item_* steps: a pool job, no access to the log.
 * Source:    design.md 5 and 6, correctness.md 4 trap 17, ADR-0004.
 */
#ifndef BROKER_STORAGE_SYNC_ITEM_H
#define BROKER_STORAGE_SYNC_ITEM_H

#include "broker/storage/log_marks.h"
#include "common/bytebuf.h"

struct file;
struct fs;
struct log_waiter;
struct partition_log;

/* Epochs, snapshot, marks: in this order. */
#define SYNC_SIDE_FILES_MAX 3u

struct side_write {
    char *path;
    struct bytebuf bytes;
};

struct synced_segment {
    int64_t base_offset;
    uint64_t bytes;
};

struct sync_item {
    struct partition_log *log;
    int64_t end_offset;
    struct file **files;
    size_t file_count;
    size_t file_capacity;
    struct synced_segment *segments;
    size_t segment_count;
    struct side_write sides[SYNC_SIDE_FILES_MAX];
    size_t side_count;
    bool wants_dir_sync;
    const char *dir_path; /* borrowed from the log, which never changes it */
    char *obsolete_path;  /* a snapshot to remove at the end; NULL */
    bool has_marks;
    struct log_marks marks;
    bool has_epochs;
    struct log_waiter *waiters;
};

/* On the log's thread. After an error the directory is to be failed and the item applied with that error. */
enum err log_sync_capture(struct partition_log *log, struct sync_item *ret_item) MUST_USE;
/* On the log's thread, once per captured item. Takes the waiters out and calls them; frees nothing else. True when the synced end
 * or another counted end has moved. */
bool log_sync_apply(struct sync_item *item, enum err err);

size_t sync_item_file_count(const struct sync_item *item);
/* Writes the side files aside; syncs nothing. */
enum err sync_item_write(struct fs *fs, const struct sync_item *item) MUST_USE;
/* Syncs the files and side files, one by one. */
enum err sync_item_sync(struct fs *fs, const struct sync_item *item) MUST_USE;
/* Renames the side files. */
enum err sync_item_commit(struct fs *fs, const struct sync_item *item) MUST_USE;
/* Syncs the directory when anything in it has changed, and removes what is obsolete. */
enum err sync_item_finish(struct fs *fs, const struct sync_item *item, bool is_dir_synced) MUST_USE;
void sync_item_done(struct sync_item *item);

#endif

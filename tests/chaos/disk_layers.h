/* disk_layers: a file system in memory with two layers, what everybody sees and what a power loss leaves (disk_fuse.c serves it to real processes).
 *
 * Shape:     each file has live bytes and synced bytes, each directory live and synced entries. A sync of a file takes over its changed pages and its size, a
 *            sync of a directory its entries, disk_sync_all everything. A name and what it names are independent: a file whose directory was synced, but which
 *            never was itself, is there after a power loss and empty. A failed sync leaves pages clean and not synced, as Linux does: no later sync writes them
 *            unless they are written again.
 * Limits:    orders that ext4 and XFS give and this does not, so that nobody relies on them: a file's sync makes its name permanent; metadata is journalled in
 *            its order, so a later name is never there without an earlier one; a rename over two directories is one step (here each directory is synced for
 *            itself); a file renamed over another has its bytes on the disk. The other way round, this loses all that was not synced, never a part of it
 *            (tests/crash has those), and a removed file's bytes come back with its name.
 * Errors:    functions that can fail return 0 or an errno.
 * Ownership: inodes belong to the disk; ids are never used again.
 * Threads:   one at a time: the caller has a lock.
 * Source:    testing.md 9 and 10 (rows 22 to 24), correctness.md 7.
 */
#ifndef TESTS_CHAOS_DISK_LAYERS_H
#define TESTS_CHAOS_DISK_LAYERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define DISK_PAGE_BYTES 4096u
#define DISK_ROOT_ID 1u

struct disk_bytes {
    uint8_t *data; /* zero behind `count` */
    uint64_t count;
    uint64_t room;
};

struct disk_entry {
    char *name;
    uint64_t id;
};

struct disk_entries {
    struct disk_entry *items;
    size_t count;
};

struct disk_inode {
    uint64_t id;
    bool is_directory;
    uint64_t parent_id; /* and name: as it was linked last, for who asks what it is */
    char *name;
    struct disk_bytes live, synced;
    uint8_t *dirty; /* one for each page of `live` */
    uint64_t dirty_room;
    bool is_size_dirty;
    struct disk_entries live_entries, synced_entries;
    uint64_t live_links, synced_links, lookups; /* with none of the three it is freed */
    struct timespec modified;
};

struct disk {
    struct disk_inode **inodes; /* by id */
    uint64_t inode_count;
    uint64_t used_bytes; /* of live files, removed ones that are open included */
};

/* What a power loss took. */
struct disk_loss {
    uint64_t files, bytes, names;
};

struct disk *disk_new(void);
struct disk_inode *disk_inode(struct disk *disk, uint64_t id); /* NULL: there is none */

/* NULL: no such name. */
struct disk_inode *disk_find(struct disk *disk, const struct disk_inode *directory, const char *name);
struct disk_inode *disk_make(struct disk *disk, struct disk_inode *directory, const char *name, bool is_directory);
int disk_remove(struct disk *disk, struct disk_inode *directory, const char *name, bool is_directory);
int disk_rename(struct disk *disk, struct disk_inode *from, const char *name, struct disk_inode *to,
                const char *to_name);

void disk_write(struct disk *disk, struct disk_inode *file, const void *data, size_t bytes, uint64_t pos);
void disk_truncate(struct disk *disk, struct disk_inode *file, uint64_t bytes);

void disk_sync(struct disk *disk, struct disk_inode *inode);
void disk_sync_failed(struct disk_inode *inode);
void disk_sync_all(struct disk *disk);
void disk_sync_all_failed(struct disk *disk);

/* Bytes of pages that the next sync of the file, or of all files, would write. */
uint64_t disk_dirty_bytes(const struct disk_inode *inode);
uint64_t disk_all_dirty_bytes(const struct disk *disk);

/* The power goes: everything is as it was synced. */
struct disk_loss disk_lose(struct disk *disk);

/* The kernel has forgotten so many of its lookups. */
void disk_forget(struct disk *disk, uint64_t id, uint64_t lookups);

#endif

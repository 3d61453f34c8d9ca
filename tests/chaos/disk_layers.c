#include "disk_layers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *need(void *memory)
{
    if (memory == NULL) {
        (void)fprintf(stderr, "disk: no memory\n");
        abort();
    }
    return memory;
}

static uint64_t pages_of(uint64_t bytes)
{
    return (bytes + DISK_PAGE_BYTES - 1) / DISK_PAGE_BYTES;
}

static uint64_t least(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

static void touch(struct disk_inode *inode)
{
    (void)clock_gettime(CLOCK_REALTIME, &inode->modified);
}

/* ---- bytes ---- */

static void bytes_reserve(struct disk_bytes *bytes, uint64_t count)
{
    if (count <= bytes->room) {
        return;
    }
    uint64_t room = pages_of(count > 2 * bytes->room ? count : 2 * bytes->room) * DISK_PAGE_BYTES;
    bytes->data = need(realloc(bytes->data, room));
    memset(bytes->data + bytes->room, 0, room - bytes->room);
    bytes->room = room;
}

static void bytes_resize(struct disk_bytes *bytes, uint64_t count)
{
    bytes_reserve(bytes, count);
    if (count < bytes->count) {
        memset(bytes->data + count, 0, bytes->count - count);
    }
    bytes->count = count;
}

static void bytes_copy(struct disk_bytes *to, const struct disk_bytes *from)
{
    bytes_resize(to, from->count);
    if (from->count > 0) {
        memcpy(to->data, from->data, from->count);
    }
}

/* ---- entries ---- */

static uint64_t *links_of(struct disk *disk, uint64_t id, bool is_live)
{
    struct disk_inode *inode = disk_inode(disk, id);
    return is_live ? &inode->live_links : &inode->synced_links;
}

static struct disk_entry *entries_find(const struct disk_entries *entries, const char *name)
{
    for (size_t i = 0; i < entries->count; i++) {
        if (strcmp(entries->items[i].name, name) == 0) {
            return &entries->items[i];
        }
    }
    return NULL;
}

static void entries_add(struct disk *disk, struct disk_entries *entries, const char *name, uint64_t id, bool is_live)
{
    entries->items = need(realloc(entries->items, (entries->count + 1) * sizeof(*entries->items)));
    entries->items[entries->count++] = (struct disk_entry){.name = need(strdup(name)), .id = id};
    (*links_of(disk, id, is_live))++;
}

static void entries_take(struct disk *disk, struct disk_entries *entries, struct disk_entry *entry, bool is_live)
{
    (*links_of(disk, entry->id, is_live))--;
    free(entry->name);
    size_t index = (size_t)(entry - entries->items);
    memmove(entry, entry + 1, (entries->count - index - 1) * sizeof(*entry));
    entries->count--;
}

static void entries_copy(struct disk *disk, struct disk_entries *to, const struct disk_entries *from, bool is_live)
{
    while (to->count > 0) {
        entries_take(disk, to, &to->items[to->count - 1], is_live);
    }
    for (size_t i = 0; i < from->count; i++) {
        entries_add(disk, to, from->items[i].name, from->items[i].id, is_live);
    }
}

/* Names that are in one of the two and not, or naming something else, in the other. */
static uint64_t entries_missing(const struct disk_entries *ours, const struct disk_entries *theirs)
{
    uint64_t count = 0;
    for (size_t i = 0; i < ours->count; i++) {
        const struct disk_entry *other = entries_find(theirs, ours->items[i].name);
        count += other == NULL || other->id != ours->items[i].id;
    }
    return count;
}

/* ---- inodes ---- */

struct disk_inode *disk_inode(struct disk *disk, uint64_t id)
{
    return id < disk->inode_count ? disk->inodes[id] : NULL;
}

static struct disk_inode *inode_new(struct disk *disk, bool is_directory)
{
    disk->inodes = need(realloc(disk->inodes, (disk->inode_count + 1) * sizeof(struct disk_inode *)));
    struct disk_inode *inode = need(calloc(1, sizeof(*inode)));
    inode->id = disk->inode_count;
    inode->is_directory = is_directory;
    touch(inode);
    disk->inodes[disk->inode_count++] = inode;
    return inode;
}

static void inode_free_if_unused(struct disk *disk, struct disk_inode *inode)
{
    if (inode->id == DISK_ROOT_ID || inode->live_links + inode->synced_links + inode->lookups > 0) {
        return;
    }
    entries_copy(disk, &inode->live_entries, &(struct disk_entries){0}, true);
    entries_copy(disk, &inode->synced_entries, &(struct disk_entries){0}, false);
    disk->used_bytes -= inode->live.count;
    disk->inodes[inode->id] = NULL;
    free(inode->live_entries.items);
    free(inode->synced_entries.items);
    free(inode->live.data);
    free(inode->synced.data);
    free(inode->dirty);
    free(inode->name);
    free(inode);
}

/* A directory that goes may leave others without a link: until nothing more goes. */
static void free_unused(struct disk *disk)
{
    for (uint64_t id = disk->inode_count; id-- > DISK_ROOT_ID + 1;) {
        if (disk->inodes[id] != NULL) {
            inode_free_if_unused(disk, disk->inodes[id]);
        }
    }
}

struct disk *disk_new(void)
{
    struct disk *disk = need(calloc(1, sizeof(*disk)));
    disk->inodes = need(calloc(1, sizeof(struct disk_inode *)));
    disk->inode_count = DISK_ROOT_ID; /* nothing has the id 0 */
    struct disk_inode *root = inode_new(disk, true);
    root->name = need(strdup(""));
    root->parent_id = DISK_ROOT_ID;
    return disk;
}

void disk_forget(struct disk *disk, uint64_t id, uint64_t lookups)
{
    struct disk_inode *inode = disk_inode(disk, id);
    if (inode != NULL) {
        inode->lookups -= least(lookups, inode->lookups);
        inode_free_if_unused(disk, inode);
    }
}

/* ---- names ---- */

static void link_name(struct disk *disk, struct disk_inode *directory, const char *name, struct disk_inode *inode)
{
    entries_add(disk, &directory->live_entries, name, inode->id, true);
    free(inode->name);
    inode->name = need(strdup(name));
    inode->parent_id = directory->id;
    touch(directory);
}

struct disk_inode *disk_find(struct disk *disk, const struct disk_inode *directory, const char *name)
{
    const struct disk_entry *entry = entries_find(&directory->live_entries, name);
    return entry == NULL ? NULL : disk_inode(disk, entry->id);
}

struct disk_inode *disk_make(struct disk *disk, struct disk_inode *directory, const char *name, bool is_directory)
{
    struct disk_inode *inode = inode_new(disk, is_directory);
    link_name(disk, directory, name, inode);
    return inode;
}

int disk_remove(struct disk *disk, struct disk_inode *directory, const char *name, bool is_directory)
{
    struct disk_entry *entry = entries_find(&directory->live_entries, name);
    struct disk_inode *inode = entry == NULL ? NULL : disk_inode(disk, entry->id);
    if (inode == NULL) {
        return ENOENT;
    }
    if (inode->is_directory != is_directory) {
        return is_directory ? ENOTDIR : EISDIR;
    }
    if (inode->live_entries.count > 0) {
        return ENOTEMPTY;
    }
    entries_take(disk, &directory->live_entries, entry, true);
    touch(directory);
    inode_free_if_unused(disk, inode);
    return 0;
}

int disk_rename(struct disk *disk, struct disk_inode *from, const char *name, struct disk_inode *to,
                const char *to_name)
{
    struct disk_inode *inode = disk_find(disk, from, name);
    struct disk_inode *replaced = disk_find(disk, to, to_name);
    if (inode == NULL) {
        return ENOENT;
    }
    if (replaced == inode) {
        return 0;
    }
    if (replaced != NULL) {
        int error = disk_remove(disk, to, to_name, inode->is_directory);
        if (error != 0) {
            return error;
        }
    }
    link_name(disk, to, to_name, inode);
    entries_take(disk, &from->live_entries, entries_find(&from->live_entries, name), true);
    touch(from);
    return 0;
}

/* ---- what is written ---- */

static void mark_dirty(struct disk_inode *file, uint64_t pos, uint64_t end_pos)
{
    uint64_t pages = pages_of(end_pos);
    if (pages > file->dirty_room) {
        uint64_t room = pages > 2 * file->dirty_room ? pages : 2 * file->dirty_room;
        file->dirty = need(realloc(file->dirty, room));
        memset(file->dirty + file->dirty_room, 0, room - file->dirty_room);
        file->dirty_room = room;
    }
    if (end_pos > pos) {
        memset(file->dirty + pos / DISK_PAGE_BYTES, 1, pages - pos / DISK_PAGE_BYTES);
    }
}

void disk_write(struct disk *disk, struct disk_inode *file, const void *data, size_t bytes, uint64_t pos)
{
    uint64_t end_pos = pos + bytes;
    if (bytes == 0) {
        return;
    }
    if (end_pos > file->live.count) {
        disk->used_bytes += end_pos - file->live.count;
        bytes_resize(&file->live, end_pos);
        file->is_size_dirty = true;
    }
    memcpy(file->live.data + pos, data, bytes);
    mark_dirty(file, pos, end_pos);
    touch(file);
}

void disk_truncate(struct disk *disk, struct disk_inode *file, uint64_t bytes)
{
    if (bytes < file->live.count) {
        mark_dirty(file, bytes, file->live.count); /* zeroes, should the file grow again */
    }
    disk->used_bytes = disk->used_bytes - file->live.count + bytes;
    file->is_size_dirty = true;
    bytes_resize(&file->live, bytes);
    touch(file);
}

/* ---- what is synced ---- */

static void clean(struct disk_inode *inode)
{
    if (inode->dirty_room > 0) {
        memset(inode->dirty, 0, inode->dirty_room);
    }
    inode->is_size_dirty = false;
}

void disk_sync(struct disk *disk, struct disk_inode *inode)
{
    if (inode->is_directory) {
        entries_copy(disk, &inode->synced_entries, &inode->live_entries, false);
        free_unused(disk);
        return;
    }
    uint64_t pages = least(pages_of(inode->live.count), inode->dirty_room);
    for (uint64_t page = 0; page < pages; page++) {
        uint64_t pos = page * DISK_PAGE_BYTES;
        uint64_t bytes = least(inode->live.count - pos, DISK_PAGE_BYTES);
        if (inode->dirty[page] != 0) {
            /* A page that is written takes the size with it, as far as it goes. */
            bytes_resize(&inode->synced, inode->synced.count > pos + bytes ? inode->synced.count : pos + bytes);
            memcpy(inode->synced.data + pos, inode->live.data + pos, bytes);
        }
    }
    if (inode->is_size_dirty) {
        bytes_resize(&inode->synced, inode->live.count);
    }
    clean(inode);
}

void disk_sync_failed(struct disk_inode *inode)
{
    clean(inode);
}

void disk_sync_all(struct disk *disk)
{
    for (uint64_t id = DISK_ROOT_ID; id < disk->inode_count; id++) {
        struct disk_inode *inode = disk->inodes[id];
        if (inode != NULL && inode->is_directory) {
            entries_copy(disk, &inode->synced_entries, &inode->live_entries, false);
        } else if (inode != NULL) {
            disk_sync(disk, inode);
        }
    }
    free_unused(disk);
}

void disk_sync_all_failed(struct disk *disk)
{
    for (uint64_t id = DISK_ROOT_ID; id < disk->inode_count; id++) {
        if (disk->inodes[id] != NULL) {
            clean(disk->inodes[id]);
        }
    }
}

uint64_t disk_dirty_bytes(const struct disk_inode *inode)
{
    uint64_t pages = 0;
    for (uint64_t page = 0; page < inode->dirty_room; page++) {
        pages += inode->dirty[page];
    }
    return pages * DISK_PAGE_BYTES;
}

uint64_t disk_all_dirty_bytes(const struct disk *disk)
{
    uint64_t bytes = 0;
    for (uint64_t id = DISK_ROOT_ID; id < disk->inode_count; id++) {
        bytes += disk->inodes[id] != NULL ? disk_dirty_bytes(disk->inodes[id]) : 0;
    }
    return bytes;
}

/* ---- the power goes ---- */

static bool is_different(const struct disk_bytes *one, const struct disk_bytes *other)
{
    return one->count != other->count || (one->count > 0 && memcmp(one->data, other->data, one->count) != 0);
}

struct disk_loss disk_lose(struct disk *disk)
{
    struct disk_loss loss = {0};
    for (uint64_t id = DISK_ROOT_ID; id < disk->inode_count; id++) {
        struct disk_inode *inode = disk->inodes[id];
        if (inode == NULL) {
            continue;
        }
        loss.names += entries_missing(&inode->live_entries, &inode->synced_entries) +
                      entries_missing(&inode->synced_entries, &inode->live_entries);
        if (is_different(&inode->live, &inode->synced)) {
            loss.files++;
            loss.bytes += inode->live.count > inode->synced.count ? inode->live.count - inode->synced.count : 0;
        }
    }
    disk->used_bytes = 0;
    for (uint64_t id = DISK_ROOT_ID; id < disk->inode_count; id++) {
        struct disk_inode *inode = disk->inodes[id];
        if (inode != NULL) {
            entries_copy(disk, &inode->live_entries, &inode->synced_entries, true);
            bytes_copy(&inode->live, &inode->synced);
            disk->used_bytes += inode->live.count;
            clean(inode);
            touch(inode);
        }
    }
    /* What has a name again is called as it was then. */
    for (uint64_t id = DISK_ROOT_ID; id < disk->inode_count; id++) {
        const struct disk_inode *directory = disk->inodes[id];
        for (size_t i = 0; directory != NULL && i < directory->live_entries.count; i++) {
            struct disk_inode *inode = disk_inode(disk, directory->live_entries.items[i].id);
            free(inode->name);
            inode->name = need(strdup(directory->live_entries.items[i].name));
            inode->parent_id = id;
        }
    }
    free_unused(disk);
    return loss;
}

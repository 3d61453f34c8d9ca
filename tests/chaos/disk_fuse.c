/* A disk for a node of a run (rows_disk.py builds and mounts it): disk_layers as a file system in user space, with the faults of disk_faults. Its first
 * line on standard output says that it is mounted; it ends with its standard input.
 *
 *     disk_fuse FOLDER
 *
 * The kernel asks for names and attributes each time, and for a file's bytes after each open. syncfs(2) does not reach file systems in user space:
 * disk_preload.c makes it the ioctl below. Locks (flock) are the kernel's own. */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 312
#include "disk_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#define SYNC_ALL_CALL ((unsigned)_IO('M', 24)) /* disk_preload.c has the same */
#define THREADS_MAX 64
#define SIZE_SHOWN_BYTES (64ull << 30) /* of a disk without limit */

static struct faults faults;

static void lock(void)
{
    (void)pthread_mutex_lock(&faults.lock);
}

static void unlock(void)
{
    (void)pthread_mutex_unlock(&faults.lock);
}

static struct disk_inode *inode_of(fuse_ino_t id)
{
    return disk_inode(faults.disk, id);
}

static struct stat status_of(const struct disk_inode *inode)
{
    return (struct stat){.st_ino = inode->id,
                         .st_mode = inode->is_directory ? S_IFDIR | 0700 : S_IFREG | 0600,
                         .st_nlink = inode->is_directory ? 2 : inode->live_links,
                         .st_size = (off_t)inode->live.count,
                         .st_blocks = (blkcnt_t)((inode->live.count + 511) / 512),
                         .st_blksize = DISK_PAGE_BYTES,
                         .st_atim = inode->modified,
                         .st_mtim = inode->modified,
                         .st_ctim = inode->modified};
}

static struct fuse_entry_param entry_of(struct disk_inode *inode)
{
    inode->lookups++;
    return (struct fuse_entry_param){.ino = inode->id, .attr = status_of(inode)};
}

/* Ends what a call began with lock(). */
static void reply_entry(fuse_req_t request, struct disk_inode *inode, int error)
{
    struct fuse_entry_param entry = {0};
    if (error == 0) {
        entry = entry_of(inode);
    }
    unlock();
    (void)(error == 0 ? fuse_reply_entry(request, &entry) : fuse_reply_err(request, error));
}

static void reply_done(fuse_req_t request, int error)
{
    unlock();
    (void)fuse_reply_err(request, error);
}

/* ---- names ---- */

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    lock();
    struct disk_inode *directory = inode_of(parent);
    struct disk_inode *inode = directory == NULL ? NULL : disk_find(faults.disk, directory, name);
    reply_entry(request, inode, inode == NULL ? ENOENT : 0);
}

static void on_forget(fuse_req_t request, fuse_ino_t id, uint64_t lookups)
{
    lock();
    disk_forget(faults.disk, id, lookups);
    unlock();
    fuse_reply_none(request);
}

static struct disk_inode *make(fuse_ino_t parent, const char *name, bool is_directory, int *ret_error)
{
    *ret_error = faults_names(&faults);
    struct disk_inode *directory = inode_of(parent);
    if (*ret_error == 0 && directory == NULL) {
        *ret_error = ENOENT;
    }
    if (*ret_error == 0 && disk_find(faults.disk, directory, name) != NULL) {
        *ret_error = EEXIST;
    }
    return *ret_error == 0 ? disk_make(faults.disk, directory, name, is_directory) : NULL;
}

static void on_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
    (void)mode;
    int error = 0;
    lock();
    struct disk_inode *inode = make(parent, name, true, &error);
    reply_entry(request, inode, error);
}

static void on_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info)
{
    (void)mode;
    int error = 0;
    lock();
    struct disk_inode *inode = make(parent, name, false, &error);
    if (error != 0) {
        reply_done(request, error);
        return;
    }
    struct fuse_entry_param entry = entry_of(inode);
    unlock();
    (void)fuse_reply_create(request, &entry, info);
}

static void remove_name(fuse_req_t request, fuse_ino_t parent, const char *name, bool is_directory)
{
    lock();
    int error = faults_names(&faults);
    struct disk_inode *directory = inode_of(parent);
    if (error == 0) {
        error = directory == NULL ? ENOENT : disk_remove(faults.disk, directory, name, is_directory);
    }
    reply_done(request, error);
}

static void on_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    remove_name(request, parent, name, false);
}

static void on_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    remove_name(request, parent, name, true);
}

static void on_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
                      const char *to_name, unsigned flags)
{
    lock();
    int error = flags != 0 ? EINVAL : faults_names(&faults);
    struct disk_inode *from = inode_of(parent);
    struct disk_inode *to = inode_of(to_parent);
    if (error == 0) {
        error = from == NULL || to == NULL ? ENOENT : disk_rename(faults.disk, from, name, to, to_name);
    }
    reply_done(request, error);
}

/* ---- attributes ---- */

static void reply_status(fuse_req_t request, fuse_ino_t id, int error)
{
    const struct disk_inode *inode = inode_of(id);
    if (error != 0 || inode == NULL) {
        reply_done(request, error != 0 ? error : ENOENT);
        return;
    }
    struct stat status = status_of(inode);
    unlock();
    (void)fuse_reply_attr(request, &status, 0);
}

static void on_getattr(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
    (void)info;
    lock();
    reply_status(request, id, 0);
}

/* Sizes and times; owners and modes are what they are. */
static void on_setattr(fuse_req_t request, fuse_ino_t id, struct stat *wanted, int which, struct fuse_file_info *info)
{
    (void)info;
    lock();
    int error = (which & FUSE_SET_ATTR_SIZE) != 0 ? faults_names(&faults) : 0;
    struct disk_inode *inode = inode_of(id);
    if (error == 0 && inode != NULL && (which & FUSE_SET_ATTR_SIZE) != 0) {
        disk_truncate(faults.disk, inode, (uint64_t)wanted->st_size);
    }
    if (error == 0 && inode != NULL && (which & FUSE_SET_ATTR_MTIME) != 0 && (which & FUSE_SET_ATTR_MTIME_NOW) == 0) {
        inode->modified = wanted->st_mtim;
    }
    reply_status(request, id, error);
}

static void on_statfs(fuse_req_t request, fuse_ino_t id)
{
    (void)id;
    lock();
    uint64_t all_bytes = faults.bytes_max < 0 ? SIZE_SHOWN_BYTES : (uint64_t)faults.bytes_max;
    uint64_t free_bytes = all_bytes > faults.disk->used_bytes ? all_bytes - faults.disk->used_bytes : 0;
    unlock();
    struct statvfs status = {.f_bsize = DISK_PAGE_BYTES,
                             .f_frsize = DISK_PAGE_BYTES,
                             .f_blocks = all_bytes / DISK_PAGE_BYTES,
                             .f_bfree = free_bytes / DISK_PAGE_BYTES,
                             .f_bavail = free_bytes / DISK_PAGE_BYTES,
                             .f_namemax = FAULT_TEXT_BYTES - 1};
    (void)fuse_reply_statfs(request, &status);
}

/* ---- files ---- */

static void on_open(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
    lock();
    struct disk_inode *inode = inode_of(id);
    int error = inode == NULL ? ENOENT : 0;
    if (error == 0 && (info->flags & O_TRUNC) != 0) {
        error = faults_names(&faults);
        if (error == 0) {
            disk_truncate(faults.disk, inode, 0);
        }
    }
    unlock();
    (void)(error == 0 ? fuse_reply_open(request, info) : fuse_reply_err(request, error));
}

static void on_read(fuse_req_t request, fuse_ino_t id, size_t bytes, off_t pos, struct fuse_file_info *info)
{
    (void)info;
    char *copy = malloc(bytes > 0 ? bytes : 1);
    size_t count = 0;
    lock();
    int error = faults_read(&faults);
    const struct disk_inode *inode = inode_of(id);
    if (inode != NULL && copy != NULL && (uint64_t)pos < inode->live.count) {
        uint64_t left_bytes = inode->live.count - (uint64_t)pos;
        count = left_bytes < bytes ? (size_t)left_bytes : bytes;
        memcpy(copy, inode->live.data + pos, count);
    }
    unlock();
    (void)(error == 0 ? fuse_reply_buf(request, copy, count) : fuse_reply_err(request, error));
    free(copy);
}

static void on_write(fuse_req_t request, fuse_ino_t id, const char *data, size_t bytes, off_t pos,
                     struct fuse_file_info *info)
{
    (void)info;
    size_t written_bytes = 0;
    lock();
    struct disk_inode *inode = inode_of(id);
    int error = inode == NULL ? EIO : faults_write(&faults, inode, data, bytes, (uint64_t)pos, &written_bytes);
    unlock();
    (void)(error == 0 ? fuse_reply_write(request, written_bytes) : fuse_reply_err(request, error));
}

static void on_fsync(fuse_req_t request, fuse_ino_t id, int is_data, struct fuse_file_info *info)
{
    (void)is_data;
    (void)info;
    lock();
    struct disk_inode *inode = inode_of(id);
    reply_done(request, inode == NULL ? EIO : faults_sync(&faults, inode));
}

static void on_ioctl(fuse_req_t request, fuse_ino_t id, unsigned call, void *argument, struct fuse_file_info *info,
                     unsigned flags, const void *data, size_t in_bytes, size_t out_bytes)
{
    (void)id;
    (void)argument;
    (void)info;
    (void)flags;
    (void)data;
    (void)in_bytes;
    (void)out_bytes;
    if (call != SYNC_ALL_CALL) {
        (void)fuse_reply_err(request, ENOTTY);
        return;
    }
    lock();
    int error = faults_sync(&faults, NULL);
    unlock();
    (void)(error == 0 ? fuse_reply_ioctl(request, 0, NULL, 0) : fuse_reply_err(request, error));
}

/* ---- listing: as the directory was when it was opened ---- */

struct listing {
    size_t count;
    struct disk_entry entries[];
};

static void on_opendir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
    lock();
    const struct disk_inode *inode = inode_of(id);
    size_t count = inode == NULL ? 0 : inode->live_entries.count;
    struct listing *listing = calloc(1, sizeof(*listing) + count * sizeof(listing->entries[0]));
    for (size_t i = 0; listing != NULL && i < count; i++) {
        char *name = strdup(inode->live_entries.items[i].name);
        if (name != NULL) {
            listing->entries[listing->count++] =
                (struct disk_entry){.name = name, .id = inode->live_entries.items[i].id};
        }
    }
    unlock();
    info->fh = (uint64_t)(uintptr_t)listing;
    (void)(listing != NULL ? fuse_reply_open(request, info) : fuse_reply_err(request, ENOMEM));
}

static void on_readdir(fuse_req_t request, fuse_ino_t id, size_t bytes, off_t pos, struct fuse_file_info *info)
{
    (void)id;
    const struct listing *listing = (const struct listing *)(uintptr_t)info->fh;
    char *answer = calloc(1, bytes > 0 ? bytes : 1);
    size_t used_bytes = 0;
    for (size_t i = (size_t)pos; answer != NULL && i < listing->count; i++) {
        struct stat status = {.st_ino = listing->entries[i].id};
        size_t entry_bytes = fuse_add_direntry(request, answer + used_bytes, bytes - used_bytes,
                                               listing->entries[i].name, &status, (off_t)i + 1);
        if (entry_bytes > bytes - used_bytes) {
            break;
        }
        used_bytes += entry_bytes;
    }
    (void)fuse_reply_buf(request, answer, used_bytes);
    free(answer);
}

static void on_releasedir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
    (void)id;
    struct listing *listing = (struct listing *)(uintptr_t)info->fh;
    for (size_t i = 0; i < listing->count; i++) {
        free(listing->entries[i].name);
    }
    free(listing);
    (void)fuse_reply_err(request, 0);
}

static void on_init(void *ctx, struct fuse_conn_info *connection)
{
    (void)ctx;
    connection->want |= connection->capable & FUSE_CAP_IOCTL_DIR; /* syncfs is asked of directories, too */
}

static const struct fuse_lowlevel_ops operations = {
    .init = on_init,
    .lookup = on_lookup,
    .forget = on_forget,
    .mkdir = on_mkdir,
    .create = on_create,
    .unlink = on_unlink,
    .rmdir = on_rmdir,
    .rename = on_rename,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .statfs = on_statfs,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
    .fsyncdir = on_fsync,
    .ioctl = on_ioctl,
    .opendir = on_opendir,
    .readdir = on_readdir,
    .releasedir = on_releasedir,
};

static void *control(void *folder)
{
    faults_obey(&faults);
    (void)umount2(folder, MNT_DETACH);
    _exit(0); /* the kernel ends what is still asked with an error */
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 2) {
        (void)fprintf(stderr, "disk_fuse FOLDER\n");
        return 2;
    }
    char *words[] = {arguments[0], "-o", "fsname=disk_fuse"};
    struct fuse_args options = FUSE_ARGS_INIT(3, words);
    faults_init(&faults, disk_new());
    struct fuse_session *session = fuse_session_new(&options, &operations, sizeof(operations), NULL);
    if (session == NULL || fuse_session_mount(session, arguments[1]) != 0) {
        return 1;
    }
    pthread_t thread;
    struct fuse_loop_config *how = fuse_loop_cfg_create();
    fuse_loop_cfg_set_max_threads(how, THREADS_MAX);
    fuse_loop_cfg_set_idle_threads(how, THREADS_MAX);
    (void)printf("mounted\n");
    (void)fflush(stdout);
    if (pthread_create(&thread, NULL, control, arguments[1]) != 0) {
        return 1;
    }
    return fuse_session_loop_mt(session, how) == 0 ? 0 : 1;
}

#include "common/posix/posix_fs.h"

#include "common/mem.h"
#include "common/posix/posix_file_calls.h"
#include "common/posix/posix_pool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_MODE 0600
#define DIRECTORY_MODE 0700
#define WRITE_VECTORS_MAX 64 /* spans given to one pwritev */

struct posix_fs {
    struct fs base;
    struct posix_pool *pool;
    struct posix_file_calls *calls;
    struct posix_cache_probe cache_probe;
};

struct posix_file {
    struct file base;
    int fd;
    uint64_t device;             /* st_dev */
    struct loop_task close_task; /* when the pool closes */
};

static struct posix_file *file_of(struct file *file)
{
    return CONTAINER_OF(file, struct posix_file, base);
}

static struct posix_fs *fs_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct posix_fs, base);
}

static union posix_file_call *call_at(struct fs *fs, const char *what, const char *path)
{
    return posix_file_call_at(fs_of(fs)->calls, what, path);
}

static union posix_file_call *call_on(struct file *file, const char *what)
{
    return posix_file_call_on(fs_of(file->fs)->calls, what, file_of(file)->fd, file_of(file)->device);
}

static enum err last_error(void)
{
    return err_from_errno(errno);
}

static int open_retried(const char *path, int flags)
{
    int fd = -1;
    do {
        fd = open(path, flags | O_CLOEXEC, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static struct file *file_make(struct fs *fs, int fd)
{
    struct posix_file *file = MEM_NEW(struct posix_file);
    struct stat status;
    file->device = fstat(fd, &status) == 0 ? status.st_dev : 0;
    file->base.fs = fs;
    atomic_init(&file->base.reference_count, 1);
    file->fd = fd;
    return &file->base;
}

static enum err posix_open(struct fs *fs, const char *path, unsigned flags, struct file **ret_file)
{
    int open_flags = (flags & FS_OPEN_WRITE) != 0 ? O_RDWR : O_RDONLY;
    open_flags |= (flags & FS_OPEN_CREATE) != 0 ? O_CREAT : 0;
    open_flags |= (flags & FS_OPEN_EXCLUSIVE) != 0 ? O_EXCL : 0;
    open_flags |= (flags & FS_OPEN_TRUNCATE) != 0 ? O_TRUNC : 0;
    int fd = open_retried(path, open_flags);
    if (fd < 0) {
        return last_error();
    }
    *ret_file = file_make(fs, fd);
    return ERR_OK;
}

static enum err posix_stat(struct fs *fs, const char *path, struct fs_stat *ret_stat)
{
    (void)fs;
    struct stat status;
    if (stat(path, &status) != 0) {
        return last_error();
    }
    *ret_stat = (struct fs_stat){
        .bytes = (uint64_t)status.st_size,
        .is_directory = S_ISDIR(status.st_mode),
        .modified_ms = (int64_t)status.st_mtim.tv_sec * 1000 + status.st_mtim.tv_nsec / 1000000,
    };
    return ERR_OK;
}

static enum err posix_rename(struct fs *fs, const char *from_path, const char *to_path)
{
    (void)fs;
    return rename(from_path, to_path) == 0 ? ERR_OK : last_error();
}

static enum err posix_unlink(struct fs *fs, const char *path)
{
    (void)fs;
    return unlink(path) == 0 ? ERR_OK : last_error();
}

static enum err posix_mkdir(struct fs *fs, const char *path)
{
    (void)fs;
    return mkdir(path, DIRECTORY_MODE) == 0 ? ERR_OK : last_error();
}

static enum err posix_rmdir(struct fs *fs, const char *path)
{
    (void)fs;
    return rmdir(path) == 0 ? ERR_OK : last_error();
}

static enum err posix_list(struct fs *fs, const char *path, fs_list_fn on_entry, void *ctx)
{
    (void)fs;
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return last_error();
    }
    enum err err = ERR_OK;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            err = last_error(); /* ERR_OK at the end */
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            on_entry(ctx, entry->d_name);
        }
    }
    closedir(directory);
    return err;
}

/* Opens `path`, calls `sync` on it, closes. Used for directories and whole file systems. */
static enum err sync_path(const char *path, int flags, int (*sync_descriptor)(int fd))
{
    int fd = open_retried(path, O_RDONLY | flags);
    if (fd < 0) {
        return last_error();
    }
    enum err err = sync_descriptor(fd) == 0 ? ERR_OK : last_error();
    close(fd);
    return err;
}

static enum err posix_sync_dir(struct fs *fs, const char *path)
{
    (void)fs;
    return sync_path(path, O_DIRECTORY, fsync);
}

static enum err posix_sync_all(struct fs *fs, const char *path)
{
    (void)fs;
    return sync_path(path, 0, syncfs);
}

static enum err posix_space(struct fs *fs, const char *path, struct fs_space *ret_space)
{
    (void)fs;
    struct statvfs status;
    if (statvfs(path, &status) != 0) {
        return last_error();
    }
    *ret_space = (struct fs_space){
        .total_bytes = (uint64_t)status.f_blocks * status.f_frsize,
        .available_bytes = (uint64_t)status.f_bavail * status.f_frsize,
    };
    return ERR_OK;
}

static enum err posix_lock(struct fs *fs, const char *path, struct file **ret_file)
{
    int fd = open_retried(path, O_RDWR | O_CREAT);
    if (fd < 0) {
        return last_error();
    }
    /* flock belongs to this open of the file, so it also keeps two nodes of one process apart. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        enum err err = errno == EWOULDBLOCK ? ERR_BUSY : last_error();
        close(fd);
        return err;
    }
    *ret_file = file_make(fs, fd);
    posix_file_calls_note_folder(fs_of(fs)->calls, path, file_of(*ret_file)->device);
    return ERR_OK;
}

static enum err posix_real_path(struct fs *fs, const char *path, char **ret_path)
{
    (void)fs;
    char *resolved = realpath(path, NULL);
    if (resolved == NULL) {
        return last_error();
    }
    *ret_path = mem_strdup(resolved);
    free(resolved);
    return ERR_OK;
}

static enum err posix_pread(struct file *file, void *ret_bytes, size_t bytes, uint64_t pos, size_t *ret_read_bytes)
{
    size_t done_bytes = 0;
    while (done_bytes < bytes) {
        ssize_t count =
            pread(file_of(file)->fd, (char *)ret_bytes + done_bytes, bytes - done_bytes, (off_t)(pos + done_bytes));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return last_error();
        }
        if (count == 0) {
            break;
        }
        done_bytes += (size_t)count;
    }
    *ret_read_bytes = done_bytes;
    return ERR_OK;
}

/* Writes vectors[0..count) wholly; changes them on the way. */
static enum err write_vectors(int fd, struct iovec *vectors, size_t count, uint64_t *pos)
{
    while (count > 0) {
        ssize_t written = pwritev(fd, vectors, (int)count, (off_t)*pos);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return last_error();
        }
        *pos += (uint64_t)written;
        size_t left_bytes = (size_t)written;
        while (count > 0 && left_bytes >= vectors->iov_len) {
            left_bytes -= vectors->iov_len;
            vectors++;
            count--;
        }
        if (count > 0) {
            /* Short: the disk is full or the process is interrupted; the next call says which. */
            vectors->iov_base = (char *)vectors->iov_base + left_bytes;
            vectors->iov_len -= left_bytes;
        }
    }
    return ERR_OK;
}

static enum err posix_pwritev(struct file *file, const struct span *spans, size_t count, uint64_t pos)
{
    struct iovec vectors[WRITE_VECTORS_MAX];
    enum err err = ERR_OK;
    while (count > 0 && err == ERR_OK) {
        size_t part_count = count < WRITE_VECTORS_MAX ? count : WRITE_VECTORS_MAX;
        size_t vector_count = 0;
        for (size_t i = 0; i < part_count; i++) {
            if (spans[i].bytes > 0) {
                vectors[vector_count].iov_base = (void *)(uintptr_t)spans[i].data;
                vectors[vector_count].iov_len = spans[i].bytes;
                vector_count++;
            }
        }
        err = write_vectors(file_of(file)->fd, vectors, vector_count, &pos);
        spans += part_count;
        count -= part_count;
    }
    return err;
}

static enum err posix_sync(struct file *file)
{
    return fdatasync(file_of(file)->fd) == 0 ? ERR_OK : last_error();
}

static enum err posix_sync_fs(struct file *file)
{
    return syncfs(file_of(file)->fd) == 0 ? ERR_OK : last_error();
}

static enum err posix_truncate(struct file *file, uint64_t bytes)
{
    int result = -1;
    do {
        result = ftruncate(file_of(file)->fd, (off_t)bytes);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? ERR_OK : last_error();
}

static enum err posix_size(struct file *file, uint64_t *ret_bytes)
{
    struct stat status;
    if (fstat(file_of(file)->fd, &status) != 0) {
        return last_error();
    }
    *ret_bytes = (uint64_t)status.st_size;
    return ERR_OK;
}

static bool posix_is_cached(struct file *file, uint64_t pos, size_t bytes)
{
    struct posix_fs *posix = fs_of(file->fs);
    union posix_file_call *call = call_on(file, "cachestat");
    bool is_cached = posix_cache_has(&posix->cache_probe, file_of(file)->fd, pos, bytes);
    posix_file_call_end(call);
    return is_cached;
}

static void posix_prefetch(struct file *file, uint64_t pos, size_t bytes)
{
    union posix_file_call *call = call_on(file, "read ahead");
    posix_cache_fill(file_of(file)->fd, pos, bytes);
    posix_file_call_end(call);
}

static void file_close(struct posix_file *file)
{
    union posix_file_call *call = call_on(&file->base, "close");
    close(file->fd);
    posix_file_call_end(call);
    mem_free(file);
}

static void file_close_in_pool(struct loop_task *task)
{
    file_close(CONTAINER_OF(task, struct posix_file, close_task));
}

/* Whether this is the last descriptor of a file that was removed and has blocks. */
static bool frees_blocks(struct file *file)
{
    struct stat status;
    union posix_file_call *call = call_on(file, "fstat");
    bool does = fstat(file_of(file)->fd, &status) == 0 && status.st_nlink == 0 && status.st_blocks > 0;
    posix_file_call_end(call);
    return does;
}

static void posix_close(struct file *base)
{
    struct posix_file *file = file_of(base);
    /* The last close of a removed file frees its blocks, for a segment milliseconds of work: not on a loop. Errors of
     * close say nothing that the sync before it has not said. */
    if (frees_blocks(base)) {
        file->close_task.run = file_close_in_pool;
        posix_pool_submit(fs_of(base->fs)->pool, &file->close_task);
        return;
    }
    file_close(file);
}

/* ---- every call that may wait for the disk is in the table of calls while it lasts ---- */

#define SEEN(name, call_begin, parameters, arguments)                                                                  \
    static enum err seen_##name parameters                                                                             \
    {                                                                                                                  \
        union posix_file_call *call = call_begin;                                                                      \
        enum err err = posix_##name arguments;                                                                         \
        posix_file_call_end(call);                                                                                     \
        return err;                                                                                                    \
    }

SEEN(open, call_at(fs, "open", path), (struct fs * fs, const char *path, unsigned flags, struct file **ret_file),
     (fs, path, flags, ret_file))
SEEN(stat, call_at(fs, "stat", path), (struct fs * fs, const char *path, struct fs_stat *ret_stat),
     (fs, path, ret_stat))
SEEN(rename, call_at(fs, "rename", from_path), (struct fs * fs, const char *from_path, const char *to_path),
     (fs, from_path, to_path))
SEEN(unlink, call_at(fs, "unlink", path), (struct fs * fs, const char *path), (fs, path))
SEEN(mkdir, call_at(fs, "mkdir", path), (struct fs * fs, const char *path), (fs, path))
SEEN(rmdir, call_at(fs, "rmdir", path), (struct fs * fs, const char *path), (fs, path))
SEEN(list, call_at(fs, "readdir", path), (struct fs * fs, const char *path, fs_list_fn on_entry, void *ctx),
     (fs, path, on_entry, ctx))
SEEN(sync_dir, call_at(fs, "fsync", path), (struct fs * fs, const char *path), (fs, path))
SEEN(sync_all, call_at(fs, "syncfs", path), (struct fs * fs, const char *path), (fs, path))
SEEN(space, call_at(fs, "statvfs", path), (struct fs * fs, const char *path, struct fs_space *ret_space),
     (fs, path, ret_space))
SEEN(lock, call_at(fs, "flock", path), (struct fs * fs, const char *path, struct file **ret_file), (fs, path, ret_file))
SEEN(real_path, call_at(fs, "realpath", path), (struct fs * fs, const char *path, char **ret_path),
     (fs, path, ret_path))
SEEN(pread, call_on(file, "pread"),
     (struct file * file, void *ret_bytes, size_t bytes, uint64_t pos, size_t *ret_read_bytes),
     (file, ret_bytes, bytes, pos, ret_read_bytes))
SEEN(pwritev, call_on(file, "pwritev"), (struct file * file, const struct span *spans, size_t count, uint64_t pos),
     (file, spans, count, pos))
SEEN(sync, call_on(file, "fdatasync"), (struct file * file), (file))
SEEN(sync_fs, call_on(file, "syncfs"), (struct file * file), (file))
SEEN(truncate, call_on(file, "ftruncate"), (struct file * file, uint64_t bytes), (file, bytes))
SEEN(size, call_on(file, "fstat"), (struct file * file, uint64_t *ret_bytes), (file, ret_bytes))

static const struct fs_ops posix_fs_ops = {
    .open = seen_open,
    .stat = seen_stat,
    .rename = seen_rename,
    .unlink = seen_unlink,
    .mkdir = seen_mkdir,
    .rmdir = seen_rmdir,
    .list = seen_list,
    .sync_dir = seen_sync_dir,
    .sync_all = seen_sync_all,
    .space = seen_space,
    .lock = seen_lock,
    .real_path = seen_real_path,
    .pread = seen_pread,
    .pwritev = seen_pwritev,
    .sync = seen_sync,
    .sync_fs = seen_sync_fs,
    .truncate = seen_truncate,
    .size = seen_size,
    .is_cached = posix_is_cached,
    .prefetch = posix_prefetch,
    .close = posix_close,
};

struct posix_fs *posix_fs_new(struct posix_pool *pool, struct posix_file_calls *calls)
{
    struct posix_fs *posix = MEM_NEW(struct posix_fs);
    posix->base.ops = &posix_fs_ops;
    posix->pool = pool;
    posix->calls = calls;
    return posix;
}

void posix_fs_free(struct posix_fs *posix)
{
    mem_free(posix);
}

struct fs *posix_fs_get(struct posix_fs *posix)
{
    return &posix->base;
}

ssize_t posix_fs_send(struct file *file, int socket, uint64_t pos, size_t bytes)
{
    CHECK(file->fs->ops == &posix_fs_ops);
    off_t file_pos = (off_t)pos;
    /* What was in the page cache a moment ago may have to be read again. */
    union posix_file_call *call = call_on(file, "sendfile");
    ssize_t sent = sendfile(socket, file_of(file)->fd, &file_pos, bytes);
    posix_file_call_end(call);
    return sent;
}

/* fs: the only way to files. All calls block; a loop calls only those marked INLINE below (they touch the page cache,
 * not the disk); everything else runs as a job in the blocking pool (loop_submit of common/seam/loop.h), which
 * completes on the loop that submitted it: submit, complete.
 *
 * Shape:     paths are plain NUL-terminated text, '/' separated, relative to the process or absolute.
 * Errors:    enum err from errno (err_from_errno). After an error of a sync or of a write the caller must treat the
 *            file's unsynced data as gone and must not sync it again in the hope of success
 *            (correctness.md 7, "the sync rule").
 * Ownership: a `struct file` is reference-counted: it is closed with the last file_unref. A reader (a socket in
 *            sendfile, a pool job) holds a reference for as long as it uses the file.
 * Threads:   any; one file may be used by several threads (positioned calls only).
 * Source:    design.md 3 and 6; the simulator's side keeps a synced and an unsynced image of each file.
 */
#ifndef COMMON_SEAM_FS_H
#define COMMON_SEAM_FS_H

#include "common/err.h"
#include "common/span.h"

#include <stdatomic.h>

struct fs;
struct file;

enum fs_open_flags {
    FS_OPEN_READ = 0,
    FS_OPEN_WRITE = 1 << 0,     /* read and write */
    FS_OPEN_CREATE = 1 << 1,    /* make it when it does not exist */
    FS_OPEN_EXCLUSIVE = 1 << 2, /* with CREATE: ERR_EXISTS when it exists */
    FS_OPEN_TRUNCATE = 1 << 3,  /* only for files that no reader may hold (side files being written aside) */
};

struct fs_stat {
    uint64_t bytes;
    bool is_directory;
    int64_t modified_ms; /* wall clock */
};

struct fs_space {
    uint64_t total_bytes;
    uint64_t available_bytes; /* to this user */
};

/* Called once for each entry of a directory, "." and ".." left out, in no particular order. The name is borrowed. */
typedef void (*fs_list_fn)(void *ctx, const char *name);

struct fs_ops {
    enum err (*open)(struct fs *fs, const char *path, unsigned flags, struct file **ret_file);
    enum err (*stat)(struct fs *fs, const char *path, struct fs_stat *ret_stat);
    enum err (*rename)(struct fs *fs, const char *from_path, const char *to_path);
    enum err (*unlink)(struct fs *fs, const char *path);
    enum err (*mkdir)(struct fs *fs, const char *path); /* ERR_EXISTS when it is there */
    enum err (*rmdir)(struct fs *fs, const char *path); /* an empty directory */
    enum err (*list)(struct fs *fs, const char *path, fs_list_fn on_entry, void *ctx);
    enum err (*sync_dir)(struct fs *fs, const char *path); /* makes creations, renames, removals in it durable */
    enum err (*sync_all)(struct fs *fs, const char *path); /* syncfs: the whole file system that holds `path` */
    enum err (*space)(struct fs *fs, const char *path, struct fs_space *ret_space);
    enum err (*lock)(struct fs *fs, const char *path, struct file **ret_file); /* exclusive, ERR_BUSY; freed by unref */
    enum err (*real_path)(struct fs *fs, const char *path, char **ret_path);   /* mem_free by the caller */

    enum err (*pread)(struct file *file, void *ret_bytes, size_t bytes, uint64_t pos, size_t *ret_read_bytes);
    enum err (*pwritev)(struct file *file, const struct span *spans, size_t count, uint64_t pos);
    enum err (*sync)(struct file *file);                     /* fdatasync */
    enum err (*sync_fs)(struct file *file);                  /* syncfs of the file system that holds it */
    enum err (*truncate)(struct file *file, uint64_t bytes); /* never below what a reader may hold */
    enum err (*size)(struct file *file, uint64_t *ret_bytes);
    bool (*is_cached)(struct file *file, uint64_t pos, size_t bytes);
    void (*prefetch)(struct file *file, uint64_t pos, size_t bytes);
    void (*close)(struct file *file); /* by file_unref only */
};

struct fs {
    const struct fs_ops *ops;
};

struct file {
    struct fs *fs;
    atomic_uint reference_count;
};

static inline enum err fs_open(struct fs *fs, const char *path, unsigned flags, struct file **ret_file)
{
    return fs->ops->open(fs, path, flags, ret_file);
}

static inline enum err fs_stat(struct fs *fs, const char *path, struct fs_stat *ret_stat)
{
    return fs->ops->stat(fs, path, ret_stat);
}

static inline enum err fs_rename(struct fs *fs, const char *from_path, const char *to_path)
{
    return fs->ops->rename(fs, from_path, to_path);
}

static inline enum err fs_unlink(struct fs *fs, const char *path)
{
    return fs->ops->unlink(fs, path);
}

static inline enum err fs_mkdir(struct fs *fs, const char *path)
{
    return fs->ops->mkdir(fs, path);
}

static inline enum err fs_rmdir(struct fs *fs, const char *path)
{
    return fs->ops->rmdir(fs, path);
}

static inline enum err fs_list(struct fs *fs, const char *path, fs_list_fn on_entry, void *ctx)
{
    return fs->ops->list(fs, path, on_entry, ctx);
}

static inline enum err fs_sync_dir(struct fs *fs, const char *path)
{
    return fs->ops->sync_dir(fs, path);
}

static inline enum err fs_sync_all(struct fs *fs, const char *path)
{
    return fs->ops->sync_all(fs, path);
}

static inline enum err fs_space(struct fs *fs, const char *path, struct fs_space *ret_space)
{
    return fs->ops->space(fs, path, ret_space);
}

/* Takes an exclusive lock on the file at `path`, making it when missing. The lock ends with the process or the
   unref. */
static inline enum err fs_lock(struct fs *fs, const char *path, struct file **ret_file)
{
    return fs->ops->lock(fs, path, ret_file);
}

static inline enum err fs_real_path(struct fs *fs, const char *path, char **ret_path)
{
    return fs->ops->real_path(fs, path, ret_path);
}

/* Reads up to `bytes`; fewer only at the end of the file (short reads are continued inside). */
static inline enum err file_pread(struct file *file, void *ret_bytes, size_t bytes, uint64_t pos,
                                  size_t *ret_read_bytes)
{
    return file->fs->ops->pread(file, ret_bytes, bytes, pos, ret_read_bytes);
}

/* INLINE. Writes all of it into the page cache or fails; after a failure any part may have been written. */
static inline enum err file_pwritev(struct file *file, const struct span *spans, size_t count, uint64_t pos)
{
    return file->fs->ops->pwritev(file, spans, count, pos);
}

static inline enum err file_sync(struct file *file)
{
    return file->fs->ops->sync(file);
}

/* Everything written to the file's whole file system is on disk. Reports every failed write there since the file was opened, also
 * one that the kernel tried before this call: hold one file open for it, from before the first write (fs_sync_all opens anew, and
 * does not see what failed before). */
static inline enum err file_sync_fs(struct file *file)
{
    return file->fs->ops->sync_fs(file);
}

static inline enum err file_truncate(struct file *file, uint64_t bytes)
{
    return file->fs->ops->truncate(file, bytes);
}

/* INLINE. */
static inline enum err file_size(struct file *file, uint64_t *ret_bytes)
{
    return file->fs->ops->size(file, ret_bytes);
}

/* INLINE. Whether the range can be read without touching the disk, as far as the kernel tells. It may say no for
 * ever (file systems that can't tell): after one file_prefetch a caller reads without asking again. */
static inline bool file_is_cached(struct file *file, uint64_t pos, size_t bytes)
{
    return file->fs->ops->is_cached(file, pos, bytes);
}

/* Reads the range into the page cache. */
static inline void file_prefetch(struct file *file, uint64_t pos, size_t bytes)
{
    file->fs->ops->prefetch(file, pos, bytes);
}

static inline struct file *file_ref(struct file *file)
{
    unsigned before = atomic_fetch_add_explicit(&file->reference_count, 1, memory_order_relaxed);
    CHECK(before > 0);
    return file;
}

static inline void file_unref(struct file *file)
{
    if (file == NULL) {
        return;
    }
    unsigned before = atomic_fetch_sub_explicit(&file->reference_count, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before == 1) {
        file->fs->ops->close(file);
    }
}

#endif

/* posix_fs: files by system calls (struct fs of common/seam/fs.h). Private to common/posix.
 *
 * Shape:     files are made readable by their user only: snapshots and checkpoints may carry secrets.
 * Ownership: the fs outlives its files.
 * Threads:   any.
 */
#ifndef COMMON_POSIX_FS_H
#define COMMON_POSIX_FS_H

#include "common/seam/fs.h"

#include <sys/types.h>

struct posix_fs;
struct posix_pool;
struct posix_file_calls;

/* `pool` closes files whose removal frees many blocks; `calls` shows each call that may wait for a disk while it lasts. */
struct posix_fs *posix_fs_new(struct posix_pool *pool, struct posix_file_calls *calls);
void posix_fs_free(struct posix_fs *posix);
struct fs *posix_fs_get(struct posix_fs *posix);
/* sendfile, not again after EINTR; the file must come from a posix_fs. -1 with errno. */
ssize_t posix_fs_send(struct file *file, int socket, uint64_t pos, size_t bytes);

/* posix_cache.c: what of a file is in the page cache. */
struct posix_cache_probe {
    atomic_bool has_no_cachestat; /* this kernel doesn't know the call */
};
bool posix_cache_has(struct posix_cache_probe *probe, int fd, uint64_t pos, size_t bytes);
/* Blocks until the range has been read into the page cache, or reading fails. */
void posix_cache_fill(int fd, uint64_t pos, size_t bytes);

#endif

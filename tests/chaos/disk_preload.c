/* For LD_PRELOAD on disk_fuse (rows_disk.py builds it): Linux gives syncfs(2) of a file system in user space to nobody and says that it went well. Here it
 * becomes the ioctl that disk_fuse.c knows; elsewhere it stays what it was. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SYNC_ALL_CALL _IO('M', 24)

int syncfs(int fd)
{
    if (ioctl(fd, SYNC_ALL_CALL) == 0) {
        return 0;
    }
    return errno == ENOTTY ? (int)syscall(SYS_syncfs, fd) : -1;
}

/* Whether a range of a file is in the page cache. cachestat (Linux 6.5) counts the pages of a range in one call, but it
 * counts those that are still being read too; a one-byte preadv2(RWF_NOWAIT) is exact, but for one page only. So: where
 * cachestat says that something is missing, believe it; else (or without it) probe bytes at a few places. The answer
 * is a hint: the kernel may drop a page the moment after. */
#include "common/posix/posix_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PROBES_MAX 32            /* without cachestat: one every bytes/32, never closer than a page */
#define PROBES_AFTER_CACHESTAT 2 /* first and last page */
#define PREFETCH_CHUNK_BYTES 65536
#define CACHESTAT_CALL 451 /* the same on every architecture; too new for Debian 12's headers */

/* The kernel's struct cachestat_range and struct cachestat. */
struct cachestat_range {
    uint64_t pos;
    uint64_t bytes;
};

struct cachestat_answer {
    uint64_t cached_pages;
    uint64_t dirty_pages;
    uint64_t writeback_pages;
    uint64_t evicted_pages;
    uint64_t recently_evicted_pages;
};

/* False when the kernel gives no answer. */
static bool cache_count(struct posix_cache_probe *probe, int fd, uint64_t pos, size_t bytes, uint64_t *ret_pages)
{
    if (atomic_load_explicit(&probe->has_no_cachestat, memory_order_relaxed)) {
        return false;
    }
    struct cachestat_range range = {.pos = pos, .bytes = bytes};
    struct cachestat_answer answer = {0};
    if (syscall(CACHESTAT_CALL, fd, &range, &answer, 0) != 0) {
        if (errno == ENOSYS) {
            atomic_store_explicit(&probe->has_no_cachestat, true, memory_order_relaxed);
        }
        return false;
    }
    *ret_pages = answer.cached_pages;
    return true;
}

enum probe_answer { PROBE_CACHED, PROBE_MISSING, PROBE_UNKNOWN };

static enum probe_answer cache_probe_byte(int fd, uint64_t pos)
{
    char byte = 0;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    for (;;) {
        if (preadv2(fd, &vector, 1, (off_t)pos, RWF_NOWAIT) >= 0) {
            return PROBE_CACHED; /* 0: at or behind the end of the file, where there is nothing to wait for */
        }
        if (errno != EINTR) {
            return errno == EOPNOTSUPP ? PROBE_UNKNOWN : PROBE_MISSING;
        }
    }
}

/* Probes bytes of [pos, end_pos) that are `stride_bytes` apart, and the last one. */
static enum probe_answer cache_probe_range(int fd, uint64_t pos, uint64_t end_pos, uint64_t stride_bytes)
{
    enum probe_answer answer = cache_probe_byte(fd, end_pos - 1);
    for (uint64_t probe_pos = pos; answer == PROBE_CACHED && probe_pos < end_pos; probe_pos += stride_bytes) {
        answer = cache_probe_byte(fd, probe_pos);
    }
    return answer;
}

static uint64_t pages_between(uint64_t pos, uint64_t end_pos, uint64_t page_bytes)
{
    return (end_pos + page_bytes - 1) / page_bytes - pos / page_bytes;
}

bool posix_cache_has(struct posix_cache_probe *probe, int fd, uint64_t pos, size_t bytes)
{
    if (bytes == 0) {
        return true;
    }
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t end_pos = pos + bytes;
    uint64_t cached_pages = 0;
    bool is_counted = cache_count(probe, fd, pos, bytes, &cached_pages);
    bool is_all_there = is_counted && cached_pages >= pages_between(pos, end_pos, page_bytes);
    struct stat status;
    if (is_counted && !is_all_there && fstat(fd, &status) == 0 && end_pos > (uint64_t)status.st_size) {
        /* Behind the end there are no pages to count, and nothing to wait for. */
        end_pos = pos < (uint64_t)status.st_size ? (uint64_t)status.st_size : pos + 1;
        is_all_there = pos >= (uint64_t)status.st_size || cached_pages >= pages_between(pos, end_pos, page_bytes);
    }
    if (is_counted && !is_all_there) {
        return false;
    }
    uint64_t probe_count = is_all_there ? PROBES_AFTER_CACHESTAT : PROBES_MAX;
    uint64_t stride_bytes = bytes / probe_count > page_bytes ? bytes / probe_count : page_bytes;
    switch (cache_probe_range(fd, pos, end_pos, stride_bytes)) {
    case PROBE_CACHED:
        return true;
    case PROBE_MISSING:
        return false;
    case PROBE_UNKNOWN: /* a file system without RWF_NOWAIT (tmpfs): the count is all there is */
        return is_all_there;
    }
    UNREACHABLE();
}

void posix_cache_fill(int fd, uint64_t pos, size_t bytes)
{
    /* All of it is asked for at once, so the device sees large requests; then the reads wait for it. The copies cost
     * a tenth of a millisecond per MiB on a pool thread. */
    (void)posix_fadvise(fd, (off_t)pos, (off_t)bytes, POSIX_FADV_WILLNEED);
    char scratch[PREFETCH_CHUNK_BYTES];
    while (bytes > 0) {
        ssize_t count = pread(fd, scratch, bytes < sizeof(scratch) ? bytes : sizeof(scratch), (off_t)pos);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return; /* the end, or an error that the reader will meet itself */
        }
        pos += (uint64_t)count;
        bytes -= (size_t)count;
    }
}

/* A wall clock that jumps, for LD_PRELOAD (rows_clock.py builds it): what clock_gettime, gettimeofday and time say of the time of day is
 * shifted by what the file named CHAOS_CLOCK_FILE holds, which also counts the calls. Clocks that only go forward are left alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct shift {
    _Atomic int64_t seconds;
    _Atomic int64_t calls;
};

static struct shift *shift;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CHAOS_CLOCK_FILE");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    void *found = mmap(NULL, sizeof(*shift), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    shift = found != MAP_FAILED ? found : NULL;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    int status = (int)syscall(SYS_clock_gettime, id, now);
    if (status == 0 && shift != NULL && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += atomic_load(&shift->seconds);
        atomic_fetch_add(&shift->calls, 1);
    }
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec precise;
    int status = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return status;
}

time_t time(time_t *also)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (also != NULL) {
        *also = now.tv_sec;
    }
    return now.tv_sec;
}

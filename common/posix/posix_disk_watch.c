#include "common/posix/posix_disk_watch.h"

#include "common/check.h"
#include "common/mem.h"
#include "common/posix/posix_thread.h"

#include <errno.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <time.h>

#define TICKS_PER_LIMIT 30
#define STILL_SHARE 3   /* a device that completes nothing for this share of the limit stands still */
#define ALIVE_LIMITS 10 /* limits that a call on a device that goes on may take */

/* What was seen of the call that is in a slot. */
struct sighting {
    uint64_t number;
    uint64_t age_us;
    uint64_t device_done;
    uint64_t still_us; /* for so long the device has completed nothing */
};

struct posix_disk_watch {
    struct posix_disk_watch_config config;
    struct sighting *sightings;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool is_ending;
};

bool posix_device_done(uint64_t device, uint64_t *ret_done)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(device), minor(device));
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    /* Reads completed, merged, sectors, time; writes completed, ... (the kernel's Documentation/block/stat). */
    unsigned long long reads = 0;
    unsigned long long writes = 0;
    bool is_read = fscanf(file, "%llu %*u %*u %*u %llu", &reads, &writes) == 2;
    (void)fclose(file);
    *ret_done = reads + writes;
    return is_read;
}

/* Whether the call, seen for `sighting->age_us` by now, is one that does not come back. */
static bool is_stall(const struct posix_disk_watch_config *config, struct sighting *sighting, uint64_t device,
                     uint64_t elapsed_us)
{
    uint64_t done = 0;
    /* Nobody asks for the device of calls that are young: nearly all. */
    if (sighting->age_us * 2 < config->limit_us) {
        return false;
    }
    if (device == 0 || !config->device_done(device, &done)) {
        return sighting->age_us >= config->limit_us;
    }
    sighting->still_us = done == sighting->device_done ? sighting->still_us + elapsed_us : 0;
    sighting->device_done = done;
    return sighting->age_us >= config->limit_us && (sighting->still_us * STILL_SHARE >= config->limit_us ||
                                                    sighting->age_us >= config->limit_us * ALIVE_LIMITS);
}

/* True when a stall was found and told. */
static bool look(struct posix_disk_watch *watch, uint64_t elapsed_us)
{
    struct posix_file_calls *calls = watch->config.calls;
    for (size_t i = 0; i < posix_file_calls_slots(calls); i++) {
        struct posix_call_view view = posix_file_calls_look(calls, i);
        struct sighting *sighting = &watch->sightings[i];
        if (view.number == 0 || view.number != sighting->number) {
            *sighting = (struct sighting){.number = view.number};
            continue;
        }
        sighting->age_us += elapsed_us;
        /* It may have come back while the device was asked. */
        if (is_stall(&watch->config, sighting, view.device, elapsed_us) &&
            posix_file_calls_look(calls, i).number == view.number) {
            char path[POSIX_CALL_PATH_BYTES];
            posix_file_calls_path(calls, i, path);
            struct posix_stall stall = {.what = view.what, .path = path, .waited_us = sighting->age_us};
            watch->config.on_stall(watch->config.ctx, &stall);
            return true;
        }
    }
    return false;
}

static uint64_t now_us(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void *run(void *ctx)
{
    struct posix_disk_watch *watch = ctx;
    uint64_t tick_us = watch->config.limit_us / TICKS_PER_LIMIT;
    uint64_t last_us = now_us();
    bool is_over = false;
    CHECK(pthread_mutex_lock(&watch->lock) == 0);
    while (!watch->is_ending && !is_over) {
        uint64_t due_us = last_us + tick_us;
        struct timespec due = {.tv_sec = (time_t)(due_us / 1000000), .tv_nsec = (long)(due_us % 1000000) * 1000};
        int error_number = pthread_cond_timedwait(&watch->ended, &watch->lock, &due);
        uint64_t woken_us = now_us();
        if (error_number != ETIMEDOUT || woken_us < due_us) {
            continue;
        }
        uint64_t elapsed_us = woken_us - last_us;
        last_us = woken_us;
        /* This thread was late: the others may have been as well. */
        is_over = look(watch, elapsed_us < 2 * tick_us ? elapsed_us : 2 * tick_us);
    }
    CHECK(pthread_mutex_unlock(&watch->lock) == 0);
    return NULL;
}

struct posix_disk_watch *posix_disk_watch_new(const struct posix_disk_watch_config *config)
{
    CHECK(config->limit_us >= TICKS_PER_LIMIT);
    struct posix_disk_watch *watch = MEM_NEW(struct posix_disk_watch);
    watch->config = *config;
    watch->sightings = mem_array(posix_file_calls_slots(config->calls), sizeof(*watch->sightings));
    pthread_condattr_t monotonic;
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_mutex_init(&watch->lock, NULL) == 0);
    CHECK(pthread_cond_init(&watch->ended, &monotonic) == 0);
    CHECK(pthread_condattr_destroy(&monotonic) == 0);
    if (!posix_thread_start(&watch->thread, "disk-watch", run, watch)) {
        mem_free(watch->sightings);
        mem_free(watch);
        return NULL;
    }
    return watch;
}

void posix_disk_watch_free(struct posix_disk_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    CHECK(pthread_mutex_lock(&watch->lock) == 0);
    watch->is_ending = true;
    CHECK(pthread_cond_signal(&watch->ended) == 0);
    CHECK(pthread_mutex_unlock(&watch->lock) == 0);
    CHECK(pthread_join(watch->thread, NULL) == 0);
    CHECK(pthread_cond_destroy(&watch->ended) == 0);
    CHECK(pthread_mutex_destroy(&watch->lock) == 0);
    mem_free(watch->sightings);
    mem_free(watch);
}

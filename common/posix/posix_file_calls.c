#include "common/posix/posix_file_calls.h"

#include "common/check.h"
#include "common/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define SLOT_BYTES 64 /* a cache line: threads that work in different slots don't disturb each other */

/* A slot is FREE, TAKEN (being filled in), SEEN, and FREE again; its number rises by one with each of these turns. */
enum { TURN_FREE, TURN_TAKEN, TURN_SEEN, TURNS };

union posix_file_call {
    struct {
        atomic_uint_least64_t number;
        _Atomic(const char *) what;
        atomic_uint_least64_t device;
        atomic_int fd; /* -1: a call on a name */
    };
    char line[SLOT_BYTES];
};

struct posix_file_calls {
    size_t slot_count;
    union posix_file_call *slots;
    pthread_mutex_t paths_lock; /* calls on names are few: they may share a lock */
    char (*paths)[POSIX_CALL_PATH_BYTES];
};

struct posix_file_calls *posix_file_calls_new(unsigned threads)
{
    struct posix_file_calls *calls = MEM_NEW(struct posix_file_calls);
    calls->slot_count = threads;
    calls->slots = mem_array(threads, sizeof(*calls->slots));
    calls->paths = mem_array(threads, sizeof(*calls->paths));
    CHECK(pthread_mutex_init(&calls->paths_lock, NULL) == 0);
    return calls;
}

void posix_file_calls_free(struct posix_file_calls *calls)
{
    if (calls == NULL) {
        return;
    }
    CHECK(pthread_mutex_destroy(&calls->paths_lock) == 0);
    mem_free(calls->paths);
    mem_free(calls->slots);
    mem_free(calls);
}

/* Where a thread looks first: threads that look at different places rarely meet. */
static size_t first_slot(const struct posix_file_calls *calls)
{
    uint64_t thread = (uint64_t)pthread_self();
    return (size_t)((thread >> 12) * 0x9E3779B97F4A7C15u >> 32) % calls->slot_count;
}

static union posix_file_call *take_slot(struct posix_file_calls *calls)
{
    size_t first = first_slot(calls);
    for (size_t i = 0; i < calls->slot_count; i++) {
        union posix_file_call *call = &calls->slots[(first + i) % calls->slot_count];
        uint64_t number = atomic_load_explicit(&call->number, memory_order_relaxed);
        if (number % TURNS == TURN_FREE && atomic_compare_exchange_strong(&call->number, &number, number + 1)) {
            return call;
        }
    }
    return NULL;
}

static void fill_in(union posix_file_call *call, const char *what, int fd, uint64_t device)
{
    atomic_store_explicit(&call->what, what, memory_order_relaxed);
    atomic_store_explicit(&call->fd, fd, memory_order_relaxed);
    atomic_store_explicit(&call->device, device, memory_order_relaxed);
    atomic_fetch_add_explicit(&call->number, 1, memory_order_release);
}

union posix_file_call *posix_file_call_on(struct posix_file_calls *calls, const char *what, int fd, uint64_t device)
{
    union posix_file_call *call = take_slot(calls);
    if (call != NULL) {
        fill_in(call, what, fd, device);
    }
    return call;
}

union posix_file_call *posix_file_call_at(struct posix_file_calls *calls, const char *what, const char *path)
{
    union posix_file_call *call = take_slot(calls);
    if (call != NULL) {
        CHECK(pthread_mutex_lock(&calls->paths_lock) == 0);
        (void)snprintf(calls->paths[call - calls->slots], POSIX_CALL_PATH_BYTES, "%s", path);
        CHECK(pthread_mutex_unlock(&calls->paths_lock) == 0);
        fill_in(call, what, -1, 0);
    }
    return call;
}

void posix_file_call_end(union posix_file_call *call)
{
    if (call != NULL) {
        atomic_fetch_add_explicit(&call->number, 1, memory_order_release);
    }
}

size_t posix_file_calls_slots(const struct posix_file_calls *calls)
{
    return calls->slot_count;
}

struct posix_call_view posix_file_calls_look(const struct posix_file_calls *calls, size_t slot)
{
    union posix_file_call *call = &calls->slots[slot];
    uint64_t number = atomic_load_explicit(&call->number, memory_order_acquire);
    if (number % TURNS != TURN_SEEN) {
        return (struct posix_call_view){.number = 0};
    }
    return (struct posix_call_view){
        .number = number,
        .what = atomic_load_explicit(&call->what, memory_order_relaxed),
        .device = atomic_load_explicit(&call->device, memory_order_relaxed),
    };
}

void posix_file_calls_path(struct posix_file_calls *calls, size_t slot, char ret_path[POSIX_CALL_PATH_BYTES])
{
    ret_path[0] = '\0';
    if (posix_file_calls_look(calls, slot).number == 0) {
        return;
    }
    int fd = atomic_load_explicit(&calls->slots[slot].fd, memory_order_relaxed);
    if (fd < 0) {
        CHECK(pthread_mutex_lock(&calls->paths_lock) == 0);
        (void)snprintf(ret_path, POSIX_CALL_PATH_BYTES, "%s", calls->paths[slot]);
        CHECK(pthread_mutex_unlock(&calls->paths_lock) == 0);
        return;
    }
    char link[64];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, ret_path, POSIX_CALL_PATH_BYTES - 1);
    ret_path[bytes < 0 ? 0 : bytes] = '\0';
}

#include "common/posix/posix_file_calls.h"

#include "common/check.h"
#include "common/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
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

/* Nobody asks the system for the device of a name: that question might hang as well. */
struct known_folder {
    char path[POSIX_CALL_PATH_BYTES];
    size_t path_bytes;
    uint64_t device;
};

struct posix_file_calls {
    size_t slot_count;
    void *slots_memory;
    union posix_file_call *slots;
    pthread_mutex_t paths_lock; /* calls on names are few: they may share a lock */
    char (*paths)[POSIX_CALL_PATH_BYTES];
    struct known_folder folders[POSIX_CALL_FOLDERS]; /* the newest is at folder_count - 1, modulo their number */
    size_t folder_count;
};

struct posix_file_calls *posix_file_calls_new(unsigned threads)
{
    struct posix_file_calls *calls = MEM_NEW(struct posix_file_calls);
    calls->slot_count = threads;
    calls->slots_memory = mem_array(threads + 1, sizeof(*calls->slots));
    size_t beyond_bytes = (size_t)((uintptr_t)calls->slots_memory % SLOT_BYTES);
    calls->slots = (void *)((char *)calls->slots_memory + SLOT_BYTES - beyond_bytes);
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
    mem_free(calls->slots_memory);
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

/* Whoever sees one of these sees that the slot was taken: posix_file_calls_look. */
static void fill_in(union posix_file_call *call, const char *what, int fd, uint64_t device)
{
    atomic_store_explicit(&call->what, what, memory_order_release);
    atomic_store_explicit(&call->fd, fd, memory_order_release);
    atomic_store_explicit(&call->device, device, memory_order_release);
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

static bool is_below(const char *path, const struct known_folder *folder)
{
    return strncmp(path, folder->path, folder->path_bytes) == 0 &&
           (path[folder->path_bytes] == '/' || path[folder->path_bytes] == '\0');
}

/* The nearest one that is known, as it was told last; 0: none. Under paths_lock. */
static uint64_t device_of(const struct posix_file_calls *calls, const char *path)
{
    const struct known_folder *nearest = NULL;
    size_t count = calls->folder_count < POSIX_CALL_FOLDERS ? calls->folder_count : POSIX_CALL_FOLDERS;
    for (size_t i = 1; i <= count; i++) {
        const struct known_folder *folder = &calls->folders[(calls->folder_count - i) % POSIX_CALL_FOLDERS];
        if (is_below(path, folder) && (nearest == NULL || folder->path_bytes > nearest->path_bytes)) {
            nearest = folder;
        }
    }
    return nearest == NULL ? 0 : nearest->device;
}

void posix_file_calls_note_folder(struct posix_file_calls *calls, const char *path, uint64_t device)
{
    const char *name = strrchr(path, '/');
    size_t bytes = name == NULL ? 0 : (size_t)(name - path);
    if (bytes == 0 || bytes >= POSIX_CALL_PATH_BYTES) {
        return;
    }
    CHECK(pthread_mutex_lock(&calls->paths_lock) == 0);
    struct known_folder *folder = &calls->folders[calls->folder_count++ % POSIX_CALL_FOLDERS];
    memcpy(folder->path, path, bytes);
    folder->path[bytes] = '\0';
    folder->path_bytes = bytes;
    folder->device = device;
    CHECK(pthread_mutex_unlock(&calls->paths_lock) == 0);
}

union posix_file_call *posix_file_call_at(struct posix_file_calls *calls, const char *what, const char *path)
{
    union posix_file_call *call = take_slot(calls);
    if (call != NULL) {
        CHECK(pthread_mutex_lock(&calls->paths_lock) == 0);
        (void)snprintf(calls->paths[call - calls->slots], POSIX_CALL_PATH_BYTES, "%s", path);
        uint64_t device = device_of(calls, path);
        CHECK(pthread_mutex_unlock(&calls->paths_lock) == 0);
        fill_in(call, what, -1, device);
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
    struct posix_call_view view = {
        .number = number,
        .what = atomic_load_explicit(&call->what, memory_order_acquire),
        .device = atomic_load_explicit(&call->device, memory_order_acquire),
    };
    /* Another call may have taken the slot in between: what was read is of both then. */
    bool is_one_call = atomic_load_explicit(&call->number, memory_order_relaxed) == number;
    return is_one_call ? view : (struct posix_call_view){.number = 0};
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

/* posix_file_calls: which calls to files are under way in the process, so that somebody else can see one that does not come back.
 * Private to common/posix.
 *
 * Shape:     a table of slots; a thread takes one for the time of a call. Beginning and ending cost three atomic operations and no clock:
 *            who watches counts the time itself (posix_disk_watch).
 * Limits:    one slot for each thread that may be in a call; when there is none left the call is simply not seen. The devices of
 *            POSIX_CALL_FOLDERS folders are remembered, the oldest goes first.
 * Threads:   any; a call ends on the thread that began it.
 */
#ifndef COMMON_POSIX_FILE_CALLS_H
#define COMMON_POSIX_FILE_CALLS_H

#include <stddef.h>
#include <stdint.h>

#define POSIX_CALL_PATH_BYTES 512
#define POSIX_CALL_FOLDERS 64

struct posix_file_calls;
union posix_file_call;

struct posix_file_calls *posix_file_calls_new(unsigned threads);
void posix_file_calls_free(struct posix_file_calls *calls);

/* `what` is a constant text. A call on an open file: its descriptor and the device that holds it (st_dev). */
union posix_file_call *posix_file_call_on(struct posix_file_calls *calls, const char *what, int fd, uint64_t device);
/* A call on a name. The path is copied (its end is cut off beyond POSIX_CALL_PATH_BYTES). Its device is that of the nearest folder
 * above it that was noted. */
union posix_file_call *posix_file_call_at(struct posix_file_calls *calls, const char *what, const char *path);
/* What lies in the folder that holds `path` is on this device. */
void posix_file_calls_note_folder(struct posix_file_calls *calls, const char *path, uint64_t device);
/* NULL is fine. Does not touch errno. */
void posix_file_call_end(union posix_file_call *call);

struct posix_call_view {
    uint64_t number; /* another one for each call of this slot; 0: there is none */
    const char *what;
    uint64_t device; /* 0: not known */
};

size_t posix_file_calls_slots(const struct posix_file_calls *calls);
struct posix_call_view posix_file_calls_look(const struct posix_file_calls *calls, size_t slot);
/* The file of the call that is in the slot now; "" when there is none any more. Asks no file system but proc. */
void posix_file_calls_path(struct posix_file_calls *calls, size_t slot, char ret_path[POSIX_CALL_PATH_BYTES]);

#endif

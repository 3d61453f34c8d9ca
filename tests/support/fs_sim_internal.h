/* fs_sim_internal: what the parts of fs_sim share: the struct, and how a call begins and ends.
 *
 * Threads:   one.
 */
#ifndef TESTS_SUPPORT_FS_SIM_INTERNAL_H
#define TESTS_SUPPORT_FS_SIM_INTERNAL_H

#include "tests/support/fs_sim.h"
#include "tests/support/fs_sim_tree.h"

struct fs_sim_fault {
    uint64_t countdown; /* 0: none */
    enum err err;
    bool is_sticky;
};

struct fs_sim {
    struct fs fs;
    struct fs_sim_options options;
    struct prop prop;
    struct tree tree;
    uint64_t call_count;
    uint64_t crash_at;
    enum fs_sim_tear tear;
    bool is_crashed;
    uint64_t generation; /* of crashes: files opened before the current one are stale */
    unsigned open_files;
    struct sim_file *files; /* utlist DL: the open ones */
    struct fs_sim_fault faults[FS_SIM_CALL_COUNT];
    struct fs_sim_latency latencies[FS_SIM_CALL_COUNT];
    uint64_t latency_us; /* not taken yet */
    fs_sim_log_fn on_line;
    void *log_ctx;
    fs_sim_tape_fn on_change;
    void *tape_ctx;
};

struct sim_file {
    struct file file;
    struct fs_sim *sim;
    struct inode *inode;
    struct sim_file *prev;
    struct sim_file *next;
    uint64_t generation;
    bool is_writable;
    bool is_lock;
    char path[];
};

/* Begins a call: counts it when it changes state, decides whether it may run (ERR_OK), and draws its latency. */
enum err fs_sim_begin(struct fs_sim *sim, enum fs_sim_call call, bool is_change) MUST_USE;
/* Logs the call's end and returns its result. */
enum err fs_sim_end(struct fs_sim *sim, bool is_change, enum err err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Puts a change on the tape if there is one and the call succeeded. */
void fs_sim_note(struct fs_sim *sim, enum err err, struct fs_sim_change change);
int64_t fs_sim_now_ms(const struct fs_sim *sim);
/* Another reference to the inode, as a file. */
struct file *fs_sim_file_new(struct fs_sim *sim, struct inode *inode, const char *normal_path, bool is_writable,
                             bool is_lock);

/* The calls on files, for the table of fs_sim.c. */
enum err fs_sim_file_pread(struct file *file, void *ret_bytes, size_t bytes, uint64_t pos, size_t *ret_read_bytes);
enum err fs_sim_file_pwritev(struct file *file, const struct span *spans, size_t count, uint64_t pos);
enum err fs_sim_file_sync(struct file *file);
enum err fs_sim_file_truncate(struct file *file, uint64_t bytes);
enum err fs_sim_file_size(struct file *file, uint64_t *ret_bytes);
bool fs_sim_file_is_cached(struct file *file, uint64_t pos, size_t bytes);
void fs_sim_file_prefetch(struct file *file, uint64_t pos, size_t bytes);
void fs_sim_file_close(struct file *file);

#endif

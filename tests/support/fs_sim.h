/* fs_sim: a file system in memory that can do to files what machines do to them: lose what was not synced, tear a write,
 * fail the k-th call, fill up, be slow, flip a bit. The simulated side of common/seam/fs.h, for unit tests, for crash
 * campaigns and for the simulator (one fs_sim per node).
 *
 * Shape:     each file has a live image (what reads see: the page cache) and a durable one (what a power loss leaves),
 *            in pages of `page_bytes`; each directory has live and durable entries. file_sync makes pages and size
 *            durable; creations, renames and removals become durable with sync_dir of a directory that they touch, in
 *            their order; sync_all makes everything durable. File content and names are independent: a file that was
 *            renamed and whose directory was synced, but which was never synced itself, is there and empty.
 *            Stricter than ext4 on purpose: syncing a file does not make its name durable.
 * Paths:     '.', '..' and '//' are resolved; "/" exists, and the current directory, which is "/sim".
 * Calls:     every state-changing call has a number, counted from 1 (fs_sim_call_count): open that makes or truncates a
 *            file, rename, unlink, mkdir, rmdir, sync_dir, sync_all, pwritev, sync, truncate, lock that makes its file.
 * Errors:    an injected error has the effect that Linux gives it: a failed write may have written any part; after a failed
 *            sync the pages are clean (no later sync writes them) but not durable. ERR_NO_SPACE after writing what fits.
 *            Calls of a crashed system, and on files opened before a crash, return ERR_IO; file_unref still works.
 * Seeds:     everything that is drawn (torn parts, pages that survive, latencies) comes from the seed.
 * Ownership: fs_sim_free needs all files to be unreferenced.
 * Threads:   one at a time (the simulator's one thread; unit tests run jobs inline).
 * Source:    testing.md 1 and 3, correctness.md 7; ADR-0009.
 */
#ifndef TESTS_SUPPORT_FS_SIM_H
#define TESTS_SUPPORT_FS_SIM_H

#include "common/err.h"
#include "common/seam/fs.h"

#define FS_SIM_PAGE_BYTES_DEFAULT 4096u
#define FS_SIM_SECTOR_BYTES 512u
#define FS_SIM_LOG_LINE_BYTES_MAX 512u

struct fs_sim;
struct clock;

/* Kinds of calls, for faults. Each injected fault counts the calls of its kind; FS_SIM_CHANGE counts all state-changing ones. */
enum fs_sim_call {
    FS_SIM_CHANGE,
    FS_SIM_OPEN,
    FS_SIM_READ,
    FS_SIM_WRITE,
    FS_SIM_SYNC, /* of a file */
    FS_SIM_SYNC_DIR,
    FS_SIM_SYNC_ALL,
    FS_SIM_TRUNCATE,
    FS_SIM_RENAME,
    FS_SIM_UNLINK,
    FS_SIM_MKDIR,
    FS_SIM_RMDIR,
    FS_SIM_LOCK,
    FS_SIM_CALL_COUNT
};

/* What the write at which the system crashes leaves in the live image. */
enum fs_sim_tear {
    FS_SIM_TEAR_NONE,    /* nothing of it */
    FS_SIM_TEAR_PREFIX,  /* a random number of its first bytes */
    FS_SIM_TEAR_SECTORS, /* a random set of its 512-byte sectors */
};

/* What a crash leaves. */
enum fs_sim_crash_mode {
    FS_SIM_CRASH_KILL,      /* the process died: nothing is lost, nothing became durable by it */
    FS_SIM_CRASH_LOSE,      /* power loss: all that was not synced is lost */
    FS_SIM_CRASH_RANDOM,    /* power loss: a random set of unsynced pages and a random prefix of the unsynced creations,
                             * renames and removals survive; sizes and single sectors of a page likewise */
    FS_SIM_CRASH_LOSE_PAGE, /* power loss: everything survives but the unsynced page number `seed`
                             * (0 <= seed < fs_sim_dirty_page_count) */
};

struct fs_sim_options {
    uint64_t seed;
    uint32_t page_bytes;       /* 0: FS_SIM_PAGE_BYTES_DEFAULT; a multiple of FS_SIM_SECTOR_BYTES */
    uint64_t total_bytes;      /* 0: no limit in practice (1 TiB) */
    unsigned open_files_max;   /* 0: no limit */
    unsigned uncached_percent; /* how often file_is_cached denies, until the file was prefetched or read */
    bool stays_cold;           /* also then */
    /* Not NULL: is asked instead. */
    bool (*is_cold)(void *ctx, const char *path);
    void *is_cold_ctx;
    struct clock *clock; /* for modified_ms; NULL: the number of the call */
};

/* Latency of a call: drawn between `least_us` and `most_us`, mostly near the least. The calls themselves return at once;
 * the simulated pool asks what they cost (fs_sim_take_latency_us) and completes the job that much later. */
struct fs_sim_latency {
    uint64_t least_us;
    uint64_t most_us;
};

/* One line per call, without newline: number (0 when the call changes nothing), call, path, arguments, result. */
typedef void (*fs_sim_log_fn)(void *ctx, const char *line);

/* A state-changing call that succeeded, with all that is needed to make it again elsewhere. Spans and paths are borrowed during the
 * callback. */
struct fs_sim_change {
    uint64_t number;       /* as counted by fs_sim_call_count */
    enum fs_sim_call call; /* OPEN, LOCK: the file was made; an open that empties one is a TRUNCATE */
    uint64_t inode;        /* of the file or directory; the same number in every run of the same calls */
    uint64_t dir;          /* of names: the directory that holds it */
    uint64_t to_dir;       /* RENAME */
    const char *path;      /* RENAME: the old one */
    const char *to_path;   /* RENAME */
    struct span bytes;     /* WRITE */
    uint64_t pos;          /* WRITE: where; TRUNCATE: the new size */
};

typedef void (*fs_sim_tape_fn)(void *ctx, const struct fs_sim_change *change);

/* `options` may be NULL: seed 1, no limits. */
struct fs_sim *fs_sim_new(const struct fs_sim_options *options);
/* NULL is fine. */
void fs_sim_free(struct fs_sim *sim);
/* The file system, to hand to the product. */
struct fs *fs_sim_fs(struct fs_sim *sim);
/* A copy of everything but open files, locks, faults and the log: for trying several crashes from one state. */
struct fs_sim *fs_sim_clone(const struct fs_sim *sim);

uint64_t fs_sim_call_count(const struct fs_sim *sim);
/* The system crashes at the state-changing call with this number (0: never): it and all later calls return ERR_IO,
 * until fs_sim_crash. */
void fs_sim_crash_at(struct fs_sim *sim, uint64_t call_number, enum fs_sim_tear tear);
bool fs_sim_is_crashed(const struct fs_sim *sim);
/* Crash now, or finish the crash of fs_sim_crash_at: locks end, open files go stale, the image becomes what `mode` leaves;
 * calls work again. Faults, limits and crash_at are cleared, calls are counted on. */
void fs_sim_crash(struct fs_sim *sim, enum fs_sim_crash_mode mode, uint64_t seed);
/* Pages of all files that the next sync would write. */
uint64_t fs_sim_dirty_page_count(const struct fs_sim *sim);

/* The `nth` call of this kind from now (1: the next) fails with `err`; if sticky, all later ones too. nth 0: no more faults.
 * One fault per kind. */
void fs_sim_fail_at(struct fs_sim *sim, enum fs_sim_call call, uint64_t nth, enum err err, bool is_sticky);
/* The capacity from now on; ERR_NO_SPACE beyond. */
void fs_sim_set_total_bytes(struct fs_sim *sim, uint64_t total_bytes);
/* From now on: options.uncached_percent and options.stays_cold. */
void fs_sim_set_cold(struct fs_sim *sim, unsigned uncached_percent, bool stays_cold);
/* From now on options.is_cold; NULL: no longer. */
void fs_sim_set_cold_rule(struct fs_sim *sim, bool (*is_cold)(void *ctx, const char *path), void *ctx);
uint64_t fs_sim_used_bytes(const struct fs_sim *sim);
void fs_sim_set_open_files_max(struct fs_sim *sim, unsigned open_files_max);
/* Files that are open, locks included: 0 at the end of a test that leaks none. */
unsigned fs_sim_open_files(const struct fs_sim *sim);
/* Closes all files, whoever holds references: their holders' memory is gone with their process (the simulator's nodes). */
void fs_sim_abandon_files(struct fs_sim *sim);
/* Flip one bit of a file in both images. ERR_NOT_FOUND, or ERR_OUT_OF_RANGE behind its end. */
enum err fs_sim_flip_bit(struct fs_sim *sim, const char *path, uint64_t pos, unsigned bit) MUST_USE;

void fs_sim_set_latency(struct fs_sim *sim, enum fs_sim_call call, struct fs_sim_latency latency);
/* What the calls since the last take cost together. */
uint64_t fs_sim_take_latency_us(struct fs_sim *sim);

/* The live bytes of a file, for checkers: no call, no latency, no fault. Borrowed until the next change of the file. ERR_NOT_FOUND. */
enum err fs_sim_peek(const struct fs_sim *sim, const char *path, struct span *ret_bytes) MUST_USE;

/* `on_line` NULL: no log. */
void fs_sim_set_log(struct fs_sim *sim, fs_sim_log_fn on_line, void *ctx);
/* `on_change` is called behind each change, in their order; NULL: no tape. */
void fs_sim_set_tape(struct fs_sim *sim, fs_sim_tape_fn on_change, void *ctx);

#endif

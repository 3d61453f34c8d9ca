/* quorum_log: the quorum's memory on disk: entries, term and vote, snapshots, identity. It decides nothing; it writes, syncs, and
 * on opening tells what is there or why it can't be trusted.
 *
 * Shape:     one directory:
 *              identity                     who this is: cluster, node, raft id (text with a CRC line); written once
 *              term                         current term and vote
 *              log-<first index>            entries, in segments; all but the last are complete and synced
 *              snapshot-<index>             the newest snapshot; one that a leader sent says so until the next is taken
 *              *.tmp                        a side file that was not finished: removed on opening
 *            Byte tables in quorum_log.c and quorum_side.c; numbers are big-endian, checksums CRC-32C.
 *            Synced mark: a segment's header names the largest index that is known to be synced. A bad entry above it is a torn
 *            tail and cut; a bad entry at or below it, or in a segment that is not the last, is corruption: the log
 *            refuses to open. The mark is written after each sync and made durable by the next one.
 * Limits:    QUORUM_ENTRY_BYTES_MAX per entry; QUORUM_SNAPSHOT_BYTES_MAX per snapshot.
 * Errors:    ERR_CORRUPT with a sentence in the problem; I/O errors. After any error of a writing call the log must
 *            not be used again: the process ends (correctness.md 6 and 7, a failed sync is never retried).
 * Ownership: what quorum_log_open loads moves to the caller (quorum_loaded_done).
 * Threads:   every call blocks: pool jobs, one at a time; or the maker before the loop runs.
 * Source:    correctness.md 4 (17), 6, 7; Ongaro's dissertation, 3.8 (persisted state); ADR-0001.
 */
#ifndef CONTROLLER_QUORUM_LOG_H
#define CONTROLLER_QUORUM_LOG_H

#include "common/option.h"
#include "common/seam/fs.h"
#include "common/uuid.h"

#define QUORUM_ENTRY_BYTES_MAX (1u << 20)
#define QUORUM_SNAPSHOT_BYTES_MAX (1u << 30)

/* Values as libraft's, which they become; stored in the log. */
enum quorum_entry_type { QUORUM_COMMAND = 1, QUORUM_BARRIER = 2, QUORUM_CHANGE = 3 };

/* One allocation; `data` follows. Immutable but for the count, which is the loop's: a truncated entry lives on while a job writes it. */
struct quorum_entry {
    uint32_t ref_count;
    uint64_t index;
    uint64_t term;
    enum quorum_entry_type type;
    size_t bytes;
    uint8_t data[];
};

struct quorum_identity {
    char cluster_id[UUID_TEXT_BYTES];
    int32_t node_id;
    uint64_t raft_id;
    struct uuid directory_id; /* raft_id is made of it: quorum_raft_id_of */
    bool is_joining;          /* formed without a first configuration: entries come from a leader that admits it */
};

struct quorum_snapshot {
    uint64_t index; /* 0: none */
    uint64_t term;
    uint64_t configuration_index;
    struct span configuration; /* libraft's encoding */
    struct span data;
};

struct quorum_loaded {
    uint64_t term;
    uint64_t voted_for;
    struct quorum_snapshot snapshot; /* spans point into snapshot_file */
    uint8_t *snapshot_file;
    uint64_t first_index; /* of the entries; last + 1 when there are none */
    struct quorum_entry **entries;
    size_t entry_count;
    size_t cut_bytes; /* of a torn tail; 0: none */
};

struct quorum_log;

/* ---- formation and identity: directories that hold no log yet ---- */

/* Whether `directory` holds a log, complete or not. */
enum err quorum_log_exists(struct fs *fs, const char *directory, bool *ret_exists) MUST_USE;
/* The first eight bytes, as a number; 0 for a zero id only. */
uint64_t quorum_raft_id_of(struct uuid directory_id);
/* Makes a log with one entry, the first configuration, at index 1 in term 1; or, when `configuration` is the null span, an empty one
 * in term 0, for a node that is yet to be admitted. All or nothing: it is made under another name and renamed; `directory` must not
 * exist. */
enum err quorum_log_form(struct fs *fs, const char *directory, const struct quorum_identity *identity,
                         struct span configuration, struct option_problem *ret_problem) MUST_USE;
enum err quorum_log_read_identity(struct fs *fs, const char *directory, struct quorum_identity *ret_identity,
                                  struct option_problem *ret_problem) MUST_USE;

/* ---- life ---- */

enum err quorum_log_open(struct fs *fs, const char *directory, uint64_t segment_bytes, struct quorum_log **ret_log,
                         struct quorum_loaded *ret_loaded, struct option_problem *ret_problem) MUST_USE;
void quorum_loaded_done(struct quorum_loaded *loaded);
/* Makes the last synced mark durable, closes. `log` is gone, also on error. */
enum err quorum_log_close(struct quorum_log *log) MUST_USE;
/* Closes without writing anything: after an error. NULL is accepted. */
void quorum_log_abandon(struct quorum_log *log);

/* ---- writing: each returns when it is durable ---- */

/* Entries follow the last one without a gap. */
enum err quorum_log_append(struct quorum_log *log, const struct quorum_entry *const *entries, size_t count) MUST_USE;
/* Removes the entries from `from_index` on; it must not be below the first or in a snapshot. Harmless when there are none. */
enum err quorum_log_truncate(struct quorum_log *log, uint64_t from_index) MUST_USE;
enum err quorum_log_set_term(struct quorum_log *log, uint64_t term, uint64_t voted_for) MUST_USE;
/* Writes a snapshot, removes older ones, and removes the segments whose entries all lie at or below `trim_index`. */
enum err quorum_log_put_snapshot(struct quorum_log *log, const struct quorum_snapshot *snapshot,
                                 uint64_t trim_index) MUST_USE;

/* Puts a snapshot of a leader in the place of all that is there: when it returns the log begins behind it and is empty. A crash in
 * between leaves the snapshot, whose flag lets the next opening finish. Its index must be above the last snapshot's. */
enum err quorum_log_install(struct quorum_log *log, const struct quorum_snapshot *snapshot) MUST_USE;
/* Reads a snapshot, whole and checked. It needs no open log and may run beside a job that has one: ERR_NOT_FOUND when a newer one
 * has taken its place. *ret_file: mem_free by the caller; the snapshot's spans point into it. */
enum err quorum_log_read_snapshot(struct fs *fs, const char *directory, uint64_t index, uint8_t **ret_file,
                                  struct quorum_snapshot *ret_snapshot, struct option_problem *ret_problem) MUST_USE;

/* ---- facts ---- */

uint64_t quorum_log_first_index(const struct quorum_log *log);
uint64_t quorum_log_last_index(const struct quorum_log *log);
uint64_t quorum_log_bytes(const struct quorum_log *log);

/* With one reference. */
struct quorum_entry *quorum_entry_new(uint64_t index, uint64_t term, enum quorum_entry_type type, struct span data);
struct quorum_entry *quorum_entry_ref(struct quorum_entry *entry);
void quorum_entry_unref(struct quorum_entry *entry);

#endif

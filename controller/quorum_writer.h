/* quorum_writer: hands the writes of the quorum's log to the pool, one job at a time, in an order that is safe: term and vote,
 * then truncation, then entries, then a snapshot that was taken, then one that a leader sent (and nothing that came before it). What is
 * queued while a job runs goes together into the next one (group commit).
 *
 * Errors:    any error of the log: on_failed, once; nothing is written or reported any more.
 * Ownership: the writer has a reference to each entry that is queued or being written: a truncation forgets the queued ones, and leaves
 *            those of the running job alone, who is told of them as written: it must see for itself which of them still count.
 *            Snapshots' bytes are borrowed until on_snapshot_written or on_installed, or until dropped. The log belongs to
 *            the writer's user, but to the running job while there is one.
 * Threads:   the loop's thread.
 * Source:    design.md 5 ("its log is synced in the pool"), correctness.md 6.
 */
#ifndef CONTROLLER_QUORUM_WRITER_H
#define CONTROLLER_QUORUM_WRITER_H

#include "common/bytebuf.h"
#include "common/seam/loop.h"
#include "controller/quorum_log.h"

struct quorum_writer_events {
    void *ctx;
    void (*on_term_written)(void *ctx);
    /* Entries as they were queued; some or all may have been truncated meanwhile. */
    void (*on_appended)(void *ctx, struct quorum_entry *const *entries, size_t count);
    void (*on_snapshot_written)(void *ctx, uint64_t snapshot_index);
    void (*on_installed)(void *ctx);
    void (*on_failed)(void *ctx, enum err err, const char *what);
    void (*on_idle)(void *ctx); /* a job has ended and no other follows */
};

struct quorum_writer_work {
    bool has_term;
    uint64_t term;
    uint64_t voted_for;
    uint64_t truncate_from; /* 0: nothing to truncate */
    struct quorum_entry **entries;
    size_t entry_count;
    size_t entry_capacity;
    bool has_snapshot;
    struct quorum_snapshot snapshot; /* spans belong to whoever queued it, until on_snapshot_written */
    uint64_t trim_index;
    bool has_install;
    struct quorum_snapshot install;
};

struct quorum_writer {
    struct loop *loop;
    struct quorum_log *log;
    struct quorum_writer_events events;
    struct loop_job job;
    bool is_running;
    bool is_failed;
    struct quorum_writer_work queued;
    struct quorum_writer_work running;
    enum err err; /* of the running job, with what it was doing */
    const char *what;
};

void quorum_writer_init(struct quorum_writer *writer, struct loop *loop, struct quorum_log *log,
                        const struct quorum_writer_events *events);
/* Nothing may be running. */
void quorum_writer_done(struct quorum_writer *writer);
void quorum_writer_set_term(struct quorum_writer *writer, uint64_t term, uint64_t voted_for);
void quorum_writer_append(struct quorum_writer *writer, struct quorum_entry *entry);
/* Forgets queued entries from `from_index` on, and removes written ones. */
void quorum_writer_truncate(struct quorum_writer *writer, uint64_t from_index);
/* One at a time. */
void quorum_writer_put_snapshot(struct quorum_writer *writer, const struct quorum_snapshot *snapshot,
                                uint64_t trim_index);
/* Drops what is queued but a term: entries, truncation, and a snapshot (then true: its bytes are no longer borrowed). */
bool quorum_writer_install(struct quorum_writer *writer, const struct quorum_snapshot *snapshot);
/* Begins a job if something is queued and none runs. Call once after queueing. */
void quorum_writer_kick(struct quorum_writer *writer);

#endif

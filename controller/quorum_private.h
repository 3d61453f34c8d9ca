/* quorum_private: the quorum's state, shared by quorum.c (steps and what follows from them), quorum_snapshot.c (taking snapshots)
 * and quorum_life.c (opening, starting, stopping). The only place that includes raft.h, until messages need it too.
 *
 * Threads:   the loop's, but for what the jobs are given.
 */
#ifndef CONTROLLER_QUORUM_PRIVATE_H
#define CONTROLLER_QUORUM_PRIVATE_H

#include "controller/quorum.h"
#include "controller/quorum_tail.h"
#include "controller/quorum_writer.h"

#include <raft.h>

struct quorum {
    struct env *env;
    struct loop *loop;
    struct quorum_options options;
    struct quorum_events events;
    struct quorum_log *log;
    struct quorum_loaded loaded; /* between open and start */
    struct quorum_writer writer;
    struct raft raft;
    struct raft_update update; /* of the last step; its messages wait here for a term to be written */
    struct loop_timer timer;

    struct quorum_tail tail; /* entries that are not applied or not written yet */

    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t persisted_index;
    uint64_t snapshot_index;
    uint64_t log_first_index; /* as of the last job */
    uint64_t log_bytes;

    /* A snapshot under way: state held -> encoded in the pool -> written. */
    struct loop_job snapshot_job;
    bool is_encoding;
    void *snapshot_state; /* NULL: none under way */
    struct quorum_snapshot snapshot;
    struct bytebuf snapshot_data;
    struct raft_buffer snapshot_configuration;
    enum err snapshot_err;

    void (*on_stopped)(void *ctx);
    void *on_stopped_ctx;
    struct loop_job close_job;
    bool is_raft_open;
    bool is_started;
    bool is_stepping;
    bool is_leader;
    bool is_term_unwritten; /* no step until the changed term or vote is durable */
    bool is_failed;
    bool is_stopping;
    bool is_closing;
};

/* Ends the quorum: on_fatal, once. */
void quorum_fail(struct quorum *quorum, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Steps libraft and does what follows. An error of RAFT_SUBMIT is the proposer's; any other ends the quorum. */
int quorum_step(struct quorum *quorum, struct raft_event *event);
/* Applies what is committed. */
void quorum_apply_committed(struct quorum *quorum);
void quorum_on_timer(struct loop_timer *timer);
/* Notes what people may want to know of the log, while no job has it. */
void quorum_note_log(struct quorum *quorum);
/* What the writer reports. */
extern const struct quorum_writer_events quorum_writer_reports;

/* Takes a snapshot if enough was applied since the last one. */
void quorum_maybe_snapshot(struct quorum *quorum);
void quorum_on_snapshot_written(void *ctx, uint64_t snapshot_index);
/* Frees what a snapshot under way holds. */
void quorum_snapshot_release(struct quorum *quorum);

/* Closes the log, if the quorum is stopping and nothing is under way any more. */
void quorum_finish_stop(struct quorum *quorum);

#endif

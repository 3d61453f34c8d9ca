/* quorum: the replicated log of the controllers: libraft's core (raft_step) between our own disk, timers and, with more than one
 * voter, messages. It moves bytes; what they mean is the controller's business.
 *
 * Shape:     propose -> raft_step -> entries to the pool (written, synced, one job at a time; what comes meanwhile is one batch)
 *            -> raft_step(persisted) -> committed -> on_commit, in order, on the loop.
 *            A changed term or vote is durable before the next step and before any message of this one.
 * Limits:    QUORUM_ENTRY_BYTES_MAX per proposal; QUORUM_PENDING_ENTRIES_MAX not committed yet.
 * Errors:    quorum_propose: ERR_NOT_LEADER, ERR_BUSY (too many pending), ERR_CLOSED. Whatever else goes wrong (a write, a sync, an error
 *            of a step) ends the quorum: on_fatal, once; it then does nothing any more and the process must end.
 * Ownership: callbacks borrow what they are given. Nothing is called before quorum_start or after on_stopped.
 * Threads:   quorum_open and quorum_start: the maker, before the loop runs. Everything else, and all callbacks but
 *            snapshot_encode (pool): the loop's thread.
 * Source:    correctness.md 6, ADR-0001; libraft 0.22.1: docs/events.rst, docs/updates.rst, src/legacy.c (ownership).
 */
#ifndef CONTROLLER_QUORUM_H
#define CONTROLLER_QUORUM_H

#include "common/bytebuf.h"
#include "common/seam/env.h"
#include "common/seam/loop.h"
#include "controller/quorum_log.h"

#define QUORUM_RAFT_VERSION 2201 /* raft_version_number() of 0.22.1, the one whose rules are known here */
#define QUORUM_PENDING_ENTRIES_MAX 1024

struct raft_message;

struct quorum_events {
    void *ctx;
    /* State as of a snapshot; before any on_commit. */
    enum err (*on_restore)(void *ctx, uint64_t index, uint64_t term, struct span data);
    /* A command is committed. An error ends the quorum. */
    enum err (*on_commit)(void *ctx, uint64_t index, uint64_t term, struct span data);
    /* This node became the leader (it must then propose an activation) or ceased to be: what it proposed and was not committed has
     * an unknown outcome. */
    void (*on_leader)(void *ctx, bool is_leader);
    /* Take hold of the state as of now; then, in the pool, write it as bytes; then let go of it (on the loop). */
    void *(*snapshot_begin)(void *ctx);
    enum err (*snapshot_encode)(void *state, struct bytebuf *ret_bytes);
    void (*snapshot_end)(void *ctx, void *state);
    /* Send to another voter; NULL with a single one. The message and its server_address are borrowed. */
    void (*send)(void *ctx, const struct raft_message *message);
    void (*on_fatal)(void *ctx, const char *reason);
};

struct quorum_options {
    const char *directory;
    uint32_t election_timeout_ms;
    uint32_t heartbeat_timeout_ms;
    uint32_t snapshot_entries; /* applied since the last snapshot before a new one is taken */
    uint32_t trailing_entries; /* kept behind a snapshot */
    uint64_t segment_bytes;
};

struct quorum_facts {
    uint64_t raft_id;
    uint64_t term;
    uint64_t leader_raft_id; /* 0: none known */
    uint64_t first_index;
    uint64_t last_index;
    uint64_t persisted_index;
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t snapshot_index;
    uint64_t log_bytes;
    uint32_t voter_count;
    bool is_leader;
};

struct quorum;

/* The first configuration of a quorum with this one voter, as bytes for quorum_log_form: the same on every node. */
enum err quorum_first_configuration(uint64_t raft_id, const char *address, struct bytebuf *ret_bytes) MUST_USE;

/* Reads the log. Fails with a sentence in the problem. */
enum err quorum_open(struct env *env, const struct quorum_options *options, const struct quorum_identity *identity,
                     const char *address, const struct quorum_events *events, struct quorum **ret_quorum,
                     struct option_problem *ret_problem) MUST_USE;
/* Restores, applies what is known to be committed, and goes on from there on `loop`. Calls on_restore, on_commit and on_leader
 * from inside. ERR_*: what a callback said, or ERR_CORRUPT. */
enum err quorum_start(struct quorum *quorum, struct loop *loop) MUST_USE;
/* Proposes one command; copies it. *ret_index: where it will be if it is committed. */
enum err quorum_propose(struct quorum *quorum, struct span data, uint64_t *ret_index) MUST_USE;
void quorum_get_facts(const struct quorum *quorum, struct quorum_facts *ret_facts);
/* Lets the write under way end, makes the log's marks durable, then on_stopped. Nothing is committed any more. */
void quorum_stop(struct quorum *quorum, void (*on_stopped)(void *ctx), void *ctx);
/* Stopped, or never started. NULL is accepted. */
void quorum_free(struct quorum *quorum);

#endif

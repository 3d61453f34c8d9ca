/* quorum: the replicated log of the controllers: libraft's core (raft_step) between our own disk, timers and messages. It moves bytes;
 * what they mean is the controller's business, and how a message travels is the transport's.
 *
 * Shape:     propose -> raft_step -> entries to the pool (written, synced, one job at a time; what comes meanwhile is one batch)
 *            -> raft_step(persisted) -> committed -> on_commit, in order, on the loop.
 *            message -> quorum_receive -> checked -> raft_step -> the same.
 *            A changed term or vote is durable before the next step and before any message of this one; messages that come in
 *            between wait (QUORUM_INBOX_*) or are lost, as on a wire.
 * Limits:    QUORUM_ENTRY_BYTES_MAX per proposal; QUORUM_PENDING_ENTRIES_MAX not committed yet; QUORUM_FRAME_BYTES_MAX per message;
 *            QUORUM_TRAILING_BYTES_MAX of applied entries in memory for followers; QUORUM_MEMBERS_MAX.
 * Errors:    quorum_propose: ERR_NOT_LEADER, ERR_BUSY (too many pending), ERR_CLOSED. quorum_receive: ERR_MALFORMED. Whatever else goes
 *            wrong (a write, a sync, an error of a step) ends the quorum: on_fatal, once; it then does nothing any more and the process
 *            must end.
 * Ownership: callbacks borrow what they are given. Nothing is called before quorum_start or after on_stopped.
 * Threads:   quorum_open and quorum_start: the maker, before the loop runs. Everything else, and all callbacks but
 *            snapshot_encode (pool): the loop's thread. No callback may call quorum_receive.
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
#define QUORUM_FRAME_BYTES_MAX (8u << 20)
#define QUORUM_TRAILING_BYTES_MAX (64u << 20)
#define QUORUM_INBOX_BYTES_MAX (16u << 20)
#define QUORUM_INBOX_MESSAGES_MAX 256
#define QUORUM_MEMBERS_MAX 16
#define QUORUM_ADDRESS_BYTES_MAX 512 /* with the terminator */

enum quorum_role { QUORUM_VOTER, QUORUM_STANDBY, QUORUM_SPARE };

struct quorum_member {
    uint64_t raft_id;
    const char *address; /* "id@host:port/DIRECTORYID": opaque here */
    enum quorum_role role;
};

struct quorum_events {
    void *ctx;
    /* State as of a snapshot: before any on_commit, or later in place of commits that were missed. */
    enum err (*on_restore)(void *ctx, uint64_t index, uint64_t term, struct span data);
    /* A command is committed. An error ends the quorum. */
    enum err (*on_commit)(void *ctx, uint64_t index, uint64_t term, struct span data);
    /* This node became the leader (it must then propose an activation) or ceased to be: what it proposed and was not committed has
     * an unknown outcome. Ceasing is told before anything of another leader is applied. */
    void (*on_leader)(void *ctx, bool is_leader);
    /* Take hold of the state as of now; then, in the pool, write it as bytes; then let go of it (on the loop). */
    void *(*snapshot_begin)(void *ctx);
    enum err (*snapshot_encode)(void *state, struct bytebuf *ret_bytes);
    void (*snapshot_end)(void *ctx, void *state);
    /* Send to another controller; header and body together are at most QUORUM_FRAME_BYTES_MAX. Everything is borrowed for the call.
     * The transport may lose it. NULL: everything is lost. */
    void (*send)(void *ctx, uint64_t to_raft_id, const char *to_address, struct span header, struct span body);
    /* A configuration was applied (committed) or, at start and restore, loaded. May be NULL. */
    void (*on_configuration)(void *ctx, const struct quorum_member *members, uint32_t count, uint64_t index);
    /* The leader is known (in this term), or lost: raft id 0. May be NULL. */
    void (*on_leader_known)(void *ctx, uint64_t leader_raft_id, uint64_t term);
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
    /* Since the start. */
    uint64_t truncate_count;
    uint64_t install_count;       /* snapshots of a leader that took the place of the log */
    uint64_t snapshot_sent_count; /* snapshots that a follower has received whole */
};

/* What a leader knows of a member. */
struct quorum_progress {
    uint64_t raft_id;
    enum quorum_role role;
    uint64_t match_index;     /* known to be durable there */
    uint64_t last_contact_us; /* loop's clock when it last answered in this term; 0: never. The leader itself: now */
    uint64_t caught_up_us;    /* when it last had everything that the leader had; 0: never */
};

struct quorum;

/* Bytes of a configuration; members are sorted by raft id inside, so that every node gets the same bytes. ERR_INVALID: no voter, an id or
 * address twice, empty or too long. */
enum err quorum_configuration_encode(const struct quorum_member *members, uint32_t count,
                                     struct bytebuf *ret_bytes) MUST_USE;
/* At most QUORUM_MEMBERS_MAX; addresses point into `bytes`. ERR_MALFORMED. */
enum err quorum_configuration_decode(struct span bytes, struct quorum_member *ret_members,
                                     uint32_t *ret_count) MUST_USE;
/* The first configuration of a quorum with this one voter, as bytes for quorum_log_form: the same on every node. */
enum err quorum_first_configuration(uint64_t raft_id, const char *address, struct bytebuf *ret_bytes) MUST_USE;

/* Reads the log. Fails with a sentence in the problem. */
enum err quorum_open(struct env *env, const struct quorum_options *options, const struct quorum_identity *identity,
                     const char *address, const struct quorum_events *events, struct quorum **ret_quorum,
                     struct option_problem *ret_problem) MUST_USE;
/* Restores, applies what is known to be committed, and goes on from there on `loop`. Calls on_restore, on_commit, on_configuration and
 * on_leader from inside. ERR_*: what a callback said, or ERR_CORRUPT. */
enum err quorum_start(struct quorum *quorum, struct loop *loop) MUST_USE;
/* Proposes one command; copies it. *ret_index: where it will be if it is committed. */
enum err quorum_propose(struct quorum *quorum, struct span data, uint64_t *ret_index) MUST_USE;
/* What a link from another controller delivered; `from_raft_id` is who the link's hello proved. Copies what it keeps. ERR_MALFORMED: the
 * link should be closed, nothing else has happened. */
enum err quorum_receive(struct quorum *quorum, uint64_t from_raft_id, struct span header, struct span body) MUST_USE;
void quorum_get_facts(const struct quorum *quorum, struct quorum_facts *ret_facts);
/* Members of the newest configuration (committed or not) and, on the leader, their progress; ret_progress has room for
 * QUORUM_MEMBERS_MAX. ERR_NOT_LEADER. */
enum err quorum_get_progress(const struct quorum *quorum, struct quorum_progress *ret_progress,
                             uint32_t *ret_count) MUST_USE;

/* Membership: only the leader, only after it has committed an entry in its term, one change at a time. That there are 1, 3 or 5 voters in
 * the end is the caller's care. `done` is called once, on the loop, never from inside: ERR_OK when committed; ERR_NOT_LEADER (not the
 * leader, or not any more: then the outcome is unknown); ERR_BUSY (another change, a transfer, or nothing committed yet: try again);
 * ERR_EXISTS; ERR_NOT_FOUND; ERR_INVALID; ERR_TIMEOUT (a new voter did not catch up; it was removed again); ERR_CLOSED. */
typedef void (*quorum_change_fn)(void *ctx, enum err err);
/* Adds a stand-by, waits until it has caught up, makes it a voter. A member that is no voter yet is promoted. */
void quorum_add_voter(struct quorum *quorum, uint64_t raft_id, const char *address, quorum_change_fn done, void *ctx);
/* Removes a member of any role. The leader does not remove itself: it hands leadership over and answers ERR_NOT_LEADER, so that the request
 * goes to its successor; ERR_INVALID when nobody else votes. */
void quorum_remove_voter(struct quorum *quorum, uint64_t raft_id, quorum_change_fn done, void *ctx);
/* Hands leadership to a voter that has the whole log, for an orderly stop; proposals are refused from now on (ERR_NOT_LEADER), until it is
 * done or given up. ERR_NOT_LEADER; ERR_NOT_FOUND: nobody else votes; ERR_BUSY;
 * ERR_TIMEOUT: nobody had everything and took over within two election timeouts. */
void quorum_transfer(struct quorum *quorum, quorum_change_fn done, void *ctx);

/* Lets the write under way end, makes the log's marks durable, then on_stopped. Nothing is committed any more. */
void quorum_stop(struct quorum *quorum, void (*on_stopped)(void *ctx), void *ctx);
/* Stopped, or never started. NULL is accepted. */
void quorum_free(struct quorum *quorum);

#endif

/* quorum_private: the quorum's state, shared by quorum.c (steps and what follows from them), quorum_time.c, quorum_receive.c and quorum_send.c (messages),
 * quorum_install.c (a leader's snapshot on its way), quorum_snapshot.c (taking one's own), quorum_member.c (membership, transfer),
 * quorum_configuration.c and quorum_life.c (opening, starting, stopping). The only place that includes raft.h.
 *
 * Threads:   the loop's, but for what the jobs are given.
 */
#ifndef CONTROLLER_QUORUM_PRIVATE_H
#define CONTROLLER_QUORUM_PRIVATE_H

#include "controller/quorum.h"
#include "controller/quorum_message.h"
#include "controller/quorum_tail.h"
#include "controller/quorum_writer.h"

#include <raft.h>

#define US_PER_MS 1000u
#define QUORUM_INFLIGHT_ENTRIES                                                                                        \
    128 /* sent to a follower and not acknowledged; a message that does not fit a frame is split */

/* What messages of our own making say to libraft (its MESSAGE__..._VERSION): vote results know pre-votes, append results the one feature
 * that it knows. */
#define APPEND_VERSION 0
#define APPEND_RESULT_VERSION 2
#define VOTE_RESULT_VERSION 2

/* A message that came while none could be handled; the bytes follow. */
struct quorum_inbox_item {
    struct quorum_inbox_item *next;
    uint64_t from_raft_id;
    size_t header_bytes;
    size_t body_bytes;
    uint8_t data[];
};

/* What a leader remembers of an answering member beside libraft's progress. */
struct quorum_contact {
    uint64_t raft_id;
    uint64_t term;
    uint64_t last_us;
    uint64_t caught_up_us;
    uint64_t told_commit_index; /* by quorum_tell_commit */
};

/* A part of a received append while libraft has it: its entries, of which the update names those to be stored. */
struct quorum_part {
    uint64_t first_index;
    struct quorum_entry **entries;
    uint32_t count;
};

struct quorum_outgoing; /* a snapshot on its way to a follower: quorum_install.c */

/* A snapshot that is coming from a leader, and then on its way to the disk. */
struct quorum_incoming {
    bool is_open;
    uint64_t from_raft_id;
    uint64_t term;
    uint64_t index;
    uint64_t index_term;
    uint64_t configuration_index;
    uint64_t total_bytes;
    uint8_t hash[QUORUM_HASH_BYTES];
    struct bytebuf data;
};

enum quorum_change_stage { QUORUM_ADDING, QUORUM_CATCHING_UP, QUORUM_PROMOTING, QUORUM_REMOVING, QUORUM_GIVING_UP };

struct quorum_change {
    bool is_active;
    enum quorum_change_stage stage;
    uint64_t raft_id;
    uint64_t index; /* of the entry that is to be committed; 0 while catching up */
    bool is_committed;
    quorum_change_fn done;
    void *ctx;
};

struct quorum_handover {
    bool is_active;
    bool is_waiting; /* until somebody has everything; nothing is proposed meanwhile */
    enum err answer; /* when it was done */
    quorum_change_fn done;
    void *ctx;
};

struct quorum {
    struct env *env;
    struct loop *loop;
    struct quorum_options options;
    struct quorum_events events;
    char *directory;
    struct quorum_log *log;
    struct quorum_loaded loaded; /* between open and start */
    struct quorum_writer writer;
    struct raft raft;
    struct raft_update update; /* of the last step; its messages wait here for a term to be written */
    struct loop_timer timer;
    uint64_t last_timeout_ms; /* when RAFT_TIMEOUT was stepped last */
    uint64_t term_asked_us;   /* when the write of the newest term began to be waited for */
    uint64_t answered_us;     /* when a leader was told last what is durable here */

    struct quorum_tail tail;
    const struct quorum_part *part; /* while it is being stepped */

    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t persisted_index;
    uint64_t snapshot_index;
    uint64_t unsnapped_bytes; /* applied since the last snapshot */
    uint64_t log_first_index; /* as of the last job */
    uint64_t log_bytes;
    uint64_t told_configuration_index;

    /* Messages. */
    struct quorum_inbox_item *inbox;
    struct quorum_inbox_item **inbox_end;
    size_t inbox_bytes;
    size_t inbox_count;
    char from_address[QUORUM_ADDRESS_BYTES_MAX]; /* of the message in hand: what libraft answers borrows it */
    struct bytebuf out_header;
    struct bytebuf out_body;
    struct quorum_contact contacts[QUORUM_MEMBERS_MAX];
    uint64_t leader_term; /* in which somebody was last heard as the leader */
    uint64_t told_leader_id;
    uint64_t told_leader_term;
    uint64_t alone_term; /* which this node entered by itself to lead as the only voter */

    /* A snapshot under way: state held -> encoded in the pool -> written. */
    struct loop_job snapshot_job;
    bool is_encoding;
    bool is_snapshot_void;    /* overtaken by one that a leader sent */
    bool is_snapshot_written; /* and libraft not told yet */
    void *snapshot_state;     /* NULL: none under way */
    struct quorum_snapshot snapshot;
    struct bytebuf snapshot_data;
    struct raft_buffer snapshot_configuration;
    enum err snapshot_err;

    /* Snapshots on their way. */
    struct quorum_incoming incoming;
    struct raft_snapshot_metadata install; /* while it is being written */
    struct raft_buffer install_data;
    struct raft_buffer install_configuration;
    bool is_install_written;          /* and libraft not told yet */
    struct quorum_outgoing *outgoing; /* utlist DL */
    unsigned reading_count;           /* jobs that read a snapshot */

    struct quorum_change change;
    struct quorum_handover handover;
    struct loop_timer handover_timer; /* ends it, whatever becomes of the leader and its successor */

    uint64_t truncate_count;
    uint64_t install_count;
    uint64_t snapshot_sent_count;

    void (*on_stopped)(void *ctx);
    void *on_stopped_ctx;
    struct loop_job close_job;
    bool is_raft_open;
    bool is_started;
    bool is_stepping;
    bool is_applying;
    bool is_leader;
    bool is_term_unwritten; /* no step until the changed term or vote is durable */
    bool is_failed;
    bool is_stopping;
    bool is_closing;
};

/* ---- quorum.c ---- */

/* Ends the quorum: on_fatal, once. */
void quorum_fail(struct quorum *quorum, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Steps libraft and does what follows. An error of RAFT_SUBMIT or RAFT_TRANSFER is the caller's; any other ends the quorum. */
int quorum_step(struct quorum *quorum, struct raft_event *event);
static inline bool quorum_can_step(const struct quorum *quorum)
{
    return !quorum->is_failed && !quorum->is_stopping && !quorum->is_term_unwritten;
}
/* Submits an entry; takes over the reference, also on an error (libraft's). */
int quorum_submit(struct quorum *quorum, struct quorum_entry *entry);
/* Applies what is committed. */
void quorum_apply_committed(struct quorum *quorum);
/* Notes what people may want to know of the log, while no job has it. */
void quorum_note_log(struct quorum *quorum);
/* Tells on_configuration, unless a newer one was told. */
void quorum_tell_configuration(struct quorum *quorum, const struct raft_configuration *configuration, uint64_t index);
/* The term of an entry that is in the tail, or the snapshot's; 0: not known. */
uint64_t quorum_term_of(const struct quorum *quorum, uint64_t index);
/* What the writer reports. */
extern const struct quorum_writer_events quorum_writer_reports;

/* ---- quorum_time.c ---- */

/* After each step: when libraft has to hear of the time next. */
void quorum_arm_timer(struct quorum *quorum);
void quorum_on_timer(struct loop_timer *timer);
/* Term and vote are durable, and nothing was stepped since they changed. */
void quorum_note_term_written(struct quorum *quorum);

/* ---- quorum_receive.c, quorum_send.c ---- */

/* Handles what waited in the inbox. */
void quorum_resume(struct quorum *quorum);
void quorum_inbox_done(struct quorum *quorum);
/* Sends the messages of the update. */
void quorum_send_messages(struct quorum *quorum);
/* A leader tells each member that holds what is committed that it is. */
void quorum_tell_commit(struct quorum *quorum);
/* Fills in the sender, encodes, sends. */
void quorum_send(struct quorum *quorum, struct quorum_message *message, const char *to_address);
/* NULL: nobody with this id has answered in this term. */
const struct quorum_contact *quorum_contact_find(const struct quorum *quorum, uint64_t member_id);

/* ---- quorum_install.c ---- */

/* libraft wants a snapshot sent; `message` is its RAFT_INSTALL_SNAPSHOT. */
void quorum_install_send(struct quorum *quorum, const struct raft_message *message);
enum err quorum_install_receive(struct quorum *quorum, const struct quorum_message *message);
void quorum_install_result(struct quorum *quorum, const struct quorum_message *message);
/* The update has a snapshot to be written. */
void quorum_install_begin(struct quorum *quorum);
void quorum_on_installed(void *ctx);
/* Restores what was written, and tells libraft; when it may be stepped. */
void quorum_install_report(struct quorum *quorum);
/* The term, the leader or the state has changed: drops what does not fit any more. */
void quorum_install_check(struct quorum *quorum);
void quorum_install_stop(struct quorum *quorum);
void quorum_install_done(struct quorum *quorum);

/* ---- quorum_snapshot.c ---- */

/* Takes a snapshot if enough was applied since the last one. */
void quorum_maybe_snapshot(struct quorum *quorum);
void quorum_on_snapshot_written(void *ctx, uint64_t snapshot_index);
/* Tells libraft of what was written; when it may be stepped. */
void quorum_snapshot_report(struct quorum *quorum);
/* A leader's snapshot takes the place of everything: the own one that is under way is of no use any more. */
void quorum_snapshot_overtaken(struct quorum *quorum, bool was_queued);
/* Frees what a snapshot under way holds. */
void quorum_snapshot_release(struct quorum *quorum);

/* ---- quorum_member.c ---- */

/* A configuration entry is being applied. */
void quorum_member_applied(struct quorum *quorum, const struct quorum_entry *entry);
/* Goes on with a change or transfer, after each update. */
void quorum_member_check(struct quorum *quorum);
void quorum_on_handover_timer(struct loop_timer *timer);
/* Ends what is under way. */
void quorum_member_stop(struct quorum *quorum, enum err err);

/* ---- quorum_configuration.c ---- */

/* Decodes what quorum_configuration_decode accepts; ERR_MALFORMED. */
enum err quorum_configuration_to_raft(struct span bytes, struct raft_configuration *ret_configuration);
uint32_t quorum_configuration_members(const struct raft_configuration *configuration,
                                      struct quorum_member ret_members[QUORUM_MEMBERS_MAX]);
/* NULL: no member. */
const struct raft_server *quorum_configuration_find(const struct raft_configuration *configuration, uint64_t member_id);
uint32_t quorum_configuration_voters(const struct raft_configuration *configuration);

/* ---- quorum_life.c ---- */

/* libraft's memory is ours. Harmless to call again. */
void quorum_use_own_heap(void);
/* Closes the log, if the quorum is stopping and nothing is under way any more. */
void quorum_finish_stop(struct quorum *quorum);

#endif

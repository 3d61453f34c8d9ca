/* One function steps libraft, and one does what a step says is to be done. Order inside of it (docs/updates.rst): term and vote first, durably;
 * then entries; then messages; then what was committed.
 *
 *      propose, timer, message, appended, term written, installed, configuration applied
 *                     |
 *                quorum_step --raft_step--> handle_update
 *                                            | entries: tail truncated and extended; queued, a job writes and syncs all that is queued
 *                                            | snapshot: queued; nothing is applied until it is installed
 *                                            | term or vote changed: a job writes it; nothing steps until it is done
 *                                            v
 *                                          finish_update, when term and vote are durable
 *                                            | messages: filled from the tail and sent; a new commit index is told
 *                                            | leadership lost: told
 *                                            | commit index: applied, in order
 *                                            | leadership gained, leader known: told
 *
 * Debian's libraft is built without assertions: what it would assert is CHECKed here before each step, and what a peer could do to
 * it is refused in quorum_receive.c. */
#include "controller/quorum.h"

#include "common/mem.h"
#include "controller/quorum_private.h"

#include <stdarg.h>
#include <stdio.h>

#define FAIL_REASON_BYTES 256

static void handle_update(struct quorum *quorum, const struct raft_event *event);

void quorum_fail(struct quorum *quorum, const char *format, ...)
{
    if (quorum->is_failed) {
        return;
    }
    quorum->is_failed = true;
    char reason[FAIL_REASON_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    if (quorum->loop != NULL) {
        loop_timer_cancel(quorum->loop, &quorum->timer);
        quorum_install_stop(quorum);
        quorum_member_stop(quorum, ERR_CLOSED);
    }
    quorum->events.on_fatal(quorum->events.ctx, reason);
}

/* ---- stepping ---- */

/* What libraft asserts about an event (src/raft.c, src/client.c, src/trail.c), as far as it is ours to get right. */
static void check_event(struct quorum *quorum, const struct raft_event *event)
{
    struct raft *raft = &quorum->raft;
    CHECK(!quorum->is_stepping && !quorum->is_failed && !quorum->is_term_unwritten);
    CHECK(event->time >= raft->now && event->capacity == 0);
    switch (event->type) {
    case RAFT_START:
        CHECK(!quorum->is_started && raft->last_stored == 0);
        CHECK(event->start.term > 0 || event->start.n_entries == 0);
        return;
    case RAFT_SUBMIT:
        CHECK(event->submit.n == 1 && event->submit.entries[0].batch != NULL && event->submit.entries[0].buf.len > 0);
        CHECK(event->submit.entries[0].term == raft_current_term(raft));
        return;
    case RAFT_PERSISTED_ENTRIES:
        CHECK(event->persisted_entries.index > raft->last_stored);
        CHECK(event->persisted_entries.index <= raft_last_index(raft));
        CHECK(raft_state(raft) != RAFT_CANDIDATE && !raft->snapshot.installing);
        return;
    case RAFT_PERSISTED_SNAPSHOT:
        CHECK(raft->snapshot.installing && raft_state(raft) == RAFT_FOLLOWER);
        return;
    case RAFT_CONFIGURATION:
        CHECK(event->configuration.index > 0 && event->configuration.index <= raft_last_index(raft));
        return;
    case RAFT_SNAPSHOT:
        CHECK(event->snapshot.metadata.index > raft->trail.snapshot.index && !raft->snapshot.installing);
        CHECK(event->snapshot.metadata.index <= quorum->applied_index);
        return;
    case RAFT_RECEIVE:
        CHECK(event->receive.message->server_id > 0 && event->receive.message->server_address != NULL);
        return;
    case RAFT_CATCH_UP:
        CHECK(raft_state(raft) == RAFT_LEADER);
        CHECK(quorum_configuration_find(&raft->configuration, event->catch_up.server_id) != NULL);
        return;
    case RAFT_TIMEOUT:
    case RAFT_TRANSFER:
        return;
    default:
        UNREACHABLE();
    }
}

static bool is_vote_asked(const struct raft_event *event)
{
    return event->type == RAFT_RECEIVE && event->receive.message->type == RAFT_REQUEST_VOTE;
}

/* A member may be asked for its vote before it has heard that it is a voter: by a leader that has crashed right after it wrote so down, and
 * without whom nobody ever tells. Who votes is for the candidate's configuration to say (Ongaro, 4.1), but libraft asks the own one
 * (electionVote), which such a request therefore finds replaced; nothing else of that step looks there. */
static int step_as_voter(struct quorum *quorum, struct raft_event *event)
{
    struct raft *raft = &quorum->raft;
    struct raft_configuration kept = raft->configuration;
    struct raft_server self = {.id = raft->id, .address = raft->address, .role = RAFT_VOTER};
    raft->configuration = (struct raft_configuration){.servers = &self, .n = 1};
    int result = raft_step(raft, event, &quorum->update);
    raft->configuration = kept;
    return result;
}

/* Steps and does what follows. An error of SUBMIT or TRANSFER is the caller's; any other ends the quorum. */
int quorum_step(struct quorum *quorum, struct raft_event *event)
{
    event->time = loop_now_us(quorum->loop) / US_PER_MS;
    check_event(quorum, event);
    quorum->is_stepping = true;
    bool is_lone =
        is_vote_asked(event) && raft_state(&quorum->raft) == RAFT_FOLLOWER && quorum->raft.configuration.n > 0;
    int result = is_lone ? step_as_voter(quorum, event) : raft_step(&quorum->raft, event, &quorum->update);
    quorum->is_stepping = false;
    if (result != 0) {
        if (event->type != RAFT_SUBMIT && event->type != RAFT_TRANSFER) {
            quorum_fail(quorum, "a step of the consensus failed: %s", raft_strerror(result));
        }
        return result;
    }
    handle_update(quorum, event);
    return 0;
}

/* Entries in the tail from `index` on conflict with a leader's: they go from memory and, after what is being written, from the disk. */
static void truncate_from(struct quorum *quorum, uint64_t index)
{
    if (index <= quorum->applied_index) {
        quorum_fail(quorum, "entry %llu is applied and was to be truncated", (unsigned long long)index);
        return;
    }
    quorum->truncate_count++;
    quorum_tail_truncate(&quorum->tail, index);
    quorum_writer_truncate(&quorum->writer, index);
    quorum->persisted_index = quorum->persisted_index < index ? quorum->persisted_index : index - 1;
}

/* The entry that stands behind one of the update's: ours, which came with a message, or made of libraft's (a new leader's barrier). */
static struct quorum_entry *entry_of(struct quorum *quorum, uint64_t index, const struct raft_entry *entry)
{
    const struct quorum_part *part = quorum->part;
    if (part == NULL) {
        return quorum_entry_new(index, entry->term, (enum quorum_entry_type)entry->type,
                                span_make(entry->buf.base, entry->buf.len));
    }
    CHECK(index >= part->first_index && index < part->first_index + part->count);
    return quorum_entry_ref(part->entries[index - part->first_index]);
}

/* What a proposal submits is in the tail already; anything else is not, and its batch is ours to free (legacyHandleUpdateEntries). */
static void take_entries(struct quorum *quorum, bool is_submitted)
{
    uint64_t index = quorum->update.entries.index;
    unsigned count = quorum->update.entries.n;
    const struct raft_entry *batch = quorum->update.entries.batch;
    if (!is_submitted && index < quorum_tail_end(&quorum->tail)) {
        truncate_from(quorum, index);
    }
    for (unsigned i = 0; i < count && !quorum->is_failed; i++) {
        if (!is_submitted) {
            quorum_tail_append(&quorum->tail, entry_of(quorum, index + i, &batch[i]));
        }
        quorum_writer_append(&quorum->writer, quorum_tail_get(&quorum->tail, index + i));
    }
    if (!is_submitted) {
        raft_free(batch[0].batch);
    }
}

uint64_t quorum_term_of(const struct quorum *quorum, uint64_t index)
{
    const struct quorum_entry *entry = quorum_tail_find(&quorum->tail, index);
    if (entry != NULL) {
        return entry->term;
    }
    return index != 0 && index == quorum->raft.trail.snapshot.index ? quorum->raft.trail.snapshot.term : 0;
}

/* ---- leadership ---- */

static void note_leader(struct quorum *quorum)
{
    raft_id leader_id = 0;
    const char *leader_address = NULL;
    uint64_t term = raft_current_term(&quorum->raft);
    raft_leader(&quorum->raft, &leader_id, &leader_address);
    /* libraft goes on naming a leader when only the term has changed. */
    if (raft_state(&quorum->raft) != RAFT_LEADER && quorum->leader_term != term) {
        leader_id = 0;
    }
    if (leader_id == quorum->told_leader_id && (leader_id == 0 || term == quorum->told_leader_term)) {
        return;
    }
    quorum->told_leader_id = leader_id;
    quorum->told_leader_term = term;
    if (quorum->events.on_leader_known != NULL) {
        quorum->events.on_leader_known(quorum->events.ctx, leader_id, term);
    }
}

static void note_state(struct quorum *quorum, bool is_leader)
{
    if ((raft_state(&quorum->raft) == RAFT_LEADER) == is_leader && quorum->is_leader != is_leader) {
        quorum->is_leader = is_leader;
        quorum->events.on_leader(quorum->events.ctx, is_leader);
    }
}

/* ---- what follows from a step ---- */

/* The second half: what may happen only when term and vote are durable. A callback may propose, which steps: what is told here is looked up
 * anew each time, and messages go first, because a step ends their life. */
static void finish_update(struct quorum *quorum)
{
    if (quorum->update.flags & (RAFT_UPDATE_MESSAGES)) {
        quorum_send_messages(quorum);
    }
    quorum_tell_commit(quorum);
    quorum_install_check(quorum);
    note_state(quorum, false);
    if (!quorum->is_failed) {
        quorum_apply_committed(quorum);
    }
    if (quorum->is_failed || quorum->is_applying) {
        return; /* the rest is done by the one who applies */
    }
    note_leader(quorum);
    note_state(quorum, true);
    if (!quorum->is_failed) {
        quorum_member_check(quorum);
    }
    if (!quorum->is_failed) {
        quorum_arm_timer(quorum);
    }
}

static void handle_update(struct quorum *quorum, const struct raft_event *event)
{
    unsigned flags = quorum->update.flags;
    if (flags & (RAFT_UPDATE_ENTRIES)) {
        take_entries(quorum, event->type == RAFT_SUBMIT);
    }
    if (flags & (RAFT_UPDATE_SNAPSHOT)) {
        quorum_install_begin(quorum);
    }
    if (quorum->is_failed) {
        return;
    }
    if ((flags & (RAFT_UPDATE_CURRENT_TERM)) || (flags & (RAFT_UPDATE_VOTED_FOR))) {
        quorum->is_term_unwritten = true;
        quorum->term_asked_us = loop_now_us(quorum->loop);
        quorum_writer_set_term(&quorum->writer, raft_current_term(&quorum->raft), raft_voted_for(&quorum->raft));
    }
    quorum_writer_kick(&quorum->writer);
    if (!quorum->is_term_unwritten) {
        finish_update(quorum);
    }
}

/* ---- what the writer reports ---- */

/* Tells libraft what is durable, as soon as it may be stepped. */
static void report_persisted(struct quorum *quorum)
{
    if (quorum->is_snapshot_written && quorum_can_step(quorum)) {
        quorum_snapshot_report(quorum);
    }
    if (quorum->is_install_written && quorum_can_step(quorum)) {
        quorum_install_report(quorum);
    }
    bool is_installing = quorum->raft.snapshot.installing;
    if (!quorum_can_step(quorum) || is_installing || quorum->persisted_index <= quorum->raft.last_stored) {
        return;
    }
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};
    event.persisted_entries.index = quorum->persisted_index;
    (void)quorum_step(quorum, &event);
}

static void on_term_written(void *ctx)
{
    struct quorum *quorum = (struct quorum *)ctx;
    quorum->is_term_unwritten = false;
    if (!quorum->is_failed && !quorum->is_stopping) {
        quorum_note_term_written(quorum);
        finish_update(quorum);
        report_persisted(quorum);
        quorum_resume(quorum);
    }
}

/* While a job runs the log belongs to it: what people may want to know is noted in between. */
void quorum_note_log(struct quorum *quorum)
{
    quorum->log_first_index = quorum_log_first_index(quorum->log);
    quorum->log_bytes = quorum_log_bytes(quorum->log);
}

/* Of what was written only that counts which was not truncated while it was being written: the very same entries (legacyPersistEntriesCb
 * compares terms). During the installation of a snapshot that is nothing, because the tail is empty. */
static void on_appended(void *ctx, struct quorum_entry *const *entries, size_t count)
{
    struct quorum *quorum = (struct quorum *)ctx;
    while (count > 0 && quorum_tail_find(&quorum->tail, entries[count - 1]->index) != entries[count - 1]) {
        count--;
    }
    if (count > 0) {
        quorum->persisted_index = entries[count - 1]->index;
    }
    quorum_note_log(quorum);
    report_persisted(quorum);
}

static void on_write_failed(void *ctx, enum err err, const char *what)
{
    quorum_fail((struct quorum *)ctx, "%s failed: %s", what, err_text(err));
}

static void on_writer_idle(void *ctx)
{
    quorum_finish_stop((struct quorum *)ctx);
}

const struct quorum_writer_events quorum_writer_reports = {
    .on_term_written = on_term_written,
    .on_appended = on_appended,
    .on_snapshot_written = quorum_on_snapshot_written,
    .on_installed = quorum_on_installed,
    .on_failed = on_write_failed,
    .on_idle = on_writer_idle,
};

/* Membership and the handing over of leadership, as src/legacy.c does them: one change at a time, each a RAFT_CHANGE entry that is in
 * force when it is appended and done when it is committed.
 *
 *   add:     CHANGE (stand-by) -> committed -> caught up (RAFT_CATCH_UP; its rounds decide) -> CHANGE (voter) -> committed: ERR_OK
 *                                            \-> too slow or gone -> CHANGE (removed) -> committed: ERR_TIMEOUT
 *   remove:  CHANGE -> committed: ERR_OK; the leader itself: leadership is handed over, ERR_NOT_LEADER: the next one can do it
 *
 * Who loses leadership on the way does not know the outcome. The configuration's order is that of the ids, always: libraft finds a
 * member's progress by its place when the number of members stays the same. */
#include "common/mem.h"
#include "controller/quorum_private.h"

#define HANDOVER_ELECTIONS                                                                                             \
    2u /* election timeouts: one to wait for somebody who has everything, one for it to take over */

/* ---- answers: never from inside of the call that asked ---- */

struct answer {
    struct loop_task task;
    quorum_change_fn done;
    void *ctx;
    enum err err;
};

static void run_answer(struct loop_task *task)
{
    struct answer *answer = CONTAINER_OF(task, struct answer, task);
    answer->done(answer->ctx, answer->err);
    mem_free(answer);
}

static void give_answer(struct quorum *quorum, quorum_change_fn done, void *ctx, enum err err)
{
    struct answer *answer = MEM_NEW(struct answer);
    *answer = (struct answer){.task = {.run = run_answer}, .done = done, .ctx = ctx, .err = err};
    loop_defer(quorum->loop, &answer->task);
}

static void finish_change(struct quorum *quorum, enum err err)
{
    struct quorum_change change = quorum->change;
    quorum->change = (struct quorum_change){0};
    give_answer(quorum, change.done, change.ctx, err);
}

static void finish_handover(struct quorum *quorum, enum err err)
{
    struct quorum_handover handover = quorum->handover;
    quorum->handover = (struct quorum_handover){0};
    loop_timer_cancel(quorum->loop, &quorum->handover_timer);
    give_answer(quorum, handover.done, handover.ctx, err);
}

/* ---- changes ---- */

/* Whether a change or a transfer may begin now. libraft does not ask for an entry of the leader's own term; without it a change could
 * be overtaken by one of a former leader (Ongaro, raft-dev, 2015). */
static enum err may_begin(struct quorum *quorum)
{
    struct raft *raft = &quorum->raft;
    if (quorum->is_failed || quorum->is_stopping) {
        return ERR_CLOSED;
    }
    if (quorum->is_term_unwritten || raft_state(raft) != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    bool is_busy = quorum->change.is_active || quorum->handover.is_active || raft_transferee(raft) != 0 ||
                   raft->configuration_uncommitted_index != 0 || quorum->applied_term != raft_current_term(raft);
    return is_busy ? ERR_BUSY : ERR_OK;
}

/* Proposes the members as the next configuration. */
static enum err submit_members(struct quorum *quorum, const struct quorum_member *members, uint32_t count,
                               enum quorum_change_stage stage)
{
    struct bytebuf bytes;
    bytebuf_init(&bytes, QUORUM_ENTRY_BYTES_MAX);
    enum err err = quorum_configuration_encode(members, count, &bytes);
    if (err != ERR_OK) {
        bytebuf_done(&bytes);
        return err;
    }
    struct quorum_entry *entry = quorum_entry_new(quorum_tail_end(&quorum->tail), raft_current_term(&quorum->raft),
                                                  QUORUM_CHANGE, bytebuf_span(&bytes));
    bytebuf_done(&bytes);
    quorum->change.stage = stage;
    quorum->change.index = entry->index;
    quorum->change.is_committed = false;
    int result = quorum_submit(quorum, entry);
    return result == 0 ? ERR_OK : result == RAFT_NOTLEADER ? ERR_NOT_LEADER : ERR_BUSY;
}

static enum err submit_role(struct quorum *quorum, uint64_t member_id, enum quorum_role role,
                            enum quorum_change_stage stage)
{
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    uint32_t count = quorum_configuration_members(&quorum->raft.configuration, members);
    for (uint32_t i = 0; i < count; i++) {
        members[i].role = members[i].raft_id == member_id ? role : members[i].role;
    }
    return submit_members(quorum, members, count, stage);
}

static enum err submit_without(struct quorum *quorum, uint64_t member_id, enum quorum_change_stage stage)
{
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    uint32_t count = quorum_configuration_members(&quorum->raft.configuration, members);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (members[i].raft_id != member_id) {
            members[kept++] = members[i];
        }
    }
    return kept == count ? ERR_NOT_FOUND : submit_members(quorum, members, kept, stage);
}

/* Promotes a member that has everything, else begins the rounds. */
static enum err begin_catch_up(struct quorum *quorum)
{
    raft_index match_index = 0;
    uint64_t member_id = quorum->change.raft_id;
    if (raft_match_index(&quorum->raft, member_id, &match_index) != 0) {
        return ERR_NOT_LEADER;
    }
    if (match_index == raft_last_index(&quorum->raft)) {
        return submit_role(quorum, member_id, QUORUM_VOTER, QUORUM_PROMOTING);
    }
    quorum->change.stage = QUORUM_CATCHING_UP;
    struct raft_event event = {.type = RAFT_CATCH_UP};
    event.catch_up.server_id = member_id;
    return quorum_step(quorum, &event) == 0 ? ERR_OK : ERR_CLOSED;
}

static enum err go_on_catching_up(struct quorum *quorum)
{
    int status = RAFT_CATCH_UP_NONE;
    if (raft_catch_up(&quorum->raft, quorum->change.raft_id, &status) != 0) {
        return ERR_NOT_LEADER;
    }
    if (status == RAFT_CATCH_UP_FINISHED) {
        return submit_role(quorum, quorum->change.raft_id, QUORUM_VOTER, QUORUM_PROMOTING);
    }
    if (status == RAFT_CATCH_UP_ABORTED) {
        return submit_without(quorum, quorum->change.raft_id, QUORUM_GIVING_UP);
    }
    return ERR_OK;
}

static enum err add_voter(struct quorum *quorum, uint64_t member_id, const char *address)
{
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    uint32_t count = quorum_configuration_members(&quorum->raft.configuration, members);
    for (uint32_t i = 0; i < count; i++) {
        if (members[i].raft_id == member_id) {
            return members[i].role == QUORUM_VOTER ? ERR_EXISTS : begin_catch_up(quorum);
        }
        if (strcmp(members[i].address, address) == 0) {
            return ERR_EXISTS;
        }
    }
    if (count == QUORUM_MEMBERS_MAX) {
        return ERR_INVALID;
    }
    members[count++] = (struct quorum_member){.raft_id = member_id, .address = address, .role = QUORUM_STANDBY};
    return submit_members(quorum, members, count, QUORUM_ADDING);
}

static void begin_change(struct quorum *quorum, uint64_t member_id, quorum_change_fn done, void *ctx)
{
    quorum->change = (struct quorum_change){.is_active = true, .raft_id = member_id, .done = done, .ctx = ctx};
}

void quorum_add_voter(struct quorum *quorum, uint64_t member_id, const char *address, quorum_change_fn done, void *ctx)
{
    enum err err = may_begin(quorum);
    if (err != ERR_OK) {
        give_answer(quorum, done, ctx, err);
        return;
    }
    begin_change(quorum, member_id, done, ctx);
    err = add_voter(quorum, member_id, address);
    if (err != ERR_OK && quorum->change.is_active) {
        finish_change(quorum, err);
    }
}

void quorum_member_applied(struct quorum *quorum, const struct quorum_entry *entry)
{
    if (quorum->change.is_active && entry->index == quorum->change.index) {
        quorum->change.is_committed = true;
    }
}

/* The entry of this stage is committed. */
static enum err next_stage(struct quorum *quorum)
{
    switch (quorum->change.stage) {
    case QUORUM_ADDING:
        return begin_catch_up(quorum);
    case QUORUM_CATCHING_UP:
        break;
    case QUORUM_PROMOTING:
    case QUORUM_REMOVING:
        finish_change(quorum, ERR_OK);
        return ERR_OK;
    case QUORUM_GIVING_UP:
        finish_change(quorum, ERR_TIMEOUT);
        return ERR_OK;
    }
    UNREACHABLE();
}

static void check_change(struct quorum *quorum)
{
    struct quorum_change *change = &quorum->change;
    bool is_leader = raft_state(&quorum->raft) == RAFT_LEADER;
    bool is_last = change->stage != QUORUM_ADDING && change->stage != QUORUM_CATCHING_UP;
    enum err err = ERR_OK;
    if (!is_leader && !(change->is_committed && is_last)) {
        err = ERR_NOT_LEADER;
    } else if (change->is_committed) {
        change->is_committed = false; /* the next stage steps, and comes here again */
        err = next_stage(quorum);
    } else if (change->stage == QUORUM_CATCHING_UP) {
        err = go_on_catching_up(quorum);
    }
    if (err != ERR_OK && quorum->change.is_active && !quorum->is_failed) {
        finish_change(quorum, err);
    }
}

/* ---- handing over ---- */

static uint64_t choose_successor(struct quorum *quorum)
{
    struct quorum_progress progress[QUORUM_MEMBERS_MAX];
    uint32_t count = 0;
    const struct quorum_progress *best = NULL;
    if (quorum_get_progress(quorum, progress, &count) != ERR_OK) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        bool is_candidate = progress[i].role == QUORUM_VOTER && progress[i].raft_id != quorum->raft.id;
        if (is_candidate &&
            (best == NULL || progress[i].match_index > best->match_index ||
             (progress[i].match_index == best->match_index && progress[i].last_contact_us > best->last_contact_us))) {
            best = &progress[i];
        }
    }
    return best == NULL ? 0 : best->raft_id;
}

/* libraft sends TimeoutNow once, with the first answer of a successor that lags, who then refuses it: so it is asked only when somebody has
 * everything. */
static void go_on_waiting(struct quorum *quorum)
{
    raft_index match_index = 0;
    uint64_t successor_id = choose_successor(quorum);
    bool has_all = successor_id != 0 && raft_match_index(&quorum->raft, successor_id, &match_index) == 0 &&
                   match_index == raft_last_index(&quorum->raft);
    if (!has_all) {
        return;
    }
    quorum->handover.is_waiting = false;
    struct raft_event event = {.type = RAFT_TRANSFER};
    event.transfer.server_id = successor_id;
    if (quorum_step(quorum, &event) != 0 && quorum->handover.is_active) {
        finish_handover(quorum, ERR_NOT_LEADER);
    }
}

/* `answer`: for done when somebody else leads. */
static enum err begin_handover(struct quorum *quorum, enum err answer, quorum_change_fn done, void *ctx)
{
    if (choose_successor(quorum) == 0) {
        return ERR_NOT_FOUND;
    }
    uint64_t wait_us = HANDOVER_ELECTIONS * (uint64_t)quorum->options.election_timeout_ms * US_PER_MS;
    quorum->handover =
        (struct quorum_handover){.is_active = true, .is_waiting = true, .answer = answer, .done = done, .ctx = ctx};
    loop_timer_set(quorum->loop, &quorum->handover_timer, loop_now_us(quorum->loop) + wait_us);
    go_on_waiting(quorum);
    return ERR_OK;
}

void quorum_transfer(struct quorum *quorum, quorum_change_fn done, void *ctx)
{
    enum err err = may_begin(quorum);
    if (err == ERR_OK) {
        err = begin_handover(quorum, ERR_OK, done, ctx);
    }
    if (err != ERR_OK) {
        give_answer(quorum, done, ctx, err);
    }
}

/* A leader does not remove itself: if it crashed while nobody else has the entry, it would be needed for the others' majority, and
 * libraft lets nobody vote or stand who is not in its own newest configuration. Its successor can do it. */
static void remove_self(struct quorum *quorum, quorum_change_fn done, void *ctx)
{
    enum err err = begin_handover(quorum, ERR_NOT_LEADER, done, ctx);
    if (err != ERR_OK) {
        give_answer(quorum, done, ctx, ERR_INVALID); /* nobody else votes */
    }
}

void quorum_remove_voter(struct quorum *quorum, uint64_t member_id, quorum_change_fn done, void *ctx)
{
    enum err err = may_begin(quorum);
    if (err != ERR_OK) {
        give_answer(quorum, done, ctx, err);
        return;
    }
    if (member_id == quorum->raft.id) {
        remove_self(quorum, done, ctx);
        return;
    }
    begin_change(quorum, member_id, done, ctx);
    err = submit_without(quorum, member_id, QUORUM_REMOVING);
    if (err != ERR_OK && quorum->change.is_active) {
        finish_change(quorum, err);
    }
}

/* Done when somebody else is known to lead; given up when libraft does. */
static void check_handover(struct quorum *quorum)
{
    bool is_leader = raft_state(&quorum->raft) == RAFT_LEADER;
    if (is_leader && quorum->handover.is_waiting) {
        go_on_waiting(quorum);
    } else if (is_leader && raft_transferee(&quorum->raft) == 0) {
        finish_handover(quorum, ERR_TIMEOUT);
    } else if (!is_leader && quorum->told_leader_id != 0 && quorum->told_leader_id != quorum->raft.id) {
        finish_handover(quorum, quorum->handover.answer);
    }
}

/* Also when leadership was lost and nobody else is known to have it: a quorum of which the majority is gone has no successor. */
void quorum_on_handover_timer(struct loop_timer *timer)
{
    struct quorum *quorum = CONTAINER_OF(timer, struct quorum, handover_timer);
    finish_handover(quorum, ERR_TIMEOUT);
}

/* ---- both ---- */

void quorum_member_check(struct quorum *quorum)
{
    if (quorum->change.is_active) {
        check_change(quorum);
    }
    if (quorum->handover.is_active && !quorum->is_failed) {
        check_handover(quorum);
    }
}

void quorum_member_stop(struct quorum *quorum, enum err err)
{
    if (quorum->change.is_active) {
        finish_change(quorum, err);
    }
    if (quorum->handover.is_active) {
        finish_handover(quorum, err);
    }
}

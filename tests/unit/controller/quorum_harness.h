/* quorum_harness: one quorum on a simulated disk and a loop that turns only when the test says so: jobs, timers and messages happen one by
 * one, in the order that the test wants. The quorum is raft id 1 of the voters 1, 2 and 3 unless told otherwise.
 *
 * Threads:   one.
 */
#ifndef TESTS_UNIT_CONTROLLER_QUORUM_HARNESS_H
#define TESTS_UNIT_CONTROLLER_QUORUM_HARNESS_H

#include "common/mem.h"
#include "common/seam/rng.h"
#include "controller/quorum_private.h"
#include "tests/support/fs_sim.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define HARNESS_PATH "/sim/meta/log"
#define HARNESS_TIMERS_MAX 8
#define HARNESS_JOBS_MAX 16
#define HARNESS_SENT_MAX 256
#define HARNESS_ELECTION_MS 400u
#define HARNESS_HEARTBEAT_MS 60u

struct sent {
    uint64_t to_raft_id;
    char to_address[QUORUM_ADDRESS_BYTES_MAX];
    struct bytebuf header;
    struct bytebuf body;
    struct quorum_message message; /* decoded from them */
};

struct harness {
    struct loop loop;
    struct rng rng;
    struct env env;
    struct prop prop;
    uint64_t now_us;
    struct loop_timer *timers[HARNESS_TIMERS_MAX];
    struct loop_task *deferred;
    struct loop_job *jobs[HARNESS_JOBS_MAX];
    bool is_worked[HARNESS_JOBS_MAX]; /* its work is done, its done is not */
    unsigned job_count;
    struct fs_sim *disk;
    struct quorum *quorum;
    struct quorum_identity identity;
    struct quorum_options options;
    struct sent sent[HARNESS_SENT_MAX];
    unsigned sent_count;
    /* What the callbacks told. */
    struct bytebuf applied; /* "7:data;..." */
    struct bytebuf told;    /* "leader;follower;known 2 5;restored 9;members 3 at 1;" */
    char fatal[256];
    unsigned answer_count;
    enum err answer;
    bool is_stopped;
    uint32_t snapshot_bytes;
};

/* ---- the loop ---- */

static inline struct harness *harness_of(struct loop *loop)
{
    return CONTAINER_OF(loop, struct harness, loop);
}

static inline uint64_t harness_now_us(struct loop *loop)
{
    return harness_of(loop)->now_us;
}

static inline void harness_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
    for (unsigned i = 0; i < HARNESS_TIMERS_MAX; i++) {
        if (harness_of(loop)->timers[i] == timer) {
            harness_of(loop)->timers[i] = NULL;
        }
    }
}

static inline void harness_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_us)
{
    harness_timer_cancel(loop, timer);
    timer->deadline_us = deadline_us;
    for (unsigned i = 0; i < HARNESS_TIMERS_MAX; i++) {
        if (harness_of(loop)->timers[i] == NULL) {
            harness_of(loop)->timers[i] = timer;
            return;
        }
    }
    fail();
}

static inline void harness_defer(struct loop *loop, struct loop_task *task)
{
    task->next = harness_of(loop)->deferred;
    harness_of(loop)->deferred = task;
}

static inline void harness_submit(struct loop *loop, struct loop_job *job)
{
    struct harness *harness = harness_of(loop);
    assert_true(harness->job_count < HARNESS_JOBS_MAX);
    harness->is_worked[harness->job_count] = false;
    harness->jobs[harness->job_count++] = job;
}

static const struct loop_ops harness_loop_ops = {.now_us = harness_now_us,
                                                 .timer_set = harness_timer_set,
                                                 .timer_cancel = harness_timer_cancel,
                                                 .defer = harness_defer,
                                                 .submit = harness_submit};

static inline void harness_fill(struct rng *rng, void *ret_bytes, size_t bytes)
{
    prop_fill(&CONTAINER_OF(rng, struct harness, rng)->prop, ret_bytes, bytes);
}

static const struct rng_ops harness_rng_ops = {.fill = harness_fill};

/* The first job's work; its done comes with harness_end_job. */
static inline void harness_work(struct harness *harness)
{
    assert_true(harness->job_count > 0 && !harness->is_worked[0]);
    harness->is_worked[0] = true;
    harness->jobs[0]->work(harness->jobs[0]);
}

static inline void harness_end_job(struct harness *harness)
{
    if (!harness->is_worked[0]) {
        harness_work(harness);
    }
    struct loop_job *job = harness->jobs[0];
    harness->job_count--;
    memmove(harness->jobs, harness->jobs + 1, harness->job_count * sizeof(harness->jobs[0]));
    memmove(harness->is_worked, harness->is_worked + 1, harness->job_count * sizeof(harness->is_worked[0]));
    job->done(job);
}

static inline void harness_end_jobs(struct harness *harness)
{
    while (harness->job_count > 0) {
        harness_end_job(harness);
    }
}

static inline void harness_run_deferred(struct harness *harness)
{
    while (harness->deferred != NULL) {
        struct loop_task *task = harness->deferred;
        harness->deferred = task->next;
        task->run(task);
    }
}

/* Moves the time, and fires what is due. */
static inline void harness_advance(struct harness *harness, uint64_t ms)
{
    uint64_t until_us = harness->now_us + ms * 1000;
    for (;;) {
        struct loop_timer *next = NULL;
        for (unsigned i = 0; i < HARNESS_TIMERS_MAX; i++) {
            struct loop_timer *timer = harness->timers[i];
            if (timer != NULL && timer->deadline_us <= until_us &&
                (next == NULL || timer->deadline_us < next->deadline_us)) {
                next = timer;
            }
        }
        if (next == NULL) {
            break;
        }
        harness->now_us = next->deadline_us > harness->now_us ? next->deadline_us : harness->now_us;
        harness_timer_cancel(&harness->loop, next);
        next->fire(next);
    }
    harness->now_us = until_us;
}

/* ---- what the quorum tells ---- */

static inline enum err harness_on_commit(void *ctx, uint64_t index, uint64_t term, struct span data)
{
    struct harness *harness = (struct harness *)ctx;
    (void)term;
    assert_int_equal(bytebuf_append_format(&harness->told, "applied %" PRIu64 ";", index), ERR_OK);
    return bytebuf_append_format(&harness->applied, "%" PRIu64 ":%.*s;", index,
                                 (int)(data.bytes < 16 ? data.bytes : 16), (const char *)data.data);
}

static inline enum err harness_on_restore(void *ctx, uint64_t index, uint64_t term, struct span data)
{
    struct harness *harness = (struct harness *)ctx;
    (void)term;
    (void)data;
    return bytebuf_append_format(&harness->told, "restored %" PRIu64 ";", index);
}

static inline void harness_on_leader(void *ctx, bool is_leader)
{
    struct harness *harness = (struct harness *)ctx;
    assert_int_equal(bytebuf_append_format(&harness->told, "%s;", is_leader ? "leader" : "follower"), ERR_OK);
}

static inline void harness_on_leader_known(void *ctx, uint64_t leader_raft_id, uint64_t term)
{
    struct harness *harness = (struct harness *)ctx;
    assert_int_equal(bytebuf_append_format(&harness->told, "known %" PRIu64 " %" PRIu64 ";", leader_raft_id, term),
                     ERR_OK);
}

static inline void harness_on_configuration(void *ctx, const struct quorum_member *members, uint32_t count,
                                            uint64_t index)
{
    struct harness *harness = (struct harness *)ctx;
    (void)members;
    assert_int_equal(bytebuf_append_format(&harness->told, "members %u at %" PRIu64 ";", count, index), ERR_OK);
}

static inline void *harness_snapshot_begin(void *ctx)
{
    return ctx;
}

static inline enum err harness_snapshot_encode(void *state, struct bytebuf *ret_bytes)
{
    const struct harness *harness = (const struct harness *)state;
    uint8_t *room = NULL;
    enum err err = bytebuf_reserve(ret_bytes, harness->snapshot_bytes, &room);
    assert_int_equal(err, ERR_OK);
    for (uint32_t i = 0; i < harness->snapshot_bytes; i++) {
        room[i] = (uint8_t)(i * 31 >> 8);
    }
    bytebuf_added(ret_bytes, harness->snapshot_bytes);
    return ERR_OK;
}

static inline void harness_snapshot_end(void *ctx, void *state)
{
    assert_ptr_equal(ctx, state);
}

static inline void harness_on_fatal(void *ctx, const char *reason)
{
    struct harness *harness = (struct harness *)ctx;
    assert_string_equal(harness->fatal, "");
    snprintf(harness->fatal, sizeof(harness->fatal), "%s", reason);
}

static inline void harness_send(void *ctx, uint64_t to_raft_id, const char *to_address, struct span header,
                                struct span body)
{
    struct harness *harness = (struct harness *)ctx;
    assert_true(harness->sent_count < HARNESS_SENT_MAX);
    struct sent *sent = &harness->sent[harness->sent_count++];
    sent->to_raft_id = to_raft_id;
    snprintf(sent->to_address, sizeof(sent->to_address), "%s", to_address);
    bytebuf_init(&sent->header, QUORUM_FRAME_BYTES_MAX);
    bytebuf_init(&sent->body, QUORUM_FRAME_BYTES_MAX);
    assert_int_equal(bytebuf_append(&sent->header, header), ERR_OK);
    assert_int_equal(bytebuf_append(&sent->body, body), ERR_OK);
    assert_true(header.bytes + body.bytes <= QUORUM_FRAME_BYTES_MAX);
    assert_int_equal(quorum_message_decode(bytebuf_span(&sent->header), bytebuf_span(&sent->body), &sent->message),
                     ERR_OK);
    assert_int_equal(sent->message.to_raft_id, to_raft_id);
}

static inline void harness_forget_sent(struct harness *harness)
{
    for (unsigned i = 0; i < harness->sent_count; i++) {
        quorum_message_done(&harness->sent[i].message);
        bytebuf_done(&harness->sent[i].header);
        bytebuf_done(&harness->sent[i].body);
    }
    harness->sent_count = 0;
}

static inline void harness_forget_told(struct harness *harness)
{
    bytebuf_clear(&harness->told);
    bytebuf_clear(&harness->applied);
}

static inline void harness_assert_text(struct bytebuf *buf, const char *text)
{
    char found[2048];
    snprintf(found, sizeof(found), "%.*s", (int)buf->bytes, (const char *)buf->data);
    assert_string_equal(found, text);
}

/* The only message of this type that was sent. */
static inline const struct quorum_message *harness_only(struct harness *harness, enum quorum_message_type type)
{
    const struct quorum_message *found = NULL;
    for (unsigned i = 0; i < harness->sent_count; i++) {
        if (harness->sent[i].message.type == type) {
            assert_null(found);
            found = &harness->sent[i].message;
        }
    }
    assert_non_null(found);
    return found;
}

static inline unsigned harness_count(const struct harness *harness, enum quorum_message_type type)
{
    unsigned count = 0;
    for (unsigned i = 0; i < harness->sent_count; i++) {
        count += harness->sent[i].message.type == type;
    }
    return count;
}

/* ---- life ---- */

static inline void harness_address(uint64_t raft_id, char ret_address[32])
{
    snprintf(ret_address, 32, "%u@host:9093/dir", (unsigned)raft_id);
}

static inline void harness_encode_members(const uint64_t *voters, uint32_t count, uint64_t standby_id,
                                          struct bytebuf *ret_bytes)
{
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    char addresses[QUORUM_MEMBERS_MAX][32];
    for (uint32_t i = 0; i < count; i++) {
        harness_address(voters[i], addresses[i]);
        members[i] = (struct quorum_member){voters[i], addresses[i], QUORUM_VOTER};
    }
    if (standby_id != 0) {
        harness_address(standby_id, addresses[count]);
        members[count] = (struct quorum_member){standby_id, addresses[count], QUORUM_STANDBY};
        count++;
    }
    bytebuf_init(ret_bytes, QUORUM_ENTRY_BYTES_MAX);
    assert_int_equal(quorum_configuration_encode(members, count, ret_bytes), ERR_OK);
}

static inline void harness_open(struct harness *harness)
{
    struct option_problem problem = {0};
    char address[32];
    harness_address(1, address);
    struct quorum_events events = {.ctx = harness,
                                   .on_restore = harness_on_restore,
                                   .on_commit = harness_on_commit,
                                   .on_leader = harness_on_leader,
                                   .snapshot_begin = harness_snapshot_begin,
                                   .snapshot_encode = harness_snapshot_encode,
                                   .snapshot_end = harness_snapshot_end,
                                   .send = harness_send,
                                   .on_configuration = harness_on_configuration,
                                   .on_leader_known = harness_on_leader_known,
                                   .on_fatal = harness_on_fatal};
    enum err err =
        quorum_open(&harness->env, &harness->options, &harness->identity, address, &events, &harness->quorum, &problem);
    assert_string_equal(problem.text, "");
    assert_int_equal(err, ERR_OK);
    assert_int_equal(quorum_start(harness->quorum, &harness->loop), ERR_OK);
}

/* A formed directory with these voters, or a joining one (count 0), and its quorum. */
static inline void harness_init_with(struct harness *harness, const uint64_t *voters, uint32_t count)
{
    *harness = (struct harness){.snapshot_bytes = 100, .now_us = 5000000};
    harness->loop.ops = &harness_loop_ops;
    harness->rng.ops = &harness_rng_ops;
    prop_init_seed(&harness->prop, 1);
    bytebuf_init(&harness->applied, 1 << 16);
    bytebuf_init(&harness->told, 1 << 16);
    harness->disk = fs_sim_new(NULL);
    harness->env = (struct env){.rng = &harness->rng, .fs = fs_sim_fs(harness->disk)};
    harness->identity = (struct quorum_identity){.cluster_id = "abcdefghijklmnopqrstuv", .node_id = 1, .raft_id = 1};
    harness->options = (struct quorum_options){.directory = HARNESS_PATH,
                                               .election_timeout_ms = HARNESS_ELECTION_MS,
                                               .heartbeat_timeout_ms = HARNESS_HEARTBEAT_MS,
                                               .snapshot_entries = 1000,
                                               .trailing_entries = 1000,
                                               .segment_bytes = 1000};
    struct option_problem problem = {0};
    struct bytebuf configuration = {0};
    assert_int_equal(fs_mkdir(harness->env.fs, "/sim/meta"), ERR_OK);
    assert_int_equal(fs_sync_dir(harness->env.fs, "/sim"), ERR_OK);
    if (count > 0) {
        harness_encode_members(voters, count, 0, &configuration);
    }
    struct span bytes = count > 0 ? bytebuf_span(&configuration) : SPAN_NULL;
    assert_int_equal(quorum_log_form(harness->env.fs, HARNESS_PATH, &harness->identity, bytes, &problem), ERR_OK);
    bytebuf_done(&configuration);
    harness_open(harness);
}

static inline void harness_init(struct harness *harness)
{
    static const uint64_t voters[] = {1, 2, 3};
    harness_init_with(harness, voters, 3);
}

static inline void harness_stopped(void *ctx)
{
    ((struct harness *)ctx)->is_stopped = true;
}

static inline void harness_close(struct harness *harness)
{
    harness->is_stopped = false;
    quorum_stop(harness->quorum, harness_stopped, harness);
    harness_end_jobs(harness);
    harness_run_deferred(harness);
    assert_true(harness->is_stopped);
    quorum_free(harness->quorum);
    harness->quorum = NULL;
    harness_forget_sent(harness);
}

/* The process dies: nothing more is written. */
static inline void harness_crash(struct harness *harness, enum fs_sim_crash_mode mode)
{
    harness->quorum->writer.is_running = false;
    quorum_free(harness->quorum);
    harness->job_count = 0;
    memset(harness->timers, 0, sizeof(harness->timers));
    fs_sim_crash(harness->disk, mode, 1);
    harness_forget_sent(harness);
    harness_forget_told(harness);
    harness->fatal[0] = '\0';
    harness->quorum = NULL;
}

static inline void harness_done(struct harness *harness)
{
    if (harness->quorum != NULL) {
        harness_close(harness);
    }
    assert_int_equal(fs_sim_open_files(harness->disk), 0);
    fs_sim_free(harness->disk);
    bytebuf_done(&harness->applied);
    bytebuf_done(&harness->told);
}

#endif

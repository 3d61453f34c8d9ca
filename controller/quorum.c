/* One function steps libraft, and one does what a step says is to be done. Order inside of it (docs/updates.rst): term and vote first, durably;
 * then entries; then messages; then what was committed.
 *
 *      propose, timer, appended, term written, configuration applied
 *                     |
 *                step_event --raft_step--> handle_update
 *                                            | term or vote changed: a job writes it; nothing steps until it is done
 *                                            | entries: queued; a job writes and syncs all that is queued
 *                                            | messages: sent, after a changed term or vote is durable
 *                                            | commit index: apply_committed
 *
 * Debian's libraft is built without assertions: what it would assert is CHECKed here before each step.
 * A single voter never changes its term after formation and never sends; both paths are nevertheless whole, and what only a
 * follower meets (installing a snapshot) ends the quorum instead of being guessed at. */
#include "controller/quorum.h"

#include "common/mem.h"
#include "common/seam/rng.h"
#include "controller/quorum_writer.h"

#include <raft.h>
#include <stdarg.h>
#include <stdio.h>

#define US_PER_MS 1000u
#define FAIL_REASON_BYTES 256

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

    /* Entries that are not applied or not written yet, in order: tail[tail_start] is tail_first_index. */
    struct quorum_entry **tail;
    size_t tail_start;
    size_t tail_count;
    size_t tail_capacity;
    uint64_t tail_first_index;

    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t persisted_index;
    uint64_t snapshot_index;
    uint64_t log_first_index; /* as of the last job */
    uint64_t log_bytes;

    /* A snapshot under way: state held -> encoded in the pool -> written. */
    struct loop_job snapshot_job;
    void *snapshot_state;
    struct quorum_snapshot snapshot;
    struct bytebuf snapshot_data;
    struct raft_buffer snapshot_configuration;
    enum err snapshot_err;

    void (*on_stopped)(void *ctx);
    void *on_stopped_ctx;
    struct loop_job close_job;
    struct loop_task stopped_task;
    bool is_raft_open;
    bool is_started;
    bool is_stepping;
    bool is_leader;
    bool is_term_unwritten; /* no step until the changed term or vote is durable */
    bool is_failed;
    bool is_stopping;
    bool is_closing;
};

static void handle_update(struct quorum *quorum);
static void arm_timer(struct quorum *quorum);
static void apply_committed(struct quorum *quorum);

static void fail(struct quorum *quorum, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void fail(struct quorum *quorum, const char *format, ...)
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
    }
    quorum->events.on_fatal(quorum->events.ctx, reason);
}

/* ---- the tail of entries in memory ---- */

static uint64_t tail_end(const struct quorum *quorum)
{
    return quorum->tail_first_index + quorum->tail_count;
}

static struct quorum_entry *tail_get(const struct quorum *quorum, uint64_t index)
{
    CHECK(index >= quorum->tail_first_index && index < tail_end(quorum));
    return quorum->tail[quorum->tail_start + (index - quorum->tail_first_index)];
}

static void tail_append(struct quorum *quorum, struct quorum_entry *entry)
{
    CHECK(entry->index == tail_end(quorum));
    if (quorum->tail_start + quorum->tail_count == quorum->tail_capacity) {
        if (quorum->tail_start > quorum->tail_capacity / 2) {
            memmove(quorum->tail, quorum->tail + quorum->tail_start, quorum->tail_count * sizeof(quorum->tail[0]));
            quorum->tail_start = 0;
        } else {
            quorum->tail_capacity = quorum->tail_capacity == 0 ? 64 : quorum->tail_capacity * 2;
            quorum->tail =
                (struct quorum_entry **)mem_grow(quorum->tail, quorum->tail_capacity, sizeof(quorum->tail[0]));
        }
    }
    quorum->tail[quorum->tail_start + quorum->tail_count++] = entry;
}

/* Drops what is both applied and durable: nobody here reads it again. */
static void tail_release(struct quorum *quorum)
{
    uint64_t upto = quorum->applied_index < quorum->persisted_index ? quorum->applied_index : quorum->persisted_index;
    while (quorum->tail_count > 0 && quorum->tail_first_index <= upto) {
        mem_free(quorum->tail[quorum->tail_start]);
        quorum->tail_start++;
        quorum->tail_first_index++;
        quorum->tail_count--;
    }
}

/* ---- stepping ---- */

/* What libraft asserts about an event (src/raft.c, src/client.c, src/trail.c), as far as it is ours to get right. */
static void check_event(struct quorum *quorum, const struct raft_event *event)
{
    CHECK(!quorum->is_stepping && !quorum->is_failed && !quorum->is_term_unwritten);
    CHECK(event->time >= quorum->raft.now && event->capacity == 0);
    switch (event->type) {
    case RAFT_START:
        CHECK(!quorum->is_started && quorum->raft.last_stored == 0);
        CHECK(event->start.term > 0 || event->start.n_entries == 0);
        break;
    case RAFT_SUBMIT:
        CHECK(event->submit.n == 1 && event->submit.entries[0].batch != NULL && event->submit.entries[0].buf.len > 0);
        CHECK(event->submit.entries[0].term == raft_current_term(&quorum->raft));
        break;
    case RAFT_PERSISTED_ENTRIES:
        CHECK(event->persisted_entries.index > quorum->raft.last_stored);
        CHECK(event->persisted_entries.index <= raft_last_index(&quorum->raft));
        CHECK(raft_state(&quorum->raft) != RAFT_CANDIDATE);
        break;
    case RAFT_CONFIGURATION:
        CHECK(event->configuration.index > 0 && event->configuration.index <= raft_commit_index(&quorum->raft));
        break;
    case RAFT_SNAPSHOT:
        CHECK(event->snapshot.metadata.index > quorum->raft.trail.snapshot.index);
        CHECK(event->snapshot.metadata.index <= quorum->applied_index);
        break;
    case RAFT_TIMEOUT:
        break;
    case RAFT_RECEIVE:
    case RAFT_PERSISTED_SNAPSHOT:
    case RAFT_CATCH_UP:
    case RAFT_TRANSFER:
    default:
        CHECK(!"an event that a single voter has no use for");
    }
}

/* Steps and does what follows. An error of SUBMIT is the proposer's; any other ends the quorum. */
static int step_event(struct quorum *quorum, struct raft_event *event)
{
    event->time = loop_now_us(quorum->loop) / US_PER_MS;
    check_event(quorum, event);
    quorum->is_stepping = true;
    int result = raft_step(&quorum->raft, event, &quorum->update);
    quorum->is_stepping = false;
    if (result != 0) {
        if (event->type != RAFT_SUBMIT) {
            fail(quorum, "a step of the consensus failed: %s", raft_strerror(result));
        }
        return result;
    }
    handle_update(quorum);
    return 0;
}

/* Entries of an update: ours, which were put into the tail before the step (SUBMIT), or made by libraft (a barrier), whose batch
 * is ours to free (legacyHandleUpdateEntries). */
static void take_entries(struct quorum *quorum)
{
    uint64_t index = quorum->update.entries.index;
    if (index < tail_end(quorum) && quorum->update.entries.batch[0].batch != tail_get(quorum, index)) {
        fail(quorum, "entries were to be truncated, which a single voter never does");
        return;
    }
    for (unsigned i = 0; i < quorum->update.entries.n; i++, index++) {
        const struct raft_entry *entry = &quorum->update.entries.batch[i];
        if (index == tail_end(quorum)) {
            tail_append(quorum, quorum_entry_new(index, entry->term, (enum quorum_entry_type)entry->type,
                                                 span_make(entry->buf.base, entry->buf.len)));
            if (i == 0) {
                raft_free(entry->batch);
            }
        }
        quorum_writer_append(&quorum->writer, tail_get(quorum, index));
    }
}

static void send_messages(struct quorum *quorum)
{
    for (unsigned i = 0; i < quorum->update.messages.n && !quorum->is_failed; i++) {
        if (quorum->events.send == NULL) {
            fail(quorum, "a message to another voter, but this one is alone");
            return;
        }
        quorum->events.send(quorum->events.ctx, &quorum->update.messages.batch[i]);
    }
    quorum->update.messages.n = 0;
}

static void note_state(struct quorum *quorum)
{
    bool is_leader = raft_state(&quorum->raft) == RAFT_LEADER;
    if (is_leader != quorum->is_leader) {
        quorum->is_leader = is_leader;
        quorum->events.on_leader(quorum->events.ctx, is_leader);
    }
}

/* The second half: what may happen only when term and vote are durable. */
static void finish_update(struct quorum *quorum)
{
    if (quorum->update.flags & (RAFT_UPDATE_MESSAGES)) {
        send_messages(quorum);
    }
    if (!quorum->is_failed) {
        apply_committed(quorum);
    }
    if (!quorum->is_failed) {
        note_state(quorum);
    }
    if (!quorum->is_failed) {
        arm_timer(quorum);
    }
}

static void handle_update(struct quorum *quorum)
{
    unsigned flags = quorum->update.flags;
    if (flags & (RAFT_UPDATE_SNAPSHOT)) {
        fail(quorum, "a snapshot was to be installed, which a single voter never needs");
        return;
    }
    if (flags & (RAFT_UPDATE_ENTRIES)) {
        take_entries(quorum);
    }
    if (quorum->is_failed) {
        return;
    }
    if ((flags & (RAFT_UPDATE_CURRENT_TERM)) || (flags & (RAFT_UPDATE_VOTED_FOR))) {
        quorum->is_term_unwritten = true;
        quorum_writer_set_term(&quorum->writer, raft_current_term(&quorum->raft), raft_voted_for(&quorum->raft));
    }
    quorum_writer_kick(&quorum->writer);
    if (!quorum->is_term_unwritten) {
        finish_update(quorum);
    }
}

static void arm_timer(struct quorum *quorum)
{
    if (quorum->is_stopping) {
        return;
    }
    loop_timer_set(quorum->loop, &quorum->timer, raft_timeout(&quorum->raft) * US_PER_MS);
}

static void on_timer(struct loop_timer *timer)
{
    struct quorum *quorum = CONTAINER_OF(timer, struct quorum, timer);
    if (quorum->is_failed || quorum->is_stopping || quorum->is_term_unwritten) {
        return; /* armed again when the term is written */
    }
    struct raft_event event = {.type = RAFT_TIMEOUT};
    (void)step_event(quorum, &event);
}

/* ---- applying ---- */

/* libraft learns that a configuration is applied; it takes over the decoded one. */
static void apply_change(struct quorum *quorum, const struct quorum_entry *entry)
{
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    struct raft_buffer encoded = {(void *)(uintptr_t)entry->data, entry->bytes};
    int result = raft_configuration_decode(&encoded, &event.configuration.conf);
    if (result != 0) {
        fail(quorum, "a committed configuration can't be decoded: %s", raft_strerror(result));
        return;
    }
    event.configuration.index = entry->index;
    (void)step_event(quorum, &event);
}

static void apply_entry(struct quorum *quorum, const struct quorum_entry *entry)
{
    quorum->applied_index = entry->index;
    quorum->applied_term = entry->term;
    switch (entry->type) {
    case QUORUM_COMMAND: {
        enum err err = quorum->events.on_commit(quorum->events.ctx, entry->index, entry->term,
                                                span_make(entry->data, entry->bytes));
        if (err != ERR_OK) {
            fail(quorum, "committed entry %llu can't be applied: %s", (unsigned long long)entry->index, err_text(err));
        }
        return;
    }
    case QUORUM_CHANGE:
        apply_change(quorum, entry);
        return;
    case QUORUM_BARRIER:
        return;
    }
    UNREACHABLE();
}

/* ---- snapshots ---- */

static void snapshot_release(struct quorum *quorum)
{
    bytebuf_done(&quorum->snapshot_data);
    raft_free(quorum->snapshot_configuration.base);
    quorum->snapshot_configuration = (struct raft_buffer){NULL, 0};
    quorum->snapshot_state = NULL;
}

static void snapshot_work(struct loop_job *job)
{
    struct quorum *quorum = CONTAINER_OF(job, struct quorum, snapshot_job);
    quorum->snapshot_err = quorum->events.snapshot_encode(quorum->snapshot_state, &quorum->snapshot_data);
}

static void finish_stop(struct quorum *quorum);

static void snapshot_encoded(struct loop_job *job)
{
    struct quorum *quorum = CONTAINER_OF(job, struct quorum, snapshot_job);
    quorum->events.snapshot_end(quorum->events.ctx, quorum->snapshot_state);
    if (quorum->snapshot_err != ERR_OK && !quorum->is_failed) {
        fail(quorum, "a snapshot can't be made: %s", err_text(quorum->snapshot_err));
    }
    if (quorum->is_failed || quorum->is_stopping) {
        snapshot_release(quorum);
        finish_stop(quorum);
        return;
    }
    quorum->snapshot.configuration = span_make(quorum->snapshot_configuration.base, quorum->snapshot_configuration.len);
    quorum->snapshot.data = bytebuf_span(&quorum->snapshot_data);
    uint64_t trailing = quorum->options.trailing_entries;
    uint64_t trim_index = quorum->snapshot.index > trailing ? quorum->snapshot.index - trailing : 0;
    quorum_writer_put_snapshot(&quorum->writer, &quorum->snapshot, trim_index);
    quorum_writer_kick(&quorum->writer);
}

/* Only what is applied and persisted goes into a snapshot. */
static void maybe_snapshot(struct quorum *quorum)
{
    if (quorum->snapshot_state != NULL || quorum->is_stopping || quorum->applied_index > quorum->persisted_index ||
        quorum->applied_index - quorum->snapshot_index < quorum->options.snapshot_entries) {
        return;
    }
    int result = raft_configuration_encode(&quorum->raft.configuration_committed, &quorum->snapshot_configuration);
    if (result != 0) {
        fail(quorum, "a configuration can't be encoded: %s", raft_strerror(result));
        return;
    }
    quorum->snapshot = (struct quorum_snapshot){.index = quorum->applied_index,
                                                .term = quorum->applied_term,
                                                .configuration_index = quorum->raft.configuration_committed_index};
    quorum->snapshot_state = quorum->events.snapshot_begin(quorum->events.ctx);
    CHECK(quorum->snapshot_state != NULL);
    bytebuf_init(&quorum->snapshot_data, QUORUM_SNAPSHOT_BYTES_MAX / 2);
    quorum->snapshot_job = (struct loop_job){.work = snapshot_work, .done = snapshot_encoded};
    loop_submit(quorum->loop, &quorum->snapshot_job);
}

/* Tells libraft, which takes over the decoded configuration. */
static void on_snapshot_written(void *ctx, uint64_t snapshot_index)
{
    struct quorum *quorum = (struct quorum *)ctx;
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    quorum->snapshot_index = snapshot_index;
    if (!quorum->is_failed && !quorum->is_stopping) {
        int result = raft_configuration_decode(&quorum->snapshot_configuration, &event.snapshot.metadata.configuration);
        if (result != 0) {
            fail(quorum, "a configuration can't be decoded: %s", raft_strerror(result));
        } else {
            event.snapshot.metadata.index = quorum->snapshot.index;
            event.snapshot.metadata.term = quorum->snapshot.term;
            event.snapshot.metadata.configuration_index = quorum->snapshot.configuration_index;
            event.snapshot.trailing = quorum->options.trailing_entries;
            (void)step_event(quorum, &event);
        }
    }
    snapshot_release(quorum);
}

/* Applies what is committed. An applied configuration steps again, and may commit more: the loop sees that. */
static void apply_committed(struct quorum *quorum)
{
    while (!quorum->is_failed && quorum->applied_index < raft_commit_index(&quorum->raft)) {
        apply_entry(quorum, tail_get(quorum, quorum->applied_index + 1));
    }
    if (!quorum->is_failed && quorum->is_started) {
        tail_release(quorum);
        maybe_snapshot(quorum);
    }
}

/* ---- what the writer reports ---- */

static void on_term_written(void *ctx)
{
    struct quorum *quorum = (struct quorum *)ctx;
    quorum->is_term_unwritten = false;
    if (!quorum->is_failed && !quorum->is_stopping) {
        finish_update(quorum);
    }
}

/* While a job runs the log belongs to it: what people may want to know is noted in between. */
static void note_log(struct quorum *quorum)
{
    quorum->log_first_index = quorum_log_first_index(quorum->log);
    quorum->log_bytes = quorum_log_bytes(quorum->log);
}

static void on_appended(void *ctx, uint64_t last_index, uint64_t last_term)
{
    struct quorum *quorum = (struct quorum *)ctx;
    quorum->persisted_index = last_index;
    note_log(quorum);
    if (quorum->is_failed || quorum->is_stopping) {
        return;
    }
    CHECK(tail_get(quorum, last_index)->term == last_term);
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};
    event.persisted_entries.index = last_index;
    (void)step_event(quorum, &event);
}

static void on_write_failed(void *ctx, enum err err, const char *what)
{
    fail((struct quorum *)ctx, "%s failed: %s", what, err_text(err));
}

static void on_writer_idle(void *ctx)
{
    finish_stop((struct quorum *)ctx);
}

/* ---- life ---- */

/* libraft's memory is ours: the same rule when it runs out, and in the simulator it goes with the node that took it. */
static void *heap_alloc(void *data, size_t bytes)
{
    (void)data;
    return mem_alloc(bytes);
}

static void heap_free(void *data, void *memory)
{
    (void)data;
    mem_free(memory);
}

static void *heap_calloc(void *data, size_t count, size_t bytes)
{
    (void)data;
    return mem_array(count, bytes);
}

static void *heap_realloc(void *data, void *memory, size_t bytes)
{
    (void)data;
    return mem_grow(memory, 1, bytes);
}

/* Written once to the same value by every quorum of the process. */
static void use_own_heap(void)
{
    static const struct raft_heap heap = {
        .malloc = heap_alloc, .free = heap_free, .calloc = heap_calloc, .realloc = heap_realloc};
    if (raft_heap_get() != &heap) {
        raft_heap_set((struct raft_heap *)(uintptr_t)&heap);
    }
}

enum err quorum_first_configuration(uint64_t raft_id, const char *address, struct bytebuf *ret_bytes)
{
    struct raft_configuration configuration;
    struct raft_buffer encoded;
    use_own_heap();
    raft_configuration_init(&configuration);
    int result = raft_configuration_add(&configuration, raft_id, address, RAFT_VOTER);
    if (result == 0) {
        result = raft_configuration_encode(&configuration, &encoded);
    }
    raft_configuration_close(&configuration);
    if (result != 0) {
        return ERR_INVALID;
    }
    enum err err = bytebuf_append(ret_bytes, span_make(encoded.base, encoded.len));
    raft_free(encoded.base);
    return err;
}

static void open_raft(struct quorum *quorum, uint64_t raft_id, const char *address)
{
    use_own_heap();
    memset(&quorum->raft, 0, sizeof(quorum->raft)); /* raft_init leaves some of it as it was */
    CHECK(raft_init(&quorum->raft, NULL, NULL, raft_id, address) == 0);
    quorum->raft.tracer = NULL;
    raft_seed(&quorum->raft, (unsigned)rng_u64(quorum->env->rng));
    raft_set_election_timeout(&quorum->raft, quorum->options.election_timeout_ms);
    raft_set_heartbeat_timeout(&quorum->raft, quorum->options.heartbeat_timeout_ms);
    raft_set_pre_vote(&quorum->raft, true);
    quorum->is_raft_open = true;
}

enum err quorum_open(struct env *env, const struct quorum_options *options, const struct quorum_identity *identity,
                     const char *address, const struct quorum_events *events, struct quorum **ret_quorum,
                     struct option_problem *ret_problem)
{
    if (raft_version_number() != QUORUM_RAFT_VERSION) {
        snprintf(ret_problem->text, sizeof(ret_problem->text),
                 "this program needs libraft 0.22.1, but the library that is installed calls itself %d: run "
                 "deploy/install-deps, or start the program where 0.22.1 is",
                 raft_version_number());
        return ERR_UNSUPPORTED;
    }
    struct quorum *quorum = MEM_NEW(struct quorum);
    quorum->env = env;
    quorum->options = *options;
    quorum->events = *events;
    quorum->timer.fire = on_timer;
    enum err err = quorum_log_open(env->fs, options->directory, options->segment_bytes, &quorum->log, &quorum->loaded,
                                   ret_problem);
    if (err != ERR_OK) {
        quorum_free(quorum);
        return err;
    }
    open_raft(quorum, identity->raft_id, address);
    *ret_quorum = quorum;
    return ERR_OK;
}

/* Moves what was loaded into the tail; applied entries are released after the start. */
static void fill_tail(struct quorum *quorum)
{
    struct quorum_loaded *loaded = &quorum->loaded;
    quorum->tail_first_index = loaded->first_index;
    for (size_t i = 0; i < loaded->entry_count; i++) {
        tail_append(quorum, loaded->entries[i]);
        loaded->entries[i] = NULL;
    }
    loaded->entry_count = 0;
    quorum->persisted_index = tail_end(quorum) - 1;
    quorum->applied_index = loaded->snapshot.index;
    quorum->applied_term = loaded->snapshot.term;
    quorum->snapshot_index = loaded->snapshot.index;
    note_log(quorum);
}

static enum err start_raft(struct quorum *quorum)
{
    const struct quorum_snapshot *snapshot = &quorum->loaded.snapshot;
    struct raft_snapshot_metadata metadata = {
        .index = snapshot->index, .term = snapshot->term, .configuration_index = snapshot->configuration_index};
    struct raft_event event = {.type = RAFT_START};
    event.start.term = quorum->loaded.term;
    event.start.voted_for = quorum->loaded.voted_for;
    event.start.start_index = quorum->tail_first_index;
    event.start.n_entries = (unsigned)quorum->tail_count;
    if (snapshot->index != 0) {
        struct raft_buffer encoded = {(void *)(uintptr_t)snapshot->configuration.data, snapshot->configuration.bytes};
        if (raft_configuration_decode(&encoded, &metadata.configuration) != 0) {
            return ERR_CORRUPT;
        }
        event.start.metadata = &metadata; /* its configuration moves in */
    }
    struct raft_entry *entries = (struct raft_entry *)mem_array(quorum->tail_count, sizeof(entries[0]));
    for (size_t i = 0; i < quorum->tail_count; i++) {
        struct quorum_entry *entry = tail_get(quorum, quorum->tail_first_index + i);
        entries[i] = (struct raft_entry){.term = entry->term,
                                         .type = (enum raft_entry_type)entry->type,
                                         .buf = {entry->data, entry->bytes},
                                         .batch = entry};
    }
    event.start.entries = entries; /* stay ours */
    int result = step_event(quorum, &event);
    mem_free(entries);
    return result == 0 && !quorum->is_failed ? ERR_OK : ERR_CORRUPT;
}

enum err quorum_start(struct quorum *quorum, struct loop *loop)
{
    static const struct quorum_writer_events writer_events = {
        .on_term_written = on_term_written,
        .on_appended = on_appended,
        .on_snapshot_written = on_snapshot_written,
        .on_failed = on_write_failed,
        .on_idle = on_writer_idle,
    };
    struct quorum_writer_events events = writer_events;
    events.ctx = quorum;
    quorum->loop = loop;
    quorum_writer_init(&quorum->writer, loop, quorum->log, &events);
    fill_tail(quorum);
    const struct quorum_snapshot *snapshot = &quorum->loaded.snapshot;
    enum err err = ERR_OK;
    if (snapshot->index != 0) {
        err = quorum->events.on_restore(quorum->events.ctx, snapshot->index, snapshot->term, snapshot->data);
    }
    if (err == ERR_OK) {
        err = start_raft(quorum);
    }
    quorum_loaded_done(&quorum->loaded);
    if (err == ERR_OK) {
        quorum->is_started = true;
        apply_committed(quorum);
    }
    return quorum->is_failed ? ERR_CORRUPT : err;
}

enum err quorum_propose(struct quorum *quorum, struct span data, uint64_t *ret_index)
{
    CHECK(data.bytes > 0 && data.bytes <= QUORUM_ENTRY_BYTES_MAX);
    if (quorum->is_failed || quorum->is_stopping) {
        return ERR_CLOSED;
    }
    if (quorum->is_term_unwritten || raft_state(&quorum->raft) != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (tail_end(quorum) - 1 - raft_commit_index(&quorum->raft) >= QUORUM_PENDING_ENTRIES_MAX) {
        return ERR_BUSY;
    }
    struct quorum_entry *entry =
        quorum_entry_new(tail_end(quorum), raft_current_term(&quorum->raft), QUORUM_COMMAND, data);
    struct raft_entry submitted = {
        .term = entry->term, .type = RAFT_COMMAND, .buf = {entry->data, entry->bytes}, .batch = entry};
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = &submitted;
    event.submit.n = 1;
    /* In the tail before the step: the update points to it. On an error it is still ours, and taken out again. */
    tail_append(quorum, entry);
    int result = step_event(quorum, &event);
    if (result != 0) {
        quorum->tail_count--;
        mem_free(entry);
        return result == RAFT_NOTLEADER ? ERR_NOT_LEADER : ERR_BUSY;
    }
    *ret_index = entry->index;
    return ERR_OK;
}

void quorum_get_facts(const struct quorum *quorum, struct quorum_facts *ret_facts)
{
    struct raft *raft = (struct raft *)(uintptr_t)&quorum->raft; /* libraft's getters are not const */
    raft_id leader_id = 0;
    const char *leader_address = NULL;
    raft_leader(raft, &leader_id, &leader_address);
    *ret_facts = (struct quorum_facts){
        .raft_id = raft->id,
        .term = raft_current_term(raft),
        .leader_raft_id = leader_id,
        .last_index = tail_end(quorum) - 1,
        .persisted_index = quorum->persisted_index,
        .commit_index = raft_commit_index(raft),
        .applied_index = quorum->applied_index,
        .snapshot_index = quorum->snapshot_index,
        .first_index = quorum->log_first_index,
        .log_bytes = quorum->log_bytes,
        .is_leader = quorum->is_leader,
    };
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        ret_facts->voter_count += raft->configuration.servers[i].role == RAFT_VOTER;
    }
}

/* ---- stopping: running jobs end -> the log is closed in the pool -> on_stopped ---- */

static void close_work(struct loop_job *job)
{
    struct quorum *quorum = CONTAINER_OF(job, struct quorum, close_job);
    /* An error here loses only the last mark, which the next start makes anew. */
    enum err err = quorum_log_close(quorum->log);
    (void)err;
    quorum->log = NULL;
}

static void closed(struct loop_job *job)
{
    struct quorum *quorum = CONTAINER_OF(job, struct quorum, close_job);
    quorum->on_stopped(quorum->on_stopped_ctx);
}

static void finish_stop(struct quorum *quorum)
{
    if (!quorum->is_stopping || quorum->is_closing || quorum->writer.is_running || quorum->snapshot_state != NULL) {
        return;
    }
    quorum->is_closing = true;
    quorum->close_job = (struct loop_job){.work = close_work, .done = closed};
    loop_submit(quorum->loop, &quorum->close_job);
}

void quorum_stop(struct quorum *quorum, void (*on_stopped)(void *ctx), void *ctx)
{
    CHECK(!quorum->is_stopping);
    quorum->is_stopping = true;
    quorum->on_stopped = on_stopped;
    quorum->on_stopped_ctx = ctx;
    loop_timer_cancel(quorum->loop, &quorum->timer);
    finish_stop(quorum);
}

void quorum_free(struct quorum *quorum)
{
    if (quorum == NULL) {
        return;
    }
    if (quorum->loop != NULL) {
        quorum_writer_done(&quorum->writer);
    }
    if (quorum->is_raft_open) {
        raft_close(&quorum->raft, NULL);
    }
    for (size_t i = 0; i < quorum->tail_count; i++) {
        mem_free(quorum->tail[quorum->tail_start + i]);
    }
    mem_free(quorum->tail);
    quorum_loaded_done(&quorum->loaded);
    quorum_log_abandon(quorum->log);
    mem_free(quorum);
}

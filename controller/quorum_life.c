/* Opening, starting and stopping the quorum, and how libraft is set up. */
#include "common/mem.h"
#include "common/seam/rng.h"
#include "controller/quorum_private.h"

#include <stdio.h>

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
void quorum_use_own_heap(void)
{
    static const struct raft_heap heap = {
        .malloc = heap_alloc, .free = heap_free, .calloc = heap_calloc, .realloc = heap_realloc};
    if (raft_heap_get() != &heap) {
        raft_heap_set((struct raft_heap *)(uintptr_t)&heap);
    }
}

static void open_raft(struct quorum *quorum, uint64_t voter_id, const char *address)
{
    quorum_use_own_heap();
    memset(&quorum->raft, 0, sizeof(quorum->raft)); /* raft_init leaves some of it as it was */
    CHECK(raft_init(&quorum->raft, NULL, NULL, voter_id, address) == 0);
    quorum->raft.tracer = NULL;
    raft_seed(&quorum->raft, (unsigned)rng_u64(quorum->env->rng));
    raft_set_election_timeout(&quorum->raft, quorum->options.election_timeout_ms);
    raft_set_heartbeat_timeout(&quorum->raft, quorum->options.heartbeat_timeout_ms);
    raft_set_pre_vote(&quorum->raft, true);
    raft_set_max_inflight_entries(&quorum->raft, QUORUM_INFLIGHT_ENTRIES);
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
    quorum->directory = mem_strdup(options->directory);
    quorum->options.directory = quorum->directory;
    quorum->events = *events;
    bytebuf_init(&quorum->out_header, QUORUM_FRAME_BYTES_MAX);
    bytebuf_init(&quorum->out_body, QUORUM_FRAME_BYTES_MAX);
    quorum->timer.fire = quorum_on_timer;
    quorum->handover_timer.fire = quorum_on_handover_timer;
    CHECK(strlen(address) > 0 && strlen(address) < QUORUM_ADDRESS_BYTES_MAX && identity->raft_id != 0);
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
    quorum_tail_init(&quorum->tail, loaded->first_index);
    for (size_t i = 0; i < loaded->entry_count; i++) {
        quorum_tail_append(&quorum->tail, loaded->entries[i]);
        loaded->entries[i] = NULL;
    }
    loaded->entry_count = 0;
    quorum->persisted_index = quorum_tail_end(&quorum->tail) - 1;
    quorum->applied_index = loaded->snapshot.index;
    quorum->applied_term = loaded->snapshot.term;
    quorum->snapshot_index = loaded->snapshot.index;
    quorum_note_log(quorum);
}

/* The newest configuration that is here, committed or not. */
static enum err newest_configuration(const struct quorum *quorum, struct raft_configuration *ret_configuration)
{
    const struct quorum_snapshot *snapshot = &quorum->loaded.snapshot;
    for (uint64_t index = quorum_tail_end(&quorum->tail) - 1; index > snapshot->configuration_index; index--) {
        const struct quorum_entry *entry = quorum_tail_find(&quorum->tail, index);
        if (entry == NULL) {
            break;
        }
        if (entry->type == QUORUM_CHANGE) {
            return quorum_configuration_to_raft(span_make(entry->data, entry->bytes), ret_configuration);
        }
    }
    return snapshot->index == 0 ? ERR_NOT_FOUND
                                : quorum_configuration_to_raft(snapshot->configuration, ret_configuration);
}

/* libraft makes the only voter the leader of the term that it finds at the start. That is right only if nobody has entries of it that are
 * not here: one that was sent to a stand-by but not synced here is gone now, be it the one that made the stand-by a member, and another one
 * of the same index and term would take its place unnoticed. So it enters a new term first, unless its log is as it was formed. */
static enum err enter_term_if_alone(struct quorum *quorum)
{
    struct raft_configuration configuration;
    enum err err = newest_configuration(quorum, &configuration);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    const struct raft_server *self = quorum_configuration_find(&configuration, quorum->raft.id);
    bool is_alone = self != NULL && self->role == RAFT_VOTER && quorum_configuration_voters(&configuration) == 1;
    raft_configuration_close(&configuration);
    if (!is_alone || quorum_tail_end(&quorum->tail) == 2) {
        return ERR_OK;
    }
    quorum->loaded.term++;
    quorum->loaded.voted_for = quorum->raft.id;
    quorum->alone_term = quorum->loaded.term;
    return quorum_log_set_term(quorum->log, quorum->loaded.term, quorum->loaded.voted_for);
}

static enum err start_raft(struct quorum *quorum)
{
    const struct quorum_snapshot *snapshot = &quorum->loaded.snapshot;
    struct raft_snapshot_metadata metadata = {
        .index = snapshot->index, .term = snapshot->term, .configuration_index = snapshot->configuration_index};
    struct raft_event event = {.type = RAFT_START};
    event.start.term = quorum->loaded.term;
    event.start.voted_for = quorum->loaded.voted_for;
    event.start.start_index = quorum->tail.first_index;
    event.start.n_entries = (unsigned)quorum->tail.count;
    if (snapshot->index != 0) {
        struct raft_buffer encoded = {(void *)(uintptr_t)snapshot->configuration.data, snapshot->configuration.bytes};
        if (raft_configuration_decode(&encoded, &metadata.configuration) != 0) {
            return ERR_CORRUPT;
        }
        event.start.metadata = &metadata; /* its configuration moves in */
    }
    struct raft_entry *entries = (struct raft_entry *)mem_array(quorum->tail.count + 1, sizeof(entries[0]));
    for (size_t i = 0; i < quorum->tail.count; i++) {
        struct quorum_entry *entry = quorum_tail_get(&quorum->tail, quorum->tail.first_index + i);
        entries[i] = (struct raft_entry){.term = entry->term,
                                         .type = (enum raft_entry_type)entry->type,
                                         .buf = {entry->data, entry->bytes},
                                         .batch = entry};
    }
    event.start.entries = entries; /* stay ours */
    int result = quorum_step(quorum, &event);
    mem_free(entries);
    if (result != 0 || quorum->is_failed) {
        return ERR_CORRUPT;
    }
    quorum_tell_configuration(quorum, &quorum->raft.configuration_committed,
                              quorum->raft.configuration_committed_index);
    return ERR_OK;
}

enum err quorum_start(struct quorum *quorum, struct loop *loop)
{
    struct quorum_writer_events events = quorum_writer_reports;
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
        err = enter_term_if_alone(quorum);
    }
    if (err == ERR_OK) {
        err = start_raft(quorum);
    }
    quorum_loaded_done(&quorum->loaded);
    if (err == ERR_OK) {
        quorum->is_started = true;
        quorum_apply_committed(quorum);
    }
    return quorum->is_failed ? ERR_CORRUPT : err;
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

void quorum_finish_stop(struct quorum *quorum)
{
    if (!quorum->is_stopping || quorum->is_closing || quorum->writer.is_running || quorum->is_encoding ||
        quorum->reading_count > 0) {
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
    quorum_install_stop(quorum);
    quorum_member_stop(quorum, ERR_CLOSED);
    quorum_finish_stop(quorum);
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
    if (quorum->snapshot_state != NULL) {
        quorum_snapshot_release(quorum); /* its writing failed */
    }
    quorum_install_done(quorum);
    quorum_inbox_done(quorum);
    bytebuf_done(&quorum->out_header);
    bytebuf_done(&quorum->out_body);
    quorum_tail_done(&quorum->tail);
    quorum_loaded_done(&quorum->loaded);
    quorum_log_abandon(quorum->log);
    mem_free(quorum->directory);
    mem_free(quorum);
}

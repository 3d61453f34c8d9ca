#include "controller/quorum_writer.h"

#include "common/mem.h"

void quorum_writer_init(struct quorum_writer *writer, struct loop *loop, struct quorum_log *log,
                        const struct quorum_writer_events *events)
{
    *writer = (struct quorum_writer){.loop = loop, .log = log, .events = *events};
}

/* All but the first `kept`. */
static void forget_entries(struct quorum_writer_work *work, size_t kept)
{
    while (work->entry_count > kept) {
        quorum_entry_unref(work->entries[--work->entry_count]);
    }
}

void quorum_writer_done(struct quorum_writer *writer)
{
    CHECK(!writer->is_running);
    forget_entries(&writer->queued, 0);
    forget_entries(&writer->running, 0);
    mem_free(writer->queued.entries);
    mem_free(writer->running.entries);
}

void quorum_writer_set_term(struct quorum_writer *writer, uint64_t term, uint64_t voted_for)
{
    writer->queued.has_term = true;
    writer->queued.term = term;
    writer->queued.voted_for = voted_for;
}

void quorum_writer_append(struct quorum_writer *writer, struct quorum_entry *entry)
{
    struct quorum_writer_work *queued = &writer->queued;
    if (queued->entry_count == queued->entry_capacity) {
        queued->entry_capacity = queued->entry_capacity == 0 ? 16 : queued->entry_capacity * 2;
        queued->entries =
            (struct quorum_entry **)mem_grow(queued->entries, queued->entry_capacity, sizeof(queued->entries[0]));
    }
    queued->entries[queued->entry_count++] = quorum_entry_ref(entry);
}

void quorum_writer_truncate(struct quorum_writer *writer, uint64_t from_index)
{
    struct quorum_writer_work *queued = &writer->queued;
    size_t kept = queued->entry_count;
    while (kept > 0 && queued->entries[kept - 1]->index >= from_index) {
        kept--;
    }
    forget_entries(queued, kept);
    /* With older entries still queued, nothing at from_index has been written by the time the next job truncates. */
    if (queued->entry_count == 0 && (queued->truncate_from == 0 || from_index < queued->truncate_from)) {
        queued->truncate_from = from_index;
    }
}

void quorum_writer_put_snapshot(struct quorum_writer *writer, const struct quorum_snapshot *snapshot,
                                uint64_t trim_index)
{
    CHECK(!writer->queued.has_snapshot);
    writer->queued.has_snapshot = true;
    writer->queued.snapshot = *snapshot;
    writer->queued.trim_index = trim_index;
}

bool quorum_writer_install(struct quorum_writer *writer, const struct quorum_snapshot *snapshot)
{
    struct quorum_writer_work *queued = &writer->queued;
    CHECK(!queued->has_install);
    bool has_dropped = queued->has_snapshot;
    forget_entries(queued, 0);
    queued->truncate_from = 0;
    queued->has_snapshot = false;
    queued->has_install = true;
    queued->install = *snapshot;
    return has_dropped;
}

/* In the pool. */
static void work(struct loop_job *job)
{
    struct quorum_writer *writer = CONTAINER_OF(job, struct quorum_writer, job);
    const struct quorum_writer_work *running = &writer->running;
    enum err err = ERR_OK;
    if (running->has_term) {
        writer->what = "writing term and vote";
        err = quorum_log_set_term(writer->log, running->term, running->voted_for);
    }
    if (err == ERR_OK && running->truncate_from != 0) {
        writer->what = "truncating the log";
        err = quorum_log_truncate(writer->log, running->truncate_from);
    }
    if (err == ERR_OK && running->entry_count > 0) {
        writer->what = "appending to the log";
        err =
            quorum_log_append(writer->log, (const struct quorum_entry *const *)running->entries, running->entry_count);
    }
    if (err == ERR_OK && running->has_snapshot) {
        writer->what = "writing a snapshot";
        err = quorum_log_put_snapshot(writer->log, &running->snapshot, running->trim_index);
    }
    if (err == ERR_OK && running->has_install) {
        writer->what = "installing a snapshot";
        err = quorum_log_install(writer->log, &running->install);
    }
    writer->err = err;
}

/* On the loop. Reports in the order in which things became durable; whoever is told may queue more: it is begun when all is told,
 * because until then `running` is in use. */
static void done(struct loop_job *job)
{
    struct quorum_writer *writer = CONTAINER_OF(job, struct quorum_writer, job);
    struct quorum_writer_work *running = &writer->running;
    const struct quorum_writer_events *events = &writer->events;
    if (writer->err != ERR_OK) {
        writer->is_failed = true;
        events->on_failed(events->ctx, writer->err, writer->what);
    } else {
        if (running->has_term) {
            events->on_term_written(events->ctx);
        }
        if (running->entry_count > 0) {
            events->on_appended(events->ctx, running->entries, running->entry_count);
        }
        if (running->has_snapshot) {
            events->on_snapshot_written(events->ctx, running->snapshot.index);
        }
        if (running->has_install) {
            events->on_installed(events->ctx);
        }
    }
    forget_entries(running, 0);
    writer->is_running = false;
    quorum_writer_kick(writer);
    if (!writer->is_running) {
        events->on_idle(events->ctx);
    }
}

void quorum_writer_kick(struct quorum_writer *writer)
{
    struct quorum_writer_work *queued = &writer->queued;
    bool has_work = queued->has_term || queued->truncate_from != 0 || queued->entry_count > 0 || queued->has_snapshot ||
                    queued->has_install;
    if (writer->is_running || writer->is_failed || !has_work) {
        return;
    }
    /* The arrays change places, so that neither is allocated anew for every job. */
    struct quorum_writer_work spare = writer->running;
    writer->running = *queued;
    *queued = (struct quorum_writer_work){.entries = spare.entries, .entry_capacity = spare.entry_capacity};
    writer->is_running = true;
    writer->job = (struct loop_job){.work = work, .done = done};
    loop_submit(writer->loop, &writer->job);
}

/* Snapshots: the state is taken hold of on the loop, written as bytes in the pool, stored by the writer, and then libraft is told. */
#include "controller/quorum_private.h"

void quorum_snapshot_release(struct quorum *quorum)
{
    bytebuf_done(&quorum->snapshot_data);
    raft_free(quorum->snapshot_configuration.base);
    quorum->snapshot_configuration = (struct raft_buffer){NULL, 0};
    quorum->snapshot_state = NULL;
    quorum->is_snapshot_void = false;
    quorum->is_snapshot_written = false;
}

void quorum_snapshot_overtaken(struct quorum *quorum, bool was_queued)
{
    if (was_queued || quorum->is_snapshot_written) {
        quorum_snapshot_release(quorum);
    } else if (quorum->snapshot_state != NULL) {
        quorum->is_snapshot_void = true; /* released when its job ends */
    }
}

static void snapshot_work(struct loop_job *job)
{
    struct quorum *quorum = CONTAINER_OF(job, struct quorum, snapshot_job);
    quorum->snapshot_err = quorum->events.snapshot_encode(quorum->snapshot_state, &quorum->snapshot_data);
}

static void snapshot_encoded(struct loop_job *job)
{
    struct quorum *quorum = CONTAINER_OF(job, struct quorum, snapshot_job);
    quorum->is_encoding = false;
    quorum->events.snapshot_end(quorum->events.ctx, quorum->snapshot_state);
    if (quorum->snapshot_err != ERR_OK && !quorum->is_failed) {
        quorum_fail(quorum, "a snapshot can't be made: %s", err_text(quorum->snapshot_err));
    }
    if (quorum->is_failed || quorum->is_stopping || quorum->is_snapshot_void) {
        quorum_snapshot_release(quorum);
        quorum_finish_stop(quorum);
        return;
    }
    quorum->snapshot.configuration = span_make(quorum->snapshot_configuration.base, quorum->snapshot_configuration.len);
    quorum->snapshot.data = bytebuf_span(&quorum->snapshot_data);
    uint64_t trailing = quorum->options.trailing_entries;
    uint64_t trim_index = quorum->snapshot.index > trailing ? quorum->snapshot.index - trailing : 0;
    quorum_writer_put_snapshot(&quorum->writer, &quorum->snapshot, trim_index);
    quorum_writer_kick(&quorum->writer);
}

static bool is_due(const struct quorum *quorum)
{
    return quorum->applied_index - quorum->snapshot_index >= quorum->options.snapshot_entries ||
           quorum->unsnapped_bytes >= QUORUM_TRAILING_BYTES_MAX;
}

/* Only what is applied and persisted goes into a snapshot; and libraft may count a configuration as committed before it is applied. */
void quorum_maybe_snapshot(struct quorum *quorum)
{
    if (!is_due(quorum) || quorum->snapshot_state != NULL || quorum->is_stopping || quorum->raft.snapshot.installing ||
        quorum->applied_index <= quorum->snapshot_index || quorum->applied_index > quorum->persisted_index ||
        quorum->raft.configuration_committed_index > quorum->applied_index) {
        return;
    }
    int result = raft_configuration_encode(&quorum->raft.configuration_committed, &quorum->snapshot_configuration);
    if (result != 0) {
        quorum_fail(quorum, "a configuration can't be encoded: %s", raft_strerror(result));
        return;
    }
    quorum->snapshot = (struct quorum_snapshot){.index = quorum->applied_index,
                                                .term = quorum->applied_term,
                                                .configuration_index = quorum->raft.configuration_committed_index};
    quorum->unsnapped_bytes = 0;
    quorum->snapshot_state = quorum->events.snapshot_begin(quorum->events.ctx);
    CHECK(quorum->snapshot_state != NULL);
    bytebuf_init(&quorum->snapshot_data, QUORUM_SNAPSHOT_BYTES_MAX / 2);
    quorum->snapshot_job = (struct loop_job){.work = snapshot_work, .done = snapshot_encoded};
    quorum->is_encoding = true;
    loop_submit(quorum->loop, &quorum->snapshot_job);
}

/* How many applied entries followers may still be sent: none if there are none, and not more than memory has room for. */
static unsigned count_trailing(const struct quorum *quorum)
{
    uint32_t count = 0;
    size_t bytes = 0;
    const struct quorum_entry *entry = NULL;
    if (quorum->raft.configuration.n <= 1) {
        return 0;
    }
    while (count < quorum->options.trailing_entries &&
           (entry = quorum_tail_find(&quorum->tail, quorum->snapshot.index - count)) != NULL) {
        bytes += entry->bytes;
        if (bytes > QUORUM_TRAILING_BYTES_MAX) {
            break;
        }
        count++;
    }
    return count;
}

/* Tells libraft, which takes over the decoded configuration. */
void quorum_snapshot_report(struct quorum *quorum)
{
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    int result = raft_configuration_decode(&quorum->snapshot_configuration, &event.snapshot.metadata.configuration);
    CHECK(result == 0);
    event.snapshot.metadata.index = quorum->snapshot.index;
    event.snapshot.metadata.term = quorum->snapshot.term;
    event.snapshot.metadata.configuration_index = quorum->snapshot.configuration_index;
    event.snapshot.trailing = count_trailing(quorum);
    quorum_snapshot_release(quorum);
    (void)quorum_step(quorum, &event);
}

void quorum_on_snapshot_written(void *ctx, uint64_t snapshot_index)
{
    struct quorum *quorum = (struct quorum *)ctx;
    quorum->snapshot_index = snapshot_index;
    quorum->is_snapshot_written = true;
    quorum_note_log(quorum);
    if (quorum->is_failed || quorum->is_stopping || quorum->is_snapshot_void) {
        quorum_snapshot_release(quorum);
    } else if (quorum_can_step(quorum)) {
        quorum_snapshot_report(quorum);
    }
}

/* Snapshots: the state is taken hold of on the loop, written as bytes in the pool, stored by the writer, and then libraft is told. */
#include "controller/quorum_private.h"

void quorum_snapshot_release(struct quorum *quorum)
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

static void snapshot_encoded(struct loop_job *job)
{
    struct quorum *quorum = CONTAINER_OF(job, struct quorum, snapshot_job);
    quorum->is_encoding = false;
    quorum->events.snapshot_end(quorum->events.ctx, quorum->snapshot_state);
    if (quorum->snapshot_err != ERR_OK && !quorum->is_failed) {
        quorum_fail(quorum, "a snapshot can't be made: %s", err_text(quorum->snapshot_err));
    }
    if (quorum->is_failed || quorum->is_stopping) {
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

/* Only what is applied and persisted goes into a snapshot. */
void quorum_maybe_snapshot(struct quorum *quorum)
{
    if (quorum->snapshot_state != NULL || quorum->is_stopping || quorum->applied_index > quorum->persisted_index ||
        quorum->applied_index - quorum->snapshot_index < quorum->options.snapshot_entries) {
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
    quorum->snapshot_state = quorum->events.snapshot_begin(quorum->events.ctx);
    CHECK(quorum->snapshot_state != NULL);
    bytebuf_init(&quorum->snapshot_data, QUORUM_SNAPSHOT_BYTES_MAX / 2);
    quorum->snapshot_job = (struct loop_job){.work = snapshot_work, .done = snapshot_encoded};
    quorum->is_encoding = true;
    loop_submit(quorum->loop, &quorum->snapshot_job);
}

/* Tells libraft, which takes over the decoded configuration. */
void quorum_on_snapshot_written(void *ctx, uint64_t snapshot_index)
{
    struct quorum *quorum = (struct quorum *)ctx;
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    quorum->snapshot_index = snapshot_index;
    if (!quorum->is_failed && !quorum->is_stopping) {
        int result = raft_configuration_decode(&quorum->snapshot_configuration, &event.snapshot.metadata.configuration);
        if (result != 0) {
            quorum_fail(quorum, "a configuration can't be decoded: %s", raft_strerror(result));
        } else {
            event.snapshot.metadata.index = quorum->snapshot.index;
            event.snapshot.metadata.term = quorum->snapshot.term;
            event.snapshot.metadata.configuration_index = quorum->snapshot.configuration_index;
            event.snapshot.trailing = quorum->options.trailing_entries;
            (void)quorum_step(quorum, &event);
        }
    }
    quorum_snapshot_release(quorum);
}

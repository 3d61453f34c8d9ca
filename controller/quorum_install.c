/* Snapshots between controllers. libraft has one buffer for a snapshot; here it travels in chunks, one at a time and answered one by one,
 * and is handed over whole.
 *
 *   leader:    asked by libraft -> read in the pool, hashed -> chunk, answer, chunk, ... -> all received: forgotten (libraft hears from
 *              the follower's next append result); no answer for an election timeout: the chunk again, and at last given up, until
 *              libraft asks again
 *   follower:  chunks collected, as long as they are of one snapshot of one leader's term -> hash checked -> libraft -> written, in place
 *              of everything (quorum_log_install) -> on_restore -> libraft told
 *
 * An answer counts only if it repeats the sequence of the newest sending: so neither side can be made to send twice by late answers. */
#include "common/mem.h"
#include "controller/quorum_private.h"

#include <openssl/evp.h>
#include <utlist.h>

#define SEND_ATTEMPTS_MAX 8

struct quorum_outgoing {
    struct quorum *quorum;
    uint64_t to_raft_id;
    char address[QUORUM_ADDRESS_BYTES_MAX];
    uint64_t term;
    uint8_t version;
    uint64_t wanted_index; /* read under this name */
    uint8_t *file;         /* NULL while it is being read */
    struct quorum_snapshot snapshot;
    uint8_t hash[QUORUM_HASH_BYTES];
    uint64_t pos; /* received by the follower */
    uint32_t sequence;
    unsigned attempts; /* of this chunk */
    struct loop_timer timer;
    struct loop_job job;
    enum err err;
    struct option_problem problem;
    bool is_reading;
    bool is_void;
    struct quorum_outgoing *prev;
    struct quorum_outgoing *next;
};

static void hash_data(struct span data, uint8_t ret_hash[QUORUM_HASH_BYTES])
{
    unsigned bytes = 0;
    int result = EVP_Digest(data.data, data.bytes, ret_hash, &bytes, EVP_sha256(), NULL);
    CHECK(result == 1 && bytes == QUORUM_HASH_BYTES);
}

/* ---- the leader's side ---- */

static void outgoing_free(struct quorum_outgoing *outgoing)
{
    struct quorum *quorum = outgoing->quorum;
    loop_timer_cancel(quorum->loop, &outgoing->timer);
    if (outgoing->is_reading) {
        outgoing->is_void = true;
        return;
    }
    DL_DELETE(quorum->outgoing, outgoing);
    mem_free(outgoing->file);
    mem_free(outgoing);
}

static void send_chunk(struct quorum_outgoing *outgoing)
{
    struct quorum *quorum = outgoing->quorum;
    uint64_t left_bytes = outgoing->snapshot.data.bytes - outgoing->pos;
    size_t bytes = left_bytes < QUORUM_CHUNK_BYTES_MAX ? (size_t)left_bytes : QUORUM_CHUNK_BYTES_MAX;
    outgoing->sequence++;
    struct quorum_message message = {
        .type = QUORUM_CHUNK,
        .version = outgoing->version,
        .to_raft_id = outgoing->to_raft_id,
        .term = outgoing->term,
        .chunk = {.index = outgoing->snapshot.index,
                  .index_term = outgoing->snapshot.term,
                  .configuration_index = outgoing->snapshot.configuration_index,
                  .configuration = outgoing->snapshot.configuration,
                  .total_bytes = outgoing->snapshot.data.bytes,
                  .pos = outgoing->pos,
                  .sequence = outgoing->sequence,
                  .data = span_sub(outgoing->snapshot.data, (size_t)outgoing->pos, bytes)}};
    memcpy(message.chunk.hash, outgoing->hash, QUORUM_HASH_BYTES);
    uint64_t wait_us = (uint64_t)quorum->options.election_timeout_ms * US_PER_MS;
    loop_timer_set(quorum->loop, &outgoing->timer, loop_now_us(quorum->loop) + wait_us);
    quorum_send(quorum, &message, outgoing->address);
}

static void chunk_unanswered(struct loop_timer *timer)
{
    struct quorum_outgoing *outgoing = CONTAINER_OF(timer, struct quorum_outgoing, timer);
    if (++outgoing->attempts >= SEND_ATTEMPTS_MAX || outgoing->quorum->is_failed) {
        outgoing_free(outgoing);
    } else {
        send_chunk(outgoing);
    }
}

static void read_work(struct loop_job *job)
{
    struct quorum_outgoing *outgoing = CONTAINER_OF(job, struct quorum_outgoing, job);
    struct quorum *quorum = outgoing->quorum;
    outgoing->err = quorum_log_read_snapshot(quorum->env->fs, quorum->directory, outgoing->wanted_index,
                                             &outgoing->file, &outgoing->snapshot, &outgoing->problem);
    if (outgoing->err == ERR_OK) {
        hash_data(outgoing->snapshot.data, outgoing->hash);
    }
}

static void read_done(struct loop_job *job)
{
    struct quorum_outgoing *outgoing = CONTAINER_OF(job, struct quorum_outgoing, job);
    struct quorum *quorum = outgoing->quorum;
    quorum->reading_count--;
    outgoing->is_reading = false;
    bool is_fatal = outgoing->err != ERR_OK && outgoing->err != ERR_NOT_FOUND && !outgoing->is_void;
    if (is_fatal && !quorum->is_failed) {
        quorum_fail(quorum, "a snapshot can't be read: %s", outgoing->problem.text);
    }
    if (outgoing->is_void || outgoing->err != ERR_OK || quorum->is_failed || quorum->is_stopping) {
        outgoing_free(outgoing); /* replaced by a newer one meanwhile: libraft asks again */
        quorum_finish_stop(quorum);
        return;
    }
    send_chunk(outgoing);
}

static struct quorum_outgoing *outgoing_find(struct quorum *quorum, uint64_t member_id)
{
    struct quorum_outgoing *outgoing = NULL;
    DL_FOREACH (quorum->outgoing, outgoing) {
        if (outgoing->to_raft_id == member_id && !outgoing->is_void) {
            return outgoing;
        }
    }
    return NULL;
}

/* libraft asks again with each rejected heartbeat; one that is on its way goes on, also if there is a newer one by now. */
void quorum_install_send(struct quorum *quorum, const struct raft_message *message)
{
    struct quorum_outgoing *outgoing = outgoing_find(quorum, message->server_id);
    if (outgoing != NULL || quorum->snapshot_index == 0) {
        return;
    }
    outgoing = MEM_NEW(struct quorum_outgoing);
    outgoing->quorum = quorum;
    outgoing->to_raft_id = message->server_id;
    CHECK(strlen(message->server_address) < sizeof(outgoing->address));
    strcpy(outgoing->address, message->server_address);
    outgoing->term = message->install_snapshot.term;
    outgoing->version = message->install_snapshot.version;
    outgoing->wanted_index = quorum->snapshot_index;
    outgoing->timer.fire = chunk_unanswered;
    outgoing->job = (struct loop_job){.work = read_work, .done = read_done};
    outgoing->is_reading = true;
    quorum->reading_count++;
    DL_APPEND(quorum->outgoing, outgoing);
    loop_submit(quorum->loop, &outgoing->job);
}

void quorum_install_result(struct quorum *quorum, const struct quorum_message *message)
{
    struct quorum_outgoing *outgoing = outgoing_find(quorum, message->from_raft_id);
    if (outgoing == NULL || outgoing->is_reading || message->term != outgoing->term ||
        message->chunk_result.index != outgoing->snapshot.index ||
        message->chunk_result.sequence != outgoing->sequence ||
        message->chunk_result.received_bytes > outgoing->snapshot.data.bytes) {
        return;
    }
    outgoing->pos = message->chunk_result.received_bytes;
    outgoing->attempts = 0;
    if (outgoing->pos == outgoing->snapshot.data.bytes) {
        quorum->snapshot_sent_count++;
        outgoing_free(outgoing);
    } else {
        send_chunk(outgoing);
    }
}

/* ---- the follower's side: collecting ---- */

static void incoming_close(struct quorum_incoming *incoming)
{
    if (incoming->is_open) {
        bytebuf_done(&incoming->data);
    }
    *incoming = (struct quorum_incoming){0};
}

static bool is_same(const struct quorum_incoming *incoming, const struct quorum_message *message)
{
    return incoming->is_open && incoming->from_raft_id == message->from_raft_id && incoming->term == message->term &&
           incoming->index == message->chunk.index && incoming->index_term == message->chunk.index_term &&
           incoming->configuration_index == message->chunk.configuration_index &&
           incoming->total_bytes == message->chunk.total_bytes &&
           memcmp(incoming->hash, message->chunk.hash, QUORUM_HASH_BYTES) == 0;
}

static void incoming_open(struct quorum_incoming *incoming, const struct quorum_message *message)
{
    incoming_close(incoming);
    incoming->is_open = true;
    incoming->from_raft_id = message->from_raft_id;
    incoming->term = message->term;
    incoming->index = message->chunk.index;
    incoming->index_term = message->chunk.index_term;
    incoming->configuration_index = message->chunk.configuration_index;
    incoming->total_bytes = message->chunk.total_bytes;
    memcpy(incoming->hash, message->chunk.hash, QUORUM_HASH_BYTES);
    bytebuf_init(&incoming->data, QUORUM_SNAPSHOT_BYTES_MAX); /* grows as the chunks come */
}

static void answer(struct quorum *quorum, const struct quorum_message *message, uint64_t received_bytes)
{
    char address[QUORUM_ADDRESS_BYTES_MAX];
    memcpy(address, message->from_address.data, message->from_address.bytes);
    struct quorum_message result = {.type = QUORUM_CHUNK_RESULT,
                                    .to_raft_id = message->from_raft_id,
                                    .term = message->term,
                                    .chunk_result = {.index = message->chunk.index,
                                                     .received_bytes = received_bytes,
                                                     .sequence = message->chunk.sequence}};
    quorum_send(quorum, &result, address);
}

/* The data moves to libraft, and comes back in the update or is freed there. */
static void hand_over(struct quorum *quorum, const struct quorum_message *message)
{
    struct quorum_incoming *incoming = &quorum->incoming;
    struct raft_message out = {.type = RAFT_INSTALL_SNAPSHOT, .server_id = message->from_raft_id};
    out.install_snapshot.version = message->version;
    out.install_snapshot.term = message->term;
    out.install_snapshot.last_index = incoming->index;
    out.install_snapshot.last_term = incoming->index_term;
    out.install_snapshot.conf_index = incoming->configuration_index;
    enum err err = quorum_configuration_to_raft(message->chunk.configuration, &out.install_snapshot.conf);
    CHECK(err == ERR_OK); /* decoded when it came */
    out.install_snapshot.data.len = incoming->data.bytes;
    out.install_snapshot.data.base = incoming->data.data != NULL ? incoming->data.data : raft_malloc(1);
    *incoming = (struct quorum_incoming){0};
    memcpy(quorum->from_address, message->from_address.data, message->from_address.bytes);
    out.server_address = quorum->from_address;
    struct raft_event event = {.type = RAFT_RECEIVE};
    event.receive.message = &out;
    (void)quorum_step(quorum, &event);
}

/* What is committed here, or on its way to the disk, needs no snapshot; the leader learns of it from the answers to its heartbeats. */
enum err quorum_install_receive(struct quorum *quorum, const struct quorum_message *message)
{
    struct quorum_incoming *incoming = &quorum->incoming;
    if (message->term < raft_current_term(&quorum->raft)) {
        return ERR_OK;
    }
    if (quorum->raft.snapshot.installing || message->chunk.index <= raft_commit_index(&quorum->raft)) {
        answer(quorum, message, message->chunk.total_bytes);
        return ERR_OK;
    }
    if (!is_same(incoming, message)) {
        if (message->chunk.pos != 0) {
            answer(quorum, message, 0);
            return ERR_OK;
        }
        incoming_open(incoming, message);
    }
    if (message->chunk.pos == incoming->data.bytes) {
        enum err err = bytebuf_append(&incoming->data, message->chunk.data);
        CHECK(err == ERR_OK); /* within its total */
    }
    if (incoming->data.bytes == incoming->total_bytes) {
        uint8_t hash[QUORUM_HASH_BYTES];
        hash_data(bytebuf_span(&incoming->data), hash);
        if (memcmp(hash, incoming->hash, QUORUM_HASH_BYTES) != 0) {
            incoming_close(incoming);
            return ERR_MALFORMED;
        }
    }
    answer(quorum, message, incoming->data.bytes);
    if (incoming->data.bytes == incoming->total_bytes) {
        quorum->leader_term = message->term;
        hand_over(quorum, message);
    }
    return ERR_OK;
}

/* ---- the follower's side: installing ---- */

static void install_release(struct quorum *quorum)
{
    raft_free(quorum->install_data.base);
    raft_free(quorum->install_configuration.base);
    quorum->install_data = (struct raft_buffer){NULL, 0};
    quorum->install_configuration = (struct raft_buffer){NULL, 0};
}

void quorum_install_begin(struct quorum *quorum)
{
    quorum->install = quorum->update.snapshot.metadata;
    quorum->install_data = quorum->update.snapshot.chunk;
    if (quorum->install.index <= quorum->applied_index) {
        quorum_fail(quorum, "a snapshot at %llu was to take the place of what is applied", quorum->install.index);
        return;
    }
    CHECK(raft_configuration_encode(&quorum->install.configuration, &quorum->install_configuration) == 0);
    quorum_tail_reset(&quorum->tail, quorum->install.index + 1);
    struct quorum_snapshot snapshot = {
        .index = quorum->install.index,
        .term = quorum->install.term,
        .configuration_index = quorum->install.configuration_index,
        .configuration = span_make(quorum->install_configuration.base, quorum->install_configuration.len),
        .data = span_make(quorum->install_data.base, quorum->install_data.len)};
    quorum_snapshot_overtaken(quorum, quorum_writer_install(&quorum->writer, &snapshot));
}

/* Durable: the state first, then libraft, which counts everything up to here as committed. */
void quorum_install_report(struct quorum *quorum)
{
    quorum->is_install_written = false;
    struct span data = span_make(quorum->install_data.base, quorum->install_data.len);
    enum err err = quorum->events.on_restore(quorum->events.ctx, quorum->install.index, quorum->install.term, data);
    if (err != ERR_OK) {
        quorum_fail(quorum, "a snapshot of the leader can't be applied: %s", err_text(err));
        return;
    }
    quorum->applied_index = quorum->install.index;
    quorum->applied_term = quorum->install.term;
    quorum->unsnapped_bytes = 0;
    quorum->install_count++;
    install_release(quorum);
    quorum_tell_configuration(quorum, &quorum->install.configuration, quorum->install.configuration_index);
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT};
    event.persisted_snapshot.metadata = quorum->install; /* its configuration moves in */
    event.persisted_snapshot.last = true;
    quorum->install = (struct raft_snapshot_metadata){0};
    (void)quorum_step(quorum, &event);
}

void quorum_on_installed(void *ctx)
{
    struct quorum *quorum = (struct quorum *)ctx;
    quorum->snapshot_index = quorum->install.index;
    quorum->persisted_index = quorum->install.index;
    quorum->is_install_written = true;
    quorum_note_log(quorum);
    if (quorum_can_step(quorum)) {
        quorum_install_report(quorum);
    }
}

/* ---- both ---- */

void quorum_install_check(struct quorum *quorum)
{
    uint64_t term = raft_current_term(&quorum->raft);
    bool is_leader = raft_state(&quorum->raft) == RAFT_LEADER;
    if (quorum->incoming.is_open && (quorum->incoming.term != term || is_leader) && quorum->incoming.term <= term) {
        incoming_close(&quorum->incoming);
    }
    struct quorum_outgoing *outgoing = NULL;
    struct quorum_outgoing *next = NULL;
    DL_FOREACH_SAFE (quorum->outgoing, outgoing, next) {
        if (!is_leader || outgoing->term != term) {
            outgoing_free(outgoing);
        }
    }
}

void quorum_install_stop(struct quorum *quorum)
{
    struct quorum_outgoing *outgoing = NULL;
    struct quorum_outgoing *next = NULL;
    DL_FOREACH_SAFE (quorum->outgoing, outgoing, next) {
        outgoing_free(outgoing);
    }
}

void quorum_install_done(struct quorum *quorum)
{
    incoming_close(&quorum->incoming);
    install_release(quorum);
    raft_configuration_close(&quorum->install.configuration);
    quorum->install = (struct raft_snapshot_metadata){0};
}

/* Packs what is READY into DATA frames: partitions take turns in the order in which their news came; one that has more goes to the end of
 * the line. What is handed to the link has left the partition's point of view: the link's window bounds it. */
#include "broker/broker_metrics.h"
#include "broker/stream/stream_server_private.h"
#include "common/mem.h"

#define STREAM_PACKING_FIRST 16u

uint64_t stream_sub_lag_bytes(const struct stream_sub *sub)
{
    const struct partition_log *log = sub->cursor.partition->log;
    int64_t start = partition_log_start_offset(log);
    int64_t end = partition_log_end_offset(log);
    int64_t from = sub->next_offset < start ? start : sub->next_offset;
    if (from >= end) {
        return 0;
    }
    double share = (double)(end - from) / (double)(end - start); /* batches are of about one size */
    return (uint64_t)(share * (double)partition_log_bytes(log));
}

/* ---- packing ---- */

void stream_packing_done(struct stream_packing *packing)
{
    mem_free(packing->items);
    mem_free(packing->parts);
    mem_free((void *)packing->part_pointers);
    mem_free(packing->pieces);
}

static void stream_packing_grow(struct stream_packing *packing)
{
    size_t capacity = packing->capacity == 0 ? STREAM_PACKING_FIRST : packing->capacity * 2;
    packing->items = mem_grow(packing->items, capacity, sizeof(*packing->items));
    packing->parts = mem_grow(packing->parts, capacity, sizeof(*packing->parts));
    packing->part_pointers = mem_grow((void *)packing->part_pointers, capacity, sizeof(*packing->part_pointers));
    packing->pieces = mem_grow(packing->pieces, capacity, sizeof(*packing->pieces));
    packing->capacity = capacity;
}

/* A part with the marks of now. */
static Node__ReplicaPart *stream_packing_add(struct stream_packing *packing, struct stream_sub *sub)
{
    if (packing->count == packing->capacity) {
        stream_packing_grow(packing);
    }
    const struct partition *partition = sub->cursor.partition;
    sub->frame_number = packing->frame_number;
    sub->sent_high_watermark = partition->high_watermark;
    sub->sent_log_start_offset = partition_log_start_offset(partition->log);
    packing->items[packing->count] = (struct stream_item){.sub = sub};
    Node__ReplicaPart *part = &packing->parts[packing->count++];
    node__replica_part__init(part);
    part->handle = sub->handle;
    part->leader_epoch = sub->leader_epoch;
    part->high_watermark = sub->sent_high_watermark;
    part->log_start_offset = sub->sent_log_start_offset;
    return part;
}

static void stream_packing_add_bytes(struct stream_packing *packing, struct file *file, uint64_t pos, size_t bytes)
{
    struct stream_item *item = &packing->items[packing->count - 1];
    item->file = file;
    item->pos = pos;
    item->bytes = bytes;
    packing->parts[packing->count - 1].bytes = bytes;
    packing->bytes += bytes;
    packing->copy_bytes += bytes < STREAM_SENDFILE_BYTES ? bytes : 0;
}

/* The next piece of a batch that is too large for a frame. */
static void stream_pack_rest(struct stream_packing *packing, struct stream_sub *sub)
{
    size_t bytes = sub->rest_bytes < STREAM_PIECE_BYTES ? sub->rest_bytes : STREAM_PIECE_BYTES;
    Node__ReplicaPart *part = stream_packing_add(packing, sub);
    sub->rest_bytes -= bytes;
    part->first_offset = sub->rest_first_offset;
    part->rest_bytes = sub->rest_bytes;
    stream_packing_add_bytes(packing, file_ref(sub->rest_file), sub->rest_pos, bytes);
    sub->rest_pos += bytes;
    if (sub->rest_bytes == 0) {
        file_unref(sub->rest_file);
        sub->rest_file = NULL;
        sub->next_offset = sub->rest_next_offset;
        part->lag_bytes = sub->link->is_catch_up ? stream_sub_lag_bytes(sub) : 0;
    }
}

static void stream_pack_data(struct stream_packing *packing, struct stream_sub *sub)
{
    if (sub->rest_bytes > 0) {
        stream_pack_rest(packing, sub);
        return;
    }
    struct log_slice slice = sub->read.slice;
    struct partition_log *log = sub->cursor.partition->log;
    log_read_remember(log, &sub->read);
    file_ref(slice.file);
    log_read_done(&sub->read);
    sub->has_read = false;
    if (slice.bytes > STREAM_PIECE_BYTES) {
        sub->rest_file = slice.file;
        sub->rest_pos = slice.pos;
        sub->rest_bytes = slice.bytes;
        sub->rest_first_offset = slice.first_offset;
        sub->rest_next_offset = slice.next_offset;
        stream_pack_rest(packing, sub);
        return;
    }
    Node__ReplicaPart *part = stream_packing_add(packing, sub);
    part->first_offset = slice.first_offset;
    stream_packing_add_bytes(packing, slice.file, slice.pos, slice.bytes);
    sub->next_offset = slice.next_offset;
    part->lag_bytes = sub->link->is_catch_up ? stream_sub_lag_bytes(sub) : 0;
}

/* Everything is sent but perhaps marks. */
static void stream_sub_rest(struct stream_sub *sub)
{
    const struct partition *partition = sub->cursor.partition;
    bool are_marks_new = partition->high_watermark != sub->sent_high_watermark ||
                         partition_log_start_offset(partition->log) != sub->sent_log_start_offset;
    sub->has_sent_all = true;
    stream_sub_set_place(sub, are_marks_new ? STREAM_MARKED : STREAM_QUIET);
    partition_cursor_sent(&sub->cursor, sub->next_offset);
}

static bool stream_sub_has_more(const struct stream_sub *sub)
{
    return sub->rest_bytes > 0 || sub->next_offset < partition_log_end_offset(sub->cursor.partition->log);
}

static void stream_pack_ready(struct stream_server_link *link, struct stream_packing *packing)
{
    size_t bytes_max =
        link->credit_bytes < (int64_t)STREAM_FRAME_BYTES ? (size_t)link->credit_bytes : STREAM_FRAME_BYTES;
    while (link->ready != NULL && packing->bytes < bytes_max && packing->count < STREAM_PARTS_MAX) {
        struct stream_sub *sub = link->ready;
        size_t room_bytes = bytes_max - packing->bytes;
        if (sub->frame_number == packing->frame_number) {
            return; /* everybody had a turn */
        }
        if (sub->next != NULL && room_bytes > STREAM_SHARE_BYTES) {
            room_bytes = STREAM_SHARE_BYTES; /* others wait */
        }
        switch (stream_sub_find(sub, room_bytes, packing->bytes == 0)) {
        case STREAM_FOUND:
            stream_pack_data(packing, sub);
            sub->has_sent_all = !stream_sub_has_more(sub);
            stream_sub_set_place(sub, sub->has_sent_all ? STREAM_QUIET : STREAM_READY);
            break;
        case STREAM_NOTHING:
            stream_sub_rest(sub);
            break;
        case STREAM_LATER:
            sub->frame_number = packing->frame_number;
            stream_sub_set_place(sub, STREAM_READY);
            break;
        case STREAM_NO_ROOM:
            return;
        case STREAM_IN_POOL:
        case STREAM_ENDED:
            break;
        }
    }
}

static void stream_pack_marks(struct stream_server_link *link, struct stream_packing *packing)
{
    while (link->marked != NULL && packing->count < STREAM_PARTS_MAX) {
        struct stream_sub *sub = link->marked;
        (void)stream_packing_add(packing, sub);
        stream_sub_set_place(sub, STREAM_QUIET);
    }
}

/* ---- sending ---- */

/* Copies the short ranges into one buffer; NULL when they are to go by sendfile as well. */
static struct shared_bytes *stream_packing_copy(struct stream_server_link *link, struct stream_packing *packing)
{
    if (packing->copy_bytes == 0 || !memory_try_take(&link->server->worker->memory, packing->copy_bytes)) {
        return NULL;
    }
    struct shared_bytes *shared = shared_bytes_new(packing->copy_bytes);
    size_t at = 0;
    link->copied_bytes += packing->copy_bytes;
    for (size_t i = 0; i < packing->count; i++) {
        struct stream_item *item = &packing->items[i];
        size_t read_bytes = 0;
        if (item->file == NULL || item->bytes >= STREAM_SENDFILE_BYTES) {
            continue;
        }
        enum err err = file_pread(item->file, shared->data + at, item->bytes, item->pos, &read_bytes);
        if (err != ERR_OK || read_bytes != item->bytes) {
            item->is_bad = true;
            packing->parts[i].bytes = 0;
            packing->bytes -= item->bytes;
            continue;
        }
        at += item->bytes;
    }
    return shared;
}

static size_t stream_packing_pieces(struct stream_packing *packing, struct shared_bytes *shared)
{
    struct rpc_piece *piece = NULL; /* of the buffer, as long as neighbours follow in it */
    size_t at = 0;
    size_t count = 0;
    for (size_t i = 0; i < packing->count; i++) {
        const struct stream_item *item = &packing->items[i];
        if (item->file == NULL || item->is_bad) {
            continue;
        }
        if (shared == NULL || item->bytes >= STREAM_SENDFILE_BYTES) {
            packing->pieces[count++] =
                (struct rpc_piece){.file = item->file, .pos = item->pos, .file_bytes = item->bytes};
            piece = NULL;
            continue;
        }
        if (piece == NULL) {
            piece = &packing->pieces[count++];
            *piece = (struct rpc_piece){.bytes = span_make(shared->data + at, 0), .shared = shared};
        }
        piece->bytes.bytes += item->bytes;
        at += item->bytes;
    }
    return count;
}

/* The link has it: partitions hear of it; what could not be read ends. */
static void stream_packing_sent(struct stream_packing *packing)
{
    for (size_t i = 0; i < packing->count; i++) {
        struct stream_item *item = &packing->items[i];
        if (item->file == NULL) {
            continue;
        }
        file_unref(item->file);
        if (item->is_bad) {
            stream_sub_end(item->sub, ERROR_KAFKA_STORAGE_ERROR);
        } else {
            partition_cursor_sent(&item->sub->cursor, item->sub->next_offset);
        }
    }
}

static void stream_packing_send(struct stream_server_link *link, struct stream_packing *packing)
{
    struct shared_bytes *shared = stream_packing_copy(link, packing);
    size_t piece_count = stream_packing_pieces(packing, shared);
    Node__ReplicaData data = NODE__REPLICA_DATA__INIT;
    for (size_t i = 0; i < packing->count; i++) {
        packing->part_pointers[i] = &packing->parts[i];
    }
    data.n_parts = packing->count;
    data.parts = packing->part_pointers;
    stream_wire_send(link->rpc, STREAM_DATA, &data.base, packing->pieces, piece_count);
    link->credit_bytes -= (int64_t)packing->bytes;
    metric_add(link->server->worker->metrics, METRIC_REPLICATION_BYTES_OUT, (int64_t)packing->bytes);
    if (shared != NULL) {
        shared_bytes_unref(shared);
    }
    stream_packing_sent(packing);
}

static void stream_server_send_answers(struct stream_server_link *link)
{
    struct stream_server *server = link->server;
    Node__ReplicaAnswer **pointers = NULL;
    for (size_t first = 0; first < link->answer_count;) {
        size_t count = link->answer_count - first;
        count = count < STREAM_SUBSCRIPTIONS_MAX ? count : STREAM_SUBSCRIPTIONS_MAX;
        pointers = arena_array(&server->arena, count, sizeof(*pointers));
        CHECK(pointers != NULL);
        for (size_t i = 0; i < count; i++) {
            pointers[i] = &link->answers[first + i];
        }
        Node__ReplicaAnswers answers = NODE__REPLICA_ANSWERS__INIT;
        answers.n_answers = count;
        answers.answers = pointers;
        stream_wire_send(link->rpc, STREAM_ANSWERS, &answers.base, NULL, 0);
        arena_reset(&server->arena);
        first += count;
    }
    mem_free(link->answers);
    link->answers = NULL;
    link->answer_count = 0;
    link->answer_capacity = 0;
}

static void stream_server_send_ends(struct stream_server_link *link)
{
    struct stream_server *server = link->server;
    for (size_t first = 0; first < link->end_count;) {
        size_t count = link->end_count - first;
        count = count < STREAM_SUBSCRIPTIONS_MAX ? count : STREAM_SUBSCRIPTIONS_MAX;
        Node__ReplicaEnd **pointers = arena_array(&server->arena, count, sizeof(*pointers));
        CHECK(pointers != NULL);
        for (size_t i = 0; i < count; i++) {
            pointers[i] = &link->ends[first + i];
        }
        Node__ReplicaEnds ends = NODE__REPLICA_ENDS__INIT;
        ends.n_ends = count;
        ends.ends = pointers;
        stream_wire_send(link->rpc, STREAM_ENDS, &ends.base, NULL, 0);
        arena_reset(&server->arena);
        first += count;
    }
    mem_free(link->ends);
    link->ends = NULL;
    link->end_count = 0;
    link->end_capacity = 0;
}

void stream_server_settle(struct stream_server_link *link)
{
    size_t queued_bytes = rpc_link_queued_bytes(link->rpc);
    if (link->copied_bytes > queued_bytes) {
        memory_give(&link->server->worker->memory, link->copied_bytes - queued_bytes);
        link->copied_bytes = queued_bytes;
    }
}

/* One frame; false when there was nothing for one. */
static bool stream_server_send_frame(struct stream_server_link *link)
{
    struct stream_packing *packing = &link->server->packing;
    packing->frame_number++;
    packing->count = 0;
    packing->bytes = 0;
    packing->copy_bytes = 0;
    if (link->credit_bytes > 0) {
        stream_pack_ready(link, packing);
    }
    if (packing->count > 0 || link->are_marks_due) {
        stream_pack_marks(link, packing);
    }
    if (packing->count > 0) {
        stream_packing_send(link, packing);
    }
    return packing->count > 0;
}

bool stream_server_send(struct stream_server_link *link)
{
    struct stream_server *server = link->server;
    bool has_sent = true;
    while (has_sent || link->answer_count > 0) { /* looking for data may find answers */
        has_sent = link->answer_count > 0;
        stream_server_send_answers(link);
        has_sent = stream_server_send_frame(link) || has_sent;
        if (rpc_link_queued_bytes(link->rpc) >= STREAM_QUEUED_BYTES_MAX) {
            rpc_link_flush(link->rpc);
            if (server->stepping != link) {
                return false;
            }
            stream_server_settle(link);
            if (rpc_link_queued_bytes(link->rpc) > STREAM_QUEUED_LOW_BYTES) {
                break; /* on_drained goes on */
            }
        }
    }
    stream_server_send_answers(link);
    stream_server_send_ends(link);
    link->are_marks_due = link->are_marks_due && link->marked != NULL;
    if (link->marked != NULL && !link->are_marks_due) { /* nothing takes them along: they wait for company */
        stream_server_arm_marks(server, link->marked_us + STREAM_MARKS_DELAY_US);
    }
    return true;
}

/* Writing: replies leave in the order of their slots, once per iteration of the loop, so that everything that an iteration
 * answered on one connection goes out with one call.
 */
#include "broker/broker_metrics.h"
#include "broker/net/connection_internal.h"
#include "common/check.h"
#include "common/seam/fs.h"

#include <utlist.h>

/* File ranges up to this size are copied into the gathering write. */
#define COPIED_SLICE_BYTES 16384

void connection_mark_dirty(struct connection *connection)
{
    if (connection->is_dirty || connection->is_write_blocked || connection->state != CONNECTION_OPEN) {
        return;
    }
    connection->is_dirty = true;
    DL_APPEND2(connection->set->dirty, connection, prev_dirty, next_dirty);
}

void connection_unmark_dirty(struct connection *connection)
{
    if (connection->is_dirty) {
        connection->is_dirty = false;
        DL_DELETE2(connection->set->dirty, connection, prev_dirty, next_dirty);
    }
}

/* One call's worth of pieces. */
struct gathering {
    struct span spans[NET_WRITE_SPANS_MAX];
    size_t span_count;
    size_t bytes;
    size_t scratch_bytes; /* used up of the set's scratch buffer */
};

/* Small file ranges are copied, so that they leave with what surrounds them: one call and one packet instead of three. The
 * bytes are in the page cache, as for sendfile. After a partial write they are read again. */
static bool gather_file(struct connection_set *set, struct gathering *gathering, const struct file_slice *slice)
{
    if (slice->bytes > COPIED_SLICE_BYTES || slice->bytes > CONNECTION_SCRATCH_BYTES - gathering->scratch_bytes) {
        return false;
    }
    uint8_t *room = set->scratch + gathering->scratch_bytes;
    size_t read_bytes = 0;
    enum err err = file_pread(slice->file, room, slice->bytes, slice->pos, &read_bytes);
    if (err != ERR_OK || read_bytes != slice->bytes) {
        return false; /* sending it as a file tells what is wrong */
    }
    gathering->spans[gathering->span_count++] = span_make(room, read_bytes);
    gathering->scratch_bytes += read_bytes;
    gathering->bytes += read_bytes;
    return true;
}

/* False when the gathering must end here: a large file range is due, or it is full. */
static bool gather_reply(struct connection_set *set, struct gathering *gathering, const struct reply_output *output)
{
    struct reply_cursor cursor;
    struct span span;
    struct file_slice *slice = NULL;
    reply_cursor_init(&cursor, output);
    while (reply_cursor_next(&cursor, &span, &slice)) {
        if (gathering->span_count == NET_WRITE_SPANS_MAX || gathering->bytes >= CONNECTION_WRITE_BYTES_MAX) {
            return false;
        }
        if (slice == NULL) {
            gathering->spans[gathering->span_count++] = span;
            gathering->bytes += span.bytes;
        } else if (!gather_file(set, gathering, slice)) {
            return false;
        }
    }
    return true;
}

static void gather(const struct connection *connection, struct gathering *gathering)
{
    gathering->span_count = 0;
    gathering->bytes = 0;
    gathering->scratch_bytes = 0;
    const struct connection_slot *slot = connection->first_slot;
    while (slot != NULL && slot->is_done && gather_reply(connection->set, gathering, &slot->output)) {
        slot = slot->next;
    }
}

static void pop_sent(struct connection *connection)
{
    while (connection->first_slot != NULL && connection->first_slot->is_done &&
           reply_output_is_sent(&connection->first_slot->output)) {
        connection_slot_pop(connection);
    }
}

static void advance(struct connection *connection, size_t written_bytes)
{
    while (written_bytes > 0) {
        struct reply_output *output = &connection->first_slot->output;
        size_t left_bytes = reply_output_left(output);
        size_t bytes = written_bytes < left_bytes ? written_bytes : left_bytes;
        reply_output_advance(output, bytes);
        written_bytes -= bytes;
        pop_sent(connection);
    }
}

/* The first piece is a file range that is not worth copying. */
static enum err send_file(struct connection *connection, size_t *ret_want_bytes, size_t *ret_written_bytes)
{
    const struct file_slice *slice = reply_output_next_file(&connection->first_slot->output);
    *ret_want_bytes = slice->bytes;
    enum err err = socket_send_file(connection->socket, slice->file, slice->pos, slice->bytes, ret_written_bytes);
    /* The file is shorter than what was promised: the frame can't be completed. */
    return err == ERR_OK && *ret_written_bytes == 0 ? ERR_CORRUPT : err;
}

/* One call. *ret_is_full: the socket took less than it was given. */
static enum err write_once(struct connection *connection, size_t *ret_written_bytes, bool *ret_is_full)
{
    struct gathering gathering;
    size_t want_bytes = 0;
    size_t written_bytes = 0;
    enum err err = ERR_OK;
    gather(connection, &gathering);
    if (gathering.span_count == 0) {
        err = send_file(connection, &want_bytes, &written_bytes);
    } else {
        want_bytes = gathering.bytes;
        err = socket_writev(connection->socket, gathering.spans, gathering.span_count, &written_bytes);
    }
    if (err != ERR_OK) {
        return err;
    }
    advance(connection, written_bytes);
    *ret_is_full = written_bytes < want_bytes;
    *ret_written_bytes = written_bytes;
    return ERR_OK;
}

static void wait_until_writable(struct connection *connection)
{
    connection->is_write_blocked = true;
    connection_look_within(connection, connection->set->config.limits->write_stall_us);
    connection_update_watch(connection);
}

/* Writes until nothing is ready, the socket is full, or the connection had its share of this iteration. */
static void write_ready(struct connection *connection)
{
    struct connection_set *set = connection->set;
    size_t total_bytes = 0;
    for (;;) {
        pop_sent(connection);
        if (connection->first_slot == NULL || !connection->first_slot->is_done) {
            return;
        }
        if (total_bytes >= CONNECTION_WRITE_BYTES_MAX) {
            wait_until_writable(connection); /* the others first */
            return;
        }
        size_t written_bytes = 0;
        bool is_full = false;
        enum err err = write_once(connection, &written_bytes, &is_full);
        if (err == ERR_WOULD_BLOCK) {
            wait_until_writable(connection);
            return;
        }
        if (err != ERR_OK) {
            connection_lost(connection, err);
            return;
        }
        total_bytes += written_bytes;
        connection->last_write_us = loop_now_us(set->config.loop);
        metric_add(set->config.metrics, METRIC_BYTES_OUT, (int64_t)written_bytes);
        if (is_full) {
            wait_until_writable(connection);
            return;
        }
    }
}

void connection_write(struct connection *connection)
{
    bool was_full = connection->in_flight >= connection->set->config.limits->requests_in_flight_max;
    if (!connection->is_write_blocked) {
        write_ready(connection);
    }
    if (connection->state != CONNECTION_OPEN) {
        return;
    }
    if (connection->set->is_stopping && connection->in_flight == 0) {
        connection_close(connection);
    } else if (was_full && connection_may_read(connection)) {
        connection_continue_later(connection);
    }
}

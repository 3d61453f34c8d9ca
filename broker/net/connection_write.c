/* Writing: replies leave in the order of their slots, once per iteration of the loop, so that everything that an iteration
 * answered on one connection goes out with one call.
 */
#include "broker/broker_metrics.h"
#include "broker/net/connection_internal.h"
#include "common/check.h"

#include <utlist.h>

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

/* Up to the next file range, over as many replies as are ready. */
static size_t gather(const struct connection *connection, struct span spans[NET_WRITE_SPANS_MAX], size_t *ret_bytes)
{
    size_t count = 0;
    size_t bytes = 0;
    const struct connection_slot *slot = connection->first_slot;
    for (; slot != NULL && slot->is_done && count < NET_WRITE_SPANS_MAX; slot = slot->next) {
        struct span span = reply_output_next_span(&slot->output);
        if (span.bytes > 0) {
            spans[count++] = span;
            bytes += span.bytes;
        }
        if (slot->output.cut_index < slot->output.cut_count || bytes >= CONNECTION_WRITE_BYTES_MAX) {
            break;
        }
    }
    *ret_bytes = bytes;
    return count;
}

static void pop_sent(struct connection *connection)
{
    while (connection->first_slot != NULL && connection->first_slot->is_done &&
           reply_output_is_sent(&connection->first_slot->output)) {
        connection_slot_pop(connection);
    }
}

static void advance_spans(struct connection *connection, size_t written_bytes)
{
    while (written_bytes > 0) {
        struct connection_slot *slot = connection->first_slot;
        size_t bytes = reply_output_next_span(&slot->output).bytes;
        bytes = bytes < written_bytes ? bytes : written_bytes;
        reply_output_advance_span(&slot->output, bytes);
        written_bytes -= bytes;
        pop_sent(connection);
    }
}

/* One call. *ret_is_full: the socket took less than it was given. */
static enum err write_once(struct connection *connection, size_t *ret_written_bytes, bool *ret_is_full)
{
    struct reply_output *first = &connection->first_slot->output;
    struct file_slice *slice = reply_output_next_file(first);
    size_t written_bytes = 0;
    if (slice != NULL) {
        size_t want_bytes = slice->bytes;
        enum err err = socket_send_file(connection->socket, slice->file, slice->pos, want_bytes, &written_bytes);
        if (err == ERR_OK && written_bytes == 0) {
            err = ERR_CORRUPT; /* the file is shorter than what was promised: the frame can't be completed */
        }
        if (err != ERR_OK) {
            return err;
        }
        reply_output_advance_file(first, written_bytes);
        *ret_is_full = written_bytes < want_bytes;
    } else {
        struct span spans[NET_WRITE_SPANS_MAX];
        size_t want_bytes = 0;
        size_t count = gather(connection, spans, &want_bytes);
        enum err err = socket_writev(connection->socket, spans, count, &written_bytes);
        if (err != ERR_OK) {
            return err;
        }
        advance_spans(connection, written_bytes);
        *ret_is_full = written_bytes < want_bytes;
    }
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

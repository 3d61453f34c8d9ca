/* Reading: bytes from the socket to requests.
 *
 * Many small requests come with one read into the worker's scratch buffer and are copied out, one frame each. A frame of
 * which much is missing is read straight into its own buffer. After a large frame the next read is small: it finds the
 * next size field without copying much of a frame that will be large again.
 *
 * Reading pauses when the connection has as many requests in flight as it may, when it is throttled, and when the broker's
 * memory for requests is used up. What the scratch buffer still holds then is kept aside (at most its size).
 */
#include "broker/broker_metrics.h"
#include "broker/net/connection_internal.h"
#include "common/check.h"
#include "common/mem.h"

#include <stdio.h>

#define LARGE_FRAME_BYTES 32768
#define SMALL_READ_BYTES 1024

static void memory_granted(struct memory_waiter *waiter)
{
    struct connection *connection = CONTAINER_OF(waiter, struct connection, memory_waiter);
    connection->frame_memory_bytes = waiter->bytes;
    connection->last_read_us = loop_now_us(connection->set->config.loop);
    frame_reader_begin(&connection->reader);
    connection_continue_later(connection);
}

void connection_start_reading(struct connection *connection)
{
    const struct connection_limits *limits = connection->set->config.limits;
    frame_reader_init(&connection->reader, connection->is_authenticated ? limits->request_bytes_max
                                                                        : limits->request_bytes_max_unauthenticated);
    connection->memory_waiter.granted = memory_granted;
}

void connection_stop_reading(struct connection *connection)
{
    struct memory_queue *memory = connection->set->config.memory;
    memory_cancel(memory, &connection->memory_waiter);
    frame_reader_done(&connection->reader);
    if (connection->frame_memory_bytes > 0) {
        memory_give(memory, connection->frame_memory_bytes);
        connection->frame_memory_bytes = 0;
    }
    mem_free(connection->held);
    connection->held = NULL;
}

/* False when the connection must wait: then it does. */
static bool take_frame_memory(struct connection *connection)
{
    struct memory_queue *memory = connection->set->config.memory;
    size_t bytes = frame_reader_wanted(&connection->reader);
    if (!memory_try_take(memory, bytes)) {
        metric_add(connection->set->config.metrics, METRIC_MEMORY_WAITS, 1);
        memory_wait(memory, &connection->memory_waiter, bytes);
        return false;
    }
    connection->frame_memory_bytes = bytes;
    frame_reader_begin(&connection->reader);
    return true;
}

static void deliver_frame(struct connection *connection)
{
    struct connection_set *set = connection->set;
    struct shared_bytes *frame = frame_reader_take(&connection->reader);
    size_t memory_bytes = connection->frame_memory_bytes;
    connection->frame_memory_bytes = 0;
    connection->last_frame_bytes = frame->bytes;
    struct connection_slot *slot = connection_slot_open(connection, frame, memory_bytes);
    set->config.sink(set->config.sink_ctx, &slot->request);
    connection_slot_count_arena(slot);
}

static void refuse_frame(struct connection *connection)
{
    char why[256];
    snprintf(why, sizeof(why), "%s (size %d, limit %zu)", frame_reader_complaint(&connection->reader),
             (int)frame_reader_size(&connection->reader), connection->reader.frame_bytes_max);
    connection_refuse(connection, "bad_frame", why);
}

/* Makes requests of the input until it is used up or reading must pause; *input is then what is left. */
static void parse(struct connection *connection, struct span *input)
{
    while (connection_may_read(connection)) {
        switch (frame_reader_feed(&connection->reader, input)) {
        case FRAME_NEEDS_INPUT:
            return;
        case FRAME_NEEDS_MEMORY:
            if (!take_frame_memory(connection)) {
                return;
            }
            break;
        case FRAME_READY:
            deliver_frame(connection);
            break;
        case FRAME_BAD:
            refuse_frame(connection);
            return;
        }
    }
}

void connection_read_held(struct connection *connection)
{
    struct span input = SPAN_NULL;
    if (connection->held != NULL) {
        input = span_make(connection->held + connection->held_pos, connection->held_bytes - connection->held_pos);
    }
    parse(connection, &input); /* also without input: a frame of which all is there may wait for its turn */
    if (connection->state == CONNECTION_CLOSING || connection->held == NULL) {
        return;
    }
    connection->held_pos = connection->held_bytes - input.bytes;
    if (input.bytes == 0) {
        mem_free(connection->held);
        connection->held = NULL;
    }
}

static void hold(struct connection *connection, struct span input)
{
    if (connection->state == CONNECTION_CLOSING || input.bytes == 0) {
        return;
    }
    CHECK(connection->held == NULL);
    connection->held = mem_alloc(input.bytes);
    memcpy(connection->held, input.data, input.bytes);
    connection->held_bytes = input.bytes;
    connection->held_pos = 0;
}

/* One read. *ret_is_drained: the socket had less than what was asked for. */
static enum err read_once(struct connection *connection, bool *ret_is_drained)
{
    struct connection_set *set = connection->set;
    size_t want_bytes = 0;
    size_t got_bytes = 0;
    uint8_t *room = frame_reader_room(&connection->reader, &want_bytes);
    bool is_direct = want_bytes >= CONNECTION_DIRECT_BYTES;
    if (!is_direct) {
        room = set->scratch;
        bool is_large_expected = connection->last_frame_bytes >= LARGE_FRAME_BYTES && want_bytes == 0;
        want_bytes = is_large_expected ? SMALL_READ_BYTES : CONNECTION_SCRATCH_BYTES;
    }
    enum err err = socket_read(connection->socket, room, want_bytes, &got_bytes);
    if (err != ERR_OK) {
        return err;
    }
    metric_add(set->config.metrics, METRIC_BYTES_IN, (int64_t)got_bytes);
    connection->last_read_us = loop_now_us(set->config.loop);
    struct span input = SPAN_NULL;
    if (is_direct) {
        frame_reader_added(&connection->reader, got_bytes);
    } else {
        input = span_make(room, got_bytes);
    }
    parse(connection, &input);
    hold(connection, input);
    *ret_is_drained = got_bytes < want_bytes;
    return ERR_OK;
}

void connection_read(struct connection *connection)
{
    for (unsigned i = 0; i < CONNECTION_READS_MAX; i++) {
        if (!connection_may_read(connection) || connection->held != NULL) {
            break;
        }
        bool is_drained = false;
        enum err err = read_once(connection, &is_drained);
        if (err == ERR_WOULD_BLOCK) {
            break;
        }
        if (err != ERR_OK) {
            connection_lost(connection, err);
            return;
        }
        if (is_drained) {
            break; /* asking again would only cost a call: readiness is level-triggered */
        }
    }
    if (connection->state == CONNECTION_OPEN && frame_reader_is_inside(&connection->reader)) {
        connection_look_within(connection, connection->set->config.limits->read_stall_us);
    }
}

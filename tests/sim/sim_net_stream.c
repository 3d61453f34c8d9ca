/* Connections: pipes, segments, and the calls on sockets. */
#include "tests/sim/sim_net_internal.h"
#include "tests/support/plain_mem.h"

#include <utlist.h>

#define RETRY_US_FIRST 200000u /* TCP's first retransmission */
#define RETRY_US_MOST (2u * SIM_SECOND_US)
#define PARTIAL_ONE_IN 4u
#define SEND_FILE_BYTES_MAX (64u << 10)

static struct sim_end *end_of(struct socket *socket)
{
    return CONTAINER_OF(socket, struct sim_end, base);
}

static struct sim_world *world_of(const struct sim_end *end)
{
    return end->connection->fabric->world;
}

static void trace_end(const struct sim_end *end, const char *what, size_t bytes)
{
    sim_trace_detail(&world_of(end)->trace, world_of(end)->now_us, end->host->name,
                     "%s connection=%" PRIu64 " bytes=%zu", what, end->connection->number, bytes);
}

/* ---- segments ---- */

/* The pipe's event fires at the first segment's arrival. */
static void pipe_arm(struct sim_end *from)
{
    if (from->out.segments != NULL) {
        sim_world_set(world_of(from), &from->out.event, from->out.segments->arrive_us);
    }
}

static void pipe_drop_segments(struct sim_end *from)
{
    while (from->out.segments != NULL) {
        struct sim_segment *segment = from->out.segments;
        DL_DELETE(from->out.segments, segment);
        plain_free(segment);
    }
}

static struct sim_segment *pipe_push(struct sim_end *from, enum sim_segment_kind kind, size_t bytes)
{
    struct sim_world *world = world_of(from);
    struct sim_segment *segment = (struct sim_segment *)plain_zalloc(sizeof(*segment) + bytes);
    segment->kind = kind;
    segment->bytes = bytes;
    uint64_t arrive_us = world->now_us + sim_net_latency_us(from->host, from->peer->host);
    if (prop_chance(&world->prop, sim_net_link(from->host, from->peer->host)->loss_percent, 100)) {
        arrive_us += RETRY_US_FIRST;
    }
    segment->arrive_us = arrive_us > from->out.last_arrive_us ? arrive_us : from->out.last_arrive_us;
    from->out.last_arrive_us = segment->arrive_us;
    DL_APPEND(from->out.segments, segment);
    if (from->out.segments == segment) {
        pipe_arm(from);
    }
    return segment;
}

/* ---- arrival ---- */

static void end_reset(struct sim_end *end)
{
    if (!end->is_reset) {
        end->is_reset = true;
        end->connection->fabric->counts.reset_count++;
        end->received_bytes = 0;
        pipe_drop_segments(end);
        trace_end(end, "reset", 0);
        sim_watch_touch(&end->watch);
    }
}

static void end_receive(struct sim_end *end, const struct sim_segment *segment)
{
    if (end->received_start + end->received_bytes + segment->bytes > end->received_capacity_bytes) {
        if (end->received_bytes > 0) {
            memmove(end->received, end->received + end->received_start, end->received_bytes);
        }
        end->received_start = 0;
        size_t needed_bytes = end->received_bytes + segment->bytes;
        if (needed_bytes > end->received_capacity_bytes) {
            end->received_capacity_bytes = needed_bytes * 2;
            end->received = (uint8_t *)plain_grow(end->received, end->received_capacity_bytes, 1);
        }
    }
    memcpy(end->received + end->received_start + end->received_bytes, segment->data, segment->bytes);
    end->received_bytes += segment->bytes;
    end->connection->fabric->counts.delivered_bytes += segment->bytes;
}

/* A connection is forgotten when nobody holds an end and nothing is under way. */
static void connection_free_if_over(struct sim_connection *connection)
{
    if (connection->ends[0].is_gone && connection->ends[1].is_gone && connection->ends[0].out.segments == NULL &&
        connection->ends[1].out.segments == NULL) {
        sim_connection_free(connection);
    }
}

static void segment_arrives(struct sim_end *from, struct sim_end *to, struct sim_segment *segment)
{
    if (to->is_gone) {
        /* Nobody there: data is answered by a reset, at once for brevity. */
        if (segment->kind == SIM_SEGMENT_DATA && !from->is_gone) {
            end_reset(from);
        }
        return;
    }
    switch (segment->kind) {
    case SIM_SEGMENT_DATA:
        if (!to->is_reset) {
            end_receive(to, segment);
        }
        break;
    case SIM_SEGMENT_FIN:
        to->is_ended = true;
        break;
    case SIM_SEGMENT_RESET:
        end_reset(to);
        break;
    }
    trace_end(to, "arrive", segment->bytes);
    sim_watch_touch(&to->watch);
}

/* Nothing gets through now: try again later, as TCP does, unless the sender's machine is off. */
static void pipe_retry(struct sim_end *from)
{
    if (from->is_silent) {
        pipe_drop_segments(from); /* the caller looks whether that was the last of the connection */
        return;
    }
    struct sim_world *world = world_of(from);
    sim_world_set(world, &from->out.event, world->now_us + from->out.retry_us);
    from->out.retry_us = from->out.retry_us * 2 > RETRY_US_MOST ? RETRY_US_MOST : from->out.retry_us * 2;
}

static void on_pipe_event(struct loop_timer *event)
{
    struct sim_pipe *pipe = CONTAINER_OF(event, struct sim_pipe, event);
    struct sim_end *from = CONTAINER_OF(pipe, struct sim_end, out);
    struct sim_end *to = from->peer;
    if (!to->host->is_on || !sim_net_is_open(from->host, to->host)) {
        pipe_retry(from);
        connection_free_if_over(from->connection);
        return;
    }
    pipe->retry_us = RETRY_US_FIRST;
    if (pipe->ack_debt_bytes > 0 && sim_net_is_open(to->host, from->host)) {
        pipe->unacked_bytes -= pipe->ack_debt_bytes;
        pipe->ack_debt_bytes = 0;
        sim_watch_touch(&from->watch);
    }
    while (pipe->segments != NULL && pipe->segments->arrive_us <= world_of(from)->now_us) {
        struct sim_segment *segment = pipe->segments;
        DL_DELETE(pipe->segments, segment);
        segment_arrives(from, to, segment);
        plain_free(segment);
    }
    pipe_arm(from);
    if (pipe->ack_debt_bytes > 0 && pipe->segments == NULL) {
        pipe_retry(from);
    }
    connection_free_if_over(from->connection);
}

/* ---- the calls on sockets ---- */

static size_t window_left(const struct sim_end *end)
{
    size_t window_bytes = end->connection->fabric->window_bytes;
    return end->out.unacked_bytes < window_bytes ? window_bytes - end->out.unacked_bytes : 0;
}

static unsigned end_possible(struct sim_watch *watch)
{
    const struct sim_end *end = CONTAINER_OF(watch, struct sim_end, watch);
    unsigned events = 0;
    if (end->received_bytes > 0 || end->is_ended || end->is_reset) {
        events |= NET_READABLE;
    }
    if (window_left(end) > 0 || end->is_reset) {
        events |= NET_WRITABLE;
    }
    return events;
}

static void end_on_event(struct sim_watch *watch, unsigned events)
{
    struct sim_end *end = CONTAINER_OF(watch, struct sim_end, watch);
    end->on_ready(end->ctx, events); /* may close the socket */
}

static void sim_attach(struct socket *socket, struct loop *loop, socket_ready_fn on_ready, void *ctx)
{
    struct sim_end *end = end_of(socket);
    CHECK(!end->is_gone && end->on_ready == NULL);
    end->on_ready = on_ready;
    end->ctx = ctx;
    sim_watch_start(&end->watch, loop);
}

static void sim_detach(struct socket *socket)
{
    struct sim_end *end = end_of(socket);
    CHECK(!end->is_gone && end->on_ready != NULL);
    end->on_ready = NULL;
    sim_watch_stop(&end->watch);
}

static void sim_watch_events(struct socket *socket, unsigned events)
{
    struct sim_end *end = end_of(socket);
    CHECK(!end->is_gone && end->on_ready != NULL);
    sim_watch_set(&end->watch, events);
}

/* All of it, or now and then any part. */
static size_t draw_part(struct sim_end *end, size_t bytes, uint64_t *ret_partial_count)
{
    struct prop *prop = &world_of(end)->prop;
    if (bytes > 1 && prop_chance(prop, 1, PARTIAL_ONE_IN)) {
        (*ret_partial_count)++;
        return 1 + (size_t)prop_below(prop, bytes - 1);
    }
    return bytes;
}

/* What was read makes room in the writer's window once the acknowledgement is back. */
static void acknowledge(struct sim_end *writer, struct sim_end *reader, size_t bytes)
{
    if (reader->host->is_on && sim_net_is_open(reader->host, writer->host)) {
        writer->out.unacked_bytes -= bytes;
        sim_watch_touch(&writer->watch);
    } else {
        writer->out.ack_debt_bytes += bytes;
        if (writer->out.event.heap_slot == 0) {
            pipe_retry(writer);
        }
    }
}

static enum err sim_read(struct socket *socket, void *ret_bytes, size_t bytes, size_t *ret_read_bytes)
{
    struct sim_end *end = end_of(socket);
    CHECK(!end->is_gone && bytes > 0);
    if (end->is_reset) {
        return ERR_RESET;
    }
    if (end->received_bytes == 0) {
        return end->is_ended ? ERR_END : ERR_WOULD_BLOCK;
    }
    size_t wanted_bytes = end->received_bytes < bytes ? end->received_bytes : bytes;
    size_t read_bytes = draw_part(end, wanted_bytes, &end->connection->fabric->counts.partial_read_count);
    memcpy(ret_bytes, end->received + end->received_start, read_bytes);
    end->received_start += read_bytes;
    end->received_bytes -= read_bytes;
    trace_end(end, "read", read_bytes);
    acknowledge(end->peer, end, read_bytes);
    *ret_read_bytes = read_bytes;
    return ERR_OK;
}

/* How much of `bytes` a write takes now. */
static enum err write_room(struct sim_end *end, size_t bytes, size_t *ret_bytes)
{
    CHECK(!end->is_gone && bytes > 0);
    if (end->is_reset) {
        return ERR_RESET;
    }
    size_t left_bytes = window_left(end);
    if (left_bytes == 0) {
        return ERR_WOULD_BLOCK;
    }
    *ret_bytes =
        draw_part(end, left_bytes < bytes ? left_bytes : bytes, &end->connection->fabric->counts.partial_write_count);
    return ERR_OK;
}

static enum err sim_writev(struct socket *socket, const struct span *spans, size_t count, size_t *ret_written_bytes)
{
    struct sim_end *end = end_of(socket);
    CHECK(count > 0 && count <= NET_WRITE_SPANS_MAX);
    size_t total_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        total_bytes += spans[i].bytes;
    }
    size_t room_bytes = 0;
    enum err err = write_room(end, total_bytes, &room_bytes);
    if (err != ERR_OK) {
        return err;
    }
    struct sim_segment *segment = pipe_push(end, SIM_SEGMENT_DATA, room_bytes);
    size_t pos = 0;
    for (size_t i = 0; i < count && pos < room_bytes; i++) {
        size_t part_bytes = spans[i].bytes < room_bytes - pos ? spans[i].bytes : room_bytes - pos;
        if (part_bytes > 0) {
            memcpy(segment->data + pos, spans[i].data, part_bytes);
            pos += part_bytes;
        }
    }
    end->out.unacked_bytes += room_bytes;
    trace_end(end, "write", room_bytes);
    *ret_written_bytes = room_bytes;
    return ERR_OK;
}

static enum err sim_send_file(struct socket *socket, struct file *file, uint64_t pos, size_t bytes,
                              size_t *ret_written_bytes)
{
    struct sim_end *end = end_of(socket);
    size_t room_bytes = 0;
    enum err err = write_room(end, bytes < SEND_FILE_BYTES_MAX ? bytes : SEND_FILE_BYTES_MAX, &room_bytes);
    if (err != ERR_OK) {
        return err;
    }
    uint8_t *buffer = (uint8_t *)plain_zalloc(room_bytes);
    size_t read_bytes = 0;
    err = file_pread(file, buffer, room_bytes, pos, &read_bytes);
    if (err == ERR_OK && read_bytes == 0) {
        err = ERR_END;
    }
    if (err == ERR_OK) {
        struct sim_segment *segment = pipe_push(end, SIM_SEGMENT_DATA, read_bytes);
        memcpy(segment->data, buffer, read_bytes);
        end->out.unacked_bytes += read_bytes;
        trace_end(end, "send_file", read_bytes);
        *ret_written_bytes = read_bytes;
    }
    plain_free(buffer);
    return err;
}

static void sim_peer(struct socket *socket, struct net_address *ret_address)
{
    *ret_address = end_of(socket)->remote;
}

static void sim_local(struct socket *socket, struct net_address *ret_address)
{
    *ret_address = end_of(socket)->local;
}

static void sim_close(struct socket *socket)
{
    CHECK(!end_of(socket)->is_gone);
    sim_end_leave(end_of(socket), false);
}

static const struct socket_ops sim_socket_ops = {
    .attach = sim_attach,
    .detach = sim_detach,
    .watch = sim_watch_events,
    .read = sim_read,
    .writev = sim_writev,
    .send_file = sim_send_file,
    .peer = sim_peer,
    .local = sim_local,
    .close = sim_close,
};

/* ---- life and death ---- */

static void end_init(struct sim_end *end, struct sim_connection *connection, struct sim_host *host,
                     struct sim_end *peer, const struct net_address *local, const struct net_address *remote)
{
    end->base.ops = &sim_socket_ops;
    end->connection = connection;
    end->host = host;
    end->peer = peer;
    end->out.event.fire = on_pipe_event;
    end->out.retry_us = RETRY_US_FIRST;
    end->watch.possible = end_possible;
    end->watch.on_event = end_on_event;
    end->local = *local;
    end->remote = *remote;
    host->socket_count++;
}

struct sim_connection *sim_connection_new(struct sim_host *from, struct sim_host *to, const struct net_address *local,
                                          const struct net_address *remote)
{
    struct sim_fabric *fabric = from->fabric;
    struct sim_connection *connection = PLAIN_NEW(struct sim_connection);
    connection->fabric = fabric;
    connection->number = ++fabric->connection_number;
    fabric->counts.connection_count++;
    end_init(&connection->ends[0], connection, from, &connection->ends[1], local, remote);
    end_init(&connection->ends[1], connection, to, &connection->ends[0], remote, local);
    DL_APPEND(fabric->connections, connection);
    return connection;
}

void sim_connection_free(struct sim_connection *connection)
{
    for (int i = 0; i < 2; i++) {
        struct sim_end *end = &connection->ends[i];
        sim_world_cancel(connection->fabric->world, &end->out.event);
        pipe_drop_segments(end);
        sim_watch_stop(&end->watch);
        plain_free(end->received);
        if (!end->is_gone) {
            end->host->socket_count--;
        }
    }
    DL_DELETE(connection->fabric->connections, connection);
    plain_free(connection);
}

static void end_forget(struct sim_end *end)
{
    CHECK(!end->is_gone);
    end->is_gone = true;
    end->host->socket_count--;
    sim_watch_stop(&end->watch);
}

void sim_end_leave(struct sim_end *end, bool is_forced)
{
    trace_end(end, "close", end->received_bytes);
    end_forget(end);
    if (!end->is_reset) {
        /* Closing with unread bytes is a reset, as in every TCP: and what was still to be sent is lost with it. */
        bool is_reset = is_forced || end->received_bytes > 0;
        if (is_reset) {
            pipe_drop_segments(end);
        }
        (void)pipe_push(end, is_reset ? SIM_SEGMENT_RESET : SIM_SEGMENT_FIN, 0);
    }
    connection_free_if_over(end->connection);
}

void sim_end_vanish(struct sim_end *end)
{
    end_forget(end);
    end->is_silent = true;
    connection_free_if_over(end->connection);
}

void sim_connection_cut(struct sim_connection *connection)
{
    struct sim_world *world = connection->fabric->world;
    for (int i = 0; i < 2; i++) {
        struct sim_end *from = &connection->ends[i];
        uint64_t count = 0;
        struct sim_segment *segment = NULL;
        DL_COUNT(from->out.segments, segment, count);
        uint64_t arriving_count = prop_below(&world->prop, count + 1);
        while (arriving_count-- > 0 && !from->peer->is_gone && !from->peer->is_reset) {
            segment = from->out.segments;
            DL_DELETE(from->out.segments, segment);
            segment_arrives(from, from->peer, segment);
            plain_free(segment);
        }
    }
    end_reset(&connection->ends[0]);
    end_reset(&connection->ends[1]);
}

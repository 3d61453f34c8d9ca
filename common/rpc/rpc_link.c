/* Where callbacks may come from: only from the loop, that is from `on_ready`, `later` and the stall timer; never from a call of the
 * owner (send, flush, resume). What such a call finds out (the socket broke, the queue fell to the mark) is told by `later`, in the same
 * or the next iteration. So an owner may walk over its links and send without any of them going away under its hands.
 *
 * Freeing: a callback may free its link. The socket is closed and forgotten at once; the memory (with the buffer that the frame in
 * hand points into) goes when the last function of the link has left the stack and `later` is not queued.
 *
 * Turns: one iteration reads at most READ_BYTES_MAX, hands out at most READ_FRAMES_MAX frames and writes at most
 * WRITE_BYTES_MAX; then the others of the loop have their turn.
 */
#include "common/rpc/rpc_link.h"

#include "common/logger.h"
#include "common/mem.h"
#include "common/rpc/rpc_frame.h"
#include "common/rpc/rpc_input.h"
#include "common/rpc/rpc_output.h"

#define READ_BYTES_MAX (1u << 20)
#define READ_FRAMES_MAX 64u
#define WRITE_BYTES_MAX (1u << 20)

struct rpc_link {
    struct rpc_link_config config;
    struct rpc_link_events events;
    struct rpc_hello peer;
    struct net_address peer_address;
    struct socket *socket; /* NULL when it is broken or freed */
    struct rpc_input input;
    struct rpc_output output;
    size_t low_mark_bytes;
    bool is_above_mark;
    bool is_drained_due; /* on_drained is to be called */
    bool is_paused;
    bool is_write_blocked; /* the socket takes no more, or the link had its turn: wait until it is writable */
    bool is_freed;
    enum err broken_err; /* ERR_OK while it is open */
    bool is_closed_told;
    unsigned depth; /* functions of the link on the stack that may call back */
    uint64_t progress_us;
    struct loop_timer stall_timer;
    struct loop_task later;
};

static bool is_open(const struct rpc_link *link)
{
    return link->socket != NULL;
}

static bool may_read(const struct rpc_link *link)
{
    return is_open(link) && !link->is_paused && link->events.on_frame != NULL;
}

static void update_watch(struct rpc_link *link)
{
    if (is_open(link)) {
        socket_watch(link->socket, (may_read(link) ? NET_READABLE : 0u) | (link->is_write_blocked ? NET_WRITABLE : 0u));
    }
}

static void close_socket(struct rpc_link *link)
{
    if (is_open(link)) {
        socket_close(link->socket);
        link->socket = NULL;
    }
    loop_timer_cancel(link->config.loop, &link->stall_timer);
    rpc_output_done(&link->output);
}

static void break_link(struct rpc_link *link, enum err err)
{
    CHECK(is_open(link) && err != ERR_OK);
    link->broken_err = err;
    close_socket(link);
}

static void log_peer(struct rpc_link *link, const char *event, const char *reason)
{
    log_warn(link->config.logger, "rpc", event, "peer=%s:%u node_id=%d kind=%d reason=%s", link->peer_address.host,
             link->peer_address.port, link->peer.node_id, (int)link->peer.kind, reason);
}

/* ---- callbacks and the end ---- */

static void enter(struct rpc_link *link)
{
    link->depth++;
}

static void free_when_unused(struct rpc_link *link)
{
    if (link->is_freed && link->depth == 0 && !link->later.is_queued) {
        rpc_input_done(&link->input);
        mem_free(link);
    }
}

static void leave(struct rpc_link *link)
{
    CHECK(link->depth > 0);
    link->depth--;
    free_when_unused(link);
}

/* What is due to be told; only from the loop. */
static void tell(struct rpc_link *link)
{
    if (!link->is_freed && is_open(link) && link->is_drained_due) {
        link->is_drained_due = false;
        if (link->events.on_drained != NULL) {
            link->events.on_drained(link->events.ctx);
        }
    }
    if (!link->is_freed && link->broken_err != ERR_OK && !link->is_closed_told && link->events.on_closed != NULL) {
        link->is_closed_told = true;
        link->events.on_closed(link->events.ctx, link->broken_err);
    }
}

/* ---- reading ---- */

/* Hands out what is read, up to the turn's share; false when the rest must wait. */
static bool deliver(struct rpc_link *link, unsigned *frame_count)
{
    struct rpc_frame frame;
    const char *reason = NULL;
    while (may_read(link)) {
        if (*frame_count == READ_FRAMES_MAX) {
            loop_defer(link->config.loop, &link->later);
            return false;
        }
        switch (rpc_input_next(&link->input, &frame, &reason)) {
        case RPC_INPUT_NEEDS_BYTES:
            return true;
        case RPC_INPUT_READY:
            (*frame_count)++;
            link->events.on_frame(link->events.ctx, &frame);
            break;
        case RPC_INPUT_BAD:
            log_peer(link, "malformed_frame", reason);
            break_link(link, ERR_MALFORMED);
            break;
        }
    }
    return false;
}

static void read_frames(struct rpc_link *link)
{
    unsigned frame_count = 0;
    size_t total_bytes = 0;
    bool is_drained = false; /* asking the socket again would only cost a call: readiness is level-triggered */
    while (deliver(link, &frame_count) && !is_drained && total_bytes < READ_BYTES_MAX) {
        size_t room_bytes = 0;
        size_t read_bytes = 0;
        uint8_t *room = rpc_input_room(&link->input, &room_bytes);
        enum err err = socket_read(link->socket, room, room_bytes, &read_bytes);
        if (err == ERR_WOULD_BLOCK) {
            break;
        }
        if (err != ERR_OK) {
            break_link(link, err);
            break;
        }
        rpc_input_added(&link->input, read_bytes);
        total_bytes += read_bytes;
        is_drained = read_bytes < room_bytes;
    }
    rpc_input_rest(&link->input);
}

/* ---- writing ---- */

static enum err write_file(struct rpc_link *link, const struct rpc_output_piece *piece, size_t *ret_written_bytes)
{
    enum err err = socket_send_file(link->socket, piece->file, piece->pos, piece->file_bytes, ret_written_bytes);
    /* The file is shorter than what was promised: the frame can't be completed. */
    return err == ERR_END ? ERR_CORRUPT : err;
}

/* One call. *ret_is_full: the socket took less than it was given. */
static enum err write_once(struct rpc_link *link, size_t *ret_written_bytes, bool *ret_is_full)
{
    struct span spans[NET_WRITE_SPANS_MAX];
    size_t wanted_bytes = 0;
    enum err err;
    const struct rpc_output_piece *piece = rpc_output_next_file(&link->output);
    if (piece != NULL) {
        wanted_bytes = piece->file_bytes;
        err = write_file(link, piece, ret_written_bytes);
    } else {
        size_t count = rpc_output_gather(&link->output, spans, ARRAY_COUNT(spans), WRITE_BYTES_MAX, &wanted_bytes);
        err = socket_writev(link->socket, spans, count, ret_written_bytes);
    }
    if (err != ERR_OK) {
        return err;
    }
    rpc_output_advance(&link->output, *ret_written_bytes);
    *ret_is_full = *ret_written_bytes < wanted_bytes;
    return ERR_OK;
}

static void look_at_mark(struct rpc_link *link)
{
    if (link->is_above_mark && link->output.queued_bytes <= link->low_mark_bytes) {
        link->is_above_mark = false;
        link->is_drained_due = true;
    }
}

/* Writes until nothing waits, the socket is full, or the link had its turn. Calls nobody back. */
static void write_queued(struct rpc_link *link)
{
    size_t total_bytes = 0;
    while (is_open(link) && !link->is_write_blocked && link->output.queued_bytes > 0) {
        size_t written_bytes = 0;
        bool is_full = false;
        enum err err = write_once(link, &written_bytes, &is_full);
        if (err != ERR_OK && err != ERR_WOULD_BLOCK) {
            break_link(link, err);
            return;
        }
        if (written_bytes > 0) {
            link->progress_us = loop_now_us(link->config.loop);
        }
        total_bytes += written_bytes;
        link->is_write_blocked = err == ERR_WOULD_BLOCK || is_full || total_bytes >= WRITE_BYTES_MAX;
    }
    look_at_mark(link);
}

static void on_stall_timer(struct loop_timer *timer)
{
    struct rpc_link *link = CONTAINER_OF(timer, struct rpc_link, stall_timer);
    if (link->output.queued_bytes == 0) {
        return;
    }
    uint64_t deadline_us = link->progress_us + link->config.stall_us;
    if (loop_now_us(link->config.loop) < deadline_us) {
        loop_timer_set(link->config.loop, timer, deadline_us);
        return;
    }
    enter(link);
    log_peer(link, "link_stalled", "nothing_taken_in_time");
    break_link(link, ERR_TIMEOUT);
    tell(link);
    leave(link);
}

/* Bytes have been queued. The timer is not moved on every send: it looks for itself how long nothing moved. */
static void watch_for_stall(struct rpc_link *link, size_t queued_before_bytes)
{
    if (queued_before_bytes == 0) {
        link->progress_us = loop_now_us(link->config.loop);
    }
    if (link->stall_timer.heap_slot == 0) {
        loop_timer_set(link->config.loop, &link->stall_timer, link->progress_us + link->config.stall_us);
    }
}

/* ---- the loop's calls ---- */

static void on_ready(void *ctx, unsigned events)
{
    struct rpc_link *link = ctx;
    enter(link);
    if ((events & NET_READABLE) != 0) {
        read_frames(link); /* before writing: what a peer said before it went must not be lost to the broken write */
    }
    if ((events & NET_WRITABLE) != 0) {
        link->is_write_blocked = false;
        write_queued(link);
    }
    tell(link);
    update_watch(link);
    leave(link);
}

static void run_later(struct loop_task *task)
{
    struct rpc_link *link = CONTAINER_OF(task, struct rpc_link, later);
    enter(link);
    unsigned frame_count = 0;
    if (deliver(link, &frame_count)) {
        rpc_input_rest(&link->input);
    }
    write_queued(link);
    tell(link);
    update_watch(link);
    leave(link);
}

/* ---- the owner's calls ---- */

static size_t body_bytes_of(const struct rpc_piece *body, size_t piece_count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < piece_count; i++) {
        bytes += body[i].file != NULL ? body[i].file_bytes : body[i].bytes.bytes;
    }
    return bytes;
}

static void queue_piece(struct rpc_link *link, const struct rpc_piece *piece)
{
    if (piece->file != NULL) {
        rpc_output_file(&link->output, piece->file, piece->pos, piece->file_bytes);
    } else if (piece->shared != NULL) {
        rpc_output_share(&link->output, piece->shared, piece->bytes);
    } else {
        rpc_output_copy(&link->output, piece->bytes);
    }
}

void rpc_link_send(struct rpc_link *link, uint16_t type, struct span header, const struct rpc_piece *body,
                   size_t piece_count)
{
    uint8_t prefix[RPC_PREFIX_BYTES];
    size_t body_bytes = body_bytes_of(body, piece_count);
    CHECK(!link->is_freed && header.bytes <= RPC_HEADER_BYTES_MAX);
    CHECK(body_bytes <= RPC_FRAME_BYTES_MAX - RPC_PREFIX_BYTES - header.bytes);
    if (!is_open(link)) {
        return; /* on_closed tells, or has told */
    }
    size_t queued_before_bytes = link->output.queued_bytes;
    rpc_frame_put(prefix, type, header, body_bytes);
    rpc_output_copy(&link->output, span_make(prefix, sizeof(prefix)));
    rpc_output_copy(&link->output, header);
    for (size_t i = 0; i < piece_count; i++) {
        queue_piece(link, &body[i]);
    }
    link->is_above_mark = link->is_above_mark || link->output.queued_bytes > link->low_mark_bytes;
    watch_for_stall(link, queued_before_bytes);
    loop_defer(link->config.loop, &link->later);
}

void rpc_link_flush(struct rpc_link *link)
{
    if (!is_open(link)) {
        return;
    }
    write_queued(link);
    update_watch(link);
    bool has_news = !is_open(link) || (link->is_drained_due && link->events.on_drained != NULL);
    if (has_news) {
        loop_defer(link->config.loop, &link->later);
    }
}

size_t rpc_link_queued_bytes(const struct rpc_link *link)
{
    return link->output.queued_bytes;
}

void rpc_link_set_low_mark(struct rpc_link *link, size_t bytes)
{
    link->low_mark_bytes = bytes;
    link->is_above_mark = link->is_above_mark || link->output.queued_bytes > bytes;
    look_at_mark(link);
    loop_defer(link->config.loop, &link->later);
}

void rpc_link_pause(struct rpc_link *link)
{
    link->is_paused = true;
    update_watch(link);
}

void rpc_link_resume(struct rpc_link *link)
{
    link->is_paused = false;
    update_watch(link);
    loop_defer(link->config.loop, &link->later); /* frames may wait in the buffer */
}

void rpc_link_set_events(struct rpc_link *link, const struct rpc_link_events *events)
{
    CHECK(events->on_frame != NULL && events->on_closed != NULL);
    link->events = *events;
    update_watch(link);
    loop_defer(link->config.loop, &link->later);
}

const struct rpc_hello *rpc_link_peer(const struct rpc_link *link)
{
    return &link->peer;
}

void rpc_link_peer_address(const struct rpc_link *link, struct net_address *ret_address)
{
    *ret_address = link->peer_address;
}

struct rpc_link *rpc_link_new(const struct rpc_link_config *config, struct socket *socket, const struct rpc_hello *peer,
                              const struct rpc_link_events *events)
{
    struct rpc_link *link = MEM_NEW(struct rpc_link);
    link->config = *config;
    link->config.stall_us = config->stall_us == 0 ? RPC_STALL_US : config->stall_us;
    link->socket = socket;
    link->peer = *peer;
    link->peer.authentication = SPAN_NULL; /* points into the hello's bytes */
    link->stall_timer.fire = on_stall_timer;
    link->later.run = run_later;
    rpc_input_init(&link->input);
    socket_peer(socket, &link->peer_address);
    socket_attach(socket, config->loop, on_ready, link);
    if (events != NULL) {
        rpc_link_set_events(link, events);
    }
    return link;
}

void rpc_link_free(struct rpc_link *link)
{
    if (link == NULL) {
        return;
    }
    CHECK(!link->is_freed);
    if (is_open(link)) {
        write_queued(link);
    }
    close_socket(link);
    link->is_freed = true;
    free_when_unused(link);
}

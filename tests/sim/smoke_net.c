/* The net loop: frames over sockets. A link is a socket with its buffers; the node that connected is the writer.
 *
 *     writer                                   reader
 *       HELLO ------------------------------->
 *             <------------------------------- HELLO (the last number it has passed to its notes)
 *       ENTRY 8, ENTRY 9, ... ---------------->
 *             <------------------------------- ACKNOWLEDGE 9
 */
#include "common/big_endian.h"
#include "common/bytebuf.h"
#include "common/mem.h"
#include "common/seam/rng.h"
#include "tests/sim/smoke_node_internal.h"

#include <stdio.h>

#define FRAME_HEAD_BYTES 14u /* length of the rest, kind, writer, number */
#define FRAME_BYTES_MAX (FRAME_HEAD_BYTES + SMOKE_PAYLOAD_BYTES_MAX)
#define LINK_BYTES_MAX (64u << 10)
#define UNACKNOWLEDGED_MAX 16u
#define CONNECT_TIMEOUT_US 1500000u
#define RETRY_US_MOST 200000u
#define WRITE_EVERY_US_MOST 20000u
/* A writer that hears nothing for so long connects again: the other machine may be gone without a word. */
#define SILENCE_US_MOST 3000000u

enum frame_kind { FRAME_HELLO = 1, FRAME_ENTRY = 2, FRAME_ACKNOWLEDGE = 3 };

struct smoke_link {
    struct smoke_node *node;
    struct socket *socket;
    struct smoke_writer *writer; /* NULL: this is the reader's side */
    unsigned peer;               /* reader's side: whose entries; node_count before the hello */
    bool is_greeted;
    uint64_t heard_us;
    struct bytebuf in;
    struct bytebuf out;
};

static void writer_send_more(struct smoke_writer *writer);

static void writer_arm(struct smoke_writer *writer, uint64_t delay_us_most)
{
    struct loop *loop = writer->node->net_loop;
    uint64_t delay_us = 1 + rng_below(writer->node->env->rng, delay_us_most);
    loop_timer_set(loop, &writer->timer, loop_now_us(loop) + delay_us);
}

static void link_close(struct smoke_link *link)
{
    struct smoke_node *node = link->node;
    if (link->writer != NULL) {
        link->writer->link = NULL;
        writer_arm(link->writer, RETRY_US_MOST);
    } else if (link->peer < node->options.node_count && node->readers[link->peer] == link) {
        node->readers[link->peer] = NULL;
    }
    socket_close(link->socket);
    bytebuf_done(&link->in);
    bytebuf_done(&link->out);
    mem_free(link);
}

/* ---- sending ---- */

static enum err link_flush(struct smoke_link *link)
{
    while (link->out.bytes > 0) {
        /* Two spans, so that gathering writes are cut anywhere too. */
        size_t half_bytes = link->out.bytes / 2;
        struct span all = bytebuf_span(&link->out);
        struct span spans[2] = {span_sub(all, 0, half_bytes), span_sub(all, half_bytes, all.bytes - half_bytes)};
        size_t written_bytes = 0;
        enum err err = socket_writev(link->socket, spans, 2, &written_bytes);
        if (err == ERR_WOULD_BLOCK) {
            break;
        }
        if (err != ERR_OK) {
            return err;
        }
        bytebuf_drop_front(&link->out, written_bytes);
    }
    socket_watch(link->socket, NET_READABLE | (link->out.bytes > 0 ? NET_WRITABLE : 0u));
    return ERR_OK;
}

static void link_put(struct smoke_link *link, enum frame_kind kind, unsigned writer, uint64_t number,
                     struct span payload)
{
    uint8_t head[FRAME_HEAD_BYTES];
    be32_put(head, (uint32_t)(FRAME_HEAD_BYTES - 4 + payload.bytes));
    head[4] = (uint8_t)kind;
    head[5] = (uint8_t)writer;
    be64_put(head + 6, number);
    CHECK(bytebuf_append(&link->out, span_make(head, sizeof(head))) == ERR_OK);
    CHECK(bytebuf_append(&link->out, payload) == ERR_OK);
}

static void writer_send_more(struct smoke_writer *writer)
{
    struct smoke_link *link = writer->link;
    if (link == NULL || !link->is_greeted) {
        return;
    }
    uint64_t known_number =
        writer->acknowledged_number > writer->greeted_number ? writer->acknowledged_number : writer->greeted_number;
    writer_arm(writer, WRITE_EVERY_US_MOST);
    if (writer->next_number > known_number + UNACKNOWLEDGED_MAX) {
        return;
    }
    uint8_t payload[SMOKE_PAYLOAD_BYTES_MAX];
    uint32_t payload_bytes = smoke_payload(writer->node->options.index, writer->next_number, payload);
    link_put(link, FRAME_ENTRY, writer->node->options.index, writer->next_number, span_make(payload, payload_bytes));
    writer->next_number++;
    if (link_flush(link) != ERR_OK) {
        link_close(link);
    }
}

void smoke_net_acknowledge(struct smoke_node *node, unsigned writer, uint64_t number)
{
    node->events.on_acknowledge(node->events.ctx, node->options.index, writer, number);
    struct smoke_link *link = node->readers[writer];
    if (link == NULL) {
        return; /* it will hear of it by the hello of its next link */
    }
    link_put(link, FRAME_ACKNOWLEDGE, writer, number, span_make("", 0));
    if (link_flush(link) != ERR_OK) {
        link_close(link);
    }
}

/* ---- receiving ---- */

static bool link_take_hello_of_writer(struct smoke_link *link, unsigned writer)
{
    struct smoke_node *node = link->node;
    if (writer >= node->options.node_count || link->peer != node->options.node_count) {
        return false;
    }
    if (node->readers[writer] != NULL) {
        link_close(node->readers[writer]); /* a newer link of the same writer wins */
    }
    link->peer = writer;
    node->readers[writer] = link;
    link_put(link, FRAME_HELLO, writer, node->greeted_number[writer], span_make("", 0));
    return true;
}

static bool link_take_entry(struct smoke_link *link, unsigned writer, uint64_t number, struct span payload)
{
    struct smoke_node *node = link->node;
    if (writer != link->peer || number != node->greeted_number[writer] + 1) {
        return false;
    }
    node->greeted_number[writer] = number;
    smoke_notes_submit(&node->notes[writer], number, payload.data, (uint32_t)payload.bytes);
    return true;
}

static void writer_take_acknowledgement(struct smoke_writer *writer, uint64_t number)
{
    if (number > writer->acknowledged_number) {
        writer->acknowledged_number = number;
        struct smoke_events *events = &writer->node->events;
        events->on_acknowledged(events->ctx, writer->target, writer->node->options.index, number);
    }
}

/* False: the link must close. It may have closed itself (ret_is_closed) when sending failed. */
static bool link_take_frame(struct smoke_link *link, const uint8_t *frame, size_t bytes, bool *ret_is_closed)
{
    enum frame_kind kind = (enum frame_kind)frame[0];
    unsigned writer = frame[1];
    uint64_t number = be64_get(frame + 2);
    struct span payload = span_make(frame + 10, bytes - 10);
    struct smoke_writer *own = link->writer;
    if (own == NULL) {
        return kind == FRAME_HELLO   ? link_take_hello_of_writer(link, writer)
               : kind == FRAME_ENTRY ? link_take_entry(link, writer, number, payload)
                                     : false;
    }
    if (kind == FRAME_HELLO && !link->is_greeted) {
        link->is_greeted = true;
        own->next_number = number + 1;
        own->greeted_number = number;
        writer_send_more(own);
    } else if (kind == FRAME_ACKNOWLEDGE && link->is_greeted) {
        writer_take_acknowledgement(own, number);
    } else {
        return false;
    }
    *ret_is_closed = own->link != link;
    return true;
}

/* False: the link is closed. */
static bool link_take_frames(struct smoke_link *link)
{
    while (link->in.bytes >= 4) {
        uint32_t bytes = be32_get(link->in.data);
        if (bytes < FRAME_HEAD_BYTES - 4 || bytes > FRAME_BYTES_MAX) {
            link_close(link);
            return false;
        }
        if (link->in.bytes < 4 + (size_t)bytes) {
            break;
        }
        uint8_t frame[FRAME_BYTES_MAX];
        memcpy(frame, link->in.data + 4, bytes);
        bytebuf_drop_front(&link->in, 4 + (size_t)bytes);
        bool is_closed = false;
        if (!link_take_frame(link, frame, bytes, &is_closed)) {
            link_close(link);
            return false;
        }
        if (is_closed) {
            return false;
        }
    }
    return true;
}

static enum err link_read(struct smoke_link *link)
{
    uint8_t *room = NULL;
    enum err err = bytebuf_reserve(&link->in, 512, &room);
    CHECK(err == ERR_OK);
    size_t read_bytes = 0;
    err = socket_read(link->socket, room, 512, &read_bytes);
    if (err == ERR_OK) {
        bytebuf_added(&link->in, read_bytes);
        link->heard_us = loop_now_us(link->node->net_loop);
    }
    return err;
}

static void on_link_ready(void *ctx, unsigned events)
{
    struct smoke_link *link = (struct smoke_link *)ctx;
    if ((events & NET_READABLE) != 0) {
        enum err err = link_read(link);
        if (err != ERR_OK && err != ERR_WOULD_BLOCK) {
            link_close(link);
            return;
        }
        if (!link_take_frames(link)) {
            return;
        }
    }
    if (link_flush(link) != ERR_OK) {
        link_close(link);
    }
}

static struct smoke_link *link_new(struct smoke_node *node, struct socket *socket, struct smoke_writer *writer)
{
    struct smoke_link *link = MEM_NEW(struct smoke_link);
    link->node = node;
    link->socket = socket;
    link->writer = writer;
    link->peer = node->options.node_count;
    link->heard_us = loop_now_us(node->net_loop);
    bytebuf_init(&link->in, LINK_BYTES_MAX);
    bytebuf_init(&link->out, LINK_BYTES_MAX);
    socket_attach(socket, node->net_loop, on_link_ready, link);
    socket_watch(socket, NET_READABLE);
    return link;
}

static void on_accept(void *ctx, struct socket *socket)
{
    (void)link_new((struct smoke_node *)ctx, socket, NULL);
}

static void on_connected(void *ctx, enum err err, struct socket *socket)
{
    struct smoke_writer *writer = (struct smoke_writer *)ctx;
    if (err != ERR_OK) {
        writer_arm(writer, RETRY_US_MOST);
        return;
    }
    writer->link = link_new(writer->node, socket, writer);
    link_put(writer->link, FRAME_HELLO, writer->node->options.index, 0, span_make("", 0));
    if (link_flush(writer->link) != ERR_OK) {
        link_close(writer->link);
        return;
    }
    writer_arm(writer, SILENCE_US_MOST);
}

static void on_writer_timer(struct loop_timer *timer)
{
    struct smoke_writer *writer = CONTAINER_OF(timer, struct smoke_writer, timer);
    struct smoke_node *node = writer->node;
    if (writer->link == NULL) {
        net_connect(node->env->net, node->net_loop, node->options.addresses[writer->target], SMOKE_PORT,
                    CONNECT_TIMEOUT_US, on_connected, writer);
        return;
    }
    if (loop_now_us(node->net_loop) - writer->link->heard_us > SILENCE_US_MOST) {
        link_close(writer->link);
        return;
    }
    writer_arm(writer, SILENCE_US_MOST);
    writer_send_more(writer);
}

void smoke_net_start(struct smoke_node *node)
{
    enum err err = net_listen(node->env->net, node->net_loop, node->options.addresses[node->options.index], SMOKE_PORT,
                              on_accept, node, &node->listener);
    CHECK(err == ERR_OK);
    for (unsigned target = 0; target < node->options.node_count; target++) {
        struct smoke_writer *writer = &node->writers[target];
        writer->node = node;
        writer->target = target;
        writer->timer.fire = on_writer_timer;
        node->greeted_number[target] = node->notes[target].last_number;
        if (target != node->options.index) {
            writer_arm(writer, RETRY_US_MOST);
        }
    }
}

#include "tests/fuzz/frame_link.h"

#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/wire/frame.h"
#include "proto/wire/header.h"
#include "tests/fuzz/answer_judge.h"

#include <utlist.h>

#define LINK_BYTES_MAX (64u << 20)
#define CONNECT_TIMEOUT_US 2000000u
#define READ_BYTES 16384u
#define CALL_US (60u * SIM_SECOND_US)
#define ANSWER_BYTES_MAX (16u << 20)

/* ---- the end of a connection ---- */

static void forget_asked(struct frame_link *link)
{
    while (link->asked != NULL) {
        struct frame_asked *asked = link->asked;
        DL_DELETE(link->asked, asked);
        mem_free(asked);
    }
}

/* Nobody loses a connection with requests under way unless one of them, or what came behind them, deserves it. */
static bool has_reason_to_close(const struct frame_link *link)
{
    const struct frame_asked *asked = NULL;
    DL_FOREACH (link->asked, asked) {
        if (asked->is_refused || asked->is_silent) {
            return true;
        }
    }
    return link->asked == NULL || link->is_broken || link->unframed.bytes > 0;
}

static void closed_by_broker(struct frame_link *link)
{
    if (link->is_judged && !has_reason_to_close(link)) {
        char text[128];
        frame_link_describe(link, text, sizeof(text));
        lone_node_problem(link->node, "the connection was closed instead of an answer to %s", text);
    }
    socket_close(link->socket);
    link->socket = NULL;
    link->is_closed = true;
    forget_asked(link);
}

/* ---- answers ---- */

static void take_answer(struct frame_link *link, struct span frame)
{
    while (link->asked != NULL && link->asked->is_silent) { /* passed without a word */
        struct frame_asked *silent = link->asked;
        DL_DELETE(link->asked, silent);
        mem_free(silent);
    }
    struct frame_asked *asked = link->asked;
    if (asked == NULL || asked->is_refused) {
        lone_node_problem(link->node, "an answer of %zu bytes to what %s", frame.bytes,
                          asked == NULL ? "nobody asked" : "is not served or can't be decoded");
    }
    struct reader reader;
    int32_t correlation_id = 0;
    reader_init(&reader, frame);
    enum err err = header_response_decode(&reader, asked->api->key, asked->api_version, &correlation_id);
    if (err != ERR_OK || correlation_id != asked->correlation_id) {
        lone_node_problem(link->node, "the answer to %s version %d carries correlation id %d, not %d", asked->api->name,
                          asked->api_version, correlation_id, asked->correlation_id);
    }
    bytebuf_clear(&link->last_body);
    err = bytebuf_append(&link->last_body, span_sub(frame, reader.pos, frame.bytes - reader.pos));
    CHECK(err == ERR_OK);
    answer_judge_body(link->node, asked, &reader, link->notes);
    link->notes->answer_count++;
    DL_DELETE(link->asked, asked);
    mem_free(asked);
}

static void take_answers(struct frame_link *link)
{
    size_t body_bytes = 0;
    for (;;) {
        enum err err = frame_peek(bytebuf_span(&link->in), ANSWER_BYTES_MAX, &body_bytes);
        if (err == ERR_INCOMPLETE || (err == ERR_OK && link->in.bytes < FRAME_SIZE_BYTES + body_bytes)) {
            return;
        }
        if (err != ERR_OK) {
            lone_node_problem(link->node, "the broker sends what is no frame: %s", err_text(err));
        }
        take_answer(link, span_make(link->in.data + FRAME_SIZE_BYTES, body_bytes));
        bytebuf_drop_front(&link->in, FRAME_SIZE_BYTES + body_bytes);
    }
}

/* ---- the socket ---- */

static void flush(struct frame_link *link)
{
    while (link->out.bytes > 0) {
        struct span span = bytebuf_span(&link->out);
        size_t written_bytes = 0;
        enum err err = socket_writev(link->socket, &span, 1, &written_bytes);
        if (err == ERR_WOULD_BLOCK) {
            break;
        }
        if (err != ERR_OK) {
            closed_by_broker(link);
            return;
        }
        bytebuf_drop_front(&link->out, written_bytes);
    }
    socket_watch(link->socket, NET_READABLE | (link->out.bytes > 0 ? NET_WRITABLE : 0u));
}

static void on_socket(void *ctx, unsigned events)
{
    struct frame_link *link = (struct frame_link *)ctx;
    if ((events & NET_READABLE) != 0) {
        uint8_t *room = NULL;
        size_t read_bytes = 0;
        enum err err = bytebuf_reserve(&link->in, READ_BYTES, &room);
        CHECK(err == ERR_OK);
        err = socket_read(link->socket, room, READ_BYTES, &read_bytes);
        if (err != ERR_OK && err != ERR_WOULD_BLOCK) {
            closed_by_broker(link);
            return;
        }
        bytebuf_added(&link->in, err == ERR_OK ? read_bytes : 0);
        if (link->is_judged) {
            take_answers(link);
        } else {
            bytebuf_clear(&link->in);
        }
    }
    flush(link);
}

static void on_connected(void *ctx, enum err err, struct socket *socket)
{
    struct frame_link *link = (struct frame_link *)ctx;
    if (err != ERR_OK) {
        lone_node_problem(link->node, "the node takes no connection: %s", err_text(err));
    }
    link->is_connecting = false;
    link->socket = socket;
    socket_attach(socket, link->node->client_loop, on_socket, link);
    flush(link);
}

/* ---- asking ---- */

static void note_frame(struct frame_link *link, struct span frame)
{
    struct frame_asked *asked = MEM_NEW(struct frame_asked);
    answer_judge_ask(frame, asked);
    DL_APPEND(link->asked, asked);
    link->is_broken = asked->is_refused;
}

static void note_frames(struct frame_link *link, struct span bytes)
{
    size_t body_bytes = 0;
    if (!link->is_judged || link->is_broken) {
        return;
    }
    enum err err = bytebuf_append(&link->unframed, bytes);
    CHECK(err == ERR_OK);
    while (!link->is_broken) {
        err = frame_peek(bytebuf_span(&link->unframed), LONE_NODE_FRAME_BYTES_MAX, &body_bytes);
        if (err == ERR_INCOMPLETE || (err == ERR_OK && link->unframed.bytes < FRAME_SIZE_BYTES + body_bytes)) {
            return;
        }
        if (err == ERR_OK) {
            note_frame(link, span_make(link->unframed.data + FRAME_SIZE_BYTES, body_bytes));
            bytebuf_drop_front(&link->unframed, FRAME_SIZE_BYTES + body_bytes);
        } else {
            link->is_broken = true;
        }
    }
}

struct link_code {
    struct frame_link *link;
    struct lone_node *node;
    struct span bytes;
};

static void send_code(struct sim_node *machine, void *ctx)
{
    (void)machine;
    const struct link_code *code = (const struct link_code *)ctx;
    struct frame_link *link = code->link;
    if (link->is_closed) {
        return;
    }
    note_frames(link, code->bytes);
    enum err err = bytebuf_append(&link->out, code->bytes);
    CHECK(err == ERR_OK);
    if (link->socket != NULL) {
        flush(link);
    }
}

void frame_link_send(struct frame_link *link, struct span bytes)
{
    struct link_code code = {.link = link, .bytes = bytes};
    if (bytes.bytes > 0) {
        lone_node_run_client(link->node, send_code, &code);
    }
}

/* ---- life ---- */

static void new_code(struct sim_node *machine, void *ctx)
{
    struct link_code *code = (struct link_code *)ctx;
    struct frame_link *link = MEM_NEW(struct frame_link);
    bytebuf_init(&link->in, LINK_BYTES_MAX);
    bytebuf_init(&link->out, LINK_BYTES_MAX);
    bytebuf_init(&link->unframed, LINK_BYTES_MAX);
    bytebuf_init(&link->last_body, LINK_BYTES_MAX);
    link->node = code->node;
    link->is_connecting = true;
    code->link = link;
    (void)machine;
}

static void connect_code(struct sim_node *machine, void *ctx)
{
    const struct link_code *code = (const struct link_code *)ctx;
    net_connect(machine->env.net, code->node->client_loop, LONE_NODE_ADDRESS, code->link->port, CONNECT_TIMEOUT_US,
                on_connected, code->link);
}

static bool is_connected(void *ctx)
{
    return !((const struct frame_link *)ctx)->is_connecting;
}

struct frame_link *frame_link_new(struct lone_node *node, struct frame_notes *notes, uint16_t port)
{
    struct link_code code = {.node = node};
    lone_node_run_client(node, new_code, &code);
    code.link->notes = notes;
    code.link->port = port;
    code.link->is_judged = port == LONE_NODE_PORT;
    lone_node_run_client(node, connect_code, &code);
    if (!lone_node_run_until(node, 2 * CONNECT_TIMEOUT_US, is_connected, code.link)) {
        lone_node_problem(node, "a connection is neither made nor refused");
    }
    return code.link;
}

static void free_code(struct sim_node *machine, void *ctx)
{
    (void)machine;
    struct frame_link *link = ((const struct link_code *)ctx)->link;
    if (link->socket != NULL) {
        socket_close(link->socket);
    }
    forget_asked(link);
    bytebuf_done(&link->in);
    bytebuf_done(&link->out);
    bytebuf_done(&link->unframed);
    bytebuf_done(&link->last_body);
    mem_free(link);
}

void frame_link_free(struct frame_link *link)
{
    if (link != NULL) {
        struct link_code code = {.link = link};
        lone_node_run_client(link->node, free_code, &code);
    }
}

bool frame_link_is_settled(const struct frame_link *link)
{
    const struct frame_asked *asked = NULL;
    if (link->is_closed || !link->is_judged) {
        return true;
    }
    DL_FOREACH (link->asked, asked) {
        if (!asked->is_silent) {
            return false;
        }
    }
    return !link->is_broken;
}

uint64_t frame_link_wait_us(const struct frame_link *link)
{
    uint64_t wait_us = 0;
    const struct frame_asked *asked = NULL;
    DL_FOREACH (link->asked, asked) {
        wait_us += asked->wait_us;
    }
    return wait_us;
}

void frame_link_describe(const struct frame_link *link, char *ret_text, size_t bytes_max)
{
    const struct frame_asked *asked = link->asked;
    if (asked == NULL) {
        (void)snprintf(ret_text, bytes_max, "nothing");
    } else {
        (void)snprintf(ret_text, bytes_max, "%s version %d, correlation id %d%s",
                       asked->api == NULL ? "an unknown API" : asked->api->name, asked->api_version,
                       asked->correlation_id, asked->is_refused ? ", to be refused" : "");
    }
}

/* ---- asking and waiting ---- */

static bool has_nothing_asked(void *ctx)
{
    return frame_link_is_settled((const struct frame_link *)ctx);
}

void frame_link_call(struct frame_link *link, int16_t api_key, int16_t api_version, const void *request,
                     struct arena *arena, void *ret_response)
{
    const struct api_row *row = api_table_find(api_key);
    struct request_header header = {
        .api_key = api_key, .api_version = api_version, .correlation_id = INT32_MAX, .client_id = span_text("control")};
    struct bytebuf frame;
    struct writer writer;
    bytebuf_init(&frame, LINK_BYTES_MAX);
    writer_init(&writer, &frame);
    size_t begin_pos = frame_begin(&writer);
    header_request_encode(&writer, &header);
    enum err err = codec_encode(row->request, api_version, request, &writer);
    CHECK(err == ERR_OK);
    err = frame_end(&writer, begin_pos);
    CHECK(err == ERR_OK);
    writer_done(&writer);
    frame_link_send(link, bytebuf_span(&frame));
    bytebuf_done(&frame);
    if (!lone_node_run_until(link->node, CALL_US, has_nothing_asked, link) || link->is_closed) {
        lone_node_problem(link->node, "the control client's %s is not answered", row->name);
    }
    struct reader reader;
    reader_init(&reader, bytebuf_span(&link->last_body));
    err = codec_decode(row->response, api_version, &reader, arena, ret_response);
    CHECK(err == ERR_OK);
}

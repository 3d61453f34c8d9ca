#include "tests/sim/kafka_client.h"

#include "common/check.h"
#include "common/mem.h"
#include "common/seam/net.h"
#include "proto/api/api_table.h"
#include "proto/wire/frame.h"
#include "proto/wire/header.h"

#include <utlist.h>

#define CONNECT_TIMEOUT_US 2000000u
#define RECONNECT_US 50000u
/* Nothing heard for so long although something was asked: the broker's machine may be gone without a word. */
#define SILENCE_US 5000000u
#define READ_BYTES 8192u
#define CLIENT_BYTES_MAX (16u << 20)

struct kafka_client {
    struct env *env;
    struct loop *loop;
    char *host;
    uint16_t port;
    char *client_id;
    kafka_client_fn on_up;
    kafka_client_fn on_down;
    void *ctx;
    struct socket *socket; /* NULL: down */
    struct bytebuf in;
    struct bytebuf out;
    int32_t correlation_id;
    struct kafka_request *requests; /* utlist DL: under way, oldest first */
    uint64_t heard_us;
    bool has_answered;
    struct loop_timer timer;
    struct loop_task flush_task;
};

static void client_down(struct kafka_client *client)
{
    socket_close(client->socket);
    client->socket = NULL;
    bytebuf_clear(&client->in);
    bytebuf_clear(&client->out);
    loop_timer_set(client->loop, &client->timer, loop_now_us(client->loop) + RECONNECT_US);
    while (client->requests != NULL) {
        struct kafka_request *request = client->requests;
        DL_DELETE(client->requests, request);
        request->on_reply(request, NULL);
    }
    client->on_down(client->ctx);
}

static void client_flush(struct kafka_client *client)
{
    while (client->out.bytes > 0) {
        struct span span = bytebuf_span(&client->out);
        size_t written_bytes = 0;
        enum err err = socket_writev(client->socket, &span, 1, &written_bytes);
        if (err == ERR_WOULD_BLOCK) {
            break;
        }
        if (err != ERR_OK) {
            client_down(client);
            return;
        }
        bytebuf_drop_front(&client->out, written_bytes);
    }
    socket_watch(client->socket, NET_READABLE | (client->out.bytes > 0 ? NET_WRITABLE : 0u));
}

static void run_flush(struct loop_task *task)
{
    struct kafka_client *client = CONTAINER_OF(task, struct kafka_client, flush_task);
    if (client->socket != NULL) {
        client_flush(client);
    }
}

/* A reply that is none is a violation, not a network fault: bytes of a living connection are never damaged here. */
static void client_take_reply(struct kafka_client *client, struct span frame)
{
    struct kafka_request *request = client->requests;
    CHECK(request != NULL);
    struct reader reader;
    reader_init(&reader, frame);
    int32_t correlation_id = 0;
    enum err err = header_response_decode(&reader, request->api_key, request->api_version, &correlation_id);
    CHECK(err == ERR_OK && correlation_id == request->correlation_id);
    DL_DELETE(client->requests, request);
    client->has_answered = true;
    request->on_reply(request, &reader);
}

/* False: the connection is down. */
static bool client_take_frames(struct kafka_client *client)
{
    for (;;) {
        size_t body_bytes = 0;
        enum err err = frame_peek(bytebuf_span(&client->in), CLIENT_BYTES_MAX, &body_bytes);
        CHECK(err == ERR_OK || err == ERR_INCOMPLETE);
        if (err != ERR_OK || client->in.bytes < FRAME_SIZE_BYTES + body_bytes) {
            return true;
        }
        struct span frame = span_make(client->in.data + FRAME_SIZE_BYTES, body_bytes);
        client_take_reply(client, frame);
        if (client->socket == NULL) {
            return false;
        }
        bytebuf_drop_front(&client->in, FRAME_SIZE_BYTES + body_bytes);
    }
}

static void on_ready(void *ctx, unsigned events)
{
    struct kafka_client *client = (struct kafka_client *)ctx;
    if ((events & NET_READABLE) != 0) {
        uint8_t *room = NULL;
        enum err err = bytebuf_reserve(&client->in, READ_BYTES, &room);
        CHECK(err == ERR_OK);
        size_t read_bytes = 0;
        err = socket_read(client->socket, room, READ_BYTES, &read_bytes);
        if (err != ERR_OK && err != ERR_WOULD_BLOCK) {
            client_down(client);
            return;
        }
        if (err == ERR_OK) {
            bytebuf_added(&client->in, read_bytes);
            client->heard_us = loop_now_us(client->loop);
            if (!client_take_frames(client)) {
                return;
            }
        }
    }
    client_flush(client);
}

static void on_connected(void *ctx, enum err err, struct socket *socket)
{
    struct kafka_client *client = (struct kafka_client *)ctx;
    uint64_t now_us = loop_now_us(client->loop);
    if (err != ERR_OK) {
        loop_timer_set(client->loop, &client->timer, now_us + RECONNECT_US);
        return;
    }
    client->socket = socket;
    client->heard_us = now_us;
    client->has_answered = false;
    socket_attach(socket, client->loop, on_ready, client);
    socket_watch(socket, NET_READABLE);
    loop_timer_set(client->loop, &client->timer, now_us + SILENCE_US);
    client->on_up(client->ctx);
}

static void on_timer(struct loop_timer *timer)
{
    struct kafka_client *client = CONTAINER_OF(timer, struct kafka_client, timer);
    uint64_t now_us = loop_now_us(client->loop);
    if (client->socket == NULL) {
        net_connect(client->env->net, client->loop, client->host, client->port, CONNECT_TIMEOUT_US, on_connected,
                    client);
    } else if (client->requests != NULL && now_us - client->heard_us >= SILENCE_US) {
        client_down(client);
    } else {
        loop_timer_set(client->loop, timer, now_us + SILENCE_US);
    }
}

struct kafka_client *kafka_client_new(struct env *env, struct loop *loop, const char *host, uint16_t port,
                                      const char *client_id, kafka_client_fn on_up, kafka_client_fn on_down, void *ctx)
{
    struct kafka_client *client = MEM_NEW(struct kafka_client);
    client->env = env;
    client->loop = loop;
    client->host = mem_strdup(host);
    client->port = port;
    client->client_id = mem_strdup(client_id);
    client->on_up = on_up;
    client->on_down = on_down;
    client->ctx = ctx;
    client->timer.fire = on_timer;
    client->flush_task.run = run_flush;
    bytebuf_init(&client->in, CLIENT_BYTES_MAX);
    bytebuf_init(&client->out, CLIENT_BYTES_MAX);
    loop_timer_set(loop, &client->timer, loop_now_us(loop) + RECONNECT_US);
    return client;
}

bool kafka_client_is_up(const struct kafka_client *client)
{
    return client->socket != NULL;
}

bool kafka_client_has_answered(const struct kafka_client *client)
{
    return client->socket != NULL && client->has_answered;
}

void kafka_client_send(struct kafka_client *client, struct kafka_request *request, const void *message)
{
    CHECK(client->socket != NULL);
    if (client->requests == NULL) {
        client->heard_us = loop_now_us(client->loop); /* the silence begins with the question */
    }
    const struct api_row *row = api_table_find(request->api_key);
    CHECK(row != NULL);
    request->correlation_id = ++client->correlation_id;
    struct request_header header = {.api_key = request->api_key,
                                    .api_version = request->api_version,
                                    .correlation_id = request->correlation_id,
                                    .client_id = span_text(client->client_id)};
    struct writer writer;
    writer_init(&writer, &client->out);
    size_t begin_pos = frame_begin(&writer);
    header_request_encode(&writer, &header);
    enum err err = codec_encode(row->request, request->api_version, message, &writer);
    CHECK(err == ERR_OK);
    err = frame_end(&writer, begin_pos);
    CHECK(err == ERR_OK);
    writer_done(&writer);
    DL_APPEND(client->requests, request);
    loop_defer(client->loop, &client->flush_task);
}

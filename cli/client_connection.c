#include "cli/client_connection.h"

#include "common/big_endian.h"
#include "common/bytebuf.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "proto/kmsg/api_versions.h"
#include "proto/wire/frame.h"
#include "proto/wire/header.h"

#include <stdio.h>

#define CLIENT_REQUEST_BYTES_MAX (128u << 20)
#define CLIENT_SOFTWARE_NAME "moldau-cli"
#define API_VERSIONS_ASKED 3

/* ---- waiting ---- */

static void client_timed_out(struct loop_timer *timer)
{
    struct client_connection *connection = CONTAINER_OF(timer, struct client_connection, timer);
    connection->is_timed_out = true;
    connection->is_done = true;
}

static void client_wait(struct client *client, struct client_connection *connection, uint64_t deadline_us)
{
    struct loop *loop = client->config.loop;
    connection->timer.fire = client_timed_out;
    connection->is_timed_out = false;
    loop_timer_set(loop, &connection->timer, deadline_us);
    client->config.run_until(loop, &connection->is_done);
    loop_timer_cancel(loop, &connection->timer);
}

static void client_on_ready(void *ctx, unsigned events)
{
    struct client_connection *connection = ctx;
    (void)events;
    socket_watch(connection->socket, 0);
    connection->is_done = true;
}

static enum err client_wait_socket(struct client *client, struct client_connection *connection, unsigned events,
                                   uint64_t deadline_us)
{
    connection->is_done = false;
    socket_watch(connection->socket, events);
    client_wait(client, connection, deadline_us);
    if (connection->is_timed_out) {
        return ERR_TIMEOUT;
    }
    return connection->is_done ? ERR_OK : ERR_CANCELLED; /* a signal has stopped the loop */
}

void client_connection_close(struct client_connection *connection)
{
    if (connection->socket != NULL) {
        socket_close(connection->socket);
        connection->socket = NULL;
    }
    connection->expected_count = 0;
}

/* ---- bytes ---- */

static enum err client_write(struct client *client, struct client_connection *connection, struct span bytes,
                             uint64_t deadline_us)
{
    while (bytes.bytes > 0) {
        size_t written_bytes = 0;
        enum err err = socket_writev(connection->socket, &bytes, 1, &written_bytes);
        if (err == ERR_WOULD_BLOCK) {
            err = client_wait_socket(client, connection, NET_WRITABLE, deadline_us);
        } else if (err == ERR_OK) {
            bytes = span_sub(bytes, written_bytes, bytes.bytes - written_bytes);
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

static enum err client_read(struct client *client, struct client_connection *connection, uint8_t *ret_bytes,
                            size_t bytes, uint64_t deadline_us)
{
    size_t done_bytes = 0;
    while (done_bytes < bytes) {
        size_t read_bytes = 0;
        enum err err = socket_read(connection->socket, ret_bytes + done_bytes, bytes - done_bytes, &read_bytes);
        if (err == ERR_WOULD_BLOCK) {
            err = client_wait_socket(client, connection, NET_READABLE, deadline_us);
        } else if (err == ERR_OK) {
            done_bytes += read_bytes;
        }
        if (err != ERR_OK) {
            return err == ERR_END ? ERR_RESET : err;
        }
    }
    return ERR_OK;
}

/* ---- requests and replies ---- */

enum err client_connection_version(const struct client_connection *connection, int16_t api_key, int16_t *ret_version)
{
    const struct api_row *api = api_table_find(api_key);
    CHECK(api != NULL);
    const struct client_range *range = &connection->ranges[api_key];
    int16_t first = range->first > api->versions.first ? range->first : api->versions.first;
    int16_t last = range->last < api->versions.last ? range->last : api->versions.last;
    if (first > last) {
        return ERR_UNSUPPORTED;
    }
    *ret_version = last;
    return ERR_OK;
}

static enum err client_encode(const struct client_expected *expected, const void *request, struct bytebuf *frame)
{
    const struct api_row *api = api_table_find(expected->api_key);
    struct writer writer;
    writer_init(&writer, frame);
    size_t begin_pos = frame_begin(&writer);
    struct request_header header = {.api_key = expected->api_key,
                                    .api_version = expected->api_version,
                                    .correlation_id = expected->correlation_id,
                                    .client_id = span_text(CLIENT_SOFTWARE_NAME)};
    header_request_encode(&writer, &header);
    enum err err = codec_encode(api->request, expected->api_version, request, &writer);
    if (err == ERR_OK) {
        err = frame_end(&writer, begin_pos);
    }
    writer_done(&writer);
    return err;
}

static enum err client_send_version(struct client *client, struct client_connection *connection, int16_t api_key,
                                    int16_t api_version, const void *request, bool is_answered, uint64_t deadline_us)
{
    if (connection->expected_count == CLIENT_CONNECTION_EXPECTED_MAX) {
        return ERR_LIMIT;
    }
    struct client_expected expected = {
        .correlation_id = ++connection->correlation_id, .api_key = api_key, .api_version = api_version};
    struct bytebuf frame;
    bytebuf_init(&frame, CLIENT_REQUEST_BYTES_MAX);
    enum err err = client_encode(&expected, request, &frame);
    if (err == ERR_OK) {
        err = client_write(client, connection, bytebuf_span(&frame), deadline_us);
        if (err != ERR_OK) {
            client_connection_close(connection);
        }
    }
    bytebuf_done(&frame);
    if (err == ERR_OK && is_answered) {
        unsigned slot = (connection->expected_first + connection->expected_count) % CLIENT_CONNECTION_EXPECTED_MAX;
        connection->expected[slot] = expected;
        connection->expected_count++;
    }
    return err;
}

enum err client_connection_send(struct client *client, struct client_connection *connection, int16_t api_key,
                                const void *request, bool is_answered, uint64_t deadline_us)
{
    int16_t api_version = 0;
    enum err err = client_connection_version(connection, api_key, &api_version);
    if (err == ERR_OK) {
        err = client_send_version(client, connection, api_key, api_version, request, is_answered, deadline_us);
    }
    return err;
}

static enum err client_decode(const struct client_expected *expected, struct client_reply *reply)
{
    const struct api_row *api = api_table_find(expected->api_key);
    struct reader reader;
    reader_init(&reader, span_make(reply->frame->data, reply->frame->bytes));
    int32_t correlation_id = 0;
    enum err err = header_response_decode(&reader, expected->api_key, expected->api_version, &correlation_id);
    if (err != ERR_OK || correlation_id != expected->correlation_id) {
        return ERR_MALFORMED;
    }
    void *message = arena_alloc(&reply->arena, api->response->body->struct_bytes);
    if (message == NULL) {
        return ERR_LIMIT;
    }
    reply->message = message;
    reply->api_version = expected->api_version;
    return codec_decode(api->response, expected->api_version, &reader, &reply->arena, message);
}

static enum err client_read_frame(struct client *client, struct client_connection *connection, uint64_t deadline_us,
                                  struct shared_bytes **ret_frame)
{
    uint8_t size_field[FRAME_SIZE_BYTES];
    size_t body_bytes = 0;
    enum err err = client_read(client, connection, size_field, sizeof(size_field), deadline_us);
    if (err == ERR_OK) {
        err = frame_peek(span_make(size_field, sizeof(size_field)), CLIENT_REPLY_BYTES_MAX, &body_bytes);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct shared_bytes *frame = shared_bytes_new(body_bytes);
    err = client_read(client, connection, frame->data, body_bytes, deadline_us);
    if (err != ERR_OK) {
        shared_bytes_unref(frame);
        return err;
    }
    *ret_frame = frame;
    return ERR_OK;
}

enum err client_connection_receive(struct client *client, struct client_connection *connection, int16_t api_key,
                                   uint64_t deadline_us, struct client_reply *ret_reply)
{
    if (connection->socket == NULL || connection->expected_count == 0) {
        return ERR_CLOSED;
    }
    struct client_expected expected = connection->expected[connection->expected_first];
    CHECK(expected.api_key == api_key);
    struct client_reply reply = {0};
    enum err err = client_read_frame(client, connection, deadline_us, &reply.frame);
    if (err != ERR_OK) {
        client_connection_close(connection);
        return err;
    }
    connection->expected_first = (connection->expected_first + 1) % CLIENT_CONNECTION_EXPECTED_MAX;
    connection->expected_count--;
    arena_init(&reply.arena, 0);
    err = client_decode(&expected, &reply);
    if (err != ERR_OK) {
        client_reply_done(&reply);
        client_connection_close(connection);
        return err;
    }
    *ret_reply = reply;
    return ERR_OK;
}

/* ---- opening ---- */

static void client_on_connected(void *ctx, enum err err, struct socket *socket)
{
    struct client_connection *connection = ctx;
    connection->connect_err = err;
    connection->socket = socket;
    connection->is_done = true;
}

static void client_take_versions(struct client_connection *connection, const struct api_versions_response *response)
{
    for (size_t i = 0; i <= API_KEY_MAX; i++) {
        connection->ranges[i] = (struct client_range){.first = 0, .last = -1};
    }
    for (size_t i = 0; i < response->api_keys_count; i++) {
        int16_t api_key = response->api_keys[i].api_key;
        if (api_key >= 0 && api_key <= API_KEY_MAX) {
            connection->ranges[api_key] = (struct client_range){.first = response->api_keys[i].min_version,
                                                                .last = response->api_keys[i].max_version};
        }
    }
}

static enum err client_ask_versions(struct client *client, struct client_connection *connection, uint64_t deadline_us)
{
    struct api_versions_request request;
    codec_set_defaults(&api_versions_request_codec, &request);
    request.client_software_name = span_text(CLIENT_SOFTWARE_NAME);
    request.client_software_version = span_text(MOLDAU_VERSION);
    enum err err =
        client_send_version(client, connection, API_KEY_API_VERSIONS, API_VERSIONS_ASKED, &request, true, deadline_us);
    struct client_reply reply;
    if (err == ERR_OK) {
        err = client_connection_receive(client, connection, API_KEY_API_VERSIONS, deadline_us, &reply);
    }
    if (err != ERR_OK) {
        return err;
    }
    const struct api_versions_response *response = reply.message;
    err = response->error_code == 0 ? ERR_OK : ERR_UNSUPPORTED;
    client_take_versions(connection, response);
    client_reply_done(&reply);
    return err;
}

enum err client_connection_open(struct client *client, struct client_connection *connection, uint64_t deadline_us)
{
    if (connection->socket != NULL) {
        return ERR_OK;
    }
    uint64_t now_us = clock_mono_us(client->config.env->clock);
    uint64_t left_us = deadline_us > now_us ? deadline_us - now_us : 1;
    uint64_t limit_us = (uint64_t)CLIENT_CONNECT_TIMEOUT_MS * 1000;
    connection->is_done = false;
    net_connect(client->config.env->net, client->config.loop, connection->host, connection->port,
                left_us < limit_us ? left_us : limit_us, client_on_connected, connection);
    client->config.run_until(client->config.loop, &connection->is_done); /* net_connect has a deadline of its own */
    if (!connection->is_done) {
        return ERR_CANCELLED;
    }
    if (connection->connect_err != ERR_OK) {
        return connection->connect_err;
    }
    socket_attach(connection->socket, client->config.loop, client_on_ready, connection);
    connection->expected_first = 0;
    connection->expected_count = 0;
    enum err err = client_ask_versions(client, connection, deadline_us);
    if (err != ERR_OK) {
        client_connection_close(connection);
    }
    return err;
}

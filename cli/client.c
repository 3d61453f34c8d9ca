#include "cli/client.h"

#include "cli/client_connection.h"
#include "common/mem.h"
#include "common/seam/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

struct client_node {
    int32_t id;
    struct client_connection *connection;
};

void client_complain(struct client *client, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(client->problem, sizeof(client->problem), format, args);
    va_end(args);
}

struct client *client_new(const struct client_config *config)
{
    struct client *client = MEM_NEW(struct client);
    client->config = *config;
    return client;
}

void client_free(struct client *client)
{
    if (client == NULL) {
        return;
    }
    struct client_connection *connection = NULL;
    struct client_connection *next = NULL;
    LL_FOREACH_SAFE (client->connections, connection, next) {
        client_connection_close(connection);
        mem_free(connection);
    }
    mem_free(client->nodes);
    mem_free(client);
}

void client_reply_done(struct client_reply *reply)
{
    arena_done(&reply->arena);
    shared_bytes_unref(reply->frame);
    *reply = (struct client_reply){0};
}

/* ---- addresses ---- */

static struct client_connection *client_address(struct client *client, struct span host, uint16_t port)
{
    struct client_connection *connection = NULL;
    LL_FOREACH (client->connections, connection) {
        if (connection->port == port && span_equal_text(host, connection->host)) {
            return connection;
        }
    }
    connection = MEM_NEW(struct client_connection);
    (void)snprintf(connection->host, sizeof(connection->host), "%.*s", (int)host.bytes, (const char *)host.data);
    connection->port = port;
    LL_APPEND(client->connections, connection);
    return connection;
}

void client_set_node(struct client *client, int32_t node_id, struct span host, int32_t port)
{
    struct client_connection *connection = client_address(client, host, (uint16_t)port);
    for (size_t i = 0; i < client->node_count; i++) {
        if (client->nodes[i].id == node_id) {
            client->nodes[i].connection = connection;
            return;
        }
    }
    client->nodes = mem_grow(client->nodes, client->node_count + 1, sizeof(struct client_node));
    client->nodes[client->node_count++] = (struct client_node){.id = node_id, .connection = connection};
}

static struct client_connection *client_find_node(struct client *client, int32_t node_id)
{
    for (size_t i = 0; i < client->node_count; i++) {
        if (client->nodes[i].id == node_id) {
            return client->nodes[i].connection;
        }
    }
    return NULL;
}

static uint64_t client_deadline(const struct client *client)
{
    return clock_mono_us(client->config.env->clock) + (uint64_t)client->config.timeout_ms * 1000;
}

static void client_complain_address(struct client *client, const struct client_connection *connection, enum err err)
{
    const char *advice = "check that it is a Kafka broker and that the network is well";
    if (err == ERR_REFUSED) {
        advice = "is the broker running? Start one with: moldau server, or name another broker of the cluster with "
                 "--bootstrap-server";
    } else if (err == ERR_ADDRESS_UNKNOWN) {
        advice = "check the name in --bootstrap-server";
    } else if (err == ERR_LIMIT) { /* other programs' answers read as a frame's length */
        client_complain(client,
                        "%s:%u: what answers there does not speak Kafka's protocol; is it the port of a listener for "
                        "clients? (not http.listener, not INTERNAL)",
                        connection->host, (unsigned)connection->port);
        return;
    } else if (err == ERR_TIMEOUT) {
        advice = "the broker did not answer in time; is it overloaded, or is something else listening there?";
    }
    client_complain(client, "%s:%u: %s; %s", connection->host, (unsigned)connection->port, err_text(err), advice);
}

/* Takes "host:port" off the front of *rest; false at the end or when it is none. */
static bool client_next_address(const char **rest, struct span *ret_host, uint16_t *ret_port)
{
    *rest += strspn(*rest, ", ");
    size_t bytes = strcspn(*rest, ",");
    if (bytes == 0) {
        return false;
    }
    struct span address = span_make(*rest, bytes);
    *rest += bytes;
    const uint8_t *colon = memrchr(address.data, ':', address.bytes);
    long port = colon == NULL ? 9092 : strtol((const char *)colon + 1, NULL, 10);
    size_t host_bytes = colon == NULL ? address.bytes : (size_t)(colon - address.data);
    if (host_bytes > 2 && address.data[0] == '[' && address.data[host_bytes - 1] == ']') {
        address = span_sub(address, 1, host_bytes - 2); /* [::1]:9092 */
        host_bytes = address.bytes;
    }
    *ret_host = span_sub(address, 0, host_bytes);
    *ret_port = (uint16_t)port;
    return port > 0 && port <= UINT16_MAX && host_bytes > 0;
}

/* The first bootstrap address that answers, else the first broker that does. */
static enum err client_open_any(struct client *client, uint64_t deadline_us, struct client_connection **ret_connection)
{
    const char *rest = client->config.bootstrap;
    struct span host;
    uint16_t port = 0;
    enum err err = ERR_INVALID;
    client_complain(client, "'%s' names no address: give host:port, as in 127.0.0.1:9092", client->config.bootstrap);
    while (client_next_address(&rest, &host, &port)) {
        struct client_connection *connection = client_address(client, host, port);
        err = client_connection_open(client, connection, deadline_us);
        if (err == ERR_OK) {
            *ret_connection = connection;
            return ERR_OK;
        }
        client_complain_address(client, connection, err);
    }
    for (size_t i = 0; i < client->node_count; i++) {
        if (client_connection_open(client, client->nodes[i].connection, deadline_us) == ERR_OK) {
            *ret_connection = client->nodes[i].connection;
            return ERR_OK;
        }
    }
    return err;
}

static enum err client_open(struct client *client, int32_t node_id, uint64_t deadline_us,
                            struct client_connection **ret_connection)
{
    if (node_id == CLIENT_NODE_ANY) {
        return client_open_any(client, deadline_us, ret_connection);
    }
    struct client_connection *connection = client_find_node(client, node_id);
    if (connection == NULL) {
        client_complain(client, "broker %" PRId32 " is not among those that the cluster told of", node_id);
        return ERR_NOT_FOUND;
    }
    enum err err = client_connection_open(client, connection, deadline_us);
    if (err != ERR_OK) {
        client_complain_address(client, connection, err);
        return err;
    }
    *ret_connection = connection;
    return ERR_OK;
}

enum err client_version(struct client *client, int32_t node_id, int16_t api_key, int16_t *ret_version)
{
    struct client_connection *connection = NULL;
    enum err err = client_open(client, node_id, client_deadline(client), &connection);
    if (err == ERR_OK) {
        err = client_connection_version(connection, api_key, ret_version);
        if (err != ERR_OK) {
            client_complain(client, "%s:%u does not serve %s in a version that this program knows", connection->host,
                            (unsigned)connection->port, api_table_find(api_key)->name);
        }
    }
    return err;
}

/* ---- calls ---- */

static enum err client_send_request(struct client *client, int32_t node_id, int16_t api_key, const void *request,
                                    bool is_answered)
{
    uint64_t deadline_us = client_deadline(client);
    struct client_connection *connection = NULL;
    enum err err = client_open(client, node_id, deadline_us, &connection);
    if (err != ERR_OK) {
        return err;
    }
    err = client_connection_send(client, connection, api_key, request, is_answered, deadline_us);
    if (err == ERR_UNSUPPORTED) {
        client_complain(client, "%s:%u does not serve %s in a version that this program knows", connection->host,
                        (unsigned)connection->port, api_table_find(api_key)->name);
    } else if (err != ERR_OK) {
        client_complain_address(client, connection, err);
    }
    return err;
}

enum err client_send(struct client *client, int32_t node_id, int16_t api_key, const void *request)
{
    return client_send_request(client, node_id, api_key, request, true);
}

enum err client_send_unanswered(struct client *client, int32_t node_id, int16_t api_key, const void *request)
{
    return client_send_request(client, node_id, api_key, request, false);
}

enum err client_receive(struct client *client, int32_t node_id, int16_t api_key, struct client_reply *ret_reply)
{
    uint64_t deadline_us = client_deadline(client);
    struct client_connection *connection = NULL;
    enum err err = client_open(client, node_id, deadline_us, &connection);
    if (err != ERR_OK) {
        return err;
    }
    err = client_connection_receive(client, connection, api_key, deadline_us, ret_reply);
    if (err != ERR_OK) {
        client_complain_address(client, connection, err);
    }
    return err;
}

enum err client_call(struct client *client, int32_t node_id, int16_t api_key, const void *request,
                     struct client_reply *ret_reply)
{
    enum err err = client_send(client, node_id, api_key, request);
    return err != ERR_OK ? err : client_receive(client, node_id, api_key, ret_reply);
}

bool client_may_recover(const struct client *client, enum err err)
{
    switch ((int)err) {
    case ERR_RESET:
    case ERR_CLOSED:
    case ERR_END:
        return true;
    case ERR_REFUSED:
    case ERR_TIMEOUT:
    case ERR_UNREACHABLE:
        return client->node_count > 0;
    default:
        return false;
    }
}

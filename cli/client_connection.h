/* client_connection: one connection of the command line's client, used as if it blocked: every function runs the
 * loop until it is done or the deadline has passed.
 *
 * Shape:     closed -> open (connected, ApiVersions known) -> closed again by any failure.
 * Limits:    CLIENT_CONNECTION_EXPECTED_MAX requests under way.
 * Errors:    codes; the caller makes the sentence. Every failure closes the connection.
 * Ownership: owned by the client.
 * Threads:   the one that runs the loop.
 * Source:    KIP-511; ADR-0007.
 */
#ifndef CLI_CLIENT_CONNECTION_H
#define CLI_CLIENT_CONNECTION_H

#include "cli/client.h"
#include "proto/api/api_table.h"

#define CLIENT_CONNECTION_EXPECTED_MAX 64

struct client_range {
    int16_t first;
    int16_t last; /* below first: the broker does not serve the API */
};

struct client_expected {
    int32_t correlation_id;
    int16_t api_key;
    int16_t api_version;
};

struct client_connection {
    struct client_connection *next;
    char host[256];
    uint16_t port;
    struct socket *socket; /* NULL: closed */
    struct client_range ranges[API_KEY_MAX + 1];
    struct client_expected expected[CLIENT_CONNECTION_EXPECTED_MAX]; /* ring, oldest at expected_first */
    unsigned expected_first;
    unsigned expected_count;
    int32_t correlation_id;
    /* the wait under way */
    struct loop_timer timer;
    bool is_done;
    bool is_timed_out;
    enum err connect_err;
};

/* Connects and asks for the versions, when the connection is not open. */
enum err client_connection_open(struct client *client, struct client_connection *connection,
                                uint64_t deadline_us) MUST_USE;
void client_connection_close(struct client_connection *connection);
/* ERR_UNSUPPORTED: no version in common. */
enum err client_connection_version(const struct client_connection *connection, int16_t api_key,
                                   int16_t *ret_version) MUST_USE;
/* is_answered false: the broker will not reply (Produce with acks=0). */
enum err client_connection_send(struct client *client, struct client_connection *connection, int16_t api_key,
                                const void *request, bool is_answered, uint64_t deadline_us) MUST_USE;
enum err client_connection_receive(struct client *client, struct client_connection *connection, int16_t api_key,
                                   uint64_t deadline_us, struct client_reply *ret_reply) MUST_USE;

#endif

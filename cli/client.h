/* client: a small Kafka client for the command line: one call after the other, each waited for.
 *
 * Shape:     client_new -> client_call(node or any, API, request) -> reply, decoded. Connections are opened when
 *            first used, one per address; the version of a call is the highest that both sides know (ApiVersions at
 *            connect). client_send and client_receive split a call in two, so that several requests can be under way.
 * Limits:    CLIENT_CONNECTIONS_MAX addresses; a reply of CLIENT_REPLY_BYTES_MAX.
 * Units:     timeouts in ms.
 * Errors:    every failing call fills `client->problem` with one sentence: which address, what went wrong, what to
 *            check. A connection that failed is closed and opened again by the next call.
 * Ownership: replies belong to the caller (client_reply_done). The env and the loop are borrowed.
 * Threads:   the one that runs the loop.
 * Source:    KIP-35, KIP-511 (ApiVersions); ADR-0007.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "common/arena.h"
#include "common/seam/env.h"
#include "common/seam/net.h"
#include "common/shared_bytes.h"

#define CLIENT_CONNECTIONS_MAX 256
#define CLIENT_REPLY_BYTES_MAX (256u << 20)
#define CLIENT_PROBLEM_BYTES 512
#define CLIENT_NODE_ANY (-1)
#define CLIENT_TIMEOUT_MS_DEFAULT 30000
#define CLIENT_CONNECT_TIMEOUT_MS 5000

struct client_connection;

/* How the caller's thread runs the loop until *is_done (common/posix/posix_env.h in production). */
typedef void (*client_run_fn)(struct loop *loop, const bool *is_done);

struct client_config {
    struct env *env;
    struct loop *loop;
    client_run_fn run_until;
    const char *bootstrap; /* host:port,host:port */
    uint32_t timeout_ms;   /* of one call */
};

struct client {
    struct client_config config;
    struct client_connection *connections;
    struct client_node *nodes; /* addresses of broker ids, as last told */
    size_t node_count;
    char problem[CLIENT_PROBLEM_BYTES];
};

struct client_reply {
    const void *message; /* the API's response struct */
    int16_t api_version;
    struct arena arena;
    struct shared_bytes *frame;
};

struct client *client_new(const struct client_config *config);
void client_free(struct client *client);

/* ---- one call ---- */

/* node_id CLIENT_NODE_ANY: whichever bootstrap address answers, or else any broker that the cluster has told of.
 * `request` is the API's request struct. */
enum err client_call(struct client *client, int32_t node_id, int16_t api_key, const void *request,
                     struct client_reply *ret_reply) MUST_USE;
void client_reply_done(struct client_reply *reply);

/* ---- several under way on one connection ---- */

/* Sends without waiting; replies come in the order of requests. */
enum err client_send(struct client *client, int32_t node_id, int16_t api_key, const void *request) MUST_USE;
/* Sends what is never answered: Produce with acks=0. */
enum err client_send_unanswered(struct client *client, int32_t node_id, int16_t api_key, const void *request) MUST_USE;
/* The next reply of this node; `api_key` is that of the request it belongs to. */
enum err client_receive(struct client *client, int32_t node_id, int16_t api_key,
                        struct client_reply *ret_reply) MUST_USE;

/* ---- addresses ---- */

/* Where a broker is, as Metadata tells it (metadata_ask.h). */
void client_set_node(struct client *client, int32_t node_id, struct span host, int32_t port);
/* The highest version of the API that the node and this program know; ERR_UNSUPPORTED with a sentence when there is
 * none. */
enum err client_version(struct client *client, int32_t node_id, int16_t api_key, int16_t *ret_version) MUST_USE;

/* Is it worth to try again? A connection was lost; or none could be made to a cluster that did answer before. A
 * broker that refuses the first connection is more likely not there at all: whoever waits wants to know at once. */
bool client_may_recover(const struct client *client, enum err err);

/* Fills `problem`, for verbs that find something wrong with an answer. */
void client_complain(struct client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

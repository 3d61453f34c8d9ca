/* http_server: the one HTTP listener of a node: metrics and health now, later the console and its API. It finds a
 * route, checks what browsers could be tricked into, and writes the answer; what the answer is the routes decide.
 *
 * Shape:     a table of routes, exact paths or prefixes; a handler runs on the server's loop, gets the whole request
 *            and fills the response before it returns. HEAD is answered as GET without the body. Errors that the
 *            server makes itself are JSON ({"error_code":404,"message":"..."}, the shape of Confluent's REST API)
 *            where the client accepts JSON, else text.
 * Limits:    in struct http_server_options; those that are 0 take the HTTP_ defaults below. At connections_max the
 *            listener waits. A connection that doesn't finish a request within connection_us_max is closed.
 * Security:  the Host header must be a numeric address, localhost, or one of `hosts`: a name that an attacker lets
 *            point here (DNS rebinding) is refused. A request that changes something and carries an Origin must come
 *            from its own host.
 * Ownership: the request is borrowed during the handler; the response belongs to the server.
 * Threads:   the loop's own; started before the loop runs, or on it.
 * Source:    design.md 10; ADR-0005.
 */
#ifndef COMMON_POSIX_HTTP_SERVER_H
#define COMMON_POSIX_HTTP_SERVER_H

#include "common/bytebuf.h"
#include "common/seam/loop.h"
#include "common/seam/net.h"

#define HTTP_HEADER_BYTES_MAX 16384
#define HTTP_BODY_BYTES_MAX (1u << 20)
#define HTTP_RESPONSE_BYTES_MAX (64u << 20)
#define HTTP_CONNECTIONS_MAX 64
#define HTTP_CONNECTION_US_MAX 30000000u

struct http_server;
struct logger;

struct http_request {
    const char *method; /* "GET" (also for HEAD), "POST", ... */
    const char *path;   /* decoded, without the query */
    const char *query;  /* still encoded, "" without */
    struct span body;
    struct net_address peer;
    const void *headers; /* for http_request_header */
};

/* The header's value, NULL without it. Names are case-insensitive. */
const char *http_request_header(const struct http_request *request, const char *name);

struct http_response {
    unsigned status;          /* 200 at first */
    const char *content_type; /* static text; "text/plain; charset=utf-8" at first */
    struct bytebuf body;
};

typedef void (*http_handler_fn)(void *ctx, const struct http_request *request, struct http_response *response);

struct http_route {
    const char *method;
    const char *path; /* one that ends in '/' also stands for everything below it */
    http_handler_fn handle;
    void *ctx;
};

struct http_server_options {
    const char *host;         /* numeric or a name of this machine */
    uint16_t port;            /* 0: any, http_server_address tells */
    const char *const *hosts; /* names under which the server may be called, besides numbers and localhost */
    size_t host_count;
    const struct http_route *routes; /* borrowed as long as the server */
    size_t route_count;
    size_t header_bytes_max;
    size_t body_bytes_max;
    size_t response_bytes_max;
    size_t connections_max;
    uint64_t connection_us_max;
};

/* ERR_ADDRESS_IN_USE and other errors of net_listen. Copies the hosts. */
enum err http_server_start(struct loop *loop, struct logger *logger, const struct http_server_options *options,
                           struct http_server **ret_server) MUST_USE;
void http_server_address(const struct http_server *server, struct net_address *ret_address);
/* Closes the listener and every connection. On the loop (not in a handler), or when it doesn't run. */
void http_server_stop(struct http_server *server);

#endif

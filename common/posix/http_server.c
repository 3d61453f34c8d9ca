/* evhttp speaks HTTP; http_connections.c bounds its connections; http_guard.c says whom we answer. */
#include "common/posix/http_server.h"

#include "common/logger.h"
#include "common/mem.h"
#include "common/posix/http_connections.h"
#include "common/posix/http_guard.h"
#include "common/posix/posix_loop.h"
#include "common/posix/posix_net.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ALLOW_BYTES 128 /* the text of an Allow header */

struct http_server {
    struct loop *loop;
    struct logger *logger;
    struct evhttp *evhttp;
    struct http_connections *connections;
    struct http_guard guard;
    const struct http_route *routes;
    size_t route_count;
    size_t response_bytes_max;
    int fd;
    struct log_limit refused_limit;
};

/* What evhttp parses; other methods get its 501. */
static const struct {
    enum evhttp_cmd_type command;
    const char *name;
} methods[] = {
    {EVHTTP_REQ_GET, "GET"},     {EVHTTP_REQ_HEAD, "GET"},      {EVHTTP_REQ_POST, "POST"},
    {EVHTTP_REQ_PUT, "PUT"},     {EVHTTP_REQ_DELETE, "DELETE"}, {EVHTTP_REQ_OPTIONS, "OPTIONS"},
    {EVHTTP_REQ_PATCH, "PATCH"},
};

const char *http_request_header(const struct http_request *request, const char *name)
{
    return evhttp_find_header(request->headers, name);
}

static void reply(struct evhttp_request *request, unsigned status, const char *content_type, struct span body)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    struct evbuffer *buffer = evbuffer_new();
    char length_text[24];
    CHECK(buffer != NULL);
    (void)evhttp_add_header(headers, "Content-Type", content_type);
    (void)evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    (void)evhttp_add_header(headers, "Cache-Control", "no-store");
    if (evhttp_request_get_command(request) == EVHTTP_REQ_HEAD) {
        (void)snprintf(length_text, sizeof(length_text), "%zu", body.bytes);
        (void)evhttp_add_header(headers, "Content-Length", length_text);
    } else if (body.bytes > 0) {
        CHECK(evbuffer_add(buffer, body.data, body.bytes) == 0);
    }
    evhttp_send_reply(request, (int)status, NULL, buffer);
    evbuffer_free(buffer);
}

/* `message` is our own text: it needs no escaping. */
static void reply_error(struct evhttp_request *request, unsigned status, const char *message)
{
    const char *accept = evhttp_find_header(evhttp_request_get_input_headers(request), "Accept");
    char text[512];
    bool is_json = accept != NULL && strstr(accept, "application/json") != NULL;
    (void)snprintf(text, sizeof(text), is_json ? "{\"error_code\":%u,\"message\":\"%s\"}\n" : "%u %s\n", status,
                   message);
    reply(request, status, is_json ? "application/json" : "text/plain; charset=utf-8", span_text(text));
}

static bool route_has_path(const struct http_route *route, const char *path)
{
    size_t bytes = strlen(route->path);
    if (bytes > 1 && route->path[bytes - 1] == '/') {
        return strncmp(path, route->path, bytes) == 0;
    }
    return strcmp(path, route->path) == 0;
}

/* The first route of the table that fits; without one *ret_allow lists the methods that the path has. */
static const struct http_route *route_find(const struct http_server *server, const char *method, const char *path,
                                           char ret_allow[ALLOW_BYTES])
{
    ret_allow[0] = '\0';
    for (size_t i = 0; i < server->route_count; i++) {
        const struct http_route *route = &server->routes[i];
        if (!route_has_path(route, path)) {
            continue;
        }
        if (strcmp(route->method, method) == 0) {
            return route;
        }
        if (strstr(ret_allow, route->method) == NULL) {
            size_t used = strlen(ret_allow);
            (void)snprintf(ret_allow + used, ALLOW_BYTES - used, "%s%s%s", used == 0 ? "" : ", ", route->method,
                           strcmp(route->method, "GET") == 0 ? ", HEAD" : "");
        }
    }
    return NULL;
}

static void handle(struct http_server *server, const struct http_route *route, struct evhttp_request *request,
                   const struct http_request *parsed)
{
    struct http_response response = {.status = 200, .content_type = "text/plain; charset=utf-8"};
    bytebuf_init(&response.body, server->response_bytes_max);
    route->handle(route->ctx, parsed, &response);
    reply(request, response.status, response.content_type, bytebuf_span(&response.body));
    bytebuf_done(&response.body);
}

/* Routes a request whose path has been decoded. */
static void route_request(struct http_server *server, struct evhttp_request *request, const char *method,
                          const char *path)
{
    char allow[ALLOW_BYTES];
    const struct http_route *route = route_find(server, method, path, allow);
    if (route == NULL && allow[0] != '\0') {
        (void)evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", allow);
        reply_error(request, 405, "this path does not take this method");
        return;
    }
    if (route == NULL) {
        reply_error(request, 404, "there is nothing at this path");
        return;
    }
    struct evbuffer *input = evhttp_request_get_input_buffer(request);
    size_t body_bytes = evbuffer_get_length(input);
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
    struct http_request parsed = {
        .method = method,
        .path = path,
        .query = query == NULL ? "" : query,
        .body = span_make(body_bytes == 0 ? (const void *)"" : evbuffer_pullup(input, -1), body_bytes),
        .headers = evhttp_request_get_input_headers(request),
    };
    char *peer_host = NULL;
    evhttp_connection_get_peer(evhttp_request_get_connection(request), &peer_host, &parsed.peer.port);
    (void)snprintf(parsed.peer.host, sizeof(parsed.peer.host), "%s", peer_host == NULL ? "" : peer_host);
    handle(server, route, request, &parsed);
}

static const char *method_name(struct evhttp_request *request)
{
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++) {
        if (methods[i].command == evhttp_request_get_command(request)) {
            return methods[i].name;
        }
    }
    return NULL;
}

/* NULL when the request may be answered, else why not. */
static const char *guard_refuses(struct http_server *server, struct evhttp_request *request, const char *method)
{
    const struct evkeyvalq *headers = evhttp_request_get_input_headers(request);
    const char *host = evhttp_find_header(headers, "Host");
    const char *origin = evhttp_find_header(headers, "Origin");
    /* An absolute request target overrides the Host header. */
    const char *target_host = evhttp_uri_get_host(evhttp_request_get_evhttp_uri(request));
    if (!http_guard_allows_host(&server->guard, host) ||
        (target_host != NULL && !http_guard_allows_host(&server->guard, target_host))) {
        return "this server is not called by that name: use its address, localhost, or a name that it is configured "
               "with";
    }
    bool is_reading = strcmp(method, "GET") == 0 || strcmp(method, "OPTIONS") == 0;
    if (!is_reading && origin != NULL && !http_guard_is_same_origin(host, origin)) {
        return "requests that change something must come from this server's own pages";
    }
    return NULL;
}

static void on_request(struct evhttp_request *request, void *ctx)
{
    struct http_server *server = ctx;
    http_connections_touch(server->connections,
                           evhttp_connection_get_bufferevent(evhttp_request_get_connection(request)));
    const char *method = method_name(request);
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    if (method == NULL || uri == NULL) {
        reply_error(request, 400, "the request can't be understood");
        return;
    }
    const char *refused = guard_refuses(server, request, method);
    if (refused != NULL) {
        const char *host = evhttp_find_header(evhttp_request_get_input_headers(request), "Host");
        char quoted[128];
        logger_limited(server->logger, &server->refused_limit, LOG_WARN, "http", "request_refused", "host=%s",
                       logger_quote(span_text(host == NULL ? "" : host), quoted, sizeof(quoted)));
        reply_error(request, 403, refused);
        return;
    }
    const char *encoded_path = evhttp_uri_get_path(uri);
    size_t path_bytes = 0;
    char *path = evhttp_uridecode(encoded_path == NULL || encoded_path[0] == '\0' ? "/" : encoded_path, 0, &path_bytes);
    CHECK(path != NULL);
    if (strlen(path) != path_bytes) {
        reply_error(request, 400, "the path contains a zero byte");
    } else {
        route_request(server, request, method, path);
    }
    free(path); /* libevent's own allocation */
}

static size_t or_default(size_t value, size_t default_value)
{
    return value == 0 ? default_value : value;
}

static void evhttp_configure(struct http_server *server, const struct http_server_options *options,
                             uint64_t connection_us_max)
{
    unsigned allowed = 0;
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++) {
        allowed |= (unsigned)methods[i].command;
    }
    struct timeval timeout = {.tv_sec = (time_t)(connection_us_max / 1000000),
                              .tv_usec = (suseconds_t)(connection_us_max % 1000000)};
    evhttp_set_allowed_methods(server->evhttp, (ev_uint16_t)allowed);
    evhttp_set_max_headers_size(server->evhttp,
                                (ev_ssize_t)or_default(options->header_bytes_max, HTTP_HEADER_BYTES_MAX));
    evhttp_set_max_body_size(server->evhttp, (ev_ssize_t)or_default(options->body_bytes_max, HTTP_BODY_BYTES_MAX));
    evhttp_set_default_content_type(server->evhttp, NULL);
    evhttp_set_timeout_tv(server->evhttp, &timeout);
    evhttp_set_gencb(server->evhttp, on_request, server);
}

enum err http_server_start(struct loop *loop, struct logger *logger, const struct http_server_options *options,
                           struct http_server **ret_server)
{
    int fd = -1;
    enum err err = posix_net_bind(options->host, options->port, &fd);
    if (err != ERR_OK) {
        return err;
    }
    struct http_server *server = MEM_NEW(struct http_server);
    uint64_t connection_us_max = or_default(options->connection_us_max, HTTP_CONNECTION_US_MAX);
    server->loop = loop;
    server->logger = logger;
    server->routes = options->routes;
    server->route_count = options->route_count;
    server->response_bytes_max = or_default(options->response_bytes_max, HTTP_RESPONSE_BYTES_MAX);
    server->fd = fd;
    http_guard_init(&server->guard, options->hosts, options->host_count);
    server->evhttp = evhttp_new(posix_loop_event_base(loop));
    CHECK(server->evhttp != NULL);
    evhttp_configure(server, options, connection_us_max);
    struct evhttp_bound_socket *bound = evhttp_accept_socket_with_handle(server->evhttp, fd);
    CHECK(bound != NULL);
    server->connections =
        http_connections_new(loop, server->evhttp, evhttp_bound_socket_get_listener(bound),
                             or_default(options->connections_max, HTTP_CONNECTIONS_MAX), connection_us_max);
    *ret_server = server;
    return ERR_OK;
}

void http_server_address(const struct http_server *server, struct net_address *ret_address)
{
    struct posix_address address = {.bytes = sizeof(address.storage)};
    CHECK(getsockname(server->fd, (struct sockaddr *)&address.storage, &address.bytes) == 0);
    posix_address_text(&address, ret_address);
}

void http_server_stop(struct http_server *server)
{
    if (server == NULL) {
        return;
    }
    http_connections_stop(server->connections);
    evhttp_free(server->evhttp); /* closes the listening descriptor and every connection */
    http_connections_free(server->connections);
    http_guard_done(&server->guard);
    mem_free(server);
}

/* http_connections: bounds the connections of an evhttp, in number and in time. Private to http_server.
 *
 * Shape:     at the maximum the listener stops accepting until one has gone; a connection on which no request has been
 *            completed for connection_us_max is shut down, however slowly it still sends.
 * Threads:   the loop's own.
 */
#ifndef COMMON_POSIX_HTTP_CONNECTIONS_H
#define COMMON_POSIX_HTTP_CONNECTIONS_H

#include "common/seam/loop.h"

struct http_connections;

/* `evhttp`, `listener`, `bufferevent`: libevent's objects of these names (its types stay out of headers). */
struct http_connections *http_connections_new(struct loop *loop, void *evhttp, void *listener, size_t connections_max,
                                              uint64_t connection_us_max);
/* Before evhttp_free. */
void http_connections_stop(struct http_connections *connections);
/* After evhttp_free. */
void http_connections_free(struct http_connections *connections);
/* A request came in on the connection: its time starts again. */
void http_connections_touch(struct http_connections *connections, const void *bufferevent);

#endif

/* connection: one client's socket: requests in, replies out in the same order. What handlers and dispatch may do with it;
 * the worker's side is in connection_set.h.
 *
 * Shape:     OPEN -> CLOSING (socket gone, handlers still at work) -> freed.
 * Errors:    none: a connection that fails closes itself, and replies to it are dropped.
 * Ownership: see broker/api/request.h.
 * Threads:   the connection's worker.
 * Source:    protocol.md trap 5; KIP-219 (throttling); KIP-511 (client software).
 */
#ifndef BROKER_NET_CONNECTION_H
#define BROKER_NET_CONNECTION_H

#include "broker/api/request.h"
#include "broker/net/reply_output.h"

/* Each ends the request: it must not be touched afterwards. The output moves to the connection. */
void connection_reply(struct request *request, struct reply_output *output);
void connection_reply_nothing(struct request *request);
/* Logs `why` (rate-limited) and closes. Earlier requests that are not answered yet lose their replies. */
void connection_close_because(struct request *request, const char *why);

/* Stops reading from the connection for a time. The reply that tells the client so is not held back (KIP-219), and
 * nothing is reordered. */
void connection_throttle(struct connection *connection, uint32_t delay_ms);
/* Remembers what ApiVersions told (for metrics and logs); copies. */
void connection_set_software(struct connection *connection, struct span name, struct span version);
/* The client has proved who it is: the limits of strangers end. */
void connection_set_principal(struct connection *connection, const char *principal);

#endif

/* dispatch: from a frame to a handler: request header, API and version, body, handler. Refuses what is not served.
 *
 * Shape:     a dispatch_table says which handler serves an API key; what it lacks is not served and not advertised.
 * Errors:    an unknown API key, an unsupported version and an undecodable body close the connection with a log line, as Kafka
 *            4.3 does; only ApiVersions answers an unsupported version (version 0, UNSUPPORTED_VERSION; KIP-511).
 * Threads:   the request's worker.
 * Source:    protocol.md trap 4; correctness.md 10.
 */
#ifndef BROKER_API_DISPATCH_H
#define BROKER_API_DISPATCH_H

#include "broker/api/request.h"
#include "proto/api/api_table.h"

struct dispatch_table {
    request_handler_fn handlers[API_KEY_MAX + 1]; /* by API key; NULL: not served */
};

/* Takes the request; it ends with a reply. */
void dispatch_request(const struct dispatch_table *table, struct request *request);
bool dispatch_is_served(const struct dispatch_table *table, const struct api_row *api);

#endif

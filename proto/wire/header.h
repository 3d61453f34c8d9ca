/* header: what stands before each request and response body.
 *
 * Errors:    ERR_MALFORMED when the bytes end too early.
 * Ownership: client_id borrows from the frame.
 * Threads:   pure functions.
 * Source:    RequestHeader and ResponseHeader of Kafka 4.3; KIP-482; KIP-511 (ApiVersions).
 */
#ifndef PROTO_WIRE_HEADER_H
#define PROTO_WIRE_HEADER_H

#include "common/err.h"
#include "common/span.h"
#include "proto/wire/reader.h"
#include "proto/wire/writer.h"

struct request_header {
    int16_t api_key;        /* RequestApiKey */
    int16_t api_version;    /* RequestApiVersion */
    int32_t correlation_id; /* CorrelationId */
    struct span client_id;  /* ClientId, may be null */
};

/* Request header versions: 1 has the client id, 2 tagged fields after it. (0, without client id, belonged to
 * ControlledShutdown version 0, which is gone.) An unknown key or version is read as its API's flexibility suggests. */
int16_t header_request_version(int16_t api_key, int16_t api_version);
/* Response header versions: 1 has tagged fields. */
int16_t header_response_version(int16_t api_key, int16_t api_version);

/* The first three members are set whenever eight bytes are there, also on failure, so that an error can be answered and
 * logged; the reader is then at the beginning of the body. */
enum err header_request_decode(struct reader *reader, struct request_header *ret_header) MUST_USE;
void header_request_encode(struct writer *writer, const struct request_header *header);

/* For the response of a request with this key and version. */
enum err header_response_decode(struct reader *reader, int16_t api_key, int16_t api_version,
                                int32_t *ret_correlation_id) MUST_USE;
void header_response_encode(struct writer *writer, int16_t api_key, int16_t api_version, int32_t correlation_id);

#endif

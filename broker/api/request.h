/* request: one client request on its way through the broker: decoded frame, who asked, and the one reply.
 *
 * Shape:     connection (reads a frame) -> dispatch (header, version, decode, authorise) -> handler -> request_reply.
 *            A handler may reply at once or later; replies leave the connection in the order in which the requests came.
 * Errors:    exactly one of request_reply, request_reply_nothing, request_close_connection is called, once (CHECKed).
 * Ownership: the request owns its arena and a reference to the frame that all decoded spans point into; both live until the
 *            reply is encoded. Afterwards the handler must not touch the request. When the connection dies first, the
 *            request lives on until its handler replies; the reply is then dropped.
 * Threads:   a request belongs to the worker of its connection. Parts of it that run on another worker travel as
 *            tasks of their own and may read the decoded message, never write it.
 * Source:    design.md 4, 5; protocol.md trap 5 (order of responses).
 */
#ifndef BROKER_API_REQUEST_H
#define BROKER_API_REQUEST_H

#include "common/arena.h"
#include "common/seam/net.h"
#include "common/shared_bytes.h"

struct api_row;
struct connection;
struct worker;

#define REQUEST_PRINCIPAL_BYTES 256
#define REQUEST_PRINCIPAL_ANONYMOUS "User:ANONYMOUS"

/* Who asks. Lives in the connection; a request that travels on copies it. */
struct request_context {
    const char *principal;     /* "User:name" */
    const char *listener_name; /* "PLAINTEXT" */
    struct span client_id;     /* from the request header; null when absent */
    struct net_address client; /* numeric host */
    struct span software_name; /* from ApiVersions v3+; empty when unknown */
};

struct request {
    struct worker *worker;
    struct connection *connection; /* NULL once the connection is gone */
    const struct api_row *api;
    int16_t api_version;
    int32_t correlation_id;
    struct request_context context;
    struct shared_bytes *frame; /* the whole frame behind its size field */
    struct span body;     /* the message behind the request header, inside `frame`; writable by its owner (stamps) */
    struct arena arena;   /* for the decoded message and the response */
    const void *message;  /* decoded request struct of the API */
    uint64_t received_us; /* monotonic, when the frame was complete */
    void *handler_state;  /* the handler's own, for on_abandoned */
    /* Set by a handler that waits for long: the connection is gone, the answer is for nobody: end soon. May reply inside. */
    void (*on_abandoned)(struct request *request);
    uint64_t sequence; /* place of the reply among those of the connection */
    bool is_replied;
};

/* Every handler has this shape; the table is in broker/api/dispatch.c. */
typedef void (*request_handler_fn)(struct request *request);

/* Encodes `response` (the API's response struct) at the request's version and queues it. External records in it
 * (struct kmsg_records.external) are struct file_slice, whose references move to the connection. */
void request_reply(struct request *request, const void *response);
/* Queues a body that is encoded already (forwarded requests): response header, then `body`. Copies. */
void request_reply_encoded(struct request *request, struct span body);
/* No response on the wire (Produce with acks=0). */
void request_reply_nothing(struct request *request);
/* The protocol leaves no other way to tell an error (acks=0 failures, undecodable bodies): logs `why`, closes. */
void request_close_connection(struct request *request, const char *why);

/* A range of a file, sent with sendfile. Holds a reference to the file. From mem_alloc; freed by the connection. */
struct file_slice {
    struct file *file;
    uint64_t pos;
    size_t bytes;
};

#endif

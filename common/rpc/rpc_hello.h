/* rpc_hello: what two nodes tell each other before anything else on a link: who they are, and what the link is for.
 *
 * Shape:     the dialer sends a hello, the server answers with its own and a verdict; after a welcome both may send frames.
 *            Fixed layout, big-endian, with a magic number and a version: rpc_hello.c has the byte table.
 * Limits:    RPC_HELLO_BYTES_MAX on the wire.
 * Errors:    decode: ERR_MALFORMED (no hello), ERR_UNSUPPORTED (another version).
 * Threads:   values.
 * Source:    correctness.md 3, S5 (cluster, node, directory, incarnation, version, room for authentication); design.md 6, 8.
 */
#ifndef COMMON_RPC_RPC_HELLO_H
#define COMMON_RPC_RPC_HELLO_H

#include "common/bytebuf.h"
#include "common/uuid.h"

#define RPC_VERSION 1u
#define RPC_HELLO_BYTES_MAX 1024u
#define RPC_REFUSAL_BYTES 256
#define RPC_CLUSTER_ID_BYTES 64

/* What a link carries: each kind has one acceptor at the server (rpc_server.h). */
enum rpc_kind {
    RPC_KIND_PROBE = 1,    /* nothing: who are you? (failure detection, formation) */
    RPC_KIND_QUORUM = 2,   /* messages of the consensus, from the dialer to the server */
    RPC_KIND_METADATA = 3, /* committed metadata, pushed to the dialer */
    RPC_KIND_CALL = 4,     /* requests to the active controller and their answers */
    RPC_KIND_REPLICA = 5,  /* records, pushed to the dialer, a follower */
};
#define RPC_KIND_MAX 5

struct rpc_hello {
    enum rpc_kind kind;
    char cluster_id[RPC_CLUSTER_ID_BYTES]; /* "" before the node knows it */
    int32_t node_id;
    struct uuid directory_id;   /* of the metadata directory (a controller) or the first log directory (a broker) */
    struct uuid incarnation_id; /* of the process */
    int64_t broker_epoch;       /* of the registration that the node holds; -1: none */
    uint32_t worker_count;      /* of the node; 0: no broker */
    /* REPLICA: index of the server's worker that is meant, and of the stream to it (replica_stream.h). CALL: number of the link,
     * as its dialer counts them. */
    uint32_t lane;
    struct span authentication; /* room for S5; empty. Borrowed from what was decoded */
};

/* The server's verdict. */
struct rpc_answer {
    struct rpc_hello hello;          /* the server's own */
    char refusal[RPC_REFUSAL_BYTES]; /* "": welcome; else a sentence */
};

/* Encoding appends. ERR_LIMIT: the authentication is too long, or the buffer is full; it is then as before. A text that is
 * longer than its place in the struct (without a terminator) is cut. */
enum err rpc_hello_encode(const struct rpc_hello *hello, struct bytebuf *bytes) MUST_USE;
/* Of exactly one message. */
enum err rpc_hello_decode(struct span bytes, struct rpc_hello *ret_hello) MUST_USE;
enum err rpc_answer_encode(const struct rpc_answer *answer, struct bytebuf *bytes) MUST_USE;
enum err rpc_answer_decode(struct span bytes, struct rpc_answer *ret_answer) MUST_USE;

#define RPC_HELLO_PREFIX_BYTES 8u /* the same in all versions */
/* How long the message is that begins so. ERR_INCOMPLETE: RPC_HELLO_PREFIX_BYTES are needed; ERR_MALFORMED: no node speaks so. */
enum err rpc_hello_peek(struct span bytes, size_t *ret_message_bytes) MUST_USE;

#endif

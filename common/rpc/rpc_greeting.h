/* rpc_greeting: one message in and one message out over a socket that is not a link yet: the hello and its answer, as dialer and
 * server exchange them.
 *
 * Shape:     reads exactly one message and not a byte behind it: what follows belongs to the link.
 * Limits:    RPC_HELLO_BYTES_MAX.
 * Errors:    ERR_WOULD_BLOCK: call again when the socket is ready. ERR_MALFORMED: no node speaks so. Else the connection is lost.
 * Ownership: the socket is borrowed.
 * Threads:   those of its owner.
 */
#ifndef COMMON_RPC_RPC_GREETING_H
#define COMMON_RPC_RPC_GREETING_H

#include "common/rpc/rpc_hello.h"
#include "common/seam/net.h"

struct rpc_greeting {
    uint8_t in[RPC_HELLO_BYTES_MAX];
    size_t in_bytes;
    struct bytebuf out; /* what is to be sent is encoded into it */
    size_t out_sent_bytes;
};

void rpc_greeting_init(struct rpc_greeting *greeting);
void rpc_greeting_done(struct rpc_greeting *greeting);
/* ERR_OK: the whole message is there; the span points into the greeting. */
enum err rpc_greeting_read(struct rpc_greeting *greeting, struct socket *socket, struct span *ret_message) MUST_USE;
/* ERR_OK: all of `out` is sent. */
enum err rpc_greeting_write(struct rpc_greeting *greeting, struct socket *socket) MUST_USE;

#endif

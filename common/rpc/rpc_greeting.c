#include "common/rpc/rpc_greeting.h"

void rpc_greeting_init(struct rpc_greeting *greeting)
{
    greeting->in_bytes = 0;
    greeting->out_sent_bytes = 0;
    bytebuf_init(&greeting->out, RPC_HELLO_BYTES_MAX);
}

void rpc_greeting_done(struct rpc_greeting *greeting)
{
    bytebuf_done(&greeting->out);
}

enum err rpc_greeting_read(struct rpc_greeting *greeting, struct socket *socket, struct span *ret_message)
{
    for (;;) {
        size_t wanted_bytes = RPC_HELLO_PREFIX_BYTES;
        enum err err = rpc_hello_peek(span_make(greeting->in, greeting->in_bytes), &wanted_bytes);
        if (err == ERR_MALFORMED) {
            return err;
        }
        if (err == ERR_OK && greeting->in_bytes == wanted_bytes) {
            *ret_message = span_make(greeting->in, greeting->in_bytes);
            return ERR_OK;
        }
        size_t read_bytes = 0;
        err = socket_read(socket, greeting->in + greeting->in_bytes, wanted_bytes - greeting->in_bytes, &read_bytes);
        if (err != ERR_OK) {
            return err;
        }
        greeting->in_bytes += read_bytes;
    }
}

enum err rpc_greeting_write(struct rpc_greeting *greeting, struct socket *socket)
{
    while (greeting->out_sent_bytes < greeting->out.bytes) {
        struct span left = span_sub(bytebuf_span(&greeting->out), greeting->out_sent_bytes,
                                    greeting->out.bytes - greeting->out_sent_bytes);
        size_t written_bytes = 0;
        enum err err = socket_writev(socket, &left, 1, &written_bytes);
        if (err != ERR_OK) {
            return err;
        }
        greeting->out_sent_bytes += written_bytes;
    }
    return ERR_OK;
}

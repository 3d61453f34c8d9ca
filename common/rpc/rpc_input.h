/* rpc_input: cuts the bytes of a link into frames. Knows no socket: room is asked for, filled, and frames are taken out.
 *
 * Shape:     one shared buffer at a time; [start, end) of it is read but not yet taken. A buffer of RPC_INPUT_BYTES takes many
 *            small frames with one read; a frame that does not fit gets a buffer of its own, with a little room behind it for
 *            the next frame's first bytes: a stream of large frames costs one read each, and copies less than that room.
 * Limits:    RPC_FRAME_BYTES_MAX, RPC_HEADER_BYTES_MAX.
 * Errors:    RPC_INPUT_BAD: the stream can't be continued; the reason is a clause for the log.
 * Ownership: the input holds one reference to its buffer. A frame borrows it until the next call; who refs frame->buffer keeps
 *            the bytes (they are never written again), and keeps a whole buffer alive for them.
 * Threads:   one at a time.
 * Source:    rpc_link.h (layout); design.md 13 (plain events).
 */
#ifndef COMMON_RPC_RPC_INPUT_H
#define COMMON_RPC_RPC_INPUT_H

#include "common/rpc/rpc_link.h"

#define RPC_INPUT_BYTES 65536u
#define RPC_INPUT_SLACK_BYTES 1024u

struct rpc_input {
    struct shared_bytes *buffer; /* NULL when nothing is read */
    size_t start;
    size_t end;
    size_t needed_bytes; /* of the frame at `start`, as far as is known */
    bool is_large_expected;
};

enum rpc_input_status { RPC_INPUT_NEEDS_BYTES, RPC_INPUT_READY, RPC_INPUT_BAD };

void rpc_input_init(struct rpc_input *input);
void rpc_input_done(struct rpc_input *input);
/* Where to put what comes next; at least one byte. Call rpc_input_next until it needs bytes before. */
uint8_t *rpc_input_room(struct rpc_input *input, size_t *ret_bytes);
void rpc_input_added(struct rpc_input *input, size_t bytes);
enum rpc_input_status rpc_input_next(struct rpc_input *input, struct rpc_frame *ret_frame, const char **ret_reason);
/* Gives the memory back when no byte waits in it: an idle link holds none. */
void rpc_input_rest(struct rpc_input *input);

#endif

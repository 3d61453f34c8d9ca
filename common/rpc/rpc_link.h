/* rpc_link: frames over one socket between two nodes, both ways. What dialer and server hand out once the hellos are exchanged.
 *
 * Shape:     frame = 16 bytes (u32 bytes that follow the first 4, u16 type, u16 zero, u32 header bytes, u32 CRC-32C of the 12 bytes
 *            before it and of the header), header (protobuf-c of proto/node, < RPC_HEADER_BYTES_MAX), body (raw: record batches, a
 *            snapshot chunk, ...; checked by who reads it). A link reads into one buffer per frame, so a body can be kept by a reference.
 *            Sending queues; rpc_link_flush (or the end of the loop's iteration, by a deferred task) writes with one writev, files by sendfile.
 * Limits:    RPC_FRAME_BYTES_MAX per frame. rpc_link_queued_bytes tells what waits to be sent; who sends bounds it (credit), and a peer
 *            that takes nothing for stall_us while something waits loses the link (ERR_TIMEOUT).
 * Errors:    any malformed frame ends the link with ERR_MALFORMED and a log line.
 * Ownership: rpc_link_free closes at once; no callback follows it, also when called from one of its callbacks.
 *            on_closed comes at most once, for an end that the link met itself; the owner then frees it.
 * Threads:   those of its loop.
 * Source:    design.md 6, 11; correctness.md 10.
 */
#ifndef COMMON_RPC_RPC_LINK_H
#define COMMON_RPC_RPC_LINK_H

#include "common/rpc/rpc_hello.h"
#include "common/seam/fs.h"
#include "common/seam/loop.h"
#include "common/seam/net.h"
#include "common/shared_bytes.h"

#define RPC_FRAME_BYTES_MAX (9u << 20)
#define RPC_HEADER_BYTES_MAX (1u << 20)

struct logger;
struct rpc_link;

struct rpc_frame {
    uint16_t type; /* the kind's own numbers */
    struct span header;
    struct span body;
    struct shared_bytes *buffer; /* holds header and body; shared_bytes_ref to keep them */
};

struct rpc_link_events {
    void *ctx;
    void (*on_frame)(void *ctx, const struct rpc_frame *frame);
    /* What was queued fell to the low mark (rpc_link_set_low_mark) or to nothing. May be NULL. */
    void (*on_drained)(void *ctx);
    /* The link has ended: ERR_END (orderly), ERR_RESET, ERR_TIMEOUT, ERR_MALFORMED, ... */
    void (*on_closed)(void *ctx, enum err err);
};

/* One piece of a body. Exactly one of: borrowed bytes (copied at once), bytes of a shared buffer (referenced), a range of a file
 * (referenced; the page cache should have it: a loop must not wait for the disk). */
struct rpc_piece {
    struct span bytes;
    struct shared_bytes *shared; /* holds `bytes`; NULL: they are copied */
    struct file *file;           /* not NULL: [pos, pos + file_bytes) of it, `bytes` is unused */
    uint64_t pos;
    size_t file_bytes;
};

/* Queues one frame. The header is copied. Nothing fails here: a broken link tells by on_closed. */
void rpc_link_send(struct rpc_link *link, uint16_t type, struct span header, const struct rpc_piece *body,
                   size_t piece_count);
/* Writes now what the socket takes. */
void rpc_link_flush(struct rpc_link *link);
size_t rpc_link_queued_bytes(const struct rpc_link *link);
void rpc_link_set_low_mark(struct rpc_link *link, size_t bytes);
/* No more frames are read (and so no more memory is used) until it is resumed. */
void rpc_link_pause(struct rpc_link *link);
void rpc_link_resume(struct rpc_link *link);
/* The events go to somebody else from now on. */
void rpc_link_set_events(struct rpc_link *link, const struct rpc_link_events *events);
/* The peer's hello. */
const struct rpc_hello *rpc_link_peer(const struct rpc_link *link);
void rpc_link_peer_address(const struct rpc_link *link, struct net_address *ret_address);
/* Sends what is queued as far as possible, closes, frees. NULL is accepted. */
void rpc_link_free(struct rpc_link *link);

struct rpc_link_config {
    struct loop *loop;
    struct logger *logger;
    uint64_t stall_us; /* 0: RPC_STALL_US */
};
#define RPC_STALL_US 30000000u

/* For dialer and server: takes over a socket whose hellos are exchanged. `early`: bytes that were read behind the hello. */
struct rpc_link *rpc_link_new(const struct rpc_link_config *config, struct socket *socket, const struct rpc_hello *peer,
                              const struct rpc_link_events *events);

#endif

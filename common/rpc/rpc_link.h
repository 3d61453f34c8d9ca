/* rpc_link: frames over one socket between two nodes, both ways. What dialer and server hand out once the hellos are exchanged.
 *
 * Shape:     a frame is a prefix of 16 bytes (rpc_frame.h), a header (protobuf-c of proto/node, up to RPC_HEADER_BYTES_MAX) and a body
 *            (raw: record batches, a snapshot chunk, ...; checked by who reads it). Small frames are read many at a time into one
 *            buffer, a large one into its own, so a body can be kept by a reference; who keeps a small frame for long copies it,
 *            or keeps 64 KiB for it. Sending queues; rpc_link_flush (or the end of the loop's iteration, by a deferred task) writes
 *            with one writev, files by sendfile. One iteration reads and writes a bounded share, then others have their turn.
 * Limits:    RPC_FRAME_BYTES_MAX per frame, prefix included: who sends keeps to it. rpc_link_queued_bytes tells what waits to be sent;
 *            who sends bounds it (credit), and a peer that takes nothing for stall_us while something waits loses the link
 *            (ERR_TIMEOUT). The kernel takes megabytes for a dead peer: silence is found by a ping of the kind.
 * Errors:    any malformed frame ends the link with ERR_MALFORMED and a log line. A file that is shorter than what was queued of it:
 *            ERR_CORRUPT. A killed peer: ERR_END, or ERR_RESET when something was on its way to it.
 * Ownership: rpc_link_free closes at once; no callback follows it, also when called from one of its callbacks.
 *            on_closed comes at most once, for an end that the link met itself; the owner then frees it. Callbacks come only from the
 *            loop, never from within a call of the owner: it may send on many links in turn, and none goes away meanwhile.
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
    /* What was queued had risen above the low mark and fell to it. May be NULL. */
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
/* 0 at first. */
void rpc_link_set_low_mark(struct rpc_link *link, size_t bytes);
/* No more frames are handed out (and so no more memory is used) until it is resumed. A paused link does not notice that its peer has
 * gone, unless it sends. */
void rpc_link_pause(struct rpc_link *link);
void rpc_link_resume(struct rpc_link *link);
/* The events go to somebody else from now on. on_frame and on_closed must be there. */
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

/* For dialer and server: takes over a socket whose hellos are exchanged and which is attached to no loop. events == NULL: nothing is
 * read until rpc_link_set_events. */
struct rpc_link *rpc_link_new(const struct rpc_link_config *config, struct socket *socket, const struct rpc_hello *peer,
                              const struct rpc_link_events *events);

#endif

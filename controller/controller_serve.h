/* controller_serve: what other nodes ask of this controller over links: requests (CALL) and committed metadata (METADATA).
 *
 * Shape:     a CALL link is told who is active, at first and with each change; its requests are submitted like those of this process, and
 *            answered when they end, in whatever order.
 *            A METADATA link names what it has (offset, hash); it is sent the entries behind it, from the ring, or first a snapshot of the
 *            image when the ring does not reach back. If its hash is another one at its offset it is told so and sent nothing: one of the two
 *            has not applied what was committed (R8), and it ends itself.
 *            Clients ping: a link without a word for SERVE_UNHEARD_MAX turns of SERVE_SWEEP_US is closed, as its other end has gone silently.
 * Limits:    SERVE_CALLS_MAX and SERVE_CALL_BYTES_MAX requests of a link at a time and SERVE_ANSWER_BYTES_MAX of answers that it does not take (then
 *            nothing more is read from it), SERVE_WINDOW_BYTES of entries that are not acknowledged,
 *            SERVE_LINKS_MAX links of each kind.
 * Errors:    a malformed frame ends its link.
 * Ownership: the controller owns it; links belong to it from on_link on.
 * Threads:   the controller's loop; controller_serve_check: the server's.
 * Source:    correctness.md 5; design.md 8.
 */
#ifndef CONTROLLER_CONTROLLER_SERVE_H
#define CONTROLLER_CONTROLLER_SERVE_H

#include "common/rpc/rpc_server.h"
#include "controller/controller_ring.h"

#define SERVE_CALLS_MAX 256u
#define SERVE_CALL_BYTES_MAX (32u << 20)
#define SERVE_WINDOW_BYTES (4u << 20)
#define SERVE_LINKS_MAX 1024u
#define SERVE_ANSWER_BYTES_MAX (16u << 20)
#define SERVE_SWEEP_US 1000000u
#define SERVE_UNHEARD_MAX 5u

struct controller;
struct serve_call_link;
struct serve_metadata_link;

struct controller_serve {
    struct controller *controller;
    struct controller_ring ring;
    struct serve_call_link *call_links;
    struct serve_metadata_link *metadata_links;
    uint32_t link_count;
    struct loop_timer sweep_timer;
    uint32_t busy_count; /* links that are gone, whose requests or jobs are not */
};

void controller_serve_init(struct controller_serve *serve, struct controller *controller);
void controller_serve_done(struct controller_serve *serve);

/* The loop takes over; the cluster must be this one (when both know theirs). */
void controller_serve_call(void *ctx, struct rpc_link *link);
void controller_serve_metadata(void *ctx, struct rpc_link *link);
/* The controller's view has changed. */
void controller_serve_view(struct controller_serve *serve);
/* An entry was applied: the image is what it made. */
void controller_serve_entry(struct controller_serve *serve, uint64_t term, struct span bytes);
/* The image was replaced. */
void controller_serve_restored(struct controller_serve *serve);
/* Closes all links. What they have under way ends by itself: busy_count falls to 0. */
void controller_serve_stop(struct controller_serve *serve);

#endif

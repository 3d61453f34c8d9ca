/* stream_client: the follower's side of replication on one worker: keeps links to the leaders of the partitions that this worker follows,
 * subscribes, cuts diverging histories, hands what comes to the partitions, and acknowledges what they count.
 *
 * Shape:     client -> peers (leader brokers) -> lanes (leader's worker x {main, catch-up}: one rpc_dial each) -> partitions.
 *
 *              WAITING (no link, address or identity yet) -> DUE (in the next SUBSCRIBE) -> ASKED -> STREAMING
 *              ASKED --diverging, or behind the log start--> CUTTING --done--> DUE (again, until there is no divergence)
 *              ASKED, STREAMING --error, end--> BACKOFF --timer--> DUE
 *
 *            A later leader epoch begins at DUE (behind a truncation under way). Only a STREAMING partition appends, and only it
 *            acknowledges (trap 5).
 * Limits:    stream_limits.h. Nothing is queued here: what comes is appended or dropped at once.
 * Errors:    a batch that is refused ends its subscription, which is tried again with a growing delay; a malformed frame or a silent
 *            leader ends the link.
 * Ownership: owned by the worker. Partitions are borrowed between on_follow and on_unfollow; their follow_slot is ours.
 * Threads:   the worker's own, except new and free.
 * Source:    design.md 6; correctness.md 4, traps 1, 4, 5, 6; KIP-101, KIP-279; docs/cluster.md.
 */
#ifndef BROKER_STREAM_STREAM_CLIENT_H
#define BROKER_STREAM_STREAM_CLIENT_H

#include "broker/replica/replica_link.h"
#include "common/rpc/rpc_hello.h"

struct image;
struct image_delta;
struct stream_client;
struct worker;

struct stream_client *stream_client_new(struct worker *worker);
/* For the partition_set. */
void stream_client_events(struct stream_client *client, struct partition_follow_events *ret_events);
/* What this broker says of itself (cluster, node, directory, incarnation, broker epoch, worker count; kind and lane are ours). No link is
 * opened before; another broker epoch or incarnation opens all links anew. Copied. */
void stream_client_set_identity(struct stream_client *client, const struct rpc_hello *hello);
/* With each delivery of metadata, behind partition_set_apply: addresses and incarnations of leaders. `delta` may be NULL: look at all. */
void stream_client_metadata(struct stream_client *client, const struct image *image, const struct image_delta *delta);
/* In the worker's step, behind partition_set_step. */
void stream_client_step(struct stream_client *client);
/* Closes all links and lets go of all partitions; `done` once no truncation of ours is under way, never before this returns. */
void stream_client_stop(struct stream_client *client, void (*done)(void *ctx), void *ctx);
/* After `done`, or when nothing was ever followed. NULL is accepted. */
void stream_client_free(struct stream_client *client);

#endif

/* stream_server: the leader's side of replication on one worker: takes the links of followers, subscribes them at partitions, and pushes
 * appended bytes and marks. It decides nothing about replicas: partitions do (broker/replica/replica_link.h).
 *
 * Shape:     server -> links (one per follower's worker and lane) -> subscriptions (one per handle).
 *            A partition's news -> the subscription is READY -> in the step its log is read, without blocking or by a pool job -> parts of
 *            several partitions in one DATA frame of at most STREAM_FRAME_BYTES; partitions take turns of STREAM_SHARE_BYTES.
 *            Marks travel with data, or after STREAM_MARKS_DELAY_US alone.
 * Limits:    stream_limits.h: credit per link, reads in the pool, handles, links. Ranges of STREAM_SENDFILE_BYTES and more go out of the
 *            page cache; copies of shorter ones are taken from the worker's memory budget, and go out of the page cache as well
 *            when it has none left.
 * Errors:    a malformed frame, an unknown type or an acknowledgement of what was never sent closes the link with a log line. A log that
 *            can't be read ends its subscription with Kafka's code.
 * Ownership: owned by the worker; owns the links that it accepts.
 * Threads:   the worker's own, except new and free.
 * Source:    design.md 6; correctness.md 4, traps 1, 3, 5, 20; docs/cluster.md.
 */
#ifndef BROKER_STREAM_STREAM_SERVER_H
#define BROKER_STREAM_STREAM_SERVER_H

struct rpc_link;
struct stream_server;
struct worker;

/* The worker has its loop, metrics, memory and (when links come) partitions. */
struct stream_server *stream_server_new(struct worker *worker);
/* Takes a link of kind REPLICA whose lane names this worker (stream_lane.h). */
void stream_server_accept(struct stream_server *server, struct rpc_link *link);
/* In the worker's step, behind partition_set_step. */
void stream_server_step(struct stream_server *server);
/* Closes all links; `done` once no read is in the pool, never before this returns. Links that come later are closed at once. */
void stream_server_stop(struct stream_server *server, void (*done)(void *ctx), void *ctx);
/* After `done`, or when no link ever came. NULL is accepted. */
void stream_server_free(struct stream_server *server);

#endif

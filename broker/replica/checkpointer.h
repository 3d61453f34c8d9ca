/* checkpointer: writes the checkpoint files of the log directories (recovery points, high watermarks, log starts) a while after
 * something has changed, and once more at the stop. An idle node writes nothing and does not wake up.
 *
 * Shape:     worker: checkpointer_due -> timer on the first worker's loop -> a task visits every worker in turn and collects rows ->
 *            a job writes the files of every directory. What they say is a promise that recovery holds a log to: of partitions that are
 *            not open it is said again, and nothing is written before the metadata has told which partitions there are.
 * Limits:    one round at a time; at most one in CHECKPOINTER_DELAY_US.
 * Ownership: owned by the broker.
 * Threads:   checkpointer_due: any worker; new, free: home, while workers don't run; flush: home, its callback on the
 *            first worker's loop.
 * Source:    correctness.md 4 trap 17 (a recovery point is never ahead of what is synced).
 */
#ifndef BROKER_REPLICA_CHECKPOINTER_H
#define BROKER_REPLICA_CHECKPOINTER_H

#define CHECKPOINTER_DELAY_US 5000000u

struct broker;
struct checkpointer;
struct worker;

/* The broker's workers and log_dirs must exist. */
struct checkpointer *checkpointer_new(struct broker *broker);
/* No round may be under way: after a flush has ended and the workers have stopped. */
void checkpointer_free(struct checkpointer *checkpointer);
void checkpointer_due(struct checkpointer *checkpointer, struct worker *worker);
/* Writes now, or again behind the round that is under way; `done` runs on the first worker's loop. Nothing is written by itself
 * any more after it. */
void checkpointer_flush(struct checkpointer *checkpointer, void (*done)(void *ctx), void *ctx);

#endif

/* partition_open: how a replica comes and goes: opened or created in the pool, given its role, closed, deleted.
 *
 * Shape:     partition_open -> the place on disk is claimed (place_claims.h) -> job: partition_log_open or _create -> attach -> FOLLOWER,
 *            or begin the epoch (on disk) -> LEADER.
 *            What arrives while a job holds the partition (a later epoch, a removal, the stop) is done when the job ends.
 * Errors:    a log that can't be opened leaves the partition OFFLINE, with a log line that says what is damaged and what to do. A damaged
 *            one is set aside and learnt again from the leader as soon as the replica is in neither ISR nor ELR.
 * Threads:   the owner worker; the job touches only what it owns.
 * Source:    design.md 7, 8; correctness.md 4 traps 1, 16, 17.
 */
#ifndef BROKER_REPLICA_PARTITION_OPEN_H
#define BROKER_REPLICA_PARTITION_OPEN_H

#include "broker/replica/partition_set.h"

/* is_made_now: the metadata has just made it, so no record of it can be missing from the disk. */
void partition_open(struct partition_set *set, const struct image *image, const struct image_topic *topic,
                    const struct image_partition *metadata, bool is_made_now);
/* Epochs, ISR and leadership as the metadata has them now. */
void partition_follow_metadata(struct partition *partition, const struct image_partition *metadata);
/* A job that held the log has ended (partition_follow.c): what was asked meanwhile is done now. */
void partition_role_job_done(struct partition *partition, enum err err);
/* The replica left this broker, or its topic is gone: its files too. */
void partition_remove(struct partition *partition);
void partition_close(struct partition *partition);

#endif

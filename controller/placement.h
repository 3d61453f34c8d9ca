/* placement: which brokers and directories hold the replicas of new partitions.
 *
 * Shape:     partition by partition: the first replica (the preferred leader) goes to the broker that leads fewest partitions of
 *            this topic, then fewest of all; further replicas to racks that the partition does not use yet, then to brokers
 *            with fewest replicas of this topic, then fewest of all. Ties go round from a number that was drawn before. The order of the
 *            followers changes from round to round, so that a dead broker's leaderships spread over the others.
 *            On its broker a replica goes to the online directory with the fewest replicas.
 * Errors:    false when fewer brokers are usable than replicas are asked for: ret_usable_count says how many there are.
 * Ownership: the caller's arrays; working memory from the arena.
 * Threads:   pure.
 * Source:    design.md 8 ("spreads over racks, brokers and disks"); KIP-36 (racks).
 */
#ifndef CONTROLLER_PLACEMENT_H
#define CONTROLLER_PLACEMENT_H

#include "common/arena.h"
#include "controller/image.h"

struct placement_load;

/* What the brokers carry now, and what a topic being placed adds. Brokers that are fenced or leaving are not used. */
struct placement {
    struct placement_load
        *loads; /* the usable brokers first, then the others: named by hand they need a directory, too */
    uint32_t load_count;
    uint32_t usable_count;
    uint64_t turn;
};

/* topic: partitions that exist already count as the topic's; NULL for a new topic. */
void placement_init(struct placement *placement, const struct image *image, const struct image_topic *topic,
                    uint64_t seed, struct arena *arena);
uint32_t placement_usable_count(const struct placement *placement);
/* Chooses for one partition; replica_count <= placement_usable_count. */
void placement_choose(struct placement *placement, uint32_t replica_count, int32_t *ret_replicas,
                      struct uuid *ret_directories);
/* A directory for a replica whose broker was named by hand, alive or not; zero when it is not registered. */
struct uuid placement_directory(struct placement *placement, int32_t broker_id);

#endif

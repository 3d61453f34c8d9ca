/* elect: who leads a partition. The most important choice of the controller, so it stands alone.
 *
 * Shape:     the leader is taken from the ISR; from the ELR only if the ISR is empty (KIP-966): an ELR member holds everything that
 *            was committed when the ISR fell below min.insync.replicas, and nothing was committed since. Never from anywhere
 *            else, unless the topic allows it (unclean.leader.election.enable) and there is no other: then data may be lost, and those
 *            who were in ISR or ELR last come first.
 *            Among equals the first of the replicas, which placement spreads ("preferred leader").
 *            A broker that is leaving is chosen by nobody, but what it leads and nobody else can lead it serves to its end.
 * Threads:   pure.
 * Source:    correctness.md 4 (2), KIP-966; KIP-106 (unclean election off).
 */
#ifndef CONTROLLER_ELECT_H
#define CONTROLLER_ELECT_H

#include "controller/image.h"

enum elect_fitness {
    ELECT_UNFIT,   /* fenced, unknown, without the replica's directory, or going with this very decision */
    ELECT_LEAVING, /* alive, and asked to shut down */
    ELECT_FIT,
};

typedef enum elect_fitness (*elect_fitness_fn)(const void *ctx, const struct image_partition *partition,
                                               int32_t broker_id);

struct elect_choice {
    int32_t leader_id; /* IMAGE_NO_LEADER: nobody may */
    bool is_from_elr;
    bool is_unclean;
};

/* `keep`: the present leader stays if it may; false: the first of the ISR is taken. */
struct elect_choice elect_leader(const struct image_partition *partition, elect_fitness_fn fitness, const void *ctx,
                                 bool keep, bool allows_unclean);

#endif

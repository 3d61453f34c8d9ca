/* cluster_nemesis: makes things go wrong in a simulated cluster, by seed, within what the product promises to survive; and brings
 * dead nodes back.
 *
 * Shape:     at drawn times one fault of a drawn kind hits a drawn node (or a leader, the active controller, everybody); each lasts a
 *            drawn time; some come in quick succession. A third of the kinds is switched off per seed (swarm testing).
 * Safety:    what topics promise is not exceeded: while a topic is cached, unsynced bytes are taken from one broker at a time, only
 *            when its partitions have all replicas in sync, and the next only after it is in sync again; never with a minimum
 *            of one. The same holds, for all topics, of brokers that lose their disk. Synced topics and the quorum lose power as often as the seed likes, all at once too.
 *            A voter loses its disk only while all the others hold theirs (running or not).
 * Liveness:  cluster_nemesis_heal ends all faults and boots all nodes; frozen ones go on by the time that it returns.
 * Threads:   one.
 * Source:    testing.md 1 and 10; correctness.md 1, note 1.
 */
#ifndef TESTS_SIM_CLUSTER_NEMESIS_H
#define TESTS_SIM_CLUSTER_NEMESIS_H

#include "tests/sim/cluster_world.h"

/* name, text for the counts */
#define CLUSTER_FAULT_TABLE(X)                                                                                         \
    X(CLUSTER_FAULT_KILL, "kill")                                                                                      \
    X(CLUSTER_FAULT_KILL_LEADER, "kill_leader")                                                                        \
    X(CLUSTER_FAULT_KILL_CONTROLLER, "kill_controller")                                                                \
    X(CLUSTER_FAULT_KILL_ALL, "kill_all")                                                                              \
    X(CLUSTER_FAULT_STOP, "stop")                                                                                      \
    X(CLUSTER_FAULT_POWER_LOSS, "power_loss")                                                                          \
    X(CLUSTER_FAULT_POWER_LOSS_RANDOM, "power_loss_random")                                                            \
    X(CLUSTER_FAULT_POWER_LOSS_ALL, "power_loss_all")                                                                  \
    X(CLUSTER_FAULT_CRASH_IN_CALL, "crash_in_call")                                                                    \
    X(CLUSTER_FAULT_NEW_DISK, "new_disk")                                                                              \
    X(CLUSTER_FAULT_PAUSE, "pause")                                                                                    \
    X(CLUSTER_FAULT_FREEZE, "freeze")                                                                                  \
    X(CLUSTER_FAULT_FREEZE_LEADER, "freeze_leader")                                                                    \
    X(CLUSTER_FAULT_CUT, "cut")                                                                                        \
    X(CLUSTER_FAULT_CUT_ONE_WAY, "cut_one_way")                                                                        \
    X(CLUSTER_FAULT_ISOLATE, "isolate")                                                                                \
    X(CLUSTER_FAULT_ISOLATE_ONE_WAY, "isolate_one_way")                                                                \
    X(CLUSTER_FAULT_SPLIT, "split")                                                                                    \
    X(CLUSTER_FAULT_SLOW_LINK, "slow_link")                                                                            \
    X(CLUSTER_FAULT_RESET, "reset")                                                                                    \
    X(CLUSTER_FAULT_SYNC_ERROR, "sync_error")                                                                          \
    X(CLUSTER_FAULT_WRITE_ERROR, "write_error")                                                                        \
    X(CLUSTER_FAULT_DISK_FULL, "disk_full")                                                                            \
    X(CLUSTER_FAULT_SLOW_DISK, "slow_disk")                                                                            \
    X(CLUSTER_FAULT_CLOCK_JUMP, "clock_jump")                                                                          \
    X(CLUSTER_FAULT_VOTER_OUT, "voter_out")                                                                            \
    X(CLUSTER_FAULT_NEW_SESSION, "new_session")

enum cluster_fault {
#define X(name, text) name,
    CLUSTER_FAULT_TABLE(X)
#undef X
        CLUSTER_FAULT_COUNT
};

struct cluster_nemesis;

struct nemesis_node {
    struct cluster_nemesis *nemesis;
    struct cluster_node *node;
    struct loop_timer restart;
    struct loop_timer repair; /* of its disk */
    uint64_t frozen_until_us;
    bool wants_disk; /* it comes back with an empty one */
    bool lost_disk;  /* lossy in all topics, not only in cached ones */
    bool is_lossy;   /* its unsynced bytes were taken, and it is not known to have copied them from others since */
    uint64_t lossy_start_count; /* the process that lost them */
};

struct cluster_nemesis {
    struct cluster_world *cluster;
    uint32_t enabled;
    bool is_active;
    struct loop_timer next;
    struct loop_timer heal_links;
    struct nemesis_node nodes[CLUSTER_NODES_MAX];
    uint64_t counts[CLUSTER_FAULT_COUNT];
};

void cluster_nemesis_init(struct cluster_nemesis *nemesis, struct cluster_world *cluster);
void cluster_nemesis_start(struct cluster_nemesis *nemesis);
/* Runs the world until nobody is frozen. */
void cluster_nemesis_heal(struct cluster_nemesis *nemesis);
/* Before the world goes. */
void cluster_nemesis_done(struct cluster_nemesis *nemesis);
uint64_t cluster_nemesis_fault_count(const struct cluster_nemesis *nemesis);
/* "kill=3 cut=1 ..." for people. */
void cluster_nemesis_describe(const struct cluster_nemesis *nemesis, char *ret_text, size_t bytes_max);

/* cluster_nemesis_links.c */
void cluster_nemesis_hit_links(struct cluster_nemesis *nemesis, enum cluster_fault fault, struct cluster_node *node);
void cluster_nemesis_heal_links(struct cluster_nemesis *nemesis);
/* cluster_nemesis_disks.c: losses of power and sick disks. False: it would exceed what is promised. */
bool cluster_nemesis_hit_power(struct cluster_nemesis *nemesis, enum cluster_fault fault, struct nemesis_node *target);
void cluster_nemesis_hit_disk(struct cluster_nemesis *nemesis, enum cluster_fault fault, struct nemesis_node *target);
void cluster_nemesis_repair_disk(struct nemesis_node *target);

/* In [1 ms, most_us]. */
uint64_t cluster_nemesis_draw_us(struct cluster_nemesis *nemesis, uint64_t most_us);

#endif

/* sim_nemesis: makes things go wrong, by seed: kills, power losses, pauses, cut and slow links, resets, failing, full and slow
 * disks, torn writes; and brings dead nodes back after a while. One per world.
 *
 * Shape:     at drawn times one fault of a drawn kind hits a drawn node; each lasts a drawn time. Overlaps happen. When a seed
 *            begins, each kind is switched off with some chance, so that seeds differ in character (swarm testing).
 * Safety first, then liveness: sim_nemesis_heal ends all faults and starts all nodes; then the test demands progress.
 * Ownership: world, fabric and nodes are borrowed.
 * Threads:   one.
 * Source:    testing.md 1 and 10.
 */
#ifndef TESTS_SIM_SIM_NEMESIS_H
#define TESTS_SIM_SIM_NEMESIS_H

#include "tests/sim/sim_node.h"

#define SIM_NEMESIS_NODES_MAX 8

/* name, text for the counts */
#define SIM_FAULT_TABLE(X)                                                                                             \
    X(SIM_FAULT_KILL, "kill")                                                                                          \
    X(SIM_FAULT_POWER_LOSS, "power_loss")                                                                              \
    X(SIM_FAULT_POWER_LOSS_RANDOM, "power_loss_random")                                                                \
    X(SIM_FAULT_CRASH_IN_CALL, "crash_in_call")                                                                        \
    X(SIM_FAULT_PAUSE, "pause")                                                                                        \
    X(SIM_FAULT_CUT, "cut")                                                                                            \
    X(SIM_FAULT_CUT_ONE_WAY, "cut_one_way")                                                                            \
    X(SIM_FAULT_SLOW_LINK, "slow_link")                                                                                \
    X(SIM_FAULT_RESET, "reset")                                                                                        \
    X(SIM_FAULT_SYNC_ERROR, "sync_error")                                                                              \
    X(SIM_FAULT_WRITE_ERROR, "write_error")                                                                            \
    X(SIM_FAULT_DISK_FULL, "disk_full")                                                                                \
    X(SIM_FAULT_SLOW_DISK, "slow_disk")                                                                                \
    X(SIM_FAULT_CLOCK_JUMP, "clock_jump")

enum sim_fault {
#define X(name, text) name,
    SIM_FAULT_TABLE(X)
#undef X
        SIM_FAULT_COUNT
};

struct sim_nemesis_options {
    struct sim_world *world;
    struct sim_fabric *fabric;
    struct sim_node **nodes; /* those that suffer */
    unsigned node_count;
    struct sim_node **bystanders; /* only their links to the nodes suffer */
    unsigned bystander_count;
    sim_node_code_fn boot; /* how a node comes back */
    void *ctx;
    uint64_t gap_us_most; /* between two faults */
    uint32_t disabled;    /* 1 << enum sim_fault for each kind that never happens */
};

struct sim_nemesis;

/* What can happen to one node, and when it ends. */
struct sim_nemesis_node {
    struct sim_nemesis *nemesis;
    struct sim_node *node;
    struct loop_timer restart;
    struct loop_timer repair; /* of its disk */
    /* A failed sync leaves bytes in the page cache that the disk lacks; a power loss soon after the restart shows who trusted them. */
    bool had_sync_error;
    struct loop_timer power_cut;
};

struct sim_nemesis {
    struct sim_nemesis_options options;
    uint32_t enabled;
    bool is_active;
    struct loop_timer next;
    struct loop_timer heal_links;
    struct sim_nemesis_node nodes[SIM_NEMESIS_NODES_MAX];
    uint64_t counts[SIM_FAULT_COUNT];
    uint64_t restart_count;
};

/* Takes over on_death of the nodes. Starts nothing yet. */
void sim_nemesis_init(struct sim_nemesis *nemesis, const struct sim_nemesis_options *options);
void sim_nemesis_start(struct sim_nemesis *nemesis);
void sim_nemesis_heal(struct sim_nemesis *nemesis);
/* Cancels its events; before the world goes. */
void sim_nemesis_done(struct sim_nemesis *nemesis);
uint64_t sim_nemesis_fault_count(const struct sim_nemesis *nemesis);
/* "kill=3 cut=1 ..." for people. */
void sim_nemesis_describe(const struct sim_nemesis *nemesis, char *ret_text, size_t bytes_max);

#endif

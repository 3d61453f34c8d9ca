/* sim_node: one machine of a simulation: a disk, a place in the network, clocks, and at most one process, which gets a struct
 * env like any other and never knows that it is not alone in the world.
 *
 *     running --kill--> dead --start--> running          the disk keeps everything, sockets close
 *     running --power_loss--> off --power_on--> dead     the disk keeps what was synced (or a drawn part), sockets fall silent
 *
 * Shape:     sim_node_start calls `boot` with the env, as main would be called; what it allocates belongs to the process and
 *            ends with it. sim_node_run runs other code of the node in the same way (a test that calls into the product).
 *            A kill while code of the node is on the stack takes place when that code returns to the schedule.
 * Ownership: the world and the fabric are borrowed; sim_node_free kills first.
 * Threads:   one.
 * Source:    ADR-0009.
 */
#ifndef TESTS_SIM_SIM_NODE_H
#define TESTS_SIM_SIM_NODE_H

#include "common/logger.h"
#include "common/seam/env.h"
#include "tests/sim/sim_abort.h"
#include "tests/sim/sim_clock.h"
#include "tests/sim/sim_mem.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_rng.h"
#include "tests/sim/sim_runtime.h"
#include "tests/support/fs_sim.h"

enum sim_node_state { SIM_NODE_OFF, SIM_NODE_DEAD, SIM_NODE_RUNNING };

#define SIM_BOOT_ID_BYTES 40

struct sim_node;

typedef void (*sim_node_code_fn)(struct sim_node *node, void *ctx);

struct sim_node_options {
    const char *name;         /* "n1"; outlives the node */
    const char *address;      /* "10.0.0.1"; outlives the node */
    uint32_t page_bytes;      /* of the disk; 0: the default */
    unsigned pool_threads;    /* 0: 4 */
    unsigned cpu_count;       /* 0: 2 */
    enum log_level log_level; /* the process's log lines go to the trace */
    bool has_boot_id;         /* env->boot_id is told: another one after each loss of power */
};

struct sim_node {
    struct sim_node_options options;
    struct sim_world *world;
    struct sim_host *host;
    struct fs_sim *disk;
    struct sim_clock clock;
    struct sim_rng rng;
    struct logger logger;
    struct sim_runtime *runtime; /* of the process; NULL without one */
    struct sim_mem_owner memory;
    struct env env;
    enum sim_node_state state;
    uint64_t start_count;
    uint64_t crash_count;
    bool is_kill_wanted;
    bool has_aborted; /* its memory is as the abort has left it */
    bool is_power_loss_wanted;
    enum fs_sim_crash_mode wanted_mode;
    /* What happens when the disk's crash_at strikes: FS_SIM_CRASH_KILL only the process dies, else the power goes. */
    enum fs_sim_crash_mode in_call_mode;
    uint64_t abort_count;                          /* processes that ended by a failed CHECK */
    char abort_sentence[SIM_ABORT_SENTENCE_BYTES]; /* of the last */
    uint64_t boot_count;
    char boot_id[SIM_BOOT_ID_BYTES];
    void *ctx; /* the test's */
    /* The process has just died; what it held is gone. May be NULL. */
    void (*on_death)(struct sim_node *node);
    /* A piece of its code has run, nothing of it is on the stack: the time to look at its memory. May be NULL. */
    void (*on_turn)(struct sim_node *node);
    /* A line of its log, before it goes to the trace. May be NULL. */
    void (*on_log)(struct sim_node *node, const char *line, size_t bytes);
};

struct sim_node *sim_node_new(struct sim_world *world, struct sim_fabric *fabric,
                              const struct sim_node_options *options);
void sim_node_free(struct sim_node *node);

/* Starts a process on a machine that is on and has none. */
void sim_node_start(struct sim_node *node, sim_node_code_fn boot, void *ctx);
void sim_node_run(struct sim_node *node, sim_node_code_fn code, void *ctx);
/* SIGKILL. Harmless without a process. */
void sim_node_kill(struct sim_node *node);
/* `mode`: what the disk keeps; not FS_SIM_CRASH_KILL. The machine is off then. */
void sim_node_power_loss(struct sim_node *node, enum fs_sim_crash_mode mode);
void sim_node_power_on(struct sim_node *node);
/* An empty disk in place of the old one: on a machine without a process. */
void sim_node_replace_disk(struct sim_node *node);
/* SIGSTOP for so long. */
void sim_node_pause(struct sim_node *node, uint64_t duration_us);
/* After the process has ended by itself in good order: frees the runtime, and returns how many blocks of memory and files it
 * has leaked (0 is right). The node is dead then. */
size_t sim_node_reap(struct sim_node *node);

#endif

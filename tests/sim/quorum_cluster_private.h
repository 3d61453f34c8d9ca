/* quorum_cluster_private: what quorum_cluster.c (machines, checker), quorum_process.c (what runs on one) and quorum_bus.c share. */
#ifndef TESTS_SIM_QUORUM_CLUSTER_PRIVATE_H
#define TESTS_SIM_QUORUM_CLUSTER_PRIVATE_H

#include "tests/sim/quorum_cluster.h"

/* What an index was applied as. */
struct quorum_fate {
    bool is_known;
    uint64_t term;
    uint64_t chain; /* of the state machine behind it */
    uint64_t count;
};

struct quorum_term_leader {
    uint64_t raft_id; /* 0: nobody was seen leading */
};

struct quorum_process {
    struct quorum_slot *slot;
    struct env *env;
    struct loop *loop;
    struct quorum *quorum;
    uint64_t applied;
    uint64_t chain;
    uint64_t count;
    bool is_running;
};

/* Starts quorum and loop in the node's memory. */
void quorum_process_boot(struct quorum_slot *slot, struct env *env);
void quorum_bus_send(struct quorum_process *process, uint64_t to_raft_id, struct span header, struct span body);
void quorum_bus_done(struct quorum_cluster *cluster);
/* From inside a process. */
void quorum_checker_applied(struct quorum_process *process, uint64_t index, uint64_t term);
void quorum_checker_restored(struct quorum_process *process, uint64_t index, uint64_t term);
void quorum_checker_leads(struct quorum_process *process, uint64_t term);
void quorum_checker_configured(struct quorum_cluster *cluster, const struct quorum_member *members, uint32_t count,
                               uint64_t index);
/* Facts as they are now. */
void quorum_process_note(struct quorum_process *process);

/* Runs `code` on the loop of the slot's process, with its own copy of `bytes`; nothing if there is none. */
typedef void (*quorum_process_fn)(struct quorum_process *process, struct span bytes);
bool quorum_process_is_alive(const struct quorum_slot *slot);
void quorum_process_call(struct quorum_slot *slot, quorum_process_fn code, struct span bytes);

#endif

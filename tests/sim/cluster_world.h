/* cluster_world: one simulated cluster: the nodes of a plan as processes of the product (struct broker), scripted clients, and the
 * checkers that look at every node after every piece of its code.
 *
 * Shape:     plan -> machines -> cluster_world_start boots all; a node that ends by itself (on_failed, an abort) is dead until somebody
 *            boots it again (cluster_nemesis). cluster_node_stop ends one in order and checks that nothing leaks.
 * Ownership: the world owns machines and checkers; a struct broker lives in its process's memory and goes with it.
 * Threads:   one.
 * Source:    ADR-0009, issue 4.
 */
#ifndef TESTS_SIM_CLUSTER_WORLD_H
#define TESTS_SIM_CLUSTER_WORLD_H

#include "tests/sim/cluster_ledger.h"
#include "tests/sim/cluster_lister.h"
#include "tests/sim/cluster_meta.h"
#include "tests/sim/cluster_operator.h"
#include "tests/sim/cluster_script.h"
#include "tests/sim/sim_node.h"

#define CLUSTER_CLIENTS_MAX (CLUSTER_PRODUCERS_MAX + CLUSTER_READERS_MAX + 3)

struct cluster_world;

struct cluster_node {
    struct cluster_world *cluster;
    unsigned index;
    const struct cluster_plan_node *plan;
    struct sim_node *machine;
    bool is_ready;
    bool is_stopping;
    uint64_t last_boot_count; /* of the machine, when its last process was started */
    uint64_t seen_abort_count;
    struct uuid directory;      /* of its controller; zero: not known */
    struct uuid lost_directory; /* whose disk was taken; zero: none */
    uint64_t lost_start_count;  /* of the process that had it */
    bool is_waiting;            /* it has asked to be admitted */
    char problem[512];          /* why its last process did not start or ended by itself; "" */
    struct loop_timer reap;     /* of a process that has stopped */
    void *nemesis;              /* its owner: told of deaths */
    void (*on_death)(struct cluster_node *node);
    /* of the process that runs; in its memory */
    struct broker_options options;
    struct broker *broker; /* NULL: none that may be looked at */
    struct broker *stopping;
    struct loop *home;
    struct loop_task task;
};

struct cluster_counts {
    uint64_t starts;
    uint64_t readies;
    uint64_t failures; /* processes that said themselves that they must end */
    uint64_t aborts;   /* by the one abort that is right */
    uint64_t orderly_stops;
    uint64_t unclean_boots;      /* of brokers whose machine had lost its power */
    uint64_t metadata_snapshots; /* sent to brokers */
};

struct cluster_options {
    struct cluster_plan_limits limits;
    bool is_traced; /* every detail, to standard error */
    bool is_logged; /* what matters, to standard error */
    size_t trace_kept_bytes;
};

struct cluster_world {
    struct sim_world world;
    struct sim_fabric *fabric;
    struct cluster_plan plan;
    struct cluster_verdict verdict;
    struct cluster_history history;
    struct cluster_ledger ledger;
    struct cluster_meta meta;
    struct cluster_node nodes[CLUSTER_NODES_MAX];
    unsigned client_count; /* producers, then readers, then one that makes metadata, then people, then a lister */
    struct sim_node *clients[CLUSTER_CLIENTS_MAX];
    struct cluster_script_options script_options;
    struct cluster_producer *producers[CLUSTER_PRODUCERS_MAX];
    struct cluster_reader *readers[CLUSTER_READERS_MAX];
    struct sim_node *people_machine; /* NULL: none */
    struct cluster_operator *people;
    struct sim_node *lister_machine; /* NULL: none */
    struct cluster_lister *lister;
    struct cluster_counts counts;
};

void cluster_world_init(struct cluster_world *cluster, uint64_t seed, const struct cluster_options *options);
void cluster_world_done(struct cluster_world *cluster);
/* Boots all nodes and clients. */
void cluster_world_start(struct cluster_world *cluster);

/* cluster_node.c. The machine of a node of the plan. */
void cluster_node_make(struct cluster_world *cluster, unsigned index);
/* A machine that is on, without a process. */
void cluster_node_boot(struct cluster_node *node);
/* SIGTERM: drains and ends in order; then it is dead, and on_death is told. Harmless unless it is ready. */
void cluster_node_stop(struct cluster_node *node);

/* Conditions for sim_world_run_until; ctx: the world. All end at a violation. */
bool cluster_world_is_wrong(void *ctx);
bool cluster_world_is_settled(void *ctx); /* all ready, all in sync, all acknowledged */
bool cluster_world_is_manned(void *ctx);  /* every controller votes, as people have seen it */
bool cluster_world_is_verified(void *ctx);
/* Why it is not settled, in words. */
void cluster_world_describe(const struct cluster_world *cluster, char *ret_text, size_t bytes_max);

void cluster_world_end_producers(struct cluster_world *cluster);
void cluster_world_end_people(struct cluster_world *cluster);
/* The planned controllers are the voters, as people have seen it. */
bool cluster_world_is_quorum_whole(const struct cluster_world *cluster);
void cluster_world_verify(struct cluster_world *cluster);
/* Replicas against each other, after everything has come to rest. */
void cluster_world_compare(struct cluster_world *cluster);

#endif

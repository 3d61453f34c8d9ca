/* quorum_cluster: quorums on simulated machines, a bus between them that loses, repeats and reorders, and a checker that knows everything:
 * what each index was applied as, who led which term. The machines are sim_node's; nothing of the controller runs but its quorum.
 *
 * Shape:     slots; a slot is a machine with one directory at a time (a generation): a member that was removed comes back as another.
 *            Its state machine is a number of commands and a chain over their bytes, which a snapshot carries, with ballast.
 * Checked:   every index is applied as the same bytes with the same chain everywhere, in order; one leader per term; no process aborts,
 *            fails without a failing disk, finds its directory damaged, or is sent something malformed.
 * Ownership: the world, nodes and fabric are the cluster's.
 * Threads:   one.
 * Source:    Ongaro's dissertation, 3.6 (safety), 4 (membership), 5 (compaction); correctness.md 6; testing.md 1.
 */
#ifndef TESTS_SIM_QUORUM_CLUSTER_H
#define TESTS_SIM_QUORUM_CLUSTER_H

#include "controller/quorum.h"
#include "tests/sim/sim_nemesis.h"

#define QUORUM_SLOTS_MAX 7u
#define QUORUM_SLOT_PATH_BYTES 64
#define QUORUM_ADDRESS_TEXT_BYTES 64

struct quorum_cluster;
struct quorum_process;

struct quorum_slot {
    struct quorum_cluster *cluster;
    unsigned number;
    char name[16];
    char host[24];
    struct sim_node *node;
    struct quorum_process *process; /* in the node's memory: good while process_start is the node's start_count */
    uint64_t process_start;
    unsigned generation; /* 0: never used */
    char path[QUORUM_SLOT_PATH_BYTES];
    char address[QUORUM_ADDRESS_TEXT_BYTES];
    uint64_t raft_id;
    bool is_founder;  /* its directory begins with the first configuration */
    bool is_free;     /* no configuration, committed or not, can have it as a member: its directory may go */
    uint64_t applied; /* by the process that runs */
    uint64_t term;    /* the largest that it was seen in */
    bool is_leader;
    uint64_t truncate_count; /* of the process, as last seen */
};

/* What the world outside knows. */
struct quorum_checker {
    struct quorum_fate *fates; /* by index */
    size_t fate_count;
    struct quorum_term_leader *leaders;
    size_t leader_count;
    uint64_t applied_most;
    uint64_t command_count; /* applied for the first time */
    uint64_t election_count;
    uint64_t truncate_count;
    uint64_t install_count;
    uint64_t change_count; /* memberships changed, as told */
    uint64_t transfer_count;
    uint64_t fatal_count;
    uint64_t message_count;
    char violation[256]; /* "": none */
};

struct quorum_bus {
    uint32_t drop_permille;
    uint32_t repeat_permille;
    uint64_t delay_us_most;
    bool is_blocked[QUORUM_SLOTS_MAX][QUORUM_SLOTS_MAX];  /* [from][to] */
    bool is_ordered;                                      /* nothing overtakes what the same sender sent before */
    uint64_t last_us[QUORUM_SLOTS_MAX][QUORUM_SLOTS_MAX]; /* when the newest message arrives */
    struct quorum_flight *flights;                        /* utlist DL */
};

struct quorum_tuning {
    unsigned founders;
    unsigned slots;
    uint32_t snapshot_entries;
    uint32_t trailing_entries;
    uint64_t segment_bytes;
    uint32_t ballast_bytes; /* of each snapshot */
};

struct quorum_cluster {
    struct sim_world world;
    struct sim_fabric *fabric;
    struct quorum_slot slots[QUORUM_SLOTS_MAX];
    struct sim_node *nodes[QUORUM_SLOTS_MAX];
    struct quorum_tuning tuning;
    struct quorum_bus bus;
    struct quorum_checker checker;
    struct bytebuf first_configuration;
    /* The newest configuration that anybody has applied. */
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    char addresses[QUORUM_MEMBERS_MAX][QUORUM_ADDRESS_TEXT_BYTES];
    uint32_t member_count;
    uint64_t members_index;
    bool is_changing; /* a membership change or transfer was asked for and not answered */
    enum err change_err;
    uint64_t next_number; /* of proposals */
    uint64_t next_generation;
};

void quorum_cluster_init(struct quorum_cluster *cluster, uint64_t seed, const struct quorum_tuning *tuning);
void quorum_cluster_done(struct quorum_cluster *cluster);
/* Starts a process in the slot's machine; what sim_nemesis calls too. */
void quorum_cluster_boot(struct sim_node *node, void *cluster);
/* Notes the first thing that must not be. */
void quorum_cluster_violate(struct quorum_cluster *cluster, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Whoever thinks that it leads in the largest term; NULL. */
struct quorum_slot *quorum_cluster_leader(struct quorum_cluster *cluster);
struct quorum_slot *quorum_cluster_find(struct quorum_cluster *cluster, uint64_t raft_id);
bool quorum_cluster_is_member(const struct quorum_cluster *cluster, const struct quorum_slot *slot);
/* A command of so many bytes to the slot's process. */
void quorum_cluster_propose(struct quorum_cluster *cluster, struct quorum_slot *slot, size_t bytes);
/* Gives an idle slot a new directory and starts it as one that joins. */
void quorum_cluster_join(struct quorum_cluster *cluster, struct quorum_slot *slot);
/* Asks this process; the answer is counted. */
void quorum_cluster_add(struct quorum_cluster *cluster, struct quorum_slot *leader, struct quorum_slot *slot);
void quorum_cluster_remove(struct quorum_cluster *cluster, struct quorum_slot *leader, uint64_t raft_id);
void quorum_cluster_transfer(struct quorum_cluster *cluster, struct quorum_slot *leader);
/* One line per slot, and the members, for people. */
void quorum_cluster_print(const struct quorum_cluster *cluster);
/* Nothing is blocked, lost or repeated any more. */
void quorum_bus_heal(struct quorum_bus *bus);

#endif

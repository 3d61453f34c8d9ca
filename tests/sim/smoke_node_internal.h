/* smoke_node_internal: the two halves of a smoke node, network and notes.
 *
 * Threads:   struct smoke_node is read-only after boot; `links` and `writers` belong to the net loop, `notes` to the log loop.
 */
#ifndef TESTS_SIM_SMOKE_NODE_INTERNAL_H
#define TESTS_SIM_SMOKE_NODE_INTERNAL_H

#include "common/seam/env.h"
#include "common/seam/fs.h"
#include "common/seam/loop.h"
#include "common/seam/net.h"
#include "tests/sim/smoke_node.h"

struct smoke_node;
struct smoke_link;

/* The notes of one writer. */
struct smoke_notes {
    struct smoke_node *node;
    unsigned writer;
    struct file *file;
    uint64_t end_pos;
    uint64_t last_number; /* appended */
    uint64_t synced_number;
    uint64_t syncing_number;
    bool is_syncing;
    bool is_failed;
    struct loop_job sync_job;
    enum err sync_err;
};

/* What this node writes to one other. */
struct smoke_writer {
    struct smoke_node *node;
    unsigned target;
    struct smoke_link *link; /* NULL: not connected */
    uint64_t next_number;    /* to send */
    uint64_t acknowledged_number;
    uint64_t greeted_number; /* where the reader was when this link began */
    struct loop_timer timer; /* connect, or send more */
};

struct smoke_node {
    struct env *env;
    struct smoke_options options;
    struct smoke_events events;
    struct loop *net_loop;
    struct loop *log_loop;
    struct net_listener *listener;
    struct smoke_notes notes[SMOKE_NODES_MAX];
    struct smoke_writer writers[SMOKE_NODES_MAX];
    struct smoke_link *readers[SMOKE_NODES_MAX]; /* the link on which a writer's entries come; NULL: none */
    uint64_t greeted_number[SMOKE_NODES_MAX];    /* the last number that the net loop has passed on, per writer */
};

/* smoke_notes.c */
void smoke_notes_open(struct smoke_notes *notes, struct smoke_node *node, unsigned writer);
/* From the net loop: appends, and answers with smoke_net_acknowledge there once the entry is synced. */
void smoke_notes_submit(struct smoke_notes *notes, uint64_t number, const uint8_t *payload, uint32_t payload_bytes);

/* smoke_net.c */
void smoke_net_start(struct smoke_node *node);
/* On the net loop. */
void smoke_net_acknowledge(struct smoke_node *node, unsigned writer, uint64_t number);

#endif

/* lone_node: one node (broker and controller, the product's own objects) on a simulated machine, and a machine for its clients:
 * what fuzz_node runs its inputs against. No faults; the seed draws latencies, partial reads and writes, the order of loops.
 *
 * Shape:     lone_node_init -> lone_node_start -> ... -> lone_node_stop -> lone_node_done; start and stop may repeat on the same disk.
 * Errors:    whatever must not happen (a failed CHECK of the product, a start or a stop that does not end, a leak) is printed, and
 *            the process aborts, as fuzz targets do.
 * Threads:   one.
 */
#ifndef TESTS_FUZZ_LONE_NODE_H
#define TESTS_FUZZ_LONE_NODE_H

#include "broker/broker.h"
#include "tests/sim/sim_node.h"

#define LONE_NODE_ID 1
#define LONE_NODE_ADDRESS "10.0.0.1"
#define LONE_NODE_PORT 9092u
#define LONE_NODE_INTERNAL_PORT 9093u
/* Small, so that an input which claims a large frame costs no time. */
#define LONE_NODE_FRAME_BYTES_MAX (1 << 20)

struct lone_node {
    struct sim_world world;
    struct sim_fabric *fabric;
    struct sim_node *machine;
    struct sim_node *client; /* whose loop the links of the clients live on */
    struct loop *client_loop;
    /* of the process that runs; in its memory */
    struct broker_options options;
    struct broker *broker;
    struct loop *home;
    struct loop_task task;
    bool is_ready;
    bool is_stopped;
    bool has_failed;
};

void lone_node_init(struct lone_node *node, uint64_t seed);
void lone_node_done(struct lone_node *node);
/* Until it serves. */
void lone_node_start(struct lone_node *node);
/* In order; leaks of memory, files and sockets are problems. */
void lone_node_stop(struct lone_node *node);

/* Runs the world until `is_done`, or for so long: then false. */
bool lone_node_run_until(struct lone_node *node, uint64_t duration_us, sim_world_done_fn is_done, void *ctx);
void lone_node_run_for(struct lone_node *node, uint64_t duration_us);
/* Code of the clients' machine. */
void lone_node_run_client(struct lone_node *node, sim_node_code_fn code, void *ctx);

/* Says what is wrong and aborts the process. */
_Noreturn void lone_node_problem(const struct lone_node *node, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

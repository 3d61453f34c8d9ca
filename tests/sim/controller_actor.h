/* controller_actor: a node of a simulated cluster with the controllers' part alone: a controller, or a broker that does nothing but register, send
 * heartbeats, follow the metadata, and wish for topics.
 *
 * Shape:     machine -> process: home loop, INTERNAL server, controller or controller_client. What was seen is kept outside of the
 *            process: `sight` (hash of the chain at every offset, one for all nodes: R8), topics that were acknowledged.
 * Ownership: the test's; what belongs to the process goes with it.
 * Threads:   one.
 */
#ifndef TESTS_SIM_CONTROLLER_ACTOR_H
#define TESTS_SIM_CONTROLLER_ACTOR_H

#include "common/rpc/rpc_server.h"
#include "controller/controller_client.h"
#include "tests/sim/sim_node.h"

#define ACTOR_PORT 9093
#define ACTOR_OFFSETS_MAX 20000
#define ACTOR_TOPICS_MAX 4000

struct actor_sight {
    uint8_t hashes[ACTOR_OFFSETS_MAX][IMAGE_HASH_BYTES];
    bool is_known[ACTOR_OFFSETS_MAX];
    uint32_t topics[ACTOR_TOPICS_MAX]; /* numbers of those that were acknowledged */
    uint32_t topic_count;
    uint32_t wish_count;
    uint32_t violation_count;
    uint64_t delivered_count;
    uint64_t snapshot_count; /* that brokers were sent */
    char violation[256];     /* the first */
};

struct actor {
    struct sim_world *world;
    struct actor_sight *sight;
    struct sim_node *machine;
    int32_t id;
    bool is_controller;
    char waits[256]; /* the command that a waiting voter printed */

    /* The process's; NULL or void without one. */
    struct loop *home;
    struct loop_task task;
    struct rpc_server *server;
    struct controller_options options;
    struct controller *controller;
    struct controller_watch watch;
    struct controller_client *client;
    struct controller_subscription subscription;
    struct uuid incarnation_id;
    struct image_endpoint endpoint;
    struct uuid directory;
    const struct image *image;
    struct controller_request registration;
    struct controller_request heartbeat;
    struct loop_timer heartbeat_timer;
    struct controller_request wish;
    struct loop_timer wish_timer;
    struct span wish_name;
    char wish_text[16];
    int16_t wish_code;
    uint32_t wish_number;
    int64_t broker_epoch;
    bool is_active;
    bool is_heartbeating;
    bool is_wishing;
    bool is_quiet; /* no further wishes */
    bool is_stopped;
    unsigned parts_open;
};

struct actor *actor_new(struct sim_world *world, struct sim_fabric *fabric, struct actor_sight *sight, int32_t id,
                        bool is_controller);
void actor_free(struct actor *actor);
void actor_start(struct actor *actor);
/* An orderly end; then sim_node_reap by actor_is_stopped. */
void actor_stop(struct actor *actor);
/* The process has ended in good order and was buried; violations tell what it leaked. */
bool actor_is_stopped(struct actor *actor);
/* What it shows of this broker: 1 unfenced, 0 fenced or unknown. */
bool actor_sees_alive(const struct actor *actor, int32_t broker_id);
void actor_violation(struct actor_sight *sight, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

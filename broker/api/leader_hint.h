/* leader_hint: whom a client that asked the wrong broker should ask: the leader as this broker knows it, and where it is reached, so that
 * the client need not ask for the metadata first.
 *
 * Shape:     one leader per partition; each node once per answer.
 * Errors:    false: the arena is exhausted.
 * Ownership: what is added is copied into the request's arena: the image may be gone when the answer is encoded.
 * Threads:   the one thread that may use both `image` and the arena at that moment: the request's worker, or the worker of a part under way.
 * Source:    KIP-951.
 */
#ifndef BROKER_API_LEADER_HINT_H
#define BROKER_API_LEADER_HINT_H

#include "controller/image.h"

struct request;

struct leader_hint_node {
    int32_t node_id;
    struct span host;
    int32_t port;
    struct span rack; /* null when none */
};

struct leader_hints {
    struct request *request;
    const struct image *image;
    struct leader_hint_node *nodes;
    size_t node_count;
    size_t node_capacity;
};

/* The partition as the image has it, or NULL; its leader is added to the nodes when the client can reach it. */
bool leader_hints_add(struct leader_hints *hints, struct uuid topic_id, int32_t partition_index,
                      const struct image_partition **ret_partition);

#endif

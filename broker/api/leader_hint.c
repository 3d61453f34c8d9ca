#include "broker/api/leader_hint.h"

#include "broker/api/request.h"
#include "broker/meta/cluster_view.h"

static bool leader_hints_room(struct leader_hints *hints)
{
    if (hints->node_count < hints->node_capacity) {
        return true;
    }
    size_t capacity = hints->node_capacity == 0 ? 4 : hints->node_capacity * 2;
    struct leader_hint_node *nodes = arena_array(&hints->request->arena, capacity, sizeof(*nodes));
    if (nodes == NULL) {
        return false;
    }
    for (size_t i = 0; i < hints->node_count; i++) {
        nodes[i] = hints->nodes[i];
    }
    hints->nodes = nodes;
    hints->node_capacity = capacity;
    return true;
}

static bool leader_hints_add_node(struct leader_hints *hints, int32_t node_id)
{
    const struct image_broker *broker = image_find_broker(hints->image, node_id);
    const struct image_endpoint *endpoint = cluster_view_endpoint(hints->request, broker);
    for (size_t i = 0; i < hints->node_count; i++) {
        if (hints->nodes[i].node_id == node_id) {
            return true;
        }
    }
    if (endpoint == NULL) {
        return true; /* fenced by now, or on other listeners only: the client looks for itself */
    }
    if (!leader_hints_room(hints)) {
        return false;
    }
    struct arena *arena = &hints->request->arena;
    struct leader_hint_node *node = &hints->nodes[hints->node_count];
    node->node_id = node_id;
    node->host = arena_copy(arena, endpoint->host);
    node->port = endpoint->port;
    node->rack = span_is_null(broker->rack) ? SPAN_NULL : arena_copy(arena, broker->rack);
    if (span_is_null(node->host) || span_is_null(node->rack) != span_is_null(broker->rack)) {
        return false;
    }
    hints->node_count++;
    return true;
}

bool leader_hints_add(struct leader_hints *hints, struct uuid topic_id, int32_t partition_index,
                      const struct image_partition **ret_partition)
{
    const struct image_topic *topic = image_find_topic_id(hints->image, topic_id);
    const struct image_partition *partition = image_find_partition(topic, partition_index);
    *ret_partition = partition;
    return partition == NULL || partition->leader_id < 0 || leader_hints_add_node(hints, partition->leader_id);
}

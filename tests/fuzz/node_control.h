/* node_control: the client of fuzz_node that everybody is measured by: makes the topics before a script, and afterwards takes away what
 * is left of it, writes, reads, and counts what the node holds.
 *
 * Errors:    lone_node_problem.
 * Threads:   one.
 */
#ifndef TESTS_FUZZ_NODE_CONTROL_H
#define TESTS_FUZZ_NODE_CONTROL_H

#include "tests/fuzz/lone_node.h"

struct node_holdings {
    size_t bytes;
    size_t blocks;
    unsigned open_files;
};

/* The topics of request_words.h, with records. */
void node_control_prepare(struct lone_node *node);
/* Removes all topics but its own, writes with acks=all, reads it back. The script's connections are gone. */
struct node_holdings node_control_finish(struct lone_node *node);
/* `script_bytes`: what was asked of the second one. */
void node_control_compare(const struct node_holdings *rest, const struct node_holdings *after, size_t script_bytes);
/* Places among max.connections that are taken. */
size_t node_control_places(const struct lone_node *node);
/* Connections of clients that the broker has: open ones, and those whose clients have gone while a request was at work. */
size_t node_control_connections(const struct lone_node *node);

#endif

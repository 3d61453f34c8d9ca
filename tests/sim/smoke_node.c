#include "tests/sim/smoke_node.h"

#include "common/mem.h"
#include "tests/sim/smoke_node_internal.h"
#include "tests/support/prop.h"

uint32_t smoke_payload(unsigned writer, uint64_t number, uint8_t *ret_payload)
{
    struct prop prop;
    prop_init_seed(&prop, number * SMOKE_NODES_MAX + writer);
    uint32_t bytes = (uint32_t)prop_skewed(&prop, SMOKE_PAYLOAD_BYTES_MAX);
    prop_fill(&prop, ret_payload, bytes);
    return bytes;
}

void smoke_node_boot(struct env *env, const struct smoke_options *options, const struct smoke_events *events)
{
    struct smoke_node *node = MEM_NEW(struct smoke_node);
    node->env = env;
    node->options = *options;
    node->events = *events;
    enum err err = fs_mkdir(env->fs, "notes");
    if (err == ERR_OK || err == ERR_EXISTS) {
        err = fs_sync_dir(env->fs, ".");
    }
    if (err != ERR_OK) {
        node->events.on_fatal(node->events.ctx, options->index);
        return;
    }
    bool is_failed = false;
    for (unsigned writer = 0; writer < options->node_count; writer++) {
        smoke_notes_open(&node->notes[writer], node, writer);
        is_failed = is_failed || node->notes[writer].is_failed;
    }
    if (is_failed) {
        return; /* on_fatal was called: the process ends */
    }
    err = runtime_loop_new(env->runtime, "net", &node->net_loop);
    CHECK(err == ERR_OK);
    err = runtime_loop_new(env->runtime, "log", &node->log_loop);
    CHECK(err == ERR_OK);
    smoke_net_start(node);
    runtime_loop_start(env->runtime, node->log_loop);
    runtime_loop_start(env->runtime, node->net_loop);
}

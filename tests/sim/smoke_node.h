/* smoke_node: a small replicated notebook, written like the product against the seam only: what the smoke simulation runs
 * while there is no need of a whole broker. Every node writes numbered entries to every other node; the receiver appends them
 * to a file, syncs in the pool, and acknowledges; the writer goes on.
 *
 * Shape:     two loops: `net` owns the sockets, `log` owns the files; they talk by posts. Files: notes/<writer>, records of
 *            length u32, CRC-32C u32, number u64, payload. Recovery keeps what is whole and in order, and writes it anew (aside,
 *            sync, rename, sync of the directory): after a failed sync the page cache may show what the disk does not have.
 * Frames:    length u32, kind u8, writer u8, number u64, payload.
 * Ownership: everything is allocated in boot and ends with the process: it has no orderly end.
 * Threads:   as the loops say.
 */
#ifndef TESTS_SIM_SMOKE_NODE_H
#define TESTS_SIM_SMOKE_NODE_H

#include "common/seam/env.h"

#include <stdbool.h>
#include <stdint.h>

#define SMOKE_NODES_MAX 8
#define SMOKE_PORT 7000
#define SMOKE_PAYLOAD_BYTES_MAX 300

/* The world outside of the process: the test. */
struct smoke_events {
    /* `node` read its notes of `writer` back at boot: they end with `last_number`. */
    void (*on_recovered)(void *ctx, unsigned node, unsigned writer, uint64_t last_number);
    /* `node` is about to acknowledge `number` to `writer`. */
    void (*on_acknowledge)(void *ctx, unsigned node, unsigned writer, uint64_t number);
    /* `writer` has the acknowledgement. */
    void (*on_acknowledged)(void *ctx, unsigned node, unsigned writer, uint64_t number);
    /* The disk failed: the process must end. */
    void (*on_fatal)(void *ctx, unsigned node);
    void *ctx;
};

struct smoke_options {
    unsigned index; /* of this node */
    unsigned node_count;
    const char *addresses[SMOKE_NODES_MAX];
    bool breaks_promise; /* deliberately acknowledges before the sync: the checker must find it */
};

/* The process's main: recovers, starts the loops. */
void smoke_node_boot(struct env *env, const struct smoke_options *options, const struct smoke_events *events);

/* The payload that entry `number` of `writer` must have, at most SMOKE_PAYLOAD_BYTES_MAX. Returns its length. */
uint32_t smoke_payload(unsigned writer, uint64_t number, uint8_t *ret_payload);

#endif

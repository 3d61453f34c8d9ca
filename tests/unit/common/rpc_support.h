/* rpc_support: two links over one loopback connection (or one link and a bare socket) on one loop, for the tests of rpc_link.
 *
 * Shape:     each end counts frames, keeps what came as one run of bytes (type, header, body), and notes how it was closed.
 * Ownership: pair_end frees what is left.
 * Threads:   the test's.
 */
#ifndef TESTS_UNIT_COMMON_RPC_SUPPORT_H
#define TESTS_UNIT_COMMON_RPC_SUPPORT_H

#include "common/bytebuf.h"
#include "common/mem.h"
#include "common/rpc/rpc_link.h"
#include "tests/unit/common/posix_support.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PAIR_BYTES_MAX (64u << 20)

struct pair;

struct pair_side {
    struct pair *pair;
    struct socket *socket; /* until a link is made of it */
    struct rpc_link *link;
    unsigned frame_count;
    struct bytebuf received; /* u16 type in two bytes, header, body of each frame */
    unsigned drained_count;
    unsigned closed_count;
    enum err closed_err;
    void (*on_frame)(struct pair_side *side, const struct rpc_frame *frame);
    void (*on_drained)(struct pair_side *side);
    void (*on_closed)(struct pair_side *side);
    bool frees_in_frame;
    bool frees_in_drained;
    bool frees_in_closed;
};

struct pair {
    struct world world;
    struct net_listener *listener;
    uint64_t stall_us;
    struct pair_side a; /* connected */
    struct pair_side b; /* accepted */
    unsigned wanted;    /* of what the condition counts */
    bool (*is_done)(struct pair *pair);
    bool done;
};

static inline void pair_look(struct pair *pair)
{
    pair->done = pair->done || (pair->is_done != NULL && pair->is_done(pair));
}

static inline void side_free(struct pair_side *side)
{
    rpc_link_free(side->link);
    side->link = NULL;
}

static inline void side_on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct pair_side *side = ctx;
    uint8_t type[2] = {(uint8_t)(frame->type >> 8), (uint8_t)frame->type};
    side->frame_count++;
    if (side->frees_in_frame) {
        side_free(side); /* the frame is still there to be looked at */
    }
    assert_int_equal(bytebuf_append(&side->received, span_make(type, sizeof(type))), ERR_OK);
    assert_int_equal(bytebuf_append(&side->received, frame->header), ERR_OK);
    assert_int_equal(bytebuf_append(&side->received, frame->body), ERR_OK);
    if (side->on_frame != NULL) {
        side->on_frame(side, frame);
    }
    pair_look(side->pair);
}

static inline void side_on_drained(void *ctx)
{
    struct pair_side *side = ctx;
    side->drained_count++;
    if (side->on_drained != NULL) {
        side->on_drained(side);
    }
    if (side->frees_in_drained) {
        side_free(side);
    }
    pair_look(side->pair);
}

static inline void side_on_closed(void *ctx, enum err err)
{
    struct pair_side *side = ctx;
    side->closed_count++;
    side->closed_err = err;
    if (side->on_closed != NULL) {
        side->on_closed(side);
    }
    if (side->frees_in_closed) {
        side_free(side);
    }
    pair_look(side->pair);
}

static inline void side_link(struct pair_side *side)
{
    struct rpc_link_config config = {
        .loop = side->pair->world.loop, .logger = side->pair->world.env->logger, .stall_us = side->pair->stall_us};
    struct rpc_hello peer = {.kind = RPC_KIND_CALL, .node_id = side == &side->pair->a ? 2 : 1};
    struct rpc_link_events events = {
        .ctx = side, .on_frame = side_on_frame, .on_drained = side_on_drained, .on_closed = side_on_closed};
    side->link = rpc_link_new(&config, side->socket, &peer, &events);
    side->socket = NULL;
}

static inline bool is_pair_connected(struct pair *pair)
{
    return pair->a.socket != NULL && pair->b.socket != NULL;
}

static inline void pair_on_accept(void *ctx, struct socket *socket)
{
    struct pair *pair = ctx;
    pair->b.socket = socket;
    pair_look(pair);
}

static inline void pair_on_connected(void *ctx, enum err err, struct socket *socket)
{
    struct pair *pair = ctx;
    assert_int_equal(err, ERR_OK);
    pair->a.socket = socket;
    pair_look(pair);
}

static inline bool a_has_frames(struct pair *pair)
{
    return pair->a.frame_count >= pair->wanted;
}

static inline bool b_has_frames(struct pair *pair)
{
    return pair->b.frame_count >= pair->wanted;
}

static inline bool a_is_drained(struct pair *pair)
{
    return pair->a.drained_count >= pair->wanted;
}

static inline bool a_is_closed(struct pair *pair)
{
    return pair->a.closed_count >= pair->wanted;
}

static inline bool b_is_closed(struct pair *pair)
{
    return pair->b.closed_count >= pair->wanted;
}

/* Runs the loop until the condition holds for `wanted`; fails at the world's deadline. */
static inline void pair_run(struct pair *pair, bool (*is_done)(struct pair *pair), unsigned wanted)
{
    pair->wanted = wanted;
    pair->is_done = is_done;
    pair->done = is_done(pair);
    posix_loop_run_until(pair->world.loop, &pair->done);
    pair->is_done = NULL;
}

static inline void pair_start(struct pair *pair)
{
    struct net_address address;
    *pair = (struct pair){0};
    pair->a.pair = pair->b.pair = pair;
    bytebuf_init(&pair->a.received, PAIR_BYTES_MAX);
    bytebuf_init(&pair->b.received, PAIR_BYTES_MAX);
    world_start(&pair->world);
    assert_int_equal(
        net_listen(pair->world.env->net, pair->world.loop, "127.0.0.1", 0, pair_on_accept, pair, &pair->listener),
        ERR_OK);
    net_listener_address(pair->world.env->net, pair->listener, &address);
    net_connect(pair->world.env->net, pair->world.loop, "127.0.0.1", address.port, TEST_DEADLINE_US, pair_on_connected,
                pair);
    pair_run(pair, is_pair_connected, 0);
}

static inline void pair_start_links(struct pair *pair)
{
    pair_start(pair);
    side_link(&pair->a);
    side_link(&pair->b);
}

static inline void side_end(struct pair_side *side)
{
    side_free(side);
    if (side->socket != NULL) {
        socket_close(side->socket);
    }
    bytebuf_done(&side->received);
}

static inline void pair_end(struct pair *pair)
{
    side_end(&pair->a);
    side_end(&pair->b);
    net_listener_close(pair->world.env->net, pair->listener);
    world_end(&pair->world);
}

#endif

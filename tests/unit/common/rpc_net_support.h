/* rpc_net_support: a node with a server and a node with a dialer on the simulated network, for the tests of links: frames whose bytes
 * are known flow both ways, numbered anew on each link, and every one is checked as it comes.
 *
 * Ownership: fixture_free ends both nodes.
 * Threads:   one.
 */
#ifndef TESTS_UNIT_COMMON_RPC_NET_SUPPORT_H
#define TESTS_UNIT_COMMON_RPC_NET_SUPPORT_H

#include "common/mem.h"
#include "common/rpc/rpc_dial.h"
#include "common/rpc/rpc_server.h"
#include "tests/sim/sim_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define PORT 7000
#define BODY_BYTES_MAX 70000u
#define QUEUE_BYTES_MAX 400000u
#define LINKS_MAX 4000u

struct net_test;

/* One end of the link that is up. Frames are numbered anew on each link. */
struct stream {
    struct net_test *test;
    struct rpc_link *link;
    uint32_t lane; /* which connection: part of what the bytes must be */
    uint32_t sent_count;
    uint32_t received_count;
};

struct net_test {
    struct sim_world world;
    struct sim_fabric *fabric;
    struct sim_node *server_node;
    struct sim_node *client_node;
    struct loop *server_loop;
    struct loop *client_loop;
    struct rpc_server *server;
    struct rpc_dial *dial;
    struct net_listener *mute; /* accepts and says nothing */
    struct socket *raw[RPC_SERVER_PENDING_MAX + 2];
    unsigned raw_count;
    enum rpc_kind kind;
    uint64_t stall_us;
    uint32_t frames_max; /* sent on each link by each side */
    struct stream client;
    struct stream server_streams[LINKS_MAX]; /* by lane: a link may outlive the next one's begin */
    uint32_t next_lane;
    unsigned up_count;
    unsigned down_count;
    enum err down_err;
    bool was_up;
    uint64_t down_us[100];
    uint64_t frame_count; /* received on both sides */
};

/* ---- frames whose bytes are known ---- */

static inline uint8_t byte_of(uint32_t lane, uint32_t number, size_t pos)
{
    return (uint8_t)(lane * 131 + number * 31 + pos * 7 + (pos >> 8));
}

static inline size_t body_bytes_of(uint32_t lane, uint32_t number)
{
    uint32_t mixed = (lane * 2654435761u) ^ (number * 40503u);
    return mixed % 17 == 0 ? mixed % BODY_BYTES_MAX : mixed % 900;
}

static inline void send_one(struct stream *stream)
{
    uint32_t number = stream->sent_count++;
    uint8_t header[8];
    memcpy(header, &stream->lane, 4);
    memcpy(header + 4, &number, 4);
    struct shared_bytes *shared = shared_bytes_new(body_bytes_of(stream->lane, number));
    for (size_t i = 0; i < shared->bytes; i++) {
        shared->data[i] = byte_of(stream->lane, number, i);
    }
    struct rpc_piece body = {.bytes = span_make(shared->data, shared->bytes), .shared = shared};
    rpc_link_send(stream->link, (uint16_t)number, span_make(header, sizeof(header)), &body, 1);
    shared_bytes_unref(shared);
}

static inline void fill(struct stream *stream)
{
    while (stream->sent_count < stream->test->frames_max && rpc_link_queued_bytes(stream->link) < QUEUE_BYTES_MAX) {
        send_one(stream);
    }
}

static inline void receive_one(struct stream *stream, const struct rpc_frame *frame)
{
    uint32_t lane = 0;
    uint32_t number = 0;
    assert_int_equal(frame->header.bytes, 8);
    memcpy(&lane, frame->header.data, 4);
    memcpy(&number, frame->header.data + 4, 4);
    assert_int_equal(lane, stream->lane);
    assert_int_equal(number, stream->received_count);
    assert_int_equal(frame->type, (uint16_t)number);
    assert_int_equal(frame->body.bytes, body_bytes_of(lane, number));
    for (size_t i = 0; i < frame->body.bytes; i++) {
        if (frame->body.data[i] != byte_of(lane, number, i)) {
            fail_msg("lane %u, frame %u, byte %zu", lane, number, i);
        }
    }
    stream->received_count++;
    stream->test->frame_count++;
}

/* ---- the server's node ---- */

static inline void server_on_frame(void *ctx, const struct rpc_frame *frame)
{
    receive_one(ctx, frame);
}

static inline void server_on_drained(void *ctx)
{
    fill(ctx);
}

static inline void server_on_closed(void *ctx, enum err err)
{
    struct stream *stream = ctx;
    (void)err;
    rpc_link_free(stream->link);
    stream->link = NULL;
}

static inline bool on_check(void *ctx, const struct rpc_hello *peer, struct loop **ret_loop,
                            char ret_refusal[RPC_REFUSAL_BYTES])
{
    struct net_test *test = ctx;
    (void)peer;
    (void)ret_refusal;
    *ret_loop = test->server_loop;
    return true;
}

static inline void on_link(void *ctx, struct rpc_link *link)
{
    struct net_test *test = ctx;
    uint32_t lane = rpc_link_peer(link)->lane;
    assert_true(lane < LINKS_MAX);
    struct stream *stream = &test->server_streams[lane];
    *stream = (struct stream){.test = test, .link = link, .lane = lane};
    rpc_link_set_low_mark(link, QUEUE_BYTES_MAX / 4);
    rpc_link_set_events(link, &(struct rpc_link_events){.ctx = stream,
                                                        .on_frame = server_on_frame,
                                                        .on_drained = server_on_drained,
                                                        .on_closed = server_on_closed});
    fill(stream);
}

static inline void boot_server(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    struct rpc_acceptor acceptor = {.ctx = test, .check = on_check, .on_link = on_link};
    assert_int_equal(runtime_loop_new(node->env.runtime, "server", &test->server_loop), ERR_OK);
    assert_int_equal(rpc_server_new(&node->env, test->server_loop, "10.0.0.1", PORT, &test->server), ERR_OK);
    rpc_server_set_acceptor(test->server, RPC_KIND_REPLICA, &acceptor);
    runtime_loop_start(node->env.runtime, test->server_loop);
}

static inline void mute_on_accept(void *ctx, struct socket *socket)
{
    struct net_test *test = ctx;
    test->raw[test->raw_count++ % ARRAY_COUNT(test->raw)] = socket;
}

static inline void boot_mute(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    assert_int_equal(runtime_loop_new(node->env.runtime, "mute", &test->server_loop), ERR_OK);
    assert_int_equal(net_listen(node->env.net, test->server_loop, "10.0.0.1", PORT, mute_on_accept, test, &test->mute),
                     ERR_OK);
    runtime_loop_start(node->env.runtime, test->server_loop);
}

/* ---- the client's node ---- */

static inline void on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    struct net_test *test = ctx;
    ret_hello->lane = test->next_lane++;
}

static inline void on_up(void *ctx, struct rpc_link *link)
{
    struct net_test *test = ctx;
    test->up_count++;
    test->client = (struct stream){.test = test, .link = link, .lane = test->next_lane - 1};
    rpc_link_set_low_mark(link, QUEUE_BYTES_MAX / 4);
    fill(&test->client);
}

static inline void on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct net_test *test = ctx;
    receive_one(&test->client, frame);
}

static inline void on_drained(void *ctx)
{
    struct net_test *test = ctx;
    fill(&test->client);
}

static inline void on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    struct net_test *test = ctx;
    assert_non_null(text);
    test->down_us[test->down_count++ % ARRAY_COUNT(test->down_us)] = test->world.now_us;
    test->down_err = err;
    test->was_up = was_up;
    test->client.link = NULL;
}

static inline void boot_client(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    assert_int_equal(runtime_loop_new(node->env.runtime, "client", &test->client_loop), ERR_OK);
    runtime_loop_start(node->env.runtime, test->client_loop);
}

static inline void dial_now(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    struct rpc_dial_config config = {
        .env = &node->env, .loop = test->client_loop, .kind = test->kind, .stall_us = test->stall_us};
    struct rpc_dial_events events = {.ctx = test,
                                     .on_hello = on_hello,
                                     .on_up = on_up,
                                     .on_frame = on_frame,
                                     .on_drained = on_drained,
                                     .on_down = on_down};
    test->dial = rpc_dial_new(&config, "server", PORT, &events);
}

static inline void hurry_now(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    (void)node;
    rpc_dial_hurry(test->dial);
}

/* ---- the fixture ---- */

static inline struct net_test *fixture_new(uint64_t seed)
{
    struct net_test *test = calloc(1, sizeof(*test));
    assert_non_null(test);
    test->kind = RPC_KIND_REPLICA;
    sim_world_init(&test->world, seed, 1 << 20);
    test->fabric = sim_fabric_new(&test->world);
    test->server_node =
        sim_node_new(&test->world, test->fabric, &(struct sim_node_options){.name = "server", .address = "10.0.0.1"});
    test->client_node =
        sim_node_new(&test->world, test->fabric, &(struct sim_node_options){.name = "client", .address = "10.0.0.2"});
    sim_node_start(test->client_node, boot_client, test);
    return test;
}

static inline void fixture_free(struct net_test *test)
{
    assert_int_equal(test->server_node->abort_count, 0);
    assert_int_equal(test->client_node->abort_count, 0);
    sim_node_free(test->server_node);
    sim_node_free(test->client_node);
    sim_fabric_free(test->fabric);
    sim_world_done(&test->world);
    free(test);
}

static inline void serve_and_dial(struct net_test *test)
{
    sim_node_start(test->server_node, boot_server, test);
    sim_node_run(test->client_node, dial_now, test);
}

#endif

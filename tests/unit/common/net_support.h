/* net_support: two ends of a connection on one loop, for the tests of sockets: each sends what it is given, collects what
 * comes, and notes how it ends.
 *
 * Ownership: net_test_end closes everything.
 * Threads:   the test's.
 */
#ifndef TESTS_UNIT_COMMON_NET_SUPPORT_H
#define TESTS_UNIT_COMMON_NET_SUPPORT_H

#include "common/bytebuf.h"
#include "tests/unit/common/posix_support.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BIG_BYTES (6u << 20) /* more than the buffers of a loopback connection */
#define RECEIVE_BYTES_MAX (BIG_BYTES + (1u << 20))

/* One end of a connection: sends `out` (and then a file's bytes), collects what comes. */
struct peer {
    struct net_test *test;
    struct socket *socket;
    struct bytebuf in;
    enum err end_err; /* why reading ended, ERR_OK while it goes on */
    const uint8_t *out;
    size_t out_bytes;
    size_t out_done_bytes;
    struct file *out_file;
    size_t file_bytes;
    size_t file_done_bytes;
    unsigned would_block_count;
    bool is_echo;
};

struct net_test {
    struct world world;
    struct net_listener *listener;
    struct peer client;
    struct peer server;
    enum err connect_err;
    void (*on_ready)(struct net_test *test);    /* both ends are connected */
    bool (*is_finished)(struct net_test *test); /* looked at after every event */
};

static inline void peer_write(struct peer *peer)
{
    enum err err = ERR_OK;
    while (err == ERR_OK && peer->out_done_bytes < peer->out_bytes) {
        /* Two spans at odd places: partial writes end in each. */
        size_t left_bytes = peer->out_bytes - peer->out_done_bytes;
        size_t first_bytes = left_bytes / 3;
        struct span spans[2] = {span_make(peer->out + peer->out_done_bytes, first_bytes),
                                span_make(peer->out + peer->out_done_bytes + first_bytes, left_bytes - first_bytes)};
        size_t written_bytes = 0;
        err = socket_writev(peer->socket, spans, 2, &written_bytes);
        peer->out_done_bytes += written_bytes;
    }
    while (err == ERR_OK && peer->file_done_bytes < peer->file_bytes) {
        size_t written_bytes = 0;
        err = socket_send_file(peer->socket, peer->out_file, peer->file_done_bytes,
                               peer->file_bytes - peer->file_done_bytes, &written_bytes);
        peer->file_done_bytes += written_bytes;
    }
    peer->would_block_count += err == ERR_WOULD_BLOCK ? 1 : 0;
    if (err != ERR_OK && err != ERR_WOULD_BLOCK) {
        peer->end_err = err; /* the kernel reports a lost connection once, to reading or to writing */
    }
    bool is_done = peer->out_done_bytes == peer->out_bytes && peer->file_done_bytes == peer->file_bytes;
    unsigned reading = peer->end_err == ERR_OK ? NET_READABLE : 0;
    socket_watch(peer->socket, reading | (is_done || peer->end_err != ERR_OK ? 0 : NET_WRITABLE));
}

static inline void peer_read(struct peer *peer)
{
    uint8_t *room = NULL;
    size_t read_bytes = 0;
    assert_int_equal(bytebuf_reserve(&peer->in, 65536, &room), ERR_OK);
    enum err err = socket_read(peer->socket, room, 65536, &read_bytes);
    if (err == ERR_OK) {
        bytebuf_added(&peer->in, read_bytes);
        if (peer->is_echo) {
            peer->out = peer->in.data;
            peer->out_bytes = peer->in.bytes;
        }
    } else if (err != ERR_WOULD_BLOCK && peer->end_err == ERR_OK) {
        peer->end_err = err;
    }
}

static inline void net_test_look(struct net_test *test)
{
    if (test->is_finished != NULL && test->is_finished(test)) {
        loop_stop(test->world.loop);
    }
}

static inline void peer_on_ready(void *ctx, unsigned events)
{
    struct peer *peer = ctx;
    if ((events & NET_READABLE) != 0) {
        peer_read(peer);
    }
    peer_write(peer);
    net_test_look(peer->test);
}

static inline void peer_start(struct net_test *test, struct peer *peer, struct socket *socket)
{
    peer->test = test;
    peer->socket = socket;
    bytebuf_init(&peer->in, RECEIVE_BYTES_MAX);
    socket_attach(socket, test->world.loop, peer_on_ready, peer);
    socket_watch(socket, NET_READABLE);
    if (test->client.socket != NULL && test->server.socket != NULL) {
        if (test->on_ready != NULL) {
            test->on_ready(test);
        }
        net_test_look(test);
    }
}

static inline void peer_close(struct peer *peer)
{
    if (peer->socket != NULL) {
        socket_close(peer->socket);
        bytebuf_done(&peer->in);
        peer->socket = NULL;
    }
}

static inline void net_on_accept(void *ctx, struct socket *socket)
{
    struct net_test *test = ctx;
    peer_start(test, &test->server, socket);
}

static inline void net_on_connected(void *ctx, enum err err, struct socket *socket)
{
    struct net_test *test = ctx;
    test->connect_err = err;
    if (err != ERR_OK) {
        assert_null(socket);
        loop_stop(test->world.loop);
        return;
    }
    peer_start(test, &test->client, socket);
}

static inline uint16_t net_test_listen(struct net_test *test, const char *host)
{
    world_start(&test->world);
    test->connect_err = ERR_COUNT;
    assert_int_equal(net_listen(test->world.env->net, test->world.loop, host, 0, net_on_accept, test, &test->listener),
                     ERR_OK);
    struct net_address address;
    net_listener_address(test->world.env->net, test->listener, &address);
    assert_true(address.port > 0);
    return address.port;
}

static inline void net_test_connect(struct net_test *test, const char *host, uint16_t port, uint64_t timeout_us)
{
    net_connect(test->world.env->net, test->world.loop, host, port, timeout_us, net_on_connected, test);
    assert_int_equal(test->connect_err, ERR_COUNT); /* never before net_connect returns */
}

static inline void net_test_end(struct net_test *test)
{
    peer_close(&test->client);
    peer_close(&test->server);
    if (test->listener != NULL) {
        net_listener_close(test->world.env->net, test->listener);
    }
    world_end(&test->world);
}

#endif

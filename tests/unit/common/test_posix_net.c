/* TCP behind the seam: bytes arrive whole and in order whatever the sizes of the parts, and every end of a
 * connection has its own code. */
#include "common/bytebuf.h"
#include "common/mem.h"
#include "tests/unit/common/posix_support.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

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

static void peer_write(struct peer *peer)
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

static void peer_read(struct peer *peer)
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

static void net_test_look(struct net_test *test)
{
    if (test->is_finished != NULL && test->is_finished(test)) {
        loop_stop(test->world.loop);
    }
}

static void peer_on_ready(void *ctx, unsigned events)
{
    struct peer *peer = ctx;
    if ((events & NET_READABLE) != 0) {
        peer_read(peer);
    }
    peer_write(peer);
    net_test_look(peer->test);
}

static void peer_start(struct net_test *test, struct peer *peer, struct socket *socket)
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

static void peer_close(struct peer *peer)
{
    if (peer->socket != NULL) {
        socket_close(peer->socket);
        bytebuf_done(&peer->in);
        peer->socket = NULL;
    }
}

static void net_on_accept(void *ctx, struct socket *socket)
{
    struct net_test *test = ctx;
    peer_start(test, &test->server, socket);
}

static void net_on_connected(void *ctx, enum err err, struct socket *socket)
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

static uint16_t net_test_listen(struct net_test *test, const char *host)
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

static void net_test_connect(struct net_test *test, const char *host, uint16_t port, uint64_t timeout_us)
{
    net_connect(test->world.env->net, test->world.loop, host, port, timeout_us, net_on_connected, test);
    assert_int_equal(test->connect_err, ERR_COUNT); /* never before net_connect returns */
}

static void net_test_end(struct net_test *test)
{
    peer_close(&test->client);
    peer_close(&test->server);
    if (test->listener != NULL) {
        net_listener_close(test->world.env->net, test->listener);
    }
    world_end(&test->world);
}

static uint8_t *pattern_new(size_t bytes)
{
    uint8_t *pattern = mem_alloc(bytes);
    for (size_t i = 0; i < bytes; i++) {
        pattern[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    return pattern;
}

/* ------------------------------------------------------------------------------------------------------------------ */

static bool echo_is_finished(struct net_test *test)
{
    return test->client.in.bytes >= BIG_BYTES;
}

static void echo_on_ready(struct net_test *test)
{
    test->server.is_echo = true;
    peer_write(&test->client);
}

static void run_echo(const char *listen_host, const char *connect_host, const char *peer_host)
{
    struct net_test test = {.on_ready = echo_on_ready, .is_finished = echo_is_finished};
    uint8_t *pattern = pattern_new(BIG_BYTES);
    test.client.out = pattern;
    test.client.out_bytes = BIG_BYTES;
    uint16_t port = net_test_listen(&test, listen_host);
    net_test_connect(&test, connect_host, port, TEST_DEADLINE_US);
    world_run(&test.world);
    assert_int_equal(test.client.in.bytes, BIG_BYTES);
    assert_memory_equal(test.client.in.data, pattern, BIG_BYTES);
    struct net_address client_local;
    struct net_address server_peer;
    socket_local(test.client.socket, &client_local);
    socket_peer(test.server.socket, &server_peer);
    assert_int_equal(client_local.port, server_peer.port);
    assert_string_equal(server_peer.host, peer_host);
    mem_free(pattern);
    net_test_end(&test);
}

static void echo_returns_every_byte(void **state)
{
    (void)state;
    run_echo("127.0.0.1", "127.0.0.1", "127.0.0.1");
}

static void names_are_resolved(void **state)
{
    (void)state;
    run_echo("localhost", "localhost", "127.0.0.1");
}

/* An empty host listens on both families; an IPv4 client is shown with its IPv4 address. */
static void empty_host_listens_everywhere(void **state)
{
    (void)state;
    run_echo("", "127.0.0.1", "127.0.0.1");
}

static bool has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return has;
}

static void ipv6_works(void **state)
{
    (void)state;
    if (!has_ipv6()) {
        skip();
    }
    run_echo("::1", "::1", "::1");
}

/* A reader that doesn't read: the writer gets ERR_WOULD_BLOCK, is told when it can go on, and nothing is lost. */
static bool partial_is_finished(struct net_test *test)
{
    if (test->server.would_block_count == 1 && test->client.in.bytes == 0) {
        socket_watch(test->client.socket, NET_READABLE);
    }
    return test->client.in.bytes == BIG_BYTES;
}

static void partial_on_ready(struct net_test *test)
{
    socket_watch(test->client.socket, 0);
    peer_write(&test->server);
}

static void full_socket_says_would_block(void **state)
{
    (void)state;
    struct net_test test = {.on_ready = partial_on_ready, .is_finished = partial_is_finished};
    uint8_t *pattern = pattern_new(BIG_BYTES);
    test.server.out = pattern;
    test.server.out_bytes = BIG_BYTES;
    net_test_connect(&test, "127.0.0.1", net_test_listen(&test, "127.0.0.1"), TEST_DEADLINE_US);
    world_run(&test.world);
    assert_true(test.server.would_block_count > 0);
    assert_memory_equal(test.client.in.data, pattern, BIG_BYTES);
    mem_free(pattern);
    net_test_end(&test);
}

static bool file_is_finished(struct net_test *test)
{
    return test->client.in.bytes >= BIG_BYTES + 5;
}

static void file_on_ready(struct net_test *test)
{
    peer_write(&test->server);
}

/* A head from memory, then a file by sendfile; asked for more than the file has, it says ERR_END. */
static void files_are_sent(void **state)
{
    (void)state;
    struct net_test test = {.on_ready = file_on_ready, .is_finished = file_is_finished};
    uint16_t port = net_test_listen(&test, "127.0.0.1");
    char path[] = "/tmp/moldau-net-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    uint8_t *pattern = pattern_new(BIG_BYTES);
    assert_int_equal(write(fd, pattern, BIG_BYTES), BIG_BYTES);
    close(fd);
    assert_int_equal(fs_open(test.world.env->fs, path, FS_OPEN_READ, &test.server.out_file), ERR_OK);
    test.server.out = (const uint8_t *)"head:";
    test.server.out_bytes = 5;
    test.server.file_bytes = BIG_BYTES;
    net_test_connect(&test, "127.0.0.1", port, TEST_DEADLINE_US);
    world_run(&test.world);
    assert_memory_equal(test.client.in.data, "head:", 5);
    assert_memory_equal(test.client.in.data + 5, pattern, BIG_BYTES);
    size_t written_bytes = 0;
    assert_int_equal(socket_send_file(test.server.socket, test.server.out_file, BIG_BYTES, 1, &written_bytes), ERR_END);
    file_unref(test.server.out_file);
    unlink(path);
    mem_free(pattern);
    net_test_end(&test);
}

static bool end_is_finished(struct net_test *test)
{
    return test->server.end_err != ERR_OK;
}

static void end_on_ready(struct net_test *test)
{
    peer_close(&test->client);
}

static void orderly_end_is_err_end(void **state)
{
    (void)state;
    struct net_test test = {.on_ready = end_on_ready, .is_finished = end_is_finished};
    net_test_connect(&test, "127.0.0.1", net_test_listen(&test, "127.0.0.1"), TEST_DEADLINE_US);
    world_run(&test.world);
    assert_int_equal(test.server.end_err, ERR_END);
    net_test_end(&test);
}

/* Closing with unread bytes resets the connection; writing to it afterwards neither kills the process nor succeeds. */
static bool reset_is_finished(struct net_test *test)
{
    if (test->client.socket != NULL && test->server.out_done_bytes > 0) {
        peer_close(&test->client);
    }
    return test->server.end_err != ERR_OK;
}

static void reset_on_ready(struct net_test *test)
{
    socket_watch(test->client.socket, 0);
    peer_write(&test->server);
}

static void lost_connection_is_err_reset(void **state)
{
    (void)state;
    struct net_test test = {.on_ready = reset_on_ready, .is_finished = reset_is_finished};
    uint8_t *pattern = pattern_new(BIG_BYTES);
    test.server.out = pattern;
    test.server.out_bytes = BIG_BYTES;
    net_test_connect(&test, "127.0.0.1", net_test_listen(&test, "127.0.0.1"), TEST_DEADLINE_US);
    world_run(&test.world);
    assert_int_equal(test.server.end_err, ERR_RESET);
    size_t written_bytes = 0;
    assert_int_equal(socket_writev(test.server.socket, &(struct span){pattern, 100}, 1, &written_bytes), ERR_RESET);
    mem_free(pattern);
    net_test_end(&test);
}

/* Connecting ------------------------------------------------------------------------------------------------------- */

static enum err connect_result(const char *host, uint16_t port, uint64_t timeout_us)
{
    struct net_test test = {.connect_err = ERR_COUNT};
    world_start(&test.world);
    net_test_connect(&test, host, port, timeout_us);
    world_run(&test.world);
    enum err err = test.connect_err;
    net_test_end(&test);
    return err;
}

/* A raw listening socket; the kernel refuses its port once it is closed. */
static int raw_listen(int backlog, uint16_t *ret_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(address);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void connect_says_refused(void **state)
{
    (void)state;
    uint16_t port = 0;
    close(raw_listen(1, &port));
    assert_int_equal(connect_result("127.0.0.1", port, TEST_DEADLINE_US), ERR_REFUSED);
    assert_int_equal(connect_result("localhost", port, TEST_DEADLINE_US), ERR_REFUSED);
}

/* The queue of the listener is full, so the kernel drops the request: silence. */
static void connect_says_timeout(void **state)
{
    (void)state;
    uint16_t port = 0;
    int listen_fd = raw_listen(0, &port);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fill_fds[4];
    for (size_t i = 0; i < ARRAY_COUNT(fill_fds); i++) {
        fill_fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fill_fds[i], (struct sockaddr *)&address, sizeof(address));
    }
    assert_int_equal(connect_result("127.0.0.1", port, 100000), ERR_TIMEOUT);
    for (size_t i = 0; i < ARRAY_COUNT(fill_fds); i++) {
        close(fill_fds[i]);
    }
    close(listen_fd);
}

static void connect_says_unknown(void **state)
{
    (void)state;
    assert_int_equal(connect_result("no-such-host.invalid", 9092, TEST_DEADLINE_US), ERR_ADDRESS_UNKNOWN);
}

/* The loop stops while a connection is being made: its callback comes, with ERR_CANCELLED. */
static void stopping_loop_cancels_connects(void **state)
{
    (void)state;
    uint16_t port = 0;
    int listen_fd = raw_listen(0, &port);
    struct net_test test = {.connect_err = ERR_COUNT};
    world_start(&test.world);
    net_test_connect(&test, "127.0.0.1", port, TEST_DEADLINE_US);
    loop_stop(test.world.loop);
    world_run(&test.world);
    assert_int_equal(test.connect_err, ERR_CANCELLED);
    net_test_end(&test);
    close(listen_fd);
}

/* Listening -------------------------------------------------------------------------------------------------------- */

static void listen_says_what_is_wrong(void **state)
{
    (void)state;
    struct net_test test = {.connect_err = ERR_COUNT};
    uint16_t port = net_test_listen(&test, "127.0.0.1");
    struct net *net = test.world.env->net;
    struct net_listener *other = NULL;
    assert_int_equal(net_listen(net, test.world.loop, "127.0.0.1", port, net_on_accept, &test, &other),
                     ERR_ADDRESS_IN_USE);
    assert_int_equal(net_listen(net, test.world.loop, "192.0.2.1", 0, net_on_accept, &test, &other),
                     ERR_ADDRESS_UNKNOWN);
    assert_int_equal(net_listen(net, test.world.loop, "no-such-host.invalid", 0, net_on_accept, &test, &other),
                     ERR_ADDRESS_UNKNOWN);
    assert_null(other);
    net_test_end(&test);
}

#define FEW_DESCRIPTORS 64

struct crowd_test {
    struct world world;
    struct net_listener *listener;
    struct socket *accepted[FEW_DESCRIPTORS];
    unsigned accepted_count;
    struct loop_timer look_timer;
    uint16_t port;
    unsigned step_count;
    struct file *file;
};

static void crowd_on_accept(void *ctx, struct socket *socket)
{
    struct crowd_test *test = ctx;
    test->accepted[test->accepted_count++] = socket;
}

static void crowd_on_step(void *ctx)
{
    ((struct crowd_test *)ctx)->step_count++;
}

static void crowd_on_look(struct loop_timer *timer)
{
    loop_stop(CONTAINER_OF(timer, struct crowd_test, look_timer)->world.loop);
}

/* More clients than descriptors: those above the share for sockets are closed, files can still be opened, and the
 * listener pauses instead of spinning. */
static void clients_cannot_take_the_last_descriptors(void **state)
{
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    uint16_t port = 0;
    int client_fds[FEW_DESCRIPTORS];
    struct crowd_test test = {.look_timer.fire = crowd_on_look};
    /* The clients belong to this process too: their descriptors are made first and moved out of the way. */
    for (size_t i = 0; i < FEW_DESCRIPTORS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        client_fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 500);
        assert_true(client_fds[i] >= 500);
        close(fd);
    }
    struct rlimit few = {.rlim_cur = FEW_DESCRIPTORS, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    world_start(&test.world);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few),
                     0); /* the env raised it; its own idea of the limit is checked below */
    assert_int_equal(
        net_listen(test.world.env->net, test.world.loop, "127.0.0.1", 0, crowd_on_accept, &test, &test.listener),
        ERR_OK);
    struct net_address listening;
    net_listener_address(test.world.env->net, test.listener, &listening);
    port = listening.port;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < FEW_DESCRIPTORS; i++) {
        (void)connect(client_fds[i], (struct sockaddr *)&address, sizeof(address));
    }
    loop_set_step(test.world.loop, crowd_on_step, &test);
    loop_timer_set(test.world.loop, &test.look_timer, loop_now_us(test.world.loop) + 250000);
    world_run(&test.world);
    assert_true(test.accepted_count > 0 && test.accepted_count < FEW_DESCRIPTORS);
    assert_true(test.step_count < 50); /* about one iteration for each pause of 100 ms */
    for (unsigned i = 0; i < test.accepted_count; i++) {
        socket_close(test.accepted[i]);
    }
    net_listener_close(test.world.env->net, test.listener);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    world_end(&test.world);
    for (size_t i = 0; i < FEW_DESCRIPTORS; i++) {
        close(client_fds[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_returns_every_byte),       cmocka_unit_test(names_are_resolved),
        cmocka_unit_test(empty_host_listens_everywhere), cmocka_unit_test(ipv6_works),
        cmocka_unit_test(full_socket_says_would_block),  cmocka_unit_test(files_are_sent),
        cmocka_unit_test(orderly_end_is_err_end),        cmocka_unit_test(lost_connection_is_err_reset),
        cmocka_unit_test(connect_says_refused),          cmocka_unit_test(connect_says_timeout),
        cmocka_unit_test(connect_says_unknown),          cmocka_unit_test(stopping_loop_cancels_connects),
        cmocka_unit_test(listen_says_what_is_wrong),     cmocka_unit_test(clients_cannot_take_the_last_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

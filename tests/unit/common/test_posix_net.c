/* TCP behind the seam: bytes arrive whole and in order whatever the sizes of the parts, and every end of a connection has
 * its own code. */
#include "common/mem.h"
#include "tests/unit/common/net_support.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* Closing inside a callback: the socket in its own while both directions are ready, the listener in on_accept. */
struct closing_test {
    struct world world;
    struct net_listener *listener;
    struct socket *client;
    unsigned ready_count;
};

static void closing_on_ready(void *ctx, unsigned events)
{
    struct closing_test *test = ctx;
    (void)events;
    test->ready_count++;
    socket_close(test->client);
    test->client = NULL;
}

static void closing_on_accept(void *ctx, struct socket *socket)
{
    struct closing_test *test = ctx;
    net_listener_close(test->world.env->net, test->listener);
    test->listener = NULL;
    size_t written_bytes = 0;
    assert_int_equal(socket_writev(socket, &(struct span){(const uint8_t *)"x", 1}, 1, &written_bytes), ERR_OK);
    socket_close(socket); /* never attached */
}

static void closing_on_connected(void *ctx, enum err err, struct socket *socket)
{
    struct closing_test *test = ctx;
    assert_int_equal(err, ERR_OK);
    test->client = socket;
    socket_attach(socket, test->world.loop, closing_on_ready, test);
}

static void closing_on_step(void *ctx)
{
    struct closing_test *test = ctx;
    if (test->ready_count > 0) {
        loop_stop(test->world.loop); /* an iteration later than the close */
    } else if (test->client != NULL && test->listener == NULL) {
        socket_watch(test->client, NET_READABLE | NET_WRITABLE); /* both are possible now */
    }
}

static void closing_in_a_callback_is_safe(void **state)
{
    (void)state;
    struct closing_test test = {.ready_count = 0};
    world_start(&test.world);
    struct net *net = test.world.env->net;
    assert_int_equal(net_listen(net, test.world.loop, "127.0.0.1", 0, closing_on_accept, &test, &test.listener),
                     ERR_OK);
    struct net_address address;
    net_listener_address(net, test.listener, &address);
    loop_set_step(test.world.loop, closing_on_step, &test);
    net_connect(net, test.world.loop, address.host, address.port, TEST_DEADLINE_US, closing_on_connected, &test);
    world_run(&test.world);
    assert_int_equal(test.ready_count, 1); /* no second callback for the other direction */
    assert_null(test.client);
    world_end(&test.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_returns_every_byte),       cmocka_unit_test(names_are_resolved),
        cmocka_unit_test(empty_host_listens_everywhere), cmocka_unit_test(ipv6_works),
        cmocka_unit_test(full_socket_says_would_block),  cmocka_unit_test(files_are_sent),
        cmocka_unit_test(orderly_end_is_err_end),        cmocka_unit_test(lost_connection_is_err_reset),
        cmocka_unit_test(closing_in_a_callback_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

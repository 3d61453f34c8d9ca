/* Making connections: every way to fail has its own code, since the controller fences a broker whose address refuses and
 * only then; listening, also when descriptors run out. */
#include "tests/unit/common/net_support.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

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
        cmocka_unit_test(connect_says_refused),      cmocka_unit_test(connect_says_timeout),
        cmocka_unit_test(connect_says_unknown),      cmocka_unit_test(stopping_loop_cancels_connects),
        cmocka_unit_test(listen_says_what_is_wrong), cmocka_unit_test(clients_cannot_take_the_last_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Making connections: every way to fail has its own code, since the controller fences a broker whose address refuses and
 * only then; listening, also when descriptors run out. */
#include "tests/unit/common/net_support.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
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
    unsigned step_count;
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

/* The clients belong to this process too: their descriptors are moved out of the way of those that count. */
static void crowd_make_clients(int ret_fds[FEW_DESCRIPTORS])
{
    for (size_t i = 0; i < FEW_DESCRIPTORS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        ret_fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 500);
        CHECK(ret_fds[i] >= 500);
        close(fd);
    }
}

/* Connects all clients at once and serves them for a while. */
static void crowd_run(struct crowd_test *test, const int client_fds[FEW_DESCRIPTORS])
{
    struct net *net = test->world.env->net;
    CHECK(net_listen(net, test->world.loop, "127.0.0.1", 0, crowd_on_accept, test, &test->listener) == ERR_OK);
    struct net_address listening;
    net_listener_address(net, test->listener, &listening);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(listening.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < FEW_DESCRIPTORS; i++) {
        (void)connect(client_fds[i], (struct sockaddr *)&address, sizeof(address));
    }
    test->look_timer.fire = crowd_on_look;
    loop_set_step(test->world.loop, crowd_on_step, test);
    loop_timer_set(test->world.loop, &test->look_timer, loop_now_us(test->world.loop) + 250000);
    world_run(&test->world);
    CHECK(test->step_count < 50); /* about one iteration for each pause of 100 ms: no spinning */
}

static void crowd_end(struct crowd_test *test, const int client_fds[FEW_DESCRIPTORS])
{
    for (unsigned i = 0; i < test->accepted_count; i++) {
        socket_close(test->accepted[i]);
    }
    net_listener_close(test->world.env->net, test->listener);
    world_end(&test->world);
    for (size_t i = 0; i < FEW_DESCRIPTORS; i++) {
        close(client_fds[i]);
    }
}

/* accept itself fails: the limit is lowered behind the env's back. The listener pauses instead of spinning. */
static void listener_survives_the_last_descriptor(void **state)
{
    (void)state;
    struct rlimit before;
    int client_fds[FEW_DESCRIPTORS];
    struct crowd_test test = {.step_count = 0};
    crowd_make_clients(client_fds);
    world_start(&test.world);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit few = {.rlim_cur = FEW_DESCRIPTORS, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    crowd_run(&test, client_fds);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(test.accepted_count > 0 && test.accepted_count < FEW_DESCRIPTORS);
    crowd_end(&test, client_fds);
}

/* In a child, since a hard limit can't be raised again: a quarter of the descriptors is left for files. */
static void clients_leave_descriptors_for_files(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit few = {.rlim_cur = FEW_DESCRIPTORS, .rlim_max = FEW_DESCRIPTORS};
        int client_fds[FEW_DESCRIPTORS];
        struct file *files[FEW_DESCRIPTORS / 4 - 1];
        struct crowd_test test = {.step_count = 0};
        crowd_make_clients(client_fds);
        CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
        world_start(&test.world);
        crowd_run(&test, client_fds);
        CHECK(test.accepted_count > 0);
        for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
            CHECK(fs_open(test.world.env->fs, "/dev/null", FS_OPEN_READ, &files[i]) == ERR_OK);
        }
        for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
            file_unref(files[i]);
        }
        crowd_end(&test, client_fds);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_says_refused),
        cmocka_unit_test(connect_says_timeout),
        cmocka_unit_test(connect_says_unknown),
        cmocka_unit_test(stopping_loop_cancels_connects),
        cmocka_unit_test(listen_says_what_is_wrong),
        cmocka_unit_test(listener_survives_the_last_descriptor),
        cmocka_unit_test(clients_leave_descriptors_for_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

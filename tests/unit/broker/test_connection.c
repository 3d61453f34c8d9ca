/* Connections over real loopback sockets: framing, order, limits, dead peers, back-pressure. */
#include "common/big_endian.h"
#include "common/check.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "common/seam/net.h"
#include "net_harness.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void expect_reply(int fd, const void *payload, size_t bytes)
{
    size_t got_bytes = 0;
    uint8_t *got = net_client_receive_frame(fd, &got_bytes);
    assert_int_equal(got_bytes, bytes);
    assert_memory_equal(got, payload, bytes);
    free(got);
}

static void expect_request(struct net_harness *harness, size_t index, const void *payload, size_t bytes)
{
    net_harness_wait_requests(harness, index + 1);
    const struct request *request = harness->requests[index];
    assert_non_null(request);
    assert_int_equal(request->frame->bytes, bytes);
    assert_memory_equal(request->frame->data, payload, bytes);
}

/* A frame that comes one byte at a time is the same frame. */
static void frame_arrives_byte_by_byte(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    struct net_harness *harness = net_harness_start(&config);
    int fd = net_client_connect(harness);
    static const uint8_t bytes[] = {0, 0, 0, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    for (size_t i = 0; i < sizeof(bytes); i++) {
        net_client_send(fd, &bytes[i], 1);
    }
    expect_request(harness, 0, bytes + 4, 10);
    net_harness_reply(harness, 0, "answer", 6);
    expect_reply(fd, "answer", 6);
    close(fd);
    net_harness_stop(harness);
}

/* Ten requests in one write, answered last first: replies come in the order of the requests. */
static void replies_keep_the_order_of_requests(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    struct net_harness *harness = net_harness_start(&config);
    int fd = net_client_connect(harness);
    uint8_t wire[10 * 12];
    for (size_t i = 0; i < 10; i++) {
        be32_put(wire + 12 * i, 8);
        be64_put(wire + 12 * i + 4, i);
    }
    net_client_send(fd, wire, sizeof(wire));
    net_harness_wait_requests(harness, 10);
    for (size_t i = 10; i-- > 0;) {
        expect_request(harness, i, wire + 12 * i + 4, 8);
        if (i % 3 == 1) {
            net_harness_reply_nothing(harness, i); /* acks=0 between others */
        } else {
            uint8_t payload = (uint8_t)i;
            net_harness_reply(harness, i, &payload, 1);
        }
    }
    for (size_t i = 0; i < 10; i++) {
        if (i % 3 != 1) {
            uint8_t payload = (uint8_t)i;
            expect_reply(fd, &payload, 1);
        }
    }
    close(fd);
    net_harness_stop(harness);
}

/* Beyond the in-flight limit requests wait in their order until earlier ones are answered and sent. */
static void in_flight_requests_are_bounded(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    config.limits.requests_in_flight_max = 4;
    struct net_harness *harness = net_harness_start(&config);
    int fd = net_client_connect(harness);
    uint8_t wire[100 * 12];
    for (size_t i = 0; i < 100; i++) {
        be32_put(wire + 12 * i, 8);
        be64_put(wire + 12 * i + 4, i);
    }
    net_client_send(fd, wire, sizeof(wire));
    net_harness_wait_requests(harness, 4);
    for (size_t i = 0; i < 100; i++) {
        size_t count = net_harness_request_count(harness);
        assert_true(count <= i + 4);
        expect_request(harness, i, wire + 12 * i + 4, 8);
        net_harness_reply(harness, i, wire + 12 * i + 4, 8);
        expect_reply(fd, wire + 12 * i + 4, 8);
    }
    close(fd);
    net_harness_stop(harness);
}

/* Memory for requests is used up: the second connection's frame waits, and comes when the first is answered. */
static void memory_limit_stops_reading(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    config.memory_bytes = 100000;
    struct net_harness *harness = net_harness_start(&config);
    int fds[3];
    uint8_t *big = mem_zalloc(80000);
    for (size_t i = 0; i < 3; i++) {
        fds[i] = net_client_connect(harness);
        big[0] = (uint8_t)i;
        net_client_send_frame(fds[i], big, 80000);
        net_harness_wait_connections(harness, i + 1);
        if (i == 0) {
            net_harness_wait_requests(harness, 1);
        }
    }
    for (size_t i = 0; i < 3; i++) {
        net_harness_wait_requests(harness, i + 1);
        assert_int_equal(net_harness_request_count(harness), i + 1);
        uint8_t from = harness->requests[i]->frame->data[0];
        assert_true(memory_budget_used(&harness->budget) <= 100000);
        net_harness_reply(harness, i, "x", 1);
        expect_reply(fds[from], "x", 1);
    }
    for (size_t i = 0; i < 3; i++) {
        close(fds[i]);
    }
    net_harness_wait_connections(harness, 0);
    assert_int_equal(memory_budget_used(&harness->budget), 0);
    mem_free(big);
    net_harness_stop(harness);
}

struct bad_start {
    const char *bytes;
    size_t count;
    const char *complaint;
};

/* First bytes that are no Kafka frame: the connection closes with one line that names cause and remedy. */
static void bad_first_bytes_close_with_a_reason(void **state)
{
    (void)state;
    static const struct bad_start starts[] = {
        {"\x16\x03\x01\x02\x00\x01\x00", 7, "security.protocol=PLAINTEXT"},
        {"GET / HTTP/1.1\r\n\r\n", 18, "http.listener"},
        {"POST /x HTTP/1.1\r\n", 18, "http.listener"},
        {"\xff\xff\xff\xff....", 8, "zero or negative"},
        {"\x00\x00\x00\x00....", 8, "zero or negative"},
        {"\x00\x00\x00\x07.......", 11, "smaller than its header"},
        {"\x7f\xff\xff\xff....", 8, "socket.request.max.bytes"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(starts); i++) {
        struct net_harness_config config = net_harness_defaults();
        struct net_harness *harness = net_harness_start(&config);
        int fd = net_client_connect(harness);
        net_client_send(fd, starts[i].bytes, starts[i].count);
        net_client_expect_closed(fd);
        assert_true(net_harness_log_has(harness, starts[i].complaint));
        assert_int_equal(net_harness_request_count(harness), 0);
        close(fd);
        net_harness_stop(harness);
    }
}

/* One client's nonsense is one connection's end: others go on. The log is limited. */
static void many_bad_clients_are_logged_a_few_times(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    struct net_harness *harness = net_harness_start(&config);
    int good = net_client_connect(harness);
    for (size_t i = 0; i < 50; i++) {
        int fd = net_client_connect(harness);
        net_client_send(fd, "GET / HTTP/1.1\r\n", 16);
        net_client_expect_closed(fd);
        close(fd);
    }
    net_client_send_frame(good, "12345678", 8);
    net_harness_wait_requests(harness, 1);
    net_harness_reply(harness, 0, "ok", 2);
    expect_reply(good, "ok", 2);
    assert_int_equal(net_harness_log_count(harness, "bad_frame"), LOG_LIMIT_BURST);
    close(good);
    net_harness_stop(harness);
}

static void check_connection_is_gone(struct net_harness *harness, void *ctx)
{
    (void)ctx;
    CHECK(harness->requests[0]->connection == NULL);
    CHECK(harness->requests[0]->context.principal[0] == 'U');
    CHECK(memory_budget_used(&harness->budget) > ARENA_BLOCK_BYTES); /* bounded without its place */
}

/* The peer goes while its request is in work: the request lives on, its reply is dropped, its place is free, nothing leaks. */
static void dead_peer_leaves_its_request_alive(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    config.connection_count_max = 2;
    struct net_harness *harness = net_harness_start(&config);
    int fd = net_client_connect(harness);
    net_client_send_frame(fd, "abcdefgh", 8);
    net_client_send_frame(fd, "ijklmnop", 8);
    net_harness_wait_requests(harness, 2);
    net_harness_reply(harness, 1, "second", 6); /* waits behind the first */
    close(fd);
    int other = net_client_connect(harness);
    net_client_send_frame(other, "12345678", 8);
    net_harness_wait_requests(harness, 3); /* by now the loop has seen the end of the first, or will */
    while (!net_harness_log_has(harness, "connection_lost")) {
        net_harness_wait_connections(harness, 2);
    }
    net_harness_run(harness, check_connection_is_gone, NULL);
    net_harness_wait_connections(harness, 2); /* home knows that the place is free */
    int third = net_client_connect(harness);
    net_client_send_frame(third, "87654321", 8);
    net_harness_wait_requests(harness, 4);
    net_harness_reply(harness, 0, "first", 5);
    net_harness_reply_nothing(harness, 3);
    close(third);
    net_harness_wait_connections(harness, 1);
    net_harness_reply(harness, 2, "third", 5);
    expect_reply(other, "third", 5);
    close(other);
    net_harness_stop(harness);
}

/* A client without a request is closed after the idle time; so is one that stops inside a request or takes no replies. */
static void deadlines_close_what_stalls(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    config.limits.idle_us = 30000;
    config.limits.read_stall_us = 20000;
    config.limits.write_stall_us = 20000;
    struct net_harness *harness = net_harness_start(&config);
    int idle = net_client_connect(harness);
    net_client_expect_closed(idle);
    assert_true(net_harness_log_has(harness, "connections.max.idle.ms"));
    close(idle);
    int half = net_client_connect(harness);
    net_client_send(half, "\x00\x00\x00\x20half", 8);
    net_client_expect_closed(half);
    assert_true(net_harness_log_has(harness, "begun and not completed"));
    close(half);
    int deaf = net_client_connect(harness);
    net_client_send_frame(deaf, "12345678", 8);
    net_harness_wait_requests(harness, 1);
    size_t bytes = 64u << 20;
    uint8_t *much = mem_zalloc(bytes);
    net_harness_reply(harness, 0, much, bytes);
    net_harness_wait_connections(harness, 0);
    assert_true(net_harness_log_has(harness, "takes no replies"));
    close(deaf);
    mem_free(much);
    net_harness_stop(harness);
}

static void throttle_first(struct net_harness *harness, void *ctx)
{
    connection_throttle(harness->requests[0]->connection, *(uint32_t *)ctx);
}

/* A throttled connection is not read from until its time is over; the reply that says so goes at once. */
static void throttling_mutes_reading(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    struct net_harness *harness = net_harness_start(&config);
    int fd = net_client_connect(harness);
    net_client_send_frame(fd, "first...", 8);
    net_harness_wait_requests(harness, 1);
    uint32_t delay_ms = 100;
    uint64_t before_us = clock_mono_us(harness->posix->env.clock);
    net_harness_run(harness, throttle_first, &delay_ms);
    net_client_send_frame(fd, "second..", 8);
    net_harness_reply(harness, 0, "slow down", 9);
    expect_reply(fd, "slow down", 9);
    assert_int_equal(net_harness_request_count(harness), 1);
    net_harness_wait_requests(harness, 2);
    assert_true(clock_mono_us(harness->posix->env.clock) - before_us >= 99000);
    net_harness_reply(harness, 1, "on", 2);
    expect_reply(fd, "on", 2);
    close(fd);
    net_harness_stop(harness);
}

static void close_because(struct net_harness *harness, void *ctx)
{
    connection_close_because(harness->requests[*(size_t *)ctx], "a handler said so");
    harness->requests[*(size_t *)ctx] = NULL;
}

/* A handler may end the connection; replies that were not sent are lost, requests in work finish. */
static void handler_may_close_the_connection(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    struct net_harness *harness = net_harness_start(&config);
    int fd = net_client_connect(harness);
    for (size_t i = 0; i < 3; i++) {
        net_client_send_frame(fd, "12345678", 8);
    }
    net_harness_wait_requests(harness, 3);
    size_t index = 1;
    net_harness_run(harness, close_because, &index);
    net_client_expect_closed(fd);
    assert_true(net_harness_log_has(harness, "a handler said so"));
    net_harness_reply(harness, 2, "x", 1);
    net_harness_reply(harness, 0, "y", 1);
    net_harness_wait_connections(harness, 0);
    close(fd);
    net_harness_stop(harness);
}

/* Strangers get small frames and little time. */
static void unauthenticated_clients_have_tight_limits(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    config.is_unauthenticated = true;
    config.limits.handshake_us = 50000;
    struct net_harness *harness = net_harness_start(&config);
    int large = net_client_connect(harness);
    net_client_send(large, "\x00\x00\x10\x01....", 8);
    net_client_expect_closed(large);
    assert_true(net_harness_log_has(harness, "limit 4096"));
    close(large);
    int slow = net_client_connect(harness);
    net_client_expect_closed(slow);
    assert_true(net_harness_log_has(harness, "handshake took too long"));
    close(slow);
    net_harness_stop(harness);
}

/* max.connections and max.connections.per.ip refuse at once, and a closed connection makes room. */
static void connections_are_counted(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    config.connection_count_max = 2;
    struct net_harness *harness = net_harness_start(&config);
    int first = net_client_connect(harness);
    int second = net_client_connect(harness);
    net_harness_wait_connections(harness, 2);
    int third = net_client_connect(harness);
    net_client_expect_closed(third);
    assert_true(net_harness_log_has(harness, "max.connections is reached"));
    close(third);
    close(first);
    net_harness_wait_connections(harness, 1);
    int fourth = net_client_connect(harness);
    net_harness_wait_connections(harness, 2);
    close(second);
    close(fourth);
    net_harness_stop(harness);
}

/* At the end idle connections close at once; a request in work gets its reply first. */
static void stop_lets_replies_out(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    struct net_harness *harness = net_harness_start(&config);
    int idle = net_client_connect(harness);
    int busy = net_client_connect(harness);
    net_client_send_frame(busy, "12345678", 8);
    net_harness_wait_requests(harness, 1);
    net_harness_wait_connections(harness, 2);
    net_harness_begin_stop(harness);
    net_client_expect_closed(idle);
    net_harness_reply(harness, 0, "late", 4);
    expect_reply(busy, "late", 4);
    net_client_expect_closed(busy);
    net_harness_stop(harness);
    close(busy);
    close(idle);
}

#define PROP_CLIENTS 5

struct prop_client {
    int fd;
    size_t sent_count;
    size_t got_count;
    size_t indexes[400]; /* of its requests in the harness */
    size_t index_count;
};

static void send_random_frames(struct prop *prop, struct prop_client *client, unsigned number, size_t count)
{
    uint8_t wire[70000];
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = 8 + (size_t)prop_skewed(prop, 20000);
        if (used + bytes + 4 > sizeof(wire)) {
            break;
        }
        be32_put(wire + used, (uint32_t)bytes);
        memset(wire + used + 4, (int)(client->sent_count & 0xff), bytes);
        wire[used + 4] = (uint8_t)number;
        be16_put(wire + used + 5, (uint16_t)client->sent_count++);
        used += bytes + 4;
    }
    for (size_t pos = 0; pos < used;) {
        size_t part = 1 + (size_t)prop_skewed(prop, used - pos - 1);
        net_client_send(client->fd, wire + pos, part);
        pos += part;
    }
}

/* Any mix of frame sizes, cuts and orders of answers: each client gets its replies complete and in order. */
static void random_traffic_is_answered_in_order(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "random_traffic_is_answered_in_order", 20261123);
    struct net_harness_config config = net_harness_defaults();
    config.memory_bytes = 400000;
    struct net_harness *harness = net_harness_start(&config);
    struct prop_client clients[PROP_CLIENTS] = {0};
    for (size_t c = 0; c < PROP_CLIENTS; c++) {
        clients[c].fd = net_client_connect(harness);
    }
    size_t expected_count = 0;
    size_t seen_count = 0;
    for (uint64_t round = 0; round < prop_runs(60); round++) {
        for (unsigned c = 0; c < PROP_CLIENTS; c++) {
            size_t before = clients[c].sent_count;
            send_random_frames(&prop, &clients[c], c, prop_below(&prop, 5));
            expected_count += clients[c].sent_count - before;
        }
        net_harness_wait_requests(harness, expected_count);
        size_t open[PROP_CLIENTS * 5];
        size_t open_count = 0;
        for (; seen_count < expected_count; seen_count++) {
            open[open_count++] = seen_count;
        }
        while (open_count > 0) {
            size_t chosen = (size_t)prop_below(&prop, open_count);
            struct request *request = harness->requests[open[chosen]];
            uint8_t payload[3];
            memcpy(payload, request->frame->data, 3);
            net_harness_reply(harness, open[chosen], payload, 3);
            open[chosen] = open[--open_count];
        }
        for (size_t c = 0; c < PROP_CLIENTS; c++) {
            for (; clients[c].got_count < clients[c].sent_count; clients[c].got_count++) {
                uint8_t payload[3] = {(uint8_t)c};
                be16_put(payload + 1, (uint16_t)clients[c].got_count);
                expect_reply(clients[c].fd, payload, 3);
            }
        }
    }
    for (size_t c = 0; c < PROP_CLIENTS; c++) {
        close(clients[c].fd);
    }
    net_harness_wait_connections(harness, 0);
    assert_int_equal(memory_budget_used(&harness->budget), 0);
    net_harness_stop(harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_arrives_byte_by_byte),
        cmocka_unit_test(replies_keep_the_order_of_requests),
        cmocka_unit_test(in_flight_requests_are_bounded),
        cmocka_unit_test(memory_limit_stops_reading),
        cmocka_unit_test(bad_first_bytes_close_with_a_reason),
        cmocka_unit_test(many_bad_clients_are_logged_a_few_times),
        cmocka_unit_test(dead_peer_leaves_its_request_alive),
        cmocka_unit_test(deadlines_close_what_stalls),
        cmocka_unit_test(throttling_mutes_reading),
        cmocka_unit_test(handler_may_close_the_connection),
        cmocka_unit_test(unauthenticated_clients_have_tight_limits),
        cmocka_unit_test(connections_are_counted),
        cmocka_unit_test(stop_lets_replies_out),
        cmocka_unit_test(random_traffic_is_answered_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

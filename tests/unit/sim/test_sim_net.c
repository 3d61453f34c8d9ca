/* The simulated network must behave like TCP between machines that fail: order and completeness while a connection lives,
 * resets, refusals, silence, partitions in one direction, stalls. */
#include "common/mem.h"
#include "tests/sim/sim_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PORT 9092
#define TRANSFER_BYTES 300000u

/* One node of a test: it listens or connects, and notes what happens. */
struct peer {
    struct sim_node *node;
    struct loop *loop;
    struct net_listener *listener;
    struct socket *socket;
    enum err connect_err;
    bool is_connect_over;
    unsigned accept_count;
    bool reads; /* takes what comes */
    uint8_t *received;
    size_t received_bytes;
    enum err end_err; /* how reading ended */
    bool has_ended;
    size_t written_bytes;
    size_t to_write_bytes;
    uint8_t next_byte;
    enum err write_err;
};

struct fixture {
    struct sim_world world;
    struct sim_fabric *fabric;
    struct peer server;
    struct peer client;
};

static uint8_t byte_at(size_t pos)
{
    return (uint8_t)(pos * 31 + (pos >> 8));
}

static void peer_write(struct peer *peer)
{
    while (peer->written_bytes < peer->to_write_bytes && peer->write_err == ERR_OK) {
        uint8_t chunk[1000];
        size_t bytes = peer->to_write_bytes - peer->written_bytes;
        bytes = bytes < sizeof(chunk) ? bytes : sizeof(chunk);
        for (size_t i = 0; i < bytes; i++) {
            chunk[i] = byte_at(peer->written_bytes + i);
        }
        struct span spans[2] = {span_make(chunk, bytes / 3), span_make(chunk + bytes / 3, bytes - bytes / 3)};
        size_t written_bytes = 0;
        enum err err = socket_writev(peer->socket, spans, 2, &written_bytes);
        if (err == ERR_WOULD_BLOCK) {
            break;
        }
        peer->write_err = err;
        if (err == ERR_OK) {
            assert_true(written_bytes > 0 && written_bytes <= bytes);
            peer->written_bytes += written_bytes;
        }
    }
    bool wants_write = peer->written_bytes < peer->to_write_bytes && peer->write_err == ERR_OK;
    socket_watch(peer->socket,
                 (peer->reads && !peer->has_ended ? NET_READABLE : 0u) | (wants_write ? NET_WRITABLE : 0u));
}

static void peer_read(struct peer *peer)
{
    uint8_t room[700];
    size_t read_bytes = 0;
    enum err err = socket_read(peer->socket, room, sizeof(room), &read_bytes);
    if (err == ERR_OK) {
        memcpy(peer->received + peer->received_bytes, room, read_bytes);
        peer->received_bytes += read_bytes;
    } else if (err != ERR_WOULD_BLOCK) {
        peer->has_ended = true;
        peer->end_err = err;
    }
}

static void on_ready(void *ctx, unsigned events)
{
    struct peer *peer = (struct peer *)ctx;
    if ((events & NET_READABLE) != 0) {
        peer_read(peer);
    }
    peer_write(peer);
}

static void peer_take(struct peer *peer, struct socket *socket)
{
    peer->socket = socket;
    socket_attach(socket, peer->loop, on_ready, peer);
    peer_write(peer);
}

static void on_accept(void *ctx, struct socket *socket)
{
    struct peer *peer = (struct peer *)ctx;
    peer->accept_count++;
    peer_take(peer, socket);
}

static void on_connected(void *ctx, enum err err, struct socket *socket)
{
    struct peer *peer = (struct peer *)ctx;
    assert_false(peer->is_connect_over);
    peer->is_connect_over = true;
    peer->connect_err = err;
    if (err == ERR_OK) {
        peer_take(peer, socket);
    } else {
        assert_null(socket);
    }
}

static void boot_server(struct sim_node *node, void *ctx)
{
    struct peer *peer = (struct peer *)ctx;
    assert_int_equal(runtime_loop_new(node->env.runtime, "server", &peer->loop), ERR_OK);
    assert_int_equal(net_listen(node->env.net, peer->loop, "0.0.0.0", PORT, on_accept, peer, &peer->listener), ERR_OK);
    struct net_listener *second = NULL;
    assert_int_equal(net_listen(node->env.net, peer->loop, "10.0.0.1", PORT, on_accept, peer, &second),
                     ERR_ADDRESS_IN_USE);
    assert_int_equal(net_listen(node->env.net, peer->loop, "10.9.9.9", PORT, on_accept, peer, &second),
                     ERR_ADDRESS_UNKNOWN);
    runtime_loop_start(node->env.runtime, peer->loop);
}

static void boot_client(struct sim_node *node, void *ctx)
{
    struct peer *peer = (struct peer *)ctx;
    assert_int_equal(runtime_loop_new(node->env.runtime, "client", &peer->loop), ERR_OK);
    runtime_loop_start(node->env.runtime, peer->loop);
}

static void connect_now(struct sim_node *node, void *ctx)
{
    struct peer *peer = (struct peer *)ctx;
    peer->is_connect_over = false;
    net_connect(node->env.net, peer->loop, "server", PORT, 3 * SIM_SECOND_US, on_connected, peer);
    assert_false(peer->is_connect_over);
}

static void fixture_init(struct fixture *fixture, uint64_t seed)
{
    *fixture = (struct fixture){0};
    sim_world_init(&fixture->world, seed, 1 << 20);
    fixture->fabric = sim_fabric_new(&fixture->world);
    fixture->server.node = sim_node_new(&fixture->world, fixture->fabric,
                                        &(struct sim_node_options){.name = "server", .address = "10.0.0.1"});
    fixture->client.node = sim_node_new(&fixture->world, fixture->fabric,
                                        &(struct sim_node_options){.name = "client", .address = "10.0.0.2"});
    fixture->server.reads = fixture->client.reads = true;
    fixture->server.received = (uint8_t *)malloc(TRANSFER_BYTES);
    fixture->client.received = (uint8_t *)malloc(TRANSFER_BYTES);
    sim_node_start(fixture->server.node, boot_server, &fixture->server);
    sim_node_start(fixture->client.node, boot_client, &fixture->client);
}

static void fixture_connect(struct fixture *fixture)
{
    sim_node_run(fixture->client.node, connect_now, &fixture->client);
    sim_world_run_for(&fixture->world, 10000);
    assert_true(fixture->client.is_connect_over);
    assert_int_equal(fixture->client.connect_err, ERR_OK);
    assert_int_equal(fixture->server.accept_count, 1);
}

static void fixture_done(struct fixture *fixture)
{
    sim_node_free(fixture->server.node);
    sim_node_free(fixture->client.node);
    sim_fabric_free(fixture->fabric);
    sim_world_done(&fixture->world);
    free(fixture->server.received);
    free(fixture->client.received);
}

static void write_now(struct sim_node *node, void *ctx)
{
    (void)node;
    peer_write((struct peer *)ctx);
}

static void close_now(struct sim_node *node, void *ctx)
{
    (void)node;
    struct peer *peer = (struct peer *)ctx;
    socket_close(peer->socket);
    peer->socket = NULL;
}

static void start_writing(struct peer *peer, size_t bytes)
{
    peer->to_write_bytes += bytes;
    sim_node_run(peer->node, write_now, peer);
}

static void assert_received(const struct peer *peer, size_t bytes)
{
    assert_int_equal(peer->received_bytes, bytes);
    for (size_t i = 0; i < bytes; i++) {
        assert_int_equal(peer->received[i], byte_at(i));
    }
}

static void bytes_arrive_whole_and_in_order_in_any_pieces(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++) {
        struct fixture fixture;
        fixture_init(&fixture, seed);
        sim_fabric_set_window_bytes(fixture.fabric, 20000);
        sim_fabric_link(fixture.fabric, fixture.client.node->host, fixture.server.node->host)->loss_percent = 5;
        fixture_connect(&fixture);
        start_writing(&fixture.client, TRANSFER_BYTES);
        start_writing(&fixture.server, 1000);
        sim_world_run_for(&fixture.world, 60 * SIM_SECOND_US);
        assert_received(&fixture.server, TRANSFER_BYTES);
        assert_received(&fixture.client, 1000);
        const struct sim_net_counts *counts = sim_fabric_counts(fixture.fabric);
        assert_true(counts->partial_read_count > 10 && counts->partial_write_count > 10);
        struct net_address peer;
        struct net_address local;
        socket_peer(fixture.server.socket, &peer);
        socket_local(fixture.client.socket, &local);
        assert_string_equal(peer.host, "10.0.0.2");
        assert_string_equal(local.host, "10.0.0.2");
        assert_int_equal(peer.port, local.port);
        sim_node_run(fixture.client.node, close_now, &fixture.client);
        sim_world_run_for(&fixture.world, SIM_SECOND_US);
        assert_true(fixture.server.has_ended);
        assert_int_equal(fixture.server.end_err, ERR_END);
        fixture_done(&fixture);
    }
}

static void reader_that_stops_stalls_the_writer(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 2);
    sim_fabric_set_window_bytes(fixture.fabric, 5000);
    fixture.server.reads = false;
    fixture_connect(&fixture);
    start_writing(&fixture.client, 100000);
    sim_world_run_for(&fixture.world, 10 * SIM_SECOND_US);
    assert_int_equal(fixture.client.written_bytes, 5000);
    fixture.server.reads = true;
    sim_node_run(fixture.server.node, write_now, &fixture.server);
    sim_world_run_for(&fixture.world, 10 * SIM_SECOND_US);
    assert_received(&fixture.server, 100000);
    /* Closing with unread bytes resets. */
    fixture.server.reads = false;
    sim_node_run(fixture.server.node, write_now, &fixture.server);
    start_writing(&fixture.client, 100);
    sim_world_run_for(&fixture.world, SIM_SECOND_US);
    sim_node_run(fixture.server.node, close_now, &fixture.server);
    sim_world_run_for(&fixture.world, SIM_SECOND_US);
    assert_true(fixture.client.has_ended);
    assert_int_equal(fixture.client.end_err, ERR_RESET);
    fixture_done(&fixture);
}

static void nobody_listening_refuses_and_nobody_there_times_out(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 3);
    sim_node_kill(fixture.server.node);
    sim_node_run(fixture.client.node, connect_now, &fixture.client);
    sim_world_run_for(&fixture.world, 10000);
    assert_true(fixture.client.is_connect_over);
    assert_int_equal(fixture.client.connect_err, ERR_REFUSED);
    sim_node_power_loss(fixture.server.node, FS_SIM_CRASH_LOSE);
    sim_node_run(fixture.client.node, connect_now, &fixture.client);
    sim_world_run_for(&fixture.world, 2 * SIM_SECOND_US);
    assert_false(fixture.client.is_connect_over);
    sim_world_run_for(&fixture.world, 2 * SIM_SECOND_US);
    assert_true(fixture.client.is_connect_over);
    assert_int_equal(fixture.client.connect_err, ERR_TIMEOUT);
    assert_int_equal(sim_host_socket_count(fixture.client.node->host), 0);
    fixture_done(&fixture);
}

static void killed_process_closes_and_dead_machine_is_silent_until_it_is_back(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 4);
    fixture_connect(&fixture);
    sim_node_kill(fixture.server.node);
    sim_world_run_for(&fixture.world, SIM_SECOND_US);
    assert_true(fixture.client.has_ended);
    assert_int_equal(fixture.client.end_err, ERR_END);
    sim_node_run(fixture.client.node, close_now, &fixture.client);

    fixture.client.has_ended = false;
    fixture.server.accept_count = 0;
    sim_node_start(fixture.server.node, boot_server, &fixture.server);
    fixture_connect(&fixture);
    sim_node_power_loss(fixture.server.node, FS_SIM_CRASH_LOSE);
    start_writing(&fixture.client, 100);
    sim_world_run_for(&fixture.world, 60 * SIM_SECOND_US);
    assert_false(fixture.client.has_ended);
    sim_node_power_on(fixture.server.node);
    sim_world_run_for(&fixture.world, 5 * SIM_SECOND_US);
    assert_true(fixture.client.has_ended); /* what still arrived was answered by a reset */
    assert_int_equal(fixture.client.end_err, ERR_RESET);
    fixture_done(&fixture);
}

static void one_way_partition_stops_one_direction_until_it_heals(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 5);
    fixture_connect(&fixture);
    struct sim_link *link = sim_fabric_link(fixture.fabric, fixture.client.node->host, fixture.server.node->host);
    link->is_blocked = true;
    start_writing(&fixture.client, 50);
    start_writing(&fixture.server, 50);
    sim_world_run_for(&fixture.world, 10 * SIM_SECOND_US);
    assert_int_equal(fixture.server.received_bytes, 0);
    assert_received(&fixture.client, 50);
    link->is_blocked = false;
    sim_world_run_for(&fixture.world, 5 * SIM_SECOND_US);
    assert_received(&fixture.server, 50);
    fixture_done(&fixture);
}

static void missing_acknowledgements_fill_the_window(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 6);
    sim_fabric_set_window_bytes(fixture.fabric, 5000);
    fixture_connect(&fixture);
    struct sim_link *back = sim_fabric_link(fixture.fabric, fixture.server.node->host, fixture.client.node->host);
    back->is_blocked = true;
    start_writing(&fixture.client, 20000);
    sim_world_run_for(&fixture.world, 10 * SIM_SECOND_US);
    assert_int_equal(fixture.server.received_bytes, 5000); /* they arrive, but their acknowledgement does not */
    back->is_blocked = false;
    sim_world_run_for(&fixture.world, 10 * SIM_SECOND_US);
    assert_received(&fixture.server, 20000);
    fixture_done(&fixture);
}

static void reset_cuts_anywhere_and_both_sides_learn(void **state)
{
    (void)state;
    unsigned partial_count = 0;
    for (uint64_t seed = 10; seed < 30; seed++) {
        struct fixture fixture;
        fixture_init(&fixture, seed);
        fixture_connect(&fixture);
        start_writing(&fixture.client, 100000);
        assert_true(sim_fabric_reset_one(fixture.fabric, fixture.client.node->host));
        sim_world_run_for(&fixture.world, SIM_SECOND_US);
        assert_true(fixture.client.has_ended && fixture.server.has_ended);
        assert_int_equal(fixture.client.end_err, ERR_RESET);
        assert_int_equal(fixture.server.end_err, ERR_RESET);
        assert_received(&fixture.server, fixture.server.received_bytes);
        partial_count += fixture.server.received_bytes < 100000;
        fixture_done(&fixture);
    }
    assert_int_equal(partial_count, 20);
}

static void send_from_file(struct sim_node *node, void *ctx)
{
    struct peer *peer = (struct peer *)ctx;
    struct file *file = NULL;
    assert_int_equal(fs_open(node->env.fs, "f", FS_OPEN_WRITE | FS_OPEN_CREATE, &file), ERR_OK);
    uint8_t bytes[64];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = byte_at(i);
    }
    struct span span = span_make(bytes, sizeof(bytes));
    assert_int_equal(file_pwritev(file, &span, 1, 0), ERR_OK);
    size_t sent_bytes = 0;
    while (sent_bytes < sizeof(bytes)) {
        size_t part_bytes = 0;
        assert_int_equal(socket_send_file(peer->socket, file, sent_bytes, sizeof(bytes) - sent_bytes, &part_bytes),
                         ERR_OK);
        sent_bytes += part_bytes;
    }
    size_t none_bytes = 0;
    assert_int_equal(socket_send_file(peer->socket, file, sizeof(bytes), 1, &none_bytes), ERR_END);
    /* What was sent is what the file held then. */
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(file_pwritev(file, &span, 1, 0), ERR_OK);
    file_unref(file);
}

static void file_is_sent_as_it_is_at_that_time(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 7);
    fixture_connect(&fixture);
    sim_node_run(fixture.client.node, send_from_file, &fixture.client);
    sim_world_run_for(&fixture.world, SIM_SECOND_US);
    assert_received(&fixture.server, 64);
    fixture_done(&fixture);
}

static void stop_loop_while_connecting(struct sim_node *node, void *ctx)
{
    struct peer *peer = (struct peer *)ctx;
    connect_now(node, ctx);
    loop_stop(peer->loop);
    runtime_loop_join(node->env.runtime, peer->loop);
    assert_true(peer->is_connect_over);
    assert_int_equal(peer->connect_err, ERR_CANCELLED);
    runtime_loop_free(node->env.runtime, peer->loop);
}

static void connect_is_answered_when_its_loop_ends(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 8);
    sim_node_power_loss(fixture.server.node, FS_SIM_CRASH_LOSE);
    sim_node_run(fixture.client.node, stop_loop_while_connecting, &fixture.client);
    assert_int_equal(sim_node_reap(fixture.client.node), 0);
    fixture_done(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_whole_and_in_order_in_any_pieces),
        cmocka_unit_test(reader_that_stops_stalls_the_writer),
        cmocka_unit_test(nobody_listening_refuses_and_nobody_there_times_out),
        cmocka_unit_test(killed_process_closes_and_dead_machine_is_silent_until_it_is_back),
        cmocka_unit_test(one_way_partition_stops_one_direction_until_it_heals),
        cmocka_unit_test(missing_acknowledgements_fill_the_window),
        cmocka_unit_test(reset_cuts_anywhere_and_both_sides_learn),
        cmocka_unit_test(file_is_sent_as_it_is_at_that_time),
        cmocka_unit_test(connect_is_answered_when_its_loop_ends),
    };
    return cmocka_run_group_tests_name("sim_net", tests, NULL, NULL);
}

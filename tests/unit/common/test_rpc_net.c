/* Links over the simulated network: streams that are cut anywhere, resets in the midst of a frame, machines that fall silent; and what
 * takes time: deadlines and the wait between tries. */
#include "tests/unit/common/rpc_net_support.h"

static void frames_survive_any_cut_and_every_reset_ends_a_whole_prefix(void **state)
{
    (void)state;
    unsigned up_count = 0;
    uint64_t frame_count = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct net_test *test = fixture_new(seed);
        test->frames_max = 600;
        sim_fabric_set_window_bytes(test->fabric, 3000u << (seed % 6));
        sim_fabric_link(test->fabric, test->client_node->host, test->server_node->host)->loss_percent = 3;
        serve_and_dial(test);
        for (int i = 0; i < 12; i++) {
            sim_world_run_for(&test->world, sim_world_draw_us(&test->world, 1000, 100000));
            (void)sim_fabric_reset_one(test->fabric, test->client_node->host);
            sim_world_run_for(&test->world, 2000);
            sim_node_run(test->client_node, hurry_now, test);
        }
        const struct sim_net_counts *counts = sim_fabric_counts(test->fabric);
        assert_true(counts->partial_read_count > 10 && counts->partial_write_count > 10);
        /* Left alone, everything that was sent arrives. */
        sim_world_run_for(&test->world, 300 * SIM_SECOND_US);
        assert_non_null(test->client.link);
        struct stream *other = &test->server_streams[test->client.lane];
        assert_non_null(other->link);
        assert_int_equal(other->received_count, 600);
        assert_int_equal(test->client.received_count, 600);
        up_count += test->up_count;
        frame_count += test->frame_count;
        fixture_free(test);
    }
    printf("# ups=%u frames=%llu\n", up_count, (unsigned long long)frame_count);
    assert_true(up_count >= 50);
    assert_true(frame_count > 2000);
}

static void killed_process_ends_the_link_then_its_address_refuses(void **state)
{
    (void)state;
    struct net_test *test = fixture_new(11);
    serve_and_dial(test);
    sim_world_run_for(&test->world, SIM_SECOND_US);
    assert_int_equal(test->up_count, 1);
    sim_node_kill(test->server_node);
    sim_world_run_for(&test->world, 10000);
    assert_int_equal(test->down_count, 1);
    assert_true(test->was_up);
    assert_true(test->down_err == ERR_END || test->down_err == ERR_RESET);
    sim_world_run_for(&test->world, 50000);
    assert_true(test->down_count > 1);
    assert_int_equal(test->down_err, ERR_REFUSED);
    assert_false(test->was_up);
    /* Then more and more slowly: 20 ms doubling up to 1 s, each drawn from the upper half. */
    sim_world_run_for(&test->world, 20 * SIM_SECOND_US);
    assert_in_range(test->down_count, 20, 20 + 40);
    for (unsigned i = 12; i < test->down_count; i++) {
        assert_in_range(test->down_us[i] - test->down_us[i - 1], RPC_BACKOFF_MAX_US / 2, RPC_BACKOFF_MAX_US + 20000);
    }
    sim_node_start(test->server_node, boot_server, test);
    sim_world_run_for(&test->world, RPC_BACKOFF_MAX_US + 100000);
    assert_int_equal(test->up_count, 2);
    fixture_free(test);
}

static void silent_machine_times_out(void **state)
{
    (void)state;
    struct net_test *test = fixture_new(12);
    test->stall_us = 4 * SIM_SECOND_US;
    test->frames_max = 20000;
    serve_and_dial(test);
    sim_world_run_for(&test->world, 20000);
    assert_int_equal(test->up_count, 1);
    sim_node_power_loss(test->server_node, FS_SIM_CRASH_LOSE);
    sim_world_run_for(&test->world, 3 * SIM_SECOND_US);
    assert_int_equal(test->down_count, 0);
    sim_world_run_for(&test->world, 2 * SIM_SECOND_US);
    assert_int_equal(test->down_count, 1);
    assert_int_equal(test->down_err, ERR_TIMEOUT);
    assert_true(test->was_up);
    sim_world_run_for(&test->world, RPC_CONNECT_US + SIM_SECOND_US / 2);
    assert_int_equal(test->down_count, 2);
    assert_int_equal(test->down_err, ERR_TIMEOUT); /* not refused: nobody answers */
    assert_false(test->was_up);
    fixture_free(test);
}

static void one_way_partition_stalls_the_link(void **state)
{
    (void)state;
    struct net_test *test = fixture_new(13);
    test->stall_us = 4 * SIM_SECOND_US;
    test->frames_max = 20000;
    serve_and_dial(test);
    sim_world_run_for(&test->world, 20000);
    sim_fabric_link(test->fabric, test->client_node->host, test->server_node->host)->is_blocked = true;
    sim_world_run_for(&test->world, 6 * SIM_SECOND_US);
    assert_int_equal(test->down_err, ERR_TIMEOUT);
    test->frames_max = 0;
    sim_fabric_heal(test->fabric);
    sim_world_run_for(&test->world, 60 * SIM_SECOND_US);
    assert_int_equal(test->up_count, 2);
    assert_non_null(test->client.link);
    fixture_free(test);
}

static void server_that_never_answers_times_out(void **state)
{
    (void)state;
    struct net_test *test = fixture_new(14);
    sim_node_start(test->server_node, boot_mute, test);
    sim_node_run(test->client_node, dial_now, test);
    sim_world_run_for(&test->world, RPC_DIAL_HELLO_US - 100000);
    assert_int_equal(test->down_count, 0);
    sim_world_run_for(&test->world, 200000);
    assert_int_equal(test->down_count, 1);
    assert_int_equal(test->down_err, ERR_TIMEOUT);
    assert_false(test->was_up);
    fixture_free(test);
}

/* ---- connections that are no nodes ---- */

static void raw_on_connected(void *ctx, enum err err, struct socket *socket)
{
    struct net_test *test = ctx;
    assert_int_equal(err, ERR_OK);
    test->raw[test->raw_count++] = socket;
}

static void raw_on_ready(void *ctx, unsigned events)
{
    (void)ctx;
    (void)events;
}

static void connect_raw(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    net_connect(node->env.net, test->client_loop, "server", PORT, SIM_SECOND_US, raw_on_connected, test);
}

static enum err raw_end(struct net_test *test, unsigned index)
{
    uint8_t byte = 0;
    size_t read_bytes = 0;
    return socket_read(test->raw[index], &byte, 1, &read_bytes);
}

static void attach_raw(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    (void)node;
    for (unsigned i = 0; i < test->raw_count; i++) {
        socket_attach(test->raw[i], test->client_loop, raw_on_ready, test);
    }
}

static void who_says_no_hello_is_closed(void **state)
{
    (void)state;
    struct net_test *test = fixture_new(15);
    sim_node_start(test->server_node, boot_server, test);
    for (unsigned i = 0; i < RPC_SERVER_PENDING_MAX; i++) {
        sim_node_run(test->client_node, connect_raw, test);
        sim_world_run_for(&test->world, 3000);
    }
    assert_int_equal(test->raw_count, RPC_SERVER_PENDING_MAX);
    sim_node_run(test->client_node, attach_raw, test);
    assert_int_equal(raw_end(test, 0), ERR_WOULD_BLOCK);
    /* One more: the oldest goes, and a node comes through all the same. */
    sim_node_run(test->client_node, dial_now, test);
    sim_world_run_for(&test->world, 100000);
    assert_int_equal(test->up_count, 1);
    assert_int_equal(raw_end(test, 0), ERR_END);
    assert_int_equal(raw_end(test, 1), ERR_WOULD_BLOCK);
    sim_world_run_for(&test->world, RPC_HELLO_US);
    assert_int_equal(raw_end(test, 1), ERR_END);
    assert_int_equal(raw_end(test, RPC_SERVER_PENDING_MAX - 1), ERR_END);
    fixture_free(test);
}

static void say_garbage(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    struct span bytes = span_text("GET / HTTP/1.1\r\n\r\n");
    size_t written_bytes = 0;
    (void)node;
    assert_int_equal(socket_writev(test->raw[0], &bytes, 1, &written_bytes), ERR_OK);
}

static void who_is_no_node_is_closed_at_once(void **state)
{
    (void)state;
    struct net_test *test = fixture_new(16);
    sim_node_start(test->server_node, boot_server, test);
    sim_node_run(test->client_node, connect_raw, test);
    sim_world_run_for(&test->world, 10000);
    sim_node_run(test->client_node, attach_raw, test);
    sim_node_run(test->client_node, say_garbage, test);
    sim_world_run_for(&test->world, 100000);
    assert_true(raw_end(test, 0) == ERR_END || raw_end(test, 0) == ERR_RESET);
    fixture_free(test);
}

/* ---- an orderly end ---- */

static void end_client(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    (void)node;
    rpc_dial_free(test->dial);
    test->dial = NULL;
    loop_stop(test->client_loop);
}

static void end_server(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    (void)node;
    for (uint32_t i = 0; i < test->next_lane; i++) {
        rpc_link_free(test->server_streams[i].link);
        test->server_streams[i].link = NULL;
    }
    rpc_server_close(test->server);
    loop_stop(test->server_loop);
}

static void free_server(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    rpc_server_free(test->server);
    runtime_loop_join(node->env.runtime, test->server_loop);
    runtime_loop_free(node->env.runtime, test->server_loop);
}

static void free_client_loop(struct sim_node *node, void *ctx)
{
    struct net_test *test = ctx;
    runtime_loop_join(node->env.runtime, test->client_loop);
    runtime_loop_free(node->env.runtime, test->client_loop);
}

/* Ended at any moment, connecting, greeting or up, nothing is left behind. */
static void end_at_any_moment_leaks_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct net_test *test = fixture_new(seed);
        test->frames_max = 20000;
        serve_and_dial(test);
        sim_world_run_for(&test->world, sim_world_draw_us(&test->world, 0, seed % 2 == 0 ? 3000 : 30000));
        if (seed % 3 == 0) {
            sim_node_run(test->server_node, end_server, test);
            sim_node_run(test->client_node, end_client, test);
        } else {
            sim_node_run(test->client_node, end_client, test);
            sim_world_run_for(&test->world, sim_world_draw_us(&test->world, 0, 3000));
            sim_node_run(test->server_node, end_server, test);
        }
        sim_world_run_for(&test->world, SIM_SECOND_US);
        sim_node_run(test->server_node, free_server, test);
        sim_node_run(test->client_node, free_client_loop, test);
        assert_int_equal(sim_node_reap(test->server_node), 0);
        assert_int_equal(sim_node_reap(test->client_node), 0);
        fixture_free(test);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_survive_any_cut_and_every_reset_ends_a_whole_prefix),
        cmocka_unit_test(killed_process_ends_the_link_then_its_address_refuses),
        cmocka_unit_test(silent_machine_times_out),
        cmocka_unit_test(one_way_partition_stalls_the_link),
        cmocka_unit_test(server_that_never_answers_times_out),
        cmocka_unit_test(who_says_no_hello_is_closed),
        cmocka_unit_test(who_is_no_node_is_closed_at_once),
        cmocka_unit_test(end_at_any_moment_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

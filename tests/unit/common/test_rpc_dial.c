/* Dialer and server on loopback: who is welcome gets a link, who is not gets a sentence; every loss is told by its own code, because
 * failure detection goes by it; and callbacks may free what calls them. What needs time (deadlines, backoff) is in test_rpc_net.c. */
#include "common/bytebuf.h"
#include "common/mem.h"
#include "common/rpc/rpc_dial.h"
#include "common/rpc/rpc_server.h"
#include "tests/unit/common/posix_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct dial_test {
    struct world world;
    struct rpc_server *server;
    struct net_address address;
    struct rpc_link *accepted; /* the server's end */
    struct rpc_hello accepted_peer;
    unsigned check_count;
    unsigned accepted_count;
    unsigned server_frame_count;
    unsigned server_closed_count;
    const char *refuses; /* the acceptor's sentence */
    bool frees_server_in_check;
    bool closes_server_in_check;
    bool frees_accepted_at_once;

    struct rpc_dial *dial;
    unsigned up_count;
    unsigned frame_count;
    unsigned drained_count;
    unsigned down_count;
    enum err down_err;
    bool was_up;
    char down_text[RPC_REFUSAL_BYTES];
    struct rpc_hello up_peer;
    bool frees_in_up, frees_in_frame, frees_in_drained, frees_in_down;

    bool is_first_turn_over;
    bool (*is_done)(struct dial_test *test);
    bool done;
};

static void look(struct dial_test *test)
{
    test->done = test->done || (test->is_done != NULL && test->is_done(test));
}

static void run_until(struct dial_test *test, bool (*is_done)(struct dial_test *test))
{
    test->is_done = is_done;
    test->done = is_done(test);
    posix_loop_run_until(test->world.loop, &test->done);
    test->is_done = NULL;
}

/* ---- the server's side ---- */

static bool on_check(void *ctx, const struct rpc_hello *peer, struct loop **ret_loop,
                     char ret_refusal[RPC_REFUSAL_BYTES])
{
    struct dial_test *test = ctx;
    test->check_count++;
    test->accepted_peer = *peer;
    *ret_loop = test->world.loop;
    if (test->closes_server_in_check) {
        rpc_server_close(test->server);
    }
    if (test->frees_server_in_check) {
        rpc_server_free(test->server);
        test->server = NULL;
    }
    if (test->refuses != NULL) {
        (void)snprintf(ret_refusal, RPC_REFUSAL_BYTES, "%s", test->refuses);
    }
    return test->refuses == NULL;
}

static void accepted_on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct dial_test *test = ctx;
    test->server_frame_count++;
    rpc_link_send(test->accepted, frame->type, frame->header, NULL, 0);
    look(test);
}

static void accepted_on_closed(void *ctx, enum err err)
{
    struct dial_test *test = ctx;
    (void)err;
    test->server_closed_count++;
    rpc_link_free(test->accepted);
    test->accepted = NULL;
    look(test);
}

static void on_link(void *ctx, struct rpc_link *link)
{
    struct dial_test *test = ctx;
    struct rpc_link_events events = {.ctx = test, .on_frame = accepted_on_frame, .on_closed = accepted_on_closed};
    test->accepted_count++;
    if (test->frees_accepted_at_once) {
        rpc_link_free(link);
    } else {
        rpc_link_free(test->accepted); /* of an earlier connection, whose end is not read yet */
        test->accepted = link;
        rpc_link_set_events(link, &events);
    }
    look(test);
}

static void serve(struct dial_test *test, uint16_t port)
{
    struct rpc_hello hello = {
        .kind = RPC_KIND_PROBE, .cluster_id = "the-cluster", .node_id = 7, .broker_epoch = 70, .worker_count = 4};
    struct rpc_acceptor acceptor = {.ctx = test, .check = on_check, .on_link = on_link};
    assert_int_equal(rpc_server_new(test->world.env, test->world.loop, "127.0.0.1", port, &test->server), ERR_OK);
    rpc_server_address(test->server, &test->address);
    rpc_server_set_hello(test->server, &hello);
    rpc_server_set_acceptor(test->server, RPC_KIND_REPLICA, &acceptor);
}

/* ---- the dialer's side ---- */

static void free_dial(struct dial_test *test)
{
    rpc_dial_free(test->dial);
    test->dial = NULL;
}

static void on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    (void)ctx;
    (void)snprintf(ret_hello->cluster_id, sizeof(ret_hello->cluster_id), "the-cluster");
    ret_hello->node_id = 3;
    ret_hello->lane = 2;
    ret_hello->broker_epoch = 30;
}

static void on_up(void *ctx, struct rpc_link *link)
{
    struct dial_test *test = ctx;
    test->up_count++;
    test->up_peer = *rpc_link_peer(link);
    assert_ptr_equal(rpc_dial_link(test->dial), link);
    if (test->frees_in_up) {
        free_dial(test);
    }
    look(test);
}

static void on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct dial_test *test = ctx;
    test->frame_count++;
    if (test->frees_in_frame) {
        free_dial(test);
    }
    assert_true(span_equal_text(frame->header, "question"));
    look(test);
}

static void on_drained(void *ctx)
{
    struct dial_test *test = ctx;
    test->drained_count++;
    if (test->frees_in_drained) {
        free_dial(test);
    }
    look(test);
}

static void on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    struct dial_test *test = ctx;
    test->down_count++;
    test->down_err = err;
    test->was_up = was_up;
    (void)snprintf(test->down_text, sizeof(test->down_text), "%s", text);
    assert_null(rpc_dial_link(test->dial));
    if (test->frees_in_down) {
        free_dial(test);
    }
    look(test);
}

static void dial(struct dial_test *test, enum rpc_kind kind, bool is_once)
{
    struct rpc_dial_config config = {
        .env = test->world.env, .loop = test->world.loop, .kind = kind, .is_once = is_once};
    struct rpc_dial_events events = {.ctx = test,
                                     .on_hello = on_hello,
                                     .on_up = on_up,
                                     .on_frame = on_frame,
                                     .on_drained = on_drained,
                                     .on_down = on_down};
    test->dial = rpc_dial_new(&config, "127.0.0.1", test->address.port, &events);
    assert_int_equal(test->up_count + test->down_count, 0);
}

static void test_start(struct dial_test *test)
{
    *test = (struct dial_test){0};
    world_start(&test->world);
    serve(test, 0);
}

static void test_end(struct dial_test *test)
{
    rpc_dial_free(test->dial);
    rpc_link_free(test->accepted);
    if (test->server != NULL) {
        rpc_server_close(test->server);
    }
    loop_stop(test->world.loop);
    world_run(&test->world); /* connects and handovers under way end */
    rpc_server_free(test->server);
    world_end(&test->world);
}

static bool is_up(struct dial_test *test)
{
    return test->up_count > 0 && test->accepted != NULL;
}

static bool is_up_again(struct dial_test *test)
{
    return test->up_count > 1 && test->accepted_count > 1 && test->accepted != NULL;
}

static bool is_down(struct dial_test *test)
{
    return test->down_count > 0;
}

static bool is_down_thrice(struct dial_test *test)
{
    return test->down_count > 2;
}

static bool has_answer(struct dial_test *test)
{
    return test->frame_count > 0;
}

static bool is_freed(struct dial_test *test)
{
    return test->dial == NULL;
}

static bool server_is_closed(struct dial_test *test)
{
    return test->server_closed_count > 0;
}

/* The loop has begun to connect: the first iteration is over. */
static bool is_connecting(struct dial_test *test)
{
    return test->is_first_turn_over;
}

static void note_turn(void *ctx)
{
    struct dial_test *test = ctx;
    test->is_first_turn_over = true;
    look(test);
}

/* ---- tests ---- */

static void hellos_are_exchanged_and_frames_flow(void **state)
{
    (void)state;
    struct dial_test test;
    test_start(&test);
    dial(&test, RPC_KIND_REPLICA, false);
    run_until(&test, is_up);
    assert_string_equal(test.up_peer.cluster_id, "the-cluster");
    assert_int_equal(test.up_peer.kind, RPC_KIND_REPLICA);
    assert_int_equal(test.up_peer.lane, 2);
    assert_int_equal(test.up_peer.node_id, 7);
    assert_int_equal(test.up_peer.broker_epoch, 70);
    assert_int_equal(test.up_peer.worker_count, 4);
    assert_int_equal(test.accepted_peer.node_id, 3);
    assert_int_equal(rpc_link_peer(test.accepted)->broker_epoch, 30);
    rpc_link_send(rpc_dial_link(test.dial), 5, span_text("question"), NULL, 0);
    run_until(&test, has_answer);
    assert_true(test.drained_count > 0);
    assert_int_equal(test.down_count, 0);
    test_end(&test);
}

static void refusal_says_why_and_the_dialer_asks_again(void **state)
{
    (void)state;
    struct dial_test test;
    test_start(&test);
    test.refuses = "node 3 is not of this cluster: run moldau cluster admit 3";
    dial(&test, RPC_KIND_REPLICA, false);
    run_until(&test, is_down_thrice);
    assert_int_equal(test.down_err, ERR_INVALID);
    assert_string_equal(test.down_text, test.refuses);
    assert_false(test.was_up);
    assert_int_equal(test.check_count, 3);
    test.refuses = NULL;
    run_until(&test, is_up);
    test_end(&test);
}

static void kind_without_acceptor_is_refused(void **state)
{
    (void)state;
    struct dial_test test;
    test_start(&test);
    dial(&test, RPC_KIND_QUORUM, true);
    run_until(&test, is_down);
    assert_int_equal(test.down_err, ERR_INVALID);
    assert_non_null(strstr(test.down_text, "kind 2"));
    free_dial(&test);
    test.down_count = 0;
    rpc_server_set_acceptor(test.server, RPC_KIND_REPLICA, NULL);
    dial(&test, RPC_KIND_REPLICA, true);
    run_until(&test, is_down);
    test_end(&test);
}

static void probe_tells_who_is_there_and_ends(void **state)
{
    (void)state;
    struct dial_test test;
    test_start(&test);
    dial(&test, RPC_KIND_PROBE, true);
    run_until(&test, is_down);
    assert_int_equal(test.up_count, 1);
    assert_int_equal(test.up_peer.node_id, 7);
    assert_true(test.was_up);
    assert_int_equal(test.down_err, ERR_END);
    assert_int_equal(test.check_count, 0);
    test_end(&test);
}

static void nobody_listening_is_refused(void **state)
{
    (void)state;
    struct dial_test test;
    test_start(&test);
    rpc_server_close(test.server);
    dial(&test, RPC_KIND_REPLICA, false);
    run_until(&test, is_down);
    assert_int_equal(test.down_err, ERR_REFUSED);
    assert_false(test.was_up);
    run_until(&test, is_down_thrice);
    test_end(&test);
}

/* A node that ends: the link is lost (ERR_END), and its address refuses from then on, which is what failure detection waits for.
 * When it is back the dialer finds it. */
static void lost_node_is_told_and_found_again(void **state)
{
    (void)state;
    struct dial_test test;
    test_start(&test);
    dial(&test, RPC_KIND_REPLICA, false);
    run_until(&test, is_up);
    rpc_server_close(test.server);
    rpc_link_free(test.accepted);
    test.accepted = NULL;
    run_until(&test, is_down);
    assert_int_equal(test.down_err, ERR_END);
    assert_true(test.was_up);
    run_until(&test, is_down_thrice);
    assert_int_equal(test.down_err, ERR_REFUSED);
    assert_false(test.was_up);
    rpc_server_free(test.server);
    serve(&test, test.address.port);
    rpc_dial_hurry(test.dial);
    run_until(&test, is_up_again);
    test_end(&test);
}

static void redo_and_another_address_connect_anew_without_a_word(void **state)
{
    (void)state;
    struct dial_test test;
    test_start(&test);
    dial(&test, RPC_KIND_REPLICA, false);
    run_until(&test, is_up);
    rpc_dial_set_address(test.dial, "127.0.0.1", test.address.port); /* the same: nothing happens */
    assert_non_null(rpc_dial_link(test.dial));
    rpc_dial_redo(test.dial);
    assert_null(rpc_dial_link(test.dial));
    run_until(&test, is_up_again);
    assert_int_equal(test.down_count, 0);
    test.up_count = test.accepted_count = 0;
    rpc_dial_set_address(test.dial, "localhost", test.address.port); /* by the resolver, in the pool */
    assert_null(rpc_dial_link(test.dial));
    run_until(&test, is_up);
    assert_int_equal(test.down_count, 0);
    /* While it connects, too. */
    rpc_dial_redo(test.dial);
    rpc_dial_set_address(test.dial, "127.0.0.1", test.address.port);
    rpc_dial_set_address(test.dial, "localhost", test.address.port);
    test_end(&test);
}

static void dialer_may_be_freed_in_every_callback(void **state)
{
    (void)state;
    for (int where = 0; where < 5; where++) {
        struct dial_test test;
        test_start(&test);
        test.frees_in_up = where == 0;
        test.frees_in_frame = where == 1;
        test.frees_in_drained = where == 2;
        test.frees_in_down = where >= 3;
        test.refuses = where == 3 ? "no" : NULL;
        dial(&test, RPC_KIND_REPLICA, false);
        if (where == 1 || where == 2 || where == 4) {
            run_until(&test, is_up);
            rpc_link_send(rpc_dial_link(test.dial), 5, span_text("question"), NULL, 0);
        }
        if (where == 4) {
            rpc_link_free(test.accepted);
            test.accepted = NULL;
        }
        run_until(&test, is_freed);
        if (where < 3) {
            run_until(&test, server_is_closed);
        }
        test_end(&test);
    }
}

static void server_may_be_closed_and_freed_in_check(void **state)
{
    (void)state;
    struct dial_test test;
    test_start(&test);
    test.closes_server_in_check = true;
    dial(&test, RPC_KIND_REPLICA, false);
    run_until(&test, is_down);
    assert_int_equal(test.down_err, ERR_END);
    assert_int_equal(test.accepted_count, 0);
    test_end(&test);

    test_start(&test);
    test.frees_server_in_check = true;
    dial(&test, RPC_KIND_REPLICA, true);
    run_until(&test, is_down);
    assert_null(test.server);
    test_end(&test);
}

static void link_may_be_freed_as_it_is_accepted(void **state)
{
    (void)state;
    struct dial_test test;
    test_start(&test);
    test.frees_accepted_at_once = true;
    dial(&test, RPC_KIND_REPLICA, true);
    run_until(&test, is_down);
    assert_true(test.was_up);
    assert_int_equal(test.down_err, ERR_END);
    test_end(&test);
}

static void dialer_that_is_freed_early_leaves_nothing(void **state)
{
    (void)state;
    struct dial_test test;
    test_start(&test);
    dial(&test, RPC_KIND_REPLICA, false);
    free_dial(&test); /* before the first try */
    dial(&test, RPC_KIND_REPLICA, false);
    loop_set_step(test.world.loop, note_turn, &test);
    run_until(&test, is_connecting); /* in the midst of it */
    free_dial(&test);
    test_end(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hellos_are_exchanged_and_frames_flow),
        cmocka_unit_test(refusal_says_why_and_the_dialer_asks_again),
        cmocka_unit_test(kind_without_acceptor_is_refused),
        cmocka_unit_test(probe_tells_who_is_there_and_ends),
        cmocka_unit_test(nobody_listening_is_refused),
        cmocka_unit_test(lost_node_is_told_and_found_again),
        cmocka_unit_test(redo_and_another_address_connect_anew_without_a_word),
        cmocka_unit_test(dialer_may_be_freed_in_every_callback),
        cmocka_unit_test(server_may_be_closed_and_freed_in_check),
        cmocka_unit_test(link_may_be_freed_as_it_is_accepted),
        cmocka_unit_test(dialer_that_is_freed_early_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

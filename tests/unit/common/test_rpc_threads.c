/* A server whose links live on the loops of other threads: what is handed over arrives on the right thread, once, also while the server
 * closes. Says most under ThreadSanitizer. */
#include "common/bytebuf.h"
#include "common/mem.h"
#include "common/rpc/rpc_dial.h"
#include "common/rpc/rpc_server.h"
#include "tests/unit/common/posix_support.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define WORKERS 3
#define DIALS 12
#define ECHOES 200

struct worker_link {
    struct worker *worker;
    struct rpc_link *link;
    struct worker_link *next;
};

/* A thread with a loop. Links belong to it. */
struct worker {
    struct threads_test *test;
    struct loop *loop;
    pthread_t thread; /* as its first task saw it */
    struct worker_link *links;
    unsigned link_count;
    unsigned wrong_thread_count;
    struct loop_task start_task;
    struct loop_task end_task;
};

struct dialer {
    struct threads_test *test;
    struct rpc_dial *dial;
    uint32_t lane;
    unsigned echo_count;
    unsigned up_count;
};

struct threads_test {
    struct world world; /* its loop is the dialers' */
    struct worker home;
    struct rpc_server *server;
    struct net_address address;
    struct worker workers[WORKERS];
    struct dialer dialers[DIALS];
    unsigned done_count;
    bool redials;
    unsigned up_count;
    bool done;
};

static void worker_on_start(struct loop_task *task)
{
    struct worker *worker = CONTAINER_OF(task, struct worker, start_task);
    worker->thread = pthread_self();
}

static void worker_on_end(struct loop_task *task)
{
    struct worker *worker = CONTAINER_OF(task, struct worker, end_task);
    while (worker->links != NULL) {
        struct worker_link *link = worker->links;
        worker->links = link->next;
        rpc_link_free(link->link);
        mem_free(link);
    }
    if (worker == &worker->test->home) {
        rpc_server_close(worker->test->server);
    }
    loop_stop(worker->loop);
}

static void worker_start(struct threads_test *test, struct worker *worker, const char *name)
{
    worker->test = test;
    worker->start_task.run = worker_on_start;
    worker->end_task.run = worker_on_end;
    assert_int_equal(runtime_loop_new(test->world.env->runtime, name, &worker->loop), ERR_OK);
    loop_post(worker->loop, &worker->start_task);
}

static void worker_join(struct worker *worker)
{
    loop_post(worker->loop, &worker->end_task);
    runtime_loop_join(worker->test->world.env->runtime, worker->loop);
}

static void link_on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct worker_link *link = ctx;
    struct rpc_piece body = {.bytes = frame->body, .shared = frame->buffer};
    link->worker->wrong_thread_count += pthread_equal(link->worker->thread, pthread_self()) ? 0 : 1;
    rpc_link_send(link->link, frame->type, frame->header, &body, 1);
}

static void link_on_closed(void *ctx, enum err err)
{
    struct worker_link *closed = ctx;
    (void)err;
    struct worker_link **place = &closed->worker->links;
    while (*place != closed) {
        place = &(*place)->next;
    }
    *place = closed->next;
    rpc_link_free(closed->link);
    mem_free(closed);
}

static bool on_check(void *ctx, const struct rpc_hello *peer, struct loop **ret_loop,
                     char ret_refusal[RPC_REFUSAL_BYTES])
{
    struct threads_test *test = ctx;
    (void)ret_refusal;
    *ret_loop = test->workers[peer->lane % WORKERS].loop;
    return true;
}

static void on_link(void *ctx, struct rpc_link *link)
{
    struct threads_test *test = ctx;
    struct worker *worker = &test->workers[rpc_link_peer(link)->lane % WORKERS];
    struct worker_link *mine = MEM_NEW(struct worker_link);
    *mine = (struct worker_link){worker, link, worker->links};
    worker->links = mine;
    worker->link_count++;
    worker->wrong_thread_count += pthread_equal(worker->thread, pthread_self()) ? 0 : 1;
    rpc_link_set_events(link,
                        &(struct rpc_link_events){.ctx = mine, .on_frame = link_on_frame, .on_closed = link_on_closed});
}

static void dialer_on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    struct dialer *dialer = ctx;
    ret_hello->lane = dialer->lane;
}

static void dialer_send(struct dialer *dialer)
{
    uint8_t body[3000] = {0};
    struct rpc_piece piece = {.bytes = span_make(body, sizeof(body))};
    rpc_link_send(rpc_dial_link(dialer->dial), 1, span_text("header"), &piece, 1);
}

static void dialer_on_up(void *ctx, struct rpc_link *link)
{
    struct dialer *dialer = ctx;
    (void)link;
    dialer->test->up_count++;
    if (dialer->test->redials) {
        dialer->test->done = dialer->test->up_count > 20 * DIALS;
        rpc_dial_redo(dialer->dial);
    } else {
        dialer_send(dialer);
    }
}

static void dialer_on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct dialer *dialer = ctx;
    assert_int_equal(frame->body.bytes, 3000);
    if (++dialer->echo_count == ECHOES) {
        dialer->test->done = ++dialer->test->done_count == DIALS;
    } else {
        dialer_send(dialer);
    }
}

static void dialer_on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    (void)ctx;
    (void)err;
    (void)was_up;
    (void)text;
}

static void test_start(struct threads_test *test, bool redials)
{
    *test = (struct threads_test){.redials = redials};
    world_start(&test->world);
    worker_start(test, &test->home, "home");
    struct rpc_acceptor acceptor = {.ctx = test, .check = on_check, .on_link = on_link};
    assert_int_equal(rpc_server_new(test->world.env, test->home.loop, "127.0.0.1", 0, &test->server), ERR_OK);
    rpc_server_set_acceptor(test->server, RPC_KIND_REPLICA, &acceptor);
    rpc_server_address(test->server, &test->address);
    for (unsigned i = 0; i < WORKERS; i++) {
        worker_start(test, &test->workers[i], "worker");
        runtime_loop_start(test->world.env->runtime, test->workers[i].loop);
    }
    runtime_loop_start(test->world.env->runtime, test->home.loop);
    struct rpc_dial_config config = {.env = test->world.env, .loop = test->world.loop, .kind = RPC_KIND_REPLICA};
    for (uint32_t i = 0; i < DIALS; i++) {
        struct dialer *dialer = &test->dialers[i];
        struct rpc_dial_events events = {.ctx = dialer,
                                         .on_hello = dialer_on_hello,
                                         .on_up = dialer_on_up,
                                         .on_frame = dialer_on_frame,
                                         .on_down = dialer_on_down};
        dialer->test = test;
        dialer->lane = i;
        dialer->dial = rpc_dial_new(&config, "127.0.0.1", test->address.port, &events);
    }
}

static void test_end(struct threads_test *test)
{
    struct runtime *runtime = test->world.env->runtime;
    for (unsigned i = 0; i < DIALS; i++) {
        rpc_dial_free(test->dialers[i].dial);
    }
    loop_stop(test->world.loop);
    world_run(&test->world);
    rpc_server_free(test->server);
    runtime_loop_free(runtime, test->home.loop);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(test->workers[i].wrong_thread_count, 0);
        runtime_loop_free(runtime, test->workers[i].loop);
    }
    world_end(&test->world);
}

static void links_live_on_the_loop_that_check_named(void **state)
{
    (void)state;
    struct threads_test test;
    test_start(&test, false);
    posix_loop_run_until(test.world.loop, &test.done);
    worker_join(&test.home);
    for (unsigned i = 0; i < WORKERS; i++) {
        worker_join(&test.workers[i]);
        assert_int_equal(test.workers[i].link_count, DIALS / WORKERS);
    }
    test_end(&test);
}

/* The workers end first: what home still hands over to them is never run there, and closed by the server's end. */
static void server_closes_while_links_are_on_their_way(void **state)
{
    (void)state;
    struct threads_test test;
    test_start(&test, true);
    posix_loop_run_until(test.world.loop, &test.done);
    for (unsigned i = 0; i < WORKERS; i++) {
        worker_join(&test.workers[i]);
    }
    test.done = false;
    test.up_count = 0; /* twenty times more each: home answers still */
    posix_loop_run_until(test.world.loop, &test.done);
    worker_join(&test.home);
    test_end(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_live_on_the_loop_that_check_named),
        cmocka_unit_test(server_closes_while_links_are_on_their_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

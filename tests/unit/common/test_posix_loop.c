/* The production loop keeps the contract of common/seam/loop.h: the order of an iteration, posts from other threads,
 * jobs, timers, stopping. Runs under TSan. */
#include "common/mem.h"
#include "tests/unit/common/posix_support.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TRACE_BYTES 256

/* Order of one iteration ------------------------------------------------------------------------------------------ */

struct order_test {
    struct world world;
    char trace[TRACE_BYTES];
    struct net_listener *listener;
    struct socket *client;
    struct socket *accepted;
    struct loop_task start_task;
    struct loop_task posted_task;
    struct loop_task deferred_task;
    struct loop_task deferred_later_task;
    struct loop_timer timer;
    bool is_tracing;
};

static void trace(struct order_test *test, const char *word)
{
    if (test->is_tracing) {
        size_t used = strlen(test->trace);
        (void)snprintf(test->trace + used, sizeof(test->trace) - used, "%s ", word);
    }
}

static void order_on_readable(void *ctx, unsigned events)
{
    struct order_test *test = ctx;
    assert_int_equal(events, NET_READABLE);
    trace(test, "socket");
    socket_watch(test->accepted, 0);
    loop_post(test->world.loop, &test->posted_task);
}

static void order_on_posted(struct loop_task *task)
{
    struct order_test *test = CONTAINER_OF(task, struct order_test, posted_task);
    trace(test, "posted");
    loop_timer_set(test->world.loop, &test->timer, 0);
}

static void order_on_timer(struct loop_timer *timer)
{
    struct order_test *test = CONTAINER_OF(timer, struct order_test, timer);
    trace(test, "timer");
    loop_defer(test->world.loop, &test->deferred_task);
    loop_defer(test->world.loop, &test->deferred_task); /* queued once */
}

static void order_on_deferred(struct loop_task *task)
{
    struct order_test *test = CONTAINER_OF(task, struct order_test, deferred_task);
    trace(test, "deferred");
    loop_defer(test->world.loop, &test->deferred_later_task);
}

static void order_on_deferred_later(struct loop_task *task)
{
    struct order_test *test = CONTAINER_OF(task, struct order_test, deferred_later_task);
    trace(test, "deferred_later");
    loop_stop(test->world.loop);
}

static void order_on_step(void *ctx)
{
    trace(ctx, "step");
}

/* Runs as a deferred task: the next iteration is traced. */
static void order_start(struct loop_task *task)
{
    struct order_test *test = CONTAINER_OF(task, struct order_test, start_task);
    socket_attach(test->accepted, test->world.loop, order_on_readable, test);
    socket_watch(test->accepted, NET_READABLE);
}

static void order_start_if_ready(struct order_test *test)
{
    if (test->client != NULL && test->accepted != NULL) {
        size_t written_bytes = 0;
        assert_int_equal(socket_writev(test->client, &(struct span){(const uint8_t *)"x", 1}, 1, &written_bytes),
                         ERR_OK);
        loop_defer(test->world.loop, &test->start_task);
    }
}

static void order_on_accept(void *ctx, struct socket *socket)
{
    struct order_test *test = ctx;
    test->accepted = socket;
    order_start_if_ready(test);
}

static void order_on_connected(void *ctx, enum err err, struct socket *socket)
{
    struct order_test *test = ctx;
    assert_int_equal(err, ERR_OK);
    test->client = socket;
    order_start_if_ready(test);
}

/* Each stage triggers the next one, all within one iteration; a task deferred by a deferred task waits for the next. */
static void iteration_runs_sockets_posts_timers_deferred_step(void **state)
{
    (void)state;
    struct order_test test = {
        .start_task.run = order_start,
        .posted_task.run = order_on_posted,
        .deferred_task.run = order_on_deferred,
        .deferred_later_task.run = order_on_deferred_later,
        .timer.fire = order_on_timer,
        .is_tracing = true,
    };
    world_start(&test.world);
    assert_int_equal(
        net_listen(test.world.env->net, test.world.loop, "127.0.0.1", 0, order_on_accept, &test, &test.listener),
        ERR_OK);
    struct net_address address;
    net_listener_address(test.world.env->net, test.listener, &address);
    net_connect(test.world.env->net, test.world.loop, address.host, address.port, TEST_DEADLINE_US, order_on_connected,
                &test);
    loop_set_step(test.world.loop, order_on_step, &test);
    world_run(&test.world);
    /* Connecting took iterations with nothing but steps. */
    const char *begin = strstr(test.trace, "socket");
    assert_non_null(begin);
    assert_string_equal(begin, "socket posted timer deferred step deferred_later step ");
    socket_close(test.client);
    socket_close(test.accepted);
    net_listener_close(test.world.env->net, test.listener);
    world_end(&test.world);
}

/* Posts ------------------------------------------------------------------------------------------------------------ */

#define POSTERS 3
#define POSTS_EACH 20000

struct post {
    struct loop_task task;
    struct post_test *test;
    unsigned poster;
    unsigned sequence;
};

struct post_test {
    struct world world;
    struct post *posts;
    unsigned next[POSTERS];
    unsigned received_count;
    struct loop *posters[POSTERS];
    struct loop_task begin[POSTERS];
};

static void post_on_receive(struct loop_task *task)
{
    struct post *post = CONTAINER_OF(task, struct post, task);
    struct post_test *test = post->test;
    assert_int_equal(post->sequence, test->next[post->poster]); /* nothing lost, in order per poster */
    test->next[post->poster]++;
    test->received_count++;
    if (test->received_count == POSTERS * POSTS_EACH) {
        loop_stop(test->world.loop);
    }
}

/* Runs on a poster's thread. */
static void post_all(struct post_test *test, unsigned poster)
{
    for (unsigned i = 0; i < POSTS_EACH; i++) {
        loop_post(test->world.loop, &test->posts[poster * POSTS_EACH + i].task);
    }
    loop_stop(test->posters[poster]);
}

static void post_begin_0(struct loop_task *task)
{
    post_all(CONTAINER_OF(task, struct post_test, begin[0]), 0);
}

static void post_begin_1(struct loop_task *task)
{
    post_all(CONTAINER_OF(task, struct post_test, begin[1]), 1);
}

static void post_begin_2(struct loop_task *task)
{
    post_all(CONTAINER_OF(task, struct post_test, begin[2]), 2);
}

static void posts_of_several_threads_arrive_in_order(void **state)
{
    (void)state;
    struct post_test test = {.begin = {{.run = post_begin_0}, {.run = post_begin_1}, {.run = post_begin_2}}};
    world_start(&test.world);
    struct runtime *runtime = test.world.env->runtime;
    test.posts = mem_array(POSTERS * POSTS_EACH, sizeof(*test.posts));
    for (unsigned i = 0; i < POSTERS * POSTS_EACH; i++) {
        test.posts[i] = (struct post){
            .task.run = post_on_receive, .test = &test, .poster = i / POSTS_EACH, .sequence = i % POSTS_EACH};
    }
    for (unsigned i = 0; i < POSTERS; i++) {
        assert_int_equal(runtime_loop_new(runtime, "poster", &test.posters[i]), ERR_OK);
        runtime_loop_start(runtime, test.posters[i]);
        loop_post(test.posters[i], &test.begin[i]);
    }
    world_run(&test.world);
    for (unsigned i = 0; i < POSTERS; i++) {
        runtime_loop_join(runtime, test.posters[i]);
        runtime_loop_free(runtime, test.posters[i]);
    }
    mem_free(test.posts);
    world_end(&test.world);
}

#define PING_PONGS 5000

struct ping_test {
    struct world world;
    struct loop *other;
    struct loop_task ping;
    struct loop_task pong;
    unsigned count;
};

static void ping_on_other(struct loop_task *task)
{
    struct ping_test *test = CONTAINER_OF(task, struct ping_test, ping);
    loop_post(test->world.loop, &test->pong);
}

static void pong_on_loop(struct loop_task *task)
{
    struct ping_test *test = CONTAINER_OF(task, struct ping_test, pong);
    test->count++;
    if (test->count < PING_PONGS) {
        loop_post(test->other, &test->ping);
    } else {
        loop_stop(test->other);
        loop_stop(test->world.loop);
        loop_stop(test->world.loop); /* twice is harmless */
    }
}

/* Both loops fall asleep before each message: no wake-up may be lost. */
static void sleeping_loops_are_woken_each_time(void **state)
{
    (void)state;
    struct ping_test test = {.ping.run = ping_on_other, .pong.run = pong_on_loop};
    world_start(&test.world);
    struct runtime *runtime = test.world.env->runtime;
    assert_int_equal(runtime_loop_new(runtime, "other", &test.other), ERR_OK);
    runtime_loop_start(runtime, test.other);
    loop_post(test.other, &test.ping);
    world_run(&test.world);
    runtime_loop_join(runtime, test.other);
    runtime_loop_free(runtime, test.other);
    assert_int_equal(test.count, PING_PONGS);
    world_end(&test.world);
}

/* Jobs ------------------------------------------------------------------------------------------------------------- */

#define JOBS 200

struct test_job {
    struct loop_job job;
    struct job_test *test;
    unsigned input;
    unsigned output;
};

struct job_test {
    struct world world;
    struct test_job jobs[JOBS];
    pthread_t loop_thread;
    unsigned done_count;
    unsigned stop_at;
};

static void job_work(struct loop_job *job)
{
    struct test_job *work = CONTAINER_OF(job, struct test_job, job);
    assert_false(pthread_equal(pthread_self(), work->test->loop_thread));
    work->output = work->input * 2;
}

static void job_done(struct loop_job *job)
{
    struct test_job *work = CONTAINER_OF(job, struct test_job, job);
    assert_true(pthread_equal(pthread_self(), work->test->loop_thread));
    assert_int_equal(work->output, work->input * 2);
    work->test->done_count++;
    if (work->test->done_count == work->test->stop_at) {
        loop_stop(work->test->world.loop);
    }
}

static void job_test_run(unsigned stop_at)
{
    struct job_test test = {.loop_thread = pthread_self(), .stop_at = stop_at};
    world_start(&test.world);
    for (unsigned i = 0; i < JOBS; i++) {
        test.jobs[i] = (struct test_job){.job = {.work = job_work, .done = job_done}, .test = &test, .input = i};
        loop_submit(test.world.loop, &test.jobs[i].job);
    }
    world_run(&test.world);
    assert_int_equal(test.done_count, JOBS);
    world_end(&test.world);
}

/* More jobs than the pool has threads, none of which ends before a job of the loop that has its own pool has. */
struct apart_test {
    struct world world;
    struct loop *apart;
    struct loop_task start_task;
    struct loop_job apart_job;
    struct loop_job stuck_jobs[JOBS];
    pthread_mutex_t mutex;
    pthread_cond_t has_ended;
    bool is_ended;
    unsigned done_count;
};

static struct apart_test *apart_test;

static void stuck_work(struct loop_job *job)
{
    (void)job;
    pthread_mutex_lock(&apart_test->mutex);
    while (!apart_test->is_ended) {
        pthread_cond_wait(&apart_test->has_ended, &apart_test->mutex);
    }
    pthread_mutex_unlock(&apart_test->mutex);
}

static void stuck_done(struct loop_job *job)
{
    (void)job;
    if (++apart_test->done_count == JOBS) {
        loop_stop(apart_test->world.loop);
    }
}

static void apart_work(struct loop_job *job)
{
    (void)job;
}

static void apart_done(struct loop_job *job)
{
    (void)job;
    pthread_mutex_lock(&apart_test->mutex);
    apart_test->is_ended = true;
    pthread_cond_broadcast(&apart_test->has_ended);
    pthread_mutex_unlock(&apart_test->mutex);
    loop_stop(apart_test->apart);
}

static void apart_start(struct loop_task *task)
{
    (void)task;
    loop_submit(apart_test->apart, &apart_test->apart_job);
}

static void jobs_of_a_loop_apart_do_not_wait_for_others(void **state)
{
    (void)state;
    static struct apart_test test;
    test = (struct apart_test){.start_task.run = apart_start, .apart_job = {.work = apart_work, .done = apart_done}};
    apart_test = &test;
    assert_int_equal(pthread_mutex_init(&test.mutex, NULL), 0);
    assert_int_equal(pthread_cond_init(&test.has_ended, NULL), 0);
    world_start(&test.world);
    for (unsigned i = 0; i < JOBS; i++) {
        test.stuck_jobs[i] = (struct loop_job){.work = stuck_work, .done = stuck_done};
        loop_submit(test.world.loop, &test.stuck_jobs[i]);
    }
    struct runtime *runtime = test.world.env->runtime;
    assert_int_equal(runtime_loop_new_apart(runtime, "apart", &test.apart), ERR_OK);
    runtime_loop_start(runtime, test.apart);
    loop_post(test.apart, &test.start_task);
    world_run(&test.world);
    runtime_loop_join(runtime, test.apart);
    runtime_loop_free(runtime, test.apart);
    assert_int_equal(test.done_count, JOBS);
    world_end(&test.world);
    pthread_cond_destroy(&test.has_ended);
    pthread_mutex_destroy(&test.mutex);
}

static void jobs_work_in_the_pool_and_end_on_their_loop(void **state)
{
    (void)state;
    job_test_run(JOBS);
}

/* loop_stop after the first job: the loop still waits for all the others. */
static void stopped_loop_waits_for_its_jobs(void **state)
{
    (void)state;
    job_test_run(1);
}

struct until_test {
    struct world world;
    struct loop_task task;
    struct loop_job job;
    bool is_done;
    bool is_job_done;
};

static void until_on_task(struct loop_task *task)
{
    CONTAINER_OF(task, struct until_test, task)->is_done = true;
}

static void until_job_work(struct loop_job *job)
{
    (void)job;
}

static void until_job_done(struct loop_job *job)
{
    CONTAINER_OF(job, struct until_test, job)->is_job_done = true;
}

/* posix_loop_run_until returns with the condition and can be called again; freeing the loop waits for its jobs. */
static void loop_runs_until_a_condition(void **state)
{
    (void)state;
    struct until_test test = {.task.run = until_on_task, .job = {.work = until_job_work, .done = until_job_done}};
    world_start(&test.world);
    for (int i = 0; i < 2; i++) {
        test.is_done = false;
        loop_post(test.world.loop, &test.task);
        posix_loop_run_until(test.world.loop, &test.is_done);
        assert_true(test.is_done);
    }
    loop_submit(test.world.loop, &test.job);
    world_end(&test.world);
    assert_true(test.is_job_done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iteration_runs_sockets_posts_timers_deferred_step),
        cmocka_unit_test(posts_of_several_threads_arrive_in_order),
        cmocka_unit_test(sleeping_loops_are_woken_each_time),
        cmocka_unit_test(jobs_work_in_the_pool_and_end_on_their_loop),
        cmocka_unit_test(jobs_of_a_loop_apart_do_not_wait_for_others),
        cmocka_unit_test(stopped_loop_waits_for_its_jobs),
        cmocka_unit_test(loop_runs_until_a_condition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

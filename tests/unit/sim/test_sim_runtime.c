/* Simulated loops must keep every promise of common/seam/loop.h, and a killed node must leave nothing behind. */
#include "common/mem.h"
#include "common/seam/fs.h"
#include "tests/sim/sim_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct fixture {
    struct sim_world world;
    struct sim_fabric *fabric;
    struct sim_node *node;
    struct loop *loop;
    struct loop *other;
    char order[64]; /* what ran, a letter each */
    struct loop_task tasks[4];
    struct loop_timer timers[4];
    struct loop_job job;
    uint64_t fired_us;
    uint64_t done_us;
    unsigned deaths;
};

/* Tasks and timers carry no context: there is one fixture at a time. */
static struct fixture *fixture_now;

static void note(char letter)
{
    size_t length = strlen(fixture_now->order);
    assert_true(length + 1 < sizeof(fixture_now->order));
    fixture_now->order[length] = letter;
    fixture_now->order[length + 1] = '\0';
}

static void fixture_init(struct fixture *fixture, uint64_t seed)
{
    *fixture = (struct fixture){0};
    fixture_now = fixture;
    sim_world_init(&fixture->world, seed, 1 << 20);
    fixture->fabric = sim_fabric_new(&fixture->world);
    fixture->node = sim_node_new(&fixture->world, fixture->fabric,
                                 &(struct sim_node_options){.name = "n", .address = "10.0.0.1", .pool_threads = 1});
}

static void fixture_done(struct fixture *fixture)
{
    sim_node_free(fixture->node);
    sim_fabric_free(fixture->fabric);
    sim_world_done(&fixture->world);
}

static void boot_two_loops(struct sim_node *node, void *ctx)
{
    struct fixture *fixture = (struct fixture *)ctx;
    assert_int_equal(runtime_loop_new(node->env.runtime, "a", &fixture->loop), ERR_OK);
    assert_int_equal(runtime_loop_new(node->env.runtime, "b", &fixture->other), ERR_OK);
    runtime_loop_start(node->env.runtime, fixture->loop);
    runtime_loop_start(node->env.runtime, fixture->other);
}

static void note_posted(struct loop_task *task)
{
    (void)task;
    note('p');
}

static void note_deferred(struct loop_task *task)
{
    (void)task;
    note('d');
}

static void note_timer(struct loop_timer *timer)
{
    (void)timer;
    fixture_now->fired_us = loop_now_us(fixture_now->loop);
    note('t');
}

static void note_step(void *ctx)
{
    (void)ctx;
    if (fixture_now->order[0] != '\0') {
        note('s');
    }
}

static void post_all_kinds(struct loop_task *task)
{
    (void)task;
    struct fixture *fixture = fixture_now;
    note('p');
    fixture->tasks[1].run = note_deferred;
    fixture->timers[0].fire = note_timer;
    loop_defer(fixture->loop, &fixture->tasks[1]);
    loop_defer(fixture->loop, &fixture->tasks[1]); /* queued once */
    loop_timer_set(fixture->loop, &fixture->timers[0], loop_now_us(fixture->loop));
}

static void iteration_has_the_promised_order(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 1);
    sim_node_start(fixture.node, boot_two_loops, &fixture);
    loop_set_step(fixture.loop, note_step, NULL);
    fixture.tasks[0].run = post_all_kinds;
    loop_post(fixture.loop, &fixture.tasks[0]);
    sim_world_run_for(&fixture.world, SIM_SECOND_US);
    assert_memory_equal(fixture.order, "ptds", 4); /* posted, timer, deferred, step: one iteration */
    fixture_done(&fixture);
}

static void posts_of_one_poster_arrive_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct fixture fixture;
        fixture_init(&fixture, seed);
        sim_node_start(fixture.node, boot_two_loops, &fixture);
        fixture.tasks[0].run = note_posted;
        fixture.tasks[1].run = note_deferred;
        loop_post(fixture.loop, &fixture.tasks[0]);
        loop_post(fixture.loop, &fixture.tasks[1]);
        sim_world_run_for(&fixture.world, SIM_SECOND_US);
        assert_string_equal(fixture.order, "pd");
        fixture_done(&fixture);
    }
}

static void set_timers(struct sim_node *node, void *ctx)
{
    struct fixture *fixture = (struct fixture *)ctx;
    boot_two_loops(node, ctx);
    uint64_t now_us = loop_now_us(fixture->loop);
    for (unsigned i = 0; i < 3; i++) {
        fixture->timers[i].fire = note_timer;
    }
    loop_timer_set(fixture->loop, &fixture->timers[0], now_us + 5000000);
    loop_timer_set(fixture->loop, &fixture->timers[0], now_us + 2000000); /* moved */
    loop_timer_set(fixture->loop, &fixture->timers[1], now_us + 1000000);
    loop_timer_cancel(fixture->loop, &fixture->timers[1]);
    loop_timer_cancel(fixture->loop, &fixture->timers[2]); /* idle: harmless */
    fixture->done_us = now_us;
}

static void timers_fire_once_never_early_and_a_little_late(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 3);
    sim_node_start(fixture.node, set_timers, &fixture);
    sim_world_run_for(&fixture.world, 10 * SIM_SECOND_US);
    assert_string_equal(fixture.order, "t");
    assert_in_range(fixture.fired_us - fixture.done_us, 2000000, 2001000);
    fixture_done(&fixture);
}

static void work(struct loop_job *job)
{
    (void)job;
    struct file *file = NULL;
    assert_int_equal(fs_open(fixture_now->node->env.fs, "f", FS_OPEN_WRITE | FS_OPEN_CREATE, &file), ERR_OK);
    assert_int_equal(file_sync(file), ERR_OK);
    file_unref(file);
    note('w');
}

static void work_done(struct loop_job *job)
{
    (void)job;
    fixture_now->done_us = fixture_now->world.now_us;
    note('e');
}

static void submit(struct sim_node *node, void *ctx)
{
    struct fixture *fixture = (struct fixture *)ctx;
    boot_two_loops(node, ctx);
    fixture->job.work = work;
    fixture->job.done = work_done;
    loop_submit(fixture->loop, &fixture->job);
    assert_string_equal(fixture->order, ""); /* never before the call returns */
}

static void job_takes_the_time_of_its_disk(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 4);
    fs_sim_set_latency(fixture.node->disk, FS_SIM_SYNC, (struct fs_sim_latency){.least_us = 300000, .most_us = 300000});
    sim_node_start(fixture.node, submit, &fixture);
    sim_world_run_for(&fixture.world, SIM_SECOND_US);
    assert_string_equal(fixture.order, "we");
    assert_in_range(fixture.done_us, 300000, 301000);
    fixture_done(&fixture);
}

static void stop_and_join(struct sim_node *node, void *ctx)
{
    struct fixture *fixture = (struct fixture *)ctx;
    loop_submit(fixture->loop, &fixture->job);
    loop_stop(fixture->loop);
    loop_stop(fixture->other);
    runtime_loop_join(node->env.runtime, fixture->loop);
    runtime_loop_join(node->env.runtime, fixture->other);
    assert_string_equal(fixture->order, "wewe"); /* the job was waited for */
    runtime_loop_free(node->env.runtime, fixture->loop);
    runtime_loop_free(node->env.runtime, fixture->other);
}

static void stopped_loop_drains_its_jobs_and_can_be_joined(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 5);
    sim_node_start(fixture.node, submit, &fixture);
    sim_world_run_for(&fixture.world, SIM_SECOND_US);
    sim_node_run(fixture.node, stop_and_join, &fixture);
    assert_int_equal(sim_node_reap(fixture.node), 0);
    fixture_done(&fixture);
}

static void count_death(struct sim_node *node)
{
    (void)node;
    fixture_now->deaths++;
}

static void kill_in_code(struct loop_job *job)
{
    (void)job;
    sim_node_kill(fixture_now->node);
    sim_node_kill(fixture_now->node);
    assert_int_equal(fixture_now->deaths, 0); /* its own code is on the stack */
    assert_non_null(mem_zalloc(100));         /* ends with the process */
}

static void kill_from_within(struct sim_node *node, void *ctx)
{
    submit(node, ctx);
    fixture_now->job.work = kill_in_code;
}

static void killed_node_is_gone_with_memory_files_and_jobs(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 6);
    fixture.node->on_death = count_death;
    sim_node_start(fixture.node, kill_from_within, &fixture);
    sim_world_run_for(&fixture.world, SIM_SECOND_US);
    assert_int_equal(fixture.deaths, 1);
    assert_string_equal(fixture.order, ""); /* the job's done never ran */
    assert_int_equal(fixture.node->state, SIM_NODE_DEAD);
    assert_int_equal(fixture.node->memory.block_count, 0);
    fixture_done(&fixture);
}

static void leak_memory(struct sim_node *node, void *ctx)
{
    (void)ctx;
    assert_non_null(mem_strdup("leaked"));
    assert_int_equal(fs_open(node->env.fs, "open", FS_OPEN_WRITE | FS_OPEN_CREATE, &(struct file *){NULL}), ERR_OK);
}

static void reaping_counts_what_an_orderly_end_left(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 7);
    sim_node_start(fixture.node, leak_memory, &fixture);
    assert_int_equal(sim_node_reap(fixture.node), 2);
    fixture_done(&fixture);
}

static void paused_node_does_nothing_and_then_goes_on(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 8);
    sim_node_start(fixture.node, set_timers, &fixture);
    sim_world_run_for(&fixture.world, SIM_SECOND_US);
    sim_node_pause(fixture.node, 5 * SIM_SECOND_US);
    sim_world_run_for(&fixture.world, 4 * SIM_SECOND_US);
    assert_string_equal(fixture.order, "");
    sim_world_run_for(&fixture.world, 2 * SIM_SECOND_US);
    assert_string_equal(fixture.order, "t");
    assert_in_range(fixture.fired_us - fixture.done_us, 6000000, 6001000);
    fixture_done(&fixture);
}

static void monotonic_clocks_differ_by_node_and_boot(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 9);
    struct sim_node *second =
        sim_node_new(&fixture.world, fixture.fabric, &(struct sim_node_options){.name = "m", .address = "10.0.0.2"});
    uint64_t first_us = clock_mono_us(&fixture.node->clock.base);
    assert_int_not_equal(first_us, clock_mono_us(&second->clock.base));
    assert_int_equal(clock_wall_ms(&fixture.node->clock.base), clock_wall_ms(&second->clock.base));
    sim_world_run_for(&fixture.world, SIM_SECOND_US);
    assert_int_equal(clock_mono_us(&fixture.node->clock.base), first_us + SIM_SECOND_US);
    sim_node_power_loss(second, FS_SIM_CRASH_LOSE);
    sim_node_power_on(second);
    sim_node_free(second);
    fixture_done(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iteration_has_the_promised_order),
        cmocka_unit_test(posts_of_one_poster_arrive_in_order),
        cmocka_unit_test(timers_fire_once_never_early_and_a_little_late),
        cmocka_unit_test(job_takes_the_time_of_its_disk),
        cmocka_unit_test(stopped_loop_drains_its_jobs_and_can_be_joined),
        cmocka_unit_test(killed_node_is_gone_with_memory_files_and_jobs),
        cmocka_unit_test(reaping_counts_what_an_orderly_end_left),
        cmocka_unit_test(paused_node_does_nothing_and_then_goes_on),
        cmocka_unit_test(monotonic_clocks_differ_by_node_and_boot),
    };
    return cmocka_run_group_tests_name("sim_runtime", tests, NULL, NULL);
}

/* The blocking pool of a node. Jobs begin in the order of submission, as many at a time as there are threads; when they end
 * is drawn and depends on the disk:
 *
 *     submitted --(a thread is free, a little later)--> work runs --(the disk's latency)--> done is posted to the loop
 *
 * `work` runs whole at one moment. A kill before that moment finds nothing done, one after it finds everything done and
 * unanswered: the two cases that matter. */
#include "tests/sim/sim_runtime_internal.h"
#include "tests/support/plain_mem.h"

#include <utlist.h>

#define JOB_START_US_MOST 60u
#define JOB_END_US_MOST 60u

struct sim_job {
    struct sim_runtime *runtime;
    struct loop_job *job;
    struct loop_timer event;
    bool has_thread;
    struct sim_job *prev;
    struct sim_job *next;
};

static void on_work(struct loop_timer *event);

static void pool_start_next(struct sim_runtime *sim)
{
    struct sim_job *job = NULL;
    DL_FOREACH (sim->jobs, job) {
        if (sim->busy_threads == sim->options.pool_threads) {
            return;
        }
        if (!job->has_thread) {
            job->has_thread = true;
            sim->busy_threads++;
            struct sim_world *world = sim->options.world;
            sim_world_set(world, &job->event, world->now_us + sim_world_draw_us(world, 1, JOB_START_US_MOST));
        }
    }
}

static void run_done(struct loop_task *task)
{
    struct loop_job *job = CONTAINER_OF(task, struct loop_job, task);
    struct sim_loop *loop = sim_loop_of(job->loop);
    CHECK(loop->job_count > 0);
    loop->job_count--;
    job->done(job); /* may free the job */
}

static void on_end(struct loop_timer *event)
{
    struct sim_job *sim_job = CONTAINER_OF(event, struct sim_job, event);
    struct sim_runtime *sim = sim_job->runtime;
    struct loop_job *job = sim_job->job;
    DL_DELETE(sim->jobs, sim_job);
    plain_free(sim_job);
    sim->busy_threads--;
    job->task.run = run_done;
    sim_loop_post(sim_loop_of(job->loop), &job->task);
    pool_start_next(sim);
}

static void run_work(void *ctx)
{
    struct loop_job *job = (struct loop_job *)ctx;
    job->work(job);
}

static void on_work(struct loop_timer *event)
{
    struct sim_job *sim_job = CONTAINER_OF(event, struct sim_job, event);
    struct sim_runtime *sim = sim_job->runtime;
    struct sim_world *world = sim->options.world;
    if (sim->paused_until_us > world->now_us) {
        sim_world_set(world, event, sim->paused_until_us);
        return;
    }
    sim_trace_detail(&world->trace, world->now_us, sim->options.who, "job");
    (void)fs_sim_take_latency_us(sim->options.disk);
    (void)sim_runtime_run(sim, run_work, sim_job->job);
    uint64_t duration_us = fs_sim_take_latency_us(sim->options.disk) + sim_world_draw_us(world, 1, JOB_END_US_MOST);
    sim_job->event.fire = on_end;
    sim_world_set(world, &sim_job->event, world->now_us + duration_us);
    sim_runtime_after_turn(sim);
}

void sim_pool_submit(struct sim_runtime *sim, struct loop_job *job)
{
    CHECK(!job->task.is_queued && job->work != NULL && job->done != NULL);
    struct sim_job *sim_job = PLAIN_NEW(struct sim_job);
    sim_job->runtime = sim;
    sim_job->job = job;
    sim_job->event.fire = on_work;
    DL_APPEND(sim->jobs, sim_job);
    pool_start_next(sim);
}

void sim_pool_free_jobs(struct sim_runtime *sim)
{
    while (sim->jobs != NULL) {
        struct sim_job *job = sim->jobs;
        sim_world_cancel(sim->options.world, &job->event);
        DL_DELETE(sim->jobs, job);
        plain_free(job);
    }
    sim->busy_threads = 0;
}

#include "tests/sim/sim_runtime.h"

#include "tests/sim/sim_runtime_internal.h"
#include "tests/support/plain_mem.h"

#include <utlist.h>

/* What libraries take from malloc by themselves inside of a node can't be freed when it is killed: the leak checker must not count
 * it. What the product allocates has its own account (sim_mem.h). */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define LEAKS_DISREGARD() __lsan_disable()
#define LEAKS_REGARD() __lsan_enable()
#else
#define LEAKS_DISREGARD() (void)0
#define LEAKS_REGARD() (void)0
#endif

static struct sim_runtime *runtime_of(struct runtime *runtime)
{
    return CONTAINER_OF(runtime, struct sim_runtime, base);
}

bool sim_runtime_run(struct sim_runtime *sim, void (*code)(void *ctx), void *ctx)
{
    unsigned depth = sim->depth;
    struct sim_mem_owner *before = sim_mem_enter(sim->options.owner);
    sim->depth++;
    struct sim_abort aborted;
    LEAKS_DISREGARD();
    bool is_whole = sim_abort_catch(&aborted, code, ctx);
    LEAKS_REGARD();
    sim->depth = depth;
    (void)sim_mem_enter(before);
    if (!is_whole && sim->options.on_abort != NULL) {
        sim->options.on_abort(sim->options.ctx, aborted.sentence);
    }
    return is_whole;
}

void sim_runtime_after_turn(struct sim_runtime *sim)
{
    if (sim->depth == 0 && sim->options.after_turn != NULL) {
        sim->options.after_turn(sim->options.ctx);
    }
}

bool sim_runtime_is_running(const struct sim_runtime *sim)
{
    return sim->depth > 0;
}

static enum err make_loop(struct runtime *runtime, const char *name, struct loop **ret_loop)
{
    struct sim_loop *loop = NULL;
    enum err err = sim_loop_new(runtime_of(runtime), name, &loop);
    if (err == ERR_OK) {
        *ret_loop = &loop->base;
    }
    return err;
}

static void start_loop(struct runtime *runtime, struct loop *loop)
{
    (void)runtime;
    sim_loop_start(sim_loop_of(loop));
}

/* The joiner's thread waits, the others go on: the world runs, nested, until the loop has ended. */
static void join_loop(struct runtime *runtime, struct loop *base)
{
    struct sim_runtime *sim = runtime_of(runtime);
    struct sim_loop *loop = sim_loop_of(base);
    struct sim_mem_owner *before = sim_mem_enter(NULL);
    while (loop->state != SIM_LOOP_ENDED && loop->state != SIM_LOOP_MADE) {
        CHECK(sim_world_step(sim->options.world, UINT64_MAX)); /* nothing left to happen: it would wait for ever */
    }
    (void)sim_mem_enter(before);
}

static void free_loop(struct runtime *runtime, struct loop *base)
{
    (void)runtime;
    if (base != NULL) {
        struct sim_loop *loop = sim_loop_of(base);
        CHECK(loop->state == SIM_LOOP_MADE || loop->state == SIM_LOOP_ENDED);
        sim_loop_free(loop);
    }
}

static unsigned count_cpus(struct runtime *runtime)
{
    return runtime_of(runtime)->options.cpu_count;
}

static const struct runtime_ops sim_runtime_ops = {
    .loop_new = make_loop,
    .loop_start = start_loop,
    .loop_join = join_loop,
    .loop_free = free_loop,
    .cpu_count = count_cpus,
};

struct sim_runtime *sim_runtime_new(const struct sim_runtime_options *options)
{
    CHECK(options->pool_threads > 0 && options->cpu_count > 0);
    struct sim_runtime *sim = PLAIN_NEW(struct sim_runtime);
    sim->base.ops = &sim_runtime_ops;
    sim->options = *options;
    return sim;
}

void sim_runtime_free(struct sim_runtime *sim)
{
    if (sim == NULL) {
        return;
    }
    CHECK(sim->depth == 0);
    sim_pool_free_jobs(sim);
    while (sim->loops != NULL) {
        sim_loop_free(sim->loops);
    }
    plain_free(sim);
}

struct runtime *sim_runtime_get(struct sim_runtime *sim)
{
    return &sim->base;
}

void sim_runtime_pause(struct sim_runtime *sim, uint64_t until_us)
{
    sim->paused_until_us = until_us > sim->paused_until_us ? until_us : sim->paused_until_us;
}

#include "tests/sim/sim_world.h"

#include "tests/sim/sim_mem.h"

static void nothing_happens(struct loop_timer *event)
{
    (void)event;
}

void sim_world_init(struct sim_world *world, uint64_t seed, size_t trace_kept_bytes_max)
{
    *world = (struct sim_world){0};
    prop_init_seed(&world->prop, seed);
    sim_trace_init(&world->trace, trace_kept_bytes_max);
    timer_heap_init(&world->events);
    /* The heap's array must belong to the test, not to the node that happens to set the first event (sim_mem.h). */
    struct sim_mem_owner *before = sim_mem_enter(NULL);
    struct loop_timer first = {.fire = nothing_happens};
    timer_heap_set(&world->events, &first, 0);
    timer_heap_cancel(&world->events, &first);
    (void)sim_mem_enter(before);
}

void sim_world_done(struct sim_world *world)
{
    timer_heap_done(&world->events);
    sim_trace_done(&world->trace);
}

void sim_world_set(struct sim_world *world, struct loop_timer *event, uint64_t at_us)
{
    timer_heap_set(&world->events, event, at_us < world->now_us ? world->now_us : at_us);
}

void sim_world_cancel(struct sim_world *world, struct loop_timer *event)
{
    timer_heap_cancel(&world->events, event);
}

bool sim_world_step(struct sim_world *world, uint64_t until_us)
{
    uint64_t next_us = timer_heap_deadline_us(&world->events);
    if (next_us == TIMER_HEAP_NONE_US || next_us > until_us) {
        world->now_us = until_us > world->now_us ? until_us : world->now_us;
        return false;
    }
    world->now_us = next_us > world->now_us ? next_us : world->now_us;
    struct loop_timer *event = timer_heap_take_due(&world->events, world->now_us, UINT64_MAX);
    CHECK(event != NULL);
    world->event_count++;
    event->fire(event);
    return true;
}

void sim_world_run_for(struct sim_world *world, uint64_t duration_us)
{
    uint64_t until_us = world->now_us + duration_us;
    while (sim_world_step(world, until_us)) {
    }
}

bool sim_world_run_until(struct sim_world *world, uint64_t duration_us, sim_world_done_fn is_done, void *ctx)
{
    uint64_t until_us = world->now_us + duration_us;
    while (!is_done(ctx)) {
        if (!sim_world_step(world, until_us)) {
            return is_done(ctx);
        }
    }
    return true;
}

uint64_t sim_world_draw_us(struct sim_world *world, uint64_t least_us, uint64_t most_us)
{
    CHECK(least_us <= most_us);
    return least_us + prop_skewed(&world->prop, most_us - least_us);
}

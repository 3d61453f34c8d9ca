#include "tests/sim/sim_clock.h"

#define SIM_CLOCK_BOOT_US_MAX (100u * SIM_SECOND_US)

static uint64_t sim_mono_us(struct clock *base)
{
    const struct sim_clock *clock = CONTAINER_OF(base, struct sim_clock, base);
    return (uint64_t)((int64_t)clock->world->now_us + clock->mono_offset_us);
}

static int64_t sim_wall_ms(struct clock *base)
{
    const struct sim_clock *clock = CONTAINER_OF(base, struct sim_clock, base);
    return SIM_CLOCK_WALL_START_MS + (int64_t)(clock->world->now_us / 1000) + clock->wall_offset_ms;
}

static const struct clock_ops sim_clock_ops = {.mono_us = sim_mono_us, .wall_ms = sim_wall_ms};

void sim_clock_init(struct sim_clock *clock, struct sim_world *world)
{
    *clock = (struct sim_clock){.base = {.ops = &sim_clock_ops}, .world = world};
    sim_clock_boot(clock);
}

void sim_clock_boot(struct sim_clock *clock)
{
    uint64_t start_us = prop_range(&clock->world->prop, SIM_SECOND_US, SIM_CLOCK_BOOT_US_MAX);
    clock->mono_offset_us = (int64_t)start_us - (int64_t)clock->world->now_us;
}

uint64_t sim_clock_world_us(const struct sim_clock *clock, uint64_t mono_us)
{
    if (mono_us > INT64_MAX / 2) {
        return mono_us; /* "never" */
    }
    int64_t world_us = (int64_t)mono_us - clock->mono_offset_us;
    return world_us < 0 ? 0 : (uint64_t)world_us;
}

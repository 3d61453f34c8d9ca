/* sim_clock: a node's view of virtual time. The monotonic clock starts anew with each boot, at another point on each node,
 * so that a comparison of two nodes' monotonic times shows; the wall clock can be made to jump.
 *
 * Threads:   one.
 */
#ifndef TESTS_SIM_SIM_CLOCK_H
#define TESTS_SIM_SIM_CLOCK_H

#include "common/seam/clock.h"
#include "tests/sim/sim_world.h"

/* 2026-01-01 00:00 UTC: where the world's wall clock begins. */
#define SIM_CLOCK_WALL_START_MS 1767225600000

struct sim_clock {
    struct clock base;
    struct sim_world *world;
    int64_t mono_offset_us; /* monotonic time = world time + this */
    int64_t wall_offset_ms;
};

void sim_clock_init(struct sim_clock *clock, struct sim_world *world);
/* A new boot: the monotonic clock starts at a small value drawn from the seed. */
void sim_clock_boot(struct sim_clock *clock);
/* When the monotonic clock will show `mono_us`. */
uint64_t sim_clock_world_us(const struct sim_clock *clock, uint64_t mono_us);

#endif

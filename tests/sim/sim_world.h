/* sim_world: virtual time and the one queue of everything that will happen: the simulator's heart. It knows nothing of
 * nodes, sockets or files; those put their events here.
 *
 * Shape:     events are loop_timers in a heap, ordered by virtual time; of two at one time the one set first comes first
 *            (latencies are drawn in microseconds, so orders vary with the seed anyway). Running an event moves the time.
 * Units:     microseconds since the world began.
 * Ownership: events are intrusive and borrowed while set.
 * Threads:   one; nothing in a world may depend on the real clock, on addresses or on the environment.
 * Source:    design.md 3, testing.md 1, ADR-0009.
 */
#ifndef TESTS_SIM_SIM_WORLD_H
#define TESTS_SIM_SIM_WORLD_H

#include "common/timer_heap.h"
#include "tests/sim/sim_trace.h"
#include "tests/support/prop.h"

#define SIM_SECOND_US 1000000u

struct sim_world {
    uint64_t now_us;
    uint64_t event_count; /* run so far */
    struct prop prop;
    struct timer_heap events;
    struct sim_trace trace;
};

typedef bool (*sim_world_done_fn)(void *ctx);

void sim_world_init(struct sim_world *world, uint64_t seed, size_t trace_kept_bytes_max);
void sim_world_done(struct sim_world *world);

/* `event->fire` runs at `at_us` (now, when that has passed). Setting a set event moves it. */
void sim_world_set(struct sim_world *world, struct loop_timer *event, uint64_t at_us);
void sim_world_cancel(struct sim_world *world, struct loop_timer *event);

/* Runs the next event if it is due by `until_us`; else moves the time there and returns false. */
bool sim_world_step(struct sim_world *world, uint64_t until_us);
void sim_world_run_for(struct sim_world *world, uint64_t duration_us);
/* Runs until `is_done` holds (checked after each event) or `duration_us` has passed; returns is_done's last word. */
bool sim_world_run_until(struct sim_world *world, uint64_t duration_us, sim_world_done_fn is_done, void *ctx);

/* In [least_us, most_us], mostly near the least. */
uint64_t sim_world_draw_us(struct sim_world *world, uint64_t least_us, uint64_t most_us);

#endif

/* clock: the only source of time. Production reads the kernel's clocks; the simulator hands out virtual time.
 *
 * Units:     mono_us: microseconds since an arbitrary start, never goes back; for deadlines, sessions and latencies.
 *            wall_ms: milliseconds since 1970-01-01 UTC, may jump; for record timestamps and retention only.
 * Threads:   any.
 */
#ifndef COMMON_SEAM_CLOCK_H
#define COMMON_SEAM_CLOCK_H

#include <stdint.h>

struct clock;

struct clock_ops {
    uint64_t (*mono_us)(struct clock *clock);
    int64_t (*wall_ms)(struct clock *clock);
};

struct clock {
    const struct clock_ops *ops;
};

static inline uint64_t clock_mono_us(struct clock *clock)
{
    return clock->ops->mono_us(clock);
}

static inline int64_t clock_wall_ms(struct clock *clock)
{
    return clock->ops->wall_ms(clock);
}

#endif

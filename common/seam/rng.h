/* rng: the only source of randomness. Production asks the kernel; the simulator draws from its seed.
 *
 * Threads:   any (production); the simulator's one thread.
 */
#ifndef COMMON_SEAM_RNG_H
#define COMMON_SEAM_RNG_H

#include "common/check.h"

#include <stddef.h>
#include <stdint.h>

struct rng;

struct rng_ops {
    void (*fill)(struct rng *rng, void *ret_bytes, size_t bytes);
};

struct rng {
    const struct rng_ops *ops;
};

static inline void rng_fill(struct rng *rng, void *ret_bytes, size_t bytes)
{
    rng->ops->fill(rng, ret_bytes, bytes);
}

static inline uint64_t rng_u64(struct rng *rng)
{
    uint64_t value = 0;
    rng->ops->fill(rng, &value, sizeof(value));
    return value;
}

/* A value in [0, bound); bound > 0. The bias of the modulus is below 2^-32 for the small bounds in use. */
static inline uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    CHECK(bound > 0 && bound <= UINT32_MAX);
    return rng_u64(rng) % bound;
}

#endif

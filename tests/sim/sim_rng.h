/* sim_rng: a node's randomness, drawn from the world's seed.
 *
 * Threads:   one.
 */
#ifndef TESTS_SIM_SIM_RNG_H
#define TESTS_SIM_SIM_RNG_H

#include "common/seam/rng.h"
#include "tests/support/prop.h"

struct sim_rng {
    struct rng base;
    struct prop prop;
};

void sim_rng_init(struct sim_rng *rng, uint64_t seed);

#endif

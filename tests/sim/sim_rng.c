#include "tests/sim/sim_rng.h"

static void sim_rng_fill(struct rng *base, void *ret_bytes, size_t bytes)
{
    prop_fill(&CONTAINER_OF(base, struct sim_rng, base)->prop, ret_bytes, bytes);
}

static const struct rng_ops sim_rng_ops = {.fill = sim_rng_fill};

void sim_rng_init(struct sim_rng *rng, uint64_t seed)
{
    rng->base.ops = &sim_rng_ops;
    prop_init_seed(&rng->prop, seed);
}

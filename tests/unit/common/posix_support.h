/* posix_support: what the tests of common/posix share: a world with one loop that the test's thread runs, and a
 * deadline, so that a test that waits in vain fails instead of hanging.
 */
#ifndef TESTS_UNIT_COMMON_POSIX_SUPPORT_H
#define TESTS_UNIT_COMMON_POSIX_SUPPORT_H

#include "common/check.h"
#include "common/posix/posix_env.h"
#include "common/seam/clock.h"
#include "common/seam/fs.h"
#include "common/seam/loop.h"
#include "common/seam/net.h"
#include "common/seam/rng.h"

#define TEST_DEADLINE_US 30000000u

struct world {
    struct posix_env *posix;
    struct env *env;
    struct loop *loop;
    struct loop_timer deadline;
};

static inline void world_on_deadline(struct loop_timer *timer)
{
    (void)timer;
    CHECK(false && "the test did not come to its end in time");
}

static inline void world_start(struct world *world)
{
    *world = (struct world){.posix = posix_env_new(LOG_ERROR)};
    world->env = &world->posix->env;
    CHECK(runtime_loop_new(world->env->runtime, "test", &world->loop) == ERR_OK);
    world->deadline.fire = world_on_deadline;
    loop_timer_set(world->loop, &world->deadline, loop_now_us(world->loop) + TEST_DEADLINE_US);
}

/* Until somebody calls loop_stop(world->loop). */
static inline void world_run(struct world *world)
{
    posix_loop_run(world->loop);
}

static inline void world_end(struct world *world)
{
    runtime_loop_free(world->env->runtime, world->loop);
    posix_env_free(world->posix);
}

#endif

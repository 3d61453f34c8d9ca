/* seen_set: how often a key came in one request: clients that name a topic or a partition twice get one answer.
 *
 * Ownership: entries lie in the request's arena, the table is freed by seen_set_done.
 * Threads:   one at a time.
 */
#ifndef BROKER_API_SEEN_SET_H
#define BROKER_API_SEEN_SET_H

#include "common/arena.h"

#include <uthash.h>

struct seen_key {
    UT_hash_handle hh;
    uint32_t count;
    uint8_t bytes[];
};

struct seen_set {
    struct arena *arena;
    struct seen_key *keys;
};

static inline void seen_set_init(struct seen_set *set, struct arena *arena)
{
    *set = (struct seen_set){.arena = arena};
}

void seen_set_done(struct seen_set *set);
/* Counts the key, whose bytes are `a` followed by `b`; NULL when the arena is exhausted. */
struct seen_key *seen_set_add(struct seen_set *set, struct span a, struct span b);

#endif

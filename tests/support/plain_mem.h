/* plain_mem: the test side's own heap memory, straight from malloc. The simulator puts its own common/mem.h under the
 * product, which frees all that a node allocated when the node is killed (tests/sim/sim_mem.h); what belongs to the test and
 * outlives the node must not come from there.
 *
 * Ownership: the caller frees with plain_free.
 * Threads:   any.
 */
#ifndef TESTS_SUPPORT_PLAIN_MEM_H
#define TESTS_SUPPORT_PLAIN_MEM_H

#include "common/check.h"

#include <stdlib.h>
#include <string.h>

static inline void *plain_zalloc(size_t bytes)
{
    void *memory = calloc(1, bytes == 0 ? 1 : bytes);
    CHECK(memory != NULL);
    return memory;
}

static inline void *plain_grow(void *memory, size_t count, size_t item_bytes)
{
    void *grown = reallocarray(memory, count == 0 ? 1 : count, item_bytes);
    CHECK(grown != NULL);
    return grown;
}

static inline char *plain_strdup(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

static inline void plain_free(void *memory)
{
    free(memory);
}

#define PLAIN_NEW(type) ((type *)plain_zalloc(sizeof(type)))

#endif

/* sim_mem: the product's heap (common/mem.h) as the simulator provides it: every block belongs to the node that runs when it
 * is allocated, so that killing a node frees all its memory at once, as a kernel does, and a leak of an orderly end shows.
 *
 * Shape:     sim_mem.c defines the functions of common/mem.h; programs that link it get them instead of common/mem.c. Each
 *            block has a header in the list of its owner. A block that grows keeps its owner.
 * Ownership: a struct sim_mem_owner is its maker's; it may go when its count is 0.
 * Threads:   one (the current owner is a variable of the process).
 */
#ifndef TESTS_SIM_SIM_MEM_H
#define TESTS_SIM_SIM_MEM_H

#include <stddef.h>

struct sim_mem_block;

struct sim_mem_owner {
    struct sim_mem_block *blocks; /* utlist DL */
    size_t block_count;
    size_t bytes;
};

/* Whose memory is allocated from now on; NULL: the test's. Returns who it was before. */
struct sim_mem_owner *sim_mem_enter(struct sim_mem_owner *owner);
/* What there is and where it was asked for (places in the program, for addr2line), for people. */
void sim_mem_describe(const struct sim_mem_owner *owner, char *ret_text, size_t bytes_max);
/* Frees every block of the owner. */
void sim_mem_free_all(struct sim_mem_owner *owner);

#endif

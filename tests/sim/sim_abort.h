/* sim_abort: a failed CHECK of the product ends the simulated process, not the simulation: what the process said is kept, and
 * the seed goes on (or fails, as the test decides). A failed CHECK outside of all nodes ends the simulation, as everywhere.
 *
 * Shape:     sim_abort.c defines check_failed (common/check.h); programs that link it get it instead of common/check.c.
 * Threads:   one.
 */
#ifndef TESTS_SIM_SIM_ABORT_H
#define TESTS_SIM_SIM_ABORT_H

#include <stdbool.h>

#define SIM_ABORT_SENTENCE_BYTES 320

struct sim_abort {
    char sentence[SIM_ABORT_SENTENCE_BYTES]; /* file:line, function, condition */
};

/* Runs the code; false when it aborted: its frames are gone without being unwound. Nests. */
bool sim_abort_catch(struct sim_abort *ret_abort, void (*code)(void *ctx), void *ctx);

#endif

/* produce: the verb `moldau produce`: lines of standard input or of a file as records.
 *
 * Errors:    a record that was not acknowledged is never reported as written: VERB_FAILED and how many of how many.
 * Threads:   the main thread.
 */
#ifndef CLI_PRODUCE_H
#define CLI_PRODUCE_H

#include "cli/verb.h"

int produce_run(const struct verb_call *call);

#endif

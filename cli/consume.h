/* consume: the verb `moldau consume`: records of a topic as text.
 *
 * Errors:    VERB_FAILED when not everything that was asked for could be read, with a sentence; an interrupt ends it
 *            in order.
 * Threads:   the main thread.
 */
#ifndef CLI_CONSUME_H
#define CLI_CONSUME_H

#include "cli/verb.h"

int consume_run(const struct verb_call *call);

#endif

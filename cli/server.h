/* server: the verb `moldau server`: runs a node until a signal ends it.
 *
 * Shape:     options (defaults < file < environment < --set) -> broker -> HTTP -> signals. The first SIGTERM or
 *            SIGINT ends the node in order, the second at once.
 * Errors:    one clear sentence on standard error and exit status 1.
 * Threads:   the main thread, which becomes the broker's home loop.
 * Source:    design.md 1, 10.
 */
#ifndef CLI_SERVER_H
#define CLI_SERVER_H

#include "cli/verb.h"

int server_run(const struct verb_call *call);

#endif

/* cluster: the verb `moldau cluster status`.
 *
 * Errors:    sentences on standard error. A cluster that answers is described whatever its state: the exit status
 *            tells only whether it could be asked.
 * Threads:   the main thread.
 */
#ifndef CLI_CLUSTER_H
#define CLI_CLUSTER_H

#include "cli/verb.h"

int cluster_run(const struct verb_call *call);

#endif

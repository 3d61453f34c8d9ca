/* cluster: the verb `moldau cluster status|add-controller|remove-controller|remove-broker|elect-leaders`.
 *
 * Errors:    sentences on standard error; VERB_USAGE for words that make no sense, VERB_FAILED for what did not work. A
 *            cluster that answers is described whatever its state: the exit status of `status` tells only whether it
 *            could be asked.
 * Threads:   the main thread.
 */
#ifndef CLI_CLUSTER_H
#define CLI_CLUSTER_H

#include "cli/session.h"

int cluster_run(const struct verb_call *call);

/* The commands; each returns an exit status. */
int cluster_status(struct session *session);
int cluster_add_controller(struct session *session);
int cluster_remove_controller(struct session *session);
int cluster_remove_broker(struct session *session);
int cluster_elect_leaders(struct session *session);

#endif

/* topic: the verb `moldau topic create|list|describe|alter|delete`.
 *
 * Errors:    sentences on standard error; VERB_USAGE for words that make no sense, VERB_FAILED for what did not work.
 * Threads:   the main thread.
 */
#ifndef CLI_TOPIC_H
#define CLI_TOPIC_H

#include "cli/session.h"

int topic_run(const struct verb_call *call);

/* The commands; each returns an exit status. */
int topic_create(struct session *session);
int topic_alter(struct session *session);
int topic_delete(struct session *session);
int topic_list(struct session *session);
int topic_describe(struct session *session);

#endif

/* metadata_ask: one Metadata call, from whose answer the client learns where the brokers are.
 *
 * Errors:    those of client_call; codes of topics are the caller's to look at.
 * Ownership: the reply is the caller's (client_reply_done).
 * Threads:   the main thread.
 */
#ifndef CLI_METADATA_ASK_H
#define CLI_METADATA_ASK_H

#include "cli/session.h"
#include "proto/kmsg/metadata.h"

/* `names` NULL: every topic. `may_create`: unknown ones may be created, where the cluster's settings say so. */
enum err metadata_ask(struct session *session, const char *const *names, size_t name_count, bool may_create,
                      struct client_reply *ret_reply) MUST_USE;

#endif

/* quorum_ask: one DescribeQuorum call, and what its answer says.
 *
 * Errors:    those of client_call; an error code in the answer is ERR_INVALID with a sentence in client->problem.
 * Ownership: the reply is the caller's (client_reply_done); the partition lies in it.
 * Threads:   the main thread.
 * Source:    DescribeQuorum v0-v2 (KIP-595, KIP-836, KIP-853).
 */
#ifndef CLI_QUORUM_ASK_H
#define CLI_QUORUM_ASK_H

#include "cli/session.h"
#include "proto/kmsg/describe_quorum.h"

/* *ret_quorum is that of the cluster's metadata. On failure there is no reply to free. */
enum err quorum_ask(struct session *session, struct client_reply *ret_reply,
                    const struct describe_quorum_response_partition_data **ret_quorum) MUST_USE;
/* The voter with this node id; NULL: none. */
const struct describe_quorum_response_replica_state *
quorum_ask_voter(const struct describe_quorum_response_partition_data *quorum, int32_t id);
/* The first address at which the node listens for other nodes; NULL: not told (before version 2). */
const struct describe_quorum_response_listener *quorum_ask_listener(const struct describe_quorum_response *response,
                                                                    int32_t id);

#endif

/* replica_lag: how many records a replica lacks that its leader has, asked at both of them.
 *
 * Shape:     ListOffsets with Kafka's debugging replica id, which any replica answers for its own log: one call for
 *            each broker, for at most REPLICA_LAG_ASKED_MAX replicas.
 * Errors:    none: what can't be had stays CLUSTER_REPORT_LAG_UNKNOWN.
 * Ownership: works on the caller's rows.
 * Threads:   the main thread.
 * Source:    ListOffsets, ReplicaId -2 (ListOffsetsRequest.DEBUGGING_REPLICA_ID).
 */
#ifndef CLI_REPLICA_LAG_H
#define CLI_REPLICA_LAG_H

#include "cli/cluster_report.h"
#include "cli/session.h"

#define REPLICA_LAG_ASKED_MAX 10000

void replica_lag_ask(struct session *session, struct replica_behind *rows, size_t count);

#endif

/* cluster_report: what a Metadata answer says about the health of partitions and the work of brokers. Pure.
 *
 * Shape:     counts over everything; for each broker what it leads and holds; each replica that is not in sync.
 * Units:     partitions, replicas.
 * Ownership: works on borrowed answers; cluster_report_behind gives an array that the caller frees (mem_free).
 * Threads:   any.
 */
#ifndef CLI_CLUSTER_REPORT_H
#define CLI_CLUSTER_REPORT_H

#include "proto/kmsg/metadata.h"

struct cluster_counts {
    int64_t topics;
    int64_t partitions;
    int64_t leaderless;
    int64_t under_replicated;
};

void cluster_report_count(const struct metadata_response *metadata, struct cluster_counts *ret_counts);

struct broker_counts {
    int64_t leads;
    int64_t replicas;
    int64_t out_of_sync; /* of those replicas, not in the ISR */
};

void cluster_report_broker(const struct metadata_response *metadata, int32_t broker_id,
                           struct broker_counts *ret_counts);

/* A replica that is not in sync, or the whole of a partition without leader (broker_id -1). */
struct replica_behind {
    const struct metadata_response_topic *topic;
    const struct metadata_response_partition *partition;
    int32_t broker_id;
    int64_t lag; /* records that it lacks; CLUSTER_REPORT_LAG_UNKNOWN at first */
};

#define CLUSTER_REPORT_LAG_UNKNOWN (-1)

/* In the order of topics and partitions as they were told. */
struct replica_behind *cluster_report_behind(const struct metadata_response *metadata, size_t *ret_count);

#endif

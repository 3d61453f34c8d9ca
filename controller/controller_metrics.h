/* controller_metrics: what the controller counts.
 *
 * Threads:   counted on the controller's loop, read by any.
 */
#ifndef CONTROLLER_CONTROLLER_METRICS_H
#define CONTROLLER_CONTROLLER_METRICS_H

#include "common/metric.h"

/* X(member, name, kind, help) */
#define CONTROLLER_METRICS(X)                                                                                          \
    X(ACTIVE, "moldau_controller_active", METRIC_GAUGE, "1 while this node is the active controller")                  \
    X(METADATA_OFFSET, "moldau_controller_metadata_offset", METRIC_GAUGE, "Offset of the metadata that is applied")    \
    X(COMMITS, "moldau_controller_commits_total", METRIC_COUNTER, "Metadata entries applied since the start")          \
    X(REFUSED, "moldau_controller_refused_total", METRIC_COUNTER, "Metadata entries whose preconditions failed")       \
    X(REQUESTS, "moldau_controller_requests_total", METRIC_COUNTER, "Requests that the controller was given")          \
    X(COMMIT_TIME, "moldau_controller_request_seconds", METRIC_HISTOGRAM_US,                                           \
      "Time from a request's arrival at the controller to its answer")                                                 \
    X(TOPICS, "moldau_controller_topics", METRIC_GAUGE, "Topics of the cluster")                                       \
    X(PARTITIONS, "moldau_controller_partitions", METRIC_GAUGE, "Partitions of the cluster")                           \
    X(BROKERS, "moldau_controller_brokers", METRIC_GAUGE, "Registered brokers, fenced ones included")                  \
    X(LOG_BYTES, "moldau_controller_log_bytes", METRIC_GAUGE, "Bytes of the metadata log on disk")

enum controller_metric {
#define X(member, name, kind, help) CONTROLLER_METRIC_##member,
    CONTROLLER_METRICS(X)
#undef X
        CONTROLLER_METRIC_COUNT
};

extern const struct metric_table controller_metric_table;

#endif

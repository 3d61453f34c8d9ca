/* broker_metrics: what the broker counts: one table of rows, one set per worker and one for the home thread.
 *
 * Shape:     the fixed rows of enum broker_metric, then two rows per served API: a histogram of the time from the complete
 *            request to its encoded reply (its _count is the number of requests), and the requests that ended without a
 *            proper reply.
 * Threads:   const data; sets as common/metric.h says.
 */
#ifndef BROKER_BROKER_METRICS_H
#define BROKER_BROKER_METRICS_H

#include "common/metric.h"

#include <stdint.h>

struct api_row;

/* name, Prometheus name, kind, help */
#define BROKER_METRIC_ROWS(X)                                                                                          \
    X(METRIC_CONNECTIONS, "moldau_connections", METRIC_GAUGE, "Open client connections.")                              \
    X(METRIC_CONNECTIONS_REFUSED, "moldau_connections_refused_total", METRIC_COUNTER,                                  \
      "Connections closed by the broker for bad input or a connection limit.")                                         \
    X(METRIC_BYTES_IN, "moldau_network_in_bytes_total", METRIC_COUNTER, "Bytes read from clients.")                    \
    X(METRIC_BYTES_OUT, "moldau_network_out_bytes_total", METRIC_COUNTER, "Bytes written to clients.")                 \
    X(METRIC_REQUESTS_IN_FLIGHT, "moldau_requests_in_flight", METRIC_GAUGE, "Requests received and not answered.")     \
    X(METRIC_MEMORY_WAITS, "moldau_request_memory_waits_total", METRIC_COUNTER,                                        \
      "Times that a connection had to wait because memory.limit was reached.")                                         \
    X(METRIC_PRODUCE_BYTES, "moldau_produce_bytes_total", METRIC_COUNTER,                                              \
      "Bytes of record batches appended by "                                                                           \
      "clients.")                                                                                                      \
    X(METRIC_PRODUCE_BATCHES, "moldau_produce_batches_total", METRIC_COUNTER, "Record batches appended by clients.")   \
    X(METRIC_PRODUCE_ERRORS, "moldau_produce_errors_total", METRIC_COUNTER, "Partitions of produce requests refused.") \
    X(METRIC_FETCH_BYTES, "moldau_fetch_bytes_total", METRIC_COUNTER, "Bytes of record batches sent to clients.")      \
    X(METRIC_FETCH_PARTITIONS, "moldau_fetch_partitions_total", METRIC_COUNTER,                                        \
      "Partitions that fetch responses returned records of.")                                                          \
    X(METRIC_FETCH_ERRORS, "moldau_fetch_errors_total", METRIC_COUNTER, "Partitions of fetch requests refused.")       \
    X(METRIC_REPLICATION_BYTES_IN, "moldau_replication_in_bytes_total", METRIC_COUNTER,                                \
      "Bytes of record batches that leaders sent to this broker.")                                                     \
    X(METRIC_REPLICATION_BYTES_OUT, "moldau_replication_out_bytes_total", METRIC_COUNTER,                              \
      "Bytes of record batches sent to followers.")                                                                    \
    X(METRIC_PARTITIONS_LED, "moldau_partitions_led", METRIC_GAUGE, "Partitions that this broker leads.")              \
    X(METRIC_PARTITIONS_UNDER_REPLICATED, "moldau_partitions_under_replicated", METRIC_GAUGE,                          \
      "Partitions that this broker leads with fewer replicas in sync than it has.")                                    \
    X(METRIC_PARTITIONS_UNDER_MIN_ISR, "moldau_partitions_under_min_isr", METRIC_GAUGE,                                \
      "Partitions that this broker leads with fewer replicas in sync than min.insync.replicas asks for.")              \
    X(METRIC_PARTITIONS_OFFLINE, "moldau_partitions_offline", METRIC_GAUGE,                                            \
      "Replicas on this broker that can't be served: a failed log directory or a damaged log.")                        \
    X(METRIC_ISR_SHRINKS, "moldau_isr_shrinks_total", METRIC_COUNTER,                                                  \
      "Times that the ISR of a partition led by this broker lost a member.")                                           \
    X(METRIC_ISR_EXPANSIONS, "moldau_isr_expansions_total", METRIC_COUNTER,                                            \
      "Times that the ISR of a partition led by this broker got a member.")                                            \
    X(METRIC_REPLICA_LINKS_IN, "moldau_replica_follower_links", METRIC_GAUGE, "Open links of followers.")              \
    X(METRIC_REPLICA_LINKS_OUT, "moldau_replica_leader_links", METRIC_GAUGE, "Open links to leaders.")                 \
    X(METRIC_REPLICA_RESUBSCRIPTIONS, "moldau_replica_resubscriptions_total", METRIC_COUNTER,                          \
      "Subscriptions at leaders that failed or ended and were tried again.")                                           \
    X(METRIC_REPLICA_TRUNCATIONS, "moldau_replica_truncations_total", METRIC_COUNTER,                                  \
      "Times that a follower's log was cut to its leader's history.")                                                  \
    X(METRIC_REPLICA_CORRUPT, "moldau_replica_corrupt_total", METRIC_COUNTER,                                          \
      "Record batches from leaders that failed their checksum.")

enum broker_metric {
#define X(name, text, kind, help) name,
    BROKER_METRIC_ROWS(X)
#undef X
        BROKER_METRIC_COUNT
};

/* All rows, those per API included. */
const struct metric_table *broker_metrics_table(void);
/* Row indexes of an API's rows. */
size_t broker_metric_latency(const struct api_row *api);
size_t broker_metric_failures(const struct api_row *api);

#endif

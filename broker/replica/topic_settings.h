/* topic_settings: what a topic's settings mean for its partitions here: the topic's own values over the cluster's and the
 * node's defaults.
 *
 * Threads:   pure.
 * Source:    Kafka's topic settings; ADR-0006 (compressed batches), design.md 6 (durability).
 */
#ifndef BROKER_REPLICA_TOPIC_SETTINGS_H
#define BROKER_REPLICA_TOPIC_SETTINGS_H

#include "broker/storage/log_types.h"
#include "controller/image.h"
#include "proto/record/validate.h"

struct broker_options;

struct topic_settings {
    struct log_settings log;
    struct batch_policy policy; /* now_ms and is_zstd_allowed are per append */
    int32_t min_insync_replicas;
};

void topic_settings_resolve(const struct image *image, struct span topic_name, const struct broker_options *defaults,
                            struct topic_settings *ret_settings);

#endif

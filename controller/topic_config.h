/* topic_config: the settings that a topic can have, as rows: Kafka's, under Kafka's names, and ours.
 *
 * Shape:     each row is an option row (name, type, bounds, default; `offset` means nothing here) with the broker-level setting whose
 *            value is the default of topics that set nothing. CreateTopics, IncrementalAlterConfigs and DescribeConfigs read
 *            this table; docs/options.md is made from it.
 * Threads:   const data.
 * Source:    Kafka 4.3's topic configs; ours: durability (design.md 6), compression.validation (ADR-0006).
 */
#ifndef CONTROLLER_TOPIC_CONFIG_H
#define CONTROLLER_TOPIC_CONFIG_H

#include "common/option.h"

struct topic_config_row {
    struct option_row row;
    const char *synonym; /* broker-level name; "" when there is none */
};

size_t topic_config_count(void);
/* By name, ascending. */
const struct topic_config_row *topic_config_at(size_t index);
/* NULL when there is no such setting. */
const struct topic_config_row *topic_config_find(struct span name);
/* The one whose name a mistyped name is nearest to; NULL when none is near. */
const struct topic_config_row *topic_config_near(struct span name);
/* Kafka's ConfigDef type as DescribeConfigs tells it (1 boolean, 2 string, 3 int, 5 long, 6 double, 7 list). */
int8_t topic_config_kafka_type(const struct option_row *row);

#endif

/* topic_config: the settings that a topic can have: their types, bounds and defaults, and which setting of the node stands in
 * for each. CreateTopics, IncrementalAlterConfigs and DescribeConfigs all come from this table.
 *
 * Shape:     rows sorted by name; the option's `offset` is not used (values stay text in the image).
 * Errors:    topic_config_check fills one clear sentence.
 * Threads:   const data, pure functions.
 * Source:    Kafka 4.3 LogConfig and ServerTopicConfigSynonyms (names, types, bounds, defaults); durability and
 *            compression.validation are ours (design.md 6, ADR-0006).
 */
#ifndef CONTROLLER_TOPIC_CONFIG_H
#define CONTROLLER_TOPIC_CONFIG_H

#include "common/option.h"

#define TOPIC_CONFIG_SYNONYMS_MAX 3

struct topic_config_row {
    struct option_row option;
    /* The node's settings that stand in for it, the strongest first; the first is the one in milliseconds or bytes. */
    const char *synonyms[TOPIC_CONFIG_SYNONYMS_MAX];
    bool is_hidden; /* accepted, but not listed: for tests, as in Kafka */
};

size_t topic_config_count(void);
const struct topic_config_row *topic_config_at(size_t index);
/* NULL: no topic has such a setting. */
const struct topic_config_row *topic_config_find(struct span name);
/* One value, alone: type, bounds, accepted words. ERR_NOT_FOUND for an unknown name. */
enum err topic_config_check(struct span name, struct span value, struct option_problem *ret_problem) MUST_USE;
/* Whether the value is a list that APPEND and SUBTRACT work on. */
bool topic_config_is_list(const struct topic_config_row *row);

#endif

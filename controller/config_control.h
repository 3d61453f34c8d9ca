/* config_control: changes of settings, and what a setting of a topic is in effect.
 *
 * Errors:    INVALID_CONFIG for names and values that are not acceptable, UNKNOWN_TOPIC_OR_PARTITION, INVALID_REQUEST; with a sentence. A
 *            refusal leaves no records.
 * Threads:   pure.
 * Source:    KIP-133, KIP-339 (incremental), controller/topic_config.h for what exists.
 */
#ifndef CONTROLLER_CONFIG_CONTROL_H
#define CONTROLLER_CONFIG_CONTROL_H

#include "controller/decision.h"

/* Values are those of AlterConfigOp. */
enum config_operation { CONFIG_SET = 0, CONFIG_DELETE = 1, CONFIG_APPEND = 2, CONFIG_SUBTRACT = 3 };

struct config_change {
    struct span name;
    struct span value; /* null only with CONFIG_DELETE */
    int8_t operation;  /* enum config_operation, from outside */
};

/* The settings of a topic that is being created. */
bool config_control_create(struct decision *decision, struct span topic_name, const struct config_change *changes,
                           size_t change_count, struct decision_result *ret_result);
/* Changes single settings (IncrementalAlterConfigs). resource_type as on the wire. */
bool config_control_change(struct decision *decision, int8_t resource_type, struct span resource_name,
                           const struct config_change *changes, size_t change_count,
                           struct decision_result *ret_result);
/* Replaces all settings (AlterConfigs): what is not named is removed. */
bool config_control_replace(struct decision *decision, int8_t resource_type, struct span resource_name,
                            const struct config_change *changes, size_t change_count,
                            struct decision_result *ret_result);

/* The topic's setting in effect: its own, else the brokers' default, else `fallback`. */
int64_t config_control_topic_number(const struct image *image, struct span topic_name, const char *key,
                                    int64_t fallback);
bool config_control_topic_is(const struct image *image, struct span topic_name, const char *key, const char *value,
                             bool fallback);

#endif

/* config_view: what a setting of a topic or of this broker is, and where that comes from: the chain from the strongest to the
 * weakest source.
 *
 * Ownership: values lie in the image, in const tables, or in the given arena.
 * Threads:   pure.
 * Source:    KIP-226 (dynamic broker configs, synonyms); Kafka 4.3 ConfigHelper's observable behaviour.
 */
#ifndef BROKER_META_CONFIG_VIEW_H
#define BROKER_META_CONFIG_VIEW_H

#include "common/arena.h"
#include "common/option.h"
#include "controller/image.h"

struct broker_options;

/* Values are DescribeConfigsResponse's ConfigSource. */
enum config_source {
    CONFIG_SOURCE_TOPIC = 1,
    CONFIG_SOURCE_BROKER = 2,
    CONFIG_SOURCE_DEFAULT_BROKER = 3,
    CONFIG_SOURCE_STATIC = 4,
    CONFIG_SOURCE_DEFAULT = 5,
};

struct config_value {
    struct span name;
    struct span value; /* null: null */
    enum config_source source;
};

#define CONFIG_CHAIN_MAX 5

/* entries[0] is the value that holds. */
struct config_chain {
    struct config_value entries[CONFIG_CHAIN_MAX];
    size_t entry_count;
};

struct config_view {
    const struct image *image;
    const struct broker_options *options;
    struct arena *arena;
};

struct topic_config_row;

/* `topic_name` names a topic that exists. false: the arena is exhausted. */
bool config_view_topic(const struct config_view *view, struct span topic_name, const struct topic_config_row *row,
                       struct config_chain *ret_chain);
bool config_view_broker(const struct config_view *view, const struct option_row *row, struct config_chain *ret_chain);
#endif

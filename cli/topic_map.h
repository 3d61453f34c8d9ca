/* topic_map: where the partitions of one topic are led, as the cluster's Metadata tells it.
 *
 * Shape:     partitions in the order of their numbers, without gaps: partitions[i].index == i.
 * Errors:    topic_map_open ends in an exit status, after having said why; topic_map_load gives codes for those who
 *            retry.
 * Ownership: topic_map_done frees the partitions; the name is borrowed.
 * Threads:   the main thread.
 */
#ifndef CLI_TOPIC_MAP_H
#define CLI_TOPIC_MAP_H

#include "cli/session.h"
#include "common/uuid.h"

/* How long an unknown topic may take to appear: one that Metadata has just created, one that another broker knows. */
#define TOPIC_MAP_CREATION_WAIT_MS 5000
#define TOPIC_MAP_UNKNOWN_WAIT_MS 500
#define TOPIC_MAP_PAUSE_MS 100

struct metadata_response_topic;

struct topic_map_partition {
    int32_t index;
    int32_t leader_id; /* -1: none */
    int32_t leader_epoch;
};

struct topic_map {
    const char *name;
    struct uuid topic_id; /* zero: the cluster is older than topic ids */
    struct topic_map_partition *partitions;
    size_t partition_count;
};

/* Asks once. *ret_error_code is the topic's; the map changes only when that is NONE. */
enum err topic_map_load(struct session *session, struct topic_map *map, bool may_create,
                        int16_t *ret_error_code) MUST_USE;
/* Asks until the topic is known, and makes sense of it when it is not. `may_create`: the cluster may create it,
 * where its settings say so. Returns an exit status. */
int topic_map_open(struct session *session, struct topic_map *map, const char *name, bool may_create);
/* Takes the partitions of a description that was got otherwise. ERR_MALFORMED when the numbers are not 0, 1, 2, ...:
 * whoever relied on it would write to the wrong partition. */
enum err topic_map_take(struct topic_map *map, const struct metadata_response_topic *topic) MUST_USE;
/* Says that there is no such topic, and which name is near; internal topics are nobody's slip of the finger.
 * VERB_FAILED. */
int topic_map_complain_unknown(struct session *session, const char *name);
void topic_map_done(struct topic_map *map);

#endif

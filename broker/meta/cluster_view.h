/* cluster_view: what several answers say of the cluster in the same way: the brokers that a client can reach, on the listener
 * that it came in on, and the operations that it is authorised for.
 *
 * Ownership: everything is borrowed from the image.
 * Threads:   pure.
 * Source:    KIP-430 (authorised operations); Kafka 4.3 KRaftMetadataCache's observable behaviour.
 */
#ifndef BROKER_META_CLUSTER_VIEW_H
#define BROKER_META_CLUSTER_VIEW_H

#include "controller/image.h"

struct request;

/* Sums of 1 << AclOperation over what Kafka defines for the resource type. */
#define CLUSTER_VIEW_TOPIC_OPERATIONS 3576
#define CLUSTER_VIEW_CLUSTER_OPERATIONS 8096
#define CLUSTER_VIEW_NO_OPERATIONS INT32_MIN

/* The endpoint to tell this client, or NULL: the broker is not alive, or has no such listener. */
const struct image_endpoint *cluster_view_endpoint(const struct request *request, const struct image_broker *broker);
/* A broker that takes admin requests: the active controller when it is one of the brokers, else the first that is alive; -1. */
int32_t cluster_view_controller_id(const struct request *request);
/* Bits of what the principal may do to the topic or to the cluster. */
int32_t cluster_view_topic_operations(const struct request *request, struct span topic_name);
int32_t cluster_view_cluster_operations(const struct request *request);
/* Kafka's rule for topic names. */
bool cluster_view_is_topic_name(struct span name);
/* Replicas on brokers that are not alive, into `ret_ids` (room for replica_count); returns their number. */
uint32_t cluster_view_offline_replicas(const struct image *image, const struct image_partition *partition,
                                       int32_t *ret_ids);

#endif

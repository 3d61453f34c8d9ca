/* authorise: may this principal do this to that resource? Handlers name every resource that a request touches, also those
 * hidden inside of others (correctness.md 3, S4), before they act.
 *
 * Shape:     until security arrives everything is allowed; the calls and their answers are in place.
 * Ownership: `name` is borrowed.
 * Threads:   the request's worker.
 * Source:    org.apache.kafka.common.acl.AclOperation and ResourceType (the values are theirs).
 */
#ifndef BROKER_API_AUTHORISE_H
#define BROKER_API_AUTHORISE_H

#include "common/span.h"

struct request;

enum authorise_operation {
    AUTHORISE_READ = 3,
    AUTHORISE_WRITE = 4,
    AUTHORISE_CREATE = 5,
    AUTHORISE_DELETE = 6,
    AUTHORISE_ALTER = 7,
    AUTHORISE_DESCRIBE = 8,
    AUTHORISE_CLUSTER_ACTION = 9,
    AUTHORISE_DESCRIBE_CONFIGS = 10,
    AUTHORISE_ALTER_CONFIGS = 11,
    AUTHORISE_IDEMPOTENT_WRITE = 12,
};

enum authorise_resource {
    AUTHORISE_TOPIC = 2,
    AUTHORISE_GROUP = 3,
    AUTHORISE_CLUSTER = 4,
    AUTHORISE_TRANSACTIONAL_ID = 5,
};

#define AUTHORISE_CLUSTER_NAME "kafka-cluster" /* the one resource of type CLUSTER */

bool authorise(const struct request *request, enum authorise_operation operation, enum authorise_resource resource,
               struct span name) __attribute__((warn_unused_result));
/* The same for the cluster itself. */
bool authorise_cluster(const struct request *request, enum authorise_operation operation)
    __attribute__((warn_unused_result));

#endif

/* producer_id_control: blocks of producer ids, each given out once in the life of the cluster.
 *
 * Errors:    ERROR_STALE_BROKER_EPOCH: the broker is not registered with that epoch.
 * Threads:   pure.
 * Source:    KIP-730.
 */
#ifndef CONTROLLER_PRODUCER_ID_CONTROL_H
#define CONTROLLER_PRODUCER_ID_CONTROL_H

#include "controller/decision.h"

#define PRODUCER_ID_BLOCK_COUNT 1000

bool producer_id_control_take(struct decision *decision, int32_t broker_id, int64_t broker_epoch,
                              int64_t *ret_first_producer_id, struct decision_result *ret_result);

#endif

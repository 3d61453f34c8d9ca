/* broker_control: registration, fencing and leaving of brokers, with all that follows for the partitions, in one batch.
 *
 * Shape:     a registration replaces what was registered under the id: the old incarnation is fenced by it, every partition that it
 *            led gets a new leader epoch (also with one replica), replicas in directories that are gone lose their place. The
 *            new one is fenced until it has applied its registration (heartbeat).
 * Errors:    as each says; a refusal leaves no records.
 * Threads:   pure.
 * Source:    correctness.md 4 (2, 4, 16) and 5, design.md 8; KIP-631, KIP-858, KIP-966.
 */
#ifndef CONTROLLER_BROKER_CONTROL_H
#define CONTROLLER_BROKER_CONTROL_H

#include "controller/controller.h"
#include "controller/decision.h"

/* ERROR_INVALID_REGISTRATION and others with a sentence. *ret_epoch: 0 when it is the offset of the entry to come, else the
 * epoch of the registration that stands already (the same incarnation asked again). */
bool broker_control_register(struct decision *decision, const struct controller_registration *registration,
                             int64_t *ret_epoch, struct decision_result *ret_result);
/* ERROR_STALE_BROKER_EPOCH. Unfences a broker that has applied its registration and elects leaders where there was none; fences it
 * when it wants that; moves its leaderships away when it wants to leave. */
bool broker_control_heartbeat(struct decision *decision, const struct controller_heartbeat *heartbeat,
                              bool *ret_is_fenced, bool *ret_may_shut_down, struct decision_result *ret_result);

#endif

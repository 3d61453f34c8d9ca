/* broker_control: registration, fencing and leaving of brokers, with all that follows for the partitions, in one batch.
 *
 * Shape:     a registration replaces what was registered under the id: the old incarnation is fenced by it, every partition that it
 *            led gets a new leader epoch (also with one replica), replicas in directories that are gone lose their place. The
 *            new one is fenced until it has applied its registration (heartbeat).
 *            What an entry of the log can't hold is done in parts: the broker first counts as leaving, and is fenced, replaced or
 *            unfenced with the last part; so nobody ever sees a partition that a fenced broker leads.
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
/* In parts when one entry can't hold it (decision_result.is_partial): see partition_sweep.h. */
bool broker_control_heartbeat(struct decision *decision, const struct controller_heartbeat *heartbeat,
                              bool *ret_is_fenced, bool *ret_may_shut_down, struct decision_result *ret_result);
/* The controller gives the broker up: its session is over, or its process is dead. Leaderships move to the ISR, then the ELR; it leaves
 * the ISRs, and enters ELRs by KIP-966, also as the last member. ERROR_STALE_BROKER_EPOCH: that incarnation is gone already.
 * A broker that is fenced already: true, no records. */
bool broker_control_fence(struct decision *decision, int32_t broker_id, int64_t broker_epoch,
                          struct decision_result *ret_result);
/* Takes a broker out of the cluster for good. BROKER_ID_NOT_REGISTERED; INVALID_REQUEST while it is alive or holds replicas: the
 * sentence says how many, and what to do. */
bool broker_control_unregister(struct decision *decision, int32_t broker_id, struct decision_result *ret_result);

#endif

/* isr_control: what leaders propose for the ISRs of their partitions is accepted or refused, each change by itself (AlterPartition).
 *
 * Shape:     the sender's broker epoch is checked first, for all changes at once. Then for each, in this order:
 *              unknown topic id                              UNKNOWN_TOPIC_ID
 *              unknown partition                             UNKNOWN_TOPIC_OR_PARTITION
 *              leader or partition epoch above ours          NOT_CONTROLLER (this controller is the one that is behind)
 *              leader epoch below ours                       FENCED_LEADER_EPOCH
 *              the sender does not lead                      INVALID_REQUEST
 *              partition epoch below ours                    INVALID_UPDATE_VERSION (also the second change of one request)
 *              no members, one twice, one that is no replica, or without the leader   INVALID_REQUEST
 *              more than the leader while it recovers from an unclean election        INVALID_REQUEST
 *              a member that is not registered, fenced, leaving, without the replica's directory, or of another broker epoch
 *                                                            INELIGIBLE_REPLICA
 *              no room left in the entry                     REQUEST_TIMED_OUT (ask again)
 *            What is accepted moves ISR and ELR together (partition_control); the leader epoch stays.
 * Errors:    false, ERROR_STALE_BROKER_EPOCH: the sender's incarnation is not the registered one; no change was looked at.
 * Threads:   pure.
 * Source:    correctness.md 4 (3, 4); KIP-497, KIP-841 (fenced and leaving members), KIP-903 (broker epochs), KIP-704, KIP-966.
 */
#ifndef CONTROLLER_ISR_CONTROL_H
#define CONTROLLER_ISR_CONTROL_H

#include "controller/controller.h"
#include "controller/decision.h"

/* Sets the code of every change. */
bool isr_control_alter(struct decision *decision, struct controller_alter_isr *request,
                       struct decision_result *ret_result);

#endif

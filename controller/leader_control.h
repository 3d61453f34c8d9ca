/* leader_control: elections that people or settings ask for, not deaths: ElectLeaders, bringing leaderships back to the
 * preferred replicas, and what a changed setting means for partitions.
 *
 * Shape:     the preferred leader is the first replica. It is elected only if it is in the ISR, alive and not leaving: nothing
 *            can be lost. An unclean election is for partitions without a leader: from the ISR, then the ELR, then any replica
 *            that is alive, which may lose acknowledged records.
 * Errors:    ELECTION_NOT_NEEDED, PREFERRED_LEADER_NOT_AVAILABLE, ELIGIBLE_LEADERS_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION, with a
 *            sentence; nothing is recorded then.
 * Threads:   pure.
 * Source:    KIP-183, KIP-460 (ElectLeaders), KIP-966 (ELR follows min.insync.replicas); Kafka's auto.leader.rebalance.enable.
 */
#ifndef CONTROLLER_LEADER_CONTROL_H
#define CONTROLLER_LEADER_CONTROL_H

#include "controller/partition_sweep.h"

/* Values are ElectLeaders' ElectionType. */
enum leader_election { LEADER_ELECTION_PREFERRED = 0, LEADER_ELECTION_UNCLEAN = 1 };

/* One partition of ElectLeaders. Its record goes into the sweep. */
bool leader_control_elect(struct partition_sweep *sweep, const struct image_topic *topic, int32_t partition_index,
                          enum leader_election election, struct decision_result *ret_result);

/* Brings leaderships back to preferred replicas that can take them: for every broker of whose preferred partitions more than
 * `percent_max` percent are led by others; at most `moves_max` per decision. Returns how many were moved: when it is moves_max
 * there may be more. */
uint32_t leader_control_balance(struct decision *decision, uint32_t percent_max, uint32_t moves_max);

/* After the settings of a topic have changed (NULL: of all topics) and the decision's image shows it: ELRs follow min.insync.replicas,
 * and partitions without a leader get one where unclean elections are allowed now. With the same entry: a leader that
 * commits by a smaller ISR must not leave a replica in the ELR that lacks it. */
void leader_control_settings_changed(struct partition_sweep *sweep, const struct image_topic *topic);

#endif

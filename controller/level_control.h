/* level_control: the finalised metadata level: which records may be written, and who may be in the cluster.
 *
 * Shape:     a program understands the levels IMAGE_LEVEL_MIN to IMAGE_LEVEL_MAX. A broker registers its range, and is refused if the
 *            cluster's level is outside of it. The level is raised by people (UpdateFeatures, feature metadata.version), when every
 *            node understands the new one, and never lowered: records of the higher level may have been written.
 * Errors:    UNSUPPORTED_VERSION, INVALID_UPDATE_VERSION, INVALID_REQUEST, with a sentence that names the nodes.
 * Threads:   pure.
 * Source:    design.md 8; KIP-584, KIP-778.
 */
#ifndef CONTROLLER_LEVEL_CONTROL_H
#define CONTROLLER_LEVEL_CONTROL_H

#include "controller/controller.h"
#include "controller/decision.h"

#define LEVEL_FEATURE "metadata.version"

/* May this process be in the cluster? */
bool level_control_check(struct decision *decision, const struct controller_registration *registration,
                         struct decision_result *ret_result);
/* level_max: what all controllers understand. Nothing is recorded when the cluster has that level already. */
bool level_control_raise(struct decision *decision, int32_t level, uint32_t level_max,
                         struct decision_result *ret_result);

#endif

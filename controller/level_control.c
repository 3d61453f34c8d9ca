#include "controller/level_control.h"

#include <inttypes.h>

bool level_control_check(struct decision *decision, const struct controller_registration *registration,
                         struct decision_result *ret_result)
{
    uint32_t level = image_metadata_level(decision->image);
    uint32_t level_min = registration->level_min == 0 ? 1 : registration->level_min;
    uint32_t level_max = registration->level_max == 0 ? 1 : registration->level_max;
    if (level_min > level_max) {
        return decision_refuse(decision, ret_result, ERROR_INVALID_REGISTRATION,
                               "Broker %" PRId32 " says that it understands metadata levels %" PRIu32 " to %" PRIu32
                               ".",
                               registration->broker_id, level_min, level_max);
    }
    if (level != 0 && (level < level_min || level > level_max)) {
        return decision_refuse(decision, ret_result, ERROR_UNSUPPORTED_VERSION,
                               "The cluster's metadata has level %" PRIu32 "; broker %" PRId32
                               " understands levels %" PRIu32 " to %" PRIu32 ": run %s version of the program on it.",
                               level, registration->broker_id, level_min, level_max,
                               level > level_max ? "a newer" : "an older");
    }
    return true;
}

bool level_control_raise(struct decision *decision, int32_t level, uint32_t level_max,
                         struct decision_result *ret_result)
{
    uint32_t present = image_metadata_level(decision->image);
    if (level <= 0 || (uint32_t)level < present) {
        return decision_refuse(decision, ret_result, ERROR_INVALID_UPDATE_VERSION,
                               LEVEL_FEATURE " is %" PRIu32 " and can't be lowered to %" PRId32
                                             ": the metadata may have records that only this level knows.",
                               present, level);
    }
    if ((uint32_t)level == present) {
        return true;
    }
    if ((uint32_t)level > level_max) {
        return decision_refuse(decision, ret_result, ERROR_INVALID_UPDATE_VERSION,
                               "Not all controllers understand " LEVEL_FEATURE " %" PRId32 ", only up to %" PRIu32
                               ": upgrade the program on all nodes first.",
                               level, level_max);
    }
    for (uint32_t i = 0; i < image_broker_count(decision->image); i++) {
        const struct image_broker *broker = image_broker_at(decision->image, i);
        if ((uint32_t)level > broker->level_max || (uint32_t)level < broker->level_min) {
            return decision_refuse(decision, ret_result, ERROR_INVALID_UPDATE_VERSION,
                                   "Broker %" PRId32 " understands " LEVEL_FEATURE " %" PRIu32 " to %" PRIu32
                                   ", not %" PRId32
                                   ": upgrade the program there, or unregister the broker if it is gone.",
                                   broker->id, broker->level_min, broker->level_max, level);
        }
    }
    meta_add_level(decision->records, (uint32_t)level);
    return true;
}

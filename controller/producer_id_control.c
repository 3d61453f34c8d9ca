#include "controller/producer_id_control.h"

#include <inttypes.h>

bool producer_id_control_take(struct decision *decision, int32_t broker_id, int64_t broker_epoch,
                              int64_t *ret_first_producer_id, struct decision_result *ret_result)
{
    const struct image_broker *broker = image_find_broker(decision->image, broker_id);
    if (broker == NULL || broker->epoch != broker_epoch) {
        return decision_refuse(decision, ret_result, ERROR_STALE_BROKER_EPOCH,
                               "Broker %" PRId32 " is not registered with epoch %" PRId64 ".", broker_id, broker_epoch);
    }
    int64_t first = image_next_producer_id(decision->image);
    if (first > INT64_MAX - PRODUCER_ID_BLOCK_COUNT) {
        return decision_refuse(decision, ret_result, ERROR_UNKNOWN_SERVER_ERROR, "All producer ids are used up.");
    }
    meta_add_producer_ids(decision->records, first, PRODUCER_ID_BLOCK_COUNT, broker_id, broker_epoch);
    *ret_first_producer_id = first;
    return true;
}

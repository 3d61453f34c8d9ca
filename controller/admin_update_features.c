/* UpdateFeatures (57): the one feature is the metadata's level. All updates of a request are made, or none. */
#include "controller/controller_api.h"
#include "controller/level_control.h"
#include "proto/kmsg/update_features.h"

typedef struct update_features_request_feature_update_key feature_update;
typedef struct update_features_response_updatable_feature_result feature_result;

/* UpgradeType */
#define UPGRADE 1

static struct decision_result decide_one(struct api_call *call, const struct update_features_request *request,
                                         size_t index)
{
    struct decision *decision = &call->decision;
    struct decision_result outcome = {0};
    const feature_update *update = &request->feature_updates[index];
    /* Controllers that tell no level are of the first. */
    uint32_t level_max =
        call->quorum == NULL || call->quorum->level_max == 0 ? IMAGE_LEVEL_MIN : call->quorum->level_max;
    if (!span_equal_text(update->feature, LEVEL_FEATURE)) {
        (void)decision_refuse(decision, &outcome, ERROR_INVALID_UPDATE_VERSION,
                              "This cluster has no feature '%.*s' that could be updated; it has " LEVEL_FEATURE ".",
                              DECISION_TEXT(update->feature));
    } else if (index > 0) {
        (void)decision_refuse(decision, &outcome, ERROR_INVALID_REQUEST, LEVEL_FEATURE " is named twice.");
    } else if (call->admin->api_version >= 1 && update->upgrade_type != UPGRADE &&
               (uint32_t)update->max_version_level >= image_metadata_level(decision->image)) {
        (void)decision_refuse(decision, &outcome, ERROR_INVALID_UPDATE_VERSION,
                              "A downgrade of " LEVEL_FEATURE
                              " was asked for, to a level that is not below the present.");
    } else {
        (void)level_control_raise(decision, update->max_version_level, level_max, &outcome);
    }
    return outcome;
}

enum err admin_update_features(struct api_call *call)
{
    struct update_features_request request;
    struct update_features_response response;
    size_t first_record = call->decision.records->count;
    enum err err = api_call_decode(call, &update_features_request_codec, &request);
    if (err != ERR_OK) {
        return err;
    }
    codec_set_defaults(&update_features_response_codec, &response);
    response.results = (feature_result *)codec_array(&update_features_response_updatable_feature_result_layout,
                                                     request.feature_updates_count + 1, call->decision.arena);
    if (response.results == NULL) {
        return ERR_LIMIT;
    }
    struct decision_result failure = {0};
    for (size_t i = 0; i < request.feature_updates_count && failure.code == ERROR_NONE; i++) {
        failure = decide_one(call, &request, i);
        response.results[i].feature = request.feature_updates[i].feature;
    }
    /* The first failure speaks for the whole request. */
    response.error_code = failure.code;
    response.error_message = failure.message;
    response.results_count =
        call->admin->api_version >= 2 || failure.code != ERROR_NONE ? 0 : request.feature_updates_count;
    if (failure.code != ERROR_NONE || request.validate_only) {
        meta_records_cut(call->decision.records, first_record);
    }
    return api_call_encode(call, &update_features_response_codec, &response);
}

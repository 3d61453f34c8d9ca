/* IncrementalAlterConfigs (44) and the older AlterConfigs (33), which replaces all settings of a resource. */
#include "controller/controller_api.h"
#include "controller/leader_control.h"
#include "proto/kmsg/alter_configs.h"
#include "proto/kmsg/incremental_alter_configs.h"

/* One resource of either request. */
struct config_item {
    int8_t type;
    struct span name;
    struct config_change *changes;
    size_t change_count;
};

static bool is_named_twice(const struct config_item *items, size_t count, size_t index)
{
    for (size_t i = 0; i < count; i++) {
        if (i != index && items[i].type == items[index].type && span_equal(items[i].name, items[index].name)) {
            return true;
        }
    }
    return false;
}

typedef bool (*decide_fn)(struct decision *decision, int8_t resource_type, struct span resource_name,
                          const struct config_change *changes, size_t change_count, struct decision_result *ret_result);

/* What the change means for the partitions goes into the same entry, or nothing of it does. */
static void decide_consequences(struct api_call *call, const struct config_item *item, struct decision_result *outcome)
{
    struct partition_sweep sweep = {.decision = &call->decision};
    const struct image_topic *topic = NULL;
    size_t first_record = call->decision.records->count;
    if (item->type == IMAGE_CONFIG_TOPIC) {
        topic = image_find_topic(call->decision.image, item->name);
    } else if (item->name.bytes > 0) {
        return; /* what holds for topics is never taken from a single broker's settings */
    }
    leader_control_settings_changed(&sweep, topic);
    if (sweep.is_partial) {
        (void)decision_refuse(&call->decision, outcome, ERROR_POLICY_VIOLATION,
                              "More than %u partitions would change at once: set it topic by topic.",
                              sweep.changed_count);
        return;
    }
    api_call_advance(call, first_record, outcome);
}

static struct decision_result decide_one(struct api_call *call, const struct config_item *items, size_t count,
                                         size_t index, decide_fn decide)
{
    const struct config_item *item = &items[index];
    struct decision_result outcome = {0};
    size_t first_record = call->decision.records->count;
    if (api_call_is_too_much(call, count, &outcome)) {
        return outcome;
    }
    const struct image *before = image_ref(call->decision.image);
    size_t bytes_before = call->packed_bytes;
    if (is_named_twice(items, count, index)) {
        (void)decision_refuse(&call->decision, &outcome, ERROR_INVALID_REQUEST, "Resource '%.*s' is named twice.",
                              DECISION_TEXT(item->name));
    } else if (decide(&call->decision, item->type, item->name, item->changes, item->change_count, &outcome)) {
        api_call_advance(call, first_record, &outcome);
        if (outcome.code == ERROR_NONE) {
            decide_consequences(call, item, &outcome);
        }
        if (outcome.code != ERROR_NONE) {
            api_call_back(call, before, first_record);
            call->packed_bytes = bytes_before;
            return outcome;
        }
    }
    image_unref(before);
    return outcome;
}

/* Arrays for the items and their results; bounded by META_DECISION_BYTES_MAX. */
static struct config_item *make_items(struct api_call *call, size_t count)
{
    struct config_item *items = (struct config_item *)arena_array(call->decision.arena, count + 1, sizeof(items[0]));
    CHECK(items != NULL);
    return items;
}

static struct config_change *make_changes(struct api_call *call, size_t count)
{
    struct config_change *changes =
        (struct config_change *)arena_array(call->decision.arena, count + 1, sizeof(changes[0]));
    CHECK(changes != NULL);
    return changes;
}

enum err admin_incremental_alter_configs(struct api_call *call)
{
    struct incremental_alter_configs_request request;
    struct incremental_alter_configs_response response;
    const struct image *image = call->decision.image;
    size_t first_record = call->decision.records->count;
    enum err err = api_call_decode(call, &incremental_alter_configs_request_codec, &request);
    if (err != ERR_OK) {
        return err;
    }
    struct config_item *items = make_items(call, request.resources_count);
    for (size_t i = 0; i < request.resources_count; i++) {
        const struct incremental_alter_configs_request_alter_configs_resource *resource = &request.resources[i];
        items[i] = (struct config_item){.type = resource->resource_type,
                                        .name = resource->resource_name,
                                        .changes = make_changes(call, resource->configs_count),
                                        .change_count = resource->configs_count};
        for (size_t j = 0; j < resource->configs_count; j++) {
            items[i].changes[j] = (struct config_change){resource->configs[j].name, resource->configs[j].value,
                                                         resource->configs[j].config_operation};
        }
    }
    codec_set_defaults(&incremental_alter_configs_response_codec, &response);
    response.responses = (struct incremental_alter_configs_response_alter_configs_resource_response *)codec_array(
        &incremental_alter_configs_response_alter_configs_resource_response_layout, request.resources_count,
        call->decision.arena);
    if (response.responses == NULL && request.resources_count > 0) {
        return ERR_LIMIT;
    }
    response.responses_count = request.resources_count;
    for (size_t i = 0; i < request.resources_count; i++) {
        struct decision_result outcome = decide_one(call, items, request.resources_count, i, config_control_change);
        response.responses[i].error_code = outcome.code;
        response.responses[i].error_message = outcome.message;
        response.responses[i].resource_type = items[i].type;
        response.responses[i].resource_name = items[i].name;
    }
    if (request.validate_only) {
        api_call_forget(call, image, first_record);
    }
    return api_call_encode(call, &incremental_alter_configs_response_codec, &response);
}

enum err admin_alter_configs(struct api_call *call)
{
    struct alter_configs_request request;
    struct alter_configs_response response;
    const struct image *image = call->decision.image;
    size_t first_record = call->decision.records->count;
    enum err err = api_call_decode(call, &alter_configs_request_codec, &request);
    if (err != ERR_OK) {
        return err;
    }
    struct config_item *items = make_items(call, request.resources_count);
    for (size_t i = 0; i < request.resources_count; i++) {
        const struct alter_configs_request_resource *resource = &request.resources[i];
        items[i] = (struct config_item){.type = resource->resource_type,
                                        .name = resource->resource_name,
                                        .changes = make_changes(call, resource->configs_count),
                                        .change_count = resource->configs_count};
        for (size_t j = 0; j < resource->configs_count; j++) {
            items[i].changes[j] =
                (struct config_change){resource->configs[j].name, resource->configs[j].value, CONFIG_SET};
        }
    }
    codec_set_defaults(&alter_configs_response_codec, &response);
    response.responses = (struct alter_configs_response_resource_response *)codec_array(
        &alter_configs_response_resource_response_layout, request.resources_count, call->decision.arena);
    if (response.responses == NULL && request.resources_count > 0) {
        return ERR_LIMIT;
    }
    response.responses_count = request.resources_count;
    for (size_t i = 0; i < request.resources_count; i++) {
        struct decision_result outcome = decide_one(call, items, request.resources_count, i, config_control_replace);
        response.responses[i].error_code = outcome.code;
        response.responses[i].error_message = outcome.message;
        response.responses[i].resource_type = items[i].type;
        response.responses[i].resource_name = items[i].name;
    }
    if (request.validate_only) {
        api_call_forget(call, image, first_record);
    }
    return api_call_encode(call, &alter_configs_response_codec, &response);
}

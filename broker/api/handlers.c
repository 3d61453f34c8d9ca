/* What this broker serves, and with which handler: ApiVersions tells clients exactly this. */
#include "broker/api/handlers.h"

#include "broker/api/dispatch.h"

static const struct dispatch_table table = {
    .handlers =
        {
            [API_KEY_PRODUCE] = handle_produce,
            [API_KEY_FETCH] = handle_fetch,
            [API_KEY_LIST_OFFSETS] = handle_list_offsets,
            [API_KEY_METADATA] = handle_metadata,
            [API_KEY_API_VERSIONS] = handle_api_versions,
            [API_KEY_CREATE_TOPICS] = handle_forward,
            [API_KEY_DELETE_TOPICS] = handle_forward,
            [API_KEY_INIT_PRODUCER_ID] = handle_init_producer_id,
            [API_KEY_OFFSET_FOR_LEADER_EPOCH] = handle_offset_for_leader_epoch,
            [API_KEY_DESCRIBE_CONFIGS] = handle_describe_configs,
            [API_KEY_ALTER_CONFIGS] = handle_forward,
            [API_KEY_DESCRIBE_LOG_DIRS] = handle_describe_log_dirs,
            [API_KEY_CREATE_PARTITIONS] = handle_forward,
            [API_KEY_ELECT_LEADERS] = handle_forward,
            [API_KEY_INCREMENTAL_ALTER_CONFIGS] = handle_forward,
            [API_KEY_DESCRIBE_QUORUM] = handle_forward,
            [API_KEY_DESCRIBE_CLUSTER] = handle_describe_cluster,
            [API_KEY_UPDATE_FEATURES] = handle_forward,
            [API_KEY_UNREGISTER_BROKER] = handle_forward,
            [API_KEY_ADD_RAFT_VOTER] = handle_forward,
            [API_KEY_REMOVE_RAFT_VOTER] = handle_forward,
            [API_KEY_DESCRIBE_TOPIC_PARTITIONS] = handle_describe_topic_partitions,
        },
};

const struct dispatch_table *handlers_table(void)
{
    return &table;
}

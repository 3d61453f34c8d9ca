#include "cli/cluster_report.h"

#include "common/mem.h"

static bool has_id(const int32_t *ids, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

static bool is_in_sync(const struct metadata_response_partition *partition, int32_t broker_id)
{
    return has_id(partition->isr_nodes, partition->isr_nodes_count, broker_id);
}

void cluster_report_count(const struct metadata_response *metadata, struct cluster_counts *ret_counts)
{
    *ret_counts = (struct cluster_counts){.topics = (int64_t)metadata->topics_count};
    for (size_t t = 0; t < metadata->topics_count; t++) {
        const struct metadata_response_topic *topic = &metadata->topics[t];
        for (size_t p = 0; p < topic->partitions_count; p++) {
            const struct metadata_response_partition *partition = &topic->partitions[p];
            ret_counts->partitions++;
            ret_counts->leaderless += partition->leader_id < 0 ? 1 : 0;
            ret_counts->under_replicated += partition->isr_nodes_count < partition->replica_nodes_count ? 1 : 0;
        }
    }
}

void cluster_report_broker(const struct metadata_response *metadata, int32_t broker_id,
                           struct broker_counts *ret_counts)
{
    *ret_counts = (struct broker_counts){0};
    for (size_t t = 0; t < metadata->topics_count; t++) {
        for (size_t p = 0; p < metadata->topics[t].partitions_count; p++) {
            const struct metadata_response_partition *partition = &metadata->topics[t].partitions[p];
            ret_counts->leads += partition->leader_id == broker_id ? 1 : 0;
            if (has_id(partition->replica_nodes, partition->replica_nodes_count, broker_id)) {
                ret_counts->replicas++;
                ret_counts->out_of_sync += is_in_sync(partition, broker_id) ? 0 : 1;
            }
        }
    }
}

static void add_behind(struct replica_behind **rows, size_t *count, const struct metadata_response_topic *topic,
                       const struct metadata_response_partition *partition, int32_t broker_id)
{
    *rows = mem_grow(*rows, *count + 1, sizeof(**rows));
    (*rows)[(*count)++] = (struct replica_behind){
        .topic = topic, .partition = partition, .broker_id = broker_id, .lag = CLUSTER_REPORT_LAG_UNKNOWN};
}

struct replica_behind *cluster_report_behind(const struct metadata_response *metadata, size_t *ret_count)
{
    struct replica_behind *rows = NULL;
    *ret_count = 0;
    for (size_t t = 0; t < metadata->topics_count; t++) {
        const struct metadata_response_topic *topic = &metadata->topics[t];
        for (size_t p = 0; p < topic->partitions_count; p++) {
            const struct metadata_response_partition *partition = &topic->partitions[p];
            if (partition->leader_id < 0) {
                add_behind(&rows, ret_count, topic, partition, -1);
                continue;
            }
            for (size_t r = 0; r < partition->replica_nodes_count; r++) {
                if (!is_in_sync(partition, partition->replica_nodes[r])) {
                    add_behind(&rows, ret_count, topic, partition, partition->replica_nodes[r]);
                }
            }
        }
    }
    return rows;
}

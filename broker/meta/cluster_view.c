#include "broker/meta/cluster_view.h"

#include "broker/api/authorise.h"
#include "broker/api/request.h"
#include "broker/worker.h"

const struct image_endpoint *cluster_view_endpoint(const struct request *request, const struct image_broker *broker)
{
    if (broker == NULL || broker->is_fenced) {
        return NULL;
    }
    return image_find_endpoint(broker, span_text(request->context.listener_name));
}

int32_t cluster_view_controller_id(const struct request *request)
{
    const struct image *image = request->worker->image;
    int32_t controller_id = image_controller_id(image);
    if (cluster_view_endpoint(request, image_find_broker(image, controller_id)) != NULL) {
        return controller_id;
    }
    for (uint32_t i = 0; i < image_broker_count(image); i++) {
        const struct image_broker *broker = image_broker_at(image, i);
        if (cluster_view_endpoint(request, broker) != NULL) {
            return broker->id;
        }
    }
    return -1;
}

static int32_t cluster_view_operations(const struct request *request, enum authorise_resource resource,
                                       struct span name, int32_t all)
{
    int32_t allowed = 0;
    for (int operation = AUTHORISE_READ; operation <= AUTHORISE_IDEMPOTENT_WRITE; operation++) {
        int32_t bit = 1 << operation;
        if ((all & bit) != 0 && authorise(request, (enum authorise_operation)operation, resource, name)) {
            allowed |= bit;
        }
    }
    return allowed;
}

int32_t cluster_view_topic_operations(const struct request *request, struct span topic_name)
{
    return cluster_view_operations(request, AUTHORISE_TOPIC, topic_name, CLUSTER_VIEW_TOPIC_OPERATIONS);
}

int32_t cluster_view_cluster_operations(const struct request *request)
{
    return cluster_view_operations(request, AUTHORISE_CLUSTER, span_text(AUTHORISE_CLUSTER_NAME),
                                   CLUSTER_VIEW_CLUSTER_OPERATIONS);
}

bool cluster_view_is_topic_name(struct span name)
{
    if (name.bytes == 0 || name.bytes > IMAGE_TOPIC_NAME_BYTES_MAX || span_equal_text(name, ".") ||
        span_equal_text(name, "..")) {
        return false;
    }
    for (size_t i = 0; i < name.bytes; i++) {
        uint8_t c = name.data[i];
        bool is_legal = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                        c == '_' || c == '-';
        if (!is_legal) {
            return false;
        }
    }
    return true;
}

uint32_t cluster_view_offline_replicas(const struct image *image, const struct image_partition *partition,
                                       int32_t *ret_ids)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        if (!image_is_broker_alive(image, partition->replicas[i])) {
            ret_ids[count++] = partition->replicas[i];
        }
    }
    return count;
}

/* DescribeCluster: cluster id, controller and brokers. Source: DescribeCluster v0-v2 of Kafka 4.3; KIP-700, KIP-919 (endpoint
 * types), KIP-1073 (fenced brokers). */
#include "broker/api/handlers.h"
#include "broker/api/request.h"
#include "broker/meta/cluster_view.h"
#include "broker/worker.h"
#include "proto/kmsg/describe_cluster.h"
#include "proto/wire/error_code.h"

#define ENDPOINT_TYPE_BROKERS 1
#define ENDPOINT_TYPE_CONTROLLERS 2

static bool describe_cluster_fill(struct request *request, const struct describe_cluster_request *message,
                                  struct describe_cluster_response *response)
{
    const struct image *image = request->worker->image;
    response->brokers =
        codec_array(&describe_cluster_response_broker_layout, image_broker_count(image), &request->arena);
    if (response->brokers == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < image_broker_count(image); i++) {
        const struct image_broker *broker = image_broker_at(image, i);
        const struct image_endpoint *endpoint = image_find_endpoint(broker, span_text(request->context.listener_name));
        if (endpoint == NULL || (broker->is_fenced && !message->include_fenced_brokers)) {
            continue;
        }
        struct describe_cluster_response_broker *told = &response->brokers[response->brokers_count++];
        told->broker_id = broker->id;
        told->host = endpoint->host;
        told->port = endpoint->port;
        told->rack = broker->rack;
        told->is_fenced = broker->is_fenced;
    }
    response->cluster_id = span_text(image_cluster_id(image));
    response->controller_id = cluster_view_controller_id(request);
    if (message->include_cluster_authorized_operations) {
        response->cluster_authorized_operations = cluster_view_cluster_operations(request);
    }
    return true;
}

void handle_describe_cluster(struct request *request)
{
    const struct describe_cluster_request *message = request->message;
    struct describe_cluster_response response;
    codec_set_defaults(&describe_cluster_response_codec, &response);
    if (message->endpoint_type == ENDPOINT_TYPE_CONTROLLERS) {
        response.error_code = ERROR_MISMATCHED_ENDPOINT_TYPE;
        response.error_message =
            span_text("this is a broker's listener and tells of brokers: ask for endpoint type 1 (brokers)");
    } else if (message->endpoint_type != ENDPOINT_TYPE_BROKERS) {
        response.error_code = ERROR_UNSUPPORTED_ENDPOINT_TYPE;
        response.error_message = span_text("the endpoint type must be 1 (brokers) or 2 (controllers)");
    } else if (!describe_cluster_fill(request, message, &response)) {
        request_close_connection(request, "the answer on the cluster needs more memory than one request may use");
        return;
    }
    request_reply(request, &response);
}

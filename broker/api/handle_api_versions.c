/* ApiVersions: what this broker serves. The first request of every client, also of those that are newer than we are.
 *
 * Source: ApiVersions v0-v4 of Kafka 4.3; KIP-511 (client software), KIP-584 (features); protocol.md traps 1, 4, 7. */
#include "broker/api/dispatch.h"
#include "broker/api/handlers.h"
#include "broker/api/request.h"
#include "broker/broker.h"
#include "broker/net/connection.h"
#include "broker/worker.h"
#include "controller/image.h"
#include "proto/kmsg/api_versions.h"
#include "proto/wire/error_code.h"

#define API_VERSIONS_VERSION_SOFTWARE 3

static bool is_alphanumeric(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9');
}

/* Kafka's pattern: [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? */
static bool is_software_word(struct span word)
{
    if (word.bytes == 0 || !is_alphanumeric(word.data[0]) || !is_alphanumeric(word.data[word.bytes - 1])) {
        return false;
    }
    for (size_t i = 1; i + 1 < word.bytes; i++) {
        if (!is_alphanumeric(word.data[i]) && word.data[i] != '-' && word.data[i] != '.') {
            return false;
        }
    }
    return true;
}

static void fill_api(struct api_versions_response_api_version *row, const struct api_row *api)
{
    row->api_key = api->key;
    row->min_version = api->advertised_first;
    row->max_version = api->versions.last;
}

static bool fill_apis(struct request *request, struct api_versions_response *response)
{
    const struct dispatch_table *table = request->worker->broker->dispatch;
    response->api_keys = codec_array(&api_versions_response_api_version_layout, api_table_count(), &request->arena);
    if (response->api_keys == NULL) {
        return false;
    }
    for (size_t i = 0; i < api_table_count(); i++) {
        const struct api_row *api = api_table_at(i);
        if (dispatch_is_served(table, api)) {
            fill_api(&response->api_keys[response->api_keys_count++], api);
        }
    }
    return true;
}

/* Feature levels switch the behaviour of clients: only what works is told (trap 7). */
static bool fill_features(struct request *request, struct api_versions_response *response)
{
    const struct image *image = request->worker->image;
    if (image == NULL || image_metadata_level(image) == 0) {
        return true;
    }
    int16_t level = (int16_t)image_metadata_level(image);
    response->supported_features = codec_array(&api_versions_response_supported_feature_key_layout, 1, &request->arena);
    response->finalized_features = codec_array(&api_versions_response_finalized_feature_key_layout, 1, &request->arena);
    if (response->supported_features == NULL || response->finalized_features == NULL) {
        return false;
    }
    response->supported_features[0].name = span_text("metadata.version");
    response->supported_features[0].min_version = IMAGE_LEVEL_MIN;
    response->supported_features[0].max_version = IMAGE_LEVEL_MAX;
    response->supported_features_count = 1;
    response->finalized_features[0].name = span_text("metadata.version");
    response->finalized_features[0].min_version_level = level;
    response->finalized_features[0].max_version_level = level;
    response->finalized_features_count = 1;
    response->finalized_features_epoch = image_offset(image);
    return true;
}

static void refuse(struct request *request, enum error_code error)
{
    struct api_versions_response response;
    codec_set_defaults(&api_versions_response_codec, &response);
    response.error_code = (int16_t)error;
    request_reply(request, &response);
}

void handle_api_versions_unsupported(struct request *request)
{
    struct api_versions_response_api_version only = {0};
    fill_api(&only, request->api);
    struct api_versions_response response;
    codec_set_defaults(&api_versions_response_codec, &response);
    response.error_code = ERROR_UNSUPPORTED_VERSION;
    response.api_keys = &only; /* as Kafka: enough to ask again with a version that is served */
    response.api_keys_count = 1;
    request->api_version = 0;
    request_reply(request, &response);
}

void handle_api_versions(struct request *request)
{
    const struct api_versions_request *message = request->message;
    if (request->api_version >= API_VERSIONS_VERSION_SOFTWARE) {
        if (!is_software_word(message->client_software_name) || !is_software_word(message->client_software_version)) {
            refuse(request, ERROR_INVALID_REQUEST);
            return;
        }
        connection_set_software(request->connection, message->client_software_name, message->client_software_version);
    }
    struct api_versions_response response;
    codec_set_defaults(&api_versions_response_codec, &response);
    if (!fill_apis(request, &response) || !fill_features(request, &response)) {
        request_close_connection(request, "the answer to ApiVersions needs more memory than one request may use");
        return;
    }
    request_reply(request, &response);
}

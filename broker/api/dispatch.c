/* Everything that comes from outside is checked here before a handler sees it: the header, the version, and by the codec every
 * length of the body. The decoded message lies in the request's arena, whose maximum bounds it. */
#include "broker/api/dispatch.h"

#include "broker/api/handlers.h"
#include "proto/wire/header.h"

#include <stdio.h>

#define REFUSAL_TEXT_BYTES 200

bool dispatch_is_served(const struct dispatch_table *table, const struct api_row *api)
{
    return table->handlers[api->key] != NULL;
}

static void refuse_api(struct request *request, const struct request_header *header)
{
    char why[REFUSAL_TEXT_BYTES];
    const struct api_row *api = request->api;
    if (api == NULL) {
        snprintf(why, sizeof(why), "API key %d is not served here", header->api_key);
    } else {
        snprintf(why, sizeof(why),
                 "%s version %d is not served here, versions %d to %d are: the client did not heed ApiVersions",
                 api->name, header->api_version, api->versions.first, api->versions.last);
    }
    request_close_connection(request, why);
}

static void refuse_bytes(struct request *request, const char *part, enum err err, size_t error_pos)
{
    char why[REFUSAL_TEXT_BYTES];
    snprintf(why, sizeof(why), "the %s of a request (%s version %d) can't be decoded: %s at byte %zu of %zu", part,
             request->api == NULL ? "?" : request->api->name, request->api_version, err_text(err), error_pos,
             request->frame->bytes);
    request_close_connection(request, why);
}

/* False when the request is over: refused, or answered by the rule for ApiVersions. */
static bool parse_header(const struct dispatch_table *table, struct request *request, struct reader *reader)
{
    struct request_header header = {0};
    enum err err = header_request_decode(reader, &header);
    request->api_version = header.api_version;
    request->correlation_id = header.correlation_id;
    request->context.client_id = header.client_id;
    const struct api_row *api = api_table_find(header.api_key);
    if (api == NULL || !dispatch_is_served(table, api)) {
        refuse_api(request, &header);
        return false;
    }
    request->api = api;
    if (!api_table_has_version(api, header.api_version)) {
        if (api->key == API_KEY_API_VERSIONS) {
            handle_api_versions_unsupported(request);
        } else {
            refuse_api(request, &header);
        }
        return false;
    }
    if (err != ERR_OK) {
        refuse_bytes(request, "header", err, reader->error_pos);
        return false;
    }
    return true;
}

static bool parse_body(struct request *request, struct reader *reader)
{
    size_t body_pos = reader->pos;
    request->body = span_make(request->frame->data + body_pos, request->frame->bytes - body_pos);
    const struct codec_message *codec = request->api->request;
    void *message = arena_alloc(&request->arena, codec->body->struct_bytes);
    enum err err =
        message == NULL ? ERR_LIMIT : codec_decode_front(codec, request->api_version, reader, &request->arena, message);
    if (err != ERR_OK) {
        refuse_bytes(request, "body", err, reader->error_pos);
        return false;
    }
    request->message = message;
    return true;
}

void dispatch_request(const struct dispatch_table *table, struct request *request)
{
    struct reader reader;
    reader_init(&reader, span_make(request->frame->data, request->frame->bytes));
    if (parse_header(table, request, &reader) && parse_body(request, &reader)) {
        table->handlers[request->api->key](request);
    }
}

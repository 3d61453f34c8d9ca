#include "proto/wire/header.h"

#include "proto/api/api_table.h"

static bool header_is_flexible(int16_t api_key, int16_t api_version)
{
    const struct api_row *row = api_table_find(api_key);
    return row != NULL && api_version >= row->flexible_first;
}

int16_t header_request_version(int16_t api_key, int16_t api_version)
{
    return header_is_flexible(api_key, api_version) ? 2 : 1;
}

/* The one exception: an ApiVersions response always has header version 0, also where its body is flexible. A client asks
 * with the highest version that it knows, and the broker that does not know this version answers in version 0 (KIP-511);
 * so the client must be able to find the error code before it knows what the broker speaks. */
int16_t header_response_version(int16_t api_key, int16_t api_version)
{
    if (api_key == API_KEY_API_VERSIONS) {
        return 0;
    }
    return header_is_flexible(api_key, api_version) ? 1 : 0;
}

enum err header_request_decode(struct reader *reader, struct request_header *ret_header)
{
    if (reader_remaining(reader) < 8) {
        reader_fail(reader, ERR_MALFORMED);
        return reader->err;
    }
    ret_header->api_key = reader_int16(reader);
    ret_header->api_version = reader_int16(reader);
    ret_header->correlation_id = reader_int32(reader);
    /* Not compact in any header version: an old broker must be able to read it. */
    ret_header->client_id = reader_nullable_string(reader);
    if (header_request_version(ret_header->api_key, ret_header->api_version) >= 2) {
        reader_skip_tagged_fields(reader);
    }
    return reader->err;
}

void header_request_encode(struct writer *writer, const struct request_header *header)
{
    writer_int16(writer, header->api_key);
    writer_int16(writer, header->api_version);
    writer_int32(writer, header->correlation_id);
    writer_nullable_string(writer, header->client_id);
    if (header_request_version(header->api_key, header->api_version) >= 2) {
        writer_uvarint(writer, 0);
    }
}

enum err header_response_decode(struct reader *reader, int16_t api_key, int16_t api_version,
                                int32_t *ret_correlation_id)
{
    int32_t correlation_id = reader_int32(reader);
    if (header_response_version(api_key, api_version) >= 1) {
        reader_skip_tagged_fields(reader);
    }
    if (reader->err == ERR_OK) {
        *ret_correlation_id = correlation_id;
    }
    return reader->err;
}

void header_response_encode(struct writer *writer, int16_t api_key, int16_t api_version, int32_t correlation_id)
{
    writer_int32(writer, correlation_id);
    if (header_response_version(api_key, api_version) >= 1) {
        writer_uvarint(writer, 0);
    }
}

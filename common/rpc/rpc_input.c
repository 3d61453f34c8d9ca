/* A buffer is written only behind `end`, where nobody has looked yet: frames that were given out of it stay as they are. It is
 * filled anew from its beginning only when nobody else holds it. */
#include "common/rpc/rpc_input.h"

#include "common/big_endian.h"
#include "common/crc32c.h"
#include "common/rpc/rpc_frame.h"

void rpc_input_init(struct rpc_input *input)
{
    *input = (struct rpc_input){.needed_bytes = RPC_PREFIX_BYTES};
}

void rpc_input_done(struct rpc_input *input)
{
    shared_bytes_unref(input->buffer);
    rpc_input_init(input);
}

void rpc_input_rest(struct rpc_input *input)
{
    if (input->start == input->end) {
        shared_bytes_unref(input->buffer);
        input->buffer = NULL;
        input->start = input->end = 0;
    }
}

/* Which size serves the frame that is due. */
static size_t buffer_bytes_wanted(const struct rpc_input *input)
{
    if (input->needed_bytes > RPC_INPUT_BYTES / 2) {
        return input->needed_bytes + RPC_INPUT_SLACK_BYTES;
    }
    /* Reading much of a large frame now would only mean to copy it. */
    bool is_unknown = input->needed_bytes == RPC_PREFIX_BYTES;
    return is_unknown && input->is_large_expected ? RPC_INPUT_SLACK_BYTES : RPC_INPUT_BYTES;
}

uint8_t *rpc_input_room(struct rpc_input *input, size_t *ret_bytes)
{
    size_t kept_bytes = input->end - input->start;
    CHECK(kept_bytes < input->needed_bytes && (kept_bytes == 0 || input->buffer != NULL));
    bool fits = input->buffer != NULL && input->buffer->bytes - input->start >= input->needed_bytes;
    if (fits && kept_bytes == 0 && atomic_load_explicit(&input->buffer->reference_count, memory_order_acquire) == 1) {
        input->start = input->end = 0;
    }
    if (!fits) {
        struct shared_bytes *buffer = shared_bytes_new(buffer_bytes_wanted(input));
        if (kept_bytes > 0) {
            memcpy(buffer->data, input->buffer->data + input->start, kept_bytes);
        }
        shared_bytes_unref(input->buffer);
        input->buffer = buffer;
        input->start = 0;
        input->end = kept_bytes;
    }
    *ret_bytes = input->buffer->bytes - input->end;
    return input->buffer->data + input->end;
}

void rpc_input_added(struct rpc_input *input, size_t bytes)
{
    CHECK(input->buffer != NULL && bytes <= input->buffer->bytes - input->end);
    input->end += bytes;
}

/* NULL when the first RPC_PREFIX_BYTES can begin a frame. */
static const char *prefix_complaint(const uint8_t *prefix)
{
    size_t bytes = be32_get(prefix);
    size_t header_bytes = be32_get(prefix + 8);
    if (bytes < RPC_PREFIX_BYTES - RPC_LENGTH_BYTES) {
        return "shorter_than_its_prefix";
    }
    if (bytes > RPC_FRAME_BYTES_MAX - RPC_LENGTH_BYTES) {
        return "longer_than_allowed";
    }
    if (be16_get(prefix + 6) != 0) {
        return "reserved_field_not_zero";
    }
    if (header_bytes > RPC_HEADER_BYTES_MAX) {
        return "header_longer_than_allowed";
    }
    if (header_bytes > bytes - (RPC_PREFIX_BYTES - RPC_LENGTH_BYTES)) {
        return "header_longer_than_frame";
    }
    return NULL;
}

enum rpc_input_status rpc_input_next(struct rpc_input *input, struct rpc_frame *ret_frame, const char **ret_reason)
{
    size_t kept_bytes = input->end - input->start;
    if (kept_bytes < input->needed_bytes) {
        return RPC_INPUT_NEEDS_BYTES;
    }
    const uint8_t *data = input->buffer->data + input->start;
    const char *complaint = prefix_complaint(data);
    if (complaint != NULL) {
        *ret_reason = complaint;
        return RPC_INPUT_BAD;
    }
    size_t frame_bytes = RPC_LENGTH_BYTES + be32_get(data);
    if (kept_bytes < frame_bytes) {
        input->needed_bytes = frame_bytes;
        return RPC_INPUT_NEEDS_BYTES;
    }
    size_t header_bytes = be32_get(data + 8);
    struct span header = span_make(data + RPC_PREFIX_BYTES, header_bytes);
    if (rpc_frame_crc(data, header) != be32_get(data + RPC_CRC_POS)) {
        *ret_reason = "checksum_wrong";
        return RPC_INPUT_BAD;
    }
    *ret_frame = (struct rpc_frame){
        .type = be16_get(data + 4),
        .header = header,
        .body = span_make(header.data + header_bytes, frame_bytes - RPC_PREFIX_BYTES - header_bytes),
        .buffer = input->buffer,
    };
    input->start += frame_bytes;
    input->needed_bytes = RPC_PREFIX_BYTES;
    input->is_large_expected = frame_bytes > RPC_INPUT_BYTES / 2;
    return RPC_INPUT_READY;
}

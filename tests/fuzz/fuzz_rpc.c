/* fuzz_rpc: bytes that claim to come from another node: a hello, an answer, or the frames of a link.
 *
 * Input:     byte 0: bits 0-1: 0 a hello, 1 an answer, else frames; bit 2 set: checksums are put right first, since no fuzzer
 *            guesses them. Byte 1: how the frames' bytes are cut into reads. The rest is what the node sent.
 * Asserts:   what decodes encodes to the same bytes; the frames and the point of refusal do not depend on the cuts; and memory stays in
 *            proportion to the frame that is due.
 */
#include "common/big_endian.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "common/rpc/rpc_frame.h"
#include "common/rpc/rpc_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { KIND_HELLO, KIND_ANSWER, CRC_BIT = 4 };

static void check_message(unsigned kind, struct span message)
{
    struct rpc_answer answer = {.refusal = ""};
    struct bytebuf again;
    size_t message_bytes = 0;
    enum err err = kind == KIND_HELLO ? rpc_hello_decode(message, &answer.hello) : rpc_answer_decode(message, &answer);
    if (err != ERR_OK) {
        return;
    }
    CHECK(rpc_hello_peek(message, &message_bytes) == ERR_OK && message_bytes == message.bytes);
    bytebuf_init(&again, RPC_HELLO_BYTES_MAX);
    CHECK((kind == KIND_HELLO ? rpc_hello_encode(&answer.hello, &again) : rpc_answer_encode(&answer, &again)) ==
          ERR_OK);
    CHECK(span_equal(bytebuf_span(&again), message));
    bytebuf_done(&again);
}

static void mend_message(uint8_t *message, size_t bytes)
{
    if (bytes >= 12) {
        be16_put(message + 6, (uint16_t)bytes);
        uint32_t crc = crc32c(crc32c(0, span_make(message, 8)), span_make(message + 12, bytes - 12));
        be32_put(message + 8, crc);
    }
}

static void mend_frames(uint8_t *stream, size_t bytes)
{
    size_t pos = 0;
    while (bytes - pos >= RPC_PREFIX_BYTES) {
        uint8_t *prefix = stream + pos;
        size_t frame_bytes = RPC_LENGTH_BYTES + (size_t)be32_get(prefix);
        size_t header_bytes = be32_get(prefix + 8);
        if (header_bytes > bytes - pos - RPC_PREFIX_BYTES || frame_bytes > bytes - pos ||
            frame_bytes < RPC_PREFIX_BYTES) {
            return;
        }
        be32_put(prefix + RPC_CRC_POS, rpc_frame_crc(prefix, span_make(prefix + RPC_PREFIX_BYTES, header_bytes)));
        pos += frame_bytes;
    }
}

/* What a stream of frames came to. */
struct outcome {
    size_t frame_count;
    uint32_t crc; /* over types, headers and bodies */
    bool is_refused;
};

static void note_frame(struct outcome *outcome, const struct rpc_frame *frame)
{
    uint8_t type[2];
    be16_put(type, frame->type);
    outcome->frame_count++;
    outcome->crc = crc32c(outcome->crc, span_make(type, sizeof(type)));
    outcome->crc = crc32c(outcome->crc, frame->header);
    outcome->crc = crc32c(outcome->crc, frame->body);
}

/* Reads of at most `cut` bytes; 0: as much as there is room for. */
static struct outcome read_stream(struct span stream, size_t cut)
{
    struct outcome outcome = {.frame_count = 0};
    struct rpc_input input;
    size_t largest_bytes = 0; /* a buffer made for a large frame serves the small ones behind it until it is full */
    rpc_input_init(&input);
    while (stream.bytes > 0 && !outcome.is_refused) {
        size_t read_bytes = 0;
        largest_bytes = input.needed_bytes > largest_bytes ? input.needed_bytes : largest_bytes;
        uint8_t *room = rpc_input_room(&input, &read_bytes);
        CHECK(input.buffer->bytes <= RPC_INPUT_BYTES || input.buffer->bytes <= largest_bytes + RPC_INPUT_SLACK_BYTES);
        read_bytes = read_bytes < stream.bytes ? read_bytes : stream.bytes;
        read_bytes = cut > 0 && cut < read_bytes ? cut : read_bytes;
        memcpy(room, stream.data, read_bytes);
        rpc_input_added(&input, read_bytes);
        stream = span_sub(stream, read_bytes, stream.bytes - read_bytes);
        struct rpc_frame frame;
        const char *reason = NULL;
        enum rpc_input_status status;
        while ((status = rpc_input_next(&input, &frame, &reason)) == RPC_INPUT_READY) {
            note_frame(&outcome, &frame);
        }
        outcome.is_refused = status == RPC_INPUT_BAD;
        rpc_input_rest(&input);
    }
    rpc_input_done(&input);
    return outcome;
}

static void check_frames(struct span stream, size_t cut)
{
    struct outcome whole = read_stream(stream, 0);
    struct outcome in_pieces = read_stream(stream, cut);
    CHECK(whole.frame_count == in_pieces.frame_count && whole.crc == in_pieces.crc);
    CHECK(whole.is_refused == in_pieces.is_refused);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 3) {
        return 0;
    }
    unsigned kind = data[0] & 3;
    size_t cut = (size_t)data[1] + 1;
    bool is_mended = (data[0] & CRC_BIT) != 0;
    size_t rest_bytes = bytes - 2;
    uint8_t *rest = mem_alloc(rest_bytes);
    memcpy(rest, data + 2, rest_bytes);
    if (kind == KIND_HELLO || kind == KIND_ANSWER) {
        if (is_mended) {
            mend_message(rest, rest_bytes);
        }
        check_message(kind, span_make(rest, rest_bytes));
    } else {
        if (is_mended) {
            mend_frames(rest, rest_bytes);
        }
        check_frames(span_make(rest, rest_bytes), cut);
    }
    mem_free(rest);
    return 0;
}

/* fuzz_request: bytes that claim to be the body of a frame, read as a broker or as a client reads them.
 *
 * Input:     byte 0: bit 0 set: a response, and the next four bytes are the API key and version that were asked; else a
 *            request, whose header says them. The rest is the frame.
 * Asserts:   what decodes can be encoded and shown, and what was encoded decodes to the same bytes again.
 */
#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/wire/frame.h"
#include "proto/wire/header.h"

#define FUZZ_ARENA_BYTES_MAX (64u << 20)
#define FUZZ_OUTPUT_BYTES_MAX (64u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct fuzz_message {
    const struct codec_message *message;
    int16_t version;
};

/* Decodes and encodes again; ERR_OK when both worked. */
static enum err pass_through(const struct fuzz_message *fuzz, struct reader *reader, struct bytebuf *ret_encoded)
{
    struct arena arena;
    struct writer writer;
    void *body = mem_zalloc(fuzz->message->body->struct_bytes);
    arena_init(&arena, FUZZ_ARENA_BYTES_MAX);
    bytebuf_init(ret_encoded, FUZZ_OUTPUT_BYTES_MAX);
    writer_init(&writer, ret_encoded);
    enum err err = codec_decode(fuzz->message, fuzz->version, reader, &arena, body);
    if (err == ERR_OK) {
        struct bytebuf json;
        CHECK(codec_encode(fuzz->message, fuzz->version, body, &writer) == ERR_OK);
        bytebuf_init(&json, FUZZ_OUTPUT_BYTES_MAX);
        CHECK(codec_print_json(fuzz->message, fuzz->version, body, &json) == ERR_OK);
        bytebuf_done(&json);
    }
    writer_done(&writer);
    arena_done(&arena);
    mem_free(body);
    return err;
}

static void check_message(const struct fuzz_message *fuzz, struct reader *reader)
{
    struct bytebuf once;
    if (pass_through(fuzz, reader, &once) == ERR_OK) {
        struct bytebuf twice;
        struct reader again;
        reader_init(&again, bytebuf_span(&once));
        CHECK(pass_through(fuzz, &again, &twice) == ERR_OK);
        CHECK(span_equal(bytebuf_span(&once), bytebuf_span(&twice)));
        bytebuf_done(&twice);
    }
    bytebuf_done(&once);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct reader reader;
    struct request_header header = {.api_key = -1};
    reader_init(&reader, span_make(data, bytes));
    size_t body_bytes = 0;
    (void)!frame_peek(span_make(data, bytes), FRAME_BODY_BYTES_MAX, &body_bytes);
    (void)frame_guess(span_make(data, bytes));

    bool is_response = (reader_int8(&reader) & 1) != 0;
    enum err err;
    if (is_response) {
        int32_t correlation_id = 0;
        header.api_key = reader_int16(&reader);
        header.api_version = reader_int16(&reader);
        err = header_response_decode(&reader, header.api_key, header.api_version, &correlation_id);
    } else {
        err = header_request_decode(&reader, &header);
    }
    const struct api_row *row = api_table_find(header.api_key);
    if (err == ERR_OK && row != NULL) {
        struct fuzz_message fuzz = {is_response ? row->response : row->request, header.api_version};
        check_message(&fuzz, &reader);
    }
    return 0;
}

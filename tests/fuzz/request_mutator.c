/* The mutations of fuzz_request: most keep the input a message of some API at some version, made from the codec's own tables, so that
 * what is tried lies behind the first wrong byte: one field of a decoded message is bent (ends of its range, null, empty, longer,
 * doubled, dropped) and the message is encoded again; or it is encoded as another version; or a new one is drawn. The rest, and
 * what does not decode, is left to libFuzzer. Linked only with the fuzzer; the corpus runs without it. */
#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/wire/header.h"
#include "tests/fuzz/message_bend.h"
#include "tests/unit/proto/random_message.h"

#define MUTATOR_BYTES_MAX (1u << 20)
#define RESPONSE_FLAG 1u
/* Times out of ten. */
#define CHANCE_PLAIN 2u
#define CHANCE_FRESH 1u
#define CHANCE_OTHER_VERSION 1u
#define CHANCE_PLAIN_AFTER 2u

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed);

struct mutation {
    struct prop prop;
    struct arena arena;
    const struct codec_message *message;
    bool is_response;
    struct request_header header;
    void *body;
};

/* ---- messages ---- */

static void set_message(struct mutation *mutation, const struct api_row *row)
{
    mutation->message = mutation->is_response ? row->response : row->request;
    mutation->body = arena_array(&mutation->arena, 1, mutation->message->body->struct_bytes);
    CHECK(mutation->body != NULL);
    memset(mutation->body, 0, mutation->message->body->struct_bytes);
}

/* What the input is, as fuzz_request reads it; false when it is no whole message. */
static bool read_message(struct mutation *mutation, struct span input)
{
    struct reader reader;
    enum err err = ERR_OK;
    reader_init(&reader, input);
    mutation->is_response = ((uint8_t)reader_int8(&reader) & RESPONSE_FLAG) != 0;
    mutation->header = (struct request_header){.api_key = -1};
    if (mutation->is_response) {
        mutation->header.api_key = reader_int16(&reader);
        mutation->header.api_version = reader_int16(&reader);
        err = header_response_decode(&reader, mutation->header.api_key, mutation->header.api_version,
                                     &mutation->header.correlation_id);
    } else {
        err = header_request_decode(&reader, &mutation->header);
    }
    const struct api_row *row = api_table_find(mutation->header.api_key);
    if (err != ERR_OK || row == NULL) {
        return false;
    }
    set_message(mutation, row);
    return codec_decode(mutation->message, mutation->header.api_version, &reader, &mutation->arena, mutation->body) ==
           ERR_OK;
}

static int16_t draw_version(struct mutation *mutation, const struct codec_message *message)
{
    return (int16_t)prop_range(&mutation->prop, (uint64_t)message->versions.first, (uint64_t)message->versions.last);
}

static void draw_message(struct mutation *mutation)
{
    const struct api_row *row = api_table_at(prop_below(&mutation->prop, api_table_count()));
    mutation->is_response = prop_chance(&mutation->prop, 1, 3);
    set_message(mutation, row);
    mutation->header = (struct request_header){
        .api_key = row->key, .api_version = draw_version(mutation, mutation->message), .client_id = span_text("fuzz")};
    random_message_fill(&mutation->prop, mutation->message, mutation->header.api_version, &mutation->arena,
                        mutation->body);
}

static enum err write_message(const struct mutation *mutation, struct bytebuf *ret_input)
{
    struct writer writer;
    const struct request_header *header = &mutation->header;
    writer_init(&writer, ret_input);
    writer_int8(&writer, mutation->is_response ? RESPONSE_FLAG : 0);
    if (mutation->is_response) {
        writer_int16(&writer, header->api_key);
        writer_int16(&writer, header->api_version);
        header_response_encode(&writer, header->api_key, header->api_version, header->correlation_id);
    } else {
        header_request_encode(&writer, header);
    }
    enum err err = codec_encode(mutation->message, header->api_version, mutation->body, &writer);
    writer_done(&writer);
    return err;
}

/* Bytes of the new message in `data`; 0 when it came to nothing. */
static size_t mutate_message(struct mutation *mutation, uint8_t *data, size_t bytes, size_t bytes_max)
{
    struct bytebuf output;
    size_t result_bytes = 0;
    uint8_t *copy = mem_alloc(bytes + 1); /* the message borrows from it, and `data` is written */
    memcpy(copy, data, bytes);
    bytebuf_init(&output, MUTATOR_BYTES_MAX);
    if (prop_below(&mutation->prop, 10) < CHANCE_FRESH) {
        draw_message(mutation);
    } else if (!read_message(mutation, span_make(copy, bytes))) {
        mutation->message = NULL;
    } else if (prop_below(&mutation->prop, 10) < CHANCE_OTHER_VERSION) {
        mutation->header.api_version = draw_version(mutation, mutation->message);
    } else {
        struct message_bend bend = {
            .prop = &mutation->prop, .arena = &mutation->arena, .version = mutation->header.api_version};
        message_bend(&bend, mutation->message, mutation->body);
    }
    /* Null where there is no null, or a field that the other version lacks: not encoded. */
    if (mutation->message != NULL && write_message(mutation, &output) == ERR_OK && output.bytes <= bytes_max) {
        memcpy(data, output.data, output.bytes);
        result_bytes = output.bytes;
    }
    bytebuf_done(&output);
    mem_free(copy);
    return result_bytes;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed)
{
    struct mutation mutation = {0};
    size_t result_bytes = 0;
    prop_init_seed(&mutation.prop, seed);
    if (prop_below(&mutation.prop, 10) >= CHANCE_PLAIN) {
        arena_init(&mutation.arena, MUTATOR_BYTES_MAX);
        result_bytes = mutate_message(&mutation, data, bytes, bytes_max);
        arena_done(&mutation.arena);
    }
    if (result_bytes == 0) {
        return LLVMFuzzerMutate(data, bytes, bytes_max);
    }
    /* Lengths and counts are bent only by bytes. */
    return prop_below(&mutation.prop, 10) < CHANCE_PLAIN_AFTER ? LLVMFuzzerMutate(data, result_bytes, bytes_max)
                                                               : result_bytes;
}

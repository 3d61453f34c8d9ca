/* The mutations of fuzz_request: most keep the input a message of some API at some version, made from the codec's own tables, so that
 * what is tried lies behind the first wrong byte: one field of a decoded message is bent (ends of its range, null, empty, longer,
 * doubled, dropped) and the message is encoded again; or it is encoded as another version; or a new one is drawn. The rest, and
 * what does not decode, is left to libFuzzer. Linked only with the fuzzer; the corpus runs without it. */
#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/wire/codec_table.h"
#include "proto/wire/header.h"
#include "tests/unit/proto/random_message.h"

#define MUTATOR_BYTES_MAX (1u << 20)
#define RESPONSE_FLAG 1u
/* Times out of ten. */
#define CHANCE_PLAIN 2u
#define CHANCE_FRESH 1u
#define CHANCE_OTHER_VERSION 1u
#define CHANCE_PLAIN_AFTER 2u

size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t bytes_max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed);

struct mutation {
    struct prop prop;
    struct arena arena;
    const struct codec_message *message;
    bool is_response;
    struct request_header header;
    void *body;
    /* The field that is bent: each one seen is chosen with probability 1 / its number. */
    uint64_t seen_count;
    const struct codec_field *field;
    void *base;
};

/* ---- choosing ---- */

static void visit(struct mutation *mutation, const struct codec_struct *type, void *base)
{
    for (size_t i = 0; i < type->fields_count; i++) {
        const struct codec_field *field = &type->fields[i];
        if (!codec_versions_have(field->present, mutation->header.api_version)) {
            continue;
        }
        mutation->seen_count++;
        if (prop_below(&mutation->prop, mutation->seen_count) == 0) {
            mutation->field = field;
            mutation->base = base;
        }
        if (field->kind != CODEC_STRUCT) {
            continue;
        }
        if (codec_field_is(field, CODEC_ARRAY)) {
            uint8_t *elements = codec_pointer_get(base, field);
            size_t count = elements == NULL ? 0 : codec_count_get(base, field);
            for (size_t j = 0; j < count; j++) {
                visit(mutation, field->child, elements + j * field->child->struct_bytes);
            }
        } else if (codec_field_is(field, CODEC_POINTER)) {
            void *value = codec_pointer_get(base, field);
            if (value != NULL) {
                visit(mutation, field->child, value);
            }
        } else {
            visit(mutation, field->child, codec_member(base, field));
        }
    }
}

/* ---- bending ---- */

static int64_t bend_integer(struct prop *prop, int64_t before)
{
    static const int64_t ends[] = {0,         1,         -1,        INT8_MAX, INT16_MAX, INT32_MAX,
                                   INT32_MIN, INT64_MAX, INT64_MIN, 1 << 20,  -2,        -3};
    switch (prop_below(prop, 4)) {
    case 0:
        return (int64_t)((uint64_t)before + 1);
    case 1:
        return (int64_t)((uint64_t)before - 1);
    case 2:
        return (int64_t)prop_u64(prop);
    default:
        return ends[prop_below(prop, ARRAY_COUNT(ends))];
    }
}

/* Strings stay what Kafka's are on the wire: bytes; batches keep most of theirs. */
static struct span bend_bytes(struct mutation *mutation, struct span before)
{
    struct prop *prop = &mutation->prop;
    size_t room = before.bytes + 64;
    uint8_t *copy = arena_alloc(&mutation->arena, room + 300);
    if (copy == NULL) {
        return before;
    }
    if (before.bytes > 0) {
        memcpy(copy, before.data, before.bytes);
    }
    switch (prop_below(prop, 5)) {
    case 0:
        return SPAN_NULL;
    case 1:
        return span_make(copy, 0);
    case 2:
        memset(copy + before.bytes, 'x', 300);
        return span_make(copy, before.bytes + 1 + prop_below(prop, 299));
    case 3:
        return span_make(copy, before.bytes == 0 ? 0 : prop_below(prop, before.bytes));
    default:
        return span_make(copy, before.bytes == 0 ? 0 : LLVMFuzzerMutate(copy, before.bytes, room));
    }
}

static void bend_value(struct mutation *mutation, const struct codec_field *field, void *value)
{
    switch ((enum codec_kind)field->kind) {
    case CODEC_BOOL:
    case CODEC_INT8:
    case CODEC_INT16:
    case CODEC_INT32:
    case CODEC_INT64:
    case CODEC_UINT16:
    case CODEC_UINT32:
        codec_integer_set((enum codec_kind)field->kind, value,
                          field->kind == CODEC_BOOL
                              ? codec_integer_get(CODEC_BOOL, value) == 0
                              : bend_integer(&mutation->prop, codec_integer_get((enum codec_kind)field->kind, value)));
        return;
    case CODEC_FLOAT64:
    case CODEC_UUID:
        prop_fill(&mutation->prop, value, field->kind == CODEC_UUID ? sizeof(struct uuid) : sizeof(double));
        return;
    case CODEC_STRING:
    case CODEC_BYTES:
        *(struct span *)value = bend_bytes(mutation, *(struct span *)value);
        return;
    case CODEC_RECORDS:
        ((struct kmsg_records *)value)->bytes = bend_bytes(mutation, ((struct kmsg_records *)value)->bytes);
        return;
    case CODEC_STRUCT:
        return; /* its fields are chosen for themselves */
    }
}

/* Null, empty, one less, one twice, one bent. */
static void bend_array(struct mutation *mutation, const struct codec_field *field, void *base)
{
    struct prop *prop = &mutation->prop;
    uint8_t *elements = codec_pointer_get(base, field);
    size_t count = elements == NULL ? 0 : codec_count_get(base, field);
    size_t element_bytes = codec_value_bytes(field);
    uint64_t choice = prop_below(prop, 5);
    if (choice < 2 || count == 0) {
        codec_pointer_set(base, field, choice == 0 ? NULL : CODEC_EMPTY_ARRAY);
        codec_count_set(base, field, 0);
    } else if (choice == 2) {
        codec_count_set(base, field, count - 1);
    } else if (choice == 3) {
        uint8_t *grown = arena_array(&mutation->arena, count + 1, element_bytes);
        if (grown != NULL) {
            memcpy(grown, elements, count * element_bytes);
            memcpy(grown + count * element_bytes, elements + prop_below(prop, count) * element_bytes, element_bytes);
            codec_pointer_set(base, field, grown);
            codec_count_set(base, field, count + 1);
        }
    } else {
        bend_value(mutation, field, elements + prop_below(prop, count) * element_bytes);
    }
}

static void bend(struct mutation *mutation)
{
    visit(mutation, mutation->message->body, mutation->body);
    const struct codec_field *field = mutation->field;
    if (field == NULL) {
        return; /* a message without fields */
    }
    if (codec_field_is(field, CODEC_ARRAY)) {
        bend_array(mutation, field, mutation->base);
    } else if (codec_field_is(field, CODEC_POINTER)) {
        bool is_null = codec_pointer_get(mutation->base, field) == NULL;
        codec_pointer_set(mutation->base, field, is_null ? codec_array(field->child, 1, &mutation->arena) : NULL);
    } else {
        bend_value(mutation, field, codec_member(mutation->base, field));
    }
}

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
        bend(mutation);
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

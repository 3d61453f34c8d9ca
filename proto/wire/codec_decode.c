/* Decoding: walks the rows of a struct's table in wire order. The reader's error sticks, so most steps need no check of
 * their own; loops stop on it. Recursion follows the schema, which is finite and at most a handful of levels deep. */
#include "common/check.h"
#include "proto/wire/codec_table.h"

struct codec_decoder {
    struct reader *reader;
    struct arena *arena;
    uint32_t nodes_left;
    int16_t version;
    bool flexible;
};

static void codec_decode_struct(struct codec_decoder *decoder, const struct codec_struct *type, void *base);

/* A length prefix of a string, of bytes or of an array: null is -1. */
static int64_t codec_decode_length(struct codec_decoder *decoder, bool is_string)
{
    if (decoder->flexible) {
        return (int64_t)reader_uvarint(decoder->reader) - 1;
    }
    return is_string ? reader_int16(decoder->reader) : reader_int32(decoder->reader);
}

static struct span codec_decode_span(struct codec_decoder *decoder, bool is_string, bool nullable)
{
    struct reader *reader = decoder->reader;
    int64_t bytes = codec_decode_length(decoder, is_string);
    if (bytes < 0) {
        if (bytes < -1 || !nullable) {
            reader_fail(reader, ERR_MALFORMED);
        }
        return SPAN_NULL;
    }
    return reader_take(reader, (size_t)bytes);
}

/* One value of the field's kind into `value`. */
static void codec_decode_value(struct codec_decoder *decoder, const struct codec_field *field, bool nullable,
                               void *value)
{
    struct reader *reader = decoder->reader;

    switch ((enum codec_kind)field->kind) {
    case CODEC_BOOL:
        *(bool *)value = reader_bool(reader);
        return;
    case CODEC_INT8:
        *(int8_t *)value = reader_int8(reader);
        return;
    case CODEC_INT16:
        *(int16_t *)value = reader_int16(reader);
        return;
    case CODEC_INT32:
        *(int32_t *)value = reader_int32(reader);
        return;
    case CODEC_INT64:
        *(int64_t *)value = reader_int64(reader);
        return;
    case CODEC_UINT16:
        *(uint16_t *)value = reader_uint16(reader);
        return;
    case CODEC_UINT32:
        *(uint32_t *)value = reader_uint32(reader);
        return;
    case CODEC_FLOAT64:
        *(double *)value = reader_float64(reader);
        return;
    case CODEC_UUID:
        *(struct uuid *)value = reader_uuid(reader);
        return;
    case CODEC_STRING:
        *(struct span *)value = codec_decode_span(decoder, true, nullable);
        return;
    case CODEC_BYTES:
        *(struct span *)value = codec_decode_span(decoder, false, nullable);
        return;
    case CODEC_RECORDS:
        *(struct kmsg_records *)value = (struct kmsg_records){.bytes = codec_decode_span(decoder, false, nullable)};
        return;
    case CODEC_STRUCT:
        codec_decode_struct(decoder, field->child, value);
        return;
    }
    UNREACHABLE();
}

/* The count was checked against the bytes that remain: each element takes at least wire_bytes_min of them. */
static uint8_t *codec_decode_allocate(struct codec_decoder *decoder, size_t count, size_t element_bytes)
{
    struct reader *reader = decoder->reader;
    if (count > decoder->nodes_left) {
        reader_fail(reader, ERR_LIMIT);
        return NULL;
    }
    decoder->nodes_left -= (uint32_t)count;
    uint8_t *elements = arena_array(decoder->arena, count, element_bytes);
    if (elements == NULL) {
        reader_fail(reader, ERR_LIMIT);
    }
    return elements;
}

static void codec_decode_array(struct codec_decoder *decoder, const struct codec_field *field, bool nullable,
                               void *base)
{
    struct reader *reader = decoder->reader;
    int64_t count = codec_decode_length(decoder, false);

    codec_pointer_set(base, field, count == -1 ? NULL : CODEC_EMPTY_ARRAY);
    codec_count_set(base, field, 0);
    if (count < 0) {
        if (count < -1 || !nullable) {
            reader_fail(reader, ERR_MALFORMED);
        }
        return;
    }
    size_t wire_bytes_min = codec_value_wire_bytes_min(field, decoder->flexible);
    if ((uint64_t)count > reader_remaining(reader) / wire_bytes_min) {
        reader_fail(reader, ERR_MALFORMED);
        return;
    }
    if (count == 0) {
        return;
    }
    size_t element_bytes = codec_value_bytes(field);
    uint8_t *elements = codec_decode_allocate(decoder, (size_t)count, element_bytes);
    if (elements == NULL) {
        return;
    }
    for (size_t i = 0; i < (size_t)count && reader->err == ERR_OK; i++) {
        codec_decode_value(decoder, field, false, elements + i * element_bytes);
    }
    codec_pointer_set(base, field, elements);
    codec_count_set(base, field, (size_t)count);
}

/* A struct that may be null: one byte says whether it follows (KIP-893), and memory is taken only if so. */
static void codec_decode_pointer(struct codec_decoder *decoder, const struct codec_field *field, bool nullable,
                                 void *base)
{
    codec_pointer_set(base, field, NULL);
    if (nullable && reader_int8(decoder->reader) < 0) {
        return;
    }
    uint8_t *value = codec_decode_allocate(decoder, 1, field->child->struct_bytes);
    if (value != NULL) {
        codec_decode_struct(decoder, field->child, value);
        codec_pointer_set(base, field, value);
    }
}

static void codec_decode_field(struct codec_decoder *decoder, const struct codec_field *field, void *base)
{
    bool nullable = codec_versions_have(field->nullable, decoder->version);

    if (codec_field_is(field, CODEC_ARRAY)) {
        codec_decode_array(decoder, field, nullable, base);
    } else if (codec_field_is(field, CODEC_POINTER)) {
        codec_decode_pointer(decoder, field, nullable, base);
    } else {
        codec_decode_value(decoder, field, nullable, codec_member(base, field));
    }
}

static const struct codec_field *codec_find_tag(const struct codec_struct *type, uint32_t tag, int16_t version)
{
    for (size_t i = 0; i < type->tagged_fields_count; i++) {
        const struct codec_field *field = &type->fields[type->tagged_fields[i]];
        if (field->tag == tag && codec_versions_have(field->tagged, version)) {
            return field;
        }
    }
    return NULL;
}

/* Unknown tags are skipped; a known one must fill its size exactly. Like Kafka, this takes tags in any order and lets the
 * last of two equal ones win. */
static void codec_decode_tagged_fields(struct codec_decoder *decoder, const struct codec_struct *type, void *base)
{
    struct reader *outer = decoder->reader;
    uint32_t count = reader_uvarint(outer);

    for (uint32_t i = 0; i < count && outer->err == ERR_OK; i++) {
        uint32_t tag = reader_uvarint(outer);
        size_t start_pos = outer->pos;
        struct span content = reader_take(outer, reader_uvarint(outer));
        const struct codec_field *field = codec_find_tag(type, tag, decoder->version);
        if (outer->err != ERR_OK || field == NULL) {
            continue;
        }
        struct reader inner;
        reader_init(&inner, content);
        decoder->reader = &inner;
        codec_decode_field(decoder, field, base);
        decoder->reader = outer;
        if (inner.err == ERR_OK && reader_remaining(&inner) > 0) {
            reader_fail(&inner, ERR_MALFORMED);
        }
        if (inner.err != ERR_OK) {
            outer->pos = start_pos;
            reader_fail(outer, inner.err);
        }
    }
}

static void codec_decode_struct(struct codec_decoder *decoder, const struct codec_struct *type, void *base)
{
    for (size_t i = 0; i < type->fields_count && decoder->reader->err == ERR_OK; i++) {
        const struct codec_field *field = &type->fields[i];
        if (codec_versions_have(field->present, decoder->version) &&
            !codec_versions_have(field->tagged, decoder->version)) {
            codec_decode_field(decoder, field, base);
        } else {
            codec_field_set_default(field, base);
        }
    }
    if (decoder->flexible) {
        codec_decode_tagged_fields(decoder, type, base);
    }
}

enum err codec_decode_front(const struct codec_message *message, int16_t version, struct reader *reader,
                            struct arena *arena, void *body)
{
    if (!codec_versions_have(message->versions, version)) {
        return ERR_UNSUPPORTED;
    }
    struct codec_decoder decoder = {
        .reader = reader,
        .arena = arena,
        .nodes_left = CODEC_NODES_MAX,
        .version = version,
        .flexible = codec_message_is_flexible(message, version),
    };
    codec_decode_struct(&decoder, message->body, body);
    return reader->err;
}

enum err codec_decode(const struct codec_message *message, int16_t version, struct reader *reader, struct arena *arena,
                      void *body)
{
    enum err err = codec_decode_front(message, version, reader, arena, body);
    if (err == ERR_OK && reader_remaining(reader) > 0) {
        reader_fail(reader, ERR_MALFORMED);
        err = reader->err;
    }
    return err;
}

/* Encoding: the mirror of codec_decode.c. A member that the version can't carry must have its default, unless the schema
 * calls it ignorable; else what the caller means would change silently. */
#include "common/check.h"
#include "proto/wire/codec_table.h"

struct codec_encoder {
    struct writer *writer;
    int16_t version;
    bool flexible;
};

static void codec_encode_struct(const struct codec_encoder *encoder, const struct codec_struct *type, const void *base);

/* A length prefix of a string, of bytes or of an array. */
static void codec_encode_length(const struct codec_encoder *encoder, size_t length, bool is_string)
{
    size_t length_max = encoder->flexible ? INT32_MAX - 1 : is_string ? INT16_MAX : INT32_MAX;
    if (length > length_max) {
        writer_fail(encoder->writer, ERR_LIMIT);
    } else if (encoder->flexible) {
        writer_uvarint(encoder->writer, (uint32_t)length + 1);
    } else if (is_string) {
        writer_int16(encoder->writer, (int16_t)length);
    } else {
        writer_int32(encoder->writer, (int32_t)length);
    }
}

/* The length that says null. Where the version has no null: an error if the field has one in other versions, for then it
 * means something; otherwise the caller has just set nothing, which is empty. */
static void codec_encode_null(const struct codec_encoder *encoder, const struct codec_field *field, bool nullable,
                              bool is_string)
{
    if (!nullable && codec_field_knows_null(field)) {
        writer_fail(encoder->writer, ERR_INVALID);
    } else if (!nullable) {
        codec_encode_length(encoder, 0, is_string);
    } else if (encoder->flexible) {
        writer_uvarint(encoder->writer, 0);
    } else if (is_string) {
        writer_int16(encoder->writer, -1);
    } else {
        writer_int32(encoder->writer, -1);
    }
}

static void codec_encode_span(const struct codec_encoder *encoder, const struct codec_field *field, bool nullable,
                              struct span span)
{
    bool is_string = field->kind == CODEC_STRING;
    if (span_is_null(span)) {
        codec_encode_null(encoder, field, nullable, is_string);
        return;
    }
    codec_encode_length(encoder, span.bytes, is_string);
    writer_bytes(encoder->writer, span);
}

static void codec_encode_records(const struct codec_encoder *encoder, const struct codec_field *field, bool nullable,
                                 const struct kmsg_records *records)
{
    if (records->external == NULL || records->external_bytes == 0) {
        codec_encode_span(encoder, field, nullable, records->bytes);
        return;
    }
    codec_encode_length(encoder, records->external_bytes, false);
    writer_cut_here(encoder->writer, records->external, records->external_bytes);
}

static void codec_encode_value(const struct codec_encoder *encoder, const struct codec_field *field, bool nullable,
                               const void *value)
{
    struct writer *writer = encoder->writer;

    switch ((enum codec_kind)field->kind) {
    case CODEC_BOOL:
        writer_bool(writer, *(const bool *)value);
        return;
    case CODEC_INT8:
        writer_int8(writer, *(const int8_t *)value);
        return;
    case CODEC_INT16:
        writer_int16(writer, *(const int16_t *)value);
        return;
    case CODEC_INT32:
        writer_int32(writer, *(const int32_t *)value);
        return;
    case CODEC_INT64:
        writer_int64(writer, *(const int64_t *)value);
        return;
    case CODEC_UINT16:
        writer_uint16(writer, *(const uint16_t *)value);
        return;
    case CODEC_UINT32:
        writer_uint32(writer, *(const uint32_t *)value);
        return;
    case CODEC_FLOAT64:
        writer_float64(writer, *(const double *)value);
        return;
    case CODEC_UUID:
        writer_uuid(writer, *(const struct uuid *)value);
        return;
    case CODEC_STRING:
    case CODEC_BYTES:
        codec_encode_span(encoder, field, nullable, *(const struct span *)value);
        return;
    case CODEC_RECORDS:
        codec_encode_records(encoder, field, nullable, value);
        return;
    case CODEC_STRUCT:
        codec_encode_struct(encoder, field->child, value);
        return;
    }
    UNREACHABLE();
}

static void codec_encode_array(const struct codec_encoder *encoder, const struct codec_field *field, bool nullable,
                               const void *base)
{
    const uint8_t *elements = codec_pointer_get(base, field);
    size_t count = codec_count_get(base, field);
    if (elements == NULL) {
        CHECK(count == 0);
        codec_encode_null(encoder, field, nullable, false);
        return;
    }
    codec_encode_length(encoder, count, false);
    size_t element_bytes = codec_value_bytes(field);
    for (size_t i = 0; i < count && encoder->writer->err == ERR_OK; i++) {
        codec_encode_value(encoder, field, false, elements + i * element_bytes);
    }
}

static void codec_encode_pointer(const struct codec_encoder *encoder, const struct codec_field *field, bool nullable,
                                 const void *base)
{
    const void *value = codec_pointer_get(base, field);
    if (value == NULL && !nullable) {
        writer_fail(encoder->writer, ERR_INVALID);
        return;
    }
    if (nullable) {
        writer_int8(encoder->writer, value == NULL ? -1 : 1);
    }
    if (value != NULL) {
        codec_encode_struct(encoder, field->child, value);
    }
}

static void codec_encode_field(const struct codec_encoder *encoder, const struct codec_field *field, const void *base)
{
    bool nullable = codec_versions_have(field->nullable, encoder->version);

    if (codec_field_is(field, CODEC_ARRAY)) {
        codec_encode_array(encoder, field, nullable, base);
    } else if (codec_field_is(field, CODEC_POINTER)) {
        codec_encode_pointer(encoder, field, nullable, base);
    } else {
        codec_encode_value(encoder, field, nullable, codec_member_const(base, field));
    }
}

/* Only those that differ from their defaults, by ascending tag. */
static void codec_encode_tagged_fields(const struct codec_encoder *encoder, const struct codec_struct *type,
                                       const void *base)
{
    struct writer *writer = encoder->writer;
    uint32_t count = 0;

    for (size_t i = 0; i < type->tagged_fields_count; i++) {
        const struct codec_field *field = &type->fields[type->tagged_fields[i]];
        count += codec_versions_have(field->tagged, encoder->version) && !codec_field_is_default(field, base);
    }
    writer_uvarint(writer, count);
    for (size_t i = 0; i < type->tagged_fields_count && count > 0; i++) {
        const struct codec_field *field = &type->fields[type->tagged_fields[i]];
        if (!codec_versions_have(field->tagged, encoder->version) || codec_field_is_default(field, base)) {
            continue;
        }
        writer_uvarint(writer, field->tag);
        size_t content_pos = writer_pos(writer);
        codec_encode_field(encoder, field, base);
        writer_insert_length(writer, content_pos);
    }
}

static void codec_encode_struct(const struct codec_encoder *encoder, const struct codec_struct *type, const void *base)
{
    for (size_t i = 0; i < type->fields_count && encoder->writer->err == ERR_OK; i++) {
        const struct codec_field *field = &type->fields[i];
        if (!codec_versions_have(field->present, encoder->version)) {
            if (!codec_field_is(field, CODEC_IGNORABLE) && !codec_field_is_default(field, base)) {
                writer_fail(encoder->writer, ERR_UNSUPPORTED);
            }
        } else if (!codec_versions_have(field->tagged, encoder->version)) {
            codec_encode_field(encoder, field, base);
        }
    }
    if (encoder->flexible) {
        codec_encode_tagged_fields(encoder, type, base);
    }
}

enum err codec_encode(const struct codec_message *message, int16_t version, const void *body, struct writer *writer)
{
    if (!codec_versions_have(message->versions, version)) {
        return ERR_UNSUPPORTED;
    }
    struct codec_encoder encoder = {
        .writer = writer,
        .version = version,
        .flexible = codec_message_is_flexible(message, version),
    };
    codec_encode_struct(&encoder, message->body, body);
    return writer->err;
}

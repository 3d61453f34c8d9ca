/* Defaults, and the question whether a member has its default: a tagged field is sent only if not, and a field that a
 * version lacks may be left out only if so. */
#include "common/check.h"
#include "proto/wire/codec_table.h"

const uint64_t codec_empty[2] = {0};

size_t codec_value_bytes(const struct codec_field *field)
{
    switch ((enum codec_kind)field->kind) {
    case CODEC_BOOL:
        return sizeof(bool);
    case CODEC_INT8:
        return 1;
    case CODEC_INT16:
    case CODEC_UINT16:
        return 2;
    case CODEC_INT32:
    case CODEC_UINT32:
        return 4;
    case CODEC_INT64:
    case CODEC_FLOAT64:
        return 8;
    case CODEC_UUID:
        return sizeof(struct uuid);
    case CODEC_STRING:
    case CODEC_BYTES:
        return sizeof(struct span);
    case CODEC_RECORDS:
        return sizeof(struct kmsg_records);
    case CODEC_STRUCT:
        return field->child->struct_bytes;
    }
    UNREACHABLE();
}

size_t codec_value_wire_bytes_min(const struct codec_field *field, bool flexible)
{
    switch ((enum codec_kind)field->kind) {
    case CODEC_STRING:
        return flexible ? 1 : 2;
    case CODEC_BYTES:
    case CODEC_RECORDS:
        return flexible ? 1 : 4;
    case CODEC_STRUCT:
        return field->child->wire_bytes_min;
    case CODEC_BOOL:
    case CODEC_INT8:
    case CODEC_INT16:
    case CODEC_INT32:
    case CODEC_INT64:
    case CODEC_UINT16:
    case CODEC_UINT32:
    case CODEC_FLOAT64:
    case CODEC_UUID:
        return codec_value_bytes(field);
    }
    UNREACHABLE();
}

int64_t codec_integer_get(enum codec_kind kind, const void *value)
{
    switch (kind) {
    case CODEC_BOOL:
        return *(const bool *)value ? 1 : 0;
    case CODEC_INT8:
        return *(const int8_t *)value;
    case CODEC_INT16:
        return *(const int16_t *)value;
    case CODEC_INT32:
        return *(const int32_t *)value;
    case CODEC_INT64:
        return *(const int64_t *)value;
    case CODEC_UINT16:
        return *(const uint16_t *)value;
    case CODEC_UINT32:
        return *(const uint32_t *)value;
    case CODEC_FLOAT64:
    case CODEC_UUID:
    case CODEC_STRING:
    case CODEC_BYTES:
    case CODEC_RECORDS:
    case CODEC_STRUCT:
        break;
    }
    UNREACHABLE();
}

void codec_integer_set(enum codec_kind kind, void *value, int64_t integer)
{
    switch (kind) {
    case CODEC_BOOL:
        *(bool *)value = integer != 0;
        return;
    case CODEC_INT8:
        *(int8_t *)value = (int8_t)integer;
        return;
    case CODEC_INT16:
        *(int16_t *)value = (int16_t)integer;
        return;
    case CODEC_INT32:
        *(int32_t *)value = (int32_t)integer;
        return;
    case CODEC_INT64:
        *(int64_t *)value = integer;
        return;
    case CODEC_UINT16:
        *(uint16_t *)value = (uint16_t)integer;
        return;
    case CODEC_UINT32:
        *(uint32_t *)value = (uint32_t)integer;
        return;
    case CODEC_FLOAT64:
    case CODEC_UUID:
    case CODEC_STRING:
    case CODEC_BYTES:
    case CODEC_RECORDS:
    case CODEC_STRUCT:
        break;
    }
    UNREACHABLE();
}

void codec_field_set_default(const struct codec_field *field, void *base)
{
    void *member = codec_member(base, field);
    if (codec_field_is(field, CODEC_ARRAY)) {
        bool is_null = codec_field_is(field, CODEC_DEFAULT_NULL);
        codec_pointer_set(base, field, is_null ? NULL : CODEC_EMPTY_ARRAY);
        codec_count_set(base, field, 0);
        return;
    }
    switch ((enum codec_kind)field->kind) {
    case CODEC_BOOL:
    case CODEC_INT8:
    case CODEC_INT16:
    case CODEC_INT32:
    case CODEC_INT64:
    case CODEC_UINT16:
    case CODEC_UINT32:
        codec_integer_set((enum codec_kind)field->kind, member, field->default_int);
        return;
    case CODEC_STRING:
    case CODEC_BYTES:
        *(struct span *)member = codec_field_is(field, CODEC_DEFAULT_NULL) ? SPAN_NULL : span_make(codec_empty, 0);
        return;
    case CODEC_FLOAT64:
    case CODEC_UUID:
    case CODEC_RECORDS:
        memset(member, 0, codec_value_bytes(field));
        return;
    case CODEC_STRUCT:
        if (codec_field_is(field, CODEC_POINTER)) {
            codec_pointer_set(base, field, NULL);
        } else {
            codec_struct_set_defaults(field->child, member);
        }
        return;
    }
    UNREACHABLE();
}

void codec_struct_set_defaults(const struct codec_struct *type, void *value)
{
    for (size_t i = 0; i < type->fields_count; i++) {
        codec_field_set_default(&type->fields[i], value);
    }
}

void codec_set_defaults(const struct codec_message *message, void *body)
{
    codec_struct_set_defaults(message->body, body);
}

void *codec_array(const struct codec_struct *type, size_t count, struct arena *arena)
{
    if (count == 0) {
        return CODEC_EMPTY_ARRAY;
    }
    uint8_t *elements = arena_array(arena, count, type->struct_bytes);
    for (size_t i = 0; elements != NULL && i < count; i++) {
        codec_struct_set_defaults(type, elements + i * type->struct_bytes);
    }
    return elements;
}

static bool codec_struct_is_default(const struct codec_struct *type, const void *value)
{
    for (size_t i = 0; i < type->fields_count; i++) {
        if (!codec_field_is_default(&type->fields[i], value)) {
            return false;
        }
    }
    return true;
}

/* Null or empty, whichever the default is; a field that knows no null takes NULL for empty. */
static bool codec_nullable_is_default(const struct codec_field *field, const void *data, size_t count)
{
    if (count > 0) {
        return false;
    }
    if (!codec_field_knows_null(field)) {
        return true;
    }
    return codec_field_is(field, CODEC_DEFAULT_NULL) == (data == NULL);
}

bool codec_field_is_default(const struct codec_field *field, const void *base)
{
    static const struct uuid zero = {{0}};
    const void *member = codec_member_const(base, field);

    if (codec_field_is(field, CODEC_ARRAY)) {
        return codec_nullable_is_default(field, codec_pointer_get(base, field), codec_count_get(base, field));
    }
    switch ((enum codec_kind)field->kind) {
    case CODEC_BOOL:
    case CODEC_INT8:
    case CODEC_INT16:
    case CODEC_INT32:
    case CODEC_INT64:
    case CODEC_UINT16:
    case CODEC_UINT32:
        return codec_integer_get((enum codec_kind)field->kind, member) == field->default_int;
    case CODEC_FLOAT64: {
        double number = *(const double *)member;
        return !(number < 0.0) && !(number > 0.0) && number == number;
    }
    case CODEC_UUID:
        return memcmp(member, &zero, sizeof(zero)) == 0;
    case CODEC_STRING:
    case CODEC_BYTES: {
        const struct span *span = member;
        return codec_nullable_is_default(field, span->data, span->bytes);
    }
    case CODEC_RECORDS:
        return codec_records_are_null(member);
    case CODEC_STRUCT:
        return codec_field_is(field, CODEC_POINTER) ? codec_pointer_get(base, field) == NULL
                                                    : codec_struct_is_default(field->child, member);
    }
    UNREACHABLE();
}

/* codec_table: what the parts of the codec (defaults, decode, encode, json) share: questions about table rows and access
 * to members through them. Private to proto/wire/.
 *
 * Threads:   pure functions.
 */
#ifndef PROTO_WIRE_CODEC_TABLE_H
#define PROTO_WIRE_CODEC_TABLE_H

#include "proto/wire/codec.h"

static inline bool codec_versions_have(struct codec_versions versions, int16_t version)
{
    return version >= versions.first && version <= versions.last;
}

/* Nullable in some version: then a null is a value of its own; else a NULL is only an empty one. */
static inline bool codec_field_knows_null(const struct codec_field *field)
{
    return field->nullable.first <= field->nullable.last;
}

static inline bool codec_field_is(const struct codec_field *field, enum codec_flag flag)
{
    return (field->flags & flag) != 0;
}

static inline bool codec_message_is_flexible(const struct codec_message *message, int16_t version)
{
    return version >= message->flexible_first;
}

/* Bytes of one value in memory. */
size_t codec_value_bytes(const struct codec_field *field);
/* The least that one value takes on the wire. */
size_t codec_value_wire_bytes_min(const struct codec_field *field, bool flexible);

static inline void *codec_member(void *base, const struct codec_field *field)
{
    return (uint8_t *)base + field->offset;
}

static inline const void *codec_member_const(const void *base, const struct codec_field *field)
{
    return (const uint8_t *)base + field->offset;
}

/* An array's or nullable struct's pointer. memcpy, because its static type differs from field to field. */
static inline void *codec_pointer_get(const void *base, const struct codec_field *field)
{
    void *pointer = NULL;
    memcpy(&pointer, codec_member_const(base, field), sizeof(pointer));
    return pointer;
}

static inline void codec_pointer_set(void *base, const struct codec_field *field, void *pointer)
{
    memcpy(codec_member(base, field), &pointer, sizeof(pointer));
}

static inline size_t codec_count_get(const void *base, const struct codec_field *field)
{
    size_t count = 0;
    memcpy(&count, (const uint8_t *)base + field->count_offset, sizeof(count));
    return count;
}

static inline void codec_count_set(void *base, const struct codec_field *field, size_t count)
{
    memcpy((uint8_t *)base + field->count_offset, &count, sizeof(count));
}

static inline bool codec_records_are_null(const struct kmsg_records *records)
{
    return span_is_null(records->bytes) && records->external_bytes == 0;
}

/* Any integer kind, CODEC_BOOL included, as an int64. */
int64_t codec_integer_get(enum codec_kind kind, const void *value);
void codec_integer_set(enum codec_kind kind, void *value, int64_t integer);

void codec_field_set_default(const struct codec_field *field, void *base);
/* Null where the field knows no null counts as empty. */
bool codec_field_is_default(const struct codec_field *field, const void *base);

#endif

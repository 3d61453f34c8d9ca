#include "tests/unit/proto/random_message.h"

#include "proto/wire/codec_table.h"

#define RANDOM_ELEMENTS_MAX 3
#define RANDOM_STRING_BYTES_MAX 200

struct random_filler {
    struct prop *prop;
    struct arena *arena;
    int16_t version;
};

static void random_fill_struct(const struct random_filler *filler, const struct codec_struct *type, void *base);

static struct span random_text(const struct random_filler *filler)
{
    size_t bytes = prop_skewed(filler->prop, RANDOM_STRING_BYTES_MAX);
    uint8_t *text = arena_alloc(filler->arena, bytes + 1);
    for (size_t i = 0; i < bytes; i++) {
        text[i] = (uint8_t)prop_range(filler->prop, 1, 0x7e);
    }
    return span_make(text, bytes);
}

static void random_fill_value(const struct random_filler *filler, const struct codec_field *field, bool nullable,
                              void *value)
{
    struct prop *prop = filler->prop;
    switch ((enum codec_kind)field->kind) {
    case CODEC_BOOL:
    case CODEC_INT8:
    case CODEC_INT16:
    case CODEC_INT32:
    case CODEC_INT64:
    case CODEC_UINT16:
    case CODEC_UINT32:
        codec_integer_set((enum codec_kind)field->kind, value,
                          field->kind == CODEC_BOOL ? (int64_t)prop_below(prop, 2) : (int64_t)prop_u64(prop));
        return;
    case CODEC_FLOAT64:
        *(double *)value = (double)prop_range_signed(prop, -1000000, 1000000) / 64.0;
        return;
    case CODEC_UUID:
        prop_fill(prop, value, sizeof(struct uuid));
        return;
    case CODEC_STRING:
    case CODEC_BYTES:
        *(struct span *)value = nullable && prop_chance(prop, 1, 4) ? SPAN_NULL : random_text(filler);
        return;
    case CODEC_RECORDS:
        ((struct kmsg_records *)value)->bytes = nullable && prop_chance(prop, 1, 4) ? SPAN_NULL : random_text(filler);
        return;
    case CODEC_STRUCT:
        random_fill_struct(filler, field->child, value);
        return;
    }
}

static void random_fill_array(const struct random_filler *filler, const struct codec_field *field, bool nullable,
                              void *base)
{
    if (nullable && prop_chance(filler->prop, 1, 4)) {
        codec_pointer_set(base, field, NULL);
        codec_count_set(base, field, 0);
        return;
    }
    size_t count = prop_below(filler->prop, RANDOM_ELEMENTS_MAX + 1);
    size_t element_bytes = codec_value_bytes(field);
    uint8_t *elements = field->kind == CODEC_STRUCT ? codec_array(field->child, count, filler->arena)
                                                    : arena_array(filler->arena, count + 1, element_bytes);
    for (size_t i = 0; i < count; i++) {
        random_fill_value(filler, field, false, elements + i * element_bytes);
    }
    codec_pointer_set(base, field, elements);
    codec_count_set(base, field, count);
}

static void random_fill_struct(const struct random_filler *filler, const struct codec_struct *type, void *base)
{
    for (size_t i = 0; i < type->fields_count; i++) {
        const struct codec_field *field = &type->fields[i];
        bool nullable = codec_versions_have(field->nullable, filler->version);
        bool is_tagged = codec_versions_have(field->tagged, filler->version);
        if (!codec_versions_have(field->present, filler->version) || (is_tagged && prop_chance(filler->prop, 1, 3))) {
            continue;
        }
        if (codec_field_is(field, CODEC_ARRAY)) {
            random_fill_array(filler, field, nullable, base);
        } else if (!codec_field_is(field, CODEC_POINTER)) {
            random_fill_value(filler, field, nullable, codec_member(base, field));
        } else if (!nullable || prop_chance(filler->prop, 2, 3)) {
            void *value = codec_array(field->child, 1, filler->arena);
            random_fill_struct(filler, field->child, value);
            codec_pointer_set(base, field, value);
        }
    }
}

void random_message_fill(struct prop *prop, const struct codec_message *message, int16_t version, struct arena *arena,
                         void *body)
{
    struct random_filler filler = {.prop = prop, .arena = arena, .version = version};
    codec_set_defaults(message, body);
    random_fill_struct(&filler, message->body, body);
}

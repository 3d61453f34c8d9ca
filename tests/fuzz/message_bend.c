#include "tests/fuzz/message_bend.h"

#include "proto/wire/codec_table.h"

/* ---- choosing ---- */

static void visit(struct message_bend *bend, const struct codec_struct *type, void *base)
{
    for (size_t i = 0; i < type->fields_count; i++) {
        const struct codec_field *field = &type->fields[i];
        if (!codec_versions_have(field->present, bend->version)) {
            continue;
        }
        bend->seen_count++;
        if (prop_below(bend->prop, bend->seen_count) == 0) {
            bend->parent = type;
            bend->field = field;
            bend->base = base;
        }
        if (field->kind != CODEC_STRUCT) {
            continue;
        }
        if (codec_field_is(field, CODEC_ARRAY)) {
            uint8_t *elements = codec_pointer_get(base, field);
            size_t count = elements == NULL ? 0 : codec_count_get(base, field);
            for (size_t j = 0; j < count; j++) {
                visit(bend, field->child, elements + j * field->child->struct_bytes);
            }
        } else if (codec_field_is(field, CODEC_POINTER)) {
            void *value = codec_pointer_get(base, field);
            if (value != NULL) {
                visit(bend, field->child, value);
            }
        } else {
            visit(bend, field->child, codec_member(base, field));
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
static struct span bend_bytes(struct message_bend *bend, struct span before)
{
    struct prop *prop = bend->prop;
    size_t room = before.bytes + 64;
    uint8_t *copy = arena_alloc(bend->arena, room + 300);
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

static void bend_value(struct message_bend *bend, const struct codec_field *field, void *value)
{
    if (bend->draw_word != NULL && prop_chance(bend->prop, 1, 2) &&
        bend->draw_word(bend->prop, bend->arena, bend->parent, field, value)) {
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
        codec_integer_set((enum codec_kind)field->kind, value,
                          field->kind == CODEC_BOOL
                              ? codec_integer_get(CODEC_BOOL, value) == 0
                              : bend_integer(bend->prop, codec_integer_get((enum codec_kind)field->kind, value)));
        return;
    case CODEC_FLOAT64:
    case CODEC_UUID:
        prop_fill(bend->prop, value, field->kind == CODEC_UUID ? sizeof(struct uuid) : sizeof(double));
        return;
    case CODEC_STRING:
    case CODEC_BYTES:
        *(struct span *)value = bend_bytes(bend, *(struct span *)value);
        return;
    case CODEC_RECORDS:
        ((struct kmsg_records *)value)->bytes = bend_bytes(bend, ((struct kmsg_records *)value)->bytes);
        return;
    case CODEC_STRUCT:
        return; /* its fields are chosen for themselves */
    }
}

/* Null, empty, one less, one twice, one bent. */
static void bend_array(struct message_bend *bend, const struct codec_field *field, void *base)
{
    struct prop *prop = bend->prop;
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
        uint8_t *grown = arena_array(bend->arena, count + 1, element_bytes);
        if (grown != NULL) {
            memcpy(grown, elements, count * element_bytes);
            memcpy(grown + count * element_bytes, elements + prop_below(prop, count) * element_bytes, element_bytes);
            codec_pointer_set(base, field, grown);
            codec_count_set(base, field, count + 1);
        }
    } else {
        bend_value(bend, field, elements + prop_below(prop, count) * element_bytes);
    }
}

void message_bend(struct message_bend *bend, const struct codec_message *message, void *body)
{
    bend->seen_count = 0;
    bend->field = NULL;
    visit(bend, message->body, body);
    const struct codec_field *field = bend->field;
    if (field == NULL) {
        return; /* a message without fields */
    }
    if (codec_field_is(field, CODEC_ARRAY)) {
        bend_array(bend, field, bend->base);
    } else if (codec_field_is(field, CODEC_POINTER)) {
        bool is_null = codec_pointer_get(bend->base, field) == NULL;
        codec_pointer_set(bend->base, field, is_null ? codec_array(field->child, 1, bend->arena) : NULL);
    } else {
        bend_value(bend, field, codec_member(bend->base, field));
    }
}

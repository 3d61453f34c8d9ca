/* JSON in the shape of Kafka's own JsonConverter classes, for debugging, for tests that compare with Kafka, and for
 * `--output json`. */
#include "common/check.h"
#include "proto/wire/codec_table.h"

#include <ctype.h>
#include <math.h>
#include <openssl/evp.h>

struct codec_printer {
    struct bytebuf *text;
    enum err err;
    int16_t version;
};

static void codec_print_struct(struct codec_printer *printer, const struct codec_struct *type, const void *base);

#define CODEC_PRINT(printer, ...)                                                                                      \
    ((printer)->err = (printer)->err != ERR_OK ? (printer)->err : bytebuf_append_format((printer)->text, __VA_ARGS__))

static void codec_print_bytes(struct codec_printer *printer, const char *text, size_t bytes)
{
    if (printer->err == ERR_OK) {
        printer->err = bytebuf_append(printer->text, span_make(text, bytes));
    }
}

/* Bytes that are no ASCII pass through: strings of the protocol are UTF-8. */
static void codec_print_string(struct codec_printer *printer, struct span string)
{
    if (span_is_null(string)) {
        string = span_text("");
    }
    codec_print_bytes(printer, "\"", 1);
    size_t plain_start = 0;
    for (size_t i = 0; i < string.bytes; i++) {
        uint8_t byte = string.data[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7f) {
            continue;
        }
        codec_print_bytes(printer, (const char *)string.data + plain_start, i - plain_start);
        plain_start = i + 1;
        if (byte == '"' || byte == '\\') {
            CODEC_PRINT(printer, "\\%c", byte);
        } else {
            CODEC_PRINT(printer, "\\u%04x", byte);
        }
    }
    codec_print_bytes(printer, (const char *)string.data + plain_start, string.bytes - plain_start);
    codec_print_bytes(printer, "\"", 1);
}

static void codec_print_base64(struct codec_printer *printer, struct span bytes)
{
    enum { STEP_BYTES = 3 * 256 }; /* whole groups of three, so that padding comes only at the end */
    unsigned char encoded[STEP_BYTES / 3 * 4 + 1];

    codec_print_bytes(printer, "\"", 1);
    for (size_t pos = 0; pos < bytes.bytes; pos += STEP_BYTES) {
        size_t step_bytes = bytes.bytes - pos < STEP_BYTES ? bytes.bytes - pos : STEP_BYTES;
        int encoded_bytes = EVP_EncodeBlock(encoded, bytes.data + pos, (int)step_bytes);
        codec_print_bytes(printer, (const char *)encoded, (size_t)encoded_bytes);
    }
    codec_print_bytes(printer, "\"", 1);
}

static void codec_print_span(struct codec_printer *printer, const struct codec_field *field, struct span span)
{
    if (span_is_null(span) && codec_versions_have(field->nullable, printer->version)) {
        CODEC_PRINT(printer, "null");
    } else if (field->kind == CODEC_STRING) {
        codec_print_string(printer, span);
    } else {
        codec_print_base64(printer, span);
    }
}

static void codec_print_value(struct codec_printer *printer, const struct codec_field *field, const void *value)
{
    switch ((enum codec_kind)field->kind) {
    case CODEC_BOOL:
        CODEC_PRINT(printer, "%s", *(const bool *)value ? "true" : "false");
        return;
    case CODEC_INT8:
    case CODEC_INT16:
    case CODEC_INT32:
    case CODEC_INT64:
    case CODEC_UINT16:
    case CODEC_UINT32:
        CODEC_PRINT(printer, "%lld", (long long)codec_integer_get((enum codec_kind)field->kind, value));
        return;
    case CODEC_FLOAT64:
        /* JSON has no words for infinity and not-a-number; like Kafka, give them as strings. */
        CODEC_PRINT(printer, isfinite(*(const double *)value) ? "%.17g" : "\"%g\"", *(const double *)value);
        return;
    case CODEC_UUID: {
        char text[UUID_TEXT_BYTES];
        uuid_format(*(const struct uuid *)value, text);
        CODEC_PRINT(printer, "\"%s\"", text);
        return;
    }
    case CODEC_STRING:
    case CODEC_BYTES:
        codec_print_span(printer, field, *(const struct span *)value);
        return;
    case CODEC_RECORDS: {
        const struct kmsg_records *records = value;
        if (codec_records_are_null(records)) {
            CODEC_PRINT(printer, "null");
        } else {
            CODEC_PRINT(printer, "%zu", records->bytes.bytes + records->external_bytes);
        }
        return;
    }
    case CODEC_STRUCT:
        codec_print_struct(printer, field->child, value);
        return;
    }
    UNREACHABLE();
}

static void codec_print_array(struct codec_printer *printer, const struct codec_field *field, const void *base)
{
    const uint8_t *elements = codec_pointer_get(base, field);
    size_t count = codec_count_get(base, field);
    size_t element_bytes = codec_value_bytes(field);

    if (elements == NULL && codec_versions_have(field->nullable, printer->version)) {
        CODEC_PRINT(printer, "null");
        return;
    }
    CHECK(elements != NULL || count == 0);
    codec_print_bytes(printer, "[", 1);
    for (size_t i = 0; i < count; i++) {
        codec_print_bytes(printer, ",", i > 0 ? 1 : 0);
        codec_print_value(printer, field, elements + i * element_bytes);
    }
    codec_print_bytes(printer, "]", 1);
}

static void codec_print_field(struct codec_printer *printer, const struct codec_field *field, const void *base)
{
    /* Records are named as Kafka names them where it leaves their bytes out. */
    bool is_null_records = field->kind == CODEC_RECORDS && codec_records_are_null(codec_member_const(base, field));
    const char *suffix = field->kind == CODEC_RECORDS && !is_null_records ? "SizeInBytes" : "";
    CODEC_PRINT(printer, "\"%c%s%s\":", tolower((unsigned char)field->name[0]), field->name + 1, suffix);
    if (codec_field_is(field, CODEC_ARRAY)) {
        codec_print_array(printer, field, base);
    } else if (!codec_field_is(field, CODEC_POINTER)) {
        codec_print_value(printer, field, codec_member_const(base, field));
    } else if (codec_pointer_get(base, field) == NULL) {
        CODEC_PRINT(printer, "null");
    } else {
        codec_print_struct(printer, field->child, codec_pointer_get(base, field));
    }
}

static void codec_print_struct(struct codec_printer *printer, const struct codec_struct *type, const void *base)
{
    bool is_first = true;
    codec_print_bytes(printer, "{", 1);
    for (size_t i = 0; i < type->fields_count && printer->err == ERR_OK; i++) {
        const struct codec_field *field = &type->fields[i];
        if (!codec_versions_have(field->present, printer->version) ||
            (codec_versions_have(field->tagged, printer->version) && codec_field_is_default(field, base))) {
            continue;
        }
        codec_print_bytes(printer, ",", is_first ? 0 : 1);
        is_first = false;
        codec_print_field(printer, field, base);
    }
    codec_print_bytes(printer, "}", 1);
}

enum err codec_print_json(const struct codec_message *message, int16_t version, const void *body,
                          struct bytebuf *ret_text)
{
    if (!codec_versions_have(message->versions, version)) {
        return ERR_UNSUPPORTED;
    }
    struct codec_printer printer = {.text = ret_text, .version = version};
    codec_print_struct(&printer, message->body, body);
    return printer.err;
}

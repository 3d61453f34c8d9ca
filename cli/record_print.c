#include "cli/record_print.h"

#include "cli/escape.h"
#include "common/mem.h"

#include <inttypes.h>
#include <jansson.h>
#include <openssl/evp.h>

/* ---- formats ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that the escape behind a backslash stands for, and its characters; 0 when it is none. */
static size_t parse_escape(const char *at, char *ret_byte)
{
    switch (at[0]) {
    case 'n':
        *ret_byte = '\n';
        return 1;
    case 't':
        *ret_byte = '\t';
        return 1;
    case 'r':
        *ret_byte = '\r';
        return 1;
    case '\\':
        *ret_byte = '\\';
        return 1;
    case 'x':
        if (hex_digit(at[1]) < 0 || hex_digit(at[2]) < 0) {
            return 0;
        }
        *ret_byte = (char)(hex_digit(at[1]) * 16 + hex_digit(at[2]));
        return 3;
    default:
        return 0;
    }
}

enum err record_print_check(const char *format, size_t *ret_pos)
{
    for (size_t pos = 0; format[pos] != '\0'; pos++) {
        char byte = 0;
        size_t step = 1;
        if (format[pos] == '%') {
            step = format[pos + 1] != '\0' && strchr("tpoTkKvVsSh%", format[pos + 1]) != NULL ? 1 : 0;
        } else if (format[pos] == '\\') {
            step = parse_escape(format + pos + 1, &byte);
        } else {
            continue;
        }
        if (step == 0) {
            *ret_pos = pos;
            return ERR_INVALID;
        }
        pos += step;
    }
    return ERR_OK;
}

static enum err append_headers(const struct record_print *print, const struct record *record, struct bytebuf *output)
{
    struct span rest = record->header_bytes;
    struct record_header header;
    enum err err = ERR_OK;
    for (int32_t i = 0; i < record->header_count && err == ERR_OK; i++) {
        err = record_header_next(&rest, &header);
        if (err == ERR_OK && i > 0) {
            err = bytebuf_append(output, span_text(","));
        }
        if (err == ERR_OK) {
            err = escape_append(output, header.key, print->hides_controls);
        }
        if (err == ERR_OK) {
            err = bytebuf_append(output, span_text("="));
        }
        if (err == ERR_OK) {
            err = escape_append(output, header.value, print->hides_controls);
        }
    }
    return err;
}

static int64_t shown_bytes(struct span span)
{
    return span_is_null(span) ? -1 : (int64_t)span.bytes;
}

static enum err append_field(const struct record_print *print, char letter, int32_t partition,
                             const struct record *record, struct bytebuf *output)
{
    switch (letter) {
    case 't':
        return bytebuf_append(output, span_text(print->topic));
    case 'p':
        return bytebuf_append_format(output, "%" PRId32, partition);
    case 'o':
        return bytebuf_append_format(output, "%" PRId64, record->offset);
    case 'T':
        return bytebuf_append_format(output, "%" PRId64, record->timestamp_ms);
    case 'k':
        return escape_append(output, record->key, print->hides_controls);
    case 'K':
        return bytebuf_append_format(output, "%" PRId64, shown_bytes(record->key));
    case 'v':
    case 's':
        return escape_append(output, record->value, print->hides_controls);
    case 'V':
    case 'S':
        return bytebuf_append_format(output, "%" PRId64, shown_bytes(record->value));
    case 'h':
        return append_headers(print, record, output);
    default:
        CHECK(letter == '%');
        return bytebuf_append(output, span_text("%"));
    }
}

static enum err append_format(const struct record_print *print, int32_t partition, const struct record *record,
                              struct bytebuf *output)
{
    const char *at = print->format;
    enum err err = ERR_OK;
    while (*at != '\0' && err == ERR_OK) {
        char byte = 0;
        size_t plain_bytes = strcspn(at, "%\\");
        if (plain_bytes > 0) {
            err = bytebuf_append(output, span_make(at, plain_bytes));
            at += plain_bytes;
        } else if (*at == '%') {
            err = append_field(print, at[1], partition, record, output);
            at += 2;
        } else {
            size_t step = parse_escape(at + 1, &byte);
            CHECK(step > 0); /* record_print_check has seen it */
            err = bytebuf_append(output, span_make(&byte, 1));
            at += 1 + step;
        }
    }
    return err;
}

/* ---- JSON ---- */

/* Sets object[name] to the text, or object[base64_name] to the bytes. */
static void set_bytes(json_t *object, const char *name, const char *base64_name, struct span bytes)
{
    if (span_is_null(bytes)) {
        (void)json_object_set_new(object, name, json_null());
    } else if (escape_is_utf8(bytes)) {
        (void)json_object_set_new(object, name, json_stringn((const char *)bytes.data, bytes.bytes));
    } else {
        unsigned char *text = mem_alloc((bytes.bytes + 2) / 3 * 4 + 1);
        int text_bytes = EVP_EncodeBlock(text, bytes.data, (int)bytes.bytes);
        (void)json_object_set_new(object, base64_name, json_stringn((const char *)text, (size_t)text_bytes));
        mem_free(text);
    }
}

static enum err set_headers(json_t *object, const struct record *record)
{
    json_t *headers = json_array();
    (void)json_object_set_new(object, "headers", headers);
    struct span rest = record->header_bytes;
    for (int32_t i = 0; i < record->header_count; i++) {
        struct record_header header;
        enum err err = record_header_next(&rest, &header);
        if (err != ERR_OK) {
            return err;
        }
        json_t *item = json_object();
        set_bytes(item, "name", "name_base64", header.key);
        set_bytes(item, "value", "value_base64", header.value);
        (void)json_array_append_new(headers, item);
    }
    return ERR_OK;
}

static int append_json_part(const char *part, size_t bytes, void *output)
{
    return bytebuf_append(output, span_make(part, bytes)) == ERR_OK ? 0 : -1;
}

static enum err append_json(const struct record_print *print, int32_t partition, const struct record *record,
                            struct bytebuf *output)
{
    json_t *object = json_object();
    (void)json_object_set_new(object, "kind", json_string("record"));
    (void)json_object_set_new(object, "topic", json_string(print->topic));
    (void)json_object_set_new(object, "partition", json_integer(partition));
    (void)json_object_set_new(object, "offset", json_integer(record->offset));
    (void)json_object_set_new(object, "timestamp", json_integer(record->timestamp_ms));
    set_bytes(object, "key", "key_base64", record->key);
    set_bytes(object, "value", "value_base64", record->value);
    enum err err = set_headers(object, record);
    if (err == ERR_OK && json_dump_callback(object, append_json_part, output, JSON_COMPACT) != 0) {
        err = ERR_LIMIT;
    }
    json_decref(object);
    return err != ERR_OK ? err : bytebuf_append(output, span_text("\n"));
}

enum err record_print_append(const struct record_print *print, int32_t partition, const struct record *record,
                             struct bytebuf *output)
{
    return print->format == NULL ? append_json(print, partition, record, output)
                                 : append_format(print, partition, record, output);
}

/* Reads properties texts and environments. The file format is Java's, as Kafka's users know it: a logical line is a
 * name, then '=', ':' or a blank, then the value; a line that ends in an odd number of backslashes goes on in the
 * next; \t \n \r \f \uXXXX and \anything are escapes; '#' and '!' begin comments. Unlike Java, a line without a
 * separator is an error: it is a mistake more often than an empty value. */
#include "common/mem.h"
#include "common/option_internal.h"

#include <stdio.h>

#define LINE_BYTES_MAX 65536 /* of one logical line */
#define WHERE_BYTES 300

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\f' || byte == '\r';
}

static struct span skip_blanks(struct span text)
{
    while (text.bytes > 0 && is_blank(text.data[0])) {
        text = span_sub(text, 1, text.bytes - 1);
    }
    return text;
}

/* Takes one line off *rest, without its end. */
static struct span take_line(struct span *rest)
{
    const uint8_t *end = memchr(rest->data, '\n', rest->bytes);
    size_t line_bytes = end == NULL ? rest->bytes : (size_t)(end - rest->data);
    struct span line = span_sub(*rest, 0, line_bytes);
    size_t taken_bytes = end == NULL ? line_bytes : line_bytes + 1;
    *rest = span_sub(*rest, taken_bytes, rest->bytes - taken_bytes);
    if (line.bytes > 0 && line.data[line.bytes - 1] == '\r') {
        line.bytes--;
    }
    return line;
}

static bool is_continued(struct span line)
{
    size_t backslash_count = 0;
    while (backslash_count < line.bytes && line.data[line.bytes - 1 - backslash_count] == '\\') {
        backslash_count++;
    }
    return backslash_count % 2 == 1;
}

/* Joins the lines of one logical line into `ret_line`; false at the end of the text, ERR_LIMIT in *ret_err when too
   long. */
static bool take_logical_line(struct span *rest, unsigned *line_number, struct bytebuf *ret_line, enum err *ret_err)
{
    bytebuf_clear(ret_line);
    *ret_err = ERR_OK;
    if (rest->bytes == 0) {
        return false;
    }
    (*line_number)++;
    struct span line = skip_blanks(take_line(rest));
    bool is_comment = line.bytes > 0 && (line.data[0] == '#' || line.data[0] == '!');
    if (is_comment) {
        return true; /* an empty logical line; comments don't continue */
    }
    while (is_continued(line) && rest->bytes > 0 && *ret_err == ERR_OK) {
        *ret_err = bytebuf_append(ret_line, span_sub(line, 0, line.bytes - 1));
        (*line_number)++;
        line = skip_blanks(take_line(rest));
    }
    if (is_continued(line)) {
        line.bytes--; /* the last line of the text has nothing to go on in */
    }
    if (*ret_err == ERR_OK) {
        *ret_err = bytebuf_append(ret_line, line);
    }
    return true;
}

static int hex_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9'   ? byte - '0'
           : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
           : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                        : -1;
}

/* Writes the UTF-8 form; returns its bytes. */
static size_t utf8_write(uint32_t code_point, uint8_t *ret_bytes)
{
    if (code_point < 0x80) {
        ret_bytes[0] = (uint8_t)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        ret_bytes[0] = (uint8_t)(0xc0 | code_point >> 6);
        ret_bytes[1] = (uint8_t)(0x80 | (code_point & 0x3f));
        return 2;
    }
    ret_bytes[0] = (uint8_t)(0xe0 | code_point >> 12);
    ret_bytes[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
    ret_bytes[2] = (uint8_t)(0x80 | (code_point & 0x3f));
    return 3;
}

/* Four hex digits of \uXXXX; false when they are none, or one half of a surrogate pair (write UTF-8 instead). */
static bool code_point_parse(struct span digits, uint32_t *ret_code_point)
{
    uint32_t code_point = 0;
    if (digits.bytes < 4) {
        return false;
    }
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit(digits.data[i]);
        if (digit < 0) {
            return false;
        }
        code_point = code_point << 4 | (uint32_t)digit;
    }
    *ret_code_point = code_point;
    return code_point < 0xd800 || code_point > 0xdfff;
}

/* Resolves escapes; never longer than the input. `ret_bytes` has room for text.bytes. False for a bad \u. */
static bool unescape(struct span text, uint8_t *ret_bytes, size_t *ret_count)
{
    size_t count = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] != '\\' || i + 1 == text.bytes) {
            ret_bytes[count++] = text.data[i];
            continue;
        }
        uint8_t escaped = text.data[++i];
        uint32_t code_point = 0;
        switch (escaped) {
        case 't':
            ret_bytes[count++] = '\t';
            break;
        case 'n':
            ret_bytes[count++] = '\n';
            break;
        case 'r':
            ret_bytes[count++] = '\r';
            break;
        case 'f':
            ret_bytes[count++] = '\f';
            break;
        case 'u':
            if (!code_point_parse(span_sub(text, i + 1, text.bytes - i - 1), &code_point)) {
                return false;
            }
            count += utf8_write(code_point, ret_bytes + count);
            i += 4;
            break;
        default:
            ret_bytes[count++] = escaped;
            break;
        }
    }
    *ret_count = count;
    return true;
}

/* Splits at the first separator that is not escaped; false without one. */
static bool split(struct span line, struct span *ret_name, struct span *ret_value)
{
    size_t end = 0;
    while (end < line.bytes && line.data[end] != '=' && line.data[end] != ':' && !is_blank(line.data[end])) {
        end += line.data[end] == '\\' ? 2 : 1;
    }
    if (end >= line.bytes) {
        return false;
    }
    *ret_name = span_sub(line, 0, end);
    struct span rest = skip_blanks(span_sub(line, end, line.bytes - end));
    if (rest.bytes > 0 && (rest.data[0] == '=' || rest.data[0] == ':')) {
        rest = skip_blanks(span_sub(rest, 1, rest.bytes - 1));
    } else if (rest.bytes == 0) {
        return false; /* only blanks behind the name */
    }
    *ret_value = rest;
    return true;
}

static enum err assign_line(const struct option_table *table, void *values, struct span line, const char *where,
                            struct option_problem *problem)
{
    struct span name = SPAN_NULL;
    struct span value = SPAN_NULL;
    if (!split(line, &name, &value)) {
        option_problem_say(problem, where, "expected name=value, found \"%.*s\"",
                           (int)(line.bytes < 80 ? line.bytes : 80), (const char *)line.data);
        return ERR_INVALID;
    }
    uint8_t *plain = mem_alloc(line.bytes);
    size_t name_bytes = 0;
    size_t value_bytes = 0;
    enum err err = ERR_INVALID;
    if (!unescape(name, plain, &name_bytes) || !unescape(value, plain + name_bytes, &value_bytes)) {
        option_problem_say(problem, where, "\\u must be followed by four hexadecimal digits of a character");
    } else {
        struct span plain_name = span_make(plain, name_bytes);
        const struct option_row *row = option_find(table, plain_name);
        err = ERR_NOT_FOUND;
        if (row == NULL) {
            option_say_unknown(table, plain_name, NULL, where, problem);
        } else {
            err = option_assign_row(row, values, span_make(plain + name_bytes, value_bytes), where, problem);
        }
    }
    mem_free(plain);
    return err;
}

enum err option_parse_properties(const struct option_table *table, void *values, struct span text, const char *where,
                                 struct option_problem *ret_problem)
{
    *ret_problem = (struct option_problem){.text = ""};
    struct span rest = text;
    if (rest.bytes >= 3 && memcmp(rest.data, "\xef\xbb\xbf", 3) == 0) {
        rest = span_sub(rest, 3, rest.bytes - 3); /* an editor's byte order mark */
    }
    struct bytebuf line;
    bytebuf_init(&line, LINE_BYTES_MAX);
    unsigned line_number = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK) {
        char line_where[WHERE_BYTES];
        (void)snprintf(line_where, sizeof(line_where), "%s:%u", where, line_number + 1);
        if (!take_logical_line(&rest, &line_number, &line, &err)) {
            break;
        }
        if (err != ERR_OK) {
            option_problem_say(ret_problem, line_where, "the line is longer than %d bytes", LINE_BYTES_MAX);
        } else if (line.bytes > 0) {
            err = assign_line(table, values, bytebuf_span(&line), line_where, ret_problem);
        }
    }
    bytebuf_done(&line);
    return err == ERR_LIMIT ? ERR_INVALID : err;
}

static const struct option_row *find_by_variable(const struct option_table *table, struct span variable,
                                                 const char *prefix)
{
    for (size_t i = 0; i < table->row_count; i++) {
        char name[OPTION_NAME_BYTES_MAX];
        option_environment_name(prefix, table->rows[i].name, name, sizeof(name));
        if (span_equal_text(variable, name)) {
            return &table->rows[i];
        }
    }
    return NULL;
}

enum err option_parse_environment(const struct option_table *table, void *values, const char *const *environment,
                                  const char *prefix, struct option_problem *ret_problem)
{
    *ret_problem = (struct option_problem){.text = ""};
    for (size_t i = 0; environment[i] != NULL; i++) {
        const char *equals = strchr(environment[i], '=');
        if (equals == NULL || strncmp(environment[i], prefix, strlen(prefix)) != 0) {
            continue;
        }
        struct span variable = span_make(environment[i], (size_t)(equals - environment[i]));
        char where[WHERE_BYTES];
        (void)snprintf(where, sizeof(where), "environment variable %.*s",
                       (int)(variable.bytes < OPTION_NAME_BYTES_MAX ? variable.bytes : OPTION_NAME_BYTES_MAX),
                       (const char *)variable.data);
        const struct option_row *row = find_by_variable(table, variable, prefix);
        if (row == NULL) {
            option_say_unknown(table, variable, prefix, "environment", ret_problem);
            return ERR_NOT_FOUND;
        }
        enum err err = option_assign_row(row, values, span_text(equals + 1), where, ret_problem);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

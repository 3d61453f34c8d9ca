#include "common/option.h"

#include "common/mem.h"
#include "common/option_internal.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_TEXT_BYTES 64

void option_problem_say(struct option_problem *problem, const char *where, const char *format, ...)
{
    size_t used = 0;
    if (where != NULL) {
        used = (size_t)snprintf(problem->text, sizeof(problem->text), "%s: ", where);
        used = used < sizeof(problem->text) ? used : sizeof(problem->text) - 1;
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(problem->text + used, sizeof(problem->text) - used, format, args);
    va_end(args);
}

const struct option_row *option_find(const struct option_table *table, struct span name)
{
    for (size_t i = 0; i < table->row_count; i++) {
        if (span_equal_text(name, table->rows[i].name)) {
            return &table->rows[i];
        }
    }
    return NULL;
}

static struct span trim(struct span text)
{
    if (span_is_null(text)) {
        return span_text("");
    }
    while (text.bytes > 0 && isspace(text.data[0])) {
        text = span_sub(text, 1, text.bytes - 1);
    }
    while (text.bytes > 0 && isspace(text.data[text.bytes - 1])) {
        text.bytes--;
    }
    return text;
}

/* A value of any type, on its way from the text to the struct. Text is borrowed. */
struct option_value {
    bool is_true;
    int64_t number;
    double real;
    struct span text;
};

static bool parse_whole(const struct option_row *row, struct span text, int64_t *ret_number)
{
    char copy[NUMBER_TEXT_BYTES];
    size_t digits_start = text.bytes > 0 && (text.data[0] == '-' || text.data[0] == '+') ? 1 : 0;
    if (text.bytes >= sizeof(copy) || text.bytes == digits_start) {
        return false;
    }
    for (size_t i = digits_start; i < text.bytes; i++) {
        if (!isdigit(text.data[i])) {
            return false;
        }
    }
    memcpy(copy, text.data, text.bytes);
    copy[text.bytes] = '\0';
    errno = 0;
    long long number = strtoll(copy, NULL, 10);
    int64_t least = row->type == OPTION_INT ? INT32_MIN + 1 : INT64_MIN + 1; /* the least of all means null */
    int64_t most = row->type == OPTION_INT ? INT32_MAX : INT64_MAX;
    if (option_has_bounds(row)) {
        least = row->min > least ? row->min : least;
        most = row->max < most ? row->max : most;
    }
    if (errno != 0 || number < least || number > most) {
        return false;
    }
    *ret_number = number;
    return true;
}

static bool parse_real(const struct option_row *row, struct span text, double *ret_real)
{
    char copy[NUMBER_TEXT_BYTES];
    if (text.bytes == 0 || text.bytes >= sizeof(copy)) {
        return false;
    }
    for (size_t i = 0; i < text.bytes; i++) {
        if (!isdigit(text.data[i]) && strchr("+-.eE", text.data[i]) == NULL) {
            return false; /* no hexadecimal, no infinity, no zero byte */
        }
    }
    memcpy(copy, text.data, text.bytes);
    copy[text.bytes] = '\0';
    char *end = NULL;
    double real = strtod(copy, &end);
    if (*end != '\0' || !isfinite(real) ||
        (option_has_bounds(row) && (real < (double)row->min || real > (double)row->max))) {
        return false;
    }
    *ret_real = real;
    return true;
}

static bool parse_bool(struct span text, bool *ret_is_true)
{
    bool is_true = text.bytes == 4 && strncasecmp((const char *)text.data, "true", 4) == 0;
    bool is_false = text.bytes == 5 && strncasecmp((const char *)text.data, "false", 5) == 0;
    *ret_is_true = is_true;
    return is_true || is_false;
}

/* Takes the next word of a comma-separated list off *rest, trimmed; false at the end. */
static bool list_next(struct span *rest, struct span *ret_word)
{
    if (rest->data == NULL) {
        return false;
    }
    const uint8_t *comma = memchr(rest->data, ',', rest->bytes);
    size_t word_bytes = comma == NULL ? rest->bytes : (size_t)(comma - rest->data);
    *ret_word = trim(span_sub(*rest, 0, word_bytes));
    *rest = comma == NULL ? SPAN_NULL : span_sub(*rest, word_bytes + 1, rest->bytes - word_bytes - 1);
    return true;
}

static bool is_accepted_word(const struct option_row *row, struct span word)
{
    struct span rest = span_text(row->accepted);
    struct span accepted;
    while (list_next(&rest, &accepted)) {
        if (span_equal(accepted, word)) {
            return true;
        }
    }
    return false;
}

static bool is_accepted_list(const struct option_row *row, struct span text)
{
    if (row->accepted == NULL || text.bytes == 0) {
        return true;
    }
    struct span rest = text;
    struct span word;
    while (list_next(&rest, &word)) {
        if (!is_accepted_word(row, word)) {
            return false;
        }
    }
    return true;
}

static bool value_parse(const struct option_row *row, struct span text, struct option_value *ret_value)
{
    ret_value->text = text;
    switch (row->type) {
    case OPTION_BOOL:
        return parse_bool(text, &ret_value->is_true);
    case OPTION_INT:
    case OPTION_LONG:
        return parse_whole(row, text, &ret_value->number);
    case OPTION_DOUBLE:
        return parse_real(row, text, &ret_value->real);
    case OPTION_LIST:
        return is_accepted_list(row, text) && memchr(text.data, '\0', text.bytes) == NULL;
    case OPTION_ENUM:
        return is_accepted_word(row, text);
    case OPTION_TEXT:
        return memchr(text.data, '\0', text.bytes) == NULL;
    }
    UNREACHABLE();
}

static void *row_member(const struct option_row *row, void *values)
{
    return (char *)values + row->offset;
}

static const void *row_member_const(const struct option_row *row, const void *values)
{
    return (const char *)values + row->offset;
}

static bool is_text_type(enum option_type type)
{
    return type == OPTION_TEXT || type == OPTION_LIST || type == OPTION_ENUM;
}

/* `value` NULL: null. Text that is there is freed. */
static void value_store(const struct option_row *row, void *values, const struct option_value *value)
{
    void *member = row_member(row, values);
    switch (row->type) {
    case OPTION_BOOL:
        *(bool *)member = value != NULL && value->is_true;
        return;
    case OPTION_INT:
        *(int32_t *)member = value == NULL ? OPTION_INT_NULL : (int32_t)value->number;
        return;
    case OPTION_LONG:
        *(int64_t *)member = value == NULL ? OPTION_LONG_NULL : value->number;
        return;
    case OPTION_DOUBLE:
        *(double *)member = value == NULL ? (double)NAN : value->real;
        return;
    case OPTION_TEXT:
    case OPTION_LIST:
    case OPTION_ENUM:
        mem_free(*(char **)member);
        *(char **)member = value == NULL ? NULL : mem_format("%.*s", (int)value->text.bytes, value->text.data);
        return;
    }
    UNREACHABLE();
}

void option_set_defaults(const struct option_table *table, void *values)
{
    for (size_t i = 0; i < table->row_count; i++) {
        const struct option_row *row = &table->rows[i];
        struct option_value value = {.number = 0};
        if (is_text_type(row->type)) {
            *(char **)row_member(row, values) = NULL;
        }
        if (row->default_text == NULL) {
            CHECK(row->type != OPTION_BOOL);
            value_store(row, values, NULL);
        } else {
            CHECK(value_parse(row, span_text(row->default_text), &value)); /* a default obeys its own row */
            value_store(row, values, &value);
        }
    }
}

void option_values_done(const struct option_table *table, void *values)
{
    for (size_t i = 0; i < table->row_count; i++) {
        if (is_text_type(table->rows[i].type)) {
            char **member = row_member(&table->rows[i], values);
            mem_free(*member);
            *member = NULL;
        }
    }
}

enum err option_check(const struct option_row *row, struct span text, struct option_problem *ret_problem)
{
    struct option_value value = {.number = 0};
    struct span trimmed = trim(text);
    if (!value_parse(row, trimmed, &value)) {
        option_say_bad_value(row, trimmed, NULL, ret_problem);
        return ERR_INVALID;
    }
    return ERR_OK;
}

enum err option_assign_row(const struct option_row *row, void *values, struct span text, const char *where,
                           struct option_problem *problem)
{
    struct option_value value = {.number = 0};
    struct span trimmed = trim(text);
    if (!value_parse(row, trimmed, &value)) {
        option_say_bad_value(row, trimmed, where, problem);
        return ERR_INVALID;
    }
    value_store(row, values, &value);
    if (!row->is_acted_on) {
        size_t used = strlen(problem->notes);
        (void)snprintf(problem->notes + used, sizeof(problem->notes) - used,
                       "%s: %s is accepted but not acted on yet\n", where, row->name);
    }
    return ERR_OK;
}

enum err option_assign(const struct option_table *table, void *values, struct span name, struct span text,
                       const char *where, struct option_problem *ret_problem)
{
    *ret_problem = (struct option_problem){.text = ""};
    const struct option_row *row = option_find(table, trim(name));
    if (row == NULL) {
        option_say_unknown(table, trim(name), NULL, where, ret_problem);
        return ERR_NOT_FOUND;
    }
    return option_assign_row(row, values, text, where, ret_problem);
}

/* The shortest text that reads back as the same number. */
static enum err real_format(double real, struct bytebuf *ret_text)
{
    char text[NUMBER_TEXT_BYTES];
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, real);
        if (!(strtod(text, NULL) < real) && !(strtod(text, NULL) > real)) {
            break;
        }
    }
    return bytebuf_append(ret_text, span_text(text));
}

enum err option_format(const struct option_row *row, const void *values, struct bytebuf *ret_text, bool *ret_is_null)
{
    const void *member = row_member_const(row, values);
    int64_t number = 0;
    *ret_is_null = false;
    switch (row->type) {
    case OPTION_BOOL:
        return bytebuf_append(ret_text, span_text(*(const bool *)member ? "true" : "false"));
    case OPTION_INT:
        *ret_is_null = *(const int32_t *)member == OPTION_INT_NULL;
        number = *(const int32_t *)member;
        break;
    case OPTION_LONG:
        *ret_is_null = *(const int64_t *)member == OPTION_LONG_NULL;
        number = *(const int64_t *)member;
        break;
    case OPTION_DOUBLE:
        *ret_is_null = isnan(*(const double *)member);
        return *ret_is_null ? ERR_OK : real_format(*(const double *)member, ret_text);
    case OPTION_TEXT:
    case OPTION_LIST:
    case OPTION_ENUM: {
        const char *text = *(char *const *)member;
        *ret_is_null = text == NULL;
        return text == NULL ? ERR_OK : bytebuf_append(ret_text, span_text(text));
    }
    }
    return *ret_is_null ? ERR_OK : bytebuf_append_format(ret_text, "%lld", (long long)number);
}

bool option_is_default(const struct option_row *row, const void *values)
{
    struct bytebuf text;
    bool is_null = false;
    bytebuf_init(&text, SIZE_MAX);
    CHECK(option_format(row, values, &text, &is_null) == ERR_OK);
    struct option_value now = {.number = 0};
    struct option_value at_first = {.number = 0};
    bool is_default = is_null && row->default_text == NULL;
    if (!is_null && row->default_text != NULL) {
        CHECK(value_parse(row, span_text(row->default_text), &at_first));
        is_default = value_parse(row, span_make(text.bytes == 0 ? (const void *)"" : text.data, text.bytes), &now) &&
                     now.is_true == at_first.is_true && now.number == at_first.number && !(now.real < at_first.real) &&
                     !(now.real > at_first.real) && (!is_text_type(row->type) || span_equal(now.text, at_first.text));
    }
    bytebuf_done(&text);
    return is_default;
}

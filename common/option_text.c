/* What people read of options: suggestions for names that don't exist, and the generated tables. */
#include "common/near_name.h"
#include "common/option_internal.h"

#include <ctype.h>
#include <stdio.h>

#define SUGGESTIONS_MAX 3
#define SHOWN_VALUE_BYTES_MAX 80 /* of a bad value in a problem's text */

static void range_text(const struct option_row *row, char *ret_text, size_t ret_bytes)
{
    int64_t top = row->type == OPTION_INT ? INT32_MAX : INT64_MAX;
    if (!option_has_bounds(row)) {
        ret_text[0] = '\0';
    } else if (row->max >= top) {
        (void)snprintf(ret_text, ret_bytes, " of at least %lld", (long long)row->min);
    } else {
        (void)snprintf(ret_text, ret_bytes, " from %lld to %lld", (long long)row->min, (long long)row->max);
    }
}

/* "a whole number from 1 to 100 (ms)" */
void option_accepted_text(const struct option_row *row, char *ret_text, size_t ret_bytes)
{
    char range[64];
    char unit[32] = "";
    range_text(row, range, sizeof(range));
    if (row->unit != NULL && row->unit[0] != '\0') {
        (void)snprintf(unit, sizeof(unit), " (%s)", row->unit);
    }
    switch (row->type) {
    case OPTION_BOOL:
        (void)snprintf(ret_text, ret_bytes, "true or false");
        return;
    case OPTION_INT:
    case OPTION_LONG:
        (void)snprintf(ret_text, ret_bytes, "a whole number%s%s", range, unit);
        return;
    case OPTION_DOUBLE:
        (void)snprintf(ret_text, ret_bytes, "a number%s%s", range, unit);
        return;
    case OPTION_LIST:
        (void)snprintf(ret_text, ret_bytes, row->accepted == NULL ? "a list, separated by commas" : "a list of: %s",
                       row->accepted);
        return;
    case OPTION_ENUM:
        (void)snprintf(ret_text, ret_bytes, "one of: %s", row->accepted);
        return;
    case OPTION_TEXT:
        (void)snprintf(ret_text, ret_bytes, "text without zero bytes");
        return;
    }
    UNREACHABLE();
}

void option_say_bad_value(const struct option_row *row, struct span text, const char *where,
                          struct option_problem *problem)
{
    char accepted[OPTION_PROBLEM_BYTES / 2];
    option_accepted_text(row, accepted, sizeof(accepted));
    if (row->is_secret) {
        option_problem_say(problem, where, "the value of %s (not shown) is not acceptable: it must be %s", row->name,
                           accepted);
        return;
    }
    bool is_cut = text.bytes > SHOWN_VALUE_BYTES_MAX;
    option_problem_say(problem, where, "%s is \"%.*s%s\", but it must be %s", row->name,
                       (int)(is_cut ? SHOWN_VALUE_BYTES_MAX : text.bytes), (const char *)text.data, is_cut ? "..." : "",
                       accepted);
}

void option_environment_name(const char *prefix, const char *name, char *ret_name, size_t ret_bytes)
{
    (void)snprintf(ret_name, ret_bytes, "%s%s", prefix, name);
    for (char *next = ret_name + strnlen(prefix, ret_bytes - 1); *next != '\0'; next++) {
        *next = *next == '.' || *next == '-' ? '_' : (char)toupper((unsigned char)*next);
    }
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

struct suggestion {
    char name[OPTION_NAME_BYTES_MAX];
    size_t distance;
};

/* Keeps the SUGGESTIONS_MAX nearest, nearest first, earlier rows first among equals. */
static void suggestions_add(struct suggestion *suggestions, size_t *count, const char *name, size_t distance)
{
    size_t place = *count;
    while (place > 0 && suggestions[place - 1].distance > distance) {
        place--;
    }
    if (place == SUGGESTIONS_MAX) {
        return;
    }
    *count = *count < SUGGESTIONS_MAX ? *count + 1 : SUGGESTIONS_MAX;
    for (size_t i = *count - 1; i > place; i--) {
        suggestions[i] = suggestions[i - 1];
    }
    (void)snprintf(suggestions[place].name, sizeof(suggestions[place].name), "%s", name);
    suggestions[place].distance = distance;
}

void option_say_unknown(const struct option_table *table, struct span name, const char *environment_prefix,
                        const char *where, struct option_problem *problem)
{
    struct suggestion suggestions[SUGGESTIONS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < table->row_count && name.bytes < OPTION_NAME_BYTES_MAX; i++) {
        char shown[OPTION_NAME_BYTES_MAX];
        if (environment_prefix != NULL) {
            option_environment_name(environment_prefix, table->rows[i].name, shown, sizeof(shown));
        } else {
            (void)snprintf(shown, sizeof(shown), "%s", table->rows[i].name);
        }
        size_t distance = near_name_distance(name, span_text(shown));
        if (near_name_is_near(name, distance)) {
            suggestions_add(suggestions, &count, shown, distance);
        }
    }
    char near_names[SUGGESTIONS_MAX * (OPTION_NAME_BYTES_MAX + 4)] = "";
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(near_names);
        (void)snprintf(near_names + used, sizeof(near_names) - used, "%s%.*s", i == 0 ? "" : " or ",
                       OPTION_NAME_BYTES_MAX - 1, suggestions[i].name);
    }
    int shown_bytes = (int)least(name.bytes, OPTION_NAME_BYTES_MAX);
    if (count > 0) {
        option_problem_say(problem, where, "there is no option \"%.*s\"; did you mean %s?", shown_bytes,
                           (const char *)name.data, near_names);
    } else {
        option_problem_say(problem, where, "there is no option \"%.*s\"; `moldau server --help` lists them",
                           shown_bytes, (const char *)name.data);
    }
}

static const char *change_text(enum option_change change)
{
    switch (change) {
    case OPTION_AT_START:
        return "at start";
    case OPTION_CLUSTER_WIDE:
        return "while running, cluster-wide";
    case OPTION_PER_BROKER:
        return "while running, per broker";
    case OPTION_PER_TOPIC:
        return "while running, per topic";
    }
    UNREACHABLE();
}

enum err option_table_markdown(const struct option_table *table, struct bytebuf *ret_text)
{
    enum err err = bytebuf_append(
        ret_text, span_text("| option | accepts | default | changed | meaning |\n|---|---|---|---|---|\n"));
    for (size_t i = 0; i < table->row_count && err == ERR_OK; i++) {
        const struct option_row *row = &table->rows[i];
        char accepted[OPTION_PROBLEM_BYTES / 2];
        option_accepted_text(row, accepted, sizeof(accepted));
        const char *default_text = row->default_text == NULL      ? "none"
                                   : row->default_text[0] == '\0' ? "empty"
                                                                  : row->default_text;
        err = bytebuf_append_format(ret_text, "| `%s` | %s | %s | %s | %s%s%s |\n", row->name,
                                    row->type == OPTION_TEXT ? "text" : accepted, default_text,
                                    change_text(row->change), row->doc, row->is_secret ? " Secret: never shown." : "",
                                    row->is_acted_on ? "" : " *Accepted but not acted on yet.*");
    }
    return err;
}

/* option: settings as rows of tables. Parsing (file, --set, environment), range checks, DescribeConfigs, --help and
 * docs/options.md all come from the rows.
 *
 * Shape:     a row names a member of a plain struct by its offset; values are stored there typed. Text lists are
 *            kept as text.
 * Units:     say it in the row: "ms", "bytes", "" ...
 * Errors:    parse errors return ERR_INVALID or ERR_NOT_FOUND and fill a struct option_problem with one clear sentence:
 *            where (file and line, --set, variable), what was found, what is accepted, and near names for unknown ones.
 * Ownership: text values are owned by the options struct (option_values_done frees them).
 * Threads:   a value.
 */
#ifndef COMMON_OPTION_H
#define COMMON_OPTION_H

#include "common/bytebuf.h"

enum option_type {
    OPTION_BOOL,   /* bool */
    OPTION_INT,    /* int32_t */
    OPTION_LONG,   /* int64_t */
    OPTION_DOUBLE, /* double */
    OPTION_TEXT,   /* char *, NULL when the default is null */
    OPTION_LIST,   /* char *, comma-separated */
    OPTION_ENUM,   /* char *, one of `accepted` (comma-separated) */
};

enum option_change {
    OPTION_AT_START,     /* read once */
    OPTION_CLUSTER_WIDE, /* may be changed while running, for all nodes */
    OPTION_PER_BROKER,   /* may be changed while running, per node */
    OPTION_PER_TOPIC,    /* a topic's own setting, may be changed while running */
};

struct option_row {
    const char *name; /* Kafka's name where the idea is Kafka's */
    enum option_type type;
    const char *unit; /* "ms", "bytes", "" */
    int64_t min;      /* numbers only; min == max == 0: no bound */
    int64_t max;
    const char *default_text; /* NULL: null; not for bool */
    const char *accepted;     /* OPTION_ENUM, OPTION_LIST: accepted words, NULL: any */
    enum option_change change;
    bool is_secret;
    bool is_acted_on; /* false: accepted but not acted on yet; said where it is set */
    const char *doc;  /* one or two sentences */
    size_t offset;    /* of the member in the options struct */
};

struct option_table {
    const struct option_row *rows;
    size_t row_count;
};

#define OPTION_PROBLEM_BYTES 512
#define OPTION_NOTES_BYTES 1024

/* What a null number is stored as (a null double is NaN; a bool can't be null). */
#define OPTION_INT_NULL INT32_MIN
#define OPTION_LONG_NULL INT64_MIN

/* Filled by the calls below, which empty it first. */
struct option_problem {
    char text[OPTION_PROBLEM_BYTES]; /* one sentence, empty on success */
    char notes[OPTION_NOTES_BYTES];  /* lines on what was accepted but is not acted on yet */
};

const struct option_row *option_find(const struct option_table *table, struct span name);
/* Fills every member with its default; the struct holds nothing yet. A default that breaks its own row ends the
   process. */
void option_set_defaults(const struct option_table *table, void *values);
void option_values_done(const struct option_table *table, void *values);
/* `where` begins the problem's sentence, "server.properties:12", "--set", "MOLDAU_LOG_DIRS". */
enum err option_assign(const struct option_table *table, void *values, struct span name, struct span text,
                       const char *where, struct option_problem *ret_problem) MUST_USE;
/* Properties text as Java reads it: name=value, name: value or name value, '#' and '!' comments, '\' continues a
 * line and escapes; of a name that is set twice the last counts. `where` is the file's name. Stops at the first
 * problem; what came before it is assigned. */
enum err option_parse_properties(const struct option_table *table, void *values, struct span text, const char *where,
                                 struct option_problem *ret_problem) MUST_USE;
/* "NAME=value" pairs as in environ; only names that begin with `prefix` ("MOLDAU_") and match a row count: log.dirs is
 * MOLDAU_LOG_DIRS. An unknown MOLDAU_ name is an error. */
enum err option_parse_environment(const struct option_table *table, void *values, const char *const *environment,
                                  const char *prefix, struct option_problem *ret_problem) MUST_USE;
/* Whether the value equals the default (DescribeConfigs tells the source of a value). */
bool option_is_default(const struct option_row *row, const void *values);
/* Check one value against a row without storing it (topic configs, AlterConfigs). */
enum err option_check(const struct option_row *row, struct span text, struct option_problem *ret_problem) MUST_USE;
/* The current value as text; *ret_is_null for null. */
enum err option_format(const struct option_row *row, const void *values, struct bytebuf *ret_text,
                       bool *ret_is_null) MUST_USE;
/* Markdown table of the rows, for docs/options.md and --help. */
enum err option_table_markdown(const struct option_table *table, struct bytebuf *ret_text) MUST_USE;

#endif

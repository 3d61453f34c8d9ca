/* arguments: the words behind a verb: flags by one table per verb, from which the help text comes too.
 *
 * Shape:     --name value, --name=value, --name for switches, `--` ends the flags; everything else is positional.
 *            --bootstrap-server, --output, --timeout-ms and --help belong to every verb that talks to a cluster.
 * Errors:    one sentence on standard error with the nearest name of an unknown flag; the caller ends with
 *            VERB_USAGE.
 * Ownership: values are borrowed from the argument vector.
 * Threads:   a value.
 */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include "cli/verb.h"
#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VERB_OK 0
#define VERB_FAILED 1
#define VERB_USAGE 2

#define ARGUMENTS_FLAGS_MAX 32
#define ARGUMENTS_VALUES_MAX 64 /* of one flag that may be repeated, and of positional words */

struct flag {
    const char *name;       /* without the dashes */
    const char *value_name; /* NULL: a switch */
    const char *doc;
    bool is_repeated;
};

struct command {
    const char *name;     /* "topic create" */
    const char *words;    /* "NAME..." */
    const char *summary;  /* one line */
    const char *examples; /* lines, or NULL */
    const struct flag *flags;
    size_t flag_count;
    size_t word_count_min;
    size_t word_count_max;
};

struct flag_values {
    const char *values[ARGUMENTS_VALUES_MAX];
    size_t count;
};

struct arguments {
    const struct command *command;
    struct flag_values flags[ARGUMENTS_FLAGS_MAX]; /* in the order of command->flags, then the common ones */
    struct flag_values words;
    const struct verb_call *call;
    bool wants_help;
};

/* ERR_INVALID after having said why. With wants_help set the help was printed and the verb is done. */
enum err arguments_parse(struct arguments *arguments, const struct command *command, const struct verb_call *call,
                         int first_index) MUST_USE;
void arguments_print_help(const struct command *command);

/* The last value, or NULL when the flag was not given. A switch has the value "". */
const char *arguments_get(const struct arguments *arguments, const char *flag_name);
bool arguments_has(const struct arguments *arguments, const char *flag_name);
const struct flag_values *arguments_all(const struct arguments *arguments, const char *flag_name);
/* Whole numbers in [min, max]; says why and returns ERR_INVALID otherwise. Not given: the default. */
enum err arguments_number(const struct arguments *arguments, const char *flag_name, int64_t min, int64_t max,
                          int64_t default_value, int64_t *ret_value) MUST_USE;
/* --bootstrap-server, else MOLDAU_BOOTSTRAP_SERVER, else 127.0.0.1:9092. */
const char *arguments_bootstrap(const struct arguments *arguments);
bool arguments_wants_json(const struct arguments *arguments);

/* One sentence on standard error, behind "moldau VERB: ". */
void arguments_complain(const struct command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

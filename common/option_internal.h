/* option_internal: what the files of option share; private to them.
 *
 * Shape:     option.c holds values, option_parse.c reads files and environments, option_text.c makes the texts for
 *            people.
 */
#ifndef COMMON_OPTION_INTERNAL_H
#define COMMON_OPTION_INTERNAL_H

#include "common/option.h"

/* Sets the problem's text, "where: ..." when `where` is not NULL. */
void option_problem_say(struct option_problem *problem, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "unknown option x; did you mean y?" With a prefix, names are shown as environment variables. */
void option_say_unknown(const struct option_table *table, struct span name, const char *environment_prefix,
                        const char *where, struct option_problem *problem);
/* "x is "5", but it must be ...", without the value of a secret. */
void option_say_bad_value(const struct option_row *row, struct span text, const char *where,
                          struct option_problem *problem);
/* As option_assign, for a row that was found; adds to the problem's notes. */
enum err option_assign_row(const struct option_row *row, void *values, struct span text, const char *where,
                           struct option_problem *problem) MUST_USE;
/* "a whole number from 1 to 100 (ms)" */
void option_accepted_text(const struct option_row *row, char *ret_text, size_t ret_bytes);
/* "log.dirs" -> "MOLDAU_LOG_DIRS", cut to fit. */
void option_environment_name(const char *prefix, const char *name, char *ret_name, size_t ret_bytes);

static inline bool option_has_bounds(const struct option_row *row)
{
    return row->min != 0 || row->max != 0;
}

#define OPTION_NAME_BYTES_MAX 128 /* longest name that is compared with others */

#endif

#include "cli/command_table.h"

#include <stdio.h>
#include <string.h>

/* Behind "VERB ". */
static const char *word_of(const char *verb, const struct command_table_row *row)
{
    return row->command.name + strlen(verb) + 1;
}

static void print_commands(FILE *to, const char *verb, const struct command_table_row *rows, size_t count)
{
    int width = 0;
    for (size_t i = 0; i < count; i++) {
        int bytes = (int)strlen(word_of(verb, &rows[i]));
        width = bytes > width ? bytes : width;
    }
    (void)fprintf(to, "usage: moldau %s COMMAND [ARGUMENT...]\n\n", verb);
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(to, "  %-*s  %s\n", width, word_of(verb, &rows[i]), rows[i].command.summary);
    }
    (void)fprintf(to, "\nmoldau %s COMMAND --help tells more.\n", verb);
}

static int run_command(const struct command_table_row *row, const struct verb_call *call)
{
    struct arguments arguments;
    if (arguments_parse(&arguments, &row->command, call, 1) != ERR_OK) {
        return VERB_USAGE;
    }
    if (arguments.wants_help) {
        return VERB_OK;
    }
    struct session session;
    int status = session_open(&session, &arguments);
    if (status != VERB_OK) {
        return status;
    }
    status = row->run(&session);
    session_close(&session);
    return status;
}

int command_table_run(const char *verb, const struct command_table_row *rows, size_t count,
                      const struct verb_call *call)
{
    const char *word = call->argument_count == 0 ? "" : call->arguments[0];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        print_commands(stdout, verb, rows, count);
        return VERB_OK;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(word, word_of(verb, &rows[i])) == 0) {
            return run_command(&rows[i], call);
        }
    }
    if (word[0] != '\0') {
        (void)fprintf(stderr, "moldau %s: there is no command %s\n\n", verb, word);
    }
    print_commands(stderr, verb, rows, count);
    return VERB_USAGE;
}

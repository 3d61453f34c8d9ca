/* command_table: a verb with several commands, by one table: its help, choosing the command, the session around it.
 *
 * Errors:    VERB_USAGE after having said what there is; else what the command returns.
 * Ownership: the table is the caller's.
 * Threads:   the main thread.
 */
#ifndef CLI_COMMAND_TABLE_H
#define CLI_COMMAND_TABLE_H

#include "cli/session.h"

/* What a command does with parsed arguments; an exit status. */
typedef int (*command_table_fn)(struct session *session);

/* command.name is "VERB COMMAND". */
struct command_table_row {
    struct command command;
    command_table_fn run;
};

int command_table_run(const char *verb, const struct command_table_row *rows, size_t count,
                      const struct verb_call *call);

#endif

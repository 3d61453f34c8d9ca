/* verb: one word of the command line behind `moldau`: its name, its line in the help, its main function.
 *
 * Threads:   the main thread.
 */
#ifndef CLI_VERB_H
#define CLI_VERB_H

/* What a verb is started with. */
struct verb_call {
    int argument_count; /* behind the verb */
    char **arguments;
    const char *const *environment; /* NULL-terminated "NAME=value" */
};

struct verb {
    const char *name;
    const char *summary;
    int (*run)(const struct verb_call *call); /* the exit status */
};

#endif

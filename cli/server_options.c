#include "cli/server_options.h"

#include "common/mem.h"
#include "common/seam/fs.h"

#include <stdio.h>
#include <string.h>

#define CONFIG_BYTES_MAX (1u << 20)
#define ENVIRONMENT_PREFIX "MOLDAU_"
#define CLIENT_VARIABLE "MOLDAU_BOOTSTRAP_SERVER="
#define HTTP_LISTENER_DEFAULT "127.0.0.1:8080"

static enum err say(struct option_problem *ret_problem, enum err err, const char *what, const char *name)
{
    (void)snprintf(ret_problem->text, sizeof(ret_problem->text), "%s %s", what, name);
    return err;
}

/* Every call empties the problem's notes first: keep them. */
static void keep_notes(struct server_options *options, const struct option_problem *problem)
{
    size_t used_bytes = strlen(options->notes);
    (void)snprintf(options->notes + used_bytes, sizeof(options->notes) - used_bytes, "%s", problem->notes);
}

static enum err read_text(struct fs *fs, const char *path, struct bytebuf *ret_text)
{
    struct file *file = NULL;
    enum err err = fs_open(fs, path, FS_OPEN_READ, &file);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t bytes = 0;
    uint8_t *room = NULL;
    size_t read_bytes = 0;
    err = file_size(file, &bytes);
    if (err == ERR_OK && bytes > CONFIG_BYTES_MAX) {
        err = ERR_LIMIT;
    }
    if (err == ERR_OK) {
        err = bytebuf_reserve(ret_text, (size_t)bytes + 1, &room);
    }
    if (err == ERR_OK) {
        err = file_pread(file, room, (size_t)bytes, 0, &read_bytes);
    }
    if (err == ERR_OK) {
        bytebuf_added(ret_text, read_bytes);
    }
    file_unref(file);
    return err;
}

static enum err read_file(struct fs *fs, const char *path, struct server_options *options,
                          struct option_problem *ret_problem)
{
    struct bytebuf text;
    bytebuf_init(&text, CONFIG_BYTES_MAX + 1);
    enum err err = read_text(fs, path, &text);
    if (err != ERR_OK) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text), "can't read the configuration file %s: %s", path,
                       err_text(err));
    } else {
        err = option_parse_properties(broker_options_table(), &options->broker, bytebuf_span(&text), path, ret_problem);
        keep_notes(options, ret_problem);
    }
    bytebuf_done(&text);
    return err;
}

static enum err set_one(const char *assignment, struct server_options *options, struct option_problem *ret_problem)
{
    const char *equals = strchr(assignment, '=');
    if (equals == NULL) {
        return say(ret_problem, ERR_INVALID, "--set needs name=value, as in --set node.id=1, not", assignment);
    }
    struct span name = span_make(assignment, (size_t)(equals - assignment));
    enum err err =
        option_assign(broker_options_table(), &options->broker, name, span_text(equals + 1), "--set", ret_problem);
    keep_notes(options, ret_problem);
    return err;
}

/* Finds the argument's value behind '=' or in the next argument; NULL when there is none. */
static const char *value_of(const struct verb_call *call, int *index, const char *name)
{
    const char *argument = call->arguments[*index];
    size_t name_bytes = strlen(name);
    if (argument[name_bytes] == '=') {
        return argument + name_bytes + 1;
    }
    if (*index + 1 >= call->argument_count) {
        return NULL;
    }
    (*index)++;
    return call->arguments[*index];
}

static bool is_argument(const char *argument, const char *name)
{
    size_t name_bytes = strlen(name);
    return strncmp(argument, name, name_bytes) == 0 && (argument[name_bytes] == '\0' || argument[name_bytes] == '=');
}

struct server_arguments {
    const char *config_path;
    const char **sets; /* mem_array */
    size_t set_count;
    enum server_action action;
};

static enum err read_arguments(const struct verb_call *call, struct server_arguments *arguments,
                               struct option_problem *ret_problem)
{
    for (int i = 0; i < call->argument_count; i++) {
        const char *argument = call->arguments[i];
        if (is_argument(argument, "--config")) {
            arguments->config_path = value_of(call, &i, "--config");
            if (arguments->config_path == NULL) {
                return say(ret_problem, ERR_INVALID, "--config needs", "a file");
            }
        } else if (is_argument(argument, "--set")) {
            const char *assignment = value_of(call, &i, "--set");
            if (assignment == NULL) {
                return say(ret_problem, ERR_INVALID, "--set needs", "name=value");
            }
            arguments->sets[arguments->set_count++] = assignment;
        } else if (strcmp(argument, "--check-config") == 0) {
            arguments->action = SERVER_CHECK_CONFIG;
        } else if (strcmp(argument, "--options-markdown") == 0) {
            arguments->action = SERVER_OPTIONS_MARKDOWN;
        } else if (strcmp(argument, "--metrics-markdown") == 0) {
            arguments->action = SERVER_METRICS_MARKDOWN;
        } else if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            arguments->action = SERVER_HELP;
        } else {
            return say(ret_problem, ERR_INVALID, "unknown argument (moldau server --help lists them):", argument);
        }
    }
    return ERR_OK;
}

/* Whoever exports the address for the command line's other verbs must still be able to start a node. */
static bool is_of_a_client(const char *variable)
{
    return strncmp(variable, CLIENT_VARIABLE, strlen(CLIENT_VARIABLE)) == 0;
}

static enum err read_environment(const char *const *environment, struct server_options *options, bool *ret_is_set,
                                 struct option_problem *ret_problem)
{
    size_t variable_count = 0;
    while (environment[variable_count] != NULL) {
        variable_count++;
    }
    const char **variables = mem_array(variable_count + 1, sizeof(const char *));
    size_t kept_count = 0;
    for (size_t i = 0; i < variable_count; i++) {
        if (strncmp(environment[i], ENVIRONMENT_PREFIX, strlen(ENVIRONMENT_PREFIX)) == 0 &&
            !is_of_a_client(environment[i])) {
            variables[kept_count++] = environment[i];
        }
    }
    enum err err =
        option_parse_environment(broker_options_table(), &options->broker, variables, ENVIRONMENT_PREFIX, ret_problem);
    mem_free(variables);
    keep_notes(options, ret_problem);
    *ret_is_set = kept_count > 0;
    return err;
}

static enum err apply(const struct verb_call *call, struct fs *fs, const struct server_arguments *arguments,
                      struct server_options *options, struct option_problem *ret_problem)
{
    enum err err = ERR_OK;
    bool has_environment = false;
    if (arguments->config_path != NULL) {
        err = read_file(fs, arguments->config_path, options, ret_problem);
    }
    if (err == ERR_OK) {
        err = read_environment(call->environment, options, &has_environment, ret_problem);
    }
    for (size_t i = 0; err == ERR_OK && i < arguments->set_count; i++) {
        err = set_one(arguments->sets[i], options, ret_problem);
    }
    options->is_configured = arguments->config_path != NULL || arguments->set_count > 0 || has_environment;
    if (err == ERR_OK && !options->is_configured) {
        err = option_assign(broker_options_table(), &options->broker, span_text("http.listener"),
                            span_text(HTTP_LISTENER_DEFAULT), "default", ret_problem);
    }
    return err == ERR_OK ? broker_options_check(&options->broker, ret_problem) : err;
}

enum err server_options_read(const struct verb_call *call, struct fs *fs, struct server_options *ret_options,
                             struct option_problem *ret_problem)
{
    struct server_arguments arguments = {.sets = mem_array((size_t)call->argument_count + 1, sizeof(const char *))};
    enum err err = read_arguments(call, &arguments, ret_problem);
    if (err == ERR_OK) {
        struct server_options options = {.action = arguments.action};
        broker_options_init(&options.broker);
        if (arguments.action == SERVER_RUN || arguments.action == SERVER_CHECK_CONFIG) {
            err = apply(call, fs, &arguments, &options, ret_problem);
        }
        if (err == ERR_OK) {
            *ret_options = options;
        } else {
            broker_options_done(&options.broker);
        }
    }
    mem_free(arguments.sets);
    return err;
}

void server_options_done(struct server_options *options)
{
    broker_options_done(&options->broker);
}

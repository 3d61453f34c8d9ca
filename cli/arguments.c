#include "cli/arguments.h"

#include "cli/units.h"
#include "common/check.h"
#include "common/near_name.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BOOTSTRAP_DEFAULT "127.0.0.1:9092"
#define BOOTSTRAP_VARIABLE "MOLDAU_BOOTSTRAP_SERVER="
#define NAME_BYTES_MAX 64

static const struct flag common_flags[] = {
    {"bootstrap-server", "HOST:PORT,...",
     "brokers to begin with (default: $MOLDAU_BOOTSTRAP_SERVER, else " BOOTSTRAP_DEFAULT ")", false},
    {"output", "table|json", "how to print the result (default table)", false},
    {"timeout-ms", "MS", "how long to wait for an answer (default 30000)", false},
    {"help", NULL, "print this text", false},
};

void arguments_complain(const struct command *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "moldau %s: ", command->name);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

static size_t flag_total(const struct command *command)
{
    return command->flag_count + ARRAY_COUNT(common_flags);
}

static const struct flag *flag_at(const struct command *command, size_t index)
{
    return index < command->flag_count ? &command->flags[index] : &common_flags[index - command->flag_count];
}

static size_t flag_find(const struct command *command, const char *name, size_t name_bytes)
{
    size_t count = flag_total(command);
    for (size_t i = 0; i < count; i++) {
        const char *known = flag_at(command, i)->name;
        if (strlen(known) == name_bytes && memcmp(known, name, name_bytes) == 0) {
            return i;
        }
    }
    return count;
}

static void print_flag(const struct flag *flag)
{
    char left[NAME_BYTES_MAX];
    (void)snprintf(left, sizeof(left), "--%s%s%s", flag->name, flag->value_name == NULL ? "" : " ",
                   flag->value_name == NULL ? "" : flag->value_name);
    (void)printf("  %-34s %s%s\n", left, flag->doc, flag->is_repeated ? " (may be repeated)" : "");
}

void arguments_print_help(const struct command *command)
{
    (void)printf("%s\n\nusage: moldau %s %s%s[FLAG...]\n\n", command->summary, command->name, command->words,
                 command->words[0] == '\0' ? "" : " ");
    for (size_t i = 0; i < flag_total(command); i++) {
        print_flag(flag_at(command, i));
    }
    if (command->examples != NULL) {
        (void)printf("\nexamples:\n%s", command->examples);
    }
}

static void complain_unknown(const struct command *command, const char *name, size_t name_bytes)
{
    const char *nearest = NULL;
    size_t nearest_distance = SIZE_MAX;
    for (size_t i = 0; i < flag_total(command); i++) {
        const char *known = flag_at(command, i)->name;
        size_t distance = near_name_distance(span_make(name, name_bytes), span_text(known));
        if (distance < nearest_distance) {
            nearest = known;
            nearest_distance = distance;
        }
    }
    if (near_name_is_near(span_make(name, name_bytes), nearest_distance)) {
        arguments_complain(command, "there is no flag --%.*s; did you mean --%s?", (int)name_bytes, name, nearest);
    } else {
        arguments_complain(command, "there is no flag --%.*s; moldau %s --help lists them", (int)name_bytes, name,
                           command->name);
    }
}

static enum err take_value(struct arguments *arguments, size_t flag_index, const char *value)
{
    struct flag_values *values = &arguments->flags[flag_index];
    const struct flag *flag = flag_at(arguments->command, flag_index);
    if (values->count > 0 && !flag->is_repeated) {
        values->count = 0; /* the last one counts */
    }
    if (values->count == ARGUMENTS_VALUES_MAX) {
        arguments_complain(arguments->command, "--%s can be given at most %d times", flag->name, ARGUMENTS_VALUES_MAX);
        return ERR_INVALID;
    }
    values->values[values->count++] = value;
    return ERR_OK;
}

/* Takes one flag and, unless it is inside of the word, its value. *index points to the word. */
static enum err take_flag(struct arguments *arguments, int *index)
{
    const struct command *command = arguments->command;
    const char *word = arguments->call->arguments[*index] + 2;
    const char *equals = strchr(word, '=');
    size_t name_bytes = equals == NULL ? strlen(word) : (size_t)(equals - word);
    size_t flag_index = flag_find(command, word, name_bytes);
    if (flag_index == flag_total(command)) {
        complain_unknown(command, word, name_bytes);
        return ERR_INVALID;
    }
    const struct flag *flag = flag_at(command, flag_index);
    if (flag->value_name == NULL) {
        if (equals != NULL) {
            arguments_complain(command, "--%s is a switch and takes no value", flag->name);
            return ERR_INVALID;
        }
        return take_value(arguments, flag_index, "");
    }
    if (equals != NULL) {
        return take_value(arguments, flag_index, equals + 1);
    }
    if (*index + 1 == arguments->call->argument_count) {
        arguments_complain(command, "--%s needs a value: --%s %s", flag->name, flag->name, flag->value_name);
        return ERR_INVALID;
    }
    *index += 1;
    return take_value(arguments, flag_index, arguments->call->arguments[*index]);
}

static enum err take_word(struct arguments *arguments, const char *word)
{
    const struct command *command = arguments->command;
    if (arguments->words.count == command->word_count_max) {
        arguments_complain(command, "'%s' is one word too many; usage: moldau %s %s", word, command->name,
                           command->words);
        return ERR_INVALID;
    }
    arguments->words.values[arguments->words.count++] = word;
    return ERR_OK;
}

static enum err check_output(const struct arguments *arguments)
{
    const char *output = arguments_get(arguments, "output");
    if (output != NULL && strcmp(output, "json") != 0 && strcmp(output, "table") != 0) {
        arguments_complain(arguments->command, "--output is table or json, not '%s'", output);
        return ERR_INVALID;
    }
    return ERR_OK;
}

enum err arguments_parse(struct arguments *arguments, const struct command *command, const struct verb_call *call,
                         int first_index)
{
    CHECK(flag_total(command) <= ARGUMENTS_FLAGS_MAX && command->word_count_max <= ARGUMENTS_VALUES_MAX);
    *arguments = (struct arguments){.command = command, .call = call};
    bool are_flags_over = false;
    for (int i = first_index; i < call->argument_count; i++) {
        const char *word = call->arguments[i];
        enum err err = ERR_OK;
        if (!are_flags_over && strcmp(word, "--") == 0) {
            are_flags_over = true;
        } else if (!are_flags_over && strcmp(word, "-h") == 0) {
            err = take_value(arguments, flag_find(command, "help", 4), "");
        } else if (!are_flags_over && strncmp(word, "--", 2) == 0) {
            err = take_flag(arguments, &i);
        } else {
            err = take_word(arguments, word);
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    if (arguments_has(arguments, "help")) {
        arguments->wants_help = true;
        arguments_print_help(command);
        return ERR_OK;
    }
    if (arguments->words.count < command->word_count_min) {
        arguments_complain(command, "something is missing; usage: moldau %s %s (--help tells more)", command->name,
                           command->words);
        return ERR_INVALID;
    }
    return check_output(arguments);
}

const struct flag_values *arguments_all(const struct arguments *arguments, const char *flag_name)
{
    size_t flag_index = flag_find(arguments->command, flag_name, strlen(flag_name));
    CHECK(flag_index < flag_total(arguments->command));
    return &arguments->flags[flag_index];
}

const char *arguments_get(const struct arguments *arguments, const char *flag_name)
{
    const struct flag_values *values = arguments_all(arguments, flag_name);
    return values->count == 0 ? NULL : values->values[values->count - 1];
}

bool arguments_has(const struct arguments *arguments, const char *flag_name)
{
    return arguments_get(arguments, flag_name) != NULL;
}

enum err arguments_number(const struct arguments *arguments, const char *flag_name, int64_t min, int64_t max,
                          int64_t default_value, int64_t *ret_value)
{
    const char *text = arguments_get(arguments, flag_name);
    if (text == NULL) {
        *ret_value = default_value;
        return ERR_OK;
    }
    int64_t value = 0;
    if (units_parse_number(span_text(text), &value) != ERR_OK || value < min || value > max) {
        arguments_complain(arguments->command, "--%s is a whole number from %lld to %lld, not '%s'", flag_name,
                           (long long)min, (long long)max, text);
        return ERR_INVALID;
    }
    *ret_value = value;
    return ERR_OK;
}

const char *arguments_bootstrap(const struct arguments *arguments)
{
    const char *given = arguments_get(arguments, "bootstrap-server");
    if (given != NULL) {
        return given;
    }
    for (const char *const *variable = arguments->call->environment; *variable != NULL; variable++) {
        if (strncmp(*variable, BOOTSTRAP_VARIABLE, strlen(BOOTSTRAP_VARIABLE)) == 0) {
            return *variable + strlen(BOOTSTRAP_VARIABLE);
        }
    }
    return BOOTSTRAP_DEFAULT;
}

bool arguments_wants_json(const struct arguments *arguments)
{
    const char *output = arguments_get(arguments, "output");
    return output != NULL && strcmp(output, "json") == 0;
}

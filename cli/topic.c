/* The commands of `moldau topic` by one table. */
#include "cli/topic.h"

#include "common/check.h"

#include <stdio.h>
#include <string.h>

static const struct flag create_flags[] = {
    {"partitions", "N", "number of partitions (default: the cluster's num.partitions)", false},
    {"replication-factor", "N", "replicas of each partition (default: the cluster's)", false},
    {"config", "NAME=VALUE", "a setting; times and sizes take units: retention.ms=1d, segment.bytes=64MiB", true},
    {"if-not-exists", NULL, "succeed when the topic exists already", false},
    {"check", NULL, "only check whether it could be created", false},
};

static const struct flag alter_flags[] = {
    {"partitions", "N", "raise the number of partitions (it can't be lowered)", false},
    {"config", "NAME=VALUE", "change a setting; times and sizes take units", true},
    {"delete-config", "NAME", "go back to the default of a setting", true},
};

static const struct flag delete_flags[] = {
    {"yes", NULL, "don't ask", false},
};

static const struct flag list_flags[] = {
    {"internal", NULL, "also the topics that the cluster keeps for itself", false},
};

struct topic_command {
    struct command command;
    topic_command_fn run;
};

static const struct topic_command commands[] = {
    {{.name = "topic create",
      .words = "NAME...",
      .summary = "Create topics.",
      .examples = "  moldau topic create orders --partitions 6 --config retention.ms=1d\n",
      .flags = create_flags,
      .flag_count = ARRAY_COUNT(create_flags),
      .word_count_min = 1,
      .word_count_max = ARGUMENTS_VALUES_MAX},
     topic_create},
    {{.name = "topic list",
      .words = "",
      .summary = "List the topics.",
      .flags = list_flags,
      .flag_count = ARRAY_COUNT(list_flags)},
     topic_list},
    {{.name = "topic describe",
      .words = "NAME...",
      .summary = "Show partitions, leaders, replicas, offsets and the settings that differ from the defaults.",
      .word_count_min = 1,
      .word_count_max = ARGUMENTS_VALUES_MAX},
     topic_describe},
    {{.name = "topic alter",
      .words = "NAME",
      .summary = "Add partitions, change settings.",
      .examples = "  moldau topic alter orders --config retention.ms=7d --delete-config segment.bytes\n",
      .flags = alter_flags,
      .flag_count = ARRAY_COUNT(alter_flags),
      .word_count_min = 1,
      .word_count_max = 1},
     topic_alter},
    {{.name = "topic delete",
      .words = "NAME...",
      .summary = "Delete topics and all of their records.",
      .flags = delete_flags,
      .flag_count = ARRAY_COUNT(delete_flags),
      .word_count_min = 1,
      .word_count_max = ARGUMENTS_VALUES_MAX},
     topic_delete},
};

static void print_commands(FILE *to)
{
    (void)fprintf(to, "usage: moldau topic COMMAND [ARGUMENT...]\n\n");
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        (void)fprintf(to, "  %-12s %s\n", commands[i].command.name + strlen("topic "), commands[i].command.summary);
    }
    (void)fprintf(to, "\nmoldau topic COMMAND --help tells more.\n");
}

static int run_command(const struct topic_command *command, const struct verb_call *call)
{
    struct arguments arguments;
    if (arguments_parse(&arguments, &command->command, call, 1) != ERR_OK) {
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
    status = command->run(&session);
    session_close(&session);
    return status;
}

int topic_run(const struct verb_call *call)
{
    const char *word = call->argument_count == 0 ? "" : call->arguments[0];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        print_commands(stdout);
        return VERB_OK;
    }
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        if (strcmp(word, commands[i].command.name + strlen("topic ")) == 0) {
            return run_command(&commands[i], call);
        }
    }
    if (word[0] != '\0') {
        (void)fprintf(stderr, "moldau topic: there is no command %s\n\n", word);
    }
    print_commands(stderr);
    return VERB_USAGE;
}

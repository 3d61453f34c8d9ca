/* The commands of `moldau topic` by one table. */
#include "cli/topic.h"

#include "cli/command_table.h"
#include "common/check.h"

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

static const struct command_table_row commands[] = {
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

int topic_run(const struct verb_call *call)
{
    return command_table_run("topic", commands, ARRAY_COUNT(commands), call);
}

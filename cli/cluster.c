/* The commands of `moldau cluster` by one table. */
#include "cli/cluster.h"

#include "cli/command_table.h"
#include "common/check.h"

static const struct flag add_controller_flags[] = {
    {"replace", NULL, "the node is a voter already, with data that is lost: take that out first", false},
    {"cluster-id", "ID", "refuse to do it in any other cluster", false},
};

static const struct flag remove_controller_flags[] = {
    {"cluster-id", "ID", "refuse to do it in any other cluster", false},
};

static const struct flag elect_leaders_flags[] = {
    {"unclean", NULL, "elect a replica that is not in sync where no other is left: acknowledged records may be lost",
     false},
};

static const struct command_table_row commands[] = {
    {{.name = "cluster status",
      .words = "",
      .summary = "Show brokers and controllers, and the partitions that are not well."},
     cluster_status},
    {{.name = "cluster add-controller",
      .words = "ID@HOST:PORT/DIRECTORY",
      .summary = "Make a controller that waits a voter of the quorum; it prints this command itself.",
      .examples = "  moldau cluster add-controller 3@127.0.0.1:9293/mJ1Xq0oPRZ2b7cVvYk3N5w --replace\n",
      .flags = add_controller_flags,
      .flag_count = ARRAY_COUNT(add_controller_flags),
      .word_count_min = 1,
      .word_count_max = 1},
     cluster_add_controller},
    {{.name = "cluster remove-controller",
      .words = "ID[/DIRECTORY]",
      .summary = "Take a voter out of the quorum.",
      .flags = remove_controller_flags,
      .flag_count = ARRAY_COUNT(remove_controller_flags),
      .word_count_min = 1,
      .word_count_max = 1},
     cluster_remove_controller},
    {{.name = "cluster remove-broker",
      .words = "ID",
      .summary = "Forget a broker that is gone for good and holds no replicas.",
      .word_count_min = 1,
      .word_count_max = 1},
     cluster_remove_broker},
    {{.name = "cluster elect-leaders",
      .words = "[TOPIC[:PARTITION]...]",
      .summary = "Make the preferred replicas leaders again; without topics everywhere.",
      .examples = "  moldau cluster elect-leaders orders payments:3\n",
      .flags = elect_leaders_flags,
      .flag_count = ARRAY_COUNT(elect_leaders_flags),
      .word_count_max = ARGUMENTS_VALUES_MAX},
     cluster_elect_leaders},
};

int cluster_run(const struct verb_call *call)
{
    return command_table_run("cluster", commands, ARRAY_COUNT(commands), call);
}

/* moldau: one program, many verbs. */
#include "cli/arguments.h"
#include "cli/cluster.h"
#include "cli/consume.h"
#include "cli/produce.h"
#include "cli/server.h"
#include "cli/topic.h"
#include "cli/verb.h"
#include "common/check.h"
#include "common/near_name.h"

#include <stdio.h>
#include <string.h>

static const struct verb verbs[] = {
    {"server", "run a node", server_run},
    {"topic", "create, list, describe, alter and delete topics", topic_run},
    {"produce", "write lines to a topic", produce_run},
    {"consume", "print the records of a topic", consume_run},
    {"cluster", "show how the cluster is; add, remove controllers and brokers; elect leaders", cluster_run},
};

static void print_help(FILE *to)
{
    (void)fprintf(to, "moldau %s, a broker for Apache Kafka's clients\n\nusage: moldau VERB [ARGUMENT...]\n\n",
                  MOLDAU_VERSION);
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        (void)fprintf(to, "  %-12s %s\n", verbs[i].name, verbs[i].summary);
    }
    (void)fprintf(to, "\nmoldau VERB --help tells more.\n");
}

static void complain_unknown(const char *word)
{
    const char *nearest = NULL;
    size_t nearest_distance = SIZE_MAX;
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        size_t distance = near_name_distance(span_text(word), span_text(verbs[i].name));
        if (distance < nearest_distance) {
            nearest = verbs[i].name;
            nearest_distance = distance;
        }
    }
    if (near_name_is_near(span_text(word), nearest_distance)) {
        (void)fprintf(stderr, "moldau: there is no verb %s; did you mean %s?\n", word, nearest);
    } else {
        (void)fprintf(stderr, "moldau: there is no verb %s; moldau --help lists them\n", word);
    }
}

int main(int argument_count, char **arguments, char **environment)
{
    if (argument_count < 2) {
        print_help(stderr);
        return VERB_USAGE;
    }
    const char *word = arguments[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(word, "--version") == 0) {
        (void)printf("moldau %s\n", MOLDAU_VERSION);
        return 0;
    }
    struct verb_call call = {
        .argument_count = argument_count - 2,
        .arguments = arguments + 2,
        .environment = (const char *const *)environment,
    };
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        if (strcmp(word, verbs[i].name) == 0) {
            return verbs[i].run(&call);
        }
    }
    complain_unknown(word);
    return VERB_USAGE;
}

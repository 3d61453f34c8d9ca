/* server_options: the arguments of `moldau server` and the node's options that come of them.
 *
 * Shape:     defaults, then the file of --config, then MOLDAU_* variables, then every --set in order: later ones win.
 * Errors:    a sentence in the problem.
 * Ownership: server_options_done frees the options.
 * Threads:   one.
 * Source:    design.md 1.
 */
#ifndef CLI_SERVER_OPTIONS_H
#define CLI_SERVER_OPTIONS_H

#include "broker/broker_options.h"
#include "cli/verb.h"

struct fs;

#define SERVER_NOTES_BYTES 4096

enum server_action { SERVER_RUN, SERVER_CHECK_CONFIG, SERVER_HELP, SERVER_OPTIONS_MARKDOWN, SERVER_METRICS_MARKDOWN };

struct server_options {
    enum server_action action;
    struct broker_options broker;
    char notes[SERVER_NOTES_BYTES]; /* lines on options that were set and are not acted on yet; cut when full */
    bool is_configured;             /* something was set: without any configuration HTTP is on */
};

enum err server_options_read(const struct verb_call *call, struct fs *fs, struct server_options *ret_options,
                             struct option_problem *ret_problem) MUST_USE;
void server_options_done(struct server_options *options);

#endif

/* The node as a process: everything here is wiring. The main thread is the broker's home loop, HTTP on it too. */
#include "cli/server.h"

#include "broker/broker.h"
#include "broker/broker_listeners.h"
#include "broker/broker_metrics.h"
#include "broker/http_pages.h"
#include "cli/server_options.h"
#include "common/check.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/posix/http_server.h"
#include "common/posix/posix_env.h"
#include "common/seam/clock.h"
#include "controller/controller_metrics.h"
#include "controller/topic_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGES_MAX 8
/* A terminal and the script around it may both send the first signal: what comes together is one wish. */
#define SECOND_SIGNAL_US 1000000u

struct server;

struct server_page {
    struct server *server;
    const struct http_page *page;
};

struct server {
    struct server_options options;
    struct posix_env *posix;
    struct loop *home;
    struct broker *broker;
    struct http_server *http;
    struct server_page pages[PAGES_MAX];
    struct http_route routes[PAGES_MAX];
    bool is_stopping;
    uint64_t first_signal_us; /* 0: the stop has another cause */
    int exit_status;
};

static int complain(const char *sentence)
{
    (void)fprintf(stderr, "moldau: %s\n", sentence);
    return 1;
}

/* ---- HTTP ---- */

static void render_page(void *ctx, const struct http_request *request, struct http_response *response)
{
    const struct server_page *page = ctx;
    (void)request;
    response->status = page->page->render(page->server->broker, &response->body);
    response->content_type = page->page->content_type;
}

static enum err start_http(struct server *server, struct option_problem *ret_problem)
{
    const char *address = server->options.broker.http_listener;
    if (address == NULL || address[0] == '\0') {
        return ERR_OK;
    }
    char host[BROKER_LISTENER_HOST_BYTES];
    struct http_server_options options = {.host = host, .routes = server->routes};
    enum err err = broker_listeners_parse_address(span_text(address), host, &options.port);
    CHECK(err == ERR_OK); /* broker_options_check has seen it */
    const struct http_page *pages = http_pages(&options.route_count);
    CHECK(options.route_count <= PAGES_MAX);
    for (size_t i = 0; i < options.route_count; i++) {
        server->pages[i] = (struct server_page){server, &pages[i]};
        server->routes[i] = (struct http_route){"GET", pages[i].path, render_page, &server->pages[i]};
    }
    err = http_server_start(server->home, server->posix->env.logger, &options, &server->http);
    if (err != ERR_OK) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                       "can't listen on %s (http.listener): %s; free the address or choose another with http.listener",
                       address, err_text(err));
    }
    return err;
}

/* ---- the life of the node ---- */

static void on_stopped(void *ctx)
{
    struct server *server = ctx;
    if (server->http != NULL) {
        http_server_stop(server->http);
        server->http = NULL;
    }
    loop_stop(server->home);
}

static void stop(struct server *server)
{
    if (!server->is_stopping) {
        server->is_stopping = true;
        broker_stop(server->broker, on_stopped, server);
    }
}

static void on_failed(void *ctx)
{
    struct server *server = ctx;
    server->exit_status = 1;
    stop(server);
}

static void on_ready(void *ctx)
{
    struct server *server = ctx;
    /* From now on others count on this node. Before, a recovery may take its time, and what hangs leads nothing. */
    uint64_t limit_ms = (uint64_t)server->options.broker.log_dir_stall_timeout_ms;
    if (limit_ms > 0 && posix_env_watch_disks(server->posix, limit_ms * 1000) != ERR_OK) {
        log_error(server->posix->env.logger, "disk", "not_watched", "why=\"no thread is left for it\"");
        on_failed(server);
    }
}

static void on_signal(void *ctx, int signal_number)
{
    struct server *server = ctx;
    if (!posix_signal_is_end(signal_number)) {
        return;
    }
    uint64_t now_us = clock_mono_us(server->posix->env.clock);
    if (!server->is_stopping) {
        server->first_signal_us = now_us;
        stop(server);
    } else if (now_us - server->first_signal_us > SECOND_SIGNAL_US) {
        _Exit(1); /* whoever sends it does not want to wait */
    }
}

static enum err start(struct server *server, struct option_problem *ret_problem)
{
    struct env *env = &server->posix->env;
    enum err err = runtime_loop_new(env->runtime, "home", &server->home);
    if (err == ERR_OK) {
        err = posix_on_signals(server->posix, server->home, on_signal, server);
    }
    if (err != ERR_OK) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text), "can't make the main loop: %s", err_text(err));
        return err;
    }
    server->broker = broker_new(env, &server->options.broker, server->home);
    err = start_http(server, ret_problem);
    if (err == ERR_OK) {
        err = broker_start(server->broker, on_ready, on_failed, server, ret_problem);
    }
    return err;
}

static void done(struct server *server)
{
    if (server->http != NULL) {
        http_server_stop(server->http);
    }
    broker_free(server->broker);
    if (server->home != NULL) {
        runtime_loop_free(server->posix->env.runtime, server->home);
    }
}

static enum log_level level_of(const char *word)
{
    static const char *const words[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (strcmp(word, words[i]) == 0) {
            return (enum log_level)i;
        }
    }
    UNREACHABLE(); /* the option's row accepts these words only */
}

static int run_node(struct server *server)
{
    struct option_problem problem = {.text = ""};
    logger_set_level(server->posix->env.logger, level_of(server->options.broker.log_level));
    enum err err = start(server, &problem);
    if (err == ERR_OK) {
        posix_loop_run(server->home);
    }
    done(server);
    return err == ERR_OK ? server->exit_status : complain(problem.text);
}

/* ---- texts ---- */

static enum err write_options(struct bytebuf *ret_text)
{
    enum err err = option_table_markdown(broker_options_table(), ret_text);
    if (err == ERR_OK) {
        err = bytebuf_append(ret_text, span_text("\nOf a topic (moldau topic create --config, moldau topic alter "
                                                 "--config); one that sets nothing follows the node's option:\n\n"));
    }
    size_t row_count = topic_config_count();
    struct option_row *rows = mem_array(row_count, sizeof(*rows));
    for (size_t i = 0; i < row_count; i++) {
        rows[i] = topic_config_at(i)->row;
    }
    struct option_table topic_table = {.rows = rows, .row_count = row_count};
    if (err == ERR_OK) {
        err = option_table_markdown(&topic_table, ret_text);
    }
    mem_free(rows);
    return err;
}

static enum err write_metrics(struct bytebuf *ret_text)
{
    enum err err = metric_table_markdown(broker_metrics_table(), ret_text);
    if (err == ERR_OK) {
        err = bytebuf_append(ret_text, span_text("\nOf the controller:\n\n"));
    }
    return err == ERR_OK ? metric_table_markdown(&controller_metric_table, ret_text) : err;
}

static int print(enum err (*write)(struct bytebuf *ret_text))
{
    struct bytebuf text;
    bytebuf_init(&text, 1u << 20);
    enum err err = write(&text);
    if (err == ERR_OK) {
        (void)fwrite(text.data, 1, text.bytes, stdout);
    }
    bytebuf_done(&text);
    return err == ERR_OK ? 0 : complain("the text is too long");
}

static int print_help(void)
{
    (void)fputs(
        "usage: moldau server [--config FILE] [--set NAME=VALUE]... [--check-config]\n"
        "\n"
        "Runs a node. Without any configuration it is a complete cluster of one: clients connect to 127.0.0.1:9092,\n"
        "metrics and health are at http://127.0.0.1:8080, data is in ./moldau-data.\n"
        "\n"
        "  --config FILE        read options from a properties file (name=value)\n"
        "  --set NAME=VALUE     set one option; may be repeated, wins over file and environment\n"
        "  --check-config       say whether the configuration is acceptable, and end\n"
        "  --options-markdown   print the table of all options (docs/options.md)\n"
        "  --metrics-markdown   print the tables of all metrics (docs/metrics.md)\n"
        "\n"
        "An option may also be set by the environment: log.dirs is MOLDAU_LOG_DIRS.\n"
        "SIGTERM or Ctrl-C ends the node in order, a second one at once.\n"
        "\n"
        "Options:\n\n",
        stdout);
    return print(write_options);
}

static int act(struct server *server)
{
    switch (server->options.action) {
    case SERVER_HELP:
        return print_help();
    case SERVER_OPTIONS_MARKDOWN:
        return print(write_options);
    case SERVER_METRICS_MARKDOWN:
        return print(write_metrics);
    case SERVER_CHECK_CONFIG:
        (void)puts("The configuration is acceptable.");
        return 0;
    case SERVER_RUN:
        return run_node(server);
    }
    UNREACHABLE();
}

int server_run(const struct verb_call *call)
{
    struct server server = {.posix = posix_env_new(LOG_INFO)};
    struct option_problem problem = {.text = ""};
    enum err err = server_options_read(call, server.posix->env.fs, &server.options, &problem);
    int exit_status = 1;
    if (err == ERR_OK) {
        (void)fputs(server.options.notes, stderr);
        exit_status = act(&server);
        server_options_done(&server.options);
    } else {
        (void)complain(problem.text);
    }
    posix_env_free(server.posix);
    return exit_status;
}

#include "cli/session.h"

#include "common/check.h"
#include "common/posix/posix_env.h"
#include "proto/wire/error_code.h"

#include <stdio.h>

static void session_on_signal(void *ctx, int signal_number)
{
    struct session *session = ctx;
    (void)signal_number;
    session->is_interrupted = true;
    loop_stop(session->loop);
}

int session_open(struct session *session, const struct arguments *arguments)
{
    *session = (struct session){.arguments = arguments};
    int64_t timeout_ms = 0;
    if (arguments_number(arguments, "timeout-ms", 1, 3600000, CLIENT_TIMEOUT_MS_DEFAULT, &timeout_ms) != ERR_OK) {
        return VERB_USAGE;
    }
    session->posix = posix_env_new(LOG_WARN);
    session->env = &session->posix->env;
    enum err err = runtime_loop_new(session->env->runtime, "client", &session->loop);
    if (err == ERR_OK) {
        err = posix_on_signals(session->posix, session->loop, session_on_signal, session);
    }
    if (err != ERR_OK) {
        arguments_complain(arguments->command, "can't begin: %s", err_text(err));
        session_close(session);
        return VERB_FAILED;
    }
    struct client_config config = {
        .env = session->env,
        .loop = session->loop,
        .run_until = posix_loop_run_until,
        .bootstrap = arguments_bootstrap(arguments),
        .timeout_ms = (uint32_t)timeout_ms,
    };
    session->client = client_new(&config);
    return VERB_OK;
}

void session_close(struct session *session)
{
    client_free(session->client);
    if (session->loop != NULL) {
        loop_stop(session->loop);
        posix_loop_run(session->loop);
        runtime_loop_free(session->env->runtime, session->loop);
    }
    posix_env_free(session->posix);
}

int session_fail(const struct session *session)
{
    if (session->is_interrupted) {
        arguments_complain(session->arguments->command, "interrupted");
    } else {
        arguments_complain(session->arguments->command, "%s", session->client->problem);
    }
    return VERB_FAILED;
}

int session_fail_code(const struct session *session, const char *what, int16_t error_code, struct span message)
{
    const char *text = error_code_text(error_code);
    struct span said = message.bytes > 0 ? message : span_text(text);
    arguments_complain(session->arguments->command, "%s: %.*s (%s)", what, (int)said.bytes, (const char *)said.data,
                       error_code_name(error_code));
    return VERB_FAILED;
}

#include "cli/session.h"

#include "common/check.h"
#include "common/posix/posix_env.h"
#include "common/seam/clock.h"
#include "proto/wire/error_code.h"

#include <stdio.h>

#define SHORT_CALL_TIMEOUT_MS 10000u

static void session_on_signal(void *ctx, int signal_number)
{
    struct session *session = ctx;
    if (!posix_signal_is_end(signal_number)) {
        return;
    }
    bool is_first = !session->is_interrupted;
    session->is_interrupted = true;
    if (is_first && session->interrupt_wakes != NULL) {
        *session->interrupt_wakes = true;
    } else {
        session->is_stopped = true;
        loop_stop(session->loop);
    }
}

void session_shorten_calls(struct session *session)
{
    uint32_t *timeout_ms = &session->client->config.timeout_ms;
    *timeout_ms = *timeout_ms < SHORT_CALL_TIMEOUT_MS ? *timeout_ms : SHORT_CALL_TIMEOUT_MS;
}

int session_open(struct session *session, const struct arguments *arguments)
{
    *session = (struct session){.arguments = arguments};
    int64_t timeout_ms = 0;
    if (arguments_number(arguments, "timeout-ms", 1, 3600000, CLIENT_TIMEOUT_MS_DEFAULT, &timeout_ms) != ERR_OK) {
        return VERB_USAGE;
    }
    session->patience_ms = (uint32_t)timeout_ms;
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
    if (session->loop != NULL) {
        loop_stop(session->loop);
        posix_loop_run(session->loop); /* ends a connect that is under way, which still looks at the client */
    }
    client_free(session->client);
    if (session->loop != NULL) {
        runtime_loop_free(session->env->runtime, session->loop);
    }
    posix_env_free(session->posix);
}

struct session_timer {
    struct loop_timer timer;
    bool is_done;
};

static void session_on_timer(struct loop_timer *timer)
{
    CONTAINER_OF(timer, struct session_timer, timer)->is_done = true;
}

void session_pause(struct session *session, uint64_t pause_ms)
{
    struct session_timer wait = {.timer = {.fire = session_on_timer}};
    loop_timer_set(session->loop, &wait.timer, clock_mono_us(session->env->clock) + pause_ms * 1000);
    posix_loop_run_until(session->loop, &wait.is_done);
    loop_timer_cancel(session->loop, &wait.timer);
}

void session_wait(struct session *session, const bool *is_done)
{
    posix_loop_run_until(session->loop, is_done);
}

uint64_t session_now_ms(const struct session *session)
{
    return clock_mono_us(session->env->clock) / 1000;
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

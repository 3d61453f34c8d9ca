/* session: what a verb that talks to a cluster works with: the world, a loop on the main thread, a client.
 *
 * Ownership: session_close frees all of it; replies that are still held are the caller's.
 * Threads:   the main thread.
 */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "cli/arguments.h"
#include "cli/client.h"

struct posix_env;

struct session {
    const struct arguments *arguments;
    struct posix_env *posix;
    struct env *env;
    struct loop *loop;
    struct client *client;
    uint32_t patience_ms; /* --timeout-ms: how long to try, in one call or in several */
    bool is_interrupted;  /* SIGINT or SIGTERM came: end soon, and in order */
    /* Where a verb has something to finish when it is interrupted: the first signal sets this and ends no wait, the
     * second does. NULL: the first one ends all waits. */
    bool *interrupt_wakes;
    bool is_stopped; /* no wait will wait any more */
};

/* VERB_OK, or an exit status after having said why. Nothing is connected yet. */
int session_open(struct session *session, const struct arguments *arguments);
void session_close(struct session *session);
/* From now on one call gives up earlier than the whole, so that a broker that hangs can be left for another one. */
void session_shorten_calls(struct session *session);
/* Runs the loop until a callback has set *is_done, or a signal ends all waits. */
void session_wait(struct session *session, const bool *is_done);
void session_pause(struct session *session, uint64_t pause_ms);
uint64_t session_now_ms(const struct session *session);
/* Prints the client's problem behind the verb's name; returns VERB_FAILED. */
int session_fail(const struct session *session);
/* Prints an error code of an answer: what was asked, the broker's own message or ours. Returns VERB_FAILED. */
int session_fail_code(const struct session *session, const char *what, int16_t error_code, struct span message);

#endif

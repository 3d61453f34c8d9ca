/* broker_listeners: what `listeners` and `advertised.listeners` say, parsed and checked.
 *
 * Shape:     up to BROKER_LISTENERS_MAX addresses to bind, each with the address that clients are told.
 * Limits:    names of at most BROKER_LISTENER_NAME_BYTES - 1 bytes, hosts as BROKER_LISTENER_HOST_BYTES - 1.
 * Errors:    one clear sentence.
 * Ownership: a value.
 * Threads:   pure.
 * Source:    Kafka's listeners, advertised.listeners, listener.security.protocol.map; design.md 1 (INTERNAL).
 */
#ifndef BROKER_BROKER_LISTENERS_H
#define BROKER_BROKER_LISTENERS_H

#include "broker/broker_options.h"

#define BROKER_LISTENERS_MAX 8
#define BROKER_LISTENER_NAME_BYTES 32
#define BROKER_LISTENER_HOST_BYTES 256
#define BROKER_LISTENER_INTERNAL "INTERNAL"
#define BROKER_LISTENER_ANY_HOST "0.0.0.0"

struct broker_listener {
    char name[BROKER_LISTENER_NAME_BYTES];
    char host[BROKER_LISTENER_HOST_BYTES]; /* BROKER_LISTENER_ANY_HOST for an empty one */
    uint16_t port;
    char advertised_host[BROKER_LISTENER_HOST_BYTES];
    uint16_t advertised_port; /* 0: the port that was bound */
    bool is_internal;         /* between nodes */
};

struct broker_listeners {
    struct broker_listener items[BROKER_LISTENERS_MAX];
    size_t count;
};

enum err broker_listeners_parse(const struct broker_options *options, struct broker_listeners *ret_listeners,
                                struct option_problem *ret_problem) MUST_USE;
/* The INTERNAL one, or NULL. */
const struct broker_listener *broker_listeners_internal(const struct broker_listeners *listeners);
/* "host:port" or "[v6]:port" (http.listener). */
enum err broker_listeners_parse_address(struct span text, char ret_host[BROKER_LISTENER_HOST_BYTES],
                                        uint16_t *ret_port) MUST_USE;

#endif

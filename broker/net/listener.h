/* listener: one address on which clients connect. Binds early, so that an occupied port is told before anything else
 * happens, and serves late: sockets that come before listener_open wait.
 *
 * Shape:     bind -> (sockets wait) -> open -> each socket: admission -> posted to the worker's connection_set.
 * Limits:    LISTENER_WAITING_MAX sockets wait before the listener is open; admission's limits after.
 * Errors:    those of net_listen; the caller makes the sentence.
 * Ownership: owns waiting sockets. `config` is copied; what it points to is borrowed.
 * Threads:   the home loop.
 */
#ifndef BROKER_NET_LISTENER_H
#define BROKER_NET_LISTENER_H

#include "broker/net/admission.h"

struct connection_set;
struct listener;
struct logger;
struct metric_set;

#define LISTENER_WAITING_MAX 256

struct listener_config {
    struct net *net;
    struct loop *home;
    struct logger *logger;
    const char *name; /* "PLAINTEXT" */
    const char *host;
    uint16_t port;
    bool is_authenticated; /* its clients need not prove who they are */
};

/* The workers that connections are handed to. */
struct listener_targets {
    struct admission *admission;
    struct connection_set **sets; /* one per worker */
    struct loop **loops;
    struct metric_set *metrics; /* of the home thread */
};

enum err listener_bind(const struct listener_config *config, struct listener **ret_listener) MUST_USE;
/* The arrays of `targets` live as long as the listener. */
void listener_open(struct listener *listener, const struct listener_targets *targets);
void listener_address(struct listener *listener, struct net_address *ret_address);
void listener_close(struct listener *listener);

#endif

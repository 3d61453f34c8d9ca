/* kafka_client: one client connection of a simulation that speaks Kafka's protocol: it connects, sends requests without waiting,
 * and hands replies to whoever asked, in order. It reconnects by itself for ever, with the requests under way lost.
 *
 * Shape:     requests under way form a queue; a reply must carry the correlation id of the oldest.
 * Ownership: the client lives until its process dies (scripts have no orderly end); a request is the caller's until its
 *            on_reply, which is called exactly once: with the reply, or with NULL when the connection was lost.
 * Threads:   its loop's.
 */
#ifndef TESTS_SIM_KAFKA_CLIENT_H
#define TESTS_SIM_KAFKA_CLIENT_H

#include "common/bytebuf.h"
#include "common/seam/env.h"
#include "common/seam/loop.h"
#include "proto/wire/codec.h"

struct kafka_client;

struct kafka_request {
    int16_t api_key;
    int16_t api_version;
    /* `body` is positioned at the response's body; NULL: the connection was lost, the outcome is unknown. */
    void (*on_reply)(struct kafka_request *request, struct reader *body);
    /* the client's own */
    int32_t correlation_id;
    struct kafka_request *prev;
    struct kafka_request *next;
};

/* `on_up`: connected, requests may be sent. `on_down`: not any more; comes after the requests' on_reply(NULL). */
typedef void (*kafka_client_fn)(void *ctx);

struct kafka_client *kafka_client_new(struct env *env, struct loop *loop, const char *host, uint16_t port,
                                      const char *client_id, kafka_client_fn on_up, kafka_client_fn on_down, void *ctx);
bool kafka_client_is_up(const struct kafka_client *client);
/* It has answered something since it was connected: a server that is not ready yet leaves connections waiting. */
bool kafka_client_has_answered(const struct kafka_client *client);
/* Must be up. Never calls back before it returns. */
void kafka_client_send(struct kafka_client *client, struct kafka_request *request, const void *message);

#endif

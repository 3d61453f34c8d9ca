/* The follower's side of one worker: which leaders there are, and the order of its step. */
#include "broker/broker.h"
#include "broker/stream/stream_client_private.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "controller/image_delta.h"

#include <utlist.h>

#define STREAM_LISTENER "INTERNAL"

/* ---- peers ---- */

/* False when nothing has changed. */
static bool stream_peer_learn(struct stream_peer *peer, const struct image *image)
{
    const struct image_broker *broker = image == NULL ? NULL : image_find_broker(image, peer->broker_id);
    const struct image_endpoint *endpoint =
        broker == NULL ? NULL : image_find_endpoint(broker, span_text(STREAM_LISTENER));
    if (endpoint == NULL || endpoint->host.bytes >= STREAM_HOST_BYTES) {
        return false; /* an address that was good once is the best there is */
    }
    const char *host = (const char *)endpoint->host.data;
    bool is_same = peer->port == endpoint->port && strcmp(peer->host, host) == 0 && peer->broker_epoch == broker->epoch;
    memcpy(peer->host, host, endpoint->host.bytes);
    peer->host[endpoint->host.bytes] = '\0';
    peer->port = endpoint->port;
    peer->broker_epoch = broker->epoch;
    return !is_same;
}

struct stream_peer *stream_client_peer(struct stream_client *client, int32_t broker_id)
{
    struct stream_peer *peer = NULL;
    DL_FOREACH (client->peers, peer) {
        if (peer->broker_id == broker_id) {
            return peer;
        }
    }
    peer = MEM_NEW(struct stream_peer);
    peer->client = client;
    peer->broker_id = broker_id;
    peer->broker_epoch = -1;
    peer->worker_count = client->worker->broker->worker_count;
    (void)stream_peer_learn(peer, client->worker->image);
    DL_APPEND(client->peers, peer);
    return peer;
}

static void stream_peer_moved(struct stream_peer *peer)
{
    struct stream_lane *lane = NULL;
    DL_FOREACH (peer->lanes, lane) {
        if (lane->dial == NULL) {
            stream_lane_open(lane);
            continue;
        }
        const struct rpc_hello *hello = lane->link == NULL ? NULL : rpc_link_peer(lane->link);
        bool is_old = hello != NULL && hello->broker_epoch < peer->broker_epoch;
        struct rpc_link *link = lane->link;
        rpc_dial_set_address(lane->dial, peer->host, peer->port);
        if (link != NULL && rpc_dial_link(lane->dial) != link) {
            stream_lane_lose(lane); /* it was another address */
        } else if (is_old) {
            stream_lane_lose(lane);
            rpc_dial_redo(lane->dial); /* that process is gone, whatever the link says */
        } else if (link == NULL) {
            rpc_dial_hurry(lane->dial);
        }
    }
}

void stream_client_metadata(struct stream_client *client, const struct image *image, const struct image_delta *delta)
{
    struct stream_peer *peer = NULL;
    if (client->is_stopping || (delta != NULL && delta->broker_count == 0)) {
        return;
    }
    DL_FOREACH (client->peers, peer) {
        if (stream_peer_learn(peer, image)) {
            stream_peer_moved(peer);
        }
    }
}

/* ---- identity ---- */

void stream_client_set_identity(struct stream_client *client, const struct rpc_hello *hello)
{
    struct stream_peer *peer = NULL;
    struct stream_lane *lane = NULL;
    bool is_same = client->has_identity && client->hello.broker_epoch == hello->broker_epoch &&
                   uuid_equal(client->hello.incarnation_id, hello->incarnation_id);
    client->hello = *hello;
    client->hello.authentication = SPAN_NULL;
    client->has_identity = true;
    if (is_same || client->is_stopping) {
        return;
    }
    DL_FOREACH (client->peers, peer) {
        DL_FOREACH (peer->lanes, lane) {
            if (lane->dial == NULL) {
                stream_lane_open(lane);
            } else {
                stream_lane_lose(lane);
                rpc_dial_redo(lane->dial);
            }
        }
    }
}

/* ---- the step ---- */

void stream_client_step(struct stream_client *client)
{
    while (client->dirty != NULL) {
        struct stream_lane *lane = client->dirty;
        LL_DELETE2(client->dirty, lane, next_dirty);
        lane->is_dirty = false;
        stream_lane_step(lane);
    }
}

/* ---- life ---- */

struct stream_client *stream_client_new(struct worker *worker)
{
    struct stream_client *client = MEM_NEW(struct stream_client);
    client->worker = worker;
    client->logger = worker->broker->env->logger;
    arena_init(&client->arena, STREAM_HEADER_ARENA_BYTES);
    return client;
}

void stream_client_events(struct stream_client *client, struct partition_follow_events *ret_events)
{
    *ret_events = (struct partition_follow_events){
        .ctx = client,
        .on_follow = stream_follow_on_follow,
        .on_unfollow = stream_follow_on_unfollow,
        .on_counted = stream_follow_on_counted,
    };
}

static void stream_client_stopped(struct loop_task *task)
{
    struct stream_client *client = CONTAINER_OF(task, struct stream_client, stopped);
    client->stop_done(client->stop_ctx);
}

void stream_client_check_stopped(struct stream_client *client)
{
    if (client->is_stopping && client->cutting_count == 0) {
        loop_defer(client->worker->loop, &client->stopped);
    }
}

void stream_client_stop(struct stream_client *client, void (*done)(void *ctx), void *ctx)
{
    CHECK(!client->is_stopping);
    client->is_stopping = true;
    client->stop_done = done;
    client->stop_ctx = ctx;
    client->stopped.run = stream_client_stopped;
    while (client->peers != NULL) {
        struct stream_lane *lane = client->peers->lanes;
        while (lane->follows != NULL) {
            stream_follow_free(lane->follows);
        }
        stream_lane_free(lane); /* and its peer, with the last */
    }
    stream_client_check_stopped(client);
}

void stream_client_free(struct stream_client *client)
{
    if (client == NULL) {
        return;
    }
    CHECK(client->peers == NULL && client->cutting_count == 0);
    arena_done(&client->arena);
    mem_free(client);
}

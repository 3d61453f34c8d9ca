/* Accepting is the home thread's work; from then on a connection is its worker's. */
#include "broker/net/listener.h"

#include "broker/broker_metrics.h"
#include "broker/net/connection_set.h"
#include "common/check.h"
#include "common/logger.h"
#include "common/mem.h"

struct listener {
    struct listener_config config;
    struct listener_targets targets;
    bool is_open;
    struct net_listener *net_listener;
    struct socket *waiting[LISTENER_WAITING_MAX];
    size_t waiting_count;
    struct log_limit refusal_limit;
};

static void run_offer(struct loop_task *task)
{
    struct connection_offer *offer = CONTAINER_OF(task, struct connection_offer, task);
    connection_set_add(offer->set, offer);
}

static void refuse(struct listener *listener, struct socket *socket, const struct net_address *client, const char *why)
{
    logger_limited(listener->config.logger, &listener->refusal_limit, LOG_WARN, "net", "connection_refused",
                   "client=%s:%u listener=%s why=\"%s\"", client->host, (unsigned)client->port, listener->config.name,
                   why);
    socket_close(socket);
}

static void hand_over(struct listener *listener, struct socket *socket)
{
    struct net_address client;
    socket_peer(socket, &client);
    struct admission_ticket *ticket = NULL;
    unsigned worker_index = 0;
    const char *why = NULL;
    enum err err = admission_take(listener->targets.admission, client.host, &ticket, &worker_index, &why);
    if (err != ERR_OK) {
        metric_add(listener->targets.metrics, METRIC_CONNECTIONS_REFUSED, 1);
        refuse(listener, socket, &client, why);
        return;
    }
    struct connection_offer *offer = MEM_NEW(struct connection_offer);
    *offer = (struct connection_offer){
        .task = {.run = run_offer},
        .set = listener->targets.sets[worker_index],
        .socket = socket,
        .client = client,
        .ticket = ticket,
        .listener_name = listener->config.name,
        .is_authenticated = listener->config.is_authenticated,
    };
    loop_post(listener->targets.loops[worker_index], &offer->task);
}

static void on_accept(void *ctx, struct socket *socket)
{
    struct listener *listener = ctx;
    if (listener->is_open) {
        hand_over(listener, socket);
        return;
    }
    if (listener->waiting_count == LISTENER_WAITING_MAX) {
        struct net_address client;
        socket_peer(socket, &client);
        refuse(listener, socket, &client, "the node is starting and too many connections wait already");
        return;
    }
    listener->waiting[listener->waiting_count++] = socket;
}

enum err listener_bind(const struct listener_config *config, struct listener **ret_listener)
{
    struct listener *listener = MEM_NEW(struct listener);
    listener->config = *config;
    enum err err =
        net_listen(config->net, config->home, config->host, config->port, on_accept, listener, &listener->net_listener);
    if (err != ERR_OK) {
        mem_free(listener);
        return err;
    }
    *ret_listener = listener;
    return ERR_OK;
}

void listener_open(struct listener *listener, const struct listener_targets *targets)
{
    CHECK(!listener->is_open);
    listener->targets = *targets;
    listener->is_open = true;
    for (size_t i = 0; i < listener->waiting_count; i++) {
        hand_over(listener, listener->waiting[i]);
    }
    listener->waiting_count = 0;
}

void listener_address(struct listener *listener, struct net_address *ret_address)
{
    net_listener_address(listener->config.net, listener->net_listener, ret_address);
}

void listener_close(struct listener *listener)
{
    if (listener == NULL) {
        return;
    }
    net_listener_close(listener->config.net, listener->net_listener);
    for (size_t i = 0; i < listener->waiting_count; i++) {
        socket_close(listener->waiting[i]);
    }
    mem_free(listener);
}

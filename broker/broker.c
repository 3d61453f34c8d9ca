/* The broker as a value, and the states of its life. */
#include "broker/api/handlers.h"
#include "broker/broker_internal.h"
#include "common/check.h"
#include "common/logger.h"
#include "common/mem.h"

static bool is_move_legal(enum broker_state from, enum broker_state to)
{
    switch (from) {
    case BROKER_NEW:
        return to == BROKER_STARTING;
    case BROKER_STARTING:
        return to == BROKER_READY || to == BROKER_FAILED || to == BROKER_STOPPING || to == BROKER_NEW;
    case BROKER_READY:
        return to == BROKER_FAILED || to == BROKER_STOPPING;
    case BROKER_FAILED:
        return to == BROKER_STOPPING;
    case BROKER_STOPPING:
        return to == BROKER_STOPPED;
    case BROKER_STOPPED:
        return false;
    }
    UNREACHABLE();
}

enum broker_state broker_state(const struct broker *broker)
{
    return atomic_load(&broker->priv->state);
}

void broker_set_state(struct broker *broker, enum broker_state state)
{
    CHECK(is_move_legal(broker_state(broker), state));
    atomic_store(&broker->priv->state, state);
}

const char *broker_state_name(enum broker_state state)
{
    switch (state) {
    case BROKER_NEW:
    case BROKER_STARTING:
        return "starting";
    case BROKER_READY:
        return "ready";
    case BROKER_FAILED:
        return "failed";
    case BROKER_STOPPING:
    case BROKER_STOPPED:
        return "stopping";
    }
    UNREACHABLE();
}

void broker_fail(struct broker *broker, const char *sentence)
{
    enum broker_state state = broker_state(broker);
    if (state != BROKER_STARTING && state != BROKER_READY) {
        return;
    }
    broker_set_state(broker, BROKER_FAILED);
    log_error(broker->env->logger, "broker", "failed", "why=\"%s\"", sentence);
    broker->priv->on_failed(broker->priv->events_ctx);
}

struct broker *broker_new(struct env *env, const struct broker_options *options, struct loop *home)
{
    struct broker *broker = MEM_NEW(struct broker);
    broker->env = env;
    broker->options = options;
    broker->home = home;
    broker->dispatch = handlers_table();
    broker->metrics = metric_registry_new();
    broker->priv = MEM_NEW(struct broker_private);
    atomic_init(&broker->priv->state, BROKER_NEW);
    return broker;
}

void broker_free(struct broker *broker)
{
    if (broker == NULL) {
        return;
    }
    enum broker_state state = broker_state(broker);
    CHECK(state == BROKER_NEW || state == BROKER_STOPPED);
    broker_unmake(broker);
    metric_registry_free(broker->metrics);
    mem_free(broker->priv);
    mem_free(broker);
}

bool broker_listener_address(const struct broker *broker, size_t index, struct net_address *ret_address)
{
    if (index >= broker->priv->addresses.count || broker->priv->listeners[index] == NULL) {
        return false;
    }
    listener_address(broker->priv->listeners[index], ret_address);
    return true;
}

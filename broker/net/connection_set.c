/* The worker's side of its connections. */
#include "broker/net/admission.h"
#include "broker/net/connection_internal.h"
#include "common/check.h"
#include "common/mem.h"

#include <utlist.h>

static void drain_over(struct loop_timer *timer)
{
    struct connection_set *set = CONTAINER_OF(timer, struct connection_set, drain_timer);
    struct connection *connection = NULL;
    DL_FOREACH (set->connections, connection) {
        connection_close(connection);
    }
}

static void tell_stopped(struct loop_task *task)
{
    struct connection_set *set = CONTAINER_OF(task, struct connection_set, stopped_task);
    loop_timer_cancel(set->config.loop, &set->drain_timer);
    set->on_stopped(set->on_stopped_ctx);
}

struct connection_set *connection_set_new(const struct connection_set_config *config)
{
    CHECK(config->limits->requests_in_flight_max > 0);
    struct connection_set *set = MEM_NEW(struct connection_set);
    set->config = *config;
    set->scratch = mem_alloc(CONNECTION_SCRATCH_BYTES);
    set->drain_timer.fire = drain_over;
    set->stopped_task.run = tell_stopped;
    return set;
}

void connection_set_free(struct connection_set *set)
{
    if (set == NULL) {
        return;
    }
    CHECK(set->connection_count == 0);
    while (set->free_slots != NULL) {
        struct connection_slot *slot = set->free_slots;
        set->free_slots = slot->next;
        mem_free(slot);
    }
    mem_free(set->scratch);
    mem_free(set);
}

void connection_set_add(struct connection_set *set, struct connection_offer *offer)
{
    if (set->is_stopping) {
        socket_close(offer->socket);
        admission_ticket_return(offer->ticket);
    } else {
        connection_start(set, offer);
    }
    mem_free(offer);
}

void connection_set_write(struct connection_set *set)
{
    while (set->dirty != NULL) { /* ends: writing makes no connection dirty */
        struct connection *connection = set->dirty;
        connection_unmark_dirty(connection);
        connection_write(connection);
    }
}

void connection_set_stop(struct connection_set *set, void (*on_stopped)(void *ctx), void *ctx)
{
    CHECK(!set->is_stopping);
    set->is_stopping = true;
    set->on_stopped = on_stopped;
    set->on_stopped_ctx = ctx;
    if (set->connection_count == 0) {
        loop_defer(set->config.loop, &set->stopped_task);
        return;
    }
    loop_timer_set(set->config.loop, &set->drain_timer, loop_now_us(set->config.loop) + set->config.limits->drain_us);
    struct connection *connection = NULL;
    DL_FOREACH (set->connections, connection) {
        if (connection->in_flight == 0) {
            connection_close(connection);
        } else {
            connection_update_watch(connection);
        }
    }
}

size_t connection_set_count(const struct connection_set *set)
{
    return set->connection_count;
}

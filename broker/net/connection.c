/* The life of a connection. Two rules keep it simple:
 *
 * - Closing is a state. The socket goes at once, so that nothing more comes in or out, and with it its place among
 *   max.connections; the struct goes when the last handler has answered, for requests point to its principal and address.
 *   That may take long (Produce with acks=all, or a controller without a quorum), and clients that leave and come again must
 *   not shut others out meanwhile. What is left of such a connection counts in the memory budget, which bounds them all.
 * - Nothing is freed inside a callback. A handler may close the connection whose read loop called it; the struct is
 *   freed by the task `later`, which runs when all such callers have returned.
 */
#include "broker/broker_metrics.h"
#include "broker/net/admission.h"
#include "broker/net/connection_internal.h"
#include "common/check.h"
#include "common/mem.h"

#include <stdio.h>
#include <utlist.h>

static void free_connection(struct connection *connection)
{
    struct connection_set *set = connection->set;
    connection_free_slots(connection);
    DL_DELETE(set->connections, connection);
    set->connection_count--;
    metric_add(set->config.metrics, METRIC_CONNECTIONS, -1);
    mem_free(connection);
    if (set->is_stopping && set->connection_count == 0) {
        loop_defer(set->config.loop, &set->stopped_task);
    }
}

static void run_later(struct loop_task *task)
{
    struct connection *connection = CONTAINER_OF(task, struct connection, later);
    if (connection->state == CONNECTION_CLOSING) {
        if (connection->at_work == 0) {
            free_connection(connection);
        }
        return;
    }
    connection_read_held(connection);
    connection_update_watch(connection);
}

void connection_continue_later(struct connection *connection)
{
    loop_defer(connection->set->config.loop, &connection->later);
}

bool connection_may_read(const struct connection *connection)
{
    return connection->state == CONNECTION_OPEN && !connection->set->is_stopping && !connection->is_muted &&
           !connection->memory_waiter.is_waiting &&
           connection->in_flight < connection->set->config.limits->requests_in_flight_max;
}

void connection_update_watch(struct connection *connection)
{
    if (connection->state != CONNECTION_OPEN) {
        return;
    }
    unsigned events = 0;
    if (connection_may_read(connection) && connection->held == NULL) {
        events |= NET_READABLE;
    }
    if (connection->is_write_blocked) {
        events |= NET_WRITABLE;
    }
    socket_watch(connection->socket, events);
}

static void on_socket_ready(void *ctx, unsigned events)
{
    struct connection *connection = ctx;
    if ((events & NET_WRITABLE) != 0) {
        connection->is_write_blocked = false;
        connection_mark_dirty(connection); /* written in the step, with what else is ready by then */
    }
    if ((events & NET_READABLE) != 0) {
        connection_read(connection);
    }
    connection_update_watch(connection);
}

static void unmute(struct loop_timer *timer)
{
    struct connection *connection = CONTAINER_OF(timer, struct connection, unmute);
    connection->is_muted = false;
    connection_continue_later(connection);
}

void connection_start(struct connection_set *set, struct connection_offer *offer)
{
    struct connection *connection = MEM_NEW(struct connection);
    connection->set = set;
    connection->socket = offer->socket;
    connection->ticket = offer->ticket;
    connection->listener_name = offer->listener_name;
    connection->client = offer->client;
    connection->is_authenticated = offer->is_authenticated;
    snprintf(connection->principal, sizeof(connection->principal), "%s", REQUEST_PRINCIPAL_ANONYMOUS);
    connection->unmute.fire = unmute;
    connection->later.run = run_later;
    DL_APPEND(set->connections, connection);
    set->connection_count++;
    metric_add(set->config.metrics, METRIC_CONNECTIONS, 1);
    connection_start_reading(connection);
    connection_start_deadlines(connection);
    socket_attach(connection->socket, set->config.loop, on_socket_ready, connection);
    connection_update_watch(connection);
}

void connection_close(struct connection *connection)
{
    if (connection->state == CONNECTION_CLOSING) {
        return;
    }
    connection->state = CONNECTION_CLOSING;
    struct loop *loop = connection->set->config.loop;
    loop_timer_cancel(loop, &connection->timer);
    loop_timer_cancel(loop, &connection->unmute);
    socket_close(connection->socket);
    connection->socket = NULL;
    admission_ticket_return(connection->ticket);
    connection->ticket = NULL;
    connection_stop_reading(connection);
    connection_unmark_dirty(connection);
    connection_abandon_slots(connection);
    if (connection->at_work == 0) {
        connection_continue_later(connection);
    }
}

void connection_refuse(struct connection *connection, const char *event, const char *why)
{
    struct connection_set *set = connection->set;
    if (connection->state == CONNECTION_CLOSING) {
        return;
    }
    metric_add(set->config.metrics, METRIC_CONNECTIONS_REFUSED, 1);
    logger_limited(set->config.logger, &set->refusal_limit, LOG_WARN, "net", event,
                   "client=%s:%u listener=%s action=closed why=\"%s\"", connection->client.host,
                   (unsigned)connection->client.port, connection->listener_name, why);
    connection_close(connection);
}

void connection_lost(struct connection *connection, enum err err)
{
    log_debug(connection->set->config.logger, "net", "connection_lost", "client=%s:%u err=%s in_flight=%u",
              connection->client.host, (unsigned)connection->client.port, err_name(err), connection->in_flight);
    connection_close(connection);
}

void connection_throttle(struct connection *connection, uint32_t delay_ms)
{
    if (connection == NULL || connection->state == CONNECTION_CLOSING || delay_ms == 0) {
        return;
    }
    struct loop *loop = connection->set->config.loop;
    uint64_t until_us = loop_now_us(loop) + (uint64_t)delay_ms * 1000;
    if (connection->is_muted && connection->unmute.deadline_us >= until_us) {
        return; /* two throttled requests: the longer wait holds */
    }
    connection->is_muted = true;
    loop_timer_set(loop, &connection->unmute, until_us);
    connection_update_watch(connection);
}

void connection_set_software(struct connection *connection, struct span name, struct span version)
{
    if (connection == NULL) {
        return;
    }
    snprintf(connection->software_name, sizeof(connection->software_name), "%.*s", (int)name.bytes,
             (const char *)name.data);
    snprintf(connection->software_version, sizeof(connection->software_version), "%.*s", (int)version.bytes,
             (const char *)version.data);
}

void connection_set_principal(struct connection *connection, const char *principal)
{
    if (connection == NULL) {
        return;
    }
    snprintf(connection->principal, sizeof(connection->principal), "%s", principal);
    connection->is_authenticated = true;
    connection->reader.frame_bytes_max = connection->set->config.limits->request_bytes_max;
}

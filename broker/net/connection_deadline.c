/* Deadlines of a connection: idle, stalled in a frame, stalled in a reply, handshake not finished.
 *
 * One timer serves all four. The hot path only stores times; the timer looks at them when it fires and arms itself
 * for the next moment at which something could be due, so that a busy connection costs one look per stall time and an
 * idle one a look per idle time.
 */
#include "broker/net/connection_internal.h"
#include "common/check.h"

#include <stdio.h>

struct deadline {
    uint64_t at_us;
    const char *why; /* NULL: only look again */
};

static void consider(struct deadline *first, uint64_t at_us, const char *why)
{
    if (at_us < first->at_us) {
        *first = (struct deadline){at_us, why};
    }
}

static struct deadline first_deadline(const struct connection *connection, uint64_t now_us)
{
    const struct connection_limits *limits = connection->set->config.limits;
    struct deadline first = {now_us + limits->idle_us, NULL};
    if (!connection->is_authenticated) {
        consider(&first, connection->accepted_us + limits->handshake_us, "the handshake took too long");
    }
    bool is_reply_waiting = connection->first_slot != NULL && connection->first_slot->is_done;
    if (is_reply_waiting) {
        consider(&first, connection->last_write_us + limits->write_stall_us,
                 "the client takes no replies: its write deadline has passed");
    }
    bool is_inside_frame = frame_reader_is_inside(&connection->reader);
    if (is_inside_frame && connection_may_read(connection)) {
        consider(&first, connection->last_read_us + limits->read_stall_us,
                 "a request was begun and not completed: its read deadline has passed");
    }
    if (connection->in_flight == 0 && !is_inside_frame) {
        uint64_t active_us =
            connection->last_read_us > connection->last_write_us ? connection->last_read_us : connection->last_write_us;
        consider(&first, active_us + limits->idle_us, "idle for connections.max.idle.ms");
    }
    return first;
}

static void fire(struct loop_timer *timer)
{
    struct connection *connection = CONTAINER_OF(timer, struct connection, timer);
    struct loop *loop = connection->set->config.loop;
    uint64_t now_us = loop_now_us(loop);
    struct deadline first = first_deadline(connection, now_us);
    if (first.at_us > now_us) {
        loop_timer_set(loop, timer, first.at_us);
        return;
    }
    log_info(connection->set->config.logger, "net", "connection_expired", "client=%s:%u action=closed why=\"%s\"",
             connection->client.host, (unsigned)connection->client.port, first.why == NULL ? "" : first.why);
    connection_close(connection);
}

void connection_start_deadlines(struct connection *connection)
{
    struct loop *loop = connection->set->config.loop;
    uint64_t now_us = loop_now_us(loop);
    connection->accepted_us = now_us;
    connection->last_read_us = now_us;
    connection->last_write_us = now_us;
    connection->timer.fire = fire;
    loop_timer_set(loop, &connection->timer, first_deadline(connection, now_us).at_us);
}

void connection_look_within(struct connection *connection, uint64_t wait_us)
{
    struct loop *loop = connection->set->config.loop;
    uint64_t at_us = loop_now_us(loop) + wait_us;
    if (connection->timer.deadline_us > at_us) {
        loop_timer_set(loop, &connection->timer, at_us);
    }
}

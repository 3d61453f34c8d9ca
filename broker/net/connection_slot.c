/* Slots: the requests of a connection in the order of arrival. The order of replies is the order of this list, whatever
 * the order in which handlers answer.
 */
#include "broker/broker_metrics.h"
#include "broker/net/connection_internal.h"
#include "common/check.h"
#include "common/mem.h"
#include "common/seam/clock.h"

/* Decoded request and response of one request; their bytes are mostly spans into the frame. */
#define REQUEST_ARENA_BYTES_MAX (128u << 20)
/* What is left of a connection whose client has gone holds no place among max.connections any more: the memory budget bounds it. */
#define ABANDONED_BYTES (sizeof(struct connection) + sizeof(struct connection_slot) + ARENA_BLOCK_BYTES)

static struct connection_slot *take_free_slot(struct connection_set *set)
{
    struct connection_slot *slot = set->free_slots;
    if (slot == NULL) {
        return MEM_NEW(struct connection_slot);
    }
    set->free_slots = slot->next;
    set->free_slot_count--;
    *slot = (struct connection_slot){0};
    return slot;
}

static void put_free_slot(struct connection_set *set, struct connection_slot *slot)
{
    if (set->free_slot_count >= CONNECTION_SLOTS_KEPT) {
        mem_free(slot);
        return;
    }
    slot->next = set->free_slots;
    set->free_slots = slot;
    set->free_slot_count++;
}

struct connection_slot *connection_slot_open(struct connection *connection, struct shared_bytes *frame,
                                             size_t memory_bytes)
{
    struct connection_set *set = connection->set;
    struct connection_slot *slot = take_free_slot(set);
    slot->owner = connection;
    slot->memory_bytes = memory_bytes;
    slot->request = (struct request){
        .worker = set->config.worker,
        .connection = connection,
        .context = {.principal = connection->principal,
                    .listener_name = connection->listener_name,
                    .client = connection->client,
                    .software_name =
                        connection->software_name[0] == '\0' ? SPAN_NULL : span_text(connection->software_name)},
        .frame = frame,
        .received_us = clock_mono_us(set->config.clock),
        .sequence = connection->next_sequence++,
    };
    arena_init(&slot->request.arena, REQUEST_ARENA_BYTES_MAX);
    if (connection->first_slot == NULL) {
        connection->first_slot = slot;
    } else {
        connection->last_slot->next = slot;
    }
    connection->last_slot = slot;
    connection->in_flight++;
    connection->at_work++;
    metric_add(set->config.metrics, METRIC_REQUESTS_IN_FLIGHT, 1);
    return slot;
}

static void set_memory(struct connection_slot *slot, size_t bytes)
{
    struct memory_queue *memory = slot->owner->set->config.memory;
    if (bytes > slot->memory_bytes) {
        memory_take(memory, bytes - slot->memory_bytes);
    } else if (bytes < slot->memory_bytes) {
        memory_give(memory, slot->memory_bytes - bytes);
    }
    slot->memory_bytes = bytes;
}

void connection_slot_count_arena(struct connection_slot *slot)
{
    if (!slot->is_done) {
        set_memory(slot, slot->memory_bytes + slot->request.arena.used_bytes);
    }
}

/* The handler has answered: what the request held goes, what it said stays until it is sent. */
static void finish(struct connection_slot *slot)
{
    CHECK(!slot->request.is_replied && slot->owner->at_work > 0);
    slot->request.is_replied = true;
    slot->is_done = true;
    slot->owner->at_work--;
    arena_done(&slot->request.arena);
    shared_bytes_unref(slot->request.frame);
    slot->request.frame = NULL;
    slot->request.message = NULL;
    metric_add(slot->owner->set->config.metrics, METRIC_REQUESTS_IN_FLIGHT, -1);
}

static void finish_with(struct request *request, struct reply_output *output)
{
    struct connection_slot *slot = CONTAINER_OF(request, struct connection_slot, request);
    struct connection *connection = slot->owner;
    finish(slot);
    if (connection->state == CONNECTION_CLOSING) {
        reply_output_done(output);
        set_memory(slot, 0);
        if (connection->at_work == 0) {
            connection_continue_later(connection);
        }
        return;
    }
    slot->output = *output;
    set_memory(slot, output->bytes);
    if (slot == connection->first_slot) {
        connection_mark_dirty(connection);
    }
}

void connection_reply(struct request *request, struct reply_output *output)
{
    finish_with(request, output);
}

void connection_reply_nothing(struct request *request)
{
    struct reply_output nothing = {0};
    finish_with(request, &nothing);
}

void connection_close_because(struct request *request, const char *why)
{
    struct connection_slot *slot = CONTAINER_OF(request, struct connection_slot, request);
    struct connection *connection = slot->owner;
    connection_refuse(connection, "request_refused", why);
    connection_reply_nothing(request);
}

static struct connection_slot *unlink_first(struct connection *connection)
{
    struct connection_slot *slot = connection->first_slot;
    connection->first_slot = slot->next;
    if (connection->first_slot == NULL) {
        connection->last_slot = NULL;
    }
    connection->in_flight--;
    return slot;
}

void connection_slot_pop(struct connection *connection)
{
    CHECK(connection->first_slot != NULL && connection->first_slot->is_done);
    struct connection_slot *slot = unlink_first(connection);
    reply_output_done(&slot->output);
    set_memory(slot, 0);
    put_free_slot(connection->set, slot);
}

void connection_abandon_slots(struct connection *connection)
{
    for (struct connection_slot *slot = connection->first_slot; slot != NULL; slot = slot->next) {
        slot->request.connection = NULL;
        if (slot->is_done) {
            reply_output_done(&slot->output);
            set_memory(slot, 0);
            continue;
        }
        set_memory(slot, slot->memory_bytes + ABANDONED_BYTES);
        if (slot->request.on_abandoned != NULL) {
            slot->request.on_abandoned(&slot->request);
        }
    }
}

void connection_free_slots(struct connection *connection)
{
    while (connection->first_slot != NULL) {
        connection_slot_pop(connection);
    }
}

/* The bus: each message is an event of the world; it arrives once, several times or never, in any order. */
#include "common/big_endian.h"
#include "tests/sim/quorum_cluster_private.h"
#include "tests/support/plain_mem.h"

#include <utlist.h>

#define PART_HEAD_BYTES 16

struct quorum_flight {
    struct loop_timer event;
    struct quorum_cluster *cluster;
    unsigned from;
    uint64_t to_raft_id;
    struct quorum_flight *prev;
    struct quorum_flight *next;
    size_t bytes; /* sender (8), bytes of the header (8), header, body */
    uint8_t data[];
};

static void receive(struct quorum_process *process, struct span bytes)
{
    size_t header_bytes = (size_t)be64_get(bytes.data + 8);
    struct span header = span_sub(bytes, PART_HEAD_BYTES, header_bytes);
    struct span body = span_sub(bytes, PART_HEAD_BYTES + header_bytes, bytes.bytes - PART_HEAD_BYTES - header_bytes);
    enum err err = quorum_receive(process->quorum, be64_get(bytes.data), header, body);
    if (err != ERR_OK) {
        quorum_cluster_violate(process->slot->cluster, "%s refuses a message of type %u: %s", process->slot->name,
                               header.data[1], err_text(err));
    }
}

static void flight_free(struct quorum_flight *flight)
{
    sim_world_cancel(&flight->cluster->world, &flight->event);
    DL_DELETE(flight->cluster->bus.flights, flight);
    plain_free(flight);
}

static void arrive(struct loop_timer *event)
{
    struct quorum_flight *flight = CONTAINER_OF(event, struct quorum_flight, event);
    struct quorum_cluster *cluster = flight->cluster;
    struct quorum_slot *to = quorum_cluster_find(cluster, flight->to_raft_id);
    if (to != NULL && !cluster->bus.is_blocked[flight->from][to->number]) {
        quorum_process_call(to, receive, span_make(flight->data, flight->bytes));
    }
    flight_free(flight);
}

static void fly(struct quorum_process *process, uint64_t to_raft_id, struct span header, struct span body)
{
    struct quorum_cluster *cluster = process->slot->cluster;
    size_t bytes = PART_HEAD_BYTES + header.bytes + body.bytes;
    struct quorum_flight *flight = (struct quorum_flight *)plain_zalloc(sizeof(*flight) + bytes);
    flight->event.fire = arrive;
    flight->cluster = cluster;
    flight->from = process->slot->number;
    flight->to_raft_id = to_raft_id;
    flight->bytes = bytes;
    be64_put(flight->data, process->slot->raft_id);
    be64_put(flight->data + 8, header.bytes);
    memcpy(flight->data + PART_HEAD_BYTES, header.data, header.bytes);
    if (body.bytes > 0) {
        memcpy(flight->data + PART_HEAD_BYTES + header.bytes, body.data, body.bytes);
    }
    DL_APPEND(cluster->bus.flights, flight);
    uint64_t delay_us = sim_world_draw_us(&cluster->world, 100, cluster->bus.delay_us_most);
    uint64_t arrival_us = cluster->world.now_us + delay_us;
    const struct quorum_slot *to = quorum_cluster_find(cluster, to_raft_id);
    if (cluster->bus.is_ordered && to != NULL) {
        uint64_t *last_us = &cluster->bus.last_us[process->slot->number][to->number];
        arrival_us = arrival_us <= *last_us ? *last_us + 1 : arrival_us;
        *last_us = arrival_us;
    }
    sim_world_set(&cluster->world, &flight->event, arrival_us);
}

void quorum_bus_send(struct quorum_process *process, uint64_t to_raft_id, struct span header, struct span body)
{
    struct quorum_cluster *cluster = process->slot->cluster;
    struct prop *prop = &cluster->world.prop;
    cluster->checker.message_count++;
    if (prop_chance(prop, cluster->bus.drop_permille, 1000)) {
        return;
    }
    fly(process, to_raft_id, header, body);
    while (prop_chance(prop, cluster->bus.repeat_permille, 1000)) {
        fly(process, to_raft_id, header, body);
    }
}

void quorum_bus_heal(struct quorum_bus *bus)
{
    bus->drop_permille = 0;
    bus->repeat_permille = 0;
    bus->delay_us_most = 2000;
    memset(bus->is_blocked, 0, sizeof(bus->is_blocked));
}

void quorum_bus_done(struct quorum_cluster *cluster)
{
    while (cluster->bus.flights != NULL) {
        flight_free(cluster->bus.flights);
    }
}

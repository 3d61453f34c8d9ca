/* The fabric: hosts, links, and what happens to them. */
#include "tests/sim/sim_net.h"

#include "tests/sim/sim_net_internal.h"
#include "tests/support/plain_mem.h"

#include <utlist.h>

#define LOOPBACK_US_LEAST 5u
#define LOOPBACK_US_MOST 60u
#define LINK_US_LEAST 60u
#define LINK_US_MOST 800u
#define EPHEMERAL_PORT_FIRST 40000u

static const struct net_ops sim_net_ops = {
    .listen = sim_net_listen,
    .listener_address = sim_net_listener_address,
    .listener_close = sim_net_listener_close,
    .connect = sim_net_connect,
};

const struct sim_link *sim_net_link(const struct sim_host *from, const struct sim_host *to)
{
    return &from->fabric->links[from->index][to->index];
}

uint64_t sim_net_latency_us(const struct sim_host *from, const struct sim_host *to)
{
    const struct sim_link *link = sim_net_link(from, to);
    return sim_world_draw_us(from->fabric->world, link->latency_us_least, link->latency_us_most);
}

bool sim_net_is_open(const struct sim_host *from, const struct sim_host *to)
{
    return !sim_net_link(from, to)->is_blocked;
}

struct sim_fabric *sim_fabric_new(struct sim_world *world)
{
    struct sim_fabric *fabric = PLAIN_NEW(struct sim_fabric);
    fabric->world = world;
    fabric->window_bytes = SIM_NET_WINDOW_BYTES_DEFAULT;
    for (unsigned from = 0; from < SIM_NET_HOSTS_MAX; from++) {
        for (unsigned to = 0; to < SIM_NET_HOSTS_MAX; to++) {
            fabric->links[from][to] =
                from == to
                    ? (struct sim_link){.latency_us_least = LOOPBACK_US_LEAST, .latency_us_most = LOOPBACK_US_MOST}
                    : (struct sim_link){.latency_us_least = LINK_US_LEAST, .latency_us_most = LINK_US_MOST};
        }
    }
    return fabric;
}

void sim_fabric_free(struct sim_fabric *fabric)
{
    if (fabric == NULL) {
        return;
    }
    for (unsigned i = 0; i < fabric->host_count; i++) {
        sim_host_kill_process(fabric->hosts[i]);
    }
    while (fabric->connections != NULL) {
        sim_connection_free(fabric->connections);
    }
    for (unsigned i = 0; i < fabric->host_count; i++) {
        plain_free(fabric->hosts[i]->name);
        plain_free(fabric->hosts[i]->address);
        plain_free(fabric->hosts[i]);
    }
    plain_free(fabric);
}

const struct sim_net_counts *sim_fabric_counts(const struct sim_fabric *fabric)
{
    return &fabric->counts;
}

void sim_fabric_set_window_bytes(struct sim_fabric *fabric, size_t window_bytes)
{
    CHECK(window_bytes > 0);
    fabric->window_bytes = window_bytes;
}

struct sim_host *sim_host_new(struct sim_fabric *fabric, const char *name, const char *address)
{
    CHECK(fabric->host_count < SIM_NET_HOSTS_MAX && strlen(address) < NET_HOST_TEXT_BYTES);
    struct sim_host *host = PLAIN_NEW(struct sim_host);
    host->net.ops = &sim_net_ops;
    host->fabric = fabric;
    host->index = fabric->host_count;
    host->name = plain_strdup(name);
    host->address = plain_strdup(address);
    host->is_on = true;
    host->next_port = EPHEMERAL_PORT_FIRST;
    fabric->hosts[fabric->host_count++] = host;
    return host;
}

struct net *sim_host_net(struct sim_host *host)
{
    return &host->net;
}

unsigned sim_host_index(const struct sim_host *host)
{
    return host->index;
}

unsigned sim_host_socket_count(const struct sim_host *host)
{
    return host->socket_count;
}

static void host_drop_process(struct sim_host *host, bool is_silent)
{
    while (host->connects != NULL) {
        sim_connect_abandon(host->connects);
    }
    while (host->listeners != NULL) {
        host->listeners->is_accepting = false;
        sim_net_listener_close(host->listeners);
    }
    struct sim_connection *connection = host->fabric->connections;
    while (connection != NULL) {
        struct sim_connection *next = connection->next;
        /* Leaving the second end frees the connection: decide for both before. */
        bool is_mine[2];
        for (int i = 0; i < 2; i++) {
            is_mine[i] = connection->ends[i].host == host && !connection->ends[i].is_gone;
        }
        for (int i = 0; i < 2; i++) {
            if (is_mine[i] && is_silent) {
                sim_end_vanish(&connection->ends[i]);
            } else if (is_mine[i]) {
                sim_end_leave(&connection->ends[i], false);
            }
        }
        connection = next;
    }
    CHECK(host->socket_count == 0);
}

void sim_host_kill_process(struct sim_host *host)
{
    host_drop_process(host, !host->is_on);
}

void sim_host_set_power(struct sim_host *host, bool is_on)
{
    if (!is_on) {
        host_drop_process(host, true);
    }
    host->is_on = is_on;
}

struct sim_link *sim_fabric_link(struct sim_fabric *fabric, struct sim_host *from, struct sim_host *to)
{
    return &fabric->links[from->index][to->index];
}

void sim_fabric_cut(struct sim_fabric *fabric, struct sim_host *a, struct sim_host *b, bool is_cut)
{
    CHECK(a != b);
    fabric->links[a->index][b->index].is_blocked = is_cut;
    fabric->links[b->index][a->index].is_blocked = is_cut;
}

void sim_fabric_heal(struct sim_fabric *fabric)
{
    for (unsigned from = 0; from < SIM_NET_HOSTS_MAX; from++) {
        for (unsigned to = 0; to < SIM_NET_HOSTS_MAX; to++) {
            fabric->links[from][to].is_blocked = false;
            fabric->links[from][to].loss_percent = 0;
        }
    }
}

bool sim_fabric_reset_one(struct sim_fabric *fabric, struct sim_host *host)
{
    struct sim_connection *connection = NULL;
    struct sim_connection *chosen = NULL;
    uint64_t count = 0;
    DL_FOREACH (fabric->connections, connection) {
        bool is_of_host = connection->ends[0].host == host || connection->ends[1].host == host;
        bool is_alive = !connection->ends[0].is_gone && !connection->ends[1].is_gone;
        if (is_of_host && is_alive && prop_below(&fabric->world->prop, ++count) == 0) {
            chosen = connection;
        }
    }
    if (chosen != NULL) {
        sim_connection_cut(chosen);
    }
    return chosen != NULL;
}

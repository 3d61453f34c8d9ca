/* sim_net: the network of a simulation: byte streams between the nodes, with everything that TCP lets happen to them, and
 * what cables and machines do. The simulated side of common/seam/net.h.
 *
 * Shape:     one fabric, a host per node, a link per ordered pair of hosts. A connection is two pipes; a pipe is a queue of
 *            segments with their times of arrival, and a window of unacknowledged bytes. Order within a pipe is kept and
 *            bytes are never lost or doubled while the connection lives: what is lost is sent again (later), so loss and a
 *            blocked link show as delay, stall, then time-out by whoever has a deadline: as over real TCP.
 *            Drawn from the seed: latencies, how much a write takes, how much a read gives, which connection is reset.
 * Hosts:     by number text ("10.0.0.1") or name; "127.0.0.1" and "localhost" are the own host. Listening at "0.0.0.0", "::" or
 *            "" serves all, at the own address or 127.0.0.1 only that.
 * Errors:    connect: ERR_REFUSED when the machine runs but nobody listens, ERR_TIMEOUT when nothing answers,
 *            ERR_ADDRESS_UNKNOWN for a name that no host has, ERR_CANCELLED when its loop ends first.
 * Death:     a killed process's sockets close (end of stream, or reset when it had unread bytes); a machine without power says
 *            nothing, and resets what still arrives once it is up again.
 * Ownership: the fabric owns connections and listeners; sockets belong to the product until socket_close.
 * Threads:   one.
 * Source:    testing.md 1 and 10 (rows 6-12); ADR-0009.
 */
#ifndef TESTS_SIM_SIM_NET_H
#define TESTS_SIM_SIM_NET_H

#include "common/seam/net.h"
#include "tests/sim/sim_world.h"

#define SIM_NET_HOSTS_MAX 24
#define SIM_NET_WINDOW_BYTES_DEFAULT (256u << 10)

struct sim_fabric;
struct sim_host;

struct sim_link {
    bool is_blocked; /* nothing gets through in this direction */
    uint64_t latency_us_least;
    uint64_t latency_us_most;
    unsigned loss_percent; /* of segments, which then come a retransmission later */
};

struct sim_net_counts {
    uint64_t connection_count;
    uint64_t refused_count;
    uint64_t reset_count;
    uint64_t delivered_bytes;
    uint64_t partial_write_count;
    uint64_t partial_read_count;
};

struct sim_fabric *sim_fabric_new(struct sim_world *world);
void sim_fabric_free(struct sim_fabric *fabric);
const struct sim_net_counts *sim_fabric_counts(const struct sim_fabric *fabric);
/* How many bytes a pipe holds between a writer and a reader that does not read. */
void sim_fabric_set_window_bytes(struct sim_fabric *fabric, size_t window_bytes);

/* A machine, powered on, without a process. `name` and `address` are copied. */
struct sim_host *sim_host_new(struct sim_fabric *fabric, const char *name, const char *address);
struct net *sim_host_net(struct sim_host *host);
/* The process is dead: its listeners, sockets and pending connects are gone, without callbacks. */
void sim_host_kill_process(struct sim_host *host);
/* The machine is dead as well; `is_on` false. The process must be dead or die with it. */
void sim_host_set_power(struct sim_host *host, bool is_on);
unsigned sim_host_index(const struct sim_host *host);
unsigned sim_host_socket_count(const struct sim_host *host);

/* The link in one direction. */
struct sim_link *sim_fabric_link(struct sim_fabric *fabric, struct sim_host *from, struct sim_host *to);
/* Blocks or opens both directions between two hosts. */
void sim_fabric_cut(struct sim_fabric *fabric, struct sim_host *a, struct sim_host *b, bool is_cut);
void sim_fabric_heal(struct sim_fabric *fabric);
/* Resets a connection that is drawn from those of `host`, after a drawn part of what is under way has arrived. False when
 * it has none. */
bool sim_fabric_reset_one(struct sim_fabric *fabric, struct sim_host *host);

#endif

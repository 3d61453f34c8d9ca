/* sim_net_internal: hosts, connections and pipes as the parts of sim_net see them.
 *
 * Threads:   one.
 */
#ifndef TESTS_SIM_SIM_NET_INTERNAL_H
#define TESTS_SIM_SIM_NET_INTERNAL_H

#include "tests/sim/sim_net.h"
#include "tests/sim/sim_runtime.h"

struct sim_connection;
struct sim_end;

enum sim_segment_kind { SIM_SEGMENT_DATA, SIM_SEGMENT_FIN, SIM_SEGMENT_RESET };

struct sim_segment {
    struct sim_segment *prev;
    struct sim_segment *next;
    enum sim_segment_kind kind;
    uint64_t arrive_us;
    size_t bytes;
    uint8_t data[];
};

/* One direction of a connection. */
struct sim_pipe {
    struct sim_segment *segments; /* utlist DL, in order of arrival */
    uint64_t last_arrive_us;
    size_t unacked_bytes;    /* written and not yet read, or read and the acknowledgement is under way */
    size_t ack_debt_bytes;   /* read, but the way back is blocked */
    uint64_t retry_us;       /* the next retransmission's wait */
    struct loop_timer event; /* the next arrival, or the next retransmission */
};

/* One end of a connection: the product's socket. */
struct sim_end {
    struct socket base;
    struct sim_connection *connection;
    struct sim_host *host;
    struct sim_end *peer;
    struct sim_pipe out;
    uint8_t *received; /* arrived and not yet read: [received_start, received_start + received_bytes) */
    size_t received_start;
    size_t received_bytes;
    size_t received_capacity_bytes;
    bool is_ended; /* the peer's end of stream has arrived */
    bool is_reset;
    bool is_gone;   /* closed by its owner, or the owner is dead */
    bool is_silent; /* the machine is off: nothing more leaves it */
    struct sim_watch watch;
    socket_ready_fn on_ready;
    void *ctx;
    struct net_address local;
    struct net_address remote;
};

struct sim_connection {
    struct sim_fabric *fabric;
    uint64_t number;
    struct sim_end ends[2]; /* 0: who connected, 1: who accepted */
    struct sim_connection *prev;
    struct sim_connection *next;
};

struct sim_accept {
    struct sim_end *end;
    struct sim_accept *next;
};

struct net_listener {
    struct sim_host *host;
    struct net_address address; /* host text "" for all */
    net_accept_fn on_accept;
    void *ctx;
    struct sim_watch watch;
    struct sim_accept *queue; /* utlist LL */
    bool is_accepting;
    bool is_closed;
    struct net_listener *prev;
    struct net_listener *next;
};

struct sim_connect;

struct sim_host {
    struct net net;
    struct sim_fabric *fabric;
    unsigned index;
    char *name;
    char *address;
    bool is_on;
    uint16_t next_port;
    unsigned socket_count;
    struct net_listener *listeners; /* utlist DL */
    struct sim_connect *connects;   /* utlist DL */
};

struct sim_fabric {
    struct sim_world *world;
    size_t window_bytes;
    uint64_t connection_number;
    unsigned host_count;
    struct sim_host *hosts[SIM_NET_HOSTS_MAX];
    struct sim_link links[SIM_NET_HOSTS_MAX][SIM_NET_HOSTS_MAX]; /* [from][to] */
    struct sim_connection *connections;                          /* utlist DL */
    struct sim_net_counts counts;
};

/* ---- links (sim_net.c) ---- */
const struct sim_link *sim_net_link(const struct sim_host *from, const struct sim_host *to);
uint64_t sim_net_latency_us(const struct sim_host *from, const struct sim_host *to);
bool sim_net_is_open(const struct sim_host *from, const struct sim_host *to);

/* ---- connections (sim_net_stream.c) ---- */
struct sim_connection *sim_connection_new(struct sim_host *from, struct sim_host *to, const struct net_address *local,
                                          const struct net_address *remote);
/* The owner is through with this end: orderly (end of stream), or by force (reset). Frees the connection with its second. */
void sim_end_leave(struct sim_end *end, bool is_forced);
/* The machine is off: nothing is sent. */
void sim_end_vanish(struct sim_end *end);
/* What is under way arrives up to a drawn point, then a reset, on both sides. */
void sim_connection_cut(struct sim_connection *connection);
void sim_connection_free(struct sim_connection *connection);

/* ---- connecting and listening (sim_net_connect.c) ---- */
enum err sim_net_listen(struct net *net, struct loop *loop, const char *host, uint16_t port, net_accept_fn on_accept,
                        void *ctx, struct net_listener **ret_listener);
void sim_net_listener_address(struct net_listener *listener, struct net_address *ret_address);
void sim_net_listener_close(struct net_listener *listener);
void sim_net_connect(struct net *net, struct loop *loop, const char *host, uint16_t port, uint64_t timeout_us,
                     net_connect_fn on_connected, void *ctx);
/* Frees a pending connect without its callback. */
void sim_connect_abandon(struct sim_connect *attempt);

#endif

/* posix_net: TCP by system calls (struct net of common/seam/net.h). Private to common/posix.
 *
 * Shape:     posix_net.c accepts and connects a net together, posix_socket.c is one connection, posix_connect.c an
 *            attempt to make one, posix_address.c names and numbers. All sockets are non-blocking, close-on-exec,
 *            without Nagle's delay.
 * Limits:    descriptors numbered from `descriptor_limit` up are kept for files: a listener that gets one closes it
 *            and pauses ACCEPT_PAUSE_US, so clients can't keep the log from opening its next segment.
 * Ownership: the net outlives its sockets and listeners.
 * Threads:   as common/seam/net.h says.
 */
#ifndef COMMON_POSIX_NET_H
#define COMMON_POSIX_NET_H

#include "common/seam/net.h"

#include <sys/socket.h>

#define ACCEPT_PAUSE_US 100000u
#define CONNECT_ADDRESSES_MAX 8 /* addresses of one name that a connect tries */

struct logger;
struct posix_net;
struct posix_pool;

/* `resolve_pool` resolves names; not the pool of the disks, or a name server that is slow holds up syncs. */
struct posix_net *posix_net_new(struct posix_pool *resolve_pool, struct logger *logger, int descriptor_limit);
/* Every socket and listener has been closed. */
void posix_net_free(struct posix_net *posix);
struct net *posix_net_get(struct posix_net *posix);

/* Listens at the first address of `host` that this machine has, non-blocking; "" is every address. */
enum err posix_net_bind(const char *host, uint16_t port, int *ret_fd) MUST_USE;

/* posix_socket.c: takes the connected descriptor. */
struct socket *posix_socket_new(int fd);

/* posix_connect.c: net_connect. */
void posix_connect_start(struct posix_pool *resolve_pool, struct loop *loop, const char *host, uint16_t port,
                         uint64_t timeout_us, net_connect_fn on_connected, void *ctx);

/* posix_address.c */
struct posix_address {
    struct sockaddr_storage storage;
    socklen_t bytes;
};

struct posix_addresses {
    struct posix_address items[CONNECT_ADDRESSES_MAX];
    size_t count;
};

/* Addresses of the host, IPv4 first. Blocks unless `is_numeric`, which accepts numbers only. ERR_ADDRESS_UNKNOWN. */
enum err posix_address_resolve(const char *host, uint16_t port, bool is_numeric, bool is_passive,
                               struct posix_addresses *ret_addresses) MUST_USE;
/* The numeric text; IPv4 in IPv6 clothes is shown as IPv4. */
void posix_address_text(const struct posix_address *address, struct net_address *ret_address);

#endif

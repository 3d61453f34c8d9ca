/* net: the only way to sockets. Byte streams that are never waited for: a call does what is possible now or says
 * ERR_WOULD_BLOCK, and the loop reports when the socket is ready.
 *
 * Shape:     listener -> accepted sockets; connect -> socket. A new socket belongs to no loop until socket_attach, and to none
 *            again after socket_detach.
 *            Readiness is level-triggered: on_ready runs in every iteration in which a watched event is possible, once
 *            for both directions or once for each.
 * Errors:    read: ERR_END at the peer's orderly end; ERR_RESET and others when the connection is lost. Nothing else
 *            happens to the socket by itself: its owner closes it. The loss of a connection is told once, to
 *            whichever of read and write comes first; later reads may then say ERR_END.
 * Ownership: socket_close frees the socket; no callback follows it, also when called from its own callback.
 * Threads:   a socket is used only by the thread of the loop that it is attached to. While it
 *            is attached to none it may be handed to another thread.
 * Source:    design.md 3, 13 (plain events, own writev and sendfile), ADR-0005.
 */
#ifndef COMMON_SEAM_NET_H
#define COMMON_SEAM_NET_H

#include "common/err.h"
#include "common/seam/fs.h"
#include "common/seam/loop.h"
#include "common/span.h"

struct net;
struct socket;
struct net_listener;

enum net_event { NET_READABLE = 1 << 0, NET_WRITABLE = 1 << 1 };

#define NET_HOST_TEXT_BYTES 64 /* longest numeric address with its terminator */
#define NET_WRITE_SPANS_MAX 64 /* spans that one socket_writev takes */

struct net_address {
    char host[NET_HOST_TEXT_BYTES]; /* numeric */
    uint16_t port;
};

typedef void (*net_accept_fn)(void *ctx, struct socket *socket); /* takes ownership */
/* err == ERR_OK: `socket` is connected and moves to the callee; otherwise it is NULL. Called once. */
typedef void (*net_connect_fn)(void *ctx, enum err err, struct socket *socket);
typedef void (*socket_ready_fn)(void *ctx, unsigned events);

struct net_ops {
    enum err (*listen)(struct net *net, struct loop *loop, const char *host, uint16_t port, net_accept_fn on_accept,
                       void *ctx, struct net_listener **ret_listener);
    void (*listener_address)(struct net_listener *listener, struct net_address *ret_address);
    void (*listener_close)(struct net_listener *listener);
    void (*connect)(struct net *net, struct loop *loop, const char *host, uint16_t port, uint64_t timeout_us,
                    net_connect_fn on_connected, void *ctx);
};

struct net {
    const struct net_ops *ops;
};

struct socket_ops {
    void (*attach)(struct socket *socket, struct loop *loop, socket_ready_fn on_ready, void *ctx);
    void (*detach)(struct socket *socket);
    void (*watch)(struct socket *socket, unsigned events);
    enum err (*read)(struct socket *socket, void *ret_bytes, size_t bytes, size_t *ret_read_bytes);
    enum err (*writev)(struct socket *socket, const struct span *spans, size_t count, size_t *ret_written_bytes);
    enum err (*send_file)(struct socket *socket, struct file *file, uint64_t pos, size_t bytes,
                          size_t *ret_written_bytes);
    void (*peer)(struct socket *socket, struct net_address *ret_address);
    void (*local)(struct socket *socket, struct net_address *ret_address);
    void (*close)(struct socket *socket);
};

struct socket {
    const struct socket_ops *ops;
};

/* Binds and listens; an empty host is every address of the machine; port 0 picks a free one (net_listener_address
 * tells). on_accept runs on `loop`. Resolves a name at once: call it at the start only. */
static inline enum err net_listen(struct net *net, struct loop *loop, const char *host, uint16_t port,
                                  net_accept_fn on_accept, void *ctx, struct net_listener **ret_listener)
{
    return net->ops->listen(net, loop, host, port, on_accept, ctx, ret_listener);
}

static inline void net_listener_address(struct net *net, struct net_listener *listener, struct net_address *ret_address)
{
    net->ops->listener_address(listener, ret_address);
}

static inline void net_listener_close(struct net *net, struct net_listener *listener)
{
    net->ops->listener_close(listener);
}

/* Resolves (in the pool; names are resolved anew on every call) and connects. on_connected runs on `loop`, never before
 * this returns. ERR_REFUSED only when every address of the name that answered refuses; ERR_TIMEOUT when the deadline
 * passes; ERR_ADDRESS_UNKNOWN when there is no such name; ERR_CANCELLED when the loop stops first. */
static inline void net_connect(struct net *net, struct loop *loop, const char *host, uint16_t port, uint64_t timeout_us,
                               net_connect_fn on_connected, void *ctx)
{
    net->ops->connect(net, loop, host, port, timeout_us, on_connected, ctx);
}

/* Gives the socket to `loop`, on that loop's thread; it belongs to no other. Nothing is watched at first. */
static inline void socket_attach(struct socket *socket, struct loop *loop, socket_ready_fn on_ready, void *ctx)
{
    socket->ops->attach(socket, loop, on_ready, ctx);
}

/* Takes the socket from its loop, on that loop's thread: no callback follows, what has arrived stays, and it may be handed to
 * another thread and attached to its loop. */
static inline void socket_detach(struct socket *socket)
{
    socket->ops->detach(socket);
}

/* Sets which events are reported: a union of enum net_event, 0 for none. Cheap when nothing changes. */
static inline void socket_watch(struct socket *socket, unsigned events)
{
    socket->ops->watch(socket, events);
}

static inline enum err socket_read(struct socket *socket, void *ret_bytes, size_t bytes, size_t *ret_read_bytes)
{
    return socket->ops->read(socket, ret_bytes, bytes, ret_read_bytes);
}

/* count <= NET_WRITE_SPANS_MAX, and there is a byte to write. Writes at least one byte or fails. */
static inline enum err socket_writev(struct socket *socket, const struct span *spans, size_t count,
                                     size_t *ret_written_bytes)
{
    return socket->ops->writev(socket, spans, count, ret_written_bytes);
}

/* Sends bytes of the file as the page cache holds them now (sendfile). May block on bytes that are not cached: the
 * caller has them read by the pool first. ERR_END when the file ends at or before `pos`. */
static inline enum err socket_send_file(struct socket *socket, struct file *file, uint64_t pos, size_t bytes,
                                        size_t *ret_written_bytes)
{
    return socket->ops->send_file(socket, file, pos, bytes, ret_written_bytes);
}

static inline void socket_peer(struct socket *socket, struct net_address *ret_address)
{
    socket->ops->peer(socket, ret_address);
}

static inline void socket_local(struct socket *socket, struct net_address *ret_address)
{
    socket->ops->local(socket, ret_address);
}

static inline void socket_close(struct socket *socket)
{
    socket->ops->close(socket);
}

#endif

#include "common/posix/posix_net.h"

#include "common/logger.h"
#include "common/mem.h"
#include "common/posix/posix_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#define LISTEN_BACKLOG 1024
#define ACCEPT_BATCH 64 /* connections taken in one iteration, so that others get their turn */

struct posix_net {
    struct net base;
    struct posix_pool *resolve_pool;
    struct logger *logger;
    int descriptor_limit;
};

struct net_listener {
    struct posix_net *net;
    struct loop *loop;
    net_accept_fn on_accept;
    void *ctx;
    int fd;
    int reserve_fd; /* given up to accept, and close, a connection when there is no other descriptor */
    struct posix_watch *watch;
    struct loop_timer resume_timer;
    struct log_limit log_limit;
    bool is_accepting; /* on_accept may close the listener: it is freed when the batch ends */
    bool is_closed;
};

static void listener_pause(struct net_listener *listener)
{
    posix_watch_set(listener->watch, 0);
    loop_timer_set(listener->loop, &listener->resume_timer, loop_now_us(listener->loop) + ACCEPT_PAUSE_US);
}

static void listener_resume(struct loop_timer *timer)
{
    posix_watch_set(CONTAINER_OF(timer, struct net_listener, resume_timer)->watch, NET_READABLE);
}

static void listener_shed(struct net_listener *listener, const char *why)
{
    logger_limited(listener->net->logger, &listener->log_limit, LOG_WARN, "net", "connection_refused",
                   "reason=%s pause_ms=%u", why, ACCEPT_PAUSE_US / 1000);
    listener_pause(listener);
}

static int reserve_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* No descriptor is left: the client is told (closed), not left to wait for its timeout. */
static void listener_out_of_descriptors(struct net_listener *listener)
{
    if (listener->reserve_fd >= 0) {
        close(listener->reserve_fd);
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            close(fd);
        }
    }
    listener->reserve_fd = reserve_open();
    listener_shed(listener, "no_descriptor_left");
}

/* False when the batch ends. */
static bool listener_accept_one(struct net_listener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0 && fd >= listener->net->descriptor_limit) {
        close(fd);
        listener_shed(listener, "descriptors_kept_for_files");
        return false;
    }
    if (fd >= 0) {
        listener->on_accept(listener->ctx, posix_socket_new(fd));
        return !listener->is_closed;
    }
    switch (errno) {
    case EAGAIN:
        return false;
    case EMFILE:
    case ENFILE:
        listener_out_of_descriptors(listener);
        return false;
    case ENOMEM:
    case ENOBUFS:
        listener_shed(listener, "no_kernel_memory");
        return false;
    default:
        return true; /* ECONNABORTED and other news of a connection that is gone already */
    }
}

static void listener_on_readable(void *ctx, unsigned events)
{
    (void)events;
    struct net_listener *listener = ctx;
    listener->is_accepting = true;
    for (int i = 0; i < ACCEPT_BATCH && listener_accept_one(listener); i++) {
    }
    listener->is_accepting = false;
    if (listener->is_closed) {
        mem_free(listener);
    }
}

static enum err listen_at(const struct posix_address *address, int *ret_fd)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    int on = 1;
    int off = 0;
    /* A restarted node takes its port over from connections in TIME_WAIT; "::" means both families. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (address->storage.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0) ||
        bind(fd, (const struct sockaddr *)&address->storage, address->bytes) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        enum err err = err_from_errno(errno);
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum err posix_net_bind(const char *host, uint16_t port, int *ret_fd)
{
    struct posix_addresses addresses;
    enum err err = ERR_ADDRESS_UNKNOWN;
    if (host == NULL || host[0] == '\0') {
        /* Every address: both families by one IPv6 socket where the machine has IPv6. */
        err = posix_address_resolve("::", port, true, true, &addresses);
        if (err == ERR_OK && listen_at(&addresses.items[0], ret_fd) == ERR_OK) {
            return ERR_OK;
        }
        host = "0.0.0.0";
    }
    err = posix_address_resolve(host, port, false, true, &addresses);
    if (err != ERR_OK) {
        return err;
    }
    for (size_t i = 0; i < addresses.count; i++) {
        enum err listen_err = listen_at(&addresses.items[i], ret_fd);
        if (listen_err == ERR_OK) {
            return ERR_OK;
        }
        err = err == ERR_OK ? listen_err : err; /* the first says most: it is what the name stands for */
    }
    return err;
}

static enum err posix_listen(struct net *net, struct loop *loop, const char *host, uint16_t port,
                             net_accept_fn on_accept, void *ctx, struct net_listener **ret_listener)
{
    int fd = -1;
    enum err err = posix_net_bind(host, port, &fd);
    if (err != ERR_OK) {
        return err;
    }
    struct net_listener *listener = MEM_NEW(struct net_listener);
    listener->net = CONTAINER_OF(net, struct posix_net, base);
    listener->loop = loop;
    listener->on_accept = on_accept;
    listener->ctx = ctx;
    listener->fd = fd;
    listener->reserve_fd = reserve_open();
    listener->resume_timer.fire = listener_resume;
    listener->watch = posix_watch_new(loop, fd, listener_on_readable, listener);
    posix_watch_set(listener->watch, NET_READABLE);
    *ret_listener = listener;
    return ERR_OK;
}

static void posix_listener_address(struct net_listener *listener, struct net_address *ret_address)
{
    struct posix_address address = {.bytes = sizeof(address.storage)};
    CHECK(getsockname(listener->fd, (struct sockaddr *)&address.storage, &address.bytes) == 0);
    posix_address_text(&address, ret_address);
}

static void posix_listener_close(struct net_listener *listener)
{
    loop_timer_cancel(listener->loop, &listener->resume_timer);
    posix_watch_free(listener->watch);
    close(listener->fd);
    if (listener->reserve_fd >= 0) {
        close(listener->reserve_fd);
    }
    if (listener->is_accepting) {
        listener->is_closed = true;
    } else {
        mem_free(listener);
    }
}

static void posix_connect(struct net *net, struct loop *loop, const char *host, uint16_t port, uint64_t timeout_us,
                          net_connect_fn on_connected, void *ctx)
{
    posix_connect_start(CONTAINER_OF(net, struct posix_net, base)->resolve_pool, loop, host, port, timeout_us,
                        on_connected, ctx);
}

static const struct net_ops posix_net_ops = {
    .listen = posix_listen,
    .listener_address = posix_listener_address,
    .listener_close = posix_listener_close,
    .connect = posix_connect,
};

struct posix_net *posix_net_new(struct posix_pool *resolve_pool, struct logger *logger, int descriptor_limit)
{
    struct posix_net *posix = MEM_NEW(struct posix_net);
    posix->base.ops = &posix_net_ops;
    posix->resolve_pool = resolve_pool;
    posix->logger = logger;
    posix->descriptor_limit = descriptor_limit;
    return posix;
}

void posix_net_free(struct posix_net *posix)
{
    mem_free(posix);
}

struct net *posix_net_get(struct posix_net *posix)
{
    return &posix->base;
}

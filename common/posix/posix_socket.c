#include "common/mem.h"
#include "common/posix/posix_fs.h"
#include "common/posix/posix_net.h"
#include "common/posix/posix_watch.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/uio.h>
#include <unistd.h>

struct posix_socket {
    struct socket base;
    int fd;
    struct posix_watch *watch; /* NULL before it is attached */
    socket_ready_fn on_ready;
    void *ctx;
};

static struct posix_socket *socket_of(struct socket *socket)
{
    return CONTAINER_OF(socket, struct posix_socket, base);
}

static void socket_on_event(void *ctx, unsigned events)
{
    struct posix_socket *socket = ctx;
    socket->on_ready(socket->ctx, events); /* may close the socket */
}

static void posix_attach(struct socket *base, struct loop *loop, socket_ready_fn on_ready, void *ctx)
{
    struct posix_socket *socket = socket_of(base);
    CHECK(socket->watch == NULL);
    socket->on_ready = on_ready;
    socket->ctx = ctx;
    socket->watch = posix_watch_new(loop, socket->fd, socket_on_event, socket);
}

static void posix_detach(struct socket *base)
{
    struct posix_socket *socket = socket_of(base);
    CHECK(socket->watch != NULL);
    posix_watch_free(socket->watch);
    socket->watch = NULL;
}

static void posix_watch_events(struct socket *base, unsigned events)
{
    CHECK(socket_of(base)->watch != NULL);
    posix_watch_set(socket_of(base)->watch, events);
}

static enum err posix_read(struct socket *base, void *ret_bytes, size_t bytes, size_t *ret_read_bytes)
{
    CHECK(bytes > 0);
    ssize_t count = -1;
    do {
        count = recv(socket_of(base)->fd, ret_bytes, bytes, 0);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return err_from_errno(errno);
    }
    if (count == 0) {
        return ERR_END;
    }
    *ret_read_bytes = (size_t)count;
    return ERR_OK;
}

static enum err posix_writev(struct socket *base, const struct span *spans, size_t count, size_t *ret_written_bytes)
{
    CHECK(count > 0 && count <= NET_WRITE_SPANS_MAX);
    struct iovec vectors[NET_WRITE_SPANS_MAX];
    size_t total_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        vectors[i].iov_base = (void *)(uintptr_t)spans[i].data;
        vectors[i].iov_len = spans[i].bytes;
        total_bytes += spans[i].bytes;
    }
    CHECK(total_bytes > 0);
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = count};
    ssize_t written = -1;
    do {
        written = sendmsg(socket_of(base)->fd, &message, MSG_NOSIGNAL);
    } while (written < 0 && errno == EINTR);
    if (written < 0) {
        return err_from_errno(errno);
    }
    *ret_written_bytes = (size_t)written;
    return ERR_OK;
}

static enum err posix_send_file(struct socket *base, struct file *file, uint64_t pos, size_t bytes,
                                size_t *ret_written_bytes)
{
    CHECK(bytes > 0);
    ssize_t written = -1;
    do {
        written = posix_fs_send(file, socket_of(base)->fd, pos, bytes);
    } while (written < 0 && errno == EINTR);
    if (written < 0) {
        return err_from_errno(errno);
    }
    if (written == 0) {
        return ERR_END; /* pos is at or behind the end of the file */
    }
    *ret_written_bytes = (size_t)written;
    return ERR_OK;
}

static void socket_name(struct socket *base, int (*ask)(int fd, struct sockaddr *address, socklen_t *bytes),
                        struct net_address *ret_address)
{
    struct posix_address address = {.bytes = sizeof(address.storage)};
    if (ask(socket_of(base)->fd, (struct sockaddr *)&address.storage, &address.bytes) != 0) {
        address.storage.ss_family = AF_UNSPEC; /* the connection is gone: an empty text */
    }
    posix_address_text(&address, ret_address);
}

static int ask_peer(int fd, struct sockaddr *address, socklen_t *bytes)
{
    return getpeername(fd, address, bytes);
}

static int ask_local(int fd, struct sockaddr *address, socklen_t *bytes)
{
    return getsockname(fd, address, bytes);
}

static void posix_peer(struct socket *base, struct net_address *ret_address)
{
    socket_name(base, ask_peer, ret_address);
}

static void posix_local(struct socket *base, struct net_address *ret_address)
{
    socket_name(base, ask_local, ret_address);
}

static void posix_socket_close(struct socket *base)
{
    struct posix_socket *socket = socket_of(base);
    posix_watch_free(socket->watch);
    close(socket->fd);
    mem_free(socket);
}

static const struct socket_ops posix_socket_ops = {
    .attach = posix_attach,
    .detach = posix_detach,
    .watch = posix_watch_events,
    .read = posix_read,
    .writev = posix_writev,
    .send_file = posix_send_file,
    .peer = posix_peer,
    .local = posix_local,
    .close = posix_socket_close,
};

struct socket *posix_socket_new(int fd)
{
    struct posix_socket *socket = MEM_NEW(struct posix_socket);
    socket->base.ops = &posix_socket_ops;
    socket->fd = fd;
    int on = 1;
    /* Replies are whole when they are written: waiting for more only costs latency. A failure costs the same. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return &socket->base;
}

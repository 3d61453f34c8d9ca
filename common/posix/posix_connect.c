/* One net_connect: resolve -> try one address after the other -> one callback.
 *
 *     resolving (a job) --> trying (a descriptor watched for writability, or an error at once) --> ended
 *          |                     |
 *          +------ timer --------+--> ended with ERR_TIMEOUT (a resolution that still runs is waited for, then freed)
 *
 * Which error is reported matters: the controller fences a broker at once when its address *refuses*, and only then. So
 * "refused" is said only when no other address of the name gave a worse answer, and a connection to ourselves (TCP's
 * simultaneous open, possible when the target port lies in the ephemeral range) counts as refused. */
#include "common/check.h"
#include "common/mem.h"
#include "common/posix/posix_loop.h"
#include "common/posix/posix_net.h"
#include "common/posix/posix_pool.h"
#include "common/posix/posix_watch.h"

#include <errno.h>
#include <unistd.h>

struct connect_attempt {
    struct loop *loop;
    net_connect_fn on_connected; /* NULL once it has been called */
    void *ctx;
    char *host;
    uint16_t port;
    struct loop_job resolve_job;
    enum err resolve_err;
    bool is_resolving;
    bool is_cancelled;
    struct posix_addresses addresses;
    size_t next_index; /* of the address to try next */
    int fd;            /* of the try that runs, or -1 */
    struct posix_watch *watch;
    enum err worst_err; /* ERR_OK before the first answer */
    bool worst_is_local;
    struct loop_timer timer;
    struct loop_task next_task;
    struct posix_end_hook end_hook;
};

static void attempt_close(struct connect_attempt *attempt)
{
    posix_watch_free(attempt->watch);
    attempt->watch = NULL;
    if (attempt->fd >= 0) {
        close(attempt->fd);
        attempt->fd = -1;
    }
}

static void attempt_free(struct connect_attempt *attempt)
{
    loop_timer_cancel(attempt->loop, &attempt->timer);
    posix_loop_remove_end_hook(attempt->loop, &attempt->end_hook);
    attempt_close(attempt);
    mem_free(attempt->host);
    mem_free(attempt);
}

/* Calls back, once; `socket` moves to the callee. */
static void attempt_end(struct connect_attempt *attempt, enum err err, struct socket *socket)
{
    net_connect_fn on_connected = attempt->on_connected;
    void *ctx = attempt->ctx;
    attempt->on_connected = NULL;
    if (attempt->is_resolving) {
        loop_timer_cancel(attempt->loop, &attempt->timer); /* freed when the resolver comes back */
    } else {
        attempt_free(attempt);
    }
    on_connected(ctx, err, socket);
}

/* How much an error says against "this peer is not there": the highest is reported. A local lack of a route (an IPv6
 * address on a machine without IPv6) says nothing about the peer. */
static int error_rank(enum err err, bool is_local)
{
    if (is_local) {
        return 1;
    }
    return err == ERR_REFUSED ? 2 : err == ERR_TIMEOUT ? 4 : 3;
}

static void attempt_note(struct connect_attempt *attempt, int error_number, bool is_at_once)
{
    enum err err = err_from_errno(error_number);
    bool is_local = is_at_once && err != ERR_REFUSED;
    if (attempt->worst_err == ERR_OK ||
        error_rank(err, is_local) > error_rank(attempt->worst_err, attempt->worst_is_local)) {
        attempt->worst_err = err;
        attempt->worst_is_local = is_local;
    }
}

static bool is_connected_to_itself(int fd)
{
    struct posix_address peer = {.bytes = sizeof(peer.storage)};
    struct posix_address local = {.bytes = sizeof(local.storage)};
    struct net_address peer_text;
    struct net_address local_text;
    if (getpeername(fd, (struct sockaddr *)&peer.storage, &peer.bytes) != 0 ||
        getsockname(fd, (struct sockaddr *)&local.storage, &local.bytes) != 0) {
        return false;
    }
    posix_address_text(&peer, &peer_text);
    posix_address_text(&local, &local_text);
    return peer_text.port == local_text.port && strcmp(peer_text.host, local_text.host) == 0;
}

static void attempt_on_writable(void *ctx, unsigned events)
{
    (void)events;
    struct connect_attempt *attempt = ctx;
    int error_number = 0;
    socklen_t bytes = sizeof(error_number);
    CHECK(getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error_number, &bytes) == 0);
    if (error_number == 0 && is_connected_to_itself(attempt->fd)) {
        error_number = ECONNREFUSED;
    }
    if (error_number == 0) {
        int fd = attempt->fd;
        attempt->fd = -1;
        attempt_end(attempt, ERR_OK, posix_socket_new(fd));
        return;
    }
    attempt_note(attempt, error_number, false);
    attempt_close(attempt);
    loop_defer(attempt->loop, &attempt->next_task);
}

/* Starts to connect to one address; false when it failed at once. */
static bool attempt_try(struct connect_attempt *attempt, const struct posix_address *address)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        attempt_note(attempt, errno, true);
        return false;
    }
    int result = -1;
    do {
        result = connect(fd, (const struct sockaddr *)&address->storage, address->bytes);
    } while (result != 0 && errno == EINTR);
    if (result != 0 && errno != EINPROGRESS) {
        attempt_note(attempt, errno, true);
        close(fd);
        return false;
    }
    attempt->fd = fd;
    attempt->watch = posix_watch_new(attempt->loop, fd, attempt_on_writable, attempt);
    posix_watch_set(attempt->watch, NET_WRITABLE);
    return true;
}

static void attempt_next(struct loop_task *task)
{
    struct connect_attempt *attempt = CONTAINER_OF(task, struct connect_attempt, next_task);
    if (attempt->is_cancelled || attempt->resolve_err != ERR_OK) {
        attempt_end(attempt, attempt->is_cancelled ? ERR_CANCELLED : attempt->resolve_err, NULL);
        return;
    }
    while (attempt->next_index < attempt->addresses.count) {
        if (attempt_try(attempt, &attempt->addresses.items[attempt->next_index++])) {
            return;
        }
    }
    attempt_end(attempt, attempt->worst_err, NULL);
}

static void attempt_on_timeout(struct loop_timer *timer)
{
    struct connect_attempt *attempt = CONTAINER_OF(timer, struct connect_attempt, timer);
    if (attempt->next_task.is_queued) {
        attempt->resolve_err = ERR_TIMEOUT; /* the task ends it, in this iteration */
        return;
    }
    attempt_end(attempt, ERR_TIMEOUT, NULL);
}

static void attempt_resolve(struct loop_job *job)
{
    struct connect_attempt *attempt = CONTAINER_OF(job, struct connect_attempt, resolve_job);
    attempt->resolve_err = posix_address_resolve(attempt->host, attempt->port, false, false, &attempt->addresses);
}

static void attempt_on_resolved(struct loop_job *job)
{
    struct connect_attempt *attempt = CONTAINER_OF(job, struct connect_attempt, resolve_job);
    attempt->is_resolving = false;
    if (attempt->on_connected == NULL) {
        attempt_free(attempt);
        return;
    }
    attempt_next(&attempt->next_task);
}

static void attempt_on_loop_end(struct posix_end_hook *hook)
{
    struct connect_attempt *attempt = CONTAINER_OF(hook, struct connect_attempt, end_hook);
    if (posix_loop_is_ended(attempt->loop)) {
        attempt_free(attempt);
    } else if (attempt->next_task.is_queued || attempt->is_resolving) {
        attempt->is_cancelled = true;
        posix_loop_add_end_hook(attempt->loop, hook);
    } else {
        attempt_end(attempt, ERR_CANCELLED, NULL);
    }
}

void posix_connect_start(struct posix_pool *resolve_pool, struct loop *loop, const char *host, uint16_t port,
                         uint64_t timeout_us, net_connect_fn on_connected, void *ctx)
{
    struct connect_attempt *attempt = MEM_NEW(struct connect_attempt);
    attempt->loop = loop;
    attempt->on_connected = on_connected;
    attempt->ctx = ctx;
    attempt->host = mem_strdup(host);
    attempt->port = port;
    attempt->fd = -1;
    attempt->next_task.run = attempt_next;
    attempt->timer.fire = attempt_on_timeout;
    attempt->end_hook.run = attempt_on_loop_end;
    posix_loop_add_end_hook(loop, &attempt->end_hook);
    loop_timer_set(loop, &attempt->timer, loop_now_us(loop) + timeout_us);
    if (posix_address_resolve(host, port, true, false, &attempt->addresses) == ERR_OK) {
        loop_defer(loop, &attempt->next_task);
        return;
    }
    attempt->is_resolving = true;
    attempt->resolve_job.work = attempt_resolve;
    attempt->resolve_job.done = attempt_on_resolved;
    posix_loop_submit_in(loop, resolve_pool, &attempt->resolve_job);
}

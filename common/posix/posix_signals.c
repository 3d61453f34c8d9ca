/* Signals as events: blocked everywhere, read from a signalfd by one loop. No handler runs, so nothing global is needed
 * and nothing is interrupted. */
#include "common/mem.h"
#include "common/posix/posix_env.h"
#include "common/posix/posix_loop.h"
#include "common/posix/posix_watch.h"
#include "common/seam/net.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct signal_watch {
    int fd;
    struct posix_watch *watch;
    posix_signal_fn on_signal;
    void *ctx;
    struct posix_end_hook end_hook;
};

static void signals_on_readable(void *ctx, unsigned events)
{
    (void)events;
    struct signal_watch *signals = ctx;
    struct signalfd_siginfo info;
    while (read(signals->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        signals->on_signal(signals->ctx, (int)info.ssi_signo);
    }
}

static void signals_on_loop_end(struct posix_end_hook *hook)
{
    struct signal_watch *signals = CONTAINER_OF(hook, struct signal_watch, end_hook);
    posix_watch_free(signals->watch);
    close(signals->fd);
    mem_free(signals);
}

enum err posix_on_signals(struct posix_env *posix, struct loop *loop, posix_signal_fn on_signal, void *ctx)
{
    (void)posix; /* its threads have every signal blocked; only the caller's mask is left to set */
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &mask, NULL) == 0);
    int fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    struct signal_watch *signals = MEM_NEW(struct signal_watch);
    signals->fd = fd;
    signals->on_signal = on_signal;
    signals->ctx = ctx;
    signals->end_hook.run = signals_on_loop_end;
    signals->watch = posix_watch_new(loop, fd, signals_on_readable, signals);
    posix_watch_set(signals->watch, NET_READABLE);
    posix_loop_add_end_hook(loop, &signals->end_hook);
    return ERR_OK;
}

bool posix_signal_is_end(int signal_number)
{
    return signal_number == SIGINT || signal_number == SIGTERM;
}

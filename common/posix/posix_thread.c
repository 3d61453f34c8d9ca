#include "common/posix/posix_thread.h"

#include "common/check.h"

#include <signal.h>

bool posix_thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *ctx), void *ctx)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    /* A thread inherits the mask of its maker. Faults of the thread itself can't be blocked, so crashes still show. */
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    pthread_t thread;
    int error_number = pthread_create(&thread, NULL, run, ctx);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (error_number != 0) {
        return false;
    }
    (void)pthread_setname_np(thread, name);
    *ret_thread = thread;
    return true;
}

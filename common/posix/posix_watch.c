#include "common/posix/posix_watch.h"

#include "common/check.h"
#include "common/mem.h"
#include "common/posix/posix_loop.h"
#include "common/seam/net.h"

#include <event2/event.h>
#include <event2/event_struct.h>

/* Two events, not one for both directions: changing one direction is then one epoll_ctl, where libevent would need a
 * removal and an addition. */
struct posix_watch {
    struct event readable;
    struct event writable;
    posix_watch_fn on_event;
    void *ctx;
    unsigned events;
};

static void watch_on_readable(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct posix_watch *watch = ctx;
    watch->on_event(watch->ctx, NET_READABLE); /* may free the watch */
}

static void watch_on_writable(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct posix_watch *watch = ctx;
    watch->on_event(watch->ctx, NET_WRITABLE); /* may free the watch */
}

struct posix_watch *posix_watch_new(struct loop *loop, int fd, posix_watch_fn on_event, void *ctx)
{
    struct posix_watch *watch = MEM_NEW(struct posix_watch);
    watch->on_event = on_event;
    watch->ctx = ctx;
    struct event_base *base = posix_loop_event_base(loop);
    CHECK(event_assign(&watch->readable, base, fd, EV_READ | EV_PERSIST, watch_on_readable, watch) == 0);
    CHECK(event_assign(&watch->writable, base, fd, EV_WRITE | EV_PERSIST, watch_on_writable, watch) == 0);
    return watch;
}

static void watch_change(struct event *event, bool is_wanted)
{
    /* Fails only without memory or for a descriptor that is not open: both are broken invariants here. */
    CHECK((is_wanted ? event_add(event, NULL) : event_del(event)) == 0);
}

void posix_watch_set(struct posix_watch *watch, unsigned events)
{
    unsigned changed = watch->events ^ events;
    watch->events = events;
    if ((changed & NET_READABLE) != 0) {
        watch_change(&watch->readable, (events & NET_READABLE) != 0);
    }
    if ((changed & NET_WRITABLE) != 0) {
        watch_change(&watch->writable, (events & NET_WRITABLE) != 0);
    }
}

void posix_watch_free(struct posix_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    posix_watch_set(watch, 0);
    mem_free(watch);
}

#include "common/posix/posix_runtime.h"

#include "common/check.h"
#include "common/mem.h"
#include "common/posix/posix_loop.h"
#include "common/posix/posix_pool.h"
#include "common/posix/posix_thread.h"

#include <stdio.h>

#define THREAD_NAME_BYTES 16 /* the kernel's limit, with the terminator */
#define APART_THREADS 2u     /* one for what is synced, one for what computes or reads meanwhile */

/* What the runtime knows of each loop, in a list. */
struct loop_thread {
    struct loop_thread *next;
    struct loop *loop;
    struct posix_pool *own_pool; /* NULL: the shared one */
    pthread_t thread;
    bool is_started;
    char name[THREAD_NAME_BYTES];
};

struct posix_runtime {
    struct runtime base;
    struct clock *clock;
    struct posix_pool *pool;
    unsigned cpu_count;
    struct loop_thread *threads;
};

static struct posix_runtime *runtime_of(struct runtime *runtime)
{
    return CONTAINER_OF(runtime, struct posix_runtime, base);
}

/* The link that points to the entry of `loop`. */
static struct loop_thread **runtime_find(struct posix_runtime *posix, struct loop *loop)
{
    struct loop_thread **link = &posix->threads;
    while (*link != NULL && (*link)->loop != loop) {
        link = &(*link)->next;
    }
    CHECK(*link != NULL);
    return link;
}

static enum err make_loop(struct posix_runtime *posix, const char *name, struct posix_pool *own_pool,
                          struct loop **ret_loop)
{
    struct loop *loop = NULL;
    enum err err = posix_loop_new(posix->clock, own_pool == NULL ? posix->pool : own_pool, &loop);
    if (err != ERR_OK) {
        posix_pool_free(own_pool);
        return err;
    }
    struct loop_thread *thread = MEM_NEW(struct loop_thread);
    thread->loop = loop;
    thread->own_pool = own_pool;
    (void)snprintf(thread->name, sizeof(thread->name), "%s", name);
    thread->next = posix->threads;
    posix->threads = thread;
    *ret_loop = loop;
    return ERR_OK;
}

static enum err runtime_make_loop(struct runtime *runtime, const char *name, struct loop **ret_loop)
{
    return make_loop(runtime_of(runtime), name, NULL, ret_loop);
}

static enum err runtime_make_loop_apart(struct runtime *runtime, const char *name, struct loop **ret_loop)
{
    return make_loop(runtime_of(runtime), name, posix_pool_new("pool-apart", APART_THREADS), ret_loop);
}

static void *runtime_thread(void *ctx)
{
    posix_loop_run(ctx);
    return NULL;
}

static void runtime_start_loop(struct runtime *runtime, struct loop *loop)
{
    struct loop_thread *thread = *runtime_find(runtime_of(runtime), loop);
    CHECK(!thread->is_started);
    CHECK(posix_thread_start(&thread->thread, thread->name, runtime_thread, loop));
    thread->is_started = true;
}

static void runtime_join_loop(struct runtime *runtime, struct loop *loop)
{
    struct loop_thread *thread = *runtime_find(runtime_of(runtime), loop);
    if (thread->is_started) {
        CHECK(pthread_join(thread->thread, NULL) == 0);
        thread->is_started = false;
    }
}

static void runtime_free_loop(struct runtime *runtime, struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    struct loop_thread **link = runtime_find(runtime_of(runtime), loop);
    struct loop_thread *thread = *link;
    CHECK(!thread->is_started);
    *link = thread->next;
    posix_loop_free(loop);
    posix_pool_free(thread->own_pool);
    mem_free(thread);
}

static unsigned runtime_count_cpus(struct runtime *runtime)
{
    return runtime_of(runtime)->cpu_count;
}

static const struct runtime_ops posix_runtime_ops = {
    .loop_new = runtime_make_loop,
    .loop_new_apart = runtime_make_loop_apart,
    .loop_start = runtime_start_loop,
    .loop_join = runtime_join_loop,
    .loop_free = runtime_free_loop,
    .cpu_count = runtime_count_cpus,
};

struct posix_runtime *posix_runtime_new(struct clock *clock, struct posix_pool *pool, unsigned cpu_count)
{
    struct posix_runtime *posix = MEM_NEW(struct posix_runtime);
    posix->base.ops = &posix_runtime_ops;
    posix->clock = clock;
    posix->pool = pool;
    posix->cpu_count = cpu_count;
    return posix;
}

void posix_runtime_free(struct posix_runtime *posix)
{
    CHECK(posix == NULL || posix->threads == NULL);
    mem_free(posix);
}

struct runtime *posix_runtime_get(struct posix_runtime *posix)
{
    return &posix->base;
}

#include "common/posix/posix_pool.h"

#include "common/check.h"
#include "common/mem.h"
#include "common/posix/posix_thread.h"

#include <pthread.h>

struct posix_pool {
    const char *name;
    unsigned threads_max;
    pthread_mutex_t mutex;
    pthread_cond_t has_work;
    /* Below: under `mutex`. */
    struct loop_task *first;
    struct loop_task *last;
    size_t queued_count;
    unsigned idle_count;
    unsigned thread_count;
    bool is_ending;
    pthread_t threads[];
};

struct posix_pool *posix_pool_new(const char *name, unsigned threads_max)
{
    CHECK(threads_max > 0);
    struct posix_pool *pool = mem_zalloc(sizeof(*pool) + threads_max * sizeof(pool->threads[0]));
    pool->name = name;
    pool->threads_max = threads_max;
    CHECK(pthread_mutex_init(&pool->mutex, NULL) == 0);
    CHECK(pthread_cond_init(&pool->has_work, NULL) == 0);
    return pool;
}

static void *pool_thread(void *ctx)
{
    struct posix_pool *pool = ctx;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (pool->first == NULL && !pool->is_ending) {
            pool->idle_count++;
            pthread_cond_wait(&pool->has_work, &pool->mutex);
            pool->idle_count--;
        }
        struct loop_task *task = pool->first;
        if (task == NULL) {
            break;
        }
        pool->first = task->next;
        pool->queued_count--;
        pthread_mutex_unlock(&pool->mutex);
        task->next = NULL;
        task->run(task);
        pthread_mutex_lock(&pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

void posix_pool_submit(struct posix_pool *pool, struct loop_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&pool->mutex);
    CHECK(!pool->is_ending);
    if (pool->first == NULL) {
        pool->first = task;
    } else {
        pool->last->next = task;
    }
    pool->last = task;
    pool->queued_count++;
    /* Idle threads that were woken for earlier tasks still count as idle until they run: compare with the queue. */
    if (pool->queued_count > pool->idle_count && pool->thread_count < pool->threads_max) {
        /* When the system has no thread left, those that run do the work later; without any there is no way on. */
        if (posix_thread_start(&pool->threads[pool->thread_count], pool->name, pool_thread, pool)) {
            pool->thread_count++;
        }
        CHECK(pool->thread_count > 0);
    }
    pthread_cond_signal(&pool->has_work);
    pthread_mutex_unlock(&pool->mutex);
}

void posix_pool_free(struct posix_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->is_ending = true;
    pthread_cond_broadcast(&pool->has_work);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->thread_count; i++) {
        CHECK(pthread_join(pool->threads[i], NULL) == 0);
    }
    pthread_cond_destroy(&pool->has_work);
    pthread_mutex_destroy(&pool->mutex);
    mem_free(pool);
}

#include "broker/replica/checkpointer.h"

#include "broker/broker.h"
#include "broker/replica/log_dirs.h"
#include "broker/replica/partition_set.h"
#include "broker/worker.h"
#include "common/mem.h"

#include <stdatomic.h>

/* A worker's message that something has changed. */
struct checkpointer_note {
    struct loop_task task;
    struct checkpointer *checkpointer;
    atomic_bool is_posted;
};

struct checkpointer {
    struct broker *broker;
    struct loop *loop; /* the first worker's */
    struct checkpointer_note *notes;
    struct loop_timer timer;
    struct loop_task visit_task;
    struct loop_task flush_task;
    struct loop_job write_job;
    struct log_checkpoint **checkpoints; /* of the round under way, in the order of log_dirs */
    unsigned visit_index;
    bool is_blind; /* of the round: a worker has not heard of its partitions yet */
    bool is_armed;
    bool is_running;
    bool is_due_again;
    bool is_flushing;
    void (*flush_done)(void *ctx);
    void *flush_ctx;
};

static void checkpointer_begin(struct checkpointer *checkpointer);

static void checkpointer_arm(struct checkpointer *checkpointer)
{
    if (checkpointer->is_flushing || checkpointer->is_armed) {
        return;
    }
    checkpointer->is_armed = true;
    loop_timer_set(checkpointer->loop, &checkpointer->timer, loop_now_us(checkpointer->loop) + CHECKPOINTER_DELAY_US);
}

static void checkpointer_write(struct loop_job *job)
{
    struct checkpointer *checkpointer = CONTAINER_OF(job, struct checkpointer, write_job);
    struct log_dirs *dirs = checkpointer->broker->log_dirs;
    for (size_t i = 0; i < dirs->dir_count && !checkpointer->is_blind; i++) {
        if (log_dir_is_failed(dirs->dirs[i])) {
            continue;
        }
        enum err err = log_checkpoint_write(checkpointer->checkpoints[i]);
        if (err != ERR_OK) {
            log_dir_fail(dirs->dirs[i], "writing the checkpoint files", err);
        }
    }
}

static void checkpointer_written(struct loop_job *job)
{
    struct checkpointer *checkpointer = CONTAINER_OF(job, struct checkpointer, write_job);
    for (size_t i = 0; i < checkpointer->broker->log_dirs->dir_count; i++) {
        log_checkpoint_free(checkpointer->checkpoints[i]);
        checkpointer->checkpoints[i] = NULL;
    }
    checkpointer->is_running = false;
    if (checkpointer->is_due_again) {
        checkpointer->is_due_again = false;
        if (checkpointer->is_flushing) {
            checkpointer_begin(checkpointer);
            return;
        }
        checkpointer_arm(checkpointer);
    }
    if (checkpointer->is_flushing) {
        checkpointer->flush_done(checkpointer->flush_ctx);
    }
}

static void checkpointer_collected(struct loop_task *task)
{
    struct checkpointer *checkpointer = CONTAINER_OF(task, struct checkpointer, visit_task);
    checkpointer->write_job.work = checkpointer_write;
    checkpointer->write_job.done = checkpointer_written;
    loop_submit(checkpointer->loop, &checkpointer->write_job);
}

/* On the worker that is visited. */
static void checkpointer_visit(struct loop_task *task)
{
    struct checkpointer *checkpointer = CONTAINER_OF(task, struct checkpointer, visit_task);
    struct broker *broker = checkpointer->broker;
    const struct worker *worker = broker->workers[checkpointer->visit_index];
    struct partition_set *set = worker->partitions;
    set->is_checkpoint_due = false;
    checkpointer->is_blind = checkpointer->is_blind || worker->image == NULL;
    for (size_t i = 0; i < broker->log_dirs->dir_count; i++) {
        partition_set_checkpoint_rows(set, broker->log_dirs->dirs[i], checkpointer->checkpoints[i]);
    }
    checkpointer->visit_index++;
    if (checkpointer->visit_index < broker->worker_count) {
        loop_post(broker->workers[checkpointer->visit_index]->loop, &checkpointer->visit_task);
    } else {
        checkpointer->visit_task.run = checkpointer_collected;
        loop_post(checkpointer->loop, &checkpointer->visit_task);
    }
}

static void checkpointer_begin(struct checkpointer *checkpointer)
{
    struct log_dirs *dirs = checkpointer->broker->log_dirs;
    checkpointer->is_running = true;
    checkpointer->is_blind = false;
    checkpointer->visit_index = 0;
    for (size_t i = 0; i < dirs->dir_count; i++) {
        checkpointer->checkpoints[i] = log_checkpoint_new(dirs->dirs[i]);
    }
    checkpointer->visit_task.run = checkpointer_visit;
    loop_post(checkpointer->loop, &checkpointer->visit_task);
}

static void checkpointer_fire(struct loop_timer *timer)
{
    struct checkpointer *checkpointer = CONTAINER_OF(timer, struct checkpointer, timer);
    checkpointer->is_armed = false;
    if (checkpointer->is_running) {
        checkpointer->is_due_again = true;
    } else {
        checkpointer_begin(checkpointer);
    }
}

static void checkpointer_on_note(struct loop_task *task)
{
    struct checkpointer_note *note = CONTAINER_OF(task, struct checkpointer_note, task);
    atomic_store(&note->is_posted, false);
    checkpointer_arm(note->checkpointer);
}

void checkpointer_due(struct checkpointer *checkpointer, struct worker *worker)
{
    struct checkpointer_note *note = &checkpointer->notes[worker->index];
    if (!atomic_exchange(&note->is_posted, true)) {
        loop_post(checkpointer->loop, &note->task);
    }
}

static void checkpointer_on_flush(struct loop_task *task)
{
    struct checkpointer *checkpointer = CONTAINER_OF(task, struct checkpointer, flush_task);
    checkpointer->is_flushing = true;
    loop_timer_cancel(checkpointer->loop, &checkpointer->timer);
    checkpointer->is_armed = false;
    if (checkpointer->is_running) {
        checkpointer->is_due_again = true;
    } else {
        checkpointer_begin(checkpointer);
    }
}

void checkpointer_flush(struct checkpointer *checkpointer, void (*done)(void *ctx), void *ctx)
{
    checkpointer->flush_done = done;
    checkpointer->flush_ctx = ctx;
    checkpointer->flush_task.run = checkpointer_on_flush;
    loop_post(checkpointer->loop, &checkpointer->flush_task);
}

struct checkpointer *checkpointer_new(struct broker *broker)
{
    struct checkpointer *checkpointer = MEM_NEW(struct checkpointer);
    checkpointer->broker = broker;
    checkpointer->loop = broker->workers[0]->loop;
    checkpointer->checkpoints = mem_array(broker->log_dirs->dir_count, sizeof(struct log_checkpoint *));
    checkpointer->notes = mem_array(broker->worker_count, sizeof(struct checkpointer_note));
    for (unsigned i = 0; i < broker->worker_count; i++) {
        checkpointer->notes[i].checkpointer = checkpointer;
        checkpointer->notes[i].task.run = checkpointer_on_note;
    }
    checkpointer->timer.fire = checkpointer_fire;
    return checkpointer;
}

void checkpointer_free(struct checkpointer *checkpointer)
{
    if (checkpointer == NULL) {
        return;
    }
    CHECK(!checkpointer->is_running);
    mem_free(checkpointer->notes);
    mem_free(checkpointer->checkpoints);
    mem_free(checkpointer);
}

#include "broker/api/scatter.h"

#include "broker/replica/partition_set.h"
#include "broker/worker.h"
#include "common/check.h"

void scatter_begin(struct scatter *scatter, struct worker *home, scatter_gathered_fn on_gathered)
{
    CHECK(scatter->outstanding_count == 0);
    scatter->home = home;
    scatter->on_gathered = on_gathered;
    scatter->outstanding_count = 1;
}

static void scatter_count_down(struct scatter *scatter)
{
    CHECK(scatter->outstanding_count > 0);
    if (--scatter->outstanding_count == 0) {
        scatter->on_gathered(scatter);
    }
}

static void scatter_part_run(struct scatter_part *part)
{
    struct partition *partition = partition_set_find(part->owner->partitions, part->topic_id, part->partition_index);
    part->run(part, partition);
}

static void scatter_part_on_owner(struct loop_task *task)
{
    scatter_part_run(CONTAINER_OF(task, struct scatter_part, task));
}

static void scatter_part_on_home(struct loop_task *task)
{
    scatter_count_down(CONTAINER_OF(task, struct scatter_part, task)->scatter);
}

void scatter_send(struct scatter *scatter, struct scatter_part *part, struct uuid topic_id, int32_t partition_index,
                  scatter_run_fn run)
{
    CHECK(scatter->outstanding_count > 0);
    scatter->outstanding_count++;
    part->scatter = scatter;
    part->topic_id = topic_id;
    part->partition_index = partition_index;
    part->run = run;
    part->owner = worker_of_partition(scatter->home->broker, topic_id, partition_index);
    if (part->owner == scatter->home) {
        scatter_part_run(part);
        return;
    }
    part->task.run = scatter_part_on_owner;
    loop_post(part->owner->loop, &part->task);
}

void scatter_end(struct scatter *scatter)
{
    scatter_count_down(scatter);
}

void scatter_part_done(struct scatter_part *part)
{
    struct scatter *scatter = part->scatter;
    if (part->owner == scatter->home) {
        scatter_count_down(scatter);
        return;
    }
    part->task.run = scatter_part_on_home;
    loop_post(scatter->home->loop, &part->task);
}

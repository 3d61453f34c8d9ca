/* DescribeLogDirs: every log directory with the sizes of its replicas and of its file system.
 *
 * Shape: a task visits the workers one after the other and notes the replicas of each; then a job asks the file systems; then the
 * request's worker answers. Source: DescribeLogDirs v1-v5 of Kafka 4.3; KIP-113, KIP-827 (total and usable bytes). */
#include "broker/api/authorise.h"
#include "broker/api/handlers.h"
#include "broker/api/request.h"
#include "broker/broker.h"
#include "broker/replica/log_dirs.h"
#include "broker/replica/partition_set.h"
#include "broker/worker.h"
#include "common/check.h"
#include "common/mem.h"
#include "controller/image.h"
#include "proto/kmsg/describe_log_dirs.h"
#include "proto/wire/error_code.h"

#include <utarray.h>

/* A replica as its worker saw it. */
struct dir_replica {
    struct log_dir *dir;
    struct uuid topic_id;
    int32_t partition_index;
    int64_t bytes;
};

struct dir_space {
    enum err err;
    uint64_t total_bytes;
    uint64_t usable_bytes;
};

struct describe_dirs {
    struct loop_task task;
    struct loop_job job;
    struct request *request;
    const struct describe_log_dirs_request *message;
    unsigned worker_index; /* the next one to visit */
    UT_array *replicas;
    struct dir_space *spaces; /* in the order of log_dirs */
};

static const UT_icd dir_replica_icd = {sizeof(struct dir_replica), NULL, NULL, NULL};

static struct broker *describe_broker(const struct describe_dirs *describe)
{
    return describe->request->worker->broker;
}

/* ---- the answer ---- */

static bool describe_wants(const struct describe_dirs *describe, const struct image_topic *topic,
                           int32_t partition_index)
{
    const struct describe_log_dirs_request *message = describe->message;
    if (message->topics == NULL) {
        return true;
    }
    for (size_t t = 0; t < message->topics_count; t++) {
        if (!span_equal(message->topics[t].topic, topic->name)) {
            continue;
        }
        for (size_t p = 0; p < message->topics[t].partitions_count; p++) {
            if (message->topics[t].partitions[p] == partition_index) {
                return true;
            }
        }
    }
    return false;
}

static int dir_replica_compare(const void *a, const void *b)
{
    const struct dir_replica *left = a;
    const struct dir_replica *right = b;
    int by_topic = memcmp(left->topic_id.bytes, right->topic_id.bytes, UUID_BYTES);
    return by_topic != 0
               ? by_topic
               : (left->partition_index > right->partition_index) - (left->partition_index < right->partition_index);
}

/* Replicas are sorted by topic, so that those of one topic are neighbours. */
static bool describe_fill_topics(struct describe_dirs *describe, const struct log_dir *dir,
                                 struct describe_log_dirs_response_result *result)
{
    struct arena *arena = &describe->request->arena;
    size_t replica_count = utarray_len(describe->replicas);
    struct describe_log_dirs_response_partition *partitions =
        codec_array(&describe_log_dirs_response_partition_layout, replica_count, arena);
    result->topics = codec_array(&describe_log_dirs_response_topic_layout, replica_count, arena);
    if (partitions == NULL || result->topics == NULL) {
        return false;
    }
    const struct image_topic *last = NULL;
    for (size_t i = 0; i < replica_count; i++) {
        const struct dir_replica *replica = utarray_eltptr(describe->replicas, i);
        const struct image_topic *topic = image_find_topic_id(describe->request->worker->image, replica->topic_id);
        if (replica->dir != dir || topic == NULL || !describe_wants(describe, topic, replica->partition_index)) {
            continue;
        }
        if (topic != last) {
            struct describe_log_dirs_response_topic *answer = &result->topics[result->topics_count++];
            answer->name = topic->name;
            answer->partitions = partitions;
            last = topic;
        }
        partitions->partition_index = replica->partition_index;
        partitions->partition_size = replica->bytes;
        partitions++;
        result->topics[result->topics_count - 1].partitions_count++;
    }
    return true;
}

static bool describe_fill(struct describe_dirs *describe, struct describe_log_dirs_response *response)
{
    const struct log_dirs *dirs = describe_broker(describe)->log_dirs;
    response->results =
        codec_array(&describe_log_dirs_response_result_layout, dirs->dir_count, &describe->request->arena);
    if (response->results == NULL) {
        return false;
    }
    response->results_count = dirs->dir_count;
    if (utarray_len(describe->replicas) > 0) { /* an empty array has no memory to sort */
        utarray_sort(describe->replicas, dir_replica_compare);
    }
    for (size_t i = 0; i < dirs->dir_count; i++) {
        struct describe_log_dirs_response_result *result = &response->results[i];
        result->log_dir = span_text(log_dir_path(dirs->dirs[i]));
        if (log_dir_is_failed(dirs->dirs[i])) {
            result->error_code = ERROR_KAFKA_STORAGE_ERROR;
            continue;
        }
        if (describe->spaces[i].err == ERR_OK) {
            result->total_bytes = (int64_t)describe->spaces[i].total_bytes;
            result->usable_bytes = (int64_t)describe->spaces[i].usable_bytes;
        }
        if (!describe_fill_topics(describe, dirs->dirs[i], result)) {
            return false;
        }
    }
    return true;
}

static void describe_answer(struct loop_job *job)
{
    struct describe_dirs *describe = CONTAINER_OF(job, struct describe_dirs, job);
    struct request *request = describe->request;
    struct describe_log_dirs_response response;
    codec_set_defaults(&describe_log_dirs_response_codec, &response);
    bool is_filled = describe_fill(describe, &response);
    utarray_free(describe->replicas);
    if (is_filled) {
        request_reply(request, &response);
    } else {
        request_close_connection(request, "the answer on log directories needs more memory than one request may use");
    }
}

/* ---- collecting ---- */

static void describe_measure(struct loop_job *job)
{
    struct describe_dirs *describe = CONTAINER_OF(job, struct describe_dirs, job);
    struct log_dirs *dirs = describe_broker(describe)->log_dirs;
    for (size_t i = 0; i < dirs->dir_count; i++) {
        struct dir_space *space = &describe->spaces[i];
        space->err = log_dir_space(dirs->dirs[i], &space->total_bytes, &space->usable_bytes);
    }
}

static void describe_note_replicas(struct describe_dirs *describe, struct partition_set *set)
{
    for (struct partition *partition = set->by_key; partition != NULL; partition = partition->hh.next) {
        if (partition->log == NULL) {
            continue;
        }
        struct dir_replica replica = {
            .dir = partition_log_dir(partition->log),
            .topic_id = partition->key.topic_id,
            .partition_index = partition->key.partition_index,
            .bytes = (int64_t)partition_log_bytes(partition->log),
        };
        utarray_push_back(describe->replicas, &replica);
    }
}

static void describe_on_home(struct loop_task *task)
{
    struct describe_dirs *describe = CONTAINER_OF(task, struct describe_dirs, task);
    describe->job.work = describe_measure;
    describe->job.done = describe_answer;
    loop_submit(describe->request->worker->loop, &describe->job);
}

static void describe_visit(struct loop_task *task)
{
    struct describe_dirs *describe = CONTAINER_OF(task, struct describe_dirs, task);
    struct broker *broker = describe_broker(describe);
    describe_note_replicas(describe, broker->workers[describe->worker_index]->partitions);
    describe->worker_index++;
    bool is_last = describe->worker_index == broker->worker_count;
    struct worker *next = is_last ? describe->request->worker : broker->workers[describe->worker_index];
    describe->task.run = is_last ? describe_on_home : describe_visit;
    loop_post(next->loop, &describe->task);
}

static void describe_refuse(struct request *request, enum error_code error)
{
    struct describe_log_dirs_response response;
    codec_set_defaults(&describe_log_dirs_response_codec, &response);
    response.error_code = (int16_t)error;
    request_reply(request, &response);
}

void handle_describe_log_dirs(struct request *request)
{
    if (!authorise_cluster(request, AUTHORISE_DESCRIBE)) {
        describe_refuse(request, ERROR_CLUSTER_AUTHORIZATION_FAILED);
        return;
    }
    struct broker *broker = request->worker->broker;
    struct describe_dirs *describe = arena_alloc(&request->arena, sizeof(*describe));
    struct dir_space *spaces = arena_array(&request->arena, broker->log_dirs->dir_count, sizeof(*spaces));
    if (describe == NULL || spaces == NULL) { /* the decoded message may have filled the arena */
        request_close_connection(request, "the request for log directories needs more memory than one request may use");
        return;
    }
    describe->request = request;
    describe->message = request->message;
    describe->spaces = spaces;
    utarray_new(describe->replicas, &dir_replica_icd);
    describe->task.run = describe_visit;
    loop_post(broker->workers[0]->loop, &describe->task);
}

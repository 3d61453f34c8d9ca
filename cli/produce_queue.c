/* Batches are sealed when they are full, when much is queued, and when the input has nothing more at once. Sequences
 * are given when a batch is begun: by then the one before it is sealed and its size known. */
#include "cli/produce_queue.h"

#include "cli/partitioner.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "common/seam/rng.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/init_producer_id.h"
#include "proto/wire/error_code.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define PRODUCER_ID_PAUSE_MS 100
/* What a record takes beside its key, value and headers, and what a batch takes beside its records: generously. */
#define RECORD_OVERHEAD_BYTES 64u

enum err produce_queue_fail(struct produce_queue *queue, const char *format, ...)
{
    if (!queue->has_failed) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(queue->problem, sizeof(queue->problem), format, args);
        va_end(args);
    }
    queue->has_failed = true;
    return ERR_CLOSED;
}

/* ---- opening ---- */

static enum err ask_producer_id(struct produce_queue *queue, int16_t *ret_error_code)
{
    struct init_producer_id_request request;
    codec_set_defaults(&init_producer_id_request_codec, &request);
    request.transactional_id = SPAN_NULL; /* idempotence alone */
    struct client_reply reply;
    enum err err = client_call(queue->session->client, CLIENT_NODE_ANY, API_KEY_INIT_PRODUCER_ID, &request, &reply);
    if (err != ERR_OK) {
        return err;
    }
    const struct init_producer_id_response *response = reply.message;
    queue->producer_id = response->producer_id;
    queue->producer_epoch = response->producer_epoch;
    *ret_error_code = response->error_code;
    client_reply_done(&reply);
    return ERR_OK;
}

static int get_producer_id(struct produce_queue *queue)
{
    struct session *session = queue->session;
    uint64_t begin_ms = session_now_ms(session);
    for (;;) {
        int16_t error_code = ERROR_NONE;
        enum err err = ask_producer_id(queue, &error_code);
        if (err == ERR_OK && error_code == ERROR_NONE) {
            return VERB_OK;
        }
        bool is_late = session_now_ms(session) - begin_ms >= queue->options.delivery_timeout_ms;
        if (err != ERR_OK && (is_late || !client_may_recover(session->client, err))) {
            return session_fail(session);
        }
        if (err == ERR_OK && (is_late || !error_code_is_retriable(error_code))) {
            return session_fail_code(session, "no producer id", error_code, SPAN_NULL);
        }
        session_pause(session, PRODUCER_ID_PAUSE_MS);
    }
}

/* Where the next records without key go; partitions without a leader only if there are no others. */
static void move_sticky(struct produce_queue *queue)
{
    size_t begin = rng_below(queue->session->env->rng, queue->partition_count);
    queue->sticky_index = begin;
    for (size_t i = 0; i < queue->partition_count; i++) {
        size_t index = (begin + i) % queue->partition_count;
        if (queue->map.partitions[index].leader_id >= 0) {
            queue->sticky_index = index;
            return;
        }
    }
}

int produce_queue_open(struct produce_queue *queue, struct session *session, const char *topic,
                       const struct produce_options *options)
{
    *queue = (struct produce_queue){.session = session,
                                    .options = *options,
                                    .producer_id = BATCH_NO_PRODUCER_ID,
                                    .producer_epoch = BATCH_NO_PRODUCER_EPOCH};
    int status = topic_map_open(session, &queue->map, topic, true);
    if (status == VERB_OK && options->acks == PRODUCE_ACKS_ALL) {
        status = get_producer_id(queue);
    }
    if (status != VERB_OK) {
        topic_map_done(&queue->map);
        return status;
    }
    queue->partition_count = queue->map.partition_count;
    queue->partitions = mem_array(queue->partition_count, sizeof(*queue->partitions));
    for (size_t i = 0; i < queue->partition_count; i++) {
        struct produce_partition *partition = &queue->partitions[i];
        batch_builder_init(&partition->builder, PRODUCE_BATCH_BYTES_MAX);
        bytebuf_init(&partition->sealed, BATCH_BYTES_MAX);
        partition->first_offset = partition->last_offset = -1;
    }
    move_sticky(queue);
    return VERB_OK;
}

void produce_queue_done(struct produce_queue *queue)
{
    for (size_t i = 0; i < queue->partition_count; i++) {
        batch_builder_done(&queue->partitions[i].builder);
        bytebuf_done(&queue->partitions[i].sealed);
    }
    mem_free(queue->partitions);
    topic_map_done(&queue->map);
    *queue = (struct produce_queue){0};
}

/* ---- filling ---- */

static void begin_batch(struct produce_queue *queue, struct produce_partition *partition)
{
    struct batch_options options = BATCH_OPTIONS_DEFAULT;
    options.codec = queue->options.codec;
    options.producer_id = queue->producer_id;
    options.producer_epoch = queue->producer_epoch;
    options.base_sequence = queue->producer_id < 0 ? BATCH_NO_SEQUENCE : partition->next_sequence;
    batch_builder_begin(&partition->builder, &options);
}

/* Makes the batch that is filled the one that is sent; nothing else is being sent there. */
static enum err seal(struct produce_queue *queue, size_t index)
{
    struct produce_partition *partition = &queue->partitions[index];
    CHECK(partition->sealed.bytes == 0 && partition->builder.record_count > 0);
    int32_t record_count = partition->builder.record_count;
    size_t plain_bytes = partition->builder.bytes.bytes;
    bool is_large = partition->builder.bytes.bytes_max > PRODUCE_BATCH_BYTES_MAX;
    if (batch_builder_finish(&partition->builder, &partition->sealed) != ERR_OK) {
        return produce_queue_fail(queue, "a batch of partition %zu could not be built", index);
    }
    partition->sealed_count = record_count;
    partition->next_sequence = batch_sequence_add(partition->next_sequence, record_count);
    queue->queued_bytes -= plain_bytes < queue->queued_bytes ? plain_bytes : queue->queued_bytes;
    if (is_large) {
        batch_builder_done(&partition->builder);
        batch_builder_init(&partition->builder, PRODUCE_BATCH_BYTES_MAX);
    }
    if (index == queue->sticky_index) {
        move_sticky(queue);
    }
    return ERR_OK;
}

/* Room for one record that is larger than a usual batch: what the topic takes is the broker's to say. */
static void enlarge(struct produce_queue *queue, struct produce_partition *partition, struct span key,
                    struct span value)
{
    size_t bytes = key.bytes + value.bytes + BATCH_HEADER_BYTES + RECORD_OVERHEAD_BYTES;
    for (size_t i = 0; i < queue->options.header_count; i++) {
        bytes += queue->options.headers[i].key.bytes + queue->options.headers[i].value.bytes + RECORD_OVERHEAD_BYTES;
    }
    batch_builder_done(&partition->builder);
    batch_builder_init(&partition->builder, bytes);
}

static enum err try_add(struct produce_queue *queue, struct produce_partition *partition, struct span key,
                        struct span value)
{
    if (partition->builder.record_count == 0) {
        begin_batch(queue, partition);
    }
    return batch_builder_add(&partition->builder, clock_wall_ms(queue->session->env->clock), key, value,
                             queue->options.headers, queue->options.header_count);
}

enum err produce_queue_add(struct produce_queue *queue, int32_t partition_index, struct span key, struct span value)
{
    if (queue->has_failed) {
        return ERR_CLOSED;
    }
    size_t index = queue->sticky_index;
    if (partition_index != PRODUCE_PARTITION_ANY) {
        index = (size_t)partition_index;
    } else if (!span_is_null(key)) {
        index = (size_t)partitioner_of_key(key, queue->partition_count);
    }
    CHECK(index < queue->partition_count);
    struct produce_partition *partition = &queue->partitions[index];
    queue->record_count++;
    enum err err = try_add(queue, partition, key, value);
    if (err == ERR_LIMIT && partition->builder.record_count > 0) {
        err = partition->sealed.bytes > 0 ? produce_queue_send(queue) : ERR_OK;
        if (err == ERR_OK) {
            err = seal(queue, index);
        }
        if (err != ERR_OK) {
            return err;
        }
        err = try_add(queue, partition, key, value);
    }
    if (err == ERR_LIMIT) {
        enlarge(queue, partition, key, value);
        err = try_add(queue, partition, key, value);
    }
    if (err != ERR_OK) {
        return produce_queue_fail(queue, "record %" PRIu64 " can't be made: %s", queue->record_count, err_text(err));
    }
    queue->queued_bytes += key.bytes + value.bytes + RECORD_OVERHEAD_BYTES;
    return queue->queued_bytes >= PRODUCE_QUEUED_BYTES_MAX ? produce_queue_flush(queue) : ERR_OK;
}

enum err produce_queue_flush(struct produce_queue *queue)
{
    enum err err = produce_queue_send(queue);
    for (size_t i = 0; i < queue->partition_count && err == ERR_OK; i++) {
        if (queue->partitions[i].builder.record_count > 0) {
            err = seal(queue, i);
        }
    }
    if (err == ERR_OK) {
        err = produce_queue_send(queue);
    }
    if (err == ERR_OK) {
        queue->queued_bytes = 0;
    }
    return err;
}

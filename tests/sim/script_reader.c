/* The reader: one fetch at a time for all partitions, without a session; sizes and waits are drawn, so that batches come cut. */
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/loop.h"
#include "common/seam/rng.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/fetch.h"
#include "proto/record/iter.h"
#include "proto/wire/error_code.h"
#include "tests/sim/broker_script.h"
#include "tests/sim/kafka_client.h"

#include <stdlib.h>

#define FETCH_VERSION 12
#define AGAIN_US 30000u
#define WAIT_MS_MOST 300u
#define PARTITION_BYTES_MOST 20000u

struct script_reader {
    struct env *env;
    struct broker_script_options options;
    struct loop *loop;
    struct kafka_client *client;
    struct kafka_request request;
    struct loop_timer timer;
    struct checker_reader walk;
};

static void fetch(struct script_reader *reader);

static void take_record(struct script_reader *reader, unsigned partition, const struct record *record,
                        int64_t high_watermark)
{
    char text[32] = {0};
    memcpy(text, record->value.data, record->value.bytes < sizeof(text) - 1 ? record->value.bytes : sizeof(text) - 1);
    char *rest = NULL;
    unsigned long producer = strtoul(text, &rest, 10);
    CHECK(*rest == ':' && producer < CHECKER_PRODUCERS_MAX);
    uint64_t number = strtoull(rest + 1, &rest, 10);
    CHECK(*rest == ':');
    broker_checker_read(reader->options.checker, &reader->walk, partition, record->offset, high_watermark,
                        (unsigned)producer, number);
}

static void take_batch(struct script_reader *reader, unsigned partition, const struct batch *batch,
                       int64_t high_watermark)
{
    if (batch_check_crc(batch) != ERR_OK) {
        broker_checker_violation(reader->options.checker, "R10: partition %u: a batch with a wrong CRC was served",
                                 partition);
        return;
    }
    struct record_iter iter;
    record_iter_init(&iter, &batch->header, batch_records(batch));
    struct record record;
    enum err err = ERR_OK;
    while ((err = record_iter_next(&iter, &record)) == ERR_OK) {
        if (record.offset >= reader->walk.next_offset[partition]) {
            take_record(reader, partition, &record, high_watermark);
        }
    }
    CHECK(err == ERR_END);
}

static void take_partition(struct script_reader *reader, const struct fetch_response_partition_data *data)
{
    unsigned partition = (unsigned)data->partition_index;
    CHECK(partition < reader->options.partition_count);
    log_debug(reader->env->logger, "script", "fetched", "partition=%u offset=%lld error=%s hw=%lld bytes=%zu",
              partition, (long long)reader->walk.next_offset[partition], error_code_name(data->error_code),
              (long long)data->high_watermark, data->records.bytes.bytes);
    if (data->error_code == ERROR_OFFSET_OUT_OF_RANGE) {
        broker_checker_violation(reader->options.checker,
                                 "R1: partition %u: offset %lld is out of range after it was read", partition,
                                 (long long)reader->walk.next_offset[partition]);
        return;
    }
    if (data->error_code != ERROR_NONE) {
        if (!error_code_is_retriable(data->error_code)) {
            broker_checker_violation(reader->options.checker, "partition %u: fetch is answered by %s", partition,
                                     error_code_name(data->error_code));
        }
        return;
    }
    struct span rest = data->records.bytes;
    struct batch batch;
    while (!span_is_null(rest) && batch_next(&rest, &batch) == ERR_OK) {
        take_batch(reader, partition, &batch, data->high_watermark);
    }
}

static void on_fetched(struct kafka_request *request, struct reader *body)
{
    struct script_reader *reader = CONTAINER_OF(request, struct script_reader, request);
    if (body == NULL) {
        return; /* on_up begins anew */
    }
    struct arena arena;
    arena_init(&arena, 0);
    struct fetch_response response;
    enum err err = codec_decode(&fetch_response_codec, FETCH_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK);
    for (size_t i = 0; i < response.responses_count; i++) {
        for (size_t k = 0; k < response.responses[i].partitions_count; k++) {
            take_partition(reader, &response.responses[i].partitions[k]);
        }
    }
    arena_done(&arena);
    loop_timer_set(reader->loop, &reader->timer, loop_now_us(reader->loop) + 1 + rng_below(reader->env->rng, AGAIN_US));
}

static void fetch(struct script_reader *reader)
{
    if (!kafka_client_is_up(reader->client)) {
        return;
    }
    struct fetch_request_partition partitions[CHECKER_PARTITIONS_MAX];
    for (unsigned i = 0; i < reader->options.partition_count; i++) {
        codec_struct_set_defaults(&fetch_request_partition_layout, &partitions[i]);
        partitions[i].partition = (int32_t)i;
        partitions[i].fetch_offset = reader->walk.next_offset[i];
        partitions[i].partition_max_bytes = 1 + (int32_t)rng_below(reader->env->rng, PARTITION_BYTES_MOST);
    }
    struct fetch_request_topic topic = {.topic = span_text(reader->options.topic),
                                        .partitions = partitions,
                                        .partitions_count = reader->options.partition_count};
    struct fetch_request message;
    codec_set_defaults(&fetch_request_codec, &message);
    message.max_wait_ms = (int32_t)rng_below(reader->env->rng, WAIT_MS_MOST);
    message.min_bytes = 1;
    message.topics = &topic;
    message.topics_count = 1;
    reader->request =
        (struct kafka_request){.api_key = API_KEY_FETCH, .api_version = FETCH_VERSION, .on_reply = on_fetched};
    kafka_client_send(reader->client, &reader->request, &message);
}

static void on_timer(struct loop_timer *timer)
{
    fetch(CONTAINER_OF(timer, struct script_reader, timer));
}

static void on_up(void *ctx)
{
    fetch((struct script_reader *)ctx);
}

static void on_down(void *ctx)
{
    struct script_reader *reader = (struct script_reader *)ctx;
    loop_timer_cancel(reader->loop, &reader->timer);
}

struct script_reader *script_reader_start(struct env *env, const struct broker_script_options *options)
{
    struct script_reader *reader = MEM_NEW(struct script_reader);
    reader->env = env;
    reader->options = *options;
    reader->timer.fire = on_timer;
    enum err err = runtime_loop_new(env->runtime, "reader", &reader->loop);
    CHECK(err == ERR_OK);
    reader->client =
        kafka_client_new(env, reader->loop, options->host, options->port, "reader", on_up, on_down, reader);
    runtime_loop_start(env->runtime, reader->loop);
    return reader;
}

bool script_reader_is_through(const struct script_reader *reader)
{
    for (unsigned i = 0; i < reader->options.partition_count; i++) {
        if (reader->walk.next_offset[i] < reader->options.checker->partitions[i].known_end_offset) {
            return false;
        }
    }
    return true;
}

const struct checker_reader *script_reader_walk(const struct script_reader *reader)
{
    return &reader->walk;
}

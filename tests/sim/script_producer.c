/* The producer:
 *
 *     down --(connected)--> creating the topic --> asking for a producer id (once) --> producing --(lost)--> down
 *
 * Producing, per partition: batches [head, tail) are unacknowledged. They are sent in order; the answer to one that fails makes
 * it wait until nothing of the partition is under way, then all are sent again in order. The head's predecessor is
 * acknowledged, so "out of order sequence" for a head is a lost acknowledged record, or a lost producer state. */
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "common/seam/loop.h"
#include "common/seam/rng.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/create_topics.h"
#include "proto/kmsg/init_producer_id.h"
#include "proto/kmsg/produce.h"
#include "proto/record/build.h"
#include "proto/wire/error_code.h"
#include "tests/sim/broker_script.h"
#include "tests/sim/kafka_client.h"

#include <inttypes.h>
#include <stdio.h>

#define PRODUCE_VERSION 12
#define INIT_PRODUCER_ID_VERSION 4
#define CREATE_TOPICS_VERSION 7
#define RECORDS_MAX 12u
#define VALUE_BYTES_MAX 400u
#define BATCH_BYTES_MAX_HERE (64u << 10)
#define RETRY_US 60000u
#define PACE_US_MOST 40000u

struct script_partition;

struct script_batch {
    struct kafka_request request;
    struct script_partition *partition;
    uint64_t first_number;
    unsigned record_count;
    struct bytebuf bytes;
    bool is_used;
    bool is_under_way;
};

struct script_partition {
    struct script_producer *producer;
    unsigned index;
    uint64_t next_number;
    struct script_batch batches[BROKER_SCRIPT_BATCHES_MAX]; /* a ring */
    unsigned head;
    unsigned count;      /* unacknowledged */
    unsigned sent_count; /* of them, sent in this round */
    unsigned under_way_count;
    bool must_resend;
    struct loop_timer timer;
};

struct script_producer {
    struct env *env;
    struct broker_script_options options;
    unsigned index;
    struct loop *loop;
    struct kafka_client *client;
    struct kafka_request setup_request;
    struct loop_timer setup_timer;
    bool has_topic;
    bool is_producing;
    bool is_ending;
    int64_t producer_id; /* -1: not yet */
    int16_t producer_epoch;
    uint64_t acknowledged_count;
    uint64_t retry_count;
    struct script_partition partitions[CHECKER_PARTITIONS_MAX];
};

static void partition_send(struct script_partition *partition);
static void setup_next(struct script_producer *producer);

static uint64_t draw(struct script_producer *producer, uint64_t bound)
{
    return rng_below(producer->env->rng, bound);
}

static void partition_arm(struct script_partition *partition, uint64_t delay_us)
{
    struct loop *loop = partition->producer->loop;
    loop_timer_set(loop, &partition->timer, loop_now_us(loop) + delay_us);
}

/* ---- batches ---- */

static void batch_fill(struct script_batch *batch)
{
    struct script_partition *partition = batch->partition;
    struct script_producer *producer = partition->producer;
    batch->first_number = partition->next_number;
    batch->record_count = 1 + (unsigned)draw(producer, RECORDS_MAX);
    partition->next_number += batch->record_count;
    struct batch_builder builder;
    batch_builder_init(&builder, BATCH_BYTES_MAX_HERE);
    struct batch_options options = BATCH_OPTIONS_DEFAULT;
    options.producer_id = producer->producer_id;
    options.producer_epoch = producer->producer_epoch;
    options.base_sequence = (int32_t)batch->first_number;
    batch_builder_begin(&builder, &options);
    for (unsigned i = 0; i < batch->record_count; i++) {
        char value[VALUE_BYTES_MAX + 64];
        int head_bytes = snprintf(value, sizeof(value), "%u:%" PRIu64 ":", producer->index, batch->first_number + i);
        size_t padding_bytes = (size_t)draw(producer, VALUE_BYTES_MAX);
        memset(value + head_bytes, 'x', padding_bytes);
        enum err err = batch_builder_add(&builder, clock_wall_ms(producer->env->clock), SPAN_NULL,
                                         span_make(value, (size_t)head_bytes + padding_bytes), NULL, 0);
        CHECK(err == ERR_OK);
    }
    bytebuf_init(&batch->bytes, BATCH_BYTES_MAX_HERE);
    enum err err = batch_builder_finish(&builder, &batch->bytes);
    CHECK(err == ERR_OK);
    batch_builder_done(&builder);
    batch->is_used = true;
}

static void batch_acknowledged(struct script_batch *batch, int64_t base_offset)
{
    struct script_partition *partition = batch->partition;
    struct script_producer *producer = partition->producer;
    CHECK(batch == &partition->batches[partition->head] && partition->count > 0);
    broker_checker_acknowledged(producer->options.checker, partition->index, producer->index, batch->first_number,
                                batch->record_count, base_offset);
    producer->acknowledged_count += batch->record_count;
    bytebuf_done(&batch->bytes);
    batch->is_used = false;
    partition->head = (partition->head + 1) % BROKER_SCRIPT_BATCHES_MAX;
    partition->count--;
    partition->sent_count--;
}

static void batch_judge(struct script_batch *batch, int16_t error_code, int64_t base_offset)
{
    struct script_partition *partition = batch->partition;
    struct script_producer *producer = partition->producer;
    bool is_head = batch == &partition->batches[partition->head];
    if (error_code == ERROR_NONE && is_head && !partition->must_resend) {
        batch_acknowledged(batch, base_offset);
        return;
    }
    if (error_code == ERROR_DUPLICATE_SEQUENCE_NUMBER && is_head) {
        batch_acknowledged(batch, -1); /* it is there; where, the broker has forgotten */
        return;
    }
    if (is_head && (error_code == ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER || error_code == ERROR_UNKNOWN_PRODUCER_ID)) {
        broker_checker_violation(producer->options.checker,
                                 "R4: partition %u: the broker answers %s to sequence %" PRIu64
                                 " of producer %u, whose predecessors are acknowledged",
                                 partition->index, error_code_name(error_code), batch->first_number, producer->index);
    } else if (error_code != ERROR_NONE && !error_code_is_retriable(error_code) &&
               error_code != ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER) {
        broker_checker_violation(producer->options.checker, "partition %u: produce is answered by %s", partition->index,
                                 error_code_name(error_code));
    }
    partition->must_resend = true;
}

/* ---- sending ---- */

static void on_produce_reply(struct kafka_request *request, struct reader *body)
{
    struct script_batch *batch = CONTAINER_OF(request, struct script_batch, request);
    struct script_partition *partition = batch->partition;
    struct script_producer *producer = partition->producer;
    batch->is_under_way = false;
    partition->under_way_count--;
    if (body == NULL) {
        partition->must_resend = true;
    } else {
        struct arena arena;
        arena_init(&arena, 0);
        struct produce_response response;
        enum err err = codec_decode(&produce_response_codec, PRODUCE_VERSION, body, &arena, &response);
        CHECK(err == ERR_OK && response.responses_count == 1 && response.responses[0].partition_responses_count == 1);
        const struct produce_response_partition_produce_response *answer =
            &response.responses[0].partition_responses[0];
        CHECK(answer->index == (int32_t)partition->index);
        log_debug(producer->env->logger, "script", "produced", "partition=%u number=%llu count=%u error=%s offset=%lld",
                  partition->index, (unsigned long long)batch->first_number, batch->record_count,
                  error_code_name(answer->error_code), (long long)answer->base_offset);
        batch_judge(batch, answer->error_code, answer->base_offset);
        arena_done(&arena);
    }
    if (partition->must_resend) {
        partition_arm(partition, RETRY_US);
    }
}

static void batch_send(struct script_batch *batch)
{
    struct script_partition *partition = batch->partition;
    struct script_producer *producer = partition->producer;
    struct produce_request_partition_produce_data data = {.index = (int32_t)partition->index,
                                                          .records = {.bytes = bytebuf_span(&batch->bytes)}};
    struct produce_request_topic_produce_data topic = {
        .name = span_text(producer->options.topic), .partition_data = &data, .partition_data_count = 1};
    struct produce_request message = {
        .transactional_id = SPAN_NULL, .acks = -1, .timeout_ms = 10000, .topic_data = &topic, .topic_data_count = 1};
    batch->request = (struct kafka_request){
        .api_key = API_KEY_PRODUCE, .api_version = PRODUCE_VERSION, .on_reply = on_produce_reply};
    batch->is_under_way = true;
    partition->under_way_count++;
    kafka_client_send(producer->client, &batch->request, &message);
}

static void partition_send(struct script_partition *partition)
{
    struct script_producer *producer = partition->producer;
    if (!producer->is_producing) {
        return;
    }
    if (partition->must_resend) {
        if (partition->under_way_count > 0) {
            return; /* the last answer comes back here */
        }
        partition->must_resend = false;
        partition->sent_count = 0;
        producer->retry_count++;
    }
    if (partition->sent_count == partition->count && partition->count < BROKER_SCRIPT_BATCHES_MAX &&
        !producer->is_ending) {
        batch_fill(&partition->batches[(partition->head + partition->count) % BROKER_SCRIPT_BATCHES_MAX]);
        partition->count++;
    }
    while (partition->sent_count < partition->count) {
        unsigned place = (partition->head + partition->sent_count) % BROKER_SCRIPT_BATCHES_MAX;
        partition->sent_count++;
        batch_send(&partition->batches[place]);
    }
    partition_arm(partition, 1 + draw(producer, PACE_US_MOST));
}

static void on_partition_timer(struct loop_timer *timer)
{
    partition_send(CONTAINER_OF(timer, struct script_partition, timer));
}

/* ---- setting up ---- */

static void setup_again(struct script_producer *producer)
{
    loop_timer_set(producer->loop, &producer->setup_timer, loop_now_us(producer->loop) + RETRY_US);
}

static void on_setup_timer(struct loop_timer *timer)
{
    setup_next(CONTAINER_OF(timer, struct script_producer, setup_timer));
}

static void on_topic_created(struct kafka_request *request, struct reader *body)
{
    struct script_producer *producer = CONTAINER_OF(request, struct script_producer, setup_request);
    if (body == NULL) {
        return; /* on_up begins anew */
    }
    struct arena arena;
    arena_init(&arena, 0);
    struct create_topics_response response;
    enum err err = codec_decode(&create_topics_response_codec, CREATE_TOPICS_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK && response.topics_count == 1);
    int16_t error_code = response.topics[0].error_code;
    producer->has_topic = error_code == ERROR_NONE || error_code == ERROR_TOPIC_ALREADY_EXISTS;
    if (!producer->has_topic && !error_code_is_retriable(error_code)) {
        broker_checker_violation(producer->options.checker, "the topic can't be created: %s",
                                 error_code_name(error_code));
    }
    arena_done(&arena);
    producer->has_topic ? setup_next(producer) : setup_again(producer);
}

static void create_topic(struct script_producer *producer)
{
    struct create_topics_request_creatable_topic_config configs[] = {
        {.name = span_text("durability"), .value = span_text(producer->options.is_cached ? "cached" : "synced")}};
    struct create_topics_request_creatable_topic topic = {.name = span_text(producer->options.topic),
                                                          .num_partitions = (int32_t)producer->options.partition_count,
                                                          .replication_factor = 1,
                                                          .configs = configs,
                                                          .configs_count = ARRAY_COUNT(configs)};
    struct create_topics_request message = {.topics = &topic, .topics_count = 1, .timeout_ms = 10000};
    producer->setup_request = (struct kafka_request){
        .api_key = API_KEY_CREATE_TOPICS, .api_version = CREATE_TOPICS_VERSION, .on_reply = on_topic_created};
    kafka_client_send(producer->client, &producer->setup_request, &message);
}

static void on_producer_id(struct kafka_request *request, struct reader *body)
{
    struct script_producer *producer = CONTAINER_OF(request, struct script_producer, setup_request);
    if (body == NULL) {
        return;
    }
    struct arena arena;
    arena_init(&arena, 0);
    struct init_producer_id_response response;
    enum err err = codec_decode(&init_producer_id_response_codec, INIT_PRODUCER_ID_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK);
    arena_done(&arena);
    if (response.error_code != ERROR_NONE) {
        setup_again(producer);
        return;
    }
    producer->producer_id = response.producer_id;
    producer->producer_epoch = response.producer_epoch;
    setup_next(producer);
}

static void ask_producer_id(struct script_producer *producer)
{
    struct init_producer_id_request message = {
        .transactional_id = SPAN_NULL, .transaction_timeout_ms = 60000, .producer_id = -1, .producer_epoch = -1};
    producer->setup_request = (struct kafka_request){
        .api_key = API_KEY_INIT_PRODUCER_ID, .api_version = INIT_PRODUCER_ID_VERSION, .on_reply = on_producer_id};
    kafka_client_send(producer->client, &producer->setup_request, &message);
}

static void setup_next(struct script_producer *producer)
{
    if (!kafka_client_is_up(producer->client)) {
        return;
    }
    if (!producer->has_topic) {
        create_topic(producer);
    } else if (producer->producer_id < 0) {
        ask_producer_id(producer);
    } else {
        producer->is_producing = true;
        for (unsigned i = 0; i < producer->options.partition_count; i++) {
            partition_send(&producer->partitions[i]);
        }
    }
}

static void on_up(void *ctx)
{
    setup_next((struct script_producer *)ctx);
}

static void on_down(void *ctx)
{
    struct script_producer *producer = (struct script_producer *)ctx;
    producer->is_producing = false;
    loop_timer_cancel(producer->loop, &producer->setup_timer);
    for (unsigned i = 0; i < producer->options.partition_count; i++) {
        loop_timer_cancel(producer->loop, &producer->partitions[i].timer);
    }
}

struct script_producer *script_producer_start(struct env *env, const struct broker_script_options *options,
                                              unsigned index)
{
    struct script_producer *producer = MEM_NEW(struct script_producer);
    producer->env = env;
    producer->options = *options;
    producer->index = index;
    producer->producer_id = -1;
    producer->setup_timer.fire = on_setup_timer;
    enum err err = runtime_loop_new(env->runtime, "producer", &producer->loop);
    CHECK(err == ERR_OK);
    for (unsigned i = 0; i < options->partition_count; i++) {
        struct script_partition *partition = &producer->partitions[i];
        partition->producer = producer;
        partition->index = i;
        partition->timer.fire = on_partition_timer;
        for (unsigned b = 0; b < BROKER_SCRIPT_BATCHES_MAX; b++) {
            partition->batches[b].partition = partition;
        }
    }
    producer->client =
        kafka_client_new(env, producer->loop, options->host, options->port, "producer", on_up, on_down, producer);
    runtime_loop_start(env->runtime, producer->loop);
    return producer;
}

void script_producer_end(struct script_producer *producer)
{
    producer->is_ending = true;
}

bool script_producer_is_through(const struct script_producer *producer)
{
    for (unsigned i = 0; i < producer->options.partition_count; i++) {
        if (producer->partitions[i].count > 0) {
            return false;
        }
    }
    return producer->is_ending;
}

uint64_t script_producer_acknowledged(const struct script_producer *producer)
{
    return producer->acknowledged_count;
}

uint64_t script_producer_retries(const struct script_producer *producer)
{
    return producer->retry_count;
}

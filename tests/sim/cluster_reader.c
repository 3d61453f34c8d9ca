/* The reader: per broker one fetch at a time, for the partitions that it is thought to lead, without a session; sizes and waits are
 * drawn, so that batches come cut. */
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/rng.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/fetch.h"
#include "proto/record/iter.h"
#include "proto/wire/error_code.h"
#include "tests/sim/cluster_script.h"

#include <limits.h>
#include <stdlib.h>

#define FETCH_VERSION 12
#define AGAIN_US 300000u
#define AGAIN_VERIFY_US 3000u
#define WAIT_MS_MOST 1000u
#define PARTITION_BYTES_MOST 30000u
#define VERIFY_BYTES 1000000
#define GO_BACK_ONE_IN 400u

struct reader_link {
    struct cluster_reader *reader;
    unsigned broker;
    struct kafka_request request;
    struct loop_timer timer;
    bool is_fetching;
    int64_t wanted_offset[CLUSTER_PARTITIONS_MAX]; /* by the fetch under way */
    bool was_verifying; /* when the fetch under way was sent: its answer is of no use behind the turn */
};

struct reader_partition {
    int64_t next_offset;
    int32_t last_epoch; /* of the record below next_offset; -1: not known */
};

struct cluster_reader {
    struct env *env;
    struct cluster_script_options options;
    struct loop *loop;
    struct cluster_client *client;
    struct reader_link links[CLUSTER_BROKERS_MAX];
    struct reader_partition partitions[CLUSTER_PARTITIONS_MAX];
    bool is_verifying;
    uint64_t restart_count;
};

static void link_arm(struct reader_link *link, uint64_t delay_us)
{
    struct loop *loop = link->reader->loop;
    loop_timer_set(loop, &link->timer, loop_now_us(loop) + delay_us);
}

static void take_record(struct cluster_reader *reader, unsigned partition, const struct record *record,
                        int64_t high_watermark)
{
    char text[48] = {0};
    memcpy(text, record->value.data, record->value.bytes < sizeof(text) - 1 ? record->value.bytes : sizeof(text) - 1);
    char *rest = NULL;
    unsigned long session = strtoul(text, &rest, 10);
    uint64_t number = *rest == ':' ? strtoull(rest + 1, &rest, 10) : 0;
    if (*rest != ':') {
        cluster_verdict_violation(reader->options.verdict, "R10: partition %u offset %" PRId64 ": nobody wrote this",
                                  partition, record->offset);
        return;
    }
    if (!reader->options.is_exposed(reader->options.ctx, partition, record->offset)) {
        cluster_verdict_violation(reader->options.verdict,
                                  "R3: partition %u: offset %" PRId64 " was read, but no leader's high watermark "
                                  "has passed it",
                                  partition, record->offset);
    }
    struct reader_partition *walk = &reader->partitions[partition];
    cluster_history_read(reader->options.history, partition, walk->next_offset, record->offset, high_watermark,
                         (unsigned)session, number);
    walk->next_offset = record->offset + 1;
}

static void take_batch(struct cluster_reader *reader, unsigned partition, const struct batch *batch,
                       int64_t high_watermark)
{
    if (batch_check_crc(batch) != ERR_OK) {
        cluster_verdict_violation(reader->options.verdict, "R10: partition %u: a batch with a wrong CRC was served",
                                  partition);
        return;
    }
    struct record_iter iter;
    record_iter_init(&iter, &batch->header, batch_records(batch));
    struct record record;
    enum err err = ERR_OK;
    while ((err = record_iter_next(&iter, &record)) == ERR_OK) {
        if (record.offset >= reader->partitions[partition].next_offset) {
            take_record(reader, partition, &record, high_watermark);
            reader->partitions[partition].last_epoch = batch->header.partition_leader_epoch;
        }
    }
    CHECK(err == ERR_END);
}

static void take_error(struct cluster_reader *reader, unsigned partition, int16_t error_code)
{
    cluster_client_refresh(reader->client);
    if (error_code == ERROR_OFFSET_OUT_OF_RANGE) {
        cluster_verdict_violation(reader->options.verdict,
                                  "R1: partition %u: offset %" PRId64 " is out of range after it was read", partition,
                                  reader->partitions[partition].next_offset);
    } else if (!error_code_is_retriable(error_code)) {
        cluster_verdict_violation(reader->options.verdict, "partition %u: fetch is answered by %s", partition,
                                  error_code_name(error_code));
    }
}

static void take_partition(struct reader_link *link, struct span topic,
                           const struct fetch_response_partition_data *data)
{
    struct cluster_reader *reader = link->reader;
    unsigned partition =
        cluster_plan_find(reader->options.plan, (const char *)topic.data, topic.bytes, data->partition_index);
    CHECK(partition != UINT_MAX);
    struct reader_partition *walk = &reader->partitions[partition];
    log_debug(reader->env->logger, "script", "fetched", "partition=%u offset=%lld error=%s hw=%lld bytes=%zu",
              partition, (long long)walk->next_offset, error_code_name(data->error_code),
              (long long)data->high_watermark, data->records.bytes.bytes);
    if (data->error_code != ERROR_NONE) {
        take_error(reader, partition, data->error_code);
        return;
    }
    if (data->diverging_epoch.epoch >= 0) {
        cluster_verdict_violation(reader->options.verdict,
                                  "R3: partition %u: what was read below offset %" PRId64 " in epoch %d diverges",
                                  partition, walk->next_offset, walk->last_epoch);
        return;
    }
    if (link->wanted_offset[partition] > walk->next_offset) {
        return; /* the reader went back while this answer was under way from a leader before */
    }
    struct span rest = data->records.bytes;
    struct batch batch;
    while (!span_is_null(rest) && batch_next(&rest, &batch) == ERR_OK) {
        take_batch(reader, partition, &batch, data->high_watermark);
    }
    if (!reader->is_verifying && rng_below(reader->env->rng, GO_BACK_ONE_IN) == 0 && walk->next_offset > 0) {
        walk->next_offset = (int64_t)rng_below(reader->env->rng, (uint64_t)walk->next_offset);
        walk->last_epoch = -1;
        reader->restart_count++;
    }
}

static void on_fetched(struct kafka_request *request, struct reader *body)
{
    struct reader_link *link = CONTAINER_OF(request, struct reader_link, request);
    struct cluster_reader *reader = link->reader;
    link->is_fetching = false;
    link_arm(link, reader->is_verifying ? AGAIN_VERIFY_US : 1 + rng_below(reader->env->rng, AGAIN_US));
    if (body == NULL || link->was_verifying != reader->is_verifying) {
        return;
    }
    struct arena arena;
    arena_init(&arena, 0);
    struct fetch_response response;
    enum err err = codec_decode(&fetch_response_codec, FETCH_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK);
    for (size_t i = 0; i < response.responses_count; i++) {
        for (size_t k = 0; k < response.responses[i].partitions_count; k++) {
            take_partition(link, response.responses[i].topic, &response.responses[i].partitions[k]);
        }
    }
    arena_done(&arena);
}

/* Fills in the partitions of the topic that this broker is thought to lead. */
static size_t fill_topic(struct reader_link *link, const struct cluster_plan_topic *plan,
                         struct fetch_request_partition *ret_partitions)
{
    struct cluster_reader *reader = link->reader;
    size_t count = 0;
    for (unsigned i = 0; i < plan->partition_count; i++) {
        unsigned index = plan->first_partition + i;
        struct cluster_client_leader leader = cluster_client_leader_of(reader->client, index);
        if (leader.broker != (int32_t)link->broker) {
            continue;
        }
        struct fetch_request_partition *partition = &ret_partitions[count++];
        codec_struct_set_defaults(&fetch_request_partition_layout, partition);
        partition->partition = (int32_t)i;
        partition->current_leader_epoch = leader.leader_epoch;
        partition->fetch_offset = reader->partitions[index].next_offset;
        link->wanted_offset[index] = partition->fetch_offset;
        partition->last_fetched_epoch = reader->partitions[index].last_epoch;
        partition->partition_max_bytes =
            reader->is_verifying ? VERIFY_BYTES : 1 + (int32_t)rng_below(reader->env->rng, PARTITION_BYTES_MOST);
    }
    return count;
}

static void fetch(struct reader_link *link)
{
    struct cluster_reader *reader = link->reader;
    struct kafka_client *connection = cluster_client_broker(reader->client, link->broker);
    if (connection == NULL || link->is_fetching) {
        return;
    }
    struct fetch_request_partition partitions[CLUSTER_PARTITIONS_MAX];
    struct fetch_request_topic topics[CLUSTER_TOPICS_MAX];
    size_t topic_count = 0;
    for (unsigned i = 0; i < reader->options.plan->topic_count; i++) {
        const struct cluster_plan_topic *plan = &reader->options.plan->topics[i];
        struct fetch_request_partition *first = &partitions[plan->first_partition];
        size_t count = fill_topic(link, plan, first);
        if (count > 0) {
            topics[topic_count++] = (struct fetch_request_topic){
                .topic = span_text(plan->name), .partitions = first, .partitions_count = count};
        }
    }
    if (topic_count == 0) {
        link_arm(link, AGAIN_US);
        return;
    }
    struct fetch_request message;
    codec_set_defaults(&fetch_request_codec, &message);
    message.max_wait_ms = reader->is_verifying ? 100 : (int32_t)rng_below(reader->env->rng, WAIT_MS_MOST);
    message.min_bytes = 1;
    message.topics = topics;
    message.topics_count = topic_count;
    link->request =
        (struct kafka_request){.api_key = API_KEY_FETCH, .api_version = FETCH_VERSION, .on_reply = on_fetched};
    link->is_fetching = true;
    link->was_verifying = reader->is_verifying;
    kafka_client_send(connection, &link->request, &message);
}

static void on_timer(struct loop_timer *timer)
{
    fetch(CONTAINER_OF(timer, struct reader_link, timer));
}

static void on_broker_up(void *ctx, unsigned broker)
{
    struct cluster_reader *reader = (struct cluster_reader *)ctx;
    link_arm(&reader->links[broker], 1);
}

static void on_broker_down(void *ctx, unsigned broker)
{
    struct cluster_reader *reader = (struct cluster_reader *)ctx;
    loop_timer_cancel(reader->loop, &reader->links[broker].timer);
}

static void on_metadata(void *ctx)
{
    (void)ctx;
}

struct cluster_reader *cluster_reader_start(struct env *env, const struct cluster_script_options *options)
{
    struct cluster_reader *reader = MEM_NEW(struct cluster_reader);
    reader->env = env;
    reader->options = *options;
    for (unsigned i = 0; i < CLUSTER_BROKERS_MAX; i++) {
        reader->links[i] = (struct reader_link){.reader = reader, .broker = i, .timer = {.fire = on_timer}};
    }
    for (unsigned i = 0; i < CLUSTER_PARTITIONS_MAX; i++) {
        reader->partitions[i].last_epoch = -1;
    }
    enum err err = runtime_loop_new(env->runtime, "reader", &reader->loop);
    CHECK(err == ERR_OK);
    struct cluster_client_events events = {
        .ctx = reader, .on_broker_up = on_broker_up, .on_broker_down = on_broker_down, .on_metadata = on_metadata};
    reader->client = cluster_client_new(env, reader->loop, options->plan, "reader", &events);
    runtime_loop_start(env->runtime, reader->loop);
    return reader;
}

void cluster_reader_verify(struct cluster_reader *reader)
{
    reader->is_verifying = true;
    for (unsigned i = 0; i < reader->options.plan->partition_count; i++) {
        reader->partitions[i] = (struct reader_partition){.last_epoch = -1};
    }
}

bool cluster_reader_is_through(const struct cluster_reader *reader)
{
    for (unsigned i = 0; i < reader->options.plan->partition_count; i++) {
        if (reader->partitions[i].next_offset < reader->options.history->partitions[i].known_end) {
            return false;
        }
    }
    return true;
}

uint64_t cluster_reader_restarts(const struct cluster_reader *reader)
{
    return reader->restart_count;
}

/* The producer:
 *
 *     creating the topics (the first producer) --> asking for a producer id (promised ones) --> producing --> renewing --> asking ...
 *
 * Per partition: batches [head, head + count) are unacknowledged. They are sent in order to the leader that is known; the answer to
 * one that fails makes it wait until nothing of the partition is under way, then all are sent again in order, to whoever leads then.
 * The head's predecessor is acknowledged, so "out of order sequence" for a head is a lost record or a lost producer state; unless it was
 * said by a leader of before, which does not know yet that others have gone on. */
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "common/seam/rng.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/init_producer_id.h"
#include "proto/kmsg/produce.h"
#include "proto/record/build.h"
#include "proto/wire/error_code.h"
#include "tests/sim/cluster_script.h"
#include "tests/sim/cluster_setup.h"

#include <stdio.h>

#define PRODUCE_VERSION 12
#define INIT_PRODUCER_ID_VERSION 4
#define BATCHES_MAX 5u /* what a broker remembers of a producer */
#define RECORDS_MAX 8u
#define BATCH_BYTES_MAX_HERE (64u << 10)
#define RETRY_US 80000u
#define TIMEOUT_MS_LEAST 300u
#define TIMEOUT_MS_MOST 4000u

struct producer_partition;

struct producer_batch {
    struct kafka_request request;
    struct producer_partition *partition;
    uint64_t first_number;
    unsigned record_count;
    struct bytebuf bytes;
};

struct producer_partition {
    struct cluster_producer *producer;
    unsigned index; /* numbered through */
    uint64_t next_number;
    struct producer_batch batches[BATCHES_MAX]; /* a ring */
    unsigned head;
    unsigned count;      /* unacknowledged */
    unsigned sent_count; /* of them, sent in this round */
    unsigned under_way_count;
    int32_t broker; /* where those under way went */
    bool must_resend;
    bool is_known; /* by the brokers: a batch of this session was acknowledged */
    struct loop_timer timer;
};

struct cluster_producer {
    struct env *env;
    struct cluster_script_options options;
    const struct cluster_plan_producer *plan;
    unsigned index;
    struct loop *loop;
    struct cluster_client *client;
    struct cluster_setup *setup; /* of the topics; NULL: not this producer's task */
    struct kafka_request id_request;
    struct loop_timer id_timer;
    bool is_asking_id;
    bool has_topics;
    bool is_ending;
    bool is_renewing;
    unsigned session;
    int64_t producer_id; /* -1: not yet */
    int16_t producer_epoch;
    uint64_t retry_count;
    struct producer_partition partitions[CLUSTER_PARTITIONS_MAX];
};

static void partition_send(struct producer_partition *partition);

static uint64_t draw(struct cluster_producer *producer, uint64_t bound)
{
    return rng_below(producer->env->rng, bound);
}

static void partition_arm(struct producer_partition *partition, uint64_t delay_us)
{
    struct loop *loop = partition->producer->loop;
    loop_timer_set(loop, &partition->timer, loop_now_us(loop) + delay_us);
}

/* ---- batches ---- */

static void batch_fill(struct producer_batch *batch)
{
    struct producer_partition *partition = batch->partition;
    struct cluster_producer *producer = partition->producer;
    batch->first_number = partition->next_number;
    batch->record_count = 1 + (unsigned)draw(producer, RECORDS_MAX);
    partition->next_number += batch->record_count;
    struct batch_builder builder;
    batch_builder_init(&builder, BATCH_BYTES_MAX_HERE);
    struct batch_options options = BATCH_OPTIONS_DEFAULT;
    if (producer->plan->is_promised) {
        options.producer_id = producer->producer_id;
        options.producer_epoch = producer->producer_epoch;
        options.base_sequence = (int32_t)batch->first_number;
    }
    batch_builder_begin(&builder, &options);
    for (unsigned i = 0; i < batch->record_count; i++) {
        char value[1024];
        int head_bytes = snprintf(value, sizeof(value), "%u:%" PRIu64 ":", producer->session, batch->first_number + i);
        size_t padding_bytes = (size_t)draw(producer, producer->plan->value_bytes);
        memset(value + head_bytes, 'x', padding_bytes);
        enum err err = batch_builder_add(&builder, clock_wall_ms(producer->env->clock), SPAN_NULL,
                                         span_make(value, (size_t)head_bytes + padding_bytes), NULL, 0);
        CHECK(err == ERR_OK);
    }
    bytebuf_init(&batch->bytes, BATCH_BYTES_MAX_HERE);
    enum err err = batch_builder_finish(&builder, &batch->bytes);
    CHECK(err == ERR_OK);
    batch_builder_done(&builder);
}

static void drop_head(struct producer_partition *partition)
{
    bytebuf_done(&partition->batches[partition->head].bytes);
    partition->head = (partition->head + 1) % BATCHES_MAX;
    partition->count--;
    partition->sent_count -= partition->sent_count > 0 ? 1 : 0;
}

static void batch_acknowledged(struct producer_batch *batch, int64_t base_offset)
{
    struct producer_partition *partition = batch->partition;
    struct cluster_producer *producer = partition->producer;
    CHECK(batch == &partition->batches[partition->head] && partition->count > 0);
    if (producer->plan->is_promised) {
        int64_t last_offset = base_offset + batch->record_count - 1;
        if (base_offset >= 0 && !producer->options.is_exposed(producer->options.ctx, partition->index, last_offset)) {
            cluster_verdict_violation(producer->options.verdict,
                                      "R1: partition %u: offset %" PRId64
                                      " is acknowledged, but no leader's high watermark has passed it",
                                      partition->index, last_offset);
        }
        cluster_history_acknowledged(producer->options.history, partition->index, producer->session,
                                     batch->first_number, batch->record_count, base_offset);
    }
    partition->is_known = true;
    drop_head(partition);
}

static void batch_judge(struct producer_batch *batch, int16_t error_code, int64_t base_offset)
{
    struct producer_partition *partition = batch->partition;
    struct cluster_producer *producer = partition->producer;
    bool is_head = batch == &partition->batches[partition->head];
    if (error_code == ERROR_NONE && is_head && !partition->must_resend) {
        batch_acknowledged(batch, base_offset);
        return;
    }
    if (error_code == ERROR_DUPLICATE_SEQUENCE_NUMBER && is_head) {
        batch_acknowledged(batch, -1); /* it is there; where, the broker has forgotten */
        return;
    }
    bool is_out_of_order = error_code == ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER || error_code == ERROR_UNKNOWN_PRODUCER_ID;
    bool is_by_leader =
        producer->options.is_leader(producer->options.ctx, partition->index, (unsigned)partition->broker);
    if (is_head && is_out_of_order && is_by_leader) {
        cluster_verdict_violation(producer->options.verdict,
                                  "R4: partition %u: a broker answers %s to sequence %" PRIu64
                                  " of session %u, whose predecessors are acknowledged",
                                  partition->index, error_code_name(error_code), batch->first_number,
                                  producer->session);
    } else if (error_code != ERROR_NONE && !error_code_is_retriable(error_code) && !is_out_of_order) {
        cluster_verdict_violation(producer->options.verdict, "partition %u: produce is answered by %s",
                                  partition->index, error_code_name(error_code));
    }
    partition->must_resend = true;
    if (error_code != ERROR_NONE) {
        cluster_client_refresh(producer->client);
    }
}

/* ---- sending ---- */

static void take_answer(struct producer_batch *batch, struct reader *body)
{
    struct producer_partition *partition = batch->partition;
    struct cluster_producer *producer = partition->producer;
    struct arena arena;
    arena_init(&arena, 0);
    struct produce_response response;
    enum err err = codec_decode(&produce_response_codec, PRODUCE_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK && response.responses_count == 1 && response.responses[0].partition_responses_count == 1);
    const struct produce_response_partition_produce_response *answer = &response.responses[0].partition_responses[0];
    log_debug(producer->env->logger, "script", "produced",
              "partition=%u broker=%d session=%u number=%llu count=%u error=%s offset=%lld", partition->index,
              partition->broker, producer->session, (unsigned long long)batch->first_number, batch->record_count,
              error_code_name(answer->error_code), (long long)answer->base_offset);
    batch_judge(batch, answer->error_code, answer->base_offset);
    arena_done(&arena);
}

static void on_produce_reply(struct kafka_request *request, struct reader *body)
{
    struct producer_batch *batch = CONTAINER_OF(request, struct producer_batch, request);
    struct producer_partition *partition = batch->partition;
    partition->under_way_count--;
    if (body == NULL) {
        partition->must_resend = true;
    } else {
        take_answer(batch, body);
    }
    if (partition->must_resend) {
        partition_arm(partition, RETRY_US);
    }
}

static void batch_send(struct producer_batch *batch, struct kafka_client *connection)
{
    struct producer_partition *partition = batch->partition;
    struct cluster_producer *producer = partition->producer;
    unsigned index = 0;
    const struct cluster_plan_topic *plan_topic =
        cluster_plan_topic_of(producer->options.plan, partition->index, &index);
    struct produce_request_partition_produce_data data = {.index = (int32_t)index,
                                                          .records = {.bytes = bytebuf_span(&batch->bytes)}};
    struct produce_request_topic_produce_data topic = {
        .name = span_text(plan_topic->name), .partition_data = &data, .partition_data_count = 1};
    struct produce_request message = {
        .transactional_id = SPAN_NULL,
        .acks = producer->plan->is_promised ? -1 : 1,
        .timeout_ms = (int32_t)(TIMEOUT_MS_LEAST + draw(producer, TIMEOUT_MS_MOST)),
        .topic_data = &topic,
        .topic_data_count = 1,
    };
    batch->request = (struct kafka_request){
        .api_key = API_KEY_PRODUCE, .api_version = PRODUCE_VERSION, .on_reply = on_produce_reply};
    partition->under_way_count++;
    kafka_client_send(connection, &batch->request, &message);
}

static bool is_producing(const struct cluster_producer *producer)
{
    return producer->has_topics && !producer->is_renewing &&
           (producer->producer_id >= 0 || !producer->plan->is_promised);
}

/* The connection to the partition's leader, if what is under way went there too. */
static struct kafka_client *leader_connection(struct producer_partition *partition)
{
    struct cluster_producer *producer = partition->producer;
    struct cluster_client_leader leader = cluster_client_leader_of(producer->client, partition->index);
    if (leader.broker < 0) {
        cluster_client_refresh(producer->client);
        return NULL;
    }
    if (partition->under_way_count > 0 && partition->broker != leader.broker) {
        partition->must_resend = true;
        return NULL;
    }
    partition->broker = leader.broker;
    struct kafka_client *connection = cluster_client_broker(producer->client, (unsigned)leader.broker);
    if (connection == NULL) {
        cluster_client_refresh(producer->client);
    }
    return connection;
}

/* A broker takes any first sequence of a producer that it has never heard of (correctness.md 4, trap 12, as Kafka does): a second batch must
 * not be under way beside the first, which may be refused. */
static unsigned depth_of(const struct producer_partition *partition)
{
    return partition->is_known ? partition->producer->plan->depth : 1;
}

static void partition_send(struct producer_partition *partition)
{
    struct cluster_producer *producer = partition->producer;
    if (!is_producing(producer) || (partition->must_resend && partition->under_way_count > 0)) {
        partition_arm(partition, RETRY_US);
        return;
    }
    struct kafka_client *connection = leader_connection(partition);
    if (connection == NULL) {
        partition_arm(partition, RETRY_US);
        return;
    }
    if (partition->must_resend) {
        partition->must_resend = false;
        partition->sent_count = 0;
        producer->retry_count++;
    }
    if (partition->sent_count == partition->count && partition->count < depth_of(partition) && !producer->is_ending) {
        batch_fill(&partition->batches[(partition->head + partition->count) % BATCHES_MAX]);
        partition->count++;
    }
    while (partition->sent_count < partition->count) {
        unsigned place = (partition->head + partition->sent_count) % BATCHES_MAX;
        partition->sent_count++;
        batch_send(&partition->batches[place], connection);
    }
    if (partition->count > 0 || !producer->is_ending) {
        partition_arm(partition, 1 + draw(producer, producer->plan->pace_us));
    }
}

static void on_partition_timer(struct loop_timer *timer)
{
    partition_send(CONTAINER_OF(timer, struct producer_partition, timer));
}

/* ---- producer ids and sessions ---- */

static void id_again(struct cluster_producer *producer)
{
    loop_timer_set(producer->loop, &producer->id_timer, loop_now_us(producer->loop) + RETRY_US);
}

static void on_producer_id(struct kafka_request *request, struct reader *body)
{
    struct cluster_producer *producer = CONTAINER_OF(request, struct cluster_producer, id_request);
    producer->is_asking_id = false;
    id_again(producer);
    if (body == NULL) {
        return;
    }
    struct arena arena;
    arena_init(&arena, 0);
    struct init_producer_id_response response;
    enum err err = codec_decode(&init_producer_id_response_codec, INIT_PRODUCER_ID_VERSION, body, &arena, &response);
    CHECK(err == ERR_OK);
    arena_done(&arena);
    if (response.error_code == ERROR_NONE) {
        producer->producer_id = response.producer_id;
        producer->producer_epoch = response.producer_epoch;
    }
}

static void ask_producer_id(struct cluster_producer *producer, struct kafka_client *connection)
{
    struct init_producer_id_request message = {
        .transactional_id = SPAN_NULL, .transaction_timeout_ms = 60000, .producer_id = -1, .producer_epoch = -1};
    producer->id_request = (struct kafka_request){
        .api_key = API_KEY_INIT_PRODUCER_ID, .api_version = INIT_PRODUCER_ID_VERSION, .on_reply = on_producer_id};
    producer->is_asking_id = true;
    kafka_client_send(connection, &producer->id_request, &message);
}

static bool has_any_under_way(const struct cluster_producer *producer)
{
    for (unsigned i = 0; i < producer->options.plan->partition_count; i++) {
        if (producer->partitions[i].under_way_count > 0) {
            return true;
        }
    }
    return false;
}

/* Nothing is under way: what was not acknowledged stays unknown for ever. */
static void begin_session(struct cluster_producer *producer)
{
    for (unsigned i = 0; i < producer->options.plan->partition_count; i++) {
        struct producer_partition *partition = &producer->partitions[i];
        while (partition->count > 0) {
            drop_head(partition);
        }
        partition->sent_count = 0;
        partition->must_resend = false;
        partition->next_number = 0;
        partition->is_known = false;
    }
    producer->is_renewing = false;
    producer->producer_id = -1;
    producer->session = cluster_history_session(producer->options.history, producer->plan->is_promised);
}

static void on_id_timer(struct loop_timer *timer)
{
    struct cluster_producer *producer = CONTAINER_OF(timer, struct cluster_producer, id_timer);
    if (producer->is_renewing && !has_any_under_way(producer)) {
        begin_session(producer);
    }
    bool is_wanted = producer->plan->is_promised && producer->producer_id < 0 && !producer->is_asking_id;
    struct kafka_client *connection = is_wanted ? cluster_client_any(producer->client) : NULL;
    if (connection != NULL) {
        ask_producer_id(producer, connection);
    } else if (is_wanted || producer->is_renewing) {
        id_again(producer);
    }
}

/* ---- life ---- */

static void on_broker(void *ctx, unsigned broker)
{
    (void)ctx;
    (void)broker;
}

static void on_metadata(void *ctx)
{
    struct cluster_producer *producer = (struct cluster_producer *)ctx;
    bool has_all = true;
    for (unsigned i = 0; i < producer->options.plan->partition_count; i++) {
        has_all = has_all && cluster_client_leader_of(producer->client, i).leader_epoch >= 0;
    }
    producer->has_topics = producer->has_topics || has_all;
}

struct cluster_producer *cluster_producer_start(struct env *env, const struct cluster_script_options *options,
                                                unsigned index)
{
    struct cluster_producer *producer = MEM_NEW(struct cluster_producer);
    producer->env = env;
    producer->options = *options;
    producer->plan = &options->plan->producers[index];
    producer->index = index;
    enum err err = runtime_loop_new(env->runtime, "producer", &producer->loop);
    CHECK(err == ERR_OK);
    struct cluster_client_events events = {
        .ctx = producer, .on_broker_up = on_broker, .on_broker_down = on_broker, .on_metadata = on_metadata};
    producer->client = cluster_client_new(env, producer->loop, options->plan, "producer", &events);
    for (unsigned i = 0; i < options->plan->partition_count; i++) {
        struct producer_partition *partition = &producer->partitions[i];
        partition->producer = producer;
        partition->index = i;
        partition->timer.fire = on_partition_timer;
        for (unsigned b = 0; b < BATCHES_MAX; b++) {
            partition->batches[b].partition = partition;
        }
        partition_arm(partition, RETRY_US);
    }
    producer->id_timer.fire = on_id_timer;
    begin_session(producer);
    id_again(producer);
    if (index == 0) {
        producer->setup = cluster_setup_start(env, producer->loop, producer->client, options->plan, options->verdict);
    }
    runtime_loop_start(env->runtime, producer->loop);
    return producer;
}

void cluster_producer_end(struct cluster_producer *producer)
{
    producer->is_ending = true;
}

void cluster_producer_renew(struct cluster_producer *producer)
{
    if (!producer->is_ending && cluster_history_has_room(producer->options.history)) {
        producer->is_renewing = true;
        id_again(producer);
    }
}

bool cluster_producer_has_topics(const struct cluster_producer *producer)
{
    return producer->has_topics;
}

bool cluster_producer_is_through(const struct cluster_producer *producer)
{
    for (unsigned i = 0; i < producer->options.plan->partition_count; i++) {
        if (producer->partitions[i].count > 0) {
            return false;
        }
    }
    return producer->is_ending;
}

uint64_t cluster_producer_retries(const struct cluster_producer *producer)
{
    return producer->retry_count;
}

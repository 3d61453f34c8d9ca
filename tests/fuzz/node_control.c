#include "tests/fuzz/node_control.h"

#include "broker/broker_internal.h"
#include "broker/net/admission.h"
#include "broker/net/connection_set.h"
#include "broker/worker.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/create_topics.h"
#include "proto/kmsg/delete_topics.h"
#include "proto/kmsg/fetch.h"
#include "proto/kmsg/metadata.h"
#include "proto/kmsg/produce.h"
#include "proto/record/batch.h"
#include "proto/record/build.h"
#include "proto/wire/error_code.h"
#include "tests/fuzz/frame_link.h"
#include "tests/fuzz/request_words.h"

#include <stdlib.h>

#define CREATE_TOPICS_VERSION 7
#define DELETE_TOPICS_VERSION 6
#define FETCH_VERSION 12
#define METADATA_VERSION 12
#define PRODUCE_VERSION 12
#define BATCH_BYTES_MOST 4096u
#define TIMEOUT_MS 30000
#define BATCHES_BEFORE 4u
/* Maintenance, checkpoints and removed files are through then. */
#define REST_US (45u * SIM_SECOND_US)
/* A job of the pool that happens to be at work has a file open: the least of some looks counts. */
#define REST_LOOKS 4u
#define REST_LOOK_US 370000u
/* What a script may leave: in caches that are bounded by themselves (fetch sessions, metadata entries, free slots). */
#define LEFT_BYTES_MAX (192u << 10)
#define LEFT_BYTES_PER_SCRIPT_BYTE 16u

struct control {
    struct lone_node *node;
    struct frame_link *link;
    struct frame_notes notes;
    struct arena arena;
};

static void control_begin(struct control *control, struct lone_node *node)
{
    *control = (struct control){.node = node};
    control->link = frame_link_new(node, &control->notes, LONE_NODE_PORT);
    arena_init(&control->arena, 0);
}

static void control_end(struct control *control)
{
    arena_done(&control->arena);
    frame_link_free(control->link);
}

static void must_succeed(const struct control *control, const char *what, int16_t error_code)
{
    if (error_code != ERROR_NONE) {
        lone_node_problem(control->node, "the control client's %s fails: %s", what, error_code_name(error_code));
    }
}

/* ---- topics ---- */

static void fill_topic(struct create_topics_request_creatable_topic *topic, const char *name, int32_t partition_count)
{
    topic->name = span_text(name);
    topic->num_partitions = partition_count;
    topic->replication_factor = 1;
}

static void create_topics(struct control *control)
{
    /* Its own topic does not depend on what a script makes the default. */
    struct create_topics_request_creatable_topic_config own[] = {
        {span_text("max.message.bytes"), span_text("1048588")},
        {span_text("retention.ms"), span_text("-1")},
        {span_text("cleanup.policy"), span_text("delete")},
        {span_text("compression.type"), span_text("producer")},
        {span_text("durability"), span_text("synced")},
        {span_text("message.timestamp.type"), span_text("CreateTime")}};
    struct create_topics_request_creatable_topic_config cached[] = {{span_text("durability"), span_text("cached")}};
    struct create_topics_request_creatable_topic topics[3];
    for (size_t i = 0; i < ARRAY_COUNT(topics); i++) {
        codec_struct_set_defaults(&create_topics_request_creatable_topic_layout, &topics[i]);
    }
    fill_topic(&topics[0], WORDS_TOPIC, WORDS_TOPIC_PARTITIONS);
    fill_topic(&topics[1], WORDS_TOPIC_CACHED, 1);
    topics[1].configs = cached;
    topics[1].configs_count = ARRAY_COUNT(cached);
    fill_topic(&topics[2], WORDS_TOPIC_CONTROL, 1);
    topics[2].configs = own;
    topics[2].configs_count = ARRAY_COUNT(own);
    struct create_topics_request request = {
        .topics = topics, .topics_count = ARRAY_COUNT(topics), .timeout_ms = TIMEOUT_MS};
    struct create_topics_response response;
    frame_link_call(control->link, API_KEY_CREATE_TOPICS, CREATE_TOPICS_VERSION, &request, &control->arena, &response);
    for (size_t i = 0; i < response.topics_count; i++) {
        must_succeed(control, "CreateTopics", response.topics[i].error_code);
    }
}

/* The topics are listed by the broker and removed by their ids: both must know the same. */
static void delete_topics(struct control *control)
{
    struct metadata_request list;
    struct metadata_response listed;
    codec_set_defaults(&metadata_request_codec, &list);
    list.topics = NULL;
    frame_link_call(control->link, API_KEY_METADATA, METADATA_VERSION, &list, &control->arena, &listed);
    struct delete_topics_request request = {.timeout_ms = TIMEOUT_MS};
    request.topics =
        codec_array(&delete_topics_request_delete_topic_state_layout, listed.topics_count, &control->arena);
    for (size_t i = 0; i < listed.topics_count; i++) {
        must_succeed(control, "Metadata", listed.topics[i].error_code);
        if (!span_equal_text(listed.topics[i].name, WORDS_TOPIC_CONTROL)) {
            request.topics[request.topics_count++].topic_id = listed.topics[i].topic_id;
        }
    }
    struct delete_topics_response response;
    frame_link_call(control->link, API_KEY_DELETE_TOPICS, DELETE_TOPICS_VERSION, &request, &control->arena, &response);
    for (size_t i = 0; i < response.responses_count; i++) {
        must_succeed(control, "DeleteTopics", response.responses[i].error_code);
    }
}

/* ---- records ---- */

static void build_batch(const struct control *control, struct bytebuf *ret_bytes)
{
    struct batch_builder builder;
    struct batch_options options = BATCH_OPTIONS_DEFAULT;
    batch_builder_init(&builder, BATCH_BYTES_MOST);
    batch_builder_begin(&builder, &options);
    for (int i = 0; i < 3; i++) {
        char value[300];
        memset(value, 'a' + i, sizeof(value));
        enum err err = batch_builder_add(&builder, clock_wall_ms(&control->node->client->clock.base), span_text("key"),
                                         span_make(value, sizeof(value)), NULL, 0);
        CHECK(err == ERR_OK);
    }
    bytebuf_init(ret_bytes, BATCH_BYTES_MOST);
    enum err err = batch_builder_finish(&builder, ret_bytes);
    CHECK(err == ERR_OK);
    batch_builder_done(&builder);
}

/* Returns the base offset. */
static int64_t produce(struct control *control, const char *topic, struct span batch)
{
    struct produce_request_partition_produce_data data;
    struct produce_request_topic_produce_data topic_data;
    struct produce_request request;
    struct produce_response response;
    codec_struct_set_defaults(&produce_request_partition_produce_data_layout, &data);
    codec_struct_set_defaults(&produce_request_topic_produce_data_layout, &topic_data);
    codec_set_defaults(&produce_request_codec, &request);
    data.records.bytes = batch;
    topic_data.name = span_text(topic);
    topic_data.partition_data = &data;
    topic_data.partition_data_count = 1;
    request.acks = -1;
    request.timeout_ms = TIMEOUT_MS;
    request.topic_data = &topic_data;
    request.topic_data_count = 1;
    frame_link_call(control->link, API_KEY_PRODUCE, PRODUCE_VERSION, &request, &control->arena, &response);
    if (response.responses_count != 1 || response.responses[0].partition_responses_count != 1) {
        lone_node_problem(control->node, "the answer to the control client's Produce has another shape");
    }
    must_succeed(control, "Produce", response.responses[0].partition_responses[0].error_code);
    return response.responses[0].partition_responses[0].base_offset;
}

/* The batch as it was written, but for what the leader stamps. */
static void fetch(struct control *control, const char *topic, int64_t offset, struct span written)
{
    struct fetch_request_partition partition;
    struct fetch_request_topic fetch_topic;
    struct fetch_request request;
    struct fetch_response response;
    codec_struct_set_defaults(&fetch_request_partition_layout, &partition);
    codec_struct_set_defaults(&fetch_request_topic_layout, &fetch_topic);
    codec_set_defaults(&fetch_request_codec, &request);
    partition.fetch_offset = offset;
    partition.partition_max_bytes = 1 << 20;
    fetch_topic.topic = span_text(topic);
    fetch_topic.partitions = &partition;
    fetch_topic.partitions_count = 1;
    request.max_wait_ms = 1000;
    request.min_bytes = 1;
    request.topics = &fetch_topic;
    request.topics_count = 1;
    frame_link_call(control->link, API_KEY_FETCH, FETCH_VERSION, &request, &control->arena, &response);
    must_succeed(control, "Fetch", response.error_code);
    if (response.responses_count != 1 || response.responses[0].partitions_count != 1) {
        lone_node_problem(control->node, "the answer to the control client's Fetch has another shape");
    }
    must_succeed(control, "Fetch", response.responses[0].partitions[0].error_code);
    struct batch batch;
    enum err err = batch_parse(response.responses[0].partitions[0].records.bytes, &batch);
    if (err != ERR_OK || batch.header.base_offset != offset || batch.bytes.bytes != written.bytes ||
        !span_equal(span_sub(batch.bytes, BATCH_PREFIX_BYTES, written.bytes - BATCH_PREFIX_BYTES),
                    span_sub(written, BATCH_PREFIX_BYTES, written.bytes - BATCH_PREFIX_BYTES))) {
        lone_node_problem(control->node, "the control client does not read at %" PRId64 " what it wrote: %s", offset,
                          err_text(err));
    }
}

static void write_and_read(struct control *control, const char *topic)
{
    struct bytebuf batch;
    build_batch(control, &batch);
    int64_t base_offset = produce(control, topic, bytebuf_span(&batch));
    fetch(control, topic, base_offset, bytebuf_span(&batch));
    bytebuf_done(&batch);
}

/* ---- before and after ---- */

void node_control_prepare(struct lone_node *node)
{
    struct control control;
    control_begin(&control, node);
    create_topics(&control);
    for (unsigned i = 0; i < BATCHES_BEFORE; i++) {
        write_and_read(&control, WORDS_TOPIC);
    }
    write_and_read(&control, WORDS_TOPIC_CACHED);
    control_end(&control);
}

static struct node_holdings look(const struct lone_node *node)
{
    return (struct node_holdings){.bytes = node->machine->memory.bytes,
                                  .blocks = node->machine->memory.block_count,
                                  .open_files = fs_sim_open_files(node->machine->disk)};
}

struct node_holdings node_control_finish(struct lone_node *node)
{
    struct control control;
    control_begin(&control, node);
    delete_topics(&control);
    write_and_read(&control, WORDS_TOPIC_CONTROL);
    control_end(&control);
    lone_node_run_for(node, REST_US);
    struct node_holdings least = look(node);
    for (unsigned i = 0; i < REST_LOOKS; i++) {
        lone_node_run_for(node, REST_LOOK_US);
        struct node_holdings now = look(node);
        least = now.bytes <= least.bytes && now.open_files <= least.open_files ? now : least;
    }
    return least;
}

void node_control_compare(const struct node_holdings *rest, const struct node_holdings *after, size_t script_bytes)
{
    if (getenv("MOLDAU_TEST_LOG") != NULL) {
        fprintf(stderr, "# holdings: at rest %zu bytes, %zu blocks, %u files; afterwards %zu, %zu, %u\n", rest->bytes,
                rest->blocks, rest->open_files, after->bytes, after->blocks, after->open_files);
    }
    size_t bytes_max = rest->bytes + LEFT_BYTES_MAX + LEFT_BYTES_PER_SCRIPT_BYTE * script_bytes;
    if (after->bytes > bytes_max || after->open_files > rest->open_files) {
        fprintf(
            stderr,
            "fuzz_node: the node holds %zu bytes in %zu blocks and %u files, one that was asked nothing %zu bytes in "
            "%zu blocks and %u files\n",
            after->bytes, after->blocks, after->open_files, rest->bytes, rest->blocks, rest->open_files);
        abort();
    }
}

size_t node_control_places(const struct lone_node *node)
{
    return admission_count(node->broker->priv->admission);
}

size_t node_control_connections(const struct lone_node *node)
{
    size_t count = 0;
    for (unsigned i = 0; i < node->broker->worker_count; i++) {
        count += connection_set_count(node->broker->workers[i]->connections);
    }
    return count;
}

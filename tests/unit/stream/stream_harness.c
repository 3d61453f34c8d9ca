#include "tests/unit/stream/stream_harness.h"

#include "broker/broker_metrics.h"
#include "broker/replica/partition_set.h"
#include "broker/stream/stream_lane.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "tests/unit/controller/image_support.h"
#include "tests/unit/storage/log_harness.h"

#define NODE_MEMORY_BYTES (64u << 20)
#define NODE_FILES_MAX 64u
#define NODE_READ_BYTES (1u << 20)

struct partition_log *node_log(struct stream_node *node, unsigned index)
{
    return node->partitions[index].base.log;
}

void node_step(struct stream_node *node)
{
    for (unsigned i = 0; i < node->partition_count; i++) {
        struct fake_partition *fake = &node->partitions[i];
        if (!fake->is_open) {
            continue;
        }
        int64_t counted_end = partition_log_counted_end(fake->base.log);
        if (fake->leads) {
            fake_lead(fake, counted_end);
        } else if (fake->is_following && !fake->is_busy && counted_end != fake->told_counted_end) {
            fake->told_counted_end = counted_end;
            node->follow.on_counted(node->follow.ctx, &fake->base);
        }
    }
    if (node->group != NULL) {
        sync_group_step(node->group);
    }
    if (node->server != NULL) {
        stream_server_step(node->server);
        stream_client_step(node->client);
    }
}

/* ---- life ---- */

static bool check_link(void *ctx, const struct rpc_hello *peer, struct loop **ret_loop,
                       char ret_refusal[RPC_REFUSAL_BYTES])
{
    struct stream_node *node = ctx;
    (void)ret_refusal;
    CHECK(peer->kind == RPC_KIND_REPLICA && peer->worker_count > 0);
    *ret_loop = node->loop;
    return true;
}

static void on_link(void *ctx, struct rpc_link *link)
{
    struct stream_node *node = ctx;
    if (node->on_raw_link != NULL) {
        node->on_raw_link(node, link);
        return;
    }
    stream_server_accept(node->server, link);
}

static void on_synced(void *ctx, struct partition_log *log, void *owner)
{
    (void)ctx;
    (void)log;
    (void)owner;
}

static void on_sync_failed(void *ctx, struct log_dir *dir, enum err err)
{
    (void)ctx;
    (void)dir;
    (void)err;
}

static void open_partition(struct stream_node *node, unsigned index)
{
    struct fake_partition *fake = &node->partitions[index];
    struct log_settings settings = LOG_SETTINGS_DEFAULT;
    struct partition_log_id id = {"topic", (int32_t)index, fake_topic_id(index)};
    struct option_problem problem;
    settings.durability = node->durability;
    fake->node = node;
    fake->base.key = (struct partition_key){fake_topic_id(index), (int32_t)index};
    fake->base.topic_name = (char *)"topic";
    fake->base.leader_epoch = -1;
    fake->base.leader_id = -1;
    fake->wanted_epoch = -1;
    fake->told_counted_end = -1;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        fake_follower_clear(&fake->followers[i]);
        fake->followers[i].counted_end = -1;
    }
    enum err err = partition_log_create(node->dir, &id, &settings, &fake->base.log, &problem);
    if (err == ERR_EXISTS) {
        err = partition_log_open(node->dir, &id, &settings, &fake->base.log, &problem);
    }
    CHECK(err == ERR_OK);
    partition_log_attach(fake->base.log, node->loop, &node->files, node->group, fake);
    fake->base.high_watermark = partition_log_high_watermark(fake->base.log);
    fake->is_open = true;
}

void node_boot(struct stream_node *node, const struct node_config *config)
{
    struct option_problem problem;
    int64_t broker_epoch = 0;
    *node = (struct stream_node){.id = config->id,
                                 .partition_count = config->partition_count,
                                 .worker_count = config->worker_count,
                                 .env = config->env,
                                 .loop = config->loop,
                                 .durability = config->durability};
    node->broker.env = config->env;
    node->broker.worker_count = config->worker_count;
    node->broker.metrics = metric_registry_new();
    node->worker.broker = &node->broker;
    node->worker.loop = config->loop;
    node->worker.partitions = (struct partition_set *)node;
    node->worker.metrics = metric_set_new(node->broker.metrics, broker_metrics_table());
    memory_budget_init(&node->budget, config->memory_bytes == 0 ? NODE_MEMORY_BYTES : config->memory_bytes, 1);
    memory_queue_init(&node->worker.memory, &node->budget, 0, config->loop);
    CHECK(log_dir_open(config->env, config->dir_path, &node->dir, &problem) == ERR_OK);
    file_cache_init(&node->files, config->env->fs, NODE_FILES_MAX);
    struct sync_group_events events = {on_synced, on_sync_failed, node};
    node->group = sync_group_new(config->loop, node->dir, &events);
    if (!log_dir_meta(node->dir)->exists) {
        CHECK(log_dir_form(node->dir, "cluster", node->id, NULL, &problem) == ERR_OK);
    }
    CHECK(log_dir_take_clean_mark(node->dir, &broker_epoch) == ERR_OK);
    node->partitions = mem_array(node->partition_count, sizeof(struct fake_partition));
    for (unsigned i = 0; i < node->partition_count; i++) {
        open_partition(node, i);
    }
    node->server = stream_server_new(&node->worker);
    node->client = stream_client_new(&node->worker);
    stream_client_events(node->client, &node->follow);
    struct rpc_acceptor acceptor = {.ctx = node, .check = check_link, .on_link = on_link};
    CHECK(rpc_server_new(config->env, config->loop, config->host, config->port, &node->rpc) == ERR_OK);
    rpc_server_set_acceptor(node->rpc, RPC_KIND_REPLICA, &acceptor);
}

/* The node with the smallest broker epoch above `offset`. */
static unsigned next_registered(unsigned node_count, const int64_t *broker_epochs, int64_t offset)
{
    unsigned found = node_count;
    for (unsigned i = 0; i < node_count; i++) {
        if (broker_epochs[i] > offset && (found == node_count || broker_epochs[i] < broker_epochs[found])) {
            found = i;
        }
    }
    CHECK(found < node_count);
    return found;
}

static const struct image *make_image(unsigned node_count, const struct net_address *addresses,
                                      const int64_t *broker_epochs)
{
    const struct image *image = image_new_empty();
    struct arena arena;
    arena_init(&arena, 0);
    for (unsigned done = 0; done < node_count; done++) {
        struct meta_records records;
        struct bytebuf bytes;
        struct image *after = NULL;
        bool is_applied = false;
        unsigned i = next_registered(node_count, broker_epochs, image_offset(image));
        meta_records_init(&records, &arena);
        struct image_endpoint endpoint = {
            .listener_name = span_text("INTERNAL"), .host = span_text(addresses[i].host), .port = addresses[i].port};
        struct uuid directory = {{1, (uint8_t)i}};
        struct image_broker broker = {.id = (int32_t)i + 1,
                                      .incarnation_id = {{2, (uint8_t)i, (uint8_t)broker_epochs[i]}},
                                      .boot_id = span_text("boot"),
                                      .endpoint_count = 1,
                                      .endpoints = &endpoint,
                                      .directory_count = 1,
                                      .directories = &directory};
        meta_add_broker(&records, &broker, 0);
        bytebuf_init(&bytes, META_BATCH_BYTES_MAX);
        CHECK(meta_pack(&records, 0, records.count, image_controller_epoch(image), &bytes) == ERR_OK);
        CHECK(image_apply(image, broker_epochs[i], 1, bytebuf_span(&bytes), &after, &is_applied) == ERR_OK);
        CHECK(is_applied && image_find_broker(after, broker.id)->epoch == broker_epochs[i]);
        bytebuf_done(&bytes);
        image_unref(image);
        image = after;
    }
    arena_done(&arena);
    return image;
}

void node_join(struct stream_node *node, unsigned node_count, const struct net_address *addresses,
               const int64_t *broker_epochs)
{
    const struct image *old = node->worker.image;
    struct rpc_hello hello = {.cluster_id = "cluster",
                              .node_id = node->id,
                              .incarnation_id = {{2, (uint8_t)(node->id - 1), (uint8_t)broker_epochs[node->id - 1]}},
                              .broker_epoch = broker_epochs[node->id - 1],
                              .worker_count = node->worker_count};
    node->node_count = node_count;
    node->worker.image = make_image(node_count, addresses, broker_epochs);
    if (old != NULL) {
        image_unref(old);
    }
    rpc_server_set_hello(node->rpc, &hello);
    stream_client_set_identity(node->client, &hello);
    stream_client_metadata(node->client, node->worker.image, NULL);
}

static void on_log_closed(void *ctx, enum err err)
{
    struct fake_partition *fake = ctx;
    (void)err;
    fake->base.log = NULL;
    if (--fake->node->stops_left == 0) {
        fake->node->on_stopped(fake->node);
    }
}

static void on_stream_stopped(void *ctx)
{
    struct stream_node *node = ctx;
    if (--node->stops_left > 0) {
        return;
    }
    node->stops_left = node->partition_count;
    for (unsigned i = 0; i < node->partition_count; i++) {
        struct fake_partition *fake = &node->partitions[i];
        CHECK(fake->base.follow_slot == NULL);
        fake->is_open = false;
        partition_log_close(fake->base.log, on_log_closed, fake);
    }
}

void node_stop(struct stream_node *node, void (*on_stopped)(struct stream_node *node))
{
    node->on_stopped = on_stopped;
    node->stops_left = 2;
    rpc_server_close(node->rpc);
    stream_client_stop(node->client, on_stream_stopped, node);
    stream_server_stop(node->server, on_stream_stopped, node);
}

void node_done(struct stream_node *node)
{
    stream_client_free(node->client);
    stream_server_free(node->server);
    node->server = NULL;
    rpc_server_free(node->rpc);
    sync_group_free(node->group);
    node->group = NULL;
    file_cache_done(&node->files);
    log_dir_close(node->dir);
    mem_free(node->partitions);
    if (node->worker.image != NULL) {
        image_unref(node->worker.image);
    }
    CHECK(memory_budget_used(&node->budget) == 0);
    memory_budget_done(&node->budget);
    metric_set_free(node->broker.metrics, node->worker.metrics);
    metric_registry_free(node->broker.metrics);
}

/* ---- contents ---- */

void node_append(struct stream_node *node, unsigned index, int32_t record_count, size_t value_bytes, uint64_t content)
{
    struct fake_partition *fake = &node->partitions[index];
    CHECK(fake->leads);
    struct batch_wish wish = {
        .record_count = record_count, .value_bytes = value_bytes, .timestamp_ms = 1700000000000, .content = content};
    struct bytebuf bytes;
    struct append_result result;
    bytebuf_init(&bytes, 64u << 20);
    harness_build(&wish, &bytes);
    struct append_request request = {
        .bytes = bytes.data, .byte_count = bytes.bytes, .leader_epoch = fake->base.leader_epoch};
    CHECK(partition_log_append_as_leader(fake->base.log, &request, &result) == ERR_OK);
    CHECK(result.refusal == APPEND_ACCEPTED);
    bytebuf_done(&bytes);
}

uint64_t node_digest(struct stream_node *node, unsigned index, int64_t from, int64_t end)
{
    struct partition_log *log = node_log(node, index);
    uint8_t *room = NULL;
    size_t room_bytes = 0;
    uint32_t crc = 0;
    while (from < end) {
        struct log_read_request request = {
            .offset = from, .end_offset = end, .max_bytes = NODE_READ_BYTES, .wants_one = true};
        struct log_read read;
        size_t read_bytes = 0;
        CHECK(log_read_plan(log, &request, &read) == ERR_OK);
        CHECK(log_read_run(&read) == ERR_OK);
        CHECK(read.slice.bytes > 0);
        if (read.slice.bytes > room_bytes) {
            room_bytes = read.slice.bytes;
            room = mem_grow(room, room_bytes, 1);
        }
        CHECK(file_pread(read.slice.file, room, read.slice.bytes, read.slice.pos, &read_bytes) == ERR_OK);
        CHECK(read_bytes == read.slice.bytes);
        crc = crc32c(crc, span_make(room, read_bytes));
        from = read.slice.next_offset;
        log_read_done(&read);
    }
    mem_free(room);
    return crc;
}

bool nodes_agree(struct stream_node *one, struct stream_node *other, unsigned index)
{
    const struct fake_partition *a = &one->partitions[index];
    const struct fake_partition *b = &other->partitions[index];
    if (a->is_busy || b->is_busy || partition_log_end_offset(a->base.log) != partition_log_end_offset(b->base.log)) {
        return false;
    }
    int64_t start_a = partition_log_start_offset(a->base.log);
    int64_t start_b = partition_log_start_offset(b->base.log);
    int64_t from = start_a > start_b ? start_a : start_b;
    int64_t end = partition_log_end_offset(a->base.log);
    return node_digest(one, index, from, end) == node_digest(other, index, from, end);
}

int64_t node_metric(struct stream_node *node, size_t row)
{
    return metric_total(node->broker.metrics, broker_metrics_table(), row);
}

#include "tests/unit/stream/stream_harness.h"

#include "broker/broker_metrics.h"
#include "broker/replica/partition_set.h"
#include "broker/stream/stream_lane.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "proto/record/batch.h"
#include "tests/unit/controller/image_support.h"
#include "tests/unit/storage/log_harness.h"

#include <utlist.h>

#define NODE_MEMORY_BYTES (64u << 20)
#define NODE_FILES_MAX 64u
#define NODE_READ_BYTES (1u << 20)

static struct fake_partition *fake_of(const struct partition *partition)
{
    return CONTAINER_OF((struct partition *)partition, struct fake_partition, base);
}

struct partition_log *node_log(struct stream_node *node, unsigned index)
{
    return node->partitions[index].base.log;
}

static struct uuid topic_id_of(unsigned index)
{
    struct uuid id = {{7, 7, 7}};
    id.bytes[15] = (uint8_t)(index / 16); /* several topics, so that the hash has something to do */
    return id;
}

/* ---- replica_link.h: the leader ---- */

static void follower_clear(struct fake_follower *follower)
{
    follower->cursor = NULL;
    follower->sent_end = -1;
    follower->told_high_watermark = -1;
    follower->told_log_start = -1;
}

static void let_go(struct fake_follower *follower, enum error_code error)
{
    struct replica_cursor *cursor = follower->cursor;
    follower_clear(follower);
    if (cursor != NULL) {
        cursor->partition = NULL;
        cursor->on_ended(cursor, error);
    }
}

static enum error_code check_epoch(const struct fake_partition *fake, int32_t leader_epoch)
{
    if (!fake->leads) {
        return ERROR_NOT_LEADER_OR_FOLLOWER;
    }
    if (leader_epoch == fake->base.leader_epoch) {
        return ERROR_NONE;
    }
    return leader_epoch < fake->base.leader_epoch ? ERROR_FENCED_LEADER_EPOCH : ERROR_UNKNOWN_LEADER_EPOCH;
}

static void find_divergence(const struct partition_log *log, const struct replica_subscription *subscription,
                            struct replica_position *position)
{
    int32_t epoch = LOG_NO_EPOCH;
    int64_t end_offset = LOG_NO_OFFSET;
    if (subscription->end_offset < partition_log_start_offset(log)) {
        return;
    }
    if (subscription->last_epoch >= 0) {
        partition_log_end_offset_for_epoch(log, subscription->last_epoch, &epoch, &end_offset);
    } else {
        epoch = partition_log_last_epoch(log);
        end_offset = partition_log_end_offset(log);
    }
    if (epoch < subscription->last_epoch || end_offset < subscription->end_offset) {
        position->is_diverging = true;
        position->diverging_epoch = epoch;
        position->diverging_end_offset = end_offset;
    }
}

void partition_subscribe(struct partition *partition, const struct replica_subscription *subscription,
                         struct replica_cursor *cursor, struct replica_position *ret_position)
{
    struct fake_partition *fake = fake_of(partition);
    struct replica_position *position = ret_position;
    *position = (struct replica_position){.error = check_epoch(fake, subscription->leader_epoch),
                                          .leader_epoch = partition->leader_epoch,
                                          .diverging_epoch = -1,
                                          .diverging_end_offset = -1,
                                          .high_watermark = partition->high_watermark};
    CHECK(cursor->broker_id >= 1 && cursor->broker_id <= (int32_t)NODES_MAX);
    CHECK(cursor->broker_id != fake->node->id);
    if (position->error != ERROR_NONE) {
        return;
    }
    position->log_start_offset = partition_log_start_offset(partition->log);
    find_divergence(partition->log, subscription, position);
    if (position->is_diverging) {
        return;
    }
    struct fake_follower *follower = &fake->followers[cursor->broker_id - 1];
    let_go(follower, ERROR_FENCED_LEADER_EPOCH); /* the older one of two links */
    follower->cursor = cursor;
    follower->sent_end = subscription->end_offset;
    cursor->partition = partition;
    cursor->leader_epoch = subscription->leader_epoch;
    cursor->is_told = false;
}

void partition_unsubscribe(struct replica_cursor *cursor)
{
    if (cursor->partition != NULL) {
        struct fake_follower *follower = &fake_of(cursor->partition)->followers[cursor->broker_id - 1];
        CHECK(follower->cursor == cursor);
        follower_clear(follower);
        cursor->partition = NULL;
    }
}

void partition_cursor_sent(struct replica_cursor *cursor, int64_t end_offset)
{
    struct fake_follower *follower = &fake_of(cursor->partition)->followers[cursor->broker_id - 1];
    CHECK(follower->cursor == cursor);
    CHECK(end_offset >= follower->sent_end);
    CHECK(end_offset <= partition_log_end_offset(cursor->partition->log));
    follower->sent_end = end_offset;
    cursor->is_told = false;
}

bool partition_acknowledge(struct replica_cursor *cursor, int32_t leader_epoch, int64_t counted_end)
{
    struct fake_partition *fake = fake_of(cursor->partition);
    struct fake_follower *follower = &fake->followers[cursor->broker_id - 1];
    if (leader_epoch != fake->base.leader_epoch || !fake->leads) {
        fake->stale_ack_count++;
        return false;
    }
    CHECK(counted_end <= follower->sent_end);
    follower->counted_end = counted_end;
    fake->ack_count++;
    return true;
}

/* ---- replica_link.h: the follower ---- */

static enum err check_batches(const struct partition_log *log, struct span batches)
{
    struct batch batch;
    int64_t next_offset = partition_log_end_offset(log);
    while (batches.bytes > 0) {
        enum err err = batch_next(&batches, &batch);
        err = err == ERR_OK ? batch_check_crc(&batch) : err;
        if (err != ERR_OK) {
            return err;
        }
        if (batch.header.base_offset < next_offset) {
            return ERR_OUT_OF_RANGE;
        }
        next_offset = batch_next_offset(&batch.header);
    }
    return ERR_OK;
}

static void ignore_result(void *ctx, enum err err)
{
    (void)ctx;
    (void)err;
}

enum err partition_append_replicated(struct partition *partition, int32_t leader_epoch, struct span batches,
                                     int64_t high_watermark, int64_t log_start_offset)
{
    struct fake_partition *fake = fake_of(partition);
    CHECK(fake->is_open);
    if (leader_epoch != partition->leader_epoch || fake->leads) {
        return ERR_STALE;
    }
    if (fake->is_busy) {
        return ERR_BUSY;
    }
    if (batches.bytes > 0 && fake->append_err_count > 0) {
        fake->append_err_count--;
        return fake->append_err;
    }
    enum err err = check_batches(partition->log, batches);
    if (err == ERR_OK && batches.bytes > 0) {
        err = partition_log_append_as_follower(partition->log, batches);
        fake->append_count++;
    }
    if (err != ERR_OK) {
        return err;
    }
    int64_t end_offset = partition_log_end_offset(partition->log);
    high_watermark = high_watermark < end_offset ? high_watermark : end_offset;
    if (high_watermark > partition->high_watermark) {
        partition->high_watermark = high_watermark;
        partition_log_set_high_watermark(partition->log, high_watermark);
    }
    if (log_start_offset > partition_log_start_offset(partition->log) &&
        log_start_offset <= partition->high_watermark) {
        partition_log_delete_records(partition->log, log_start_offset, ignore_result, NULL);
    }
    return ERR_OK;
}

static void act(struct fake_partition *fake);

static void on_cut(void *ctx, enum err err)
{
    struct fake_partition *fake = ctx;
    log_done_fn done = fake->cut_done;
    void *done_ctx = fake->cut_ctx;
    fake->is_busy = false;
    fake->cut_done = NULL;
    fake->base.high_watermark = partition_log_high_watermark(fake->base.log);
    done(done_ctx, err);
    act(fake);
}

struct refusal {
    struct loop_task task;
    enum err err;
    log_done_fn done;
    void *ctx;
};

static void refuse_cut(struct loop_task *task)
{
    struct refusal *refusal = CONTAINER_OF(task, struct refusal, task);
    refusal->done(refusal->ctx, refusal->err);
    mem_free(refusal);
}

void partition_truncate(struct partition *partition, int32_t leader_epoch, int64_t offset, bool is_full,
                        log_done_fn done, void *ctx)
{
    struct fake_partition *fake = fake_of(partition);
    if (fake->is_busy || leader_epoch != partition->leader_epoch || fake->leads) {
        struct refusal *refusal = MEM_NEW(struct refusal);
        *refusal = (struct refusal){
            .task.run = refuse_cut, .err = fake->is_busy ? ERR_BUSY : ERR_STALE, .done = done, .ctx = ctx};
        loop_defer(fake->node->loop, &refusal->task);
        return;
    }
    fake->is_busy = true;
    fake->cut_done = done;
    fake->cut_ctx = ctx;
    fake->cut_count++;
    if (is_full) {
        partition_log_truncate_fully(partition->log, offset, on_cut, fake);
    } else {
        partition_log_truncate_to(partition->log, offset, on_cut, fake);
    }
}

void partition_epoch_end(const struct partition *partition, int32_t leader_epoch, int32_t *ret_epoch,
                         int64_t *ret_end_offset)
{
    partition_log_end_offset_for_epoch(partition->log, leader_epoch, ret_epoch, ret_end_offset);
}

struct partition *partition_set_find(struct partition_set *set, struct uuid topic_id, int32_t partition_index)
{
    struct stream_node *node = (struct stream_node *)set;
    unsigned index = (unsigned)partition_index;
    bool is_there = index < node->partition_count && uuid_equal(topic_id_of(index), topic_id);
    return is_there ? &node->partitions[index].base : NULL;
}

/* ---- elections ---- */

static void on_epoch_begun(void *ctx, enum err err)
{
    struct fake_partition *fake = ctx;
    fake->is_busy = false;
    if (err == ERR_OK && fake->wanted_leader_id == fake->node->id && fake->wanted_epoch == fake->base.leader_epoch) {
        fake->leads = true;
        fake->base.state = PARTITION_LEADER;
    }
    act(fake);
}

static void stop_following(struct fake_partition *fake)
{
    if (fake->is_following) {
        fake->is_following = false;
        fake->node->follow.on_unfollow(fake->node->follow.ctx, &fake->base);
        CHECK(fake->base.follow_slot == NULL);
    }
}

/* Does what the metadata wants, when the log has time. */
static void act(struct fake_partition *fake)
{
    struct partition *partition = &fake->base;
    if (fake->is_busy || fake->wanted_epoch <= partition->leader_epoch || !fake->is_open) {
        return;
    }
    fake->leads = false;
    partition->leader_epoch = fake->wanted_epoch;
    partition->leader_id = fake->wanted_leader_id;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        let_go(&fake->followers[i], ERROR_NOT_LEADER_OR_FOLLOWER);
        fake->followers[i].counted_end = -1;
    }
    if (partition->leader_id == fake->node->id) {
        stop_following(fake);
        fake->is_busy = true;
        partition_log_begin_epoch(partition->log, partition->leader_epoch, on_epoch_begun, fake);
        return;
    }
    fake->is_following = true;
    fake->node->follow.on_follow(fake->node->follow.ctx, partition);
}

void node_elect(struct stream_node *node, unsigned index, int32_t leader_id, int32_t epoch)
{
    struct fake_partition *fake = &node->partitions[index];
    if (epoch > fake->wanted_epoch) {
        fake->wanted_leader_id = leader_id;
        fake->wanted_epoch = epoch;
        if (fake->leads) { /* at once, whatever the log is doing: nothing is appended in the old epoch any more */
            fake->leads = false;
            for (unsigned i = 0; i < NODES_MAX; i++) {
                let_go(&fake->followers[i], ERROR_NOT_LEADER_OR_FOLLOWER);
            }
        }
        act(fake);
    }
}

/* ---- the step ---- */

static void lead(struct fake_partition *fake, int64_t counted_end)
{
    struct partition *partition = &fake->base;
    int64_t least = counted_end;
    for (unsigned i = 0; i < fake->node->node_count; i++) {
        bool is_self = (int32_t)i + 1 == fake->node->id;
        if (!is_self && fake->followers[i].counted_end < least) {
            least = fake->followers[i].counted_end;
        }
    }
    if (least > partition->high_watermark) {
        partition->high_watermark = least;
        partition_log_set_high_watermark(partition->log, least);
    }
    int64_t end_offset = partition_log_end_offset(partition->log);
    int64_t log_start = partition_log_start_offset(partition->log);
    for (unsigned i = 0; i < fake->node->node_count; i++) {
        struct fake_follower *follower = &fake->followers[i];
        if (follower->cursor == NULL || follower->cursor->is_told ||
            (follower->sent_end >= end_offset && follower->told_high_watermark == partition->high_watermark &&
             follower->told_log_start == log_start)) {
            continue;
        }
        follower->told_high_watermark = partition->high_watermark;
        follower->told_log_start = log_start;
        follower->cursor->is_told = true;
        follower->cursor->on_news(follower->cursor);
    }
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
            lead(fake, counted_end);
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
    struct partition_log_id id = {"topic", (int32_t)index, topic_id_of(index)};
    struct option_problem problem;
    settings.durability = node->durability;
    fake->node = node;
    fake->base.key = (struct partition_key){topic_id_of(index), (int32_t)index};
    fake->base.topic_name = (char *)"topic";
    fake->base.leader_epoch = -1;
    fake->base.leader_id = -1;
    fake->wanted_epoch = -1;
    fake->told_counted_end = -1;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        follower_clear(&fake->followers[i]);
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
    uint8_t *room = mem_alloc(NODE_READ_BYTES * 32);
    uint32_t crc = 0;
    while (from < end) {
        struct log_read_request request = {
            .offset = from, .end_offset = end, .max_bytes = NODE_READ_BYTES, .wants_one = true};
        struct log_read read;
        size_t read_bytes = 0;
        CHECK(log_read_plan(log, &request, &read) == ERR_OK);
        CHECK(log_read_run(&read) == ERR_OK);
        CHECK(read.slice.bytes > 0 && read.slice.bytes <= NODE_READ_BYTES * 32);
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

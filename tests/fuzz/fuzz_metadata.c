/* fuzz_metadata: what the cluster's metadata is read from: entries of the quorum's log and snapshots, from arbitrary bytes, and commands
 * in any order.
 *
 * Input:     byte 0: 0: a snapshot, then entries; 1: entries; each with a 2-byte length (big-endian) before it, the last takes what is
 *            left. 2: a program: the rest are commands that build records with few names, ids and epochs, so that they meet; a
 *            command commits what was built as one entry.
 * Asserts:   every image keeps the invariants of image.h, whatever was applied; an entry that is refused changes nothing but offset
 *            and hash; a decision's draft is what its entry becomes; ids and levels never go back; a snapshot of every image
 *            is read back to the same image and the same bytes.
 */
#include "common/big_endian.h"
#include "common/mem.h"
#include "controller/image_apply.h"
#include "controller/image_delta.h"

#include <stdio.h>

#define FUZZ_ENTRIES_MAX 200
#define FUZZ_IDS 5u
#define FUZZ_TERM 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* ---- invariants ---- */

static bool holds(const int32_t *ids, uint32_t count, int32_t id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* Without repetition and out of the replicas. */
static void check_members(const struct image_partition *partition, const int32_t *ids, uint32_t count)
{
    CHECK(count <= partition->replica_count);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(holds(partition->replicas, partition->replica_count, ids[i]) && !holds(ids, i, ids[i]));
    }
}

static void check_partition(const struct image_partition *partition)
{
    CHECK(partition->replica_count > 0 && partition->replica_count <= IMAGE_REPLICAS_MAX);
    CHECK(partition->leader_epoch >= 0 && partition->partition_epoch >= 0);
    check_members(partition, partition->replicas, partition->replica_count);
    check_members(partition, partition->isr, partition->isr_count);
    check_members(partition, partition->elr, partition->elr_count);
    check_members(partition, partition->last_known, partition->last_known_count);
    for (uint32_t i = 0; i < partition->elr_count; i++) {
        CHECK(!holds(partition->isr, partition->isr_count, partition->elr[i]));
    }
    CHECK(partition->leader_id == IMAGE_NO_LEADER || holds(partition->isr, partition->isr_count, partition->leader_id));
}

static void check_topics(const struct image *image)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *topic = image_topic_at(image, i);
        CHECK(topic->name.bytes > 0 && topic->name.bytes <= IMAGE_TOPIC_NAME_BYTES_MAX);
        CHECK(image_find_topic(image, topic->name) == topic && image_find_topic_id(image, topic->id) == topic);
        CHECK(image_topic_lower_bound(image, topic->name) == i);
        CHECK(topic->partition_count <= IMAGE_PARTITIONS_PER_TOPIC_MAX);
        for (uint32_t j = 0; j < topic->partition_count; j++) {
            CHECK(topic->partitions[j]->partition_index == (int32_t)j);
            check_partition(topic->partitions[j]);
        }
        total += topic->partition_count;
    }
    CHECK(total == image_partition_total(image));
}

static void check_brokers(const struct image *image)
{
    for (uint32_t i = 0; i < image_broker_count(image); i++) {
        const struct image_broker *broker = image_broker_at(image, i);
        CHECK(broker->id >= 0 && (i == 0 || image_broker_at(image, i - 1)->id < broker->id));
        CHECK(image_find_broker(image, broker->id) == broker);
        CHECK(image_is_broker_alive(image, broker->id) == !broker->is_fenced);
        CHECK(broker->endpoint_count <= IMAGE_ENDPOINTS_MAX && broker->directory_count <= IMAGE_DIRECTORIES_MAX);
        for (uint32_t j = 0; j < broker->endpoint_count; j++) {
            CHECK(broker->endpoints[j].security <= IMAGE_SASL_SSL);
            CHECK(image_find_endpoint(broker, broker->endpoints[j].listener_name) != NULL);
        }
    }
}

static void check_configs(const struct image *image)
{
    for (uint32_t i = 0; i < image_config_count(image); i++) {
        const struct image_config *config = image_config_at(image, i);
        CHECK(config->type == IMAGE_CONFIG_TOPIC || config->type == IMAGE_CONFIG_BROKER);
        CHECK(config->entry_count > 0 && image_find_config(image, config->type, config->name) == config);
        for (uint32_t j = 0; j < config->entry_count; j++) {
            const char *key = (const char *)config->entries[j].key.data;
            CHECK(span_equal(image_config_value(config, key), config->entries[j].value));
            CHECK(j == 0 || strcmp((const char *)config->entries[j - 1].key.data, key) < 0);
        }
    }
}

static void check_image(const struct image *image)
{
    check_topics(image);
    check_brokers(image);
    check_configs(image);
    CHECK(image_next_producer_id(image) >= 0 && strlen(image_cluster_id(image)) < UUID_TEXT_BYTES);
    CHECK(strlen(image_cluster_name(image)) <= IMAGE_CLUSTER_NAME_BYTES_MAX);
}

/* Nothing but offset, term and hash differs; of images that come one of the other. */
static bool is_same(const struct image *before, const struct image *after)
{
    struct image_delta *delta = image_delta_new(before, after);
    bool is_equal = delta->topic_count == 0 && delta->partition_count == 0 && delta->broker_count == 0 &&
                    delta->config_count == 0 && !delta->is_controller_changed;
    image_delta_free(delta);
    return is_equal && image_next_producer_id(before) == image_next_producer_id(after) &&
           image_metadata_level(before) == image_metadata_level(after) &&
           strcmp(image_cluster_id(before), image_cluster_id(after)) == 0 &&
           strcmp(image_cluster_name(before), image_cluster_name(after)) == 0;
}

static void check_step(const struct image *before, const struct image *after, bool is_applied)
{
    check_image(after);
    CHECK(is_applied || is_same(before, after));
    CHECK(image_next_producer_id(after) >= image_next_producer_id(before));
    CHECK(image_metadata_level(after) >= image_metadata_level(before));
    CHECK(image_cluster_id(before)[0] == '\0' || strcmp(image_cluster_id(before), image_cluster_id(after)) == 0);
    CHECK(memcmp(image_hash(before), image_hash(after), IMAGE_HASH_BYTES) != 0);
    struct image_delta *delta = image_delta_new(NULL, after);
    CHECK(delta->topic_count == image_topic_count(after) && delta->partition_count == image_partition_total(after));
    CHECK(delta->broker_count == image_broker_count(after) && delta->config_count == image_config_count(after));
    image_delta_free(delta);
}

static void check_snapshot(const struct image *image)
{
    struct bytebuf once;
    struct bytebuf twice;
    struct image *copy = NULL;
    bytebuf_init(&once, IMAGE_SNAPSHOT_BYTES_MAX);
    bytebuf_init(&twice, IMAGE_SNAPSHOT_BYTES_MAX);
    CHECK(image_snapshot_encode(image, &once) == ERR_OK);
    CHECK(image_snapshot_decode(bytebuf_span(&once), &copy) == ERR_OK);
    check_image(copy);
    CHECK(image_snapshot_encode(copy, &twice) == ERR_OK);
    CHECK(span_equal(bytebuf_span(&once), bytebuf_span(&twice)));
    CHECK(image_offset(copy) == image_offset(image) && image_term(copy) == image_term(image));
    CHECK(memcmp(image_hash(copy), image_hash(image), IMAGE_HASH_BYTES) == 0);
    image_unref(copy);
    bytebuf_done(&twice);
    bytebuf_done(&once);
}

/* A draft has no hash of its own: all but the header of the snapshots is compared. */
static void check_draft(const struct image *draft, const struct image *after)
{
    struct bytebuf left;
    struct bytebuf right;
    bytebuf_init(&left, IMAGE_SNAPSHOT_BYTES_MAX);
    bytebuf_init(&right, IMAGE_SNAPSHOT_BYTES_MAX);
    CHECK(image_snapshot_encode(draft, &left) == ERR_OK && image_snapshot_encode(after, &right) == ERR_OK);
    size_t left_pos = sizeof(uint32_t) + be32_get(left.data);
    size_t right_pos = sizeof(uint32_t) + be32_get(right.data);
    CHECK(span_equal(span_sub(bytebuf_span(&left), left_pos, left.bytes - left_pos),
                     span_sub(bytebuf_span(&right), right_pos, right.bytes - right_pos)));
    CHECK(image_next_producer_id(draft) == image_next_producer_id(after));
    bytebuf_done(&right);
    bytebuf_done(&left);
}

/* ---- bytes ---- */

static struct span take_section(struct span *rest)
{
    size_t bytes = rest->bytes;
    if (rest->bytes >= 2) {
        bytes = be16_get(rest->data);
        *rest = span_sub(*rest, 2, rest->bytes - 2);
        bytes = bytes > rest->bytes ? rest->bytes : bytes;
    }
    struct span section = span_sub(*rest, 0, bytes);
    *rest = span_sub(*rest, bytes, rest->bytes - bytes);
    return section;
}

/* False: the node would stop here. */
static bool apply_entry(const struct image **image, struct span entry, bool *ret_is_applied)
{
    struct image *after = NULL;
    int64_t offset = image_offset(*image);
    if (offset == INT64_MAX || image_apply(*image, offset + 1, FUZZ_TERM, entry, &after, ret_is_applied) != ERR_OK) {
        return false;
    }
    check_step(*image, after, *ret_is_applied);
    image_unref(*image);
    *image = after;
    return true;
}

static void run_bytes(bool has_snapshot, struct span rest)
{
    const struct image *image = image_new_empty();
    struct image *loaded = NULL;
    if (has_snapshot) {
        if (image_snapshot_decode(take_section(&rest), &loaded) != ERR_OK) {
            image_unref(image);
            return;
        }
        image_unref(image);
        image = loaded;
        check_image(image);
    }
    bool is_applied = false;
    for (int i = 0; i < FUZZ_ENTRIES_MAX && rest.bytes > 0; i++) {
        if (!apply_entry(&image, take_section(&rest), &is_applied)) {
            break;
        }
    }
    check_snapshot(image);
    image_unref(image);
}

/* ---- programs ---- */

struct program {
    const struct image *image;
    struct span rest;
    struct arena arena;
    struct meta_records records;
    int entry_count;
    uint8_t long_name[IMAGE_TOPIC_NAME_BYTES_MAX + 1];
};

static uint8_t take(struct program *program)
{
    if (program->rest.bytes == 0) {
        return 0;
    }
    uint8_t byte = program->rest.data[0];
    program->rest = span_sub(program->rest, 1, program->rest.bytes - 1);
    return byte;
}

static struct uuid take_id(struct program *program)
{
    struct uuid id = {{0}};
    id.bytes[0] = (uint8_t)(take(program) % FUZZ_IDS);
    id.bytes[15] = 1;
    return id;
}

/* One of a few names; one is empty, one as long as a name may be, one too long. */
static struct span take_name(struct program *program)
{
    static const char *const names[] = {"a", "b", "a.b", "topic", "1", ""};
    uint8_t choice = take(program);
    if (choice >= 250) {
        return span_make(program->long_name,
                         choice >= 253 ? IMAGE_TOPIC_NAME_BYTES_MAX + 1 : IMAGE_TOPIC_NAME_BYTES_MAX);
    }
    return span_text(names[choice % ARRAY_COUNT(names)]);
}

/* Ids whose bits are set, mostly in order. */
static uint32_t take_members(struct program *program, int32_t *ret_ids)
{
    uint8_t bits = take(program);
    uint32_t count = 0;
    for (int32_t i = 0; i < 6; i++) {
        if ((bits & (1u << i)) != 0) {
            ret_ids[count++] = i;
        }
    }
    if ((bits & 0x80) != 0 && count > 1) {
        int32_t first = ret_ids[0];
        ret_ids[0] = ret_ids[count - 1];
        ret_ids[count - 1] = (bits & 0x40) != 0 ? ret_ids[0] : first;
    }
    return count;
}

/* The partition to change, or the default of a new one. */
static const struct image_partition *find_partition(const struct program *program, struct uuid topic_id, int32_t index)
{
    static const int32_t no_ids[1] = {0};
    static const struct uuid no_directories[1] = {{{0}}};
    static const struct image_partition none = {.leader_id = IMAGE_NO_LEADER,
                                                .replicas = no_ids,
                                                .directories = no_directories,
                                                .isr = no_ids,
                                                .elr = no_ids,
                                                .last_known = no_ids};
    const struct image_partition *partition =
        image_find_partition(image_find_topic_id(program->image, topic_id), index);
    return partition == NULL ? &none : partition;
}

static void add_partition(struct program *program, bool is_change)
{
    struct uuid topic_id = take_id(program);
    const struct image_topic *topic = image_find_topic_id(program->image, topic_id);
    uint8_t choice = take(program);
    int32_t index = choice >= 128 && topic != NULL ? (int32_t)topic->partition_count + (choice & 1) : choice % 4;
    const struct image_partition *before = find_partition(program, topic_id, index);
    struct image_partition partition = *before;
    int32_t replicas[6] = {0};
    int32_t isr[6] = {0};
    int32_t elr[6] = {0};
    int32_t last_known[6] = {0};
    struct uuid directories[6] = {{{0}}};
    partition.partition_index = index;
    partition.leader_id = (int32_t)(take(program) % 7) - 1;
    if (!is_change) {
        partition.replicas = replicas;
        partition.replica_count = take_members(program, replicas);
        partition.directories = directories;
    }
    partition.isr = isr;
    partition.isr_count = take_members(program, isr);
    partition.elr = elr;
    partition.elr_count = take_members(program, elr);
    partition.last_known = last_known;
    partition.last_known_count = take_members(program, last_known);
    uint8_t epochs = take(program);
    partition.is_recovering = (epochs & 4) != 0;
    if (is_change) {
        struct image_partition stale = *before;
        partition.leader_epoch += epochs & 3;
        stale.partition_epoch += (epochs & 0x80) != 0 ? 1 : 0;
        meta_add_partition_change(&program->records, topic_id, &stale, &partition);
    } else {
        meta_add_partition(&program->records, topic_id, &partition);
    }
}

static int64_t broker_epoch(struct program *program, int32_t broker_id)
{
    const struct image_broker *broker = image_find_broker(program->image, broker_id);
    return (broker == NULL ? 0 : broker->epoch) + (take(program) >= 0xe0 ? 1 : 0);
}

static void add_broker(struct program *program)
{
    struct uuid directories[2] = {{{7}}, {{8}}};
    struct image_endpoint endpoint = {
        .listener_name = span_text("PLAINTEXT"), .host = take_name(program), .port = 9092};
    struct image_broker broker = {.id = take(program) % 6, .endpoints = &endpoint, .directories = directories};
    uint8_t flags = take(program);
    broker.endpoint_count = flags & 1u;
    broker.directory_count = (flags >> 1) & 1u;
    broker.is_fenced = (flags & 4) != 0;
    broker.is_shutting_down = (flags & 8) != 0;
    broker.rack = (flags & 16) != 0 ? take_name(program) : SPAN_NULL;
    broker.boot_id = span_text((flags & 32) != 0 ? "boot" : "");
    broker.level_min = (flags & 64) != 0 ? 1 : 0;
    broker.level_max = broker.level_min;
    meta_add_broker(&program->records, &broker, broker_epoch(program, broker.id));
}

static void add_config(struct program *program)
{
    static const char *const keys[] = {"retention.ms", "cleanup.policy", "x", ""};
    struct image_config_entry set[3];
    struct span removed[3];
    uint8_t choice = take(program);
    struct span name = take_name(program);
    size_t set_count = choice & 3u;
    size_t removed_count = (choice >> 2) & 3u;
    for (size_t i = 0; i < set_count; i++) {
        set[i] = (struct image_config_entry){span_text(keys[take(program) % ARRAY_COUNT(keys)]), take_name(program)};
    }
    for (size_t i = 0; i < removed_count; i++) {
        removed[i] = span_text(keys[take(program) % ARRAY_COUNT(keys)]);
    }
    meta_add_config_change(&program->records, (choice & 16) != 0 ? IMAGE_CONFIG_BROKER : IMAGE_CONFIG_TOPIC, name, set,
                           set_count, removed, removed_count);
}

static void commit(struct program *program)
{
    struct bytebuf bytes;
    int64_t epoch = image_controller_epoch(program->image);
    bool is_stale = take(program) >= 0xf0;
    if (program->records.count == 0) {
        return; /* no decision is an entry */
    }
    bytebuf_init(&bytes, META_BATCH_BYTES_MAX);
    CHECK(meta_pack(&program->records, 0, program->records.count, is_stale ? epoch + 1 : epoch, &bytes) == ERR_OK);
    struct image *draft =
        image_draft(program->image, image_offset(program->image) + 1, &program->records, 0, program->records.count);
    bool is_applied = false;
    CHECK(apply_entry(&program->image, bytebuf_span(&bytes), &is_applied));
    CHECK(is_applied == (draft != NULL && !is_stale));
    if (draft != NULL) {
        if (!is_stale) {
            check_draft(draft, program->image);
        }
        image_unref(draft);
    }
    bytebuf_done(&bytes);
    arena_reset(&program->arena);
    meta_records_init(&program->records, &program->arena);
    program->entry_count++;
}

static void run_command(struct program *program)
{
    int32_t broker_id = 0;
    switch (take(program) % 14) {
    case 0:
        meta_add_topic(&program->records, take_id(program), take_name(program), (take(program) & 1) != 0);
        return;
    case 1:
        meta_add_topic_removed(&program->records, take_id(program));
        return;
    case 2:
    case 3:
        add_partition(program, false);
        return;
    case 4:
    case 5:
        add_partition(program, true);
        return;
    case 6:
        add_broker(program);
        return;
    case 7:
        broker_id = take(program) % 6;
        meta_add_broker_state(&program->records, broker_id, broker_epoch(program, broker_id), (take(program) & 1) != 0,
                              (take(program) & 1) != 0);
        return;
    case 8:
        broker_id = take(program) % 6;
        meta_add_broker_removed(&program->records, broker_id, broker_epoch(program, broker_id));
        return;
    case 9:
        add_config(program);
        return;
    case 10:
        meta_add_producer_ids(&program->records, image_next_producer_id(program->image) + take(program) / 128,
                              (int32_t)(take(program) << 23), 1, 1);
        return;
    case 11:
        meta_add_activation(&program->records, take(program) % 6, 0);
        return;
    case 12:
        meta_add_cluster(&program->records, take_name(program), take_name(program));
        meta_add_level(&program->records, take(program) % (IMAGE_LEVEL_MAX + 1));
        return;
    default:
        commit(program);
        return;
    }
}

static void run_program(struct span rest)
{
    struct program program = {.image = image_new_empty(), .rest = rest};
    memset(program.long_name, 'x', sizeof(program.long_name));
    arena_init(&program.arena, 0);
    meta_records_init(&program.records, &program.arena);
    while (program.rest.bytes > 0 && program.entry_count < FUZZ_ENTRIES_MAX) {
        run_command(&program);
    }
    commit(&program);
    check_snapshot(program.image);
    image_unref(program.image);
    arena_done(&program.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    struct span rest = span_make(data + 1, bytes - 1);
    switch (data[0] % 3) {
    case 0:
        run_bytes(true, rest);
        break;
    case 1:
        run_bytes(false, rest);
        break;
    default:
        run_program(rest);
        break;
    }
    return 0;
}

/* Images: random histories give the same state everywhere, snapshots say the same as the log, deltas say exactly what changed, and
 * compare-and-set holds. */
#include "controller/image_delta.h"
#include "tests/support/prop.h"
#include "tests/unit/controller/image_support.h"

#define TOPICS 40

/* SHA-256 of 32 zero bytes, index 2, term 1, and the bytes 08 01 1a 06 08 01 62 02 08 01, computed by another program. */
#define HASH_PIN "49f909f17e52d4c6dcbe65e3bd706cbc4cda712b6d3fd73b37ed0525bc2557d3"

static void name_of(uint32_t number, char ret_name[16])
{
    snprintf(ret_name, 16, "topic-%u", number * 7919 % 1000);
}

/* One random batch upon `image`; most are legal, some are not. */
static void random_batch(struct prop *prop, const struct image *image, struct meta_records *records)
{
    char name[16];
    uint32_t number = (uint32_t)prop_below(prop, TOPICS);
    const struct image_topic *topic = image_find_topic_id(image, id_of(number));
    name_of(number, name);
    switch (prop_below(prop, 7)) {
    case 0:
    case 1: {
        meta_add_topic(records, id_of(number), span_text(name), false);
        uint32_t count = 1 + (uint32_t)prop_below(prop, 5);
        for (uint32_t i = 0; i < count; i++) {
            int32_t replicas[3] = {1, 2, 3};
            struct uuid directories[3] = {id_of(1), id_of(2), id_of(3)};
            struct image_partition partition = {.partition_index = (int32_t)i,
                                                .leader_id = 1,
                                                .replica_count = 3,
                                                .isr_count = 3,
                                                .replicas = replicas,
                                                .directories = directories,
                                                .isr = replicas};
            meta_add_partition(records, id_of(number), &partition);
        }
        return;
    }
    case 2:
        meta_add_topic_removed(records, id_of(number));
        return;
    case 3:
    case 4:
        for (uint32_t i = 0; topic != NULL && i < topic->partition_count; i++) {
            struct image_partition after = *topic->partitions[i];
            after.leader_id = 1 + (int32_t)prop_below(prop, 3);
            after.leader_epoch += after.leader_id != topic->partitions[i]->leader_id;
            struct image_partition before = *topic->partitions[i];
            before.partition_epoch -= prop_chance(prop, 1, 20); /* stale now and then */
            meta_add_partition_change(records, topic->id, &before, &after);
        }
        return;
    case 5: {
        struct image_config_entry set[2] = {{span_text("retention.ms"), span_text("1")},
                                            {span_text("cleanup.policy"), span_text("compact")}};
        struct span removed = span_text("retention.ms");
        bool is_set = prop_chance(prop, 2, 3);
        meta_add_config_change(records, IMAGE_CONFIG_TOPIC, span_text(name), set, is_set ? 2 : 0, &removed,
                               is_set ? 0 : 1);
        return;
    }
    default:
        meta_add_producer_ids(records, image_next_producer_id(image), 1000, 1, 1);
        return;
    }
}

/* What a delta must say, found the slow way. */
static void check_delta(const struct image *before, const struct image *after)
{
    struct image_delta *delta = image_delta_new(before, after);
    uint32_t topics = 0;
    uint32_t partitions = 0;
    for (uint32_t number = 0; number < TOPICS; number++) {
        const struct image_topic *old_topic = before == NULL ? NULL : image_find_topic_id(before, id_of(number));
        const struct image_topic *new_topic = image_find_topic_id(after, id_of(number));
        topics += old_topic != new_topic;
        for (int32_t i = 0; i < 8; i++) {
            partitions += image_find_partition(old_topic, i) != image_find_partition(new_topic, i);
        }
    }
    assert_int_equal(delta->topic_count, topics);
    assert_int_equal(delta->partition_count, partitions);
    for (uint32_t i = 0; i < delta->topic_count; i++) {
        struct image_topic_change change = delta->topics[i];
        struct uuid id = change.before != NULL ? change.before->id : change.after->id;
        assert_ptr_equal(change.before, before == NULL ? NULL : image_find_topic_id(before, id));
        assert_ptr_equal(change.after, image_find_topic_id(after, id));
    }
    uint32_t configs = 0;
    for (uint32_t number = 0; number < TOPICS; number++) {
        char name[16];
        name_of(number, name);
        const struct image_config *old_config =
            before == NULL ? NULL : image_find_config(before, IMAGE_CONFIG_TOPIC, span_text(name));
        configs += old_config != image_find_config(after, IMAGE_CONFIG_TOPIC, span_text(name));
    }
    assert_int_equal(delta->config_count, configs);
    image_delta_free(delta);
}

/* The tables agree with each other. */
static void check_tables(const struct image *image)
{
    uint64_t partitions = 0;
    for (uint32_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *topic = image_topic_at(image, i);
        assert_ptr_equal(image_find_topic(image, topic->name), topic);
        assert_ptr_equal(image_find_topic_id(image, topic->id), topic);
        assert_int_equal(image_topic_lower_bound(image, topic->name), i);
        partitions += topic->partition_count;
        for (uint32_t j = 0; j < topic->partition_count; j++) {
            assert_int_equal(topic->partitions[j]->partition_index, j);
        }
    }
    assert_int_equal(image_partition_total(image), partitions);
}

static struct bytebuf snapshot_of(const struct image *image)
{
    struct bytebuf bytes;
    bytebuf_init(&bytes, IMAGE_SNAPSHOT_BYTES_MAX);
    assert_int_equal(image_snapshot_encode(image, &bytes), ERR_OK);
    return bytes;
}

static void assert_same_snapshot(const struct image *a, const struct image *b)
{
    struct bytebuf one = snapshot_of(a);
    struct bytebuf other = snapshot_of(b);
    assert_int_equal(one.bytes, other.bytes);
    assert_memory_equal(one.data, other.data, one.bytes);
    bytebuf_done(&one);
    bytebuf_done(&other);
}

/* image -> bytes -> image -> bytes is the same, and it goes on in the same way. */
static struct image *through_snapshot(const struct image *image)
{
    struct bytebuf bytes = snapshot_of(image);
    struct image *copy = NULL;
    assert_int_equal(image_snapshot_decode(bytebuf_span(&bytes), &copy), ERR_OK);
    assert_int_equal(image_offset(copy), image_offset(image));
    assert_memory_equal(image_hash(copy), image_hash(image), IMAGE_HASH_BYTES);
    assert_same_snapshot(copy, image);
    bytebuf_done(&bytes);
    return copy;
}

static void run_history(struct prop *prop)
{
    const struct image *one = image_new_empty();
    const struct image *other = image_new_empty();
    const struct image *marked = NULL; /* some older image, to take deltas over several commits */
    unsigned applied_count = 0;
    int64_t index = 1;
    for (int step = 0; step < 150; step++) {
        struct arena arena;
        struct meta_records records;
        struct bytebuf bytes;
        struct image *after = NULL;
        struct image *other_after = NULL;
        bool is_applied = false;
        bool is_other_applied = false;
        arena_init(&arena, 0);
        meta_records_init(&records, &arena);
        bytebuf_init(&bytes, META_BATCH_BYTES_MAX);
        random_batch(prop, one, &records);
        assert_int_equal(meta_pack(&records, 0, records.count, 0, &bytes), ERR_OK);
        index += 1 + (int64_t)prop_below(prop, 2);
        assert_int_equal(image_apply(one, index, 3, bytebuf_span(&bytes), &after, &is_applied), ERR_OK);
        assert_int_equal(image_apply(other, index, 3, bytebuf_span(&bytes), &other_after, &is_other_applied), ERR_OK);
        assert_int_equal(is_applied, is_other_applied);
        assert_memory_equal(image_hash(after), image_hash(other_after), IMAGE_HASH_BYTES);
        assert_memory_not_equal(image_hash(after), image_hash(one), IMAGE_HASH_BYTES);
        struct image *draft = image_draft(one, index, &records, 0, records.count);
        assert_int_equal(draft != NULL, is_applied);
        image_unref(draft);
        applied_count += is_applied;
        check_tables(after);
        check_delta(one, after);
        if (!is_applied) {
            struct image_delta *delta = image_delta_new(one, after);
            assert_int_equal(delta->topic_count + delta->partition_count + delta->config_count, 0);
            image_delta_free(delta);
        }
        image_unref(one);
        image_unref(other);
        one = after;
        other = other_after;
        if (prop_chance(prop, 1, 10)) { /* one of the two restarts from a snapshot */
            other = through_snapshot(other_after);
            image_unref(other_after);
        }
        if (prop_chance(prop, 1, 8)) {
            check_delta(marked, one);
            image_unref(marked);
            marked = image_ref(one);
        }
        bytebuf_done(&bytes);
        arena_done(&arena);
    }
    assert_same_snapshot(one, other);
    assert_true(applied_count > 50);
    image_unref(marked);
    image_unref(one);
    image_unref(other);
}

static void test_histories(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "image histories", 7);
    for (uint64_t i = 0, runs = prop_runs(30); i < runs; i++) {
        run_history(&prop);
    }
}

/* The hash chain is over the bytes, the index and the term: pinned, because other nodes must find the same. */
static void test_hash_is_pinned(void **state)
{
    (void)state;
    struct state image;
    state_init(&image);
    meta_add_level(&image.records, 1);
    state_commit(&image);
    char text[IMAGE_HASH_BYTES * 2 + 1];
    for (int i = 0; i < IMAGE_HASH_BYTES; i++) {
        snprintf(text + 2 * i, 3, "%02x", image_hash(image.image)[i]);
    }
    assert_string_equal(text, HASH_PIN);
    state_done(&image);
}

static void add_topic(struct state *state, uint32_t number, const char *name, int32_t leader)
{
    int32_t replicas[3] = {1, 2, 3};
    struct uuid directories[3] = {id_of(1), id_of(2), id_of(3)};
    struct image_partition partition = {.leader_id = leader,
                                        .replica_count = 3,
                                        .isr_count = 2,
                                        .replicas = replicas,
                                        .directories = directories,
                                        .isr = replicas};
    meta_add_topic(&state->records, id_of(number), span_text(name), false);
    meta_add_partition(&state->records, id_of(number), &partition);
}

static void test_compare_and_set(void **unused)
{
    (void)unused;
    struct state state;
    state_init(&state);
    add_topic(&state, 1, "t", 1);
    state_commit(&state);
    assert_true(state.is_applied);
    const struct image_partition *before = image_find_topic(state.image, span_text("t"))->partitions[0];
    struct image_partition stale = *before;
    struct image_partition after = *before;
    after.leader_id = 2;
    after.leader_epoch = 1;
    stale.partition_epoch = -1; /* the record says 0, the next is 1 */
    meta_add_partition_change(&state.records, id_of(1), &stale, &after);
    state_commit(&state);
    assert_false(state.is_applied);

    before = image_find_topic(state.image, span_text("t"))->partitions[0];
    meta_add_partition_change(&state.records, id_of(1), before, &after);
    meta_add_partition_change(&state.records, id_of(1), before,
                              &after); /* the same again: the batch fails as a whole */
    state_commit(&state);
    assert_false(state.is_applied);
    assert_int_equal(image_find_topic(state.image, span_text("t"))->partitions[0]->leader_id, 1);

    before = image_find_topic(state.image, span_text("t"))->partitions[0];
    meta_add_partition_change(&state.records, id_of(1), before, &after);
    state_commit(&state);
    assert_true(state.is_applied);
    assert_int_equal(image_find_topic(state.image, span_text("t"))->partitions[0]->leader_id, 2);
    assert_int_equal(image_find_topic(state.image, span_text("t"))->partitions[0]->partition_epoch, 1);

    /* Not sound: a leader outside of the ISR, a leader without a new epoch, members out of order. */
    static const int32_t disordered[2] = {2, 1};
    before = image_find_topic(state.image, span_text("t"))->partitions[0];
    for (int wrong = 0; wrong < 3; wrong++) {
        after = *before;
        after.leader_epoch = before->leader_epoch + (wrong != 1);
        after.leader_id = wrong == 0 ? 3 : 1;
        if (wrong == 2) {
            after.isr = disordered;
        }
        meta_add_partition_change(&state.records, id_of(1), before, &after);
        state_commit(&state);
        assert_false(state.is_applied);
        before = image_find_topic(state.image, span_text("t"))->partitions[0];
    }
    state_done(&state);
}

/* A batch of a controller that another one has replaced does nothing. */
static void test_old_controller_is_refused(void **unused)
{
    (void)unused;
    struct state state;
    state_init(&state);
    meta_add_activation(&state.records, 1, 0);
    state_commit(&state);
    assert_int_equal(image_controller_epoch(state.image), 2);
    meta_add_level(&state.records, 1);
    struct bytebuf old;
    bytebuf_init(&old, META_BATCH_BYTES_MAX);
    assert_int_equal(meta_pack(&state.records, 0, 1, 2, &old), ERR_OK);
    meta_records_cut(&state.records, 0);
    meta_add_activation(&state.records, 2, 0);
    state_commit(&state);
    assert_int_equal(image_controller_epoch(state.image), 3);
    struct image *after = NULL;
    bool is_applied = true;
    assert_int_equal(image_apply(state.image, 4, 1, bytebuf_span(&old), &after, &is_applied), ERR_OK);
    assert_false(is_applied);
    assert_int_equal(image_metadata_level(after), 0);
    assert_int_equal(image_offset(after), 4);
    image_unref(after);
    bytebuf_done(&old);
    state_done(&state);
}

static void test_remove_takes_configs(void **unused)
{
    (void)unused;
    struct state state;
    state_init(&state);
    add_topic(&state, 1, "t", 1);
    struct image_config_entry set = {span_text("retention.ms"), span_text("5")};
    meta_add_config_change(&state.records, IMAGE_CONFIG_TOPIC, span_text("t"), &set, 1, NULL, 0);
    state_commit(&state);
    assert_true(span_equal_text(image_topic_config_value(state.image, span_text("t"), "retention.ms"), "5"));
    meta_add_topic_removed(&state.records, id_of(1));
    add_topic(&state, 2, "t", 1); /* created again at once under its name */
    state_commit(&state);
    assert_true(state.is_applied);
    assert_true(uuid_equal(image_find_topic(state.image, span_text("t"))->id, id_of(2)));
    assert_null(image_find_topic_id(state.image, id_of(1)));
    assert_true(span_is_null(image_topic_config_value(state.image, span_text("t"), "retention.ms")));
    state_done(&state);
}

/* Bytes that are no batch, or say what this program does not know, stop it; they never crash it. */
static void test_foreign_bytes(void **unused)
{
    (void)unused;
    struct prop prop;
    struct state state;
    prop_init(&prop, "foreign bytes", 11);
    state_init(&state);
    struct image *after = NULL;
    bool is_applied = false;
    static const uint8_t no_format[] = {0x10, 0x00};
    assert_int_equal(image_apply(state.image, 5, 1, span_make(no_format, 2), &after, &is_applied), ERR_UNSUPPORTED);
    static const uint8_t later_field[] = {0x08, 0x01, 0x7a, 0x00}; /* field 15 of the batch */
    assert_int_equal(image_apply(state.image, 5, 1, span_make(later_field, 4), &after, &is_applied), ERR_UNSUPPORTED);
    static const uint8_t later_kind[] = {0x08, 0x01, 0x1a, 0x05, 0x08, 0x01, 0xa2, 0x06, 0x00};
    assert_int_equal(image_apply(state.image, 5, 1, span_make(later_kind, 9), &after, &is_applied), ERR_UNSUPPORTED);
    /* A record of partitions whose one partition has a field 15. */
    static const uint8_t later_inner[] = {0x08, 0x01, 0x1a, 0x08, 0x08, 0x01, 0x22, 0x04, 0x12, 0x02, 0x7a, 0x00};
    assert_int_equal(image_apply(state.image, 5, 1, span_make(later_inner, 12), &after, &is_applied), ERR_UNSUPPORTED);
    add_topic(&state, 1, "t", 1);
    struct bytebuf bytes;
    bytebuf_init(&bytes, META_BATCH_BYTES_MAX);
    assert_int_equal(meta_pack(&state.records, 0, state.records.count, 0, &bytes), ERR_OK);
    for (uint64_t i = 0, runs = prop_runs(20000); i < runs; i++) {
        uint8_t copy[512];
        assert_true(bytes.bytes <= sizeof(copy));
        memcpy(copy, bytes.data, bytes.bytes);
        for (uint64_t j = 0, flips = 1 + prop_below(&prop, 4); j < flips; j++) {
            copy[prop_below(&prop, bytes.bytes)] = (uint8_t)prop_u64(&prop);
        }
        size_t cut = prop_chance(&prop, 1, 4) ? (size_t)prop_below(&prop, bytes.bytes) : bytes.bytes;
        after = NULL;
        if (image_apply(state.image, 5, 1, span_make(copy, cut), &after, &is_applied) == ERR_OK) {
            check_tables(after);
            image_unref(after);
        }
        struct image *image = NULL;
        if (image_snapshot_decode(span_make(copy, cut), &image) == ERR_OK) {
            image_unref(image);
        }
    }
    bytebuf_done(&bytes);
    state_done(&state);
}

/* The largest things there can be still fit into the parts of a snapshot. */
static void test_large_snapshot(void **unused)
{
    (void)unused;
    struct state state;
    static char value[32001];
    int32_t replicas[IMAGE_REPLICAS_MAX];
    struct uuid directories[IMAGE_REPLICAS_MAX];
    char name[IMAGE_TOPIC_NAME_BYTES_MAX + 1];
    memset(value, 'v', sizeof(value) - 1);
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    for (int32_t i = 0; i < IMAGE_REPLICAS_MAX; i++) {
        replicas[i] = INT32_MAX - i;
        directories[i] = id_of((uint32_t)i + 1);
    }
    state_init(&state);
    struct image_partition partition = {.leader_id = replicas[0],
                                        .replica_count = IMAGE_REPLICAS_MAX,
                                        .isr_count = IMAGE_REPLICAS_MAX,
                                        .replicas = replicas,
                                        .directories = directories,
                                        .isr = replicas};
    const struct image_config_entry entries[2] = {{span_text("a"), span_text(value)},
                                                  {span_text("b"), span_text(value)}};
    for (uint32_t i = 0; i < 120; i++) {
        memcpy(name, "topic-000", 9);
        name[6] = (char)('0' + i / 100);
        name[7] = (char)('0' + i / 10 % 10);
        name[8] = (char)('0' + i % 10);
        meta_add_topic(&state.records, id_of(i + 1), span_text(name), false);
        for (partition.partition_index = 0; partition.partition_index < 10; partition.partition_index++) {
            meta_add_partition(&state.records, id_of(i + 1), &partition);
        }
        meta_add_config_change(&state.records, IMAGE_CONFIG_TOPIC, span_text(name), entries, 2, NULL, 0);
        state_commit(&state);
        assert_true(state.is_applied);
    }
    struct bytebuf bytes;
    struct image *restored = NULL;
    bytebuf_init(&bytes, 64u << 20);
    assert_int_equal(image_snapshot_encode(state.image, &bytes), ERR_OK);
    assert_true(bytes.bytes > 9u << 20);
    assert_int_equal(image_snapshot_decode(bytebuf_span(&bytes), &restored), ERR_OK);
    assert_int_equal(image_partition_total(restored), 1200);
    assert_int_equal(image_config_count(restored), 120);
    image_unref(restored);
    bytebuf_done(&bytes);
    state_done(&state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histories),
        cmocka_unit_test(test_hash_is_pinned),
        cmocka_unit_test(test_compare_and_set),
        cmocka_unit_test(test_old_controller_is_refused),
        cmocka_unit_test(test_remove_takes_configs),
        cmocka_unit_test(test_foreign_bytes),
        cmocka_unit_test(test_large_snapshot),
    };
    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}

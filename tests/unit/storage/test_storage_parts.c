/* The small parts that a log is made of. */
#include "broker/storage/epoch_cache.h"
#include "broker/storage/file_cache.h"
#include "broker/storage/log_marks.h"
#include "broker/storage/offset_checkpoint.h"
#include "broker/storage/offset_index.h"
#include "broker/storage/producer_snapshot.h"
#include "broker/storage/retain.h"
#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"
#include "broker/storage/txn_index.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "common/seam/fs.h"
#include "tests/support/fs_sim.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void segment_names_are_kafkas(void **state)
{
    (void)state;
    struct store_path path = store_path_segment("/d", 42, STORE_SUFFIX_LOG);
    int64_t offset = 0;
    assert_string_equal(path.text, "/d/00000000000000000042.log");
    assert_true(store_path_parse_segment("00000000000000000042.log", STORE_SUFFIX_LOG, &offset));
    assert_int_equal(offset, 42);
    assert_true(store_path_parse_segment("09223372036854775807.index", STORE_SUFFIX_OFFSET_INDEX, &offset));
    assert_int_equal(offset, INT64_MAX);
    assert_false(store_path_parse_segment("09223372036854775808.log", STORE_SUFFIX_LOG, &offset));
    assert_false(store_path_parse_segment("0000000000000000042.log", STORE_SUFFIX_LOG, &offset));
    assert_false(store_path_parse_segment("00000000000000000042.logs", STORE_SUFFIX_LOG, &offset));
}

static void a_text_that_was_changed_is_not_believed(void **state)
{
    (void)state;
    struct bytebuf text;
    struct span body;
    uint64_t generation = 0;
    bytebuf_init(&text, 4096);
    assert_int_equal(bytebuf_append(&text, span_text("0\n1\nt 0 5\n")), ERR_OK);
    assert_int_equal(side_text_seal(&text, 77), ERR_OK);
    assert_int_equal(side_text_open(bytebuf_span(&text), &body, &generation), ERR_OK);
    assert_true(span_equal_text(body, "0\n1\nt 0 5\n"));
    assert_int_equal(generation, 77);
    for (size_t i = 0; i < text.bytes; i++) {
        text.data[i] ^= 4;
        assert_int_not_equal(side_text_open(bytebuf_span(&text), &body, NULL), ERR_OK);
        text.data[i] ^= 4;
    }
    for (size_t bytes = 0; bytes < text.bytes; bytes++) {
        assert_int_not_equal(side_text_open(span_make(text.data, bytes), &body, NULL), ERR_OK);
    }
    bytebuf_done(&text);
}

/* A newer Moldau may mean something else by the same lines. */
static void a_text_of_another_version_is_not_read(void **state)
{
    (void)state;
    struct bytebuf text;
    struct span body;
    uint64_t generation = 0;
    for (int version = 0; version <= SIDE_TEXT_VERSION + 1; version++) {
        bytebuf_init(&text, 4096);
        assert_int_equal(bytebuf_append_format(&text, "0\n1\nt 0 5\n# moldau %d 77 ", version), ERR_OK);
        assert_int_equal(bytebuf_append_format(&text, "%08" PRIx32 "\n", crc32c(0, bytebuf_span(&text))), ERR_OK);
        assert_int_equal(side_text_open(bytebuf_span(&text), &body, &generation),
                         version == SIDE_TEXT_VERSION ? ERR_OK : ERR_UNSUPPORTED);
        bytebuf_done(&text);
    }
}

static void epochs_answer_where_each_one_ended(void **state)
{
    (void)state;
    struct epoch_cache cache;
    struct epoch_cache again;
    struct bytebuf text;
    int32_t epoch = 0;
    int64_t end_offset = 0;
    epoch_cache_init(&cache);
    assert_true(epoch_cache_assign(&cache, 2, 10));
    assert_true(epoch_cache_assign(&cache, 5, 20));
    assert_true(epoch_cache_assign(&cache, 6, 30));
    assert_true(epoch_cache_assign(&cache, 7, 30)); /* 6 wrote nothing */
    assert_false(epoch_cache_assign(&cache, 5, 40));
    assert_int_equal(cache.count, 3);
    const struct {
        int32_t asked;
        int32_t epoch;
        int64_t end_offset;
    } cases[] = {{1, 1, 10}, {2, 2, 20}, {3, 2, 20}, {5, 5, 30}, {6, 5, 30}, {7, 7, 44}, {8, -1, -1}, {-1, -1, -1}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        epoch_cache_end_offset(&cache, cases[i].asked, 44, &epoch, &end_offset);
        assert_int_equal(epoch, cases[i].epoch);
        assert_int_equal(end_offset, cases[i].end_offset);
    }
    bytebuf_init(&text, 4096);
    epoch_cache_init(&again);
    assert_int_equal(epoch_cache_encode(&cache, &text), ERR_OK);
    assert_memory_equal(text.data, "0\n3\n2 10\n5 20\n7 30\n# moldau ", 28);
    assert_int_equal(epoch_cache_decode(bytebuf_span(&text), &again), ERR_OK);
    assert_int_equal(again.count, 3);
    assert_int_equal(epoch_cache_at_offset(&again, 29)->epoch, 5);
    assert_null(epoch_cache_at_offset(&again, 9));
    assert_true(epoch_cache_truncate_start(&again, 25));
    assert_int_equal(again.entries[0].epoch, 5);
    assert_int_equal(again.entries[0].start_offset, 25);
    assert_true(epoch_cache_truncate_end(&again, 30));
    assert_int_equal(epoch_cache_last(&again)->epoch, 5);
    epoch_cache_done(&cache);
    epoch_cache_done(&again);
    bytebuf_done(&text);
}

static struct batch_header data_batch(int64_t base_offset, int64_t producer_id, int16_t epoch, int32_t sequence)
{
    return (struct batch_header){.base_offset = base_offset,
                                 .batch_bytes = 100,
                                 .last_offset_delta = 1,
                                 .max_timestamp_ms = 7,
                                 .producer_id = producer_id,
                                 .producer_epoch = epoch,
                                 .base_sequence = sequence,
                                 .record_count = 2};
}

static enum append_refusal check(const struct producer_state *state, struct batch_header header, bool *ret_is_duplicate,
                                 int64_t *ret_last_offset)
{
    struct producer_batch original = {0};
    enum append_refusal refusal = producer_state_check(state, &header, NULL, true, &original, ret_is_duplicate);
    *ret_last_offset = original.last_offset;
    return refusal;
}

static void sequences_follow_kafkas_rules(void **state)
{
    (void)state;
    struct producer_state producers;
    struct aborted_txn aborted;
    bool is_duplicate = false;
    int64_t last_offset = 0;
    producer_state_init(&producers);
    /* nothing known: any sequence (trap 12) */
    assert_int_equal(check(&producers, data_batch(0, 1, 3, 500), &is_duplicate, &last_offset), APPEND_ACCEPTED);
    for (int32_t i = 0; i < 7; i++) {
        struct batch_header header = data_batch(i * 2, 1, 3, i * 2);
        assert_int_equal(check(&producers, header, &is_duplicate, &last_offset), APPEND_ACCEPTED);
        assert_false(is_duplicate);
        (void)producer_state_update(&producers, &header, NULL, 0, &aborted);
    }
    /* the last five are remembered, the two before are not */
    for (int32_t i = 0; i < 7; i++) {
        enum append_refusal refusal = check(&producers, data_batch(99, 1, 3, i * 2), &is_duplicate, &last_offset);
        assert_int_equal(is_duplicate, i >= 2);
        assert_int_equal(refusal, i >= 2 ? APPEND_ACCEPTED : APPEND_OUT_OF_ORDER_SEQUENCE);
        assert_true(i < 2 || last_offset == i * 2 + 1);
    }
    assert_int_equal(check(&producers, data_batch(14, 1, 3, 15), &is_duplicate, &last_offset),
                     APPEND_OUT_OF_ORDER_SEQUENCE);
    assert_int_equal(check(&producers, data_batch(14, 1, 2, 14), &is_duplicate, &last_offset),
                     APPEND_INVALID_PRODUCER_EPOCH);
    assert_int_equal(check(&producers, data_batch(14, 1, 4, 14), &is_duplicate, &last_offset),
                     APPEND_OUT_OF_ORDER_SEQUENCE);
    assert_int_equal(check(&producers, data_batch(14, 1, 4, 0), &is_duplicate, &last_offset), APPEND_ACCEPTED);
    /* wraps from 2^31 - 1 to 0 */
    struct batch_header last = data_batch(14, 2, 0, INT32_MAX - 1);
    (void)producer_state_update(&producers, &last, NULL, 0, &aborted);
    assert_int_equal(check(&producers, data_batch(16, 2, 0, 0), &is_duplicate, &last_offset), APPEND_ACCEPTED);
    assert_int_equal(check(&producers, data_batch(16, 2, 0, 1), &is_duplicate, &last_offset),
                     APPEND_OUT_OF_ORDER_SEQUENCE);
    producer_state_done(&producers);
}

static void markers_bump_epochs_and_expiry_spares_open_transactions(void **state)
{
    (void)state;
    struct producer_state producers;
    struct aborted_txn aborted;
    struct batch_header open = data_batch(10, 1, 0, 0);
    struct batch_header other = data_batch(12, 2, 0, 0);
    struct batch_header marker = data_batch(14, 1, 1, -1);
    struct control_marker abort_marker = {CONTROL_ABORT, 4};
    struct control_marker old_marker = {CONTROL_ABORT, 3};
    struct producer_batch original;
    bool is_duplicate = false;
    int64_t last_offset = 0;
    producer_state_init(&producers);
    open.attributes = BATCH_ATTRIBUTE_TRANSACTIONAL;
    other.attributes = BATCH_ATTRIBUTE_TRANSACTIONAL;
    marker.attributes = BATCH_ATTRIBUTE_TRANSACTIONAL | BATCH_ATTRIBUTE_CONTROL;
    marker.last_offset_delta = 0;
    assert_false(producer_state_update(&producers, &open, NULL, 100, &aborted));
    assert_false(producer_state_update(&producers, &other, NULL, 100, &aborted));
    producer_state_expire(&producers, 1000000, 10);
    assert_int_equal(producer_state_count(&producers), 2);
    assert_int_equal(producer_state_first_unstable(&producers), 10);
    assert_true(producer_state_update(&producers, &marker, &abort_marker, 100, &aborted));
    assert_int_equal(aborted.first_offset, 10);
    assert_int_equal(aborted.last_offset, 14);
    assert_int_equal(aborted.last_stable_offset, 12); /* producer 2 is still open */
    assert_int_equal(producer_state_first_unstable(&producers), 10);
    producer_state_on_high_watermark(&producers, 14);
    assert_int_equal(producer_state_first_unstable(&producers), 10); /* the marker itself is not below */
    producer_state_on_high_watermark(&producers, 15);
    assert_int_equal(producer_state_first_unstable(&producers), 12);
    /* KIP-890: the marker's epoch is the producer's next; its sequences begin at 0 */
    assert_int_equal(check(&producers, data_batch(15, 1, 0, 2), &is_duplicate, &last_offset),
                     APPEND_INVALID_PRODUCER_EPOCH);
    assert_int_equal(check(&producers, data_batch(15, 1, 1, 2), &is_duplicate, &last_offset),
                     APPEND_OUT_OF_ORDER_SEQUENCE);
    assert_int_equal(check(&producers, data_batch(15, 1, 1, 0), &is_duplicate, &last_offset), APPEND_ACCEPTED);
    assert_int_equal(producer_state_check(&producers, &marker, &old_marker, false, &original, &is_duplicate),
                     APPEND_COORDINATOR_FENCED);
    producer_state_expire(&producers, 1000000, 10);
    assert_int_equal(producer_state_count(&producers), 1);
    producer_state_done(&producers);
}

static void a_snapshot_brings_back_all_five_batches(void **state)
{
    (void)state;
    struct producer_state before;
    struct producer_state after;
    struct aborted_txn aborted;
    struct bytebuf bytes;
    producer_state_init(&before);
    producer_state_init(&after);
    for (int32_t i = 0; i < 6; i++) {
        struct batch_header header = data_batch(i * 2, 9, 1, i * 2);
        header.attributes = i == 5 ? BATCH_ATTRIBUTE_TRANSACTIONAL : 0;
        (void)producer_state_update(&before, &header, NULL, 55, &aborted);
    }
    bytebuf_init(&bytes, 1u << 20);
    assert_int_equal(producer_snapshot_encode(&before, &bytes), ERR_OK);
    assert_int_equal(bytes.data[1], 1);
    assert_int_equal(producer_snapshot_decode(bytebuf_span(&bytes), 1, &after), ERR_OK);
    const struct producer_entry *left = producer_state_find(&before, 9);
    const struct producer_entry *right = producer_state_find(&after, 9);
    assert_int_equal(right->batch_count, 5);
    assert_int_equal(right->seen_ms, 55);
    assert_int_equal(right->txn_first_offset, 10);
    assert_int_equal(producer_state_first_unstable(&after), 10);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(left->batches[i].last_offset, right->batches[i].last_offset);
        assert_int_equal(left->batches[i].last_sequence, right->batches[i].last_sequence);
    }
    for (size_t i = 0; i < bytes.bytes; i++) {
        struct producer_state damaged;
        producer_state_init(&damaged);
        bytes.data[i] ^= 1;
        assert_int_not_equal(producer_snapshot_decode(bytebuf_span(&bytes), 1, &damaged), ERR_OK);
        assert_int_equal(producer_state_count(&damaged), 0);
        bytes.data[i] ^= 1;
        producer_state_done(&damaged);
    }
    bytebuf_done(&bytes);
    producer_state_done(&before);
    producer_state_done(&after);
}

static void checkpoints_find_their_rows(void **state)
{
    (void)state;
    struct offset_checkpoint checkpoint;
    struct offset_checkpoint again;
    struct bytebuf text;
    uint64_t generation = 0;
    offset_checkpoint_init(&checkpoint);
    offset_checkpoint_init(&again);
    offset_checkpoint_add(&checkpoint, "b", 10, 7);
    offset_checkpoint_add(&checkpoint, "b", 2, 5);
    offset_checkpoint_add(&checkpoint, "a-1", 0, 3);
    bytebuf_init(&text, 4096);
    assert_int_equal(offset_checkpoint_encode(&checkpoint, 9, &text), ERR_OK);
    assert_int_equal(offset_checkpoint_decode(bytebuf_span(&text), &again, &generation), ERR_OK);
    assert_int_equal(generation, 9);
    assert_int_equal(offset_checkpoint_find(&again, "b", 10), 7);
    assert_int_equal(offset_checkpoint_find(&again, "b", 2), 5);
    assert_int_equal(offset_checkpoint_find(&again, "a-1", 0), 3);
    assert_int_equal(offset_checkpoint_find(&again, "a", 0), -1);
    offset_checkpoint_done(&checkpoint);
    offset_checkpoint_done(&again);
    bytebuf_done(&text);
}

static void marks_bound_what_older_checkpoints_say(void **state)
{
    (void)state;
    struct log_marks marks = {
        .recovery_offset = 50, .counts_high_watermark = true, .cap_offset = 70, .cap_generation = 4};
    struct log_checkpoint_row row = {.recovery_point_offset = 60, .high_watermark = 90};
    struct log_marks again;
    struct bytebuf text;
    assert_int_equal(log_marks_floor(&marks, &row, 5), 90);
    assert_int_equal(log_marks_floor(&marks, &row, 4), 70);
    marks.counts_high_watermark = false; /* durability=cached */
    assert_int_equal(log_marks_floor(&marks, &row, 5), 60);
    bytebuf_init(&text, 4096);
    assert_int_equal(log_marks_encode(&marks, &text), ERR_OK);
    assert_int_equal(log_marks_decode(bytebuf_span(&text), &again), ERR_OK);
    assert_int_equal(again.cap_offset, 70);
    assert_int_equal(again.recovery_offset, 50);
    bytebuf_done(&text);
}

static void retention_never_passes_the_high_watermark(void **state)
{
    (void)state;
    struct retain_segment segments[] = {
        {0, 10, 100, 1000, 0}, {10, 20, 100, 2000, 0}, {20, 30, 100, 3000, 0}, {30, 35, 50, 4000, 0}};
    struct retain_input input = {.segments = segments,
                                 .segment_count = 4,
                                 .high_watermark = 35,
                                 .now_ms = 5000,
                                 .retention_ms = -1,
                                 .retention_bytes = -1,
                                 .has_delete_policy = true};
    assert_int_equal(retain_choose(&input), 0);
    input.retention_ms = 2500;
    assert_int_equal(retain_choose(&input), 20);
    input.high_watermark = 15;
    assert_int_equal(retain_choose(&input), 10);
    input.high_watermark = 35;
    input.retention_ms = -1;
    input.retention_bytes = 150;
    assert_int_equal(retain_choose(&input), 20);
    input.retention_bytes = 0;
    assert_int_equal(retain_choose(&input), 30);
    input.has_delete_policy = false;
    assert_int_equal(retain_choose(&input), 0);
    input.log_start_offset = 25; /* DeleteRecords, also with compaction only */
    assert_int_equal(retain_choose(&input), 25);
}

static void the_file_cache_stays_within_its_bound(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct file_cache cache;
    struct file_cache_entry entries[6] = {{NULL, NULL, NULL}};
    char path[16];
    file_cache_init(&cache, fs_sim_fs(sim), 3);
    for (size_t i = 0; i < ARRAY_COUNT(entries); i++) {
        struct file *file = NULL;
        (void)snprintf(path, sizeof(path), "/f%zu", i);
        assert_int_equal(file_cache_get(&cache, &entries[i], path, FS_OPEN_WRITE | FS_OPEN_CREATE, &file), ERR_OK);
    }
    assert_int_equal(cache.file_count, 3);
    assert_int_equal(fs_sim_open_files(sim), 3);
    assert_null(entries[2].file);
    assert_non_null(entries[3].file);
    /* No descriptor left: the cache gives up its own before it fails. */
    struct file *file = NULL;
    fs_sim_set_open_files_max(sim, 3);
    assert_int_equal(file_cache_get(&cache, &entries[0], "/f0", FS_OPEN_WRITE, &file), ERR_OK);
    for (size_t i = 0; i < ARRAY_COUNT(entries); i++) {
        file_cache_drop(&cache, &entries[i]);
    }
    file_cache_done(&cache);
    assert_int_equal(fs_sim_open_files(sim), 0);
    fs_sim_free(sim);
}

static void indexes_find_the_last_entry_at_or_below(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct file *file = NULL;
    struct offset_entry entry;
    uint8_t bytes[OFFSET_INDEX_ENTRY_BYTES * 50];
    struct span span = span_make(bytes, sizeof(bytes));
    for (uint32_t i = 0; i < 50; i++) {
        offset_entry_encode((struct offset_entry){(int32_t)i * 10 + 5, i * 1000}, bytes + i * OFFSET_INDEX_ENTRY_BYTES);
    }
    assert_int_equal(fs_open(fs_sim_fs(sim), "/i", FS_OPEN_WRITE | FS_OPEN_CREATE, &file), ERR_OK);
    assert_int_equal(file_pwritev(file, &span, 1, 0), ERR_OK);
    assert_int_equal(offset_index_floor(file, 50, 4, true, &entry), ERR_NOT_FOUND);
    for (int32_t offset = 5; offset < 520; offset++) {
        assert_int_equal(offset_index_floor(file, 50, offset, true, &entry), ERR_OK);
        int32_t expected = (offset - 5) / 10 > 49 ? 49 : (offset - 5) / 10;
        assert_int_equal(entry.position, expected * 1000);
    }
    assert_int_equal(offset_index_floor_position(file, 50, 7500, 1000, true, &entry), ERR_OK);
    assert_int_equal(entry.position, 7000);
    assert_int_equal(offset_index_floor_position(file, 50, 7500, 35, true, &entry), ERR_OK);
    assert_int_equal(entry.position, 2000);
    file_unref(file);
    fs_sim_free(sim);
}

static void aborted_transactions_are_those_of_the_span(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct file *file = NULL;
    const struct aborted_txn txns[] = {{1, 0, 10, 11}, {2, 5, 20, 21}, {3, 30, 40, 25}, {4, 25, 50, 51}};
    uint8_t bytes[sizeof(txns) / sizeof(txns[0]) * TXN_INDEX_ENTRY_BYTES];
    struct span span = span_make(bytes, sizeof(bytes));
    struct aborted_list list = {NULL, 0};
    bool is_complete = false;
    for (size_t i = 0; i < ARRAY_COUNT(txns); i++) {
        txn_entry_encode(&txns[i], bytes + i * TXN_INDEX_ENTRY_BYTES);
    }
    assert_int_equal(fs_open(fs_sim_fs(sim), "/t", FS_OPEN_WRITE | FS_OPEN_CREATE, &file), ERR_OK);
    assert_int_equal(file_pwritev(file, &span, 1, 0), ERR_OK);
    assert_int_equal(txn_index_collect(file, sizeof(bytes), 12, 28, true, &list, &is_complete), ERR_OK);
    assert_true(is_complete); /* 4's entry says that everything below 51 was decided */
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[0].producer_id, 2);
    assert_int_equal(list.items[1].producer_id, 4);
    mem_free(list.items);
    file_unref(file);
    fs_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segment_names_are_kafkas),
        cmocka_unit_test(a_text_that_was_changed_is_not_believed),
        cmocka_unit_test(a_text_of_another_version_is_not_read),
        cmocka_unit_test(epochs_answer_where_each_one_ended),
        cmocka_unit_test(sequences_follow_kafkas_rules),
        cmocka_unit_test(markers_bump_epochs_and_expiry_spares_open_transactions),
        cmocka_unit_test(a_snapshot_brings_back_all_five_batches),
        cmocka_unit_test(checkpoints_find_their_rows),
        cmocka_unit_test(marks_bound_what_older_checkpoints_say),
        cmocka_unit_test(retention_never_passes_the_high_watermark),
        cmocka_unit_test(the_file_cache_stays_within_its_bound),
        cmocka_unit_test(indexes_find_the_last_entry_at_or_below),
        cmocka_unit_test(aborted_transactions_are_those_of_the_span),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

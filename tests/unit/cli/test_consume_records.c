/* What a consumer may see of fetched batches. */
#include "cli/consume_fetch.h"
#include "proto/kmsg/fetch.h"
#include "proto/record/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SEEN_BYTES_MAX 1024

struct bench {
    struct consume_fetch fetch;
    struct consume_partition partition;
    struct bytebuf log; /* batches one after the other */
    int64_t next_offset;
    char seen[SEEN_BYTES_MAX]; /* "offset:value " of each record */
    size_t enough_count;       /* after so many records on_record says that it is enough; 0: never */
    size_t seen_count;
};

static bool on_record(void *ctx, int32_t partition, const struct record *record)
{
    struct bench *bench = ctx;
    size_t used = strlen(bench->seen);
    assert_int_equal(partition, 5);
    (void)snprintf(bench->seen + used, sizeof(bench->seen) - used, "%d:%.*s ", (int)record->offset,
                   (int)record->value.bytes, (const char *)record->value.data);
    bench->seen_count++;
    return bench->seen_count != bench->enough_count;
}

static int setup(void **state)
{
    static struct bench bench;
    bench = (struct bench){.partition = {.index = 5, .end_offset = CONSUME_END_NEVER}};
    bench.fetch.on_record = on_record;
    bench.fetch.ctx = &bench;
    bench.fetch.decompressor = decompressor_new();
    bytebuf_init(&bench.fetch.plain, 1 << 20);
    bytebuf_init(&bench.log, 1 << 20);
    *state = &bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    decompressor_free(bench->fetch.decompressor);
    bytebuf_done(&bench->fetch.plain);
    bytebuf_done(&bench->log);
    return 0;
}

/* A batch with one record for each character of `values`. producer_id -1: none; else it is in a transaction. */
static void add_batch(struct bench *bench, const char *values, int64_t producer_id, enum batch_codec codec)
{
    struct batch_builder builder;
    struct batch_options options = BATCH_OPTIONS_DEFAULT;
    options.base_offset = bench->next_offset;
    options.codec = codec;
    if (producer_id >= 0) {
        options.is_transactional = true;
        options.producer_id = producer_id;
        options.producer_epoch = 0;
        options.base_sequence = 0;
    }
    batch_builder_init(&builder, 1 << 20);
    batch_builder_begin(&builder, &options);
    for (const char *value = values; *value != '\0'; value++) {
        assert_int_equal(batch_builder_add(&builder, 1000, SPAN_NULL, span_make(value, 1), NULL, 0), ERR_OK);
        bench->next_offset++;
    }
    assert_int_equal(batch_builder_finish(&builder, &bench->log), ERR_OK);
    batch_builder_done(&builder);
}

static void add_marker(struct bench *bench, int64_t producer_id, enum control_type type)
{
    size_t begin_pos = bench->log.bytes;
    struct control_marker marker = {.type = type};
    assert_int_equal(control_batch_build(marker, producer_id, 0, 1000, &bench->log), ERR_OK);
    batch_stamp(bench->log.data + begin_pos, bench->next_offset, 0);
    bench->next_offset++;
}

static void take(struct bench *bench, struct fetch_response_aborted_transaction *aborted, size_t aborted_count)
{
    struct fetch_response_partition_data answer = {
        .partition_index = 5,
        .aborted_transactions = aborted,
        .aborted_transactions_count = aborted_count,
        .records = {.bytes = bytebuf_span(&bench->log)},
    };
    consume_records_take(&bench->fetch, &bench->partition, &answer);
}

static void records_of_every_codec_are_seen(void **state)
{
    struct bench *bench = *state;
    add_batch(bench, "ab", -1, BATCH_CODEC_NONE);
    add_batch(bench, "c", -1, BATCH_CODEC_GZIP);
    add_batch(bench, "de", -1, BATCH_CODEC_SNAPPY);
    add_batch(bench, "f", -1, BATCH_CODEC_LZ4);
    add_batch(bench, "g", -1, BATCH_CODEC_ZSTD);
    take(bench, NULL, 0);
    assert_string_equal(bench->seen, "0:a 1:b 2:c 3:d 4:e 5:f 6:g ");
    assert_int_equal(bench->partition.next_offset, 7);
    assert_false(bench->fetch.has_failed);
}

/* A batch comes whole, whichever offset was asked for. */
static void records_outside_of_what_is_wanted_are_skipped(void **state)
{
    struct bench *bench = *state;
    add_batch(bench, "abcdef", -1, BATCH_CODEC_NONE);
    bench->partition.next_offset = 2;
    bench->partition.end_offset = 4;
    take(bench, NULL, 0);
    assert_string_equal(bench->seen, "2:c 3:d ");
    assert_true(bench->partition.next_offset >= bench->partition.end_offset);
}

static void it_ends_when_there_is_enough(void **state)
{
    struct bench *bench = *state;
    add_batch(bench, "abcdef", -1, BATCH_CODEC_NONE);
    bench->enough_count = 3;
    take(bench, NULL, 0);
    assert_string_equal(bench->seen, "0:a 1:b 2:c ");
    assert_true(bench->fetch.is_enough);
    assert_int_equal(bench->partition.next_offset, 3);
}

static void add_transactions(struct bench *bench)
{
    add_batch(bench, "a", 7, BATCH_CODEC_NONE);  /* 0: aborted */
    add_batch(bench, "b", 8, BATCH_CODEC_NONE);  /* 1: committed */
    add_batch(bench, "c", -1, BATCH_CODEC_NONE); /* 2: of no transaction */
    add_batch(bench, "d", 7, BATCH_CODEC_LZ4);   /* 3: aborted */
    add_marker(bench, 7, CONTROL_ABORT);         /* 4 */
    add_marker(bench, 8, CONTROL_COMMIT);        /* 5 */
    add_batch(bench, "e", 7, BATCH_CODEC_NONE);  /* 6: of the next transaction of 7, which is committed */
    add_marker(bench, 7, CONTROL_COMMIT);        /* 7 */
    add_batch(bench, "f", 8, BATCH_CODEC_NONE);  /* 8: aborted */
    add_marker(bench, 8, CONTROL_ABORT);         /* 9 */
}

static void control_records_are_never_seen(void **state)
{
    struct bench *bench = *state;
    add_transactions(bench);
    take(bench, NULL, 0);
    assert_string_equal(bench->seen, "0:a 1:b 2:c 3:d 6:e 8:f ");
    assert_int_equal(bench->partition.next_offset, 10);
}

static void aborted_records_are_not_seen_by_those_who_read_committed(void **state)
{
    struct bench *bench = *state;
    struct fetch_response_aborted_transaction aborted[] = {{.producer_id = 8, .first_offset = 8},
                                                           {.producer_id = 7, .first_offset = 0}};
    add_transactions(bench);
    bench->fetch.isolation = ISOLATION_READ_COMMITTED;
    take(bench, aborted, 2);
    assert_string_equal(bench->seen, "1:b 2:c 6:e ");
    assert_int_equal(bench->partition.next_offset, 10);
}

/* The last batch may be cut by the answer's maximum; that is no error as long as something came. */
static void a_cut_batch_waits_for_the_next_answer(void **state)
{
    struct bench *bench = *state;
    add_batch(bench, "ab", -1, BATCH_CODEC_NONE);
    add_batch(bench, "cd", -1, BATCH_CODEC_NONE);
    bench->log.bytes -= 3;
    take(bench, NULL, 0);
    assert_string_equal(bench->seen, "0:a 1:b ");
    assert_false(bench->fetch.has_failed);
    assert_int_equal(bench->partition.next_offset, 2);
}

static void damaged_bytes_are_told(void **state)
{
    struct bench *bench = *state;
    add_batch(bench, "ab", -1, BATCH_CODEC_NONE);
    add_batch(bench, "cd", -1, BATCH_CODEC_NONE);
    bench->log.data[bench->log.bytes - 2] ^= 1;
    take(bench, NULL, 0);
    assert_string_equal(bench->seen, "0:a 1:b ");
    assert_true(bench->fetch.has_failed);
    assert_string_equal(
        bench->fetch.problem,
        "partition 5, offset 2: the batch can't be read: stored or sent bytes fail their checksum or structure");
}

#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(records_of_every_codec_are_seen),
        BENCH_TEST(records_outside_of_what_is_wanted_are_skipped),
        BENCH_TEST(it_ends_when_there_is_enough),
        BENCH_TEST(control_records_are_never_seen),
        BENCH_TEST(aborted_records_are_not_seen_by_those_who_read_committed),
        BENCH_TEST(a_cut_batch_waits_for_the_next_answer),
        BENCH_TEST(damaged_bytes_are_told),
    };
    return cmocka_run_group_tests_name("consume_records", tests, NULL, NULL);
}

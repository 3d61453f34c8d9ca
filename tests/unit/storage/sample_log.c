/* sample_log DIR: writes a partition directory with everything in it that Kafka's dump tool can read: several segments, indexes,
 * idempotent and transactional producers, aborted transactions, compressed batches, a snapshot. For test_dump_log.
 */
#include "common/posix/posix_env.h"
#include "tests/unit/storage/log_harness.h"

#include <stdio.h>

#define BATCHES 600

static void must(enum err err, const char *what, const struct harness *harness)
{
    if (err != ERR_OK) {
        (void)fprintf(stderr, "%s: %s %s\n", what, err_name(err), harness->problem.text);
        exit(1);
    }
}

static void append(struct harness *harness, const struct batch_wish *wish)
{
    struct append_result result;
    must(harness_append(harness, wish, &result), "append", harness);
    CHECK(result.refusal == APPEND_ACCEPTED);
}

static void append_all(struct harness *harness)
{
    static const enum batch_codec codecs[] = {BATCH_CODEC_NONE, BATCH_CODEC_GZIP, BATCH_CODEC_SNAPPY, BATCH_CODEC_LZ4,
                                              BATCH_CODEC_ZSTD};
    int32_t sequence = 0;
    bool is_open = false;
    for (int32_t i = 0; i < BATCHES; i++) {
        harness->clock.wall_ms += 10;
        struct batch_wish wish = {.record_count = 1 + i % 5,
                                  .value_bytes = (size_t)(i % 7) * 40,
                                  .timestamp_ms = harness->clock.wall_ms,
                                  .codec = codecs[i % 5],
                                  .leader_epoch = 1,
                                  .content = (uint64_t)i};
        if (i % 4 == 1) {
            wish.producer_id = 4001;
            wish.is_transactional = true;
            wish.base_sequence = sequence;
            sequence += wish.record_count;
            is_open = true;
        }
        append(harness, &wish);
        if (i % 40 == 39 && is_open) {
            struct batch_wish marker = {.producer_id = 4001, .leader_epoch = 1, .timestamp_ms = harness->clock.wall_ms};
            marker.is_abort = i % 80 == 39;
            marker.is_commit = !marker.is_abort;
            append(harness, &marker);
            is_open = false;
        }
    }
}

int main(int argc, char **argv)
{
    struct posix_env *posix = posix_env_new(LOG_ERROR);
    struct harness harness;
    CHECK(argc == 2);
    harness_init(&harness, NULL, posix->env.fs, argv[1]);
    harness.settings.segment_bytes = 40000;
    harness.settings.index_interval_bytes = 500;
    must(harness_start(&harness), "start", &harness);
    must(harness_create(&harness), "create", &harness);
    must(harness_begin_epoch(&harness, 1), "epoch", &harness);
    append_all(&harness);
    harness_pump(&harness);
    partition_log_set_high_watermark(harness.log, partition_log_end_offset(harness.log));
    must(harness_stop(&harness, true), "stop", &harness);
    harness_done(&harness);
    posix_env_free(posix);
    return 0;
}

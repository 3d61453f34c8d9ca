/* record_support: what the tests of record batches share: batches of random records, and a look at their verdicts.
 *
 * Ownership: the caller frees every bytebuf with bytebuf_done.
 * Threads:   tests only.
 */
#ifndef TESTS_UNIT_RECORD_RECORD_SUPPORT_H
#define TESTS_UNIT_RECORD_RECORD_SUPPORT_H

#include "proto/record/build.h"
#include "proto/record/validate.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TEST_NOW_MS INT64_C(1700000000000)
#define TEST_BYTES_MAX (80u << 20)

static const struct batch_policy policy_any = {
    .batch_bytes_max = BATCH_BYTES_MAX,
    .is_zstd_allowed = true,
    .now_ms = TEST_NOW_MS,
    .timestamp_before_ms_max = INT64_MAX,
    .timestamp_after_ms_max = INT64_MAX,
};

/* A batch of one record, "key" -> "value", with an option of the caller's. */
static inline void small_batch(const struct batch_options *options, struct bytebuf *ret_bytes)
{
    struct batch_builder builder;
    struct record_header header = {span_text("h"), SPAN_NULL};

    bytebuf_init(ret_bytes, TEST_BYTES_MAX);
    batch_builder_init(&builder, TEST_BYTES_MAX);
    batch_builder_begin(&builder, options);
    assert_int_equal(batch_builder_add(&builder, TEST_NOW_MS, span_text("key"), span_text("value"), &header, 1),
                     ERR_OK);
    assert_int_equal(batch_builder_add(&builder, TEST_NOW_MS + 3, SPAN_NULL, span_text("second"), NULL, 0), ERR_OK);
    assert_int_equal(batch_builder_finish(&builder, ret_bytes), ERR_OK);
    batch_builder_done(&builder);
}

/* Complete a header around `records`, which may be anything, with a right CRC. */
static inline void batch_around(struct span records, enum batch_codec codec, int32_t record_count,
                                struct bytebuf *ret_bytes)
{
    uint8_t zeros[BATCH_HEADER_BYTES] = {0};
    struct batch_header header = {
        .batch_bytes = BATCH_HEADER_BYTES + records.bytes,
        .partition_leader_epoch = -1,
        .attributes = (uint16_t)codec,
        .last_offset_delta = record_count - 1,
        .base_timestamp_ms = TEST_NOW_MS,
        .max_timestamp_ms = TEST_NOW_MS,
        .producer_id = -1,
        .producer_epoch = -1,
        .base_sequence = -1,
        .record_count = record_count,
    };

    bytebuf_init(ret_bytes, TEST_BYTES_MAX);
    assert_int_equal(bytebuf_append(ret_bytes, span_make(zeros, sizeof(zeros))), ERR_OK);
    assert_int_equal(bytebuf_append(ret_bytes, records), ERR_OK);
    batch_header_write(ret_bytes->data, &header);
}

static inline struct batch_report report_of(struct span bytes, const struct batch_policy *policy)
{
    struct decompressor *decompressor = decompressor_new();
    struct batch batch;
    struct batch_report report;

    batch_validate(bytes, policy, decompressor, &batch, &report);
    decompressor_free(decompressor);
    return report;
}

static inline enum batch_problem problem_of(struct span bytes)
{
    return report_of(bytes, &policy_any).problem;
}

/* Bytes that compress somewhat. */
static inline void fill_random(struct prop *prop, uint8_t *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        to[i] = i >= 8 && prop_u64(prop) % 4 != 0 ? to[i - 8] : (uint8_t)prop_u64(prop);
    }
}

#endif

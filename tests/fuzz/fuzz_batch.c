/* fuzz_batch: bytes that claim to be a produced batch: parse, validate, walk, decompress, iterate, control records.
 *
 * Input:     byte 0: bit 0 repairs length, magic, base offset and CRC first (or else no mutation gets past the CRC), bits
 *            1-3 are the policy; the rest is the field's bytes.
 * Asserts:   the two readers of the record format, iter and walk, agree on a batch that was found good: it decompresses, and has all its records.
 */
#include "common/big_endian.h"
#include "common/mem.h"
#include "proto/record/control.h"
#include "proto/record/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void repair(uint8_t *data, size_t bytes)
{
    struct batch_header header;

    if (bytes < BATCH_HEADER_BYTES) {
        return;
    }
    be64_put(data, 0);
    be32_put(data + 8, (uint32_t)(bytes - BATCH_LENGTH_OVERHEAD_BYTES));
    data[16] = BATCH_MAGIC;
    if (batch_header_parse(span_make(data, bytes), &header) == ERR_OK) {
        batch_header_write(data, &header);
    }
}

/* A good batch must read back to its last record; anything else must merely not do harm. */
static void iterate(const struct batch *batch, struct decompressor *decompressor, bool is_good)
{
    struct bytebuf plain;
    struct span records;
    struct record_iter iter;
    struct record record;
    struct control_marker marker;

    bytebuf_init(&plain, DECOMPRESS_BYTES_MAX);
    enum err err = batch_records_plain(batch, decompressor, &plain, &records);
    CHECK(!is_good || err == ERR_OK);
    if (err == ERR_OK) {
        record_iter_init(&iter, &batch->header, records);
        while ((err = record_iter_next(&iter, &record)) == ERR_OK) {
            struct span rest = record.header_bytes;
            struct record_header header;
            while (record_header_next(&rest, &header) == ERR_OK) {
            }
            CHECK(rest.bytes == 0);
            (void)!control_marker_parse(record.key, record.value, &marker);
        }
        CHECK(!is_good || err == ERR_END);
    }
    (void)!control_batch_parse(batch, &marker);
    bytebuf_done(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    uint8_t flags = data[0];
    size_t batch_bytes = bytes - 1;
    uint8_t *copy = mem_alloc(batch_bytes + 1);
    memcpy(copy, data + 1, batch_bytes);
    if ((flags & 1u) != 0) {
        repair(copy, batch_bytes);
    }

    const struct batch_policy policy = {
        .batch_bytes_max = BATCH_BYTES_MAX,
        .compressed_validation = (flags & 2u) != 0 ? COMPRESSED_VALIDATE_HEADER : COMPRESSED_VALIDATE_RECORDS,
        .is_zstd_allowed = true,
        .is_key_required = (flags & 4u) != 0,
        .is_append_time = (flags & 8u) != 0,
        .now_ms = INT64_C(1700000000000),
        .timestamp_before_ms_max = INT64_MAX,
        .timestamp_after_ms_max = 3600000,
    };
    struct decompressor *decompressor = decompressor_new();
    struct batch_report report;
    struct batch batch;
    batch_validate(span_make(copy, batch_bytes), &policy, decompressor, &batch, &report);
    bool is_good = report.problem == BATCH_GOOD && report.is_walked;
    struct span rest = span_make(copy, batch_bytes);
    while (batch_next(&rest, &batch) == ERR_OK) {
        iterate(&batch, decompressor, is_good);
    }
    decompressor_free(decompressor);
    mem_free(copy);
    return 0;
}

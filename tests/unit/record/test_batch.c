/* The header of a batch: what is parsed, what is refused, what a stamp changes, and that no damage goes unseen. */
#include "common/crc32c.h"
#include "common/varint.h"
#include "tests/unit/record/record_support.h"

static void crc_has_the_usual_convention(void **state)
{
    (void)state;
    struct span digits = span_text("123456789");

    assert_int_equal(crc32c(0, digits), 0xe3069283u);
    assert_int_equal(crc32c(0, SPAN_NULL), 0);
    for (size_t cut = 0; cut <= digits.bytes; cut++) {
        uint32_t front = crc32c(0, span_sub(digits, 0, cut));
        assert_int_equal(crc32c(front, span_sub(digits, cut, digits.bytes - cut)), 0xe3069283u);
    }
}

static void varints_survive_and_are_bounded(void **state)
{
    (void)state;
    struct prop prop;
    uint8_t bytes[VARINT64_BYTES_MAX];

    prop_init(&prop, __func__, 1);
    for (uint64_t run = prop_runs(20000); run > 0; run--) {
        uint64_t value = prop_skewed(&prop, UINT64_MAX);
        uint64_t got = 0;
        size_t put_bytes = uvarint64_put(bytes, value);
        assert_int_equal(put_bytes, uvarint64_bytes(value));
        assert_int_equal(uvarint64_get(bytes, bytes + put_bytes, &got), put_bytes);
        assert_true(got == value);
        assert_int_equal(uvarint64_get(bytes, bytes + put_bytes - 1, &got), 0);
        uint32_t got32 = 0;
        assert_int_equal(uvarint32_get(bytes, bytes + put_bytes, &got32), value <= UINT32_MAX ? put_bytes : 0);
        assert_true(unzigzag64(zigzag64((int64_t)value)) == (int64_t)value);
        assert_int_equal(unzigzag32(zigzag32((int32_t)value)), (int32_t)value);
    }
    memset(bytes, 0xff, sizeof(bytes));
    uint64_t got = 0;
    assert_int_equal(uvarint64_get(bytes, bytes + sizeof(bytes), &got), 0);
    assert_true(zigzag64(INT64_MIN) == UINT64_MAX && zigzag64(-1) == 1 && zigzag32(1) == 2);
}

static void parse_gives_every_field(void **state)
{
    (void)state;
    struct batch_options options = {
        .base_offset = INT64_C(0x0102030405060708),
        .partition_leader_epoch = 0x11121314,
        .codec = BATCH_CODEC_NONE,
        .is_transactional = true,
        .is_control = true,
        .is_append_time = true,
        .producer_id = INT64_C(0x2122232425262728),
        .producer_epoch = 0x3132,
        .base_sequence = 0x41424344,
    };
    struct bytebuf bytes;
    struct batch batch;

    small_batch(&options, &bytes);
    assert_int_equal(batch_parse(bytebuf_span(&bytes), &batch), ERR_OK);
    const struct batch_header *header = &batch.header;
    assert_true(header->base_offset == options.base_offset && header->producer_id == options.producer_id);
    assert_int_equal(header->partition_leader_epoch, options.partition_leader_epoch);
    assert_int_equal(header->producer_epoch, options.producer_epoch);
    assert_int_equal(header->base_sequence, options.base_sequence);
    assert_int_equal(header->batch_bytes, bytes.bytes);
    assert_int_equal(header->record_count, 2);
    assert_int_equal(header->last_offset_delta, 1);
    assert_true(header->base_timestamp_ms == TEST_NOW_MS && header->max_timestamp_ms == TEST_NOW_MS + 3);
    assert_true(batch_is_transactional(header) && batch_is_control(header) && batch_has_append_time(header));
    assert_false(batch_has_delete_horizon(header));
    assert_true(batch_next_offset(header) == options.base_offset + 2);
    assert_int_equal(batch_last_sequence(header), 0x41424345);
    assert_int_equal(batch_check_crc(&batch), ERR_OK);
    bytebuf_done(&bytes);
}

static void a_cut_batch_is_incomplete_at_every_byte(void **state)
{
    (void)state;
    struct bytebuf bytes;
    struct batch batch;
    size_t batch_bytes = 0;

    small_batch(&BATCH_OPTIONS_DEFAULT, &bytes);
    struct span whole = bytebuf_span(&bytes);
    for (size_t cut = 0; cut < whole.bytes; cut++) {
        struct span part = span_sub(whole, 0, cut);
        assert_int_equal(batch_parse(part, &batch), cut == 0 ? ERR_END : ERR_INCOMPLETE);
        assert_int_equal(problem_of(part), cut == 0 ? BATCH_MISSING : BATCH_CUT_SHORT);
        enum err err = batch_peek(part, &batch_bytes);
        assert_int_equal(err, cut == 0 ? ERR_END : cut < BATCH_PREFIX_BYTES ? ERR_INCOMPLETE : ERR_OK);
    }
    assert_int_equal(batch_bytes, whole.bytes);
    bytebuf_done(&bytes);
}

/* Base offset, length, epoch and magic lie outside of the CRC: a flip there is seen, or harmless because stamped over. */
static void every_flipped_bit_is_seen(void **state)
{
    (void)state;
    struct bytebuf bytes;

    small_batch(&BATCH_OPTIONS_DEFAULT, &bytes);
    for (size_t bit = 0; bit < bytes.bytes * 8; bit++) {
        size_t pos = bit / 8;
        bytes.data[pos] ^= (uint8_t)(1u << (bit % 8));
        enum batch_problem problem = problem_of(bytebuf_span(&bytes));
        if (pos < 8) {
            assert_int_equal(problem, BATCH_BASE_OFFSET_WRONG);
        } else if (pos >= 12 && pos < 16) {
            assert_int_equal(problem, BATCH_GOOD);
        } else if (pos >= 17) {
            assert_int_equal(problem, BATCH_CRC_WRONG);
        } else {
            assert_int_not_equal(problem, BATCH_GOOD);
        }
        bytes.data[pos] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(problem_of(bytebuf_span(&bytes)), BATCH_GOOD);
    bytebuf_done(&bytes);
}

static void stamps_change_what_they_say_and_keep_the_crc(void **state)
{
    (void)state;
    struct bytebuf bytes;
    struct batch batch;

    small_batch(&BATCH_OPTIONS_DEFAULT, &bytes);
    batch_stamp(bytes.data, 1234567890123, 7);
    assert_int_equal(batch_parse(bytebuf_span(&bytes), &batch), ERR_OK);
    assert_int_equal(batch_check_crc(&batch), ERR_OK);
    assert_true(batch.header.base_offset == 1234567890123 && batch.header.partition_leader_epoch == 7);

    batch_stamp_max_timestamp(bytes.data, bytes.bytes, 99);
    assert_int_equal(batch_parse(bytebuf_span(&bytes), &batch), ERR_OK);
    assert_int_equal(batch_check_crc(&batch), ERR_OK);
    assert_true(batch.header.max_timestamp_ms == 99 && !batch_has_append_time(&batch.header));

    batch_stamp_append_time(bytes.data, bytes.bytes, 100);
    assert_int_equal(batch_parse(bytebuf_span(&bytes), &batch), ERR_OK);
    assert_int_equal(batch_check_crc(&batch), ERR_OK);
    assert_true(batch.header.max_timestamp_ms == 100 && batch_has_append_time(&batch.header));
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, &batch.header, batch_records(&batch));
    assert_int_equal(record_iter_next(&iter, &record), ERR_OK);
    assert_true(record.timestamp_ms == 100 && record.offset == 1234567890123);
    bytebuf_done(&bytes);
}

static void consecutive_batches_are_walked(void **state)
{
    (void)state;
    struct bytebuf all;
    struct bytebuf one;
    struct batch batch;

    bytebuf_init(&all, TEST_BYTES_MAX);
    small_batch(&BATCH_OPTIONS_DEFAULT, &one);
    for (int i = 0; i < 3; i++) {
        batch_stamp(one.data, i * 2, 1);
        assert_int_equal(bytebuf_append(&all, bytebuf_span(&one)), ERR_OK);
    }
    struct span rest = bytebuf_span(&all);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(batch_next(&rest, &batch), ERR_OK);
        assert_true(batch.header.base_offset == i * 2);
    }
    assert_int_equal(batch_next(&rest, &batch), ERR_END);
    assert_int_equal(problem_of(bytebuf_span(&all)), BATCH_NOT_ALONE);
    bytebuf_done(&all);
    bytebuf_done(&one);
}

static void impossible_headers_are_malformed(void **state)
{
    (void)state;
    static const struct {
        size_t pos;
        uint8_t bytes[4];
        enum err err;
        enum batch_problem problem;
    } cases[] = {
        {8, {0, 0, 0, 13}, ERR_MALFORMED, BATCH_LENGTH_IMPOSSIBLE},
        {8, {0, 0, 0, 48}, ERR_MALFORMED, BATCH_LENGTH_IMPOSSIBLE},
        {8, {0xff, 0xff, 0xff, 0xff}, ERR_MALFORMED, BATCH_LENGTH_IMPOSSIBLE},
        {8, {0x7f, 0xff, 0xff, 0xff}, ERR_MALFORMED, BATCH_LENGTH_IMPOSSIBLE},
        {13, {0, 0, 0, 0}, ERR_UNSUPPORTED, BATCH_MAGIC_OLD},
        {13, {0, 0, 0, 1}, ERR_UNSUPPORTED, BATCH_MAGIC_OLD},
        {13, {0, 0, 0, 3}, ERR_MALFORMED, BATCH_LENGTH_IMPOSSIBLE},
        {0, {0x80, 0, 0, 0}, ERR_MALFORMED, BATCH_BASE_OFFSET_WRONG},
        {0, {0x7f, 0xff, 0xff, 0xff}, ERR_OK, BATCH_BASE_OFFSET_WRONG},
        {23, {0x80, 0, 0, 0}, ERR_MALFORMED, BATCH_CRC_WRONG},
        {57, {0xff, 0xff, 0xff, 0xff}, ERR_MALFORMED, BATCH_CRC_WRONG},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bytebuf bytes;
        struct batch batch;
        small_batch(&BATCH_OPTIONS_DEFAULT, &bytes);
        memcpy(bytes.data + cases[i].pos, cases[i].bytes, sizeof(cases[i].bytes));
        assert_int_equal(batch_parse(bytebuf_span(&bytes), &batch), cases[i].err);
        assert_int_equal(problem_of(bytebuf_span(&bytes)), cases[i].problem);
        bytebuf_done(&bytes);
    }
}

static void sequences_wrap_to_zero(void **state)
{
    (void)state;
    assert_int_equal(batch_sequence_add(INT32_MAX, 1), 0);
    assert_int_equal(batch_sequence_add(INT32_MAX - 1, 1), INT32_MAX);
    assert_int_equal(batch_sequence_add(INT32_MAX, INT32_MAX), INT32_MAX - 1);
    assert_int_equal(batch_sequence_add(0, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_has_the_usual_convention),
        cmocka_unit_test(varints_survive_and_are_bounded),
        cmocka_unit_test(parse_gives_every_field),
        cmocka_unit_test(a_cut_batch_is_incomplete_at_every_byte),
        cmocka_unit_test(every_flipped_bit_is_seen),
        cmocka_unit_test(stamps_change_what_they_say_and_keep_the_crc),
        cmocka_unit_test(consecutive_batches_are_walked),
        cmocka_unit_test(impossible_headers_are_malformed),
        cmocka_unit_test(sequences_wrap_to_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

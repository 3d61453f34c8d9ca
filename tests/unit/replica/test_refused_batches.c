/* What comes behind a refused batch of the same producer is refused as well, until that one has come again. */
#include "broker/replica/refused_batches.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NOW_US 7000000u
#define PRODUCER 77
#define EPOCH 3

struct header_bytes {
    uint8_t data[BATCH_HEADER_BYTES];
};

static void put(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    }
}

static struct header_bytes encode(int64_t producer_id, int16_t producer_epoch, int32_t base_sequence)
{
    struct header_bytes bytes = {{0}};
    put(bytes.data + 8, BATCH_HEADER_BYTES - BATCH_LENGTH_OVERHEAD_BYTES, 4);
    bytes.data[16] = BATCH_MAGIC;
    put(bytes.data + 43, (uint64_t)producer_id, 8);
    put(bytes.data + 51, (uint16_t)producer_epoch, 2);
    put(bytes.data + 53, (uint32_t)base_sequence, 4);
    return bytes;
}

static void note(struct refused_batches *refused, int64_t producer_id, int32_t base_sequence, enum error_code error,
                 uint64_t now_us)
{
    struct header_bytes bytes = encode(producer_id, EPOCH, base_sequence);
    refused_batches_note(refused, span_make(bytes.data, sizeof(bytes.data)), error, now_us);
}

/* The log expects `next_sequence`, -1: knows nothing of the producer. */
static enum error_code ask(struct refused_batches *refused, int32_t base_sequence, int32_t next_sequence,
                           uint64_t now_us)
{
    struct batch_header header = {.producer_id = PRODUCER, .producer_epoch = EPOCH, .base_sequence = base_sequence};
    return refused_batches_behind(refused, &header, next_sequence >= 0, next_sequence, now_us);
}

static void test_what_comes_behind_waits(void **state)
{
    (void)state;
    struct refused_batches refused = {0};
    assert_int_equal(ask(&refused, 14, 10, NOW_US), ERROR_NONE);
    note(&refused, PRODUCER, 10, ERROR_NOT_LEADER_OR_FOLLOWER, NOW_US);
    assert_int_equal(ask(&refused, 14, 10, NOW_US), ERROR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(ask(&refused, 9, 10, NOW_US), ERROR_NONE);  /* an earlier one, again: the log knows it */
    assert_int_equal(ask(&refused, 14, 12, NOW_US), ERROR_NONE); /* what it lacks was not refused here */
    note(&refused, PRODUCER, 14, ERROR_NOT_LEADER_OR_FOLLOWER, NOW_US);
    assert_int_equal(ask(&refused, 10, 10, NOW_US), ERROR_NONE);                   /* it has come again */
    assert_int_equal(ask(&refused, 20, 14, NOW_US), ERROR_NOT_LEADER_OR_FOLLOWER); /* before the second has */
    assert_int_equal(ask(&refused, 14, 14, NOW_US), ERROR_NONE);
    assert_int_equal(ask(&refused, 20, 14, NOW_US), ERROR_NONE);
    assert_null(refused.rows);
}

static void test_an_unknown_producer_begins_with_what_was_refused(void **state)
{
    (void)state;
    struct refused_batches refused = {0};
    note(&refused, PRODUCER, 0, ERROR_NOT_ENOUGH_REPLICAS, NOW_US);
    assert_int_equal(ask(&refused, 5, -1, NOW_US), ERROR_NOT_ENOUGH_REPLICAS);
    assert_int_equal(ask(&refused, 0, -1, NOW_US), ERROR_NONE);
    note(&refused, PRODUCER, INT32_MAX - 1, ERROR_NOT_ENOUGH_REPLICAS, NOW_US); /* sequences go on at 0 */
    assert_int_equal(ask(&refused, 1, -1, NOW_US), ERROR_NOT_ENOUGH_REPLICAS);
    assert_int_equal(ask(&refused, INT32_MAX - 5, -1, NOW_US), ERROR_NONE);
    refused_batches_done(&refused);
}

static void test_others_and_what_is_over_do_not_count(void **state)
{
    (void)state;
    struct refused_batches refused = {0};
    note(&refused, PRODUCER + 1, 10, ERROR_NOT_LEADER_OR_FOLLOWER, NOW_US);
    note(&refused, BATCH_NO_PRODUCER_ID, 10, ERROR_NOT_LEADER_OR_FOLLOWER, NOW_US);
    refused_batches_note(&refused, span_make("short", 5), ERROR_NOT_LEADER_OR_FOLLOWER, NOW_US);
    assert_int_equal(ask(&refused, 14, 10, NOW_US), ERROR_NONE);
    note(&refused, PRODUCER, 10, ERROR_NOT_LEADER_OR_FOLLOWER, NOW_US);
    assert_int_equal(ask(&refused, 14, 10, NOW_US + REFUSED_BATCH_US - 1), ERROR_NOT_LEADER_OR_FOLLOWER);
    note(&refused, PRODUCER, 14, ERROR_NOT_LEADER_OR_FOLLOWER, NOW_US + REFUSED_BATCH_US - 1);
    assert_int_equal(ask(&refused, 14, 10, NOW_US + REFUSED_BATCH_US), ERROR_NONE); /* it gave the first one up */
    refused_batches_done(&refused);
}

static void test_the_oldest_makes_room(void **state)
{
    (void)state;
    struct refused_batches refused = {0};
    note(&refused, PRODUCER, 10, ERROR_NOT_LEADER_OR_FOLLOWER, NOW_US);
    for (unsigned i = 0; i + 1 < REFUSED_BATCHES_MAX; i++) {
        note(&refused, PRODUCER + 1 + i, 10, ERROR_NOT_LEADER_OR_FOLLOWER, NOW_US + 1);
    }
    assert_int_equal(ask(&refused, 14, 10, NOW_US + 1), ERROR_NOT_LEADER_OR_FOLLOWER);
    note(&refused, PRODUCER + REFUSED_BATCHES_MAX, 10, ERROR_NOT_LEADER_OR_FOLLOWER, NOW_US + 1);
    assert_int_equal(ask(&refused, 14, 10, NOW_US + 1), ERROR_NONE);
    refused_batches_done(&refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_comes_behind_waits),
        cmocka_unit_test(test_an_unknown_producer_begins_with_what_was_refused),
        cmocka_unit_test(test_others_and_what_is_over_do_not_count),
        cmocka_unit_test(test_the_oldest_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

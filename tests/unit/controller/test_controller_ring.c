/* The ring of committed entries: what it finds, what it forgets. */
#include "common/mem.h"
#include "controller/controller_ring.h"
#include "controller/image_apply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* The image that an activation of node 1 at `index` makes of `before`; drops it. */
static struct image *next_image(const struct image *before, int64_t index, struct bytebuf *ret_bytes)
{
    struct arena arena;
    struct meta_records records;
    struct image *after = NULL;
    bool is_applied = false;
    arena_init(&arena, 0);
    meta_records_init(&records, &arena);
    meta_add_activation(&records, 1, 0);
    bytebuf_clear(ret_bytes);
    assert_int_equal(meta_pack(&records, 0, 1, image_controller_epoch(before), ret_bytes), ERR_OK);
    assert_int_equal(image_apply(before, index, 1, bytebuf_span(ret_bytes), &after, &is_applied), ERR_OK);
    assert_true(is_applied);
    image_unref(before);
    arena_done(&arena);
    return after;
}

static void test_finds_and_forgets(void **state)
{
    (void)state;
    struct controller_ring ring;
    struct bytebuf bytes;
    bytebuf_init(&bytes, META_BATCH_BYTES_MAX);
    controller_ring_init(&ring);
    const struct image *image = image_new_empty();
    assert_int_equal(controller_ring_offset(&ring), 0);
    assert_int_equal(controller_ring_above(&ring, 0), 0);
    uint8_t hash_of_20[IMAGE_HASH_BYTES] = {0};
    /* Sparse offsets: every tenth. */
    for (int64_t index = 10; index <= 1000; index += 10) {
        image = next_image(image, index, &bytes);
        controller_ring_append(&ring, image, 1, bytebuf_span(&bytes));
        if (index == 20) {
            memcpy(hash_of_20, image_hash(image), IMAGE_HASH_BYTES);
        }
    }
    assert_int_equal(ring.count, 100);
    assert_int_equal(controller_ring_offset(&ring), 1000);
    assert_int_equal(controller_ring_at(&ring, controller_ring_above(&ring, 20))->index, 30);
    assert_int_equal(controller_ring_at(&ring, controller_ring_above(&ring, 25))->index, 30);
    assert_int_equal(controller_ring_above(&ring, 1000), 100);
    assert_memory_equal(controller_ring_hash(&ring, 20), hash_of_20, IMAGE_HASH_BYTES);
    assert_memory_equal(controller_ring_hash(&ring, 1000), image_hash(image), IMAGE_HASH_BYTES);
    assert_null(controller_ring_hash(&ring, 25));
    assert_null(controller_ring_hash(&ring, 1010));
    assert_int_equal(controller_ring_at(&ring, 99)->end_bytes, ring.total_bytes);

    controller_ring_reset(&ring, image);
    assert_int_equal(ring.count, 0);
    assert_int_equal(controller_ring_offset(&ring), 1000);
    assert_memory_equal(controller_ring_hash(&ring, 1000), image_hash(image), IMAGE_HASH_BYTES);
    assert_null(controller_ring_hash(&ring, 990));
    controller_ring_done(&ring);
    image_unref(image);
    bytebuf_done(&bytes);
}

static void test_is_bounded_by_entries_and_bytes(void **state)
{
    (void)state;
    struct controller_ring ring;
    struct bytebuf bytes;
    bytebuf_init(&bytes, META_BATCH_BYTES_MAX);
    controller_ring_init(&ring);
    const struct image *image = image_new_empty();
    int64_t index = 0;
    for (uint32_t i = 0; i < CONTROLLER_RING_ENTRIES_MAX + 10; i++) {
        image = next_image(image, ++index, &bytes);
        controller_ring_append(&ring, image, 1, bytebuf_span(&bytes));
    }
    assert_int_equal(ring.count, CONTROLLER_RING_ENTRIES_MAX);
    assert_int_equal(ring.base_offset, 10);
    assert_int_equal(controller_ring_at(&ring, 0)->index, 11);
    assert_non_null(controller_ring_hash(&ring, 10));
    assert_null(controller_ring_hash(&ring, 9));
    /* Large entries push all small ones out. */
    size_t large_bytes = 1u << 20;
    uint8_t *large = (uint8_t *)mem_zalloc(large_bytes);
    for (int i = 0; i < 20; i++) {
        image = next_image(image, ++index, &bytes);
        controller_ring_append(&ring, image, 1, span_make(large, large_bytes));
        assert_true(ring.total_bytes - ring.base_bytes <= CONTROLLER_RING_BYTES_MAX);
    }
    assert_int_equal(ring.count, CONTROLLER_RING_BYTES_MAX / large_bytes);
    assert_int_equal(controller_ring_offset(&ring), index);
    mem_free(large);
    controller_ring_done(&ring);
    image_unref(image);
    bytebuf_done(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_and_forgets),
        cmocka_unit_test(test_is_bounded_by_entries_and_bytes),
    };
    return cmocka_run_group_tests_name("controller_ring", tests, NULL, NULL);
}

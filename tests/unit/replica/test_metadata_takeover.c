/* Two processes with one node id, one of them stopped for a while and then continued: it may not lead by metadata that means the other.
 */
#include "broker/meta/metadata_follow.h"
#include "tests/unit/controller/image_support.h"

#include <cmocka.h>

#define NODE_ID 2

static void metadata_of_another_process_is_not_shown(void **state)
{
    struct state meta;
    (void)state;
    state_init(&meta);
    state_add_broker(&meta, 1, NULL, 1);
    assert_false(metadata_is_for_process(meta.image, NODE_ID, -1)); /* nobody has registered */
    state_add_broker(&meta, NODE_ID, NULL, 1);
    int64_t first_epoch = image_find_broker(meta.image, NODE_ID)->epoch;
    assert_true(metadata_is_for_process(meta.image, NODE_ID, first_epoch));
    state_add_broker(&meta, 3, NULL, 1); /* what others do changes nothing */
    assert_true(metadata_is_for_process(meta.image, NODE_ID, first_epoch));

    struct image_broker other = *image_find_broker(meta.image, NODE_ID);
    other.incarnation_id = id_of(5000);
    other.epoch = 0; /* given by its place in the log */
    meta_add_broker(&meta.records, &other, first_epoch);
    state_commit(&meta);
    assert_true(meta.is_applied);
    int64_t second_epoch = image_find_broker(meta.image, NODE_ID)->epoch;
    assert_true(second_epoch > first_epoch);
    assert_false(metadata_is_for_process(meta.image, NODE_ID, first_epoch));
    assert_true(metadata_is_for_process(meta.image, NODE_ID, second_epoch));

    meta_add_broker_state(&meta.records, NODE_ID, second_epoch, true, false); /* only a fenced one can be removed */
    meta_add_broker_removed(&meta.records, NODE_ID, second_epoch);
    state_commit(&meta);
    assert_true(meta.is_applied);
    assert_false(metadata_is_for_process(meta.image, NODE_ID, second_epoch));
    state_done(&meta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_of_another_process_is_not_shown),
    };
    return cmocka_run_group_tests_name("metadata_takeover", tests, NULL, NULL);
}

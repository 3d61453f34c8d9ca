/* Fetch sessions: epochs, what is remembered and forgotten, the order of serving, eviction. */
#include "broker/api/fetch_session.h"
#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <utlist.h>

#include <cmocka.h>

struct counting_rng {
    struct rng rng;
    uint64_t next;
};

static void counting_fill(struct rng *rng, void *ret_bytes, size_t bytes)
{
    struct counting_rng *counting = (struct counting_rng *)rng;
    assert_int_equal(bytes, sizeof(uint64_t));
    memcpy(ret_bytes, &counting->next, sizeof(uint64_t));
    counting->next += 7;
}

static const struct rng_ops counting_ops = {.fill = counting_fill};

struct fixture {
    struct counting_rng rng;
    struct fetch_session_cache *cache;
};

static int setup(void **state)
{
    struct fixture *fixture = MEM_NEW(struct fixture);
    fixture->rng.rng.ops = &counting_ops;
    fixture->cache = fetch_session_cache_new(&fixture->rng.rng, 1, 3, 2);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    fetch_session_cache_free(fixture->cache);
    mem_free(fixture);
    return 0;
}

static struct fetch_wish wish(const char *topic, int32_t partition_index, int64_t offset)
{
    return (struct fetch_wish){.name = {.topic_name = span_text(topic), .partition_index = partition_index},
                               .fetch_offset = offset,
                               .bytes_max = 1000};
}

static void ids_tell_the_home_worker_and_are_never_zero(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 2; i++) {
        struct fetch_session *session = fetch_session_add(fixture->cache, false, 0);
        assert_non_null(session);
        assert_true(session->id > 0);
        assert_int_equal(session->id % 3, 1);
        assert_ptr_equal(fetch_session_find(fixture->cache, session->id), session);
    }
}

static void only_the_next_epoch_resumes(void **state)
{
    struct fixture *fixture = *state;
    struct fetch_session *session = fetch_session_add(fixture->cache, false, 0);
    struct fetch_session *found = NULL;
    assert_int_equal(fetch_session_resume(fixture->cache, session->id, 2, false, 1, &found),
                     ERROR_INVALID_FETCH_SESSION_EPOCH);
    assert_int_equal(fetch_session_resume(fixture->cache, session->id, 1, true, 1, &found),
                     ERROR_FETCH_SESSION_TOPIC_ID_ERROR);
    assert_int_equal(fetch_session_resume(fixture->cache, session->id, 1, false, 1, &found), ERROR_NONE);
    assert_ptr_equal(found, session);
    assert_int_equal(fetch_session_resume(fixture->cache, session->id, 1, false, 1, &found),
                     ERROR_INVALID_FETCH_SESSION_EPOCH);
    session->next_epoch = INT32_MAX;
    assert_int_equal(fetch_session_resume(fixture->cache, session->id, INT32_MAX, false, 1, &found), ERROR_NONE);
    assert_int_equal(session->next_epoch, 1); /* 0 and -1 mean something else */
    assert_int_equal(fetch_session_resume(fixture->cache, session->id + 3, 1, false, 1, &found),
                     ERROR_FETCH_SESSION_ID_NOT_FOUND);
}

static void wishes_are_renewed_and_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct fetch_session *session = fetch_session_add(fixture->cache, false, 0);
    struct fetch_wish first = wish("orders", 0, 10);
    struct fetch_wish again = wish("orders", 0, 20);
    struct fetch_wish other = wish("orders", 1, 5);
    assert_true(fetch_session_put(session, &first));
    assert_true(fetch_session_put(session, &again));
    assert_true(fetch_session_put(session, &other));
    assert_int_equal(session->partition_count, 2);
    assert_int_equal(fetch_session_partition_find(session, &first.name)->wish.fetch_offset, 20);
    fetch_session_forget(session, &first.name);
    assert_int_equal(session->partition_count, 1);
    assert_null(fetch_session_partition_find(session, &first.name));
    fetch_session_forget(session, &first.name);
    assert_int_equal(session->partition_count, 1);
}

static void a_topic_id_and_a_name_are_different_partitions(void **state)
{
    struct fixture *fixture = *state;
    struct fetch_session *session = fetch_session_add(fixture->cache, true, 0);
    struct fetch_wish by_id = {.name = {.topic_id = {{1}}, .partition_index = 3}};
    struct fetch_wish other_id = {.name = {.topic_id = {{2}}, .partition_index = 3}};
    assert_true(fetch_session_put(session, &by_id));
    assert_null(fetch_session_partition_find(session, &other_id.name));
    assert_non_null(fetch_session_partition_find(session, &by_id.name));
}

static void what_returned_data_is_served_last(void **state)
{
    struct fixture *fixture = *state;
    struct fetch_session *session = fetch_session_add(fixture->cache, false, 0);
    for (int32_t i = 0; i < 3; i++) {
        struct fetch_wish each = wish("t", i, 0);
        assert_true(fetch_session_put(session, &each));
    }
    fetch_session_move_last(session, session->in_order);
    int32_t expected[] = {1, 2, 0};
    size_t at = 0;
    struct fetch_session_partition *partition = NULL;
    DL_FOREACH (session->in_order, partition) {
        assert_int_equal(partition->wish.name.partition_index, expected[at++]);
    }
    assert_int_equal(at, 3);
}

static void a_full_cache_gives_up_only_idle_sessions(void **state)
{
    struct fixture *fixture = *state;
    struct fetch_session *old = fetch_session_add(fixture->cache, false, 0);
    struct fetch_session *young = fetch_session_add(fixture->cache, false, FETCH_SESSION_IDLE_US / 2);
    int32_t old_id = old->id;
    int32_t young_id = young->id;
    assert_null(fetch_session_add(fixture->cache, false, FETCH_SESSION_IDLE_US - 1));
    assert_non_null(fetch_session_add(fixture->cache, false, FETCH_SESSION_IDLE_US));
    assert_null(fetch_session_find(fixture->cache, old_id));
    assert_non_null(fetch_session_find(fixture->cache, young_id));
    assert_int_equal(fetch_session_count(fixture->cache), 2);
}

static void a_name_that_no_topic_can_have_is_not_remembered(void **state)
{
    struct fixture *fixture = *state;
    struct fetch_session *session = fetch_session_add(fixture->cache, false, 0);
    char name[300];
    memset(name, 'x', sizeof(name));
    struct fetch_wish each = {.name = {.topic_name = span_make(name, sizeof(name))}};
    assert_false(fetch_session_put(session, &each));
    assert_null(fetch_session_partition_find(session, &each.name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ids_tell_the_home_worker_and_are_never_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(only_the_next_epoch_resumes, setup, teardown),
        cmocka_unit_test_setup_teardown(wishes_are_renewed_and_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(a_topic_id_and_a_name_are_different_partitions, setup, teardown),
        cmocka_unit_test_setup_teardown(what_returned_data_is_served_last, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_cache_gives_up_only_idle_sessions, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_that_no_topic_can_have_is_not_remembered, setup, teardown),
    };
    return cmocka_run_group_tests_name("fetch_session", tests, NULL, NULL);
}

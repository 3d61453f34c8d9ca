/* topic_support: creating topics in tests of decisions. */
#ifndef TESTS_UNIT_CONTROLLER_TOPIC_SUPPORT_H
#define TESTS_UNIT_CONTROLLER_TOPIC_SUPPORT_H

#include "controller/topic_control.h"
#include "tests/unit/controller/image_support.h"

static inline int16_t create(struct state *state, struct topic_wish wish, struct decision_result *ret_result)
{
    struct decision decision = state_decision(state, 5);
    struct topic_created created;
    uint32_t budget = TOPIC_PARTITIONS_PER_REQUEST_MAX;
    size_t count = state->records.count;
    *ret_result = (struct decision_result){0};
    wish.id = id_of(image_topic_count(state->image) + 1);
    if (topic_control_create(&decision, &wish, &budget, &created, ret_result)) {
        assert_int_equal(ret_result->code, ERROR_NONE);
        state_commit(state);
        assert_true(state->is_applied);
    } else {
        assert_int_equal(state->records.count, count); /* a refusal leaves nothing */
        assert_int_equal(budget, TOPIC_PARTITIONS_PER_REQUEST_MAX);
        assert_true(ret_result->message.bytes > 10);
    }
    return ret_result->code;
}

static inline void expect_create(struct state *state, struct topic_wish wish, int16_t code, const char *words)
{
    struct decision_result result;
    assert_int_equal(create(state, wish, &result), code);
    if (words != NULL) {
        if (strstr((const char *)result.message.data, words) == NULL) {
            print_message("%s\n", (const char *)result.message.data);
        }
        assert_non_null(strstr((const char *)result.message.data, words));
    }
    arena_reset(&state->arena);
    meta_records_init(&state->records, &state->arena);
}

#define NAME(text) .name = span_text(text), .partition_count = -1, .replication_factor = -1

#endif

/* Decisions upon topics and configs: every refusal. */
#include "controller/config_control.h"
#include "controller/topic_config.h"
#include "tests/unit/controller/topic_support.h"

/* ---- topics ---- */

static void test_create_topics(void **unused)
{
    (void)unused;
    struct state state;
    state_init(&state);
    expect_create(&state, (struct topic_wish){NAME("early")}, ERROR_INVALID_REPLICATION_FACTOR, "available brokers: 0");
    state_add_broker(&state, 1, "", 2);
    expect_create(&state, (struct topic_wish){NAME("a.b")}, ERROR_NONE, NULL);
    assert_int_equal(image_find_topic(state.image, span_text("a.b"))->partition_count, 2);
    expect_create(&state, (struct topic_wish){NAME("a.b")}, ERROR_TOPIC_ALREADY_EXISTS, "'a.b' already exists");
    expect_create(&state, (struct topic_wish){NAME("a_b")}, ERROR_INVALID_TOPIC_EXCEPTION, "collides");
    expect_create(&state, (struct topic_wish){NAME("")}, ERROR_INVALID_TOPIC_EXCEPTION, "empty");
    expect_create(&state, (struct topic_wish){NAME("..")}, ERROR_INVALID_TOPIC_EXCEPTION, "can't be");
    expect_create(&state, (struct topic_wish){NAME("a b")}, ERROR_INVALID_TOPIC_EXCEPTION, "character");
    expect_create(&state, (struct topic_wish){NAME("__cluster_metadata")}, ERROR_INVALID_REQUEST, "reserved");
    char longer[252];
    memset(longer, 'x', 250);
    longer[250] = '\0';
    expect_create(&state, (struct topic_wish){NAME(longer)}, ERROR_INVALID_TOPIC_EXCEPTION, "249");
    longer[249] = '\0';
    expect_create(&state, (struct topic_wish){NAME(longer)}, ERROR_NONE, NULL);
    struct topic_wish wish = {.name = span_text("n"), .partition_count = 0, .replication_factor = 1};
    expect_create(&state, wish, ERROR_INVALID_PARTITIONS, "is 0");
    wish.partition_count = -2;
    expect_create(&state, wish, ERROR_INVALID_PARTITIONS, "is -2");
    wish.partition_count = 10001;
    expect_create(&state, wish, ERROR_POLICY_VIOLATION, "split it");
    wish.partition_count = 1;
    wish.replication_factor = 3;
    expect_create(&state, wish, ERROR_INVALID_REPLICATION_FACTOR,
                  "Replication factor: 3 larger than available brokers: 1");
    wish.replication_factor = 0;
    expect_create(&state, wish, ERROR_INVALID_REPLICATION_FACTOR, "is 0");
    state_done(&state);
}

static void test_create_assigned(void **unused)
{
    (void)unused;
    struct state state;
    state_init(&state);
    state_add_broker(&state, 1, "", 1);
    state_add_broker(&state, 2, "", 1);
    static const int32_t both[2] = {2, 1};
    static const int32_t twice[2] = {1, 1};
    static const int32_t stranger[2] = {1, 9};
    struct topic_assignment assignments[2] = {{0, both, 2}, {1, both, 2}};
    struct topic_wish wish = {NAME("t"), .assignments = assignments, .assignment_count = 2};
    wish.partition_count = 2;
    expect_create(&state, wish, ERROR_INVALID_REQUEST, "-1");
    wish.partition_count = -1;
    assignments[1].partition_index = 2;
    expect_create(&state, wish, ERROR_INVALID_REPLICA_ASSIGNMENT, "does not fit");
    assignments[1] = (struct topic_assignment){1, both, 1};
    expect_create(&state, wish, ERROR_INVALID_REPLICA_ASSIGNMENT, "same number");
    assignments[1] = (struct topic_assignment){1, twice, 2};
    expect_create(&state, wish, ERROR_INVALID_REPLICA_ASSIGNMENT, "twice");
    assignments[1] = (struct topic_assignment){1, stranger, 2};
    expect_create(&state, wish, ERROR_INVALID_REPLICA_ASSIGNMENT, "broker 9, which is not registered");
    assignments[1] = (struct topic_assignment){1, both, 2};
    expect_create(&state, wish, ERROR_NONE, NULL);
    const struct image_topic *topic = image_find_topic(state.image, span_text("t"));
    assert_int_equal(topic->partition_count, 2);
    assert_int_equal(topic->partitions[0]->leader_id, 2);
    assert_int_equal(topic->partitions[0]->isr_count, 2);
    assert_true(uuid_equal(image_partition_directory(topic->partitions[0], 2), id_of(33)));
    state_done(&state);
}

static void test_configs_at_creation(void **unused)
{
    (void)unused;
    struct state state;
    state_init(&state);
    state_add_broker(&state, 1, "", 1);
    struct config_change change = {span_text("retention.ms"), span_text("1000"), CONFIG_SET};
    struct topic_wish wish = {NAME("t"), .configs = &change, .config_count = 1};
    change.name = span_text("no.such");
    expect_create(&state, wish, ERROR_INVALID_CONFIG, "no.such");
    change = (struct config_change){span_text("retention.ms"), SPAN_NULL, CONFIG_SET};
    expect_create(&state, wish, ERROR_INVALID_CONFIG, "No value");
    change.value = span_text("soon");
    expect_create(&state, wish, ERROR_INVALID_CONFIG, "retention.ms");
    change.value = span_text("-2");
    expect_create(&state, wish, ERROR_INVALID_CONFIG, "retention.ms");
    change = (struct config_change){span_text("durability"), span_text("perhaps"), CONFIG_SET};
    expect_create(&state, wish, ERROR_INVALID_CONFIG, "synced");
    change.value = span_text("cached");
    expect_create(&state, wish, ERROR_NONE, NULL);
    assert_true(config_control_topic_is(state.image, span_text("t"), "durability", "cached", false));
    state_done(&state);
}

static void test_delete_and_grow(void **unused)
{
    (void)unused;
    struct state state;
    state_init(&state);
    state_add_broker(&state, 1, "", 1);
    expect_create(&state, (struct topic_wish){NAME("t")}, ERROR_NONE, NULL);
    struct decision decision = state_decision(&state, 0);
    struct decision_result result = {0};
    const struct image_topic *topic = NULL;
    uint32_t budget = TOPIC_PARTITIONS_PER_REQUEST_MAX;
    assert_false(topic_control_delete(&decision, span_text("x"), UUID_ZERO, false, &topic, &result));
    assert_int_equal(result.code, ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_false(topic_control_delete(&decision, SPAN_NULL, id_of(77), true, &topic, &result));
    assert_int_equal(result.code, ERROR_UNKNOWN_TOPIC_ID);
    assert_false(topic_control_add_partitions(&decision, span_text("x"), 3, NULL, 0, &budget, &result));
    assert_int_equal(result.code, ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_false(topic_control_add_partitions(&decision, span_text("t"), 2, NULL, 0, &budget, &result));
    assert_int_equal(result.code, ERROR_INVALID_PARTITIONS);
    assert_false(topic_control_add_partitions(&decision, span_text("t"), 1, NULL, 0, &budget, &result));
    assert_int_equal(result.code, ERROR_INVALID_PARTITIONS);
    static const int32_t one = 1;
    struct topic_assignment assignments[2] = {{0, &one, 1}, {0, &one, 1}};
    assert_false(topic_control_add_partitions(&decision, span_text("t"), 3, assignments, 2, &budget, &result));
    assert_int_equal(result.code, ERROR_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(state.records.count, 0);
    result = (struct decision_result){0};
    assert_true(topic_control_add_partitions(&decision, span_text("t"), 5, NULL, 0, &budget, &result));
    state_commit(&state);
    assert_true(state.is_applied);
    assert_int_equal(image_find_topic(state.image, span_text("t"))->partition_count, 5);
    decision = state_decision(&state, 0);
    assert_true(topic_control_delete(&decision, span_text("t"), UUID_ZERO, false, &topic, &result));
    state_commit(&state);
    assert_int_equal(image_topic_count(state.image), 0);
    state_done(&state);
}

/* ---- configs ---- */

static int16_t change_config(struct state *state, int8_t type, const char *resource, const char *name,
                             const char *value, int8_t operation)
{
    struct decision decision = state_decision(state, 0);
    struct decision_result result = {0};
    struct config_change change = {span_text(name), span_text(value), operation};
    if (config_control_change(&decision, type, span_text(resource), &change, 1, &result)) {
        state_commit(state);
        assert_true(state->is_applied);
    } else {
        assert_int_equal(state->records.count, 0);
    }
    return result.code;
}

static void test_alter_configs(void **unused)
{
    (void)unused;
    struct state state;
    state_init(&state);
    state_add_broker(&state, 1, "", 1);
    expect_create(&state, (struct topic_wish){NAME("t")}, ERROR_NONE, NULL);
    struct span topic = span_text("t");
    assert_int_equal(change_config(&state, 2, "x", "retention.ms", "1", 0), ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(change_config(&state, 3, "t", "retention.ms", "1", 0), ERROR_INVALID_REQUEST);
    assert_int_equal(change_config(&state, 4, "one", "retention.ms", "1", 0), ERROR_INVALID_REQUEST);
    assert_int_equal(change_config(&state, 2, "t", "retention.ms", "1", 7), ERROR_INVALID_REQUEST);
    assert_int_equal(change_config(&state, 2, "t", "retention.ms", NULL, 0), ERROR_INVALID_REQUEST);
    assert_int_equal(change_config(&state, 2, "t", "retention.ms", "1", CONFIG_APPEND), ERROR_INVALID_CONFIG);
    assert_int_equal(change_config(&state, 2, "t", "retention.ms", "99", 0), ERROR_NONE);
    assert_int_equal(config_control_topic_number(state.image, topic, "retention.ms", 5), 99);
    assert_int_equal(change_config(&state, 2, "t", "cleanup.policy", "compact", CONFIG_APPEND), ERROR_NONE);
    assert_true(span_equal_text(image_topic_config_value(state.image, topic, "cleanup.policy"), "delete,compact"));
    assert_int_equal(change_config(&state, 2, "t", "cleanup.policy", "compact", CONFIG_APPEND), ERROR_NONE);
    assert_true(span_equal_text(image_topic_config_value(state.image, topic, "cleanup.policy"), "delete,compact"));
    assert_int_equal(change_config(&state, 2, "t", "cleanup.policy", "delete", CONFIG_SUBTRACT), ERROR_NONE);
    assert_true(span_equal_text(image_topic_config_value(state.image, topic, "cleanup.policy"), "compact"));
    assert_int_equal(change_config(&state, 2, "t", "cleanup.policy", "squash", CONFIG_APPEND), ERROR_INVALID_CONFIG);
    assert_int_equal(change_config(&state, 2, "t", "remote.storage.enable", "true", 0), ERROR_INVALID_CONFIG);
    assert_int_equal(change_config(&state, 2, "t", "retention.ms", NULL, CONFIG_DELETE), ERROR_NONE);
    assert_int_equal(config_control_topic_number(state.image, topic, "retention.ms", 5), 5);

    struct decision decision = state_decision(&state, 0);
    struct decision_result result = {0};
    struct config_change twice[2] = {{span_text("retention.ms"), span_text("1"), CONFIG_SET},
                                     {span_text("retention.ms"), SPAN_NULL, CONFIG_DELETE}};
    assert_false(config_control_change(&decision, 2, topic, twice, 2, &result));
    assert_int_equal(result.code, ERROR_INVALID_REQUEST);
    /* Replacing removes what is not named. */
    result = (struct decision_result){0};
    assert_true(config_control_replace(&decision, 2, topic, twice, 1, &result));
    state_commit(&state);
    assert_true(span_is_null(image_topic_config_value(state.image, topic, "cleanup.policy")));
    assert_true(span_equal_text(image_topic_config_value(state.image, topic, "retention.ms"), "1"));
    state_done(&state);
}

static void test_topic_config_table(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < topic_config_count(); i++) {
        const struct option_row *row = &topic_config_at(i)->row;
        struct option_problem problem = {0};
        assert_ptr_equal(topic_config_find(span_text(row->name)), topic_config_at(i));
        assert_int_equal(option_check(row, span_text(row->default_text), &problem), ERR_OK);
        assert_true(i == 0 || strcmp(topic_config_at(i - 1)->row.name, row->name) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_topics),       cmocka_unit_test(test_create_assigned),
        cmocka_unit_test(test_configs_at_creation), cmocka_unit_test(test_delete_and_grow),
        cmocka_unit_test(test_alter_configs),       cmocka_unit_test(test_topic_config_table),
    };
    return cmocka_run_group_tests_name("controls", tests, NULL, NULL);
}

/* What leaders may change about ISRs: every refusal of correctness.md 4, trap 4, and what an accepted change does to ISR, ELR, epochs. */
#include "controller/broker_control.h"
#include "controller/isr_control.h"
#include "tests/unit/controller/topic_support.h"

/* Brokers 1, 2, 3; topic "t": one partition on 1, 2, 3, led by 1, min.insync.replicas 2; topic "u": two more. */
struct fixture {
    struct state state;
    struct uuid topic_id;
    struct uuid other_id;
};

static const int32_t three[3] = {1, 2, 3};

static void setup(struct fixture *fixture)
{
    state_init(&fixture->state);
    for (int32_t id = 1; id <= 3; id++) {
        state_add_broker(&fixture->state, id, "", 1);
    }
    struct topic_assignment assignments[2] = {{0, three, 3}, {1, three, 3}};
    struct config_change min_isr = {span_text("min.insync.replicas"), span_text("2"), CONFIG_SET};
    struct topic_wish wish = {NAME("t"), .assignments = assignments, .assignment_count = 1, .configs = &min_isr,
                              .config_count = 1};
    expect_create(&fixture->state, wish, ERROR_NONE, NULL);
    wish.name = span_text("u");
    wish.assignment_count = 2;
    expect_create(&fixture->state, wish, ERROR_NONE, NULL);
    fixture->topic_id = image_find_topic(fixture->state.image, span_text("t"))->id;
    fixture->other_id = image_find_topic(fixture->state.image, span_text("u"))->id;
}

static const struct image_partition *partition_of(const struct fixture *fixture)
{
    return image_find_topic(fixture->state.image, span_text("t"))->partitions[0];
}

static struct controller_isr_member member_of(const struct fixture *fixture, int32_t id)
{
    const struct image_broker *broker = image_find_broker(fixture->state.image, id);
    return (struct controller_isr_member){id, broker == NULL ? 1 : broker->epoch};
}

/* What the partition's leader would propose: these members, upon the state as it is. */
struct proposal {
    struct controller_isr_member members[4];
    struct controller_isr_change change;
};

static void propose(const struct fixture *fixture, struct proposal *proposal, const int32_t *ids, uint32_t count)
{
    const struct image_partition *partition = partition_of(fixture);
    for (uint32_t i = 0; i < count; i++) {
        proposal->members[i] = member_of(fixture, ids[i]);
    }
    proposal->change = (struct controller_isr_change){
        .topic_id = fixture->topic_id,
        .leader_epoch = partition->leader_epoch,
        .partition_epoch = partition->partition_epoch,
        .isr_count = count,
        .isr = proposal->members,
        .code = -7,
    };
}

static bool alter(struct fixture *fixture, int32_t sender_id, int64_t sender_epoch,
                  struct controller_isr_change *changes, uint32_t count, struct decision_result *ret_result)
{
    struct controller_alter_isr request = {sender_id, sender_epoch, changes, count};
    struct decision decision = state_decision(&fixture->state, 0);
    *ret_result = (struct decision_result){0};
    bool is_fine = isr_control_alter(&decision, &request, ret_result);
    assert_int_equal(is_fine, ret_result->code == ERROR_NONE);
    if (is_fine && fixture->state.records.count > 0) {
        state_commit(&fixture->state);
        assert_true(fixture->state.is_applied);
    } else {
        assert_int_equal(fixture->state.records.count, 0);
    }
    return is_fine;
}

/* One change, sent by `sender_id` with its own epoch; returns its code. A refusal changes nothing. */
static int16_t alter_one(struct fixture *fixture, int32_t sender_id, struct proposal *proposal)
{
    struct decision_result result;
    int64_t offset = image_offset(fixture->state.image);
    assert_true(alter(fixture, sender_id, member_of(fixture, sender_id).broker_epoch, &proposal->change, 1, &result));
    if (proposal->change.code != ERROR_NONE) {
        assert_int_equal(image_offset(fixture->state.image), offset);
    }
    return proposal->change.code;
}

static void set_state(struct fixture *fixture, int32_t id, bool is_fenced, bool is_shutting_down)
{
    meta_add_broker_state(&fixture->state.records, id, member_of(fixture, id).broker_epoch, is_fenced,
                          is_shutting_down);
    state_commit(&fixture->state);
    assert_true(fixture->state.is_applied);
}

/* Epochs that have a past: what is lower by one is still a number that an epoch may have. */
static void begin_another_epoch(struct fixture *fixture)
{
    struct image_partition after = *partition_of(fixture);
    after.leader_epoch++;
    meta_add_partition_change(&fixture->state.records, fixture->topic_id, partition_of(fixture), &after);
    state_commit(&fixture->state);
    assert_true(fixture->state.is_applied);
    assert_int_equal(partition_of(fixture)->leader_epoch, after.leader_epoch);
    assert_int_equal(partition_of(fixture)->partition_epoch, after.partition_epoch + 1);
}

static void test_refusals(void **unused)
{
    (void)unused;
    struct fixture fixture;
    struct proposal proposal;
    struct decision_result result;
    static const int32_t two[2] = {1, 2};
    static const int32_t twice[2] = {1, 1};
    static const int32_t leaderless[2] = {2, 3};
    static const int32_t stranger[2] = {1, 4};
    setup(&fixture);
    begin_another_epoch(&fixture);
    propose(&fixture, &proposal, two, 2);
    assert_false(alter(&fixture, 1, member_of(&fixture, 1).broker_epoch - 1, &proposal.change, 1, &result));
    assert_int_equal(result.code, ERROR_STALE_BROKER_EPOCH);
    assert_int_equal(proposal.change.code, -7); /* not looked at */
    assert_false(alter(&fixture, 9, 1, &proposal.change, 1, &result));
    assert_int_equal(result.code, ERROR_STALE_BROKER_EPOCH);

    proposal.change.topic_id = id_of(77);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_UNKNOWN_TOPIC_ID);
    propose(&fixture, &proposal, two, 2);
    proposal.change.partition_index = 1;
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    proposal.change.partition_index = -1;
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_UNKNOWN_TOPIC_OR_PARTITION);

    propose(&fixture, &proposal, two, 2);
    proposal.change.leader_epoch++;
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_NOT_CONTROLLER);
    propose(&fixture, &proposal, two, 2);
    proposal.change.leader_epoch--;
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_FENCED_LEADER_EPOCH);
    propose(&fixture, &proposal, two, 2);
    proposal.change.partition_epoch++;
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_NOT_CONTROLLER);
    propose(&fixture, &proposal, two, 2);
    proposal.change.partition_epoch--;
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_INVALID_UPDATE_VERSION);

    propose(&fixture, &proposal, two, 2);
    assert_int_equal(alter_one(&fixture, 2, &proposal), ERROR_INVALID_REQUEST); /* not the leader */
    propose(&fixture, &proposal, leaderless, 2);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_INVALID_REQUEST);
    propose(&fixture, &proposal, twice, 2);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_INVALID_REQUEST);
    propose(&fixture, &proposal, stranger, 2);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_INVALID_REQUEST);
    propose(&fixture, &proposal, two, 0);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_INVALID_REQUEST);

    propose(&fixture, &proposal, two, 2);
    proposal.members[1].broker_epoch--; /* an incarnation before */
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_INELIGIBLE_REPLICA);
    set_state(&fixture, 2, false, true);
    propose(&fixture, &proposal, two, 2);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_INELIGIBLE_REPLICA);
    set_state(&fixture, 2, true, false);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_INELIGIBLE_REPLICA);
    set_state(&fixture, 2, false, false);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_NONE);
    state_done(&fixture.state);
}

/* Members that go together below min ISR enter the ELR together; at min ISR it is cleared; the leader epoch stays. */
static void test_isr_and_elr(void **unused)
{
    (void)unused;
    struct fixture fixture;
    struct proposal proposal;
    static const int32_t one[1] = {1};
    static const int32_t two[2] = {3, 1}; /* in any order */
    setup(&fixture);
    int32_t leader_epoch = partition_of(&fixture)->leader_epoch;
    propose(&fixture, &proposal, one, 1);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_NONE);
    const struct image_partition *partition = partition_of(&fixture);
    assert_int_equal(partition->isr_count, 1);
    assert_int_equal(partition->elr_count, 2);
    assert_int_equal(partition->elr[0], 2);
    assert_int_equal(partition->elr[1], 3);
    assert_int_equal(partition->leader_epoch, leader_epoch);
    assert_int_equal(partition->partition_epoch, 1);

    propose(&fixture, &proposal, two, 2);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_NONE);
    partition = partition_of(&fixture);
    assert_int_equal(partition->isr_count, 2);
    assert_int_equal(partition->isr[1], 3);
    assert_int_equal(partition->elr_count, 0);

    propose(&fixture, &proposal, one, 1);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_NONE);
    partition = partition_of(&fixture);
    assert_int_equal(partition->elr_count, 1); /* 2 was out before: it may lack what was committed since */
    assert_int_equal(partition->elr[0], 3);

    int64_t offset = image_offset(fixture.state.image);
    propose(&fixture, &proposal, one, 1);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_NONE); /* nothing changes: no record */
    assert_int_equal(image_offset(fixture.state.image), offset);
    state_done(&fixture.state);
}

/* An unclean leader is alone in its ISR until it says that it has recovered (KIP-704). */
static void test_recovery(void **unused)
{
    (void)unused;
    struct fixture fixture;
    struct proposal proposal;
    static const int32_t two[2] = {1, 2};
    setup(&fixture);
    struct image_partition after = *partition_of(&fixture);
    after.is_recovering = true;
    after.isr_count = 1;
    meta_add_partition_change(&fixture.state.records, fixture.topic_id, partition_of(&fixture), &after);
    state_commit(&fixture.state);
    propose(&fixture, &proposal, two, 2);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_INVALID_REQUEST);
    propose(&fixture, &proposal, two, 1);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_NONE);
    assert_true(partition_of(&fixture)->is_recovering);
    propose(&fixture, &proposal, two, 1);
    proposal.change.is_recovered = true;
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_NONE);
    assert_false(partition_of(&fixture)->is_recovering);
    propose(&fixture, &proposal, two, 2);
    assert_int_equal(alter_one(&fixture, 1, &proposal), ERROR_NONE);
    assert_int_equal(partition_of(&fixture)->isr_count, 2);
    state_done(&fixture.state);
}

/* Many changes at once: each has its own code, a partition that is named twice changes once. */
static void test_bulk(void **unused)
{
    (void)unused;
    struct fixture fixture;
    struct proposal proposal;
    struct decision_result result;
    static const int32_t two[2] = {1, 2};
    setup(&fixture);
    propose(&fixture, &proposal, two, 2);
    struct controller_isr_change changes[6];
    for (int i = 0; i < 6; i++) {
        changes[i] = proposal.change;
        changes[i].topic_id = fixture.other_id;
    }
    changes[1].partition_index = 1;
    changes[2].partition_index = 1; /* again */
    changes[3].partition_epoch = 5;
    changes[4].topic_id = fixture.topic_id;
    changes[4].isr_count = 3;
    proposal.members[2] = member_of(&fixture, 3);
    changes[5].partition_index = 2; /* none */
    static const int16_t codes[6] = {ERROR_NONE,           ERROR_NONE, ERROR_INVALID_UPDATE_VERSION,
                                     ERROR_NOT_CONTROLLER, ERROR_NONE, ERROR_UNKNOWN_TOPIC_OR_PARTITION};
    assert_true(alter(&fixture, 1, member_of(&fixture, 1).broker_epoch, changes, 6, &result));
    for (int i = 0; i < 6; i++) {
        if (i == 3) { /* names the partition of the first one again, which has been changed */
            assert_int_equal(changes[i].code, ERROR_INVALID_UPDATE_VERSION);
            continue;
        }
        assert_int_equal(changes[i].code, codes[i]);
    }
    const struct image_topic *topic = image_find_topic(fixture.state.image, span_text("u"));
    assert_int_equal(topic->partitions[0]->isr_count, 2);
    assert_int_equal(topic->partitions[1]->isr_count, 2);
    assert_int_equal(topic->partitions[1]->partition_epoch, 1);
    assert_int_equal(partition_of(&fixture)->isr_count, 3);

    struct controller_alter_isr request = {1, member_of(&fixture, 1).broker_epoch, changes,
                                           CONTROLLER_ISR_CHANGES_MAX + 1};
    struct decision decision = state_decision(&fixture.state, 0);
    result = (struct decision_result){0};
    assert_false(isr_control_alter(&decision, &request, &result));
    assert_int_equal(result.code, ERROR_INVALID_REQUEST);
    state_done(&fixture.state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_isr_and_elr),
        cmocka_unit_test(test_recovery),
        cmocka_unit_test(test_bulk),
    };
    return cmocka_run_group_tests_name("isr_control", tests, NULL, NULL);
}

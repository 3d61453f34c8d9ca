/* replica_progress: its rules one by one, and against a naive model: a controller, followers and a history, all random, where the
 * high watermark must never pass what a possible next leader lacks (tests/model says why these rules are enough).
 */
#include "broker/replica/replica_progress.h"
#include "common/check.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LAG_US 1000u
#define REPLICAS 4 /* brokers 0 (the leader) to 3 */

static struct replica_member member(int32_t broker_id, bool is_in_isr)
{
    return (struct replica_member){
        .broker_id = broker_id, .broker_epoch = 100 + broker_id, .is_alive = true, .is_in_isr = is_in_isr};
}

/* Brokers 1 and 2; the bits of isr_mask say who of them is in the ISR. */
static void set_two(struct replica_progress *progress, unsigned isr_mask, int32_t partition_epoch, uint64_t now_us)
{
    struct replica_member members[] = {member(1, isr_mask & 1), member(2, isr_mask >> 1 & 1)};
    replica_progress_set_members(progress, members, 2, partition_epoch, false, now_us);
}

static bool ack(struct replica_progress *progress, int32_t broker_id, int64_t end, uint64_t now_us)
{
    return replica_progress_acknowledge(progress, broker_id, 100 + broker_id, end, now_us);
}

static int64_t high_watermark(const struct replica_progress *progress, int64_t end, uint64_t now_us)
{
    return replica_progress_high_watermark(progress, end, 2, now_us, LAG_US);
}

static void waits_for_the_whole_isr(void **state)
{
    struct replica_progress progress = {0};
    (void)state;
    replica_progress_begin(&progress, 0, 0);
    assert_int_equal(high_watermark(&progress, 0, 0), -1); /* the ISR is not known yet */
    set_two(&progress, 3, 0, 0);
    replica_progress_log_end(&progress, 10, 5);
    assert_int_equal(high_watermark(&progress, 10, 5), -1); /* nobody has said anything in this epoch */
    assert_true(ack(&progress, 1, 10, 6));
    assert_true(ack(&progress, 2, 4, 6));
    assert_int_equal(high_watermark(&progress, 10, 6), 4);
    assert_int_equal(high_watermark(&progress, 3, 6), 3); /* the own disk counts as well */
    assert_true(ack(&progress, 2, 3, 7));                 /* an older one, late */
    assert_int_equal(high_watermark(&progress, 10, 7), 4);
    assert_false(ack(&progress, 2, 11, 7)); /* more than there is */
    assert_false(ack(&progress, 9, 5, 7));
    replica_progress_done(&progress);
}

static void stands_still_below_min_isr(void **state)
{
    struct replica_progress progress = {0};
    (void)state;
    replica_progress_begin(&progress, 0, 0);
    set_two(&progress, 0, 0, 0);
    replica_progress_log_end(&progress, 10, 5);
    assert_int_equal(high_watermark(&progress, 10, 6), -1);
    assert_int_equal(replica_progress_high_watermark(&progress, 10, 1, 6, LAG_US), 10);
    replica_progress_done(&progress);
}

/* Whoever is proposed is waited for, and counts towards the minimum only when the metadata says so (trap 3). */
static void expands_in_two_steps(void **state)
{
    struct replica_progress progress = {0};
    struct replica_member members[IMAGE_REPLICAS_MAX];
    (void)state;
    replica_progress_begin(&progress, 0, 10);
    set_two(&progress, 0, 7, 0);
    assert_false(replica_progress_decide(&progress, 0, 1, LAG_US));
    assert_true(ack(&progress, 2, 10, 2));
    assert_true(replica_progress_decide(&progress, 0, 3, LAG_US));
    assert_int_equal(replica_progress_take(&progress, members), 1);
    assert_int_equal(members[0].broker_id, 2);
    assert_int_equal(members[0].broker_epoch, 102);
    assert_false(replica_progress_decide(&progress, 0, 4, LAG_US)); /* one at a time */
    assert_int_equal(high_watermark(&progress, 10, 4), -1);
    replica_progress_answered(&progress, 7, REPLICA_PROGRESS_OK, 5);
    assert_int_equal(high_watermark(&progress, 10, 5), -1); /* the answer alone changes nothing */
    set_two(&progress, 2, 8, 6);
    assert_int_equal(progress.proposal, PROPOSAL_NONE);
    assert_int_equal(high_watermark(&progress, 10, 6), 10);
    replica_progress_done(&progress);
}

/* A new leader's own high watermark lags: a follower below the start of the epoch may lack what is committed (trap 3). */
static void nobody_joins_below_the_start_of_the_epoch(void **state)
{
    struct replica_progress progress = {0};
    (void)state;
    replica_progress_begin(&progress, 10, 10);
    set_two(&progress, 3, 0, 0); /* a member at first: it has the benefit of the doubt about its lag, not about this */
    set_two(&progress, 1, 1, 0);
    assert_true(ack(&progress, 2, 9, 1));
    assert_false(replica_progress_decide(&progress, 5, 1, LAG_US));
    assert_true(ack(&progress, 2, 10, 2));
    assert_true(replica_progress_decide(&progress, 5, 2, LAG_US));
    replica_progress_done(&progress);
}

/* Who holds everything of a moment ago is about to be proposed: the high watermark would run away from it under load (trap 3). */
static void who_is_about_to_join_is_waited_for(void **state)
{
    struct replica_progress progress = {0};
    (void)state;
    replica_progress_begin(&progress, 0, 10);
    set_two(&progress, 1, 0, 0);
    assert_true(ack(&progress, 1, 10, 1));
    assert_int_equal(high_watermark(&progress, 10, 1), 10); /* it has shown nothing: nobody waits for it */
    assert_true(ack(&progress, 2, 10, 2));
    replica_progress_log_end(&progress, 20, 3);
    assert_true(ack(&progress, 1, 20, 3));
    assert_int_equal(progress.proposal, PROPOSAL_NONE);
    assert_int_equal(high_watermark(&progress, 20, 3), 10);
    assert_int_equal(high_watermark(&progress, 20, 3 + LAG_US), 10);
    assert_int_equal(high_watermark(&progress, 20, 4 + LAG_US), 20); /* it lags by now */
    replica_progress_done(&progress);
}

static void nobody_joins_who_is_not_alive(void **state)
{
    struct replica_progress progress = {0};
    struct replica_member members[] = {member(1, true), member(2, false)};
    (void)state;
    replica_progress_begin(&progress, 0, 10);
    members[1].is_alive = false;
    replica_progress_set_members(&progress, members, 2, 0, false, 0);
    assert_true(ack(&progress, 1, 10, 1));
    assert_true(ack(&progress, 2, 10, 1));
    assert_false(replica_progress_decide(&progress, 10, 1, LAG_US));
    members[1].is_alive = true;
    replica_progress_set_members(&progress, members, 2, 0, false, 2);
    assert_true(replica_progress_decide(&progress, 10, 2, LAG_US));
    replica_progress_done(&progress);
}

/* Who keeps up is caught up however much is appended; who stops is out after the lag time, and waited for until the metadata says so. */
static void leaves_when_it_lags(void **state)
{
    struct replica_progress progress = {0};
    struct replica_member members[IMAGE_REPLICAS_MAX];
    uint64_t now_us = 0;
    (void)state;
    replica_progress_begin(&progress, 0, 0);
    set_two(&progress, 3, 0, 0);
    for (int64_t end = 10; end <= 100; end += 10) {
        now_us += 300;
        replica_progress_log_end(&progress, end, now_us);
        assert_true(
            ack(&progress, 1, end - 5, now_us + 10)); /* never everything, always what there was the time before */
        assert_true(ack(&progress, 2, end <= 50 ? end : 50, now_us + 10));
        bool is_expected = end == 100; /* it has not taken what was appended more than LAG_US ago, from 60 on */
        assert_int_equal(replica_progress_decide(&progress, 0, now_us + 20, LAG_US), is_expected);
        if (is_expected) {
            break;
        }
    }
    assert_true(replica_progress_is_watched(&progress));
    assert_int_equal(replica_progress_take(&progress, members), 1);
    assert_int_equal(members[0].broker_id, 1);
    assert_int_equal(high_watermark(&progress, 100, now_us), 50);
    set_two(&progress, 1, 1, now_us);
    assert_int_equal(high_watermark(&progress, 100, now_us + 30), 95);
    replica_progress_done(&progress);
}

/* No usable answer: the same proposal again. Refused for a member: until the metadata shows it gone, too. */
static void asks_again_until_the_metadata_settles_it(void **state)
{
    struct replica_progress progress = {0};
    struct replica_member members[IMAGE_REPLICAS_MAX];
    struct replica_member known[] = {member(1, true), member(2, false)};
    (void)state;
    replica_progress_begin(&progress, 0, 10);
    replica_progress_set_members(&progress, known, 2, 3, false, 0);
    assert_true(ack(&progress, 1, 10, 1));
    assert_true(ack(&progress, 2, 10, 1));
    assert_true(replica_progress_decide(&progress, 10, 1, LAG_US));
    assert_int_equal(replica_progress_take(&progress, members), 2);
    replica_progress_answered(&progress, 2, -1, 2); /* of another proposal */
    assert_int_equal(progress.proposal, PROPOSAL_IN_FLIGHT);
    replica_progress_answered(&progress, 3, -1, 2);
    assert_false(replica_progress_decide(&progress, 10, 3, LAG_US));
    assert_true(replica_progress_decide(&progress, 10, 2 + REPLICA_PROGRESS_RETRY_US, LAG_US));
    assert_int_equal(replica_progress_take(&progress, members), 2);
    replica_progress_answered(&progress, 3, REPLICA_PROGRESS_INELIGIBLE, 5);
    replica_progress_log_end(&progress, 20, 6);
    assert_true(ack(&progress, 1, 20, 6));
    assert_int_equal(high_watermark(&progress, 20, 6 + 2 * LAG_US), 10); /* it may still be on its way into the ISR */
    known[1].is_alive = false;
    replica_progress_set_members(&progress, known, 2, 3, false, 7);
    assert_int_equal(progress.proposal, PROPOSAL_NONE);
    assert_int_equal(high_watermark(&progress, 20, 8 + 2 * LAG_US), 20);
    replica_progress_done(&progress);
}

/* Another process of the broker: what the old one held says nothing of it. */
static void another_incarnation_begins_from_nothing(void **state)
{
    struct replica_progress progress = {0};
    struct replica_member members[] = {member(1, true)};
    (void)state;
    replica_progress_begin(&progress, 0, 10);
    replica_progress_set_members(&progress, members, 1, 0, false, 0);
    assert_true(ack(&progress, 1, 5, 1));
    assert_false(replica_progress_acknowledge(&progress, 1, 200, 10, 1)); /* not known yet */
    assert_int_equal(high_watermark(&progress, 10, 1), 5);
    members[0].broker_epoch = 200;
    members[0].is_in_isr = false;
    replica_progress_set_members(&progress, members, 1, 1, false, 2);
    assert_int_equal(progress.followers[0].counted_end, -1);
    assert_false(ack(&progress, 1, 10, 3));
    assert_true(replica_progress_acknowledge(&progress, 1, 200, 10, 3));
    replica_progress_done(&progress);
}

static void recovered_leader_says_so_before_anybody_joins(void **state)
{
    struct replica_progress progress = {0};
    struct replica_member members[] = {member(1, false)};
    struct replica_member proposed[IMAGE_REPLICAS_MAX];
    (void)state;
    replica_progress_begin(&progress, 0, 10);
    replica_progress_set_members(&progress, members, 1, 0, true, 0);
    assert_true(ack(&progress, 1, 10, 1));
    assert_true(replica_progress_decide(&progress, 0, 1, LAG_US));
    assert_int_equal(replica_progress_take(&progress, proposed), 0);
    replica_progress_set_members(&progress, members, 1, 1, false, 2);
    assert_true(replica_progress_decide(&progress, 0, 2, LAG_US));
    assert_int_equal(replica_progress_take(&progress, proposed), 1);
    replica_progress_done(&progress);
}

/* ---- the naive model ---- */

/* The truth: what every incarnation of every replica holds, and the ISR as it is committed, which the leader hears of late. */
struct truth {
    struct prop prop;
    struct replica_progress progress;
    struct replica_member committed[REPLICAS]; /* of the brokers 1 to 3 */
    struct replica_member heard[REPLICAS];
    int32_t partition_epoch;
    int32_t heard_epoch;
    int64_t holds[REPLICAS];
    int64_t log_end;
    int64_t own_end;
    int64_t high_watermark;
    int64_t epoch_start;
    int64_t committed_before; /* of earlier epochs: somewhere up to epoch_start */
    struct replica_member proposal[REPLICAS];
    uint32_t proposal_count;
    int32_t proposal_epoch;
    bool has_proposal;
    uint64_t now_us;
    unsigned joined_count, left_count, advanced_count;
};

static int32_t truth_isr_count(const struct replica_member *members)
{
    int32_t count = 1;
    for (int i = 1; i < REPLICAS; i++) {
        count += members[i].is_in_isr;
    }
    return count;
}

/* What the controller does with a proposal: compare-and-set on the epoch, members alive and of the registered incarnation. */
static int truth_decide(struct truth *truth)
{
    if (truth->proposal_epoch != truth->partition_epoch) {
        return 95; /* INVALID_UPDATE_VERSION */
    }
    for (uint32_t i = 0; i < truth->proposal_count; i++) {
        const struct replica_member *now = &truth->committed[truth->proposal[i].broker_id];
        if (!now->is_alive || now->broker_epoch != truth->proposal[i].broker_epoch) {
            return REPLICA_PROGRESS_INELIGIBLE;
        }
    }
    for (int i = 1; i < REPLICAS; i++) {
        bool is_in = false;
        for (uint32_t j = 0; j < truth->proposal_count; j++) {
            is_in = is_in || truth->proposal[j].broker_id == i;
        }
        truth->joined_count += is_in && !truth->committed[i].is_in_isr;
        truth->left_count += !is_in && truth->committed[i].is_in_isr;
        truth->committed[i].is_in_isr = is_in;
    }
    truth->partition_epoch++;
    return REPLICA_PROGRESS_OK;
}

static void truth_hear(struct truth *truth)
{
    memcpy(truth->heard, truth->committed, sizeof(truth->heard));
    truth->heard_epoch = truth->partition_epoch;
    replica_progress_set_members(&truth->progress, &truth->heard[1], REPLICAS - 1, truth->heard_epoch, false,
                                 truth->now_us);
}

/* A broker dies and registers again, with all that it held or with less (a cached topic), fenced until later. */
static void truth_restart(struct truth *truth, int broker)
{
    struct replica_member *now = &truth->committed[broker];
    if (now->is_in_isr) {
        now->is_in_isr = false;
        truth->partition_epoch++;
    }
    now->is_alive = false;
    now->broker_epoch += 1000;
    if (prop_chance(&truth->prop, 1, 2)) {
        truth->holds[broker] = prop_range_signed(&truth->prop, 0, truth->holds[broker]);
    }
}

static void truth_act(struct truth *truth)
{
    struct prop *prop = &truth->prop;
    int broker = (int)prop_range(prop, 1, REPLICAS - 1);
    switch (prop_below(prop, 12)) {
    case 0:
    case 1:
        truth->log_end += (int64_t)prop_range(prop, 1, 5);
        replica_progress_log_end(&truth->progress, truth->log_end, truth->now_us);
        break;
    case 2:
    case 3:
        truth->own_end = truth->log_end;
        break;
    case 4:
    case 5:
    case 6: /* receives and acknowledges: what it holds, or late something less */
        truth->holds[broker] = prop_range_signed(prop, truth->holds[broker], truth->log_end);
        (void)replica_progress_acknowledge(&truth->progress, broker, truth->committed[broker].broker_epoch,
                                           prop_chance(prop, 3, 4) ? truth->holds[broker] : truth->holds[broker] / 2,
                                           truth->now_us);
        break;
    case 7:
        truth->committed[broker].is_alive = true;
        break;
    case 8:
        truth_hear(truth);
        break;
    case 9:
        if (prop_chance(prop, 1, 8)) {
            truth_restart(truth, broker);
        } else if (prop_chance(prop, 1, 4) && truth->committed[broker].is_in_isr) {
            truth->committed[broker].is_in_isr = false; /* fenced */
            truth->committed[broker].is_alive = false;
            truth->partition_epoch++;
        }
        break;
    case 10:
        truth->now_us += prop_below(prop, LAG_US);
        break;
    default: /* the answer: once, or the request a second time, late */
        if (truth->has_proposal) {
            int32_t of_epoch = truth->proposal_epoch;
            int code = truth_decide(truth);
            replica_progress_answered(&truth->progress, of_epoch, prop_chance(prop, 1, 4) ? -1 : code, truth->now_us);
            truth->has_proposal = prop_chance(prop, 1, 3);
        }
        break;
    }
}

static void truth_step(struct truth *truth)
{
    int64_t end = replica_progress_high_watermark(&truth->progress, truth->own_end, 2, truth->now_us, LAG_US);
    if (end > truth->high_watermark) {
        truth->high_watermark = end;
        truth->advanced_count++;
    }
    if (replica_progress_decide(&truth->progress, truth->high_watermark, truth->now_us, LAG_US)) {
        struct replica_member members[IMAGE_REPLICAS_MAX];
        truth->proposal_count = replica_progress_take(&truth->progress, members);
        memcpy(truth->proposal, members, truth->proposal_count * sizeof(members[0]));
        truth->proposal_epoch = truth->heard_epoch;
        truth->has_proposal = true;
    }
}

/* A committed member of the ISR holds everything below the high watermark, and everything that earlier epochs committed. Only one whose
 * process has been replaced since it was counted may hold less: it has left the ISR with that. */
static void truth_check(const struct truth *truth)
{
    for (int i = 1; i < REPLICAS; i++) {
        if (truth->committed[i].is_in_isr) {
            assert_true(truth->holds[i] >= truth->high_watermark);
            assert_true(truth->holds[i] >= truth->committed_before);
        }
    }
    assert_true(truth->high_watermark <= truth->own_end);
}

static void truth_begin(struct truth *truth)
{
    struct prop *prop = &truth->prop;
    truth->epoch_start = truth->log_end = truth->own_end = (int64_t)prop_below(prop, 20);
    truth->committed_before = prop_range_signed(prop, 0, truth->epoch_start);
    truth->high_watermark = prop_range_signed(prop, 0, truth->committed_before);
    for (int i = 1; i < REPLICAS; i++) {
        bool is_in_isr = prop_chance(prop, 1, 2);
        truth->committed[i] = member(i, is_in_isr);
        truth->holds[i] = prop_range_signed(prop, is_in_isr ? truth->committed_before : 0, truth->epoch_start);
    }
    replica_progress_begin(&truth->progress, truth->epoch_start, truth->log_end);
    truth_hear(truth);
}

static void no_member_of_the_isr_lacks_what_is_committed(void **state)
{
    struct prop prop;
    unsigned joined_count = 0;
    unsigned left_count = 0;
    unsigned advanced_count = 0;
    (void)state;
    prop_init(&prop, "replica_progress", 4242);
    for (uint64_t run = prop_runs(3000); run > 0; run--) {
        struct truth truth = {.prop = prop_split(&prop)};
        truth_begin(&truth);
        for (int i = 0; i < 200; i++) {
            truth_act(&truth);
            truth_step(&truth);
            truth_check(&truth);
        }
        assert_true(truth_isr_count(truth.committed) >= 1);
        joined_count += truth.joined_count;
        left_count += truth.left_count;
        advanced_count += truth.advanced_count;
        replica_progress_done(&truth.progress);
    }
    /* The runs must have come to the places where it matters. */
    assert_true(joined_count > 1000 && left_count > 500 && advanced_count > 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_for_the_whole_isr),
        cmocka_unit_test(stands_still_below_min_isr),
        cmocka_unit_test(expands_in_two_steps),
        cmocka_unit_test(nobody_joins_below_the_start_of_the_epoch),
        cmocka_unit_test(who_is_about_to_join_is_waited_for),
        cmocka_unit_test(nobody_joins_who_is_not_alive),
        cmocka_unit_test(leaves_when_it_lags),
        cmocka_unit_test(asks_again_until_the_metadata_settles_it),
        cmocka_unit_test(another_incarnation_begins_from_nothing),
        cmocka_unit_test(recovered_leader_says_so_before_anybody_joins),
        cmocka_unit_test(no_member_of_the_isr_lacks_what_is_committed),
    };
    return cmocka_run_group_tests_name("replica_progress", tests, NULL, NULL);
}

/* Counting what Metadata tells: leaders, replicas, those out of sync, partitions without leader. */
#include "cli/cluster_report.h"
#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int32_t all[] = {1, 2, 3};
static int32_t two[] = {2, 3};
static int32_t one[] = {1};

static struct metadata_response_partition healthy[] = {
    {.partition_index = 0,
     .leader_id = 1,
     .replica_nodes = all,
     .replica_nodes_count = 3,
     .isr_nodes = all,
     .isr_nodes_count = 3},
    {.partition_index = 1,
     .leader_id = 2,
     .replica_nodes = all,
     .replica_nodes_count = 3,
     .isr_nodes = all,
     .isr_nodes_count = 3},
};
static struct metadata_response_partition sick[] = {
    {.partition_index = 0,
     .leader_id = 2,
     .replica_nodes = all,
     .replica_nodes_count = 3,
     .isr_nodes = two,
     .isr_nodes_count = 2},
    {.partition_index = 1,
     .leader_id = -1,
     .replica_nodes = all,
     .replica_nodes_count = 3,
     .isr_nodes = one,
     .isr_nodes_count = 1},
    {.partition_index = 2,
     .leader_id = 1,
     .replica_nodes = all,
     .replica_nodes_count = 3,
     .isr_nodes = one,
     .isr_nodes_count = 1},
};

/* Tables of the test, not state: made anew for each use. */
static struct metadata_response make_metadata(struct metadata_response_topic *topics)
{
    topics[0] =
        (struct metadata_response_topic){.name = span_text("healthy"), .partitions = healthy, .partitions_count = 2};
    topics[1] = (struct metadata_response_topic){.name = span_text("sick"), .partitions = sick, .partitions_count = 3};
    return (struct metadata_response){.topics = topics, .topics_count = 2};
}

static void partitions_are_counted_by_their_state(void **state)
{
    (void)state;
    struct metadata_response_topic topics[2];
    struct metadata_response metadata = make_metadata(topics);
    struct cluster_counts counts;
    cluster_report_count(&metadata, &counts);
    assert_int_equal(counts.topics, 2);
    assert_int_equal(counts.partitions, 5);
    assert_int_equal(counts.leaderless, 1);
    assert_int_equal(counts.under_replicated, 3);
}

static void a_broker_is_told_by_what_it_leads_and_holds(void **state)
{
    (void)state;
    struct metadata_response_topic topics[2];
    struct metadata_response metadata = make_metadata(topics);
    struct broker_counts counts;
    cluster_report_broker(&metadata, 1, &counts);
    assert_int_equal(counts.leads, 2);
    assert_int_equal(counts.replicas, 5);
    assert_int_equal(counts.out_of_sync, 1);
    cluster_report_broker(&metadata, 3, &counts);
    assert_int_equal(counts.leads, 0);
    assert_int_equal(counts.replicas, 5);
    assert_int_equal(counts.out_of_sync, 2);
    cluster_report_broker(&metadata, 9, &counts);
    assert_int_equal(counts.leads + counts.replicas + counts.out_of_sync, 0);
}

static void replicas_out_of_sync_are_listed_and_leaderless_partitions_once(void **state)
{
    (void)state;
    static const struct {
        int32_t partition;
        int32_t broker;
    } expected[] = {{0, 1}, {1, -1}, {2, 2}, {2, 3}};
    struct metadata_response_topic topics[2];
    struct metadata_response metadata = make_metadata(topics);
    size_t count = 0;
    struct replica_behind *rows = cluster_report_behind(&metadata, &count);
    assert_int_equal(count, ARRAY_COUNT(expected));
    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(rows[i].topic, &topics[1]);
        assert_int_equal(rows[i].partition->partition_index, expected[i].partition);
        assert_int_equal(rows[i].broker_id, expected[i].broker);
        assert_int_equal(rows[i].lag, CLUSTER_REPORT_LAG_UNKNOWN);
    }
    mem_free(rows);
    metadata.topics_count = 1;
    assert_null(cluster_report_behind(&metadata, &count));
    assert_int_equal(count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_are_counted_by_their_state),
        cmocka_unit_test(a_broker_is_told_by_what_it_leads_and_holds),
        cmocka_unit_test(replicas_out_of_sync_are_listed_and_leaderless_partitions_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What the metrics tell of partitions: each is counted in a gauge or not, and the bits remember in which. */
#include "broker/broker_metrics.h"
#include "broker/replica/partition_set.h"
#include "broker/worker.h"
#include "common/metric.h"

enum partition_gauge { GAUGE_LED, GAUGE_UNDER_REPLICATED, GAUGE_UNDER_MIN_ISR, GAUGE_OFFLINE, GAUGE_COUNT };

static const size_t gauge_rows[GAUGE_COUNT] = {METRIC_PARTITIONS_LED, METRIC_PARTITIONS_UNDER_REPLICATED,
                                               METRIC_PARTITIONS_UNDER_MIN_ISR, METRIC_PARTITIONS_OFFLINE};

static void partition_count_bits(struct partition *partition, unsigned bits)
{
    struct metric_set *metrics = partition->set->worker->metrics;
    for (unsigned gauge = 0; metrics != NULL && gauge < GAUGE_COUNT; gauge++) {
        int delta = (int)(bits >> gauge & 1u) - (int)(partition->gauges >> gauge & 1u);
        if (delta != 0) {
            metric_add(metrics, gauge_rows[gauge], delta);
        }
    }
    partition->gauges = bits;
}

void partition_count(struct partition *partition)
{
    unsigned bits = 0;
    if (partition_is_leading(partition)) {
        bits |= 1u << GAUGE_LED;
        bits |= (unsigned)(partition->isr_count < partition->replica_count) << GAUGE_UNDER_REPLICATED;
        bits |= (unsigned)(partition->isr_count < partition_effective_min_isr(partition)) << GAUGE_UNDER_MIN_ISR;
    }
    bits |= (unsigned)(partition->state == PARTITION_OFFLINE) << GAUGE_OFFLINE;
    partition_count_bits(partition, bits);
}

void partition_count_isr(struct partition *partition, int32_t before)
{
    struct metric_set *metrics = partition->set->worker->metrics;
    if (metrics != NULL && partition->isr_count != before) {
        metric_add(metrics, partition->isr_count < before ? METRIC_ISR_SHRINKS : METRIC_ISR_EXPANSIONS, 1);
    }
}

void partition_count_nothing(struct partition *partition)
{
    partition_count_bits(partition, 0);
}

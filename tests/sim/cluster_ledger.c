#include "tests/sim/cluster_ledger.h"

#include "broker/replica/partition_set.h"
#include "broker/worker.h"
#include "tests/support/plain_mem.h"

#include <limits.h>

void cluster_ledger_init(struct cluster_ledger *ledger, const struct cluster_plan *plan,
                         const struct cluster_meta *meta, struct cluster_verdict *verdict)
{
    *ledger = (struct cluster_ledger){.plan = plan, .meta = meta, .verdict = verdict};
}

void cluster_ledger_done(struct cluster_ledger *ledger)
{
    for (unsigned i = 0; i < CLUSTER_PARTITIONS_MAX; i++) {
        plain_free(ledger->partitions[i].epochs);
        plain_free(ledger->partitions[i].batches);
    }
}

void cluster_ledger_forget(struct cluster_ledger *ledger, unsigned node)
{
    memset(ledger->replicas[node], 0, sizeof(ledger->replicas[node]));
}

bool cluster_ledger_is_exposed(const struct cluster_ledger *ledger, unsigned partition, int64_t offset)
{
    return offset < ledger->partitions[partition].exposed_end;
}

bool cluster_ledger_is_leader(const struct cluster_ledger *ledger, unsigned partition, unsigned node)
{
    const struct ledger_partition *known = &ledger->partitions[partition];
    return known->epoch_count > 0 && known->epochs[known->epoch_count - 1].node == node;
}

static const char *node_name(const struct cluster_ledger *ledger, unsigned node)
{
    return ledger->plan->nodes[node].name;
}

/* ---- leader epochs ---- */

static struct ledger_epoch *find_epoch(struct ledger_partition *partition, int32_t leader_epoch)
{
    for (size_t i = partition->epoch_count; i > 0; i--) {
        if (partition->epochs[i - 1].leader_epoch == leader_epoch) {
            return &partition->epochs[i - 1];
        }
    }
    return NULL;
}

static void add_epoch(struct ledger_partition *partition, const struct ledger_epoch *epoch)
{
    partition->epochs =
        (struct ledger_epoch *)plain_grow(partition->epochs, partition->epoch_count + 1, sizeof(*partition->epochs));
    size_t place = partition->epoch_count++;
    while (place > 0 && partition->epochs[place - 1].leader_epoch > epoch->leader_epoch) {
        partition->epochs[place] = partition->epochs[place - 1];
        place--;
    }
    partition->epochs[place] = *epoch;
}

/* R7, and: no epoch begins below what an older one has shown as committed. */
static void leads(struct cluster_ledger *ledger, unsigned index, unsigned node, uint64_t start_count,
                  const struct partition *seen)
{
    struct ledger_partition *partition = &ledger->partitions[index];
    const struct ledger_epoch *known = find_epoch(partition, seen->leader_epoch);
    if (known != NULL) {
        if (known->node != node || known->start_count != start_count) {
            cluster_verdict_violation(ledger->verdict,
                                      "R7: partition %u: leader epoch %d belongs to %s (process %" PRIu64
                                      "), and %s (process %" PRIu64 ") leads in it as well",
                                      index, seen->leader_epoch, node_name(ledger, known->node), known->start_count,
                                      node_name(ledger, node), start_count);
        }
        return;
    }
    struct ledger_epoch epoch = {.leader_epoch = seen->leader_epoch,
                                 .node = node,
                                 .start_count = start_count,
                                 .start_offset = partition_log_epoch_start_offset(seen->log, seen->leader_epoch)};
    add_epoch(partition, &epoch);
    ledger->counts.leaderships++;
    if (epoch.start_offset < partition->exposed_end &&
        partition->epochs[partition->epoch_count - 1].leader_epoch == epoch.leader_epoch) {
        cluster_verdict_violation(ledger->verdict,
                                  "R1: partition %u: %s leads in epoch %d from offset %" PRId64
                                  " on, but an older leader has shown a high watermark of %" PRId64,
                                  index, node_name(ledger, node), epoch.leader_epoch, epoch.start_offset,
                                  partition->exposed_end);
    }
}

/* What is shown as committed is held by every replica in sync that runs (trap 3). */
static void check_holders(struct cluster_ledger *ledger, unsigned index, unsigned leader, int64_t high_watermark)
{
    for (unsigned node = 0; node < ledger->plan->broker_count; node++) {
        const struct ledger_replica *replica = &ledger->replicas[node][index];
        bool is_in_sync = (ledger->meta->partitions[index].isr & (1u << node)) != 0;
        if (node != leader && is_in_sync && replica->is_seen && replica->log_end < high_watermark) {
            cluster_verdict_violation(ledger->verdict,
                                      "R1: partition %u: %s shows a high watermark of %" PRId64
                                      ", but the log of %s, which is in sync, ends at %" PRId64,
                                      index, node_name(ledger, leader), high_watermark, node_name(ledger, node),
                                      replica->log_end);
        }
    }
}

/* Who comes into an ISR, or is elected from the ELR, holds at that moment what was shown as committed: if all others died now, it
 * would lead (traps 3 and 4). Later is too late to look: it catches up within milliseconds. */
static void check_joins(struct cluster_ledger *ledger)
{
    if (ledger->meta_offset == ledger->meta->offset) {
        return;
    }
    ledger->meta_offset = ledger->meta->offset;
    for (unsigned index = 0; index < ledger->plan->partition_count; index++) {
        struct ledger_partition *partition = &ledger->partitions[index];
        const struct meta_partition *known = &ledger->meta->partitions[index];
        uint32_t joined = known->isr & ~partition->isr;
        partition->isr = known->isr;
        bool is_only_replica = (known->replicas & (known->replicas - 1)) == 0; /* nobody could know more */
        for (unsigned node = 0; node < ledger->plan->broker_count && !is_only_replica; node++) {
            const struct ledger_replica *replica = &ledger->replicas[node][index];
            if ((joined & (1u << node)) == 0 || !replica->is_seen) {
                continue;
            }
            ledger->counts.joins++;
            if (replica->log_end < partition->exposed_end) {
                cluster_verdict_violation(ledger->verdict,
                                          "R1: partition %u: %s comes into the ISR with a log that ends at %" PRId64
                                          ", below the high watermark %" PRId64,
                                          index, node_name(ledger, node), replica->log_end, partition->exposed_end);
            }
        }
    }
}

/* A leader's high watermark has moved: not beyond where a later epoch began. */
static void exposes(struct cluster_ledger *ledger, unsigned index, unsigned node, const struct partition *seen)
{
    struct ledger_partition *partition = &ledger->partitions[index];
    if (seen->high_watermark <= partition->exposed_end) {
        return;
    }
    partition->exposed_end = seen->high_watermark;
    check_holders(ledger, index, node, seen->high_watermark);
    for (size_t i = partition->epoch_count; i > 0 && partition->epochs[i - 1].leader_epoch > seen->leader_epoch; i--) {
        if (partition->epochs[i - 1].start_offset < seen->high_watermark) {
            cluster_verdict_violation(ledger->verdict,
                                      "R7: partition %u: %s, leader of epoch %d, moves its high watermark to %" PRId64
                                      " although epoch %d has begun at %" PRId64,
                                      index, node_name(ledger, node), seen->leader_epoch, seen->high_watermark,
                                      partition->epochs[i - 1].leader_epoch, partition->epochs[i - 1].start_offset);
            return;
        }
    }
}

/* ---- one replica ---- */

static int32_t effective_min(const struct cluster_ledger *ledger, unsigned index)
{
    unsigned of_topic = 0;
    const struct cluster_plan_topic *topic = cluster_plan_topic_of(ledger->plan, index, &of_topic);
    return (int32_t)(topic->min_insync < topic->replica_count ? topic->min_insync : topic->replica_count);
}

static void check_leader_move(struct cluster_ledger *ledger, unsigned index, unsigned node,
                              const struct ledger_replica *before, const struct partition *seen)
{
    int32_t least = effective_min(ledger, index);
    bool is_same = before->is_seen && before->state == PARTITION_LEADER && before->leader_epoch == seen->leader_epoch;
    if (is_same && seen->high_watermark > before->high_watermark && before->isr_count < least &&
        seen->isr_count < least) {
        cluster_verdict_violation(ledger->verdict,
                                  "R1: partition %u: %s moves the high watermark from %" PRId64 " to %" PRId64
                                  " with %d in sync, %d are needed",
                                  index, node_name(ledger, node), before->high_watermark, seen->high_watermark,
                                  seen->isr_count, least);
    }
    exposes(ledger, index, node, seen);
}

static void check_ends(struct cluster_ledger *ledger, unsigned index, unsigned node,
                       const struct ledger_replica *before, const struct partition *seen, int64_t log_end)
{
    if (!before->is_seen) {
        return;
    }
    if (seen->high_watermark < before->high_watermark) {
        cluster_verdict_violation(ledger->verdict,
                                  "partition %u: the high watermark of %s goes back from %" PRId64 " to %" PRId64,
                                  index, node_name(ledger, node), before->high_watermark, seen->high_watermark);
    }
    if (log_end < before->log_end) {
        ledger->counts.truncations++;
        bool is_in_sync = (ledger->meta->partitions[index].isr & (1u << node)) != 0;
        if (is_in_sync && log_end < ledger->partitions[index].exposed_end) {
            cluster_verdict_violation(ledger->verdict,
                                      "R1: partition %u: %s, which is in sync, cuts its log from %" PRId64
                                      " to %" PRId64 ", below the high watermark %" PRId64,
                                      index, node_name(ledger, node), before->log_end, log_end,
                                      ledger->partitions[index].exposed_end);
        }
    }
}

static void observe_partition(struct cluster_ledger *ledger, unsigned index, unsigned node, uint64_t start_count,
                              const struct partition *seen, const struct fs_sim *disk)
{
    struct ledger_replica *replica = &ledger->replicas[node][index];
    if (seen->log == NULL || seen->state == PARTITION_OPENING || seen->state == PARTITION_CLOSING ||
        seen->state == PARTITION_OFFLINE) {
        replica->is_seen = false;
        return;
    }
    int64_t log_end = partition_log_end_offset(seen->log);
    if (replica->is_seen && replica->state == (int)seen->state && replica->leader_epoch == seen->leader_epoch &&
        replica->high_watermark == seen->high_watermark && replica->log_end == log_end &&
        replica->isr_count == seen->isr_count) {
        return;
    }
    if (log_end < seen->high_watermark) {
        cluster_verdict_violation(
            ledger->verdict, "R1: partition %u: the log of %s ends at %" PRId64 ", below its high watermark %" PRId64,
            index, node_name(ledger, node), log_end, seen->high_watermark);
    }
    check_ends(ledger, index, node, replica, seen, log_end);
    if (seen->state == PARTITION_LEADER) {
        leads(ledger, index, node, start_count, seen);
        check_leader_move(ledger, index, node, replica, seen);
    }
    bool was_seen = replica->is_seen;
    replica->is_seen = true;
    replica->state = (int)seen->state;
    replica->leader_epoch = seen->leader_epoch;
    replica->isr_count = seen->isr_count;
    replica->high_watermark = seen->high_watermark;
    replica->log_end = log_end;
    if (!was_seen) {
        replica->walk = (struct ledger_walk){0};
    }
    if (seen->high_watermark > replica->walk.end) {
        cluster_ledger_walk(ledger, node, index, &replica->walk, seen->high_watermark, disk, false);
    }
}

static unsigned index_of(const struct cluster_ledger *ledger, const struct partition *partition)
{
    return cluster_plan_find(ledger->plan, partition->topic_name, strlen(partition->topic_name),
                             partition->key.partition_index);
}

void cluster_ledger_observe(struct cluster_ledger *ledger, unsigned node, uint64_t start_count,
                            const struct broker *broker, const struct fs_sim *disk)
{
    check_joins(ledger);
    for (unsigned i = 0; i < broker->worker_count && broker->workers != NULL; i++) {
        const struct worker *worker = broker->workers[i];
        if (worker == NULL || worker->partitions == NULL) {
            continue;
        }
        for (const struct partition *partition = worker->partitions->by_key; partition != NULL;
             partition = (const struct partition *)partition->hh.next) {
            unsigned index = index_of(ledger, partition);
            if (index != UINT_MAX) {
                observe_partition(ledger, index, node, start_count, partition, disk);
            }
        }
    }
}

static const struct partition *find_partition(const struct cluster_ledger *ledger, const struct broker *broker,
                                              unsigned index)
{
    for (unsigned i = 0; i < broker->worker_count; i++) {
        for (const struct partition *partition = broker->workers[i]->partitions->by_key; partition != NULL;
             partition = (const struct partition *)partition->hh.next) {
            if (index_of(ledger, partition) == index) {
                return partition;
            }
        }
    }
    return NULL;
}

int64_t cluster_ledger_compare(struct cluster_ledger *ledger, unsigned node, unsigned partition,
                               const struct broker *broker, const struct fs_sim *disk)
{
    const struct partition *seen = find_partition(ledger, broker, partition);
    if (seen == NULL || seen->log == NULL) {
        return -1;
    }
    struct ledger_walk walk = {0};
    cluster_ledger_walk(ledger, node, partition, &walk, seen->high_watermark, disk, true);
    if (walk.end != seen->high_watermark) {
        cluster_verdict_violation(ledger->verdict,
                                  "R2: partition %u: the segments of %s hold whole batches up to %" PRId64
                                  ", its high watermark is %" PRId64,
                                  partition, node_name(ledger, node), walk.end, seen->high_watermark);
    }
    const struct ledger_partition *known = &ledger->partitions[partition];
    for (size_t i = 0; i < walk.batch_index; i++) {
        const struct ledger_batch *batch = &known->batches[i];
        if (i > 0 && known->batches[i - 1].leader_epoch == batch->leader_epoch) {
            continue;
        }
        int64_t start_offset = partition_log_epoch_start_offset(seen->log, batch->leader_epoch);
        if (start_offset != batch->base_offset) {
            cluster_verdict_violation(
                ledger->verdict, "R2: partition %u: epoch %d begins at %" PRId64 ", %s has it at %" PRId64, partition,
                batch->leader_epoch, batch->base_offset, node_name(ledger, node), start_offset);
        }
    }
    return seen->high_watermark;
}

/* The bytes below the high watermarks: each replica's batches, in order, against those that another replica had there first. */
#include "proto/record/batch.h"
#include "tests/sim/cluster_ledger.h"
#include "tests/support/plain_mem.h"

#include <stdio.h>

#define PATH_BYTES 128

static void segment_path(const struct cluster_ledger *ledger, unsigned partition, int64_t base_offset, char *ret_path)
{
    unsigned index = 0;
    const struct cluster_plan_topic *topic = cluster_plan_topic_of(ledger->plan, partition, &index);
    (void)snprintf(ret_path, PATH_BYTES, "/data/%s-%u/%020" PRId64 ".log", topic->name, index, base_offset);
}

/* What is left of the segment that the walk is in, or of the next one. False: nothing. */
static bool rest_of_log(const struct cluster_ledger *ledger, unsigned partition, struct ledger_walk *walk,
                        const struct fs_sim *disk, struct span *ret_rest)
{
    char path[PATH_BYTES];
    struct span bytes;
    segment_path(ledger, partition, walk->segment_base, path);
    if (fs_sim_peek(disk, path, &bytes) == ERR_OK && walk->segment_pos < bytes.bytes) {
        *ret_rest = span_make(bytes.data + walk->segment_pos, bytes.bytes - walk->segment_pos);
        return true;
    }
    if (walk->end == walk->segment_base) {
        return false;
    }
    segment_path(ledger, partition, walk->end, path);
    if (fs_sim_peek(disk, path, &bytes) != ERR_OK || bytes.bytes == 0) {
        return false;
    }
    walk->segment_base = walk->end;
    walk->segment_pos = 0;
    *ret_rest = bytes;
    return true;
}

static void remember(struct ledger_partition *partition, const struct ledger_batch *batch)
{
    if (partition->batch_count == partition->batch_capacity) {
        partition->batch_capacity = partition->batch_capacity == 0 ? 256 : partition->batch_capacity * 2;
        partition->batches = (struct ledger_batch *)plain_grow(partition->batches, partition->batch_capacity,
                                                               sizeof(*partition->batches));
    }
    partition->batches[partition->batch_count++] = *batch;
}

static void compare(struct cluster_ledger *ledger, unsigned node, unsigned index, size_t batch_index,
                    const struct ledger_batch *batch)
{
    struct ledger_partition *partition = &ledger->partitions[index];
    ledger->counts.compared_batches++;
    if (batch_index == partition->batch_count) {
        remember(partition, batch);
        return;
    }
    const struct ledger_batch *known = &partition->batches[batch_index];
    if (known->base_offset != batch->base_offset || known->last_offset != batch->last_offset ||
        known->batch_bytes != batch->batch_bytes || known->leader_epoch != batch->leader_epoch ||
        known->crc != batch->crc) {
        cluster_verdict_violation(
            ledger->verdict,
            "R2: partition %u: below its high watermark %s holds a batch [%" PRId64 ", %" PRId64
            "] of epoch %d with CRC %08x, another replica holds [%" PRId64 ", %" PRId64 "] of epoch %d with CRC %08x",
            index, ledger->plan->nodes[node].name, batch->base_offset, batch->last_offset, batch->leader_epoch,
            batch->crc, known->base_offset, known->last_offset, known->leader_epoch, known->crc);
    }
}

void cluster_ledger_walk(struct cluster_ledger *ledger, unsigned node, unsigned partition, struct ledger_walk *walk,
                         int64_t end, const struct fs_sim *disk, bool has_crc_check)
{
    struct span rest;
    while (walk->end < end && rest_of_log(ledger, partition, walk, disk, &rest)) {
        struct batch batch;
        if (batch_parse(rest, &batch) != ERR_OK || (has_crc_check && batch_check_crc(&batch) != ERR_OK)) {
            cluster_verdict_violation(ledger->verdict,
                                      "R10: partition %u: %s holds a damaged batch at offset %" PRId64
                                      " (segment %" PRId64 " byte %zu), below its high watermark %" PRId64,
                                      partition, ledger->plan->nodes[node].name, walk->end, walk->segment_base,
                                      walk->segment_pos, end);
            return;
        }
        struct ledger_batch seen = {.base_offset = batch.header.base_offset,
                                    .last_offset = batch_last_offset(&batch.header),
                                    .batch_bytes = batch.header.batch_bytes,
                                    .leader_epoch = batch.header.partition_leader_epoch,
                                    .crc = batch.header.crc};
        if (seen.last_offset >= end) {
            return;
        }
        compare(ledger, node, partition, walk->batch_index, &seen);
        walk->batch_index++;
        walk->segment_pos += seen.batch_bytes;
        walk->end = seen.last_offset + 1;
    }
}

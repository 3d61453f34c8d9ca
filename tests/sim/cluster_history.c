#include "tests/sim/cluster_history.h"

#include "tests/support/plain_mem.h"

void cluster_history_init(struct cluster_history *history, unsigned partition_count, struct cluster_verdict *verdict)
{
    CHECK(partition_count <= CLUSTER_PARTITIONS_MAX);
    *history = (struct cluster_history){.partition_count = partition_count, .verdict = verdict};
}

void cluster_history_done(struct cluster_history *history)
{
    for (unsigned i = 0; i < history->partition_count; i++) {
        plain_free(history->partitions[i].slots);
    }
}

bool cluster_history_has_room(const struct cluster_history *history)
{
    return history->session_count < CLUSTER_SESSIONS_MAX;
}

unsigned cluster_history_session(struct cluster_history *history, bool is_promised)
{
    CHECK(cluster_history_has_room(history));
    history->is_promised[history->session_count] = is_promised;
    return history->session_count++;
}

static struct history_slot *slot_at(struct history_partition *partition, int64_t offset)
{
    size_t index = (size_t)offset;
    if (index >= partition->slot_capacity) {
        size_t capacity = (index + 1) * 2;
        partition->slots = (struct history_slot *)plain_grow(partition->slots, capacity, sizeof(*partition->slots));
        memset(partition->slots + partition->slot_capacity, 0,
               (capacity - partition->slot_capacity) * sizeof(*partition->slots));
        partition->slot_capacity = capacity;
    }
    return &partition->slots[index];
}

/* One offset, one value, for ever. */
static struct history_slot *learn(struct cluster_history *history, unsigned partition_index, int64_t offset,
                                  unsigned session, uint64_t number, const char *how)
{
    struct history_partition *partition = &history->partitions[partition_index];
    struct history_slot *slot = slot_at(partition, offset);
    if (slot->is_known && (slot->session != session || slot->number != number)) {
        cluster_verdict_violation(history->verdict,
                                  "R1: partition %u offset %" PRId64 " held record %u:%" PRIu64 " (%s), now %u:%" PRIu64
                                  " is %s",
                                  partition_index, offset, slot->session, slot->number,
                                  slot->is_acknowledged ? "acknowledged" : "read", session, number, how);
    }
    slot->is_known = true;
    slot->session = (uint8_t)session;
    slot->number = number;
    partition->known_end = offset + 1 > partition->known_end ? offset + 1 : partition->known_end;
    return slot;
}

void cluster_history_acknowledged(struct cluster_history *history, unsigned partition, unsigned session,
                                  uint64_t first_number, unsigned count, int64_t base_offset)
{
    CHECK(partition < history->partition_count && session < history->session_count && history->is_promised[session]);
    uint64_t *end = &history->partitions[partition].acknowledged_end[session];
    *end = first_number + count > *end ? first_number + count : *end;
    history->acknowledged_count += count;
    for (unsigned i = 0; i < count && base_offset >= 0; i++) {
        learn(history, partition, base_offset + i, session, first_number + i, "acknowledged")->is_acknowledged = true;
    }
}

/* The prefix that was read has grown: R4 over what is new. */
static void walk(struct cluster_history *history, unsigned partition_index)
{
    struct history_partition *partition = &history->partitions[partition_index];
    while (partition->walked_end < partition->known_end && partition->slots[partition->walked_end].is_read) {
        const struct history_slot *slot = &partition->slots[partition->walked_end];
        uint64_t *next_number = &partition->next_number[slot->session];
        if (history->is_promised[slot->session] && slot->number != *next_number) {
            cluster_verdict_violation(
                history->verdict,
                "R4: partition %u offset %" PRId64 ": record %" PRIu64 " of session %u where %" PRIu64 " comes next",
                partition_index, partition->walked_end, slot->number, slot->session, *next_number);
        }
        *next_number = slot->number + 1;
        partition->walked_end++;
    }
}

void cluster_history_read(struct cluster_history *history, unsigned partition, int64_t wanted_offset, int64_t offset,
                          int64_t high_watermark, unsigned session, uint64_t number)
{
    if (partition >= history->partition_count || session >= history->session_count) {
        cluster_verdict_violation(history->verdict, "R10: partition %u offset %" PRId64 ": a record that nobody wrote",
                                  partition, offset);
        return;
    }
    if (offset != wanted_offset) {
        cluster_verdict_violation(history->verdict,
                                  "R1: partition %u: offset %" PRId64 " was read where %" PRId64 " comes next",
                                  partition, offset, wanted_offset);
    }
    if (offset >= high_watermark) {
        cluster_verdict_violation(history->verdict,
                                  "R3: partition %u: offset %" PRId64 " was read above the high watermark %" PRId64,
                                  partition, offset, high_watermark);
    }
    learn(history, partition, offset, session, number, "read")->is_read = true;
    walk(history, partition);
    history->read_count++;
}

void cluster_history_finish(struct cluster_history *history)
{
    for (unsigned i = 0; i < history->partition_count; i++) {
        const struct history_partition *partition = &history->partitions[i];
        if (partition->walked_end < partition->known_end) {
            cluster_verdict_violation(history->verdict,
                                      "R1: partition %u was read up to %" PRId64 ", but %" PRId64
                                      " was acknowledged or read",
                                      i, partition->walked_end, partition->known_end - 1);
        }
        for (unsigned session = 0; session < history->session_count; session++) {
            if (history->is_promised[session] &&
                partition->next_number[session] < partition->acknowledged_end[session]) {
                cluster_verdict_violation(
                    history->verdict,
                    "R1: partition %u: session %u was acknowledged up to record %" PRIu64 ", %" PRIu64 " are there", i,
                    session, partition->acknowledged_end[session], partition->next_number[session]);
            }
        }
    }
}

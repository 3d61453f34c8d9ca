#include "tests/sim/broker_checker.h"

#include "tests/support/plain_mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void broker_checker_init(struct broker_checker *checker, unsigned partition_count)
{
    CHECK(partition_count <= CHECKER_PARTITIONS_MAX);
    *checker = (struct broker_checker){.partition_count = partition_count};
}

void broker_checker_done(struct broker_checker *checker)
{
    for (unsigned i = 0; i < checker->partition_count; i++) {
        plain_free(checker->partitions[i].slots);
    }
}

void broker_checker_violation(struct broker_checker *checker, const char *format, ...)
{
    if (checker->violation_count++ == 0) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(checker->sentence, sizeof(checker->sentence), format, args);
        va_end(args);
    }
}

static struct checker_slot *slot_at(struct checker_partition *partition, int64_t offset)
{
    size_t index = (size_t)offset;
    if (index >= partition->slot_capacity) {
        size_t capacity = (index + 1) * 2;
        partition->slots = (struct checker_slot *)plain_grow(partition->slots, capacity, sizeof(*partition->slots));
        memset(partition->slots + partition->slot_capacity, 0,
               (capacity - partition->slot_capacity) * sizeof(*partition->slots));
        partition->slot_capacity = capacity;
    }
    return &partition->slots[index];
}

/* One offset, one value, for ever. */
static struct checker_slot *learn(struct broker_checker *checker, unsigned partition_index, int64_t offset,
                                  unsigned producer, uint64_t number, const char *how)
{
    struct checker_partition *partition = &checker->partitions[partition_index];
    struct checker_slot *slot = slot_at(partition, offset);
    if (slot->is_known && (slot->producer != producer || slot->number != number)) {
        broker_checker_violation(
            checker, "R1: partition %u offset %" PRId64 " held record %u:%" PRIu64 " (%s), now %u:%" PRIu64 " is %s",
            partition_index, offset, slot->producer, slot->number, slot->is_acknowledged ? "acknowledged" : "read",
            producer, number, how);
    }
    slot->is_known = true;
    slot->producer = (uint8_t)producer;
    slot->number = number;
    if (offset + 1 > partition->known_end_offset) {
        partition->known_end_offset = offset + 1;
    }
    return slot;
}

void broker_checker_acknowledged(struct broker_checker *checker, unsigned partition, unsigned producer,
                                 uint64_t first_number, unsigned count, int64_t base_offset)
{
    CHECK(partition < checker->partition_count && producer < CHECKER_PRODUCERS_MAX);
    uint64_t *end = &checker->partitions[partition].acknowledged_end[producer];
    *end = first_number + count > *end ? first_number + count : *end;
    checker->acknowledged_count += count;
    for (unsigned i = 0; i < count && base_offset >= 0; i++) {
        learn(checker, partition, base_offset + i, producer, first_number + i, "acknowledged")->is_acknowledged = true;
    }
}

void broker_checker_read(struct broker_checker *checker, struct checker_reader *reader, unsigned partition,
                         int64_t offset, int64_t high_watermark, unsigned producer, uint64_t number)
{
    CHECK(partition < checker->partition_count && producer < CHECKER_PRODUCERS_MAX);
    if (offset != reader->next_offset[partition]) {
        broker_checker_violation(checker, "R1: partition %u: offset %" PRId64 " was read where %" PRId64 " comes next",
                                 partition, offset, reader->next_offset[partition]);
    }
    if (offset >= high_watermark) {
        broker_checker_violation(checker,
                                 "R3: partition %u: offset %" PRId64 " was read above the high watermark %" PRId64,
                                 partition, offset, high_watermark);
    }
    uint64_t *next_number = &reader->next_number[partition][producer];
    if (number != *next_number) {
        broker_checker_violation(checker,
                                 "R4: partition %u offset %" PRId64 ": record %" PRIu64 " of producer %u where %" PRIu64
                                 " comes next",
                                 partition, offset, number, producer, *next_number);
    }
    learn(checker, partition, offset, producer, number, "read")->is_read = true;
    reader->next_offset[partition] = offset + 1;
    *next_number = number + 1;
    checker->read_count++;
}

void broker_checker_finish(struct broker_checker *checker, const struct checker_reader *reader)
{
    for (unsigned i = 0; i < checker->partition_count; i++) {
        const struct checker_partition *partition = &checker->partitions[i];
        if (reader->next_offset[i] < partition->known_end_offset) {
            broker_checker_violation(checker,
                                     "R1: partition %u ends at %" PRId64 ", but %" PRId64 " was acknowledged or read",
                                     i, reader->next_offset[i], partition->known_end_offset - 1);
        }
        for (unsigned producer = 0; producer < CHECKER_PRODUCERS_MAX; producer++) {
            if (reader->next_number[i][producer] < partition->acknowledged_end[producer]) {
                broker_checker_violation(
                    checker,
                    "R1: partition %u: producer %u was acknowledged up to record %" PRIu64 ", %" PRIu64 " are there", i,
                    producer, partition->acknowledged_end[producer], reader->next_number[i][producer]);
            }
        }
    }
}

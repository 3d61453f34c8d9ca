/* offset_index: the .index file of a segment: where batches begin. Sparse, about one entry per index.interval.bytes of log.
 *
 * Shape:     entries of 8 bytes, in rising order of both fields:
 *
 *      pos bytes field           note
 *        0   4   relativeOffset  last offset of the batch - base offset of the segment
 *        4   4   position        where that batch begins in the .log file
 *
 *            The entries of the active segment that are not in the file yet are kept in memory (struct index_tail).
 * Limits:    OFFSET_INDEX_ENTRIES_MAX.
 * Errors:    those of reading; ERR_WOULD_BLOCK when `may_block` is false and the bytes are not cached. Damaged entries are
 *            not detected here: who follows an entry checks that the batch found there has the entry's offset.
 * Threads:   pure, or on an immutable part of a file.
 * Source:    Kafka 4.3 OffsetIndex.
 */
#ifndef BROKER_STORAGE_OFFSET_INDEX_H
#define BROKER_STORAGE_OFFSET_INDEX_H

#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OFFSET_INDEX_ENTRY_BYTES 8u
#define OFFSET_INDEX_ENTRIES_MAX (UINT32_C(1) << 28)

struct file;

struct offset_entry {
    int32_t relative_offset;
    uint32_t position;
};

void offset_entry_encode(struct offset_entry entry, uint8_t *ret_bytes);
struct offset_entry offset_entry_decode(const uint8_t *bytes);

/* The last of the file's `count` entries with relative_offset <= `relative_offset`; ERR_NOT_FOUND when the first is above. */
enum err offset_index_floor(struct file *file, uint32_t count, int32_t relative_offset, bool may_block,
                            struct offset_entry *ret_entry) MUST_USE;
/* The last entry with position <= `position` and relative_offset < `below_relative_offset`. */
enum err offset_index_floor_position(struct file *file, uint32_t count, uint32_t position,
                                     int64_t below_relative_offset, bool may_block,
                                     struct offset_entry *ret_entry) MUST_USE;
/* The same in memory; the number of entries that satisfy the condition. */
size_t offset_entries_floor(const struct offset_entry *entries, size_t count, int32_t relative_offset);
size_t offset_entries_floor_position(const struct offset_entry *entries, size_t count, uint32_t position,
                                     int64_t below_relative_offset);

#endif

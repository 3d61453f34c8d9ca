/* time_index: the .timeindex file of a segment: how far timestamps had come at an offset.
 *
 * Shape:     entries of 12 bytes, timestamps rising:
 *
 *      pos bytes field           note
 *        0   8   timestamp       ms: the largest in the segment up to here
 *        8   4   relativeOffset  last offset of the batch that has it - base offset of the segment
 *
 *            The last entry of a sealed segment is its largest timestamp (retention by time reads it).
 * Errors:    those of reading. Nothing above depends on the entries being right but where a search begins and how long
 *            a segment is kept; both check.
 * Threads:   pure, or on an immutable part of a file. Blocking.
 * Source:    KIP-33; Kafka 4.3 TimeIndex.
 */
#ifndef BROKER_STORAGE_TIME_INDEX_H
#define BROKER_STORAGE_TIME_INDEX_H

#include "common/err.h"

#include <stddef.h>
#include <stdint.h>

#define TIME_INDEX_ENTRY_BYTES 12u

struct file;

struct time_entry {
    int64_t timestamp_ms;
    int32_t relative_offset;
};

void time_entry_encode(struct time_entry entry, uint8_t *ret_bytes);
struct time_entry time_entry_decode(const uint8_t *bytes);

/* The last of the file's `count` entries with a timestamp below `timestamp_ms`; ERR_NOT_FOUND when none. */
enum err time_index_below(struct file *file, uint32_t count, int64_t timestamp_ms,
                          struct time_entry *ret_entry) MUST_USE;
/* Entry `index` of the file. */
enum err time_index_read(struct file *file, uint32_t index, struct time_entry *ret_entry) MUST_USE;

#endif

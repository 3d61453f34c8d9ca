/* retain: which old segments may go: the choice alone, nothing is touched.
 *
 * Shape:     segments in order, the last one active. The answer is the new log start: the base offset of the first
 *            segment that stays.
 * Units:     ms since 1970, bytes.
 * Errors:    none.
 * Threads:   pure.
 * Source:    KIP-107; correctness.md 4, trap 18 (never at or above the high watermark); testing.md 10, row 29 (clock jumps).
 */
#ifndef BROKER_STORAGE_RETAIN_H
#define BROKER_STORAGE_RETAIN_H

#include "broker/storage/log_types.h"

struct retain_segment {
    int64_t base_offset;
    int64_t next_base_offset; /* of the segment behind it; of the last one: the log end */
    uint64_t bytes;
    int64_t max_timestamp_ms; /* LOG_NO_TIMESTAMP_MS: no records */
    int64_t modified_ms;      /* of the file, or when its last bytes were written */
};

struct retain_input {
    const struct retain_segment *segments;
    size_t segment_count;
    int64_t log_start_offset;
    int64_t high_watermark;
    int64_t now_ms;
    int64_t retention_ms;    /* -1: none */
    int64_t retention_bytes; /* -1: none */
    bool has_delete_policy;
};

/* The new log start, >= log_start_offset. */
int64_t retain_choose(const struct retain_input *input);

#endif

/* record_walk: one pass over the records of a batch that checks their structure and some rules, and keeps nothing of
 * them. It is the hot path of produce, so it takes the bytes from memory as they are, or window by window from a
 * decompressor: a record may be larger than a window.
 *
 * Errors:    the first problem, in the order of the records.
 * Ownership: borrowed.
 * Threads:   pure, but for the decompressor.
 * Source:    the format is in iter.h, the verdicts in validate.h.
 */
#ifndef PROTO_RECORD_RECORD_WALK_H
#define PROTO_RECORD_RECORD_WALK_H

#include "proto/record/validate.h"

struct walk_rules {
    bool is_key_required;
    /* Inclusive bounds of timestamps; BATCH_NO_TIMESTAMP_MS is always allowed. */
    int64_t timestamp_ms_min;
    int64_t timestamp_ms_max;
};

#define WALK_RULES_NONE ((struct walk_rules){.timestamp_ms_min = INT64_MIN, .timestamp_ms_max = INT64_MAX})

/* Sets every field of *ret_report. */
void records_walk(const struct batch *batch, const struct walk_rules *rules, struct decompressor *decompressor,
                  struct batch_report *ret_report);

#endif

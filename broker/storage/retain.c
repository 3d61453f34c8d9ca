#include "broker/storage/retain.h"

/* Old by its own records. A record from the future keeps its segment, as in Kafka; a segment without records (all of them
 * compacted away) goes by the age of its file. */
static bool is_expired(const struct retain_segment *segment, const struct retain_input *input)
{
    if (input->retention_ms < 0) {
        return false;
    }
    int64_t newest_ms =
        segment->max_timestamp_ms == LOG_NO_TIMESTAMP_MS ? segment->modified_ms : segment->max_timestamp_ms;
    return input->now_ms - newest_ms > input->retention_ms;
}

int64_t retain_choose(const struct retain_input *input)
{
    int64_t start_offset = input->log_start_offset;
    uint64_t total_bytes = 0;
    for (size_t i = 0; i < input->segment_count; i++) {
        total_bytes += input->segments[i].bytes;
    }
    /* The active segment stays: an age-based roll makes it go later. */
    for (size_t i = 0; i + 1 < input->segment_count; i++) {
        const struct retain_segment *segment = &input->segments[i];
        if (segment->next_base_offset > input->high_watermark) {
            break;
        }
        bool is_below_start = segment->next_base_offset <= input->log_start_offset;
        bool is_over_size =
            input->retention_bytes >= 0 && total_bytes - segment->bytes >= (uint64_t)input->retention_bytes;
        bool may_go = is_below_start || (input->has_delete_policy && (is_over_size || is_expired(segment, input)));
        if (!may_go) {
            break;
        }
        total_bytes -= segment->bytes;
        if (segment->next_base_offset > start_offset) {
            start_offset = segment->next_base_offset;
        }
    }
    return start_offset;
}

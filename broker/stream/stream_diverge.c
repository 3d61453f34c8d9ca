#include "broker/stream/stream_diverge.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

struct stream_cut stream_diverge_decide(const struct stream_history *history)
{
    struct stream_cut cut = {.offset = history->end_offset};
    if (history->leader_epoch_end_offset < 0) {
        /* The leader's log begins after all that the follower knows. From 0 on: the next answer says where its log begins. */
        return (struct stream_cut){.offset = 0, .is_full = true};
    }
    cut.offset = least(cut.offset, history->leader_epoch_end_offset);
    if (history->epoch_end_offset >= 0) {
        cut.offset = least(cut.offset, history->epoch_end_offset);
    }
    cut.is_full = cut.offset < history->log_start_offset;
    return cut;
}

/* Until partitions have followers (core's next commit replaces this file): nobody can subscribe, and nobody follows. */
#include "broker/replica/replica_link.h"
#include "common/check.h"

void partition_subscribe(struct partition *partition, const struct replica_subscription *subscription,
                         struct replica_cursor *cursor, struct replica_position *ret_position)
{
    (void)partition;
    (void)subscription;
    (void)cursor;
    *ret_position = (struct replica_position){.error = ERROR_NOT_LEADER_OR_FOLLOWER};
}

void partition_unsubscribe(struct replica_cursor *cursor)
{
    (void)cursor;
}

void partition_cursor_sent(struct replica_cursor *cursor, int64_t end_offset)
{
    (void)cursor;
    (void)end_offset;
    UNREACHABLE();
}

bool partition_acknowledge(struct replica_cursor *cursor, int32_t leader_epoch, int64_t counted_end)
{
    (void)cursor;
    (void)leader_epoch;
    (void)counted_end;
    return false;
}

enum err partition_append_replicated(struct partition *partition, int32_t leader_epoch, struct span batches,
                                     int64_t high_watermark, int64_t log_start_offset)
{
    (void)partition;
    (void)leader_epoch;
    (void)batches;
    (void)high_watermark;
    (void)log_start_offset;
    UNREACHABLE();
}

void partition_truncate(struct partition *partition, int32_t leader_epoch, int64_t offset, bool is_full,
                        log_done_fn done, void *ctx)
{
    (void)partition;
    (void)leader_epoch;
    (void)offset;
    (void)is_full;
    (void)done;
    (void)ctx;
    UNREACHABLE();
}

void partition_epoch_end(const struct partition *partition, int32_t leader_epoch, int32_t *ret_epoch,
                         int64_t *ret_end_offset)
{
    (void)partition;
    (void)leader_epoch;
    (void)ret_epoch;
    (void)ret_end_offset;
    UNREACHABLE();
}

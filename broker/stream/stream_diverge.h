/* stream_diverge: where a follower cuts its log when its history is not its leader's. A pure decision.
 *
 * Shape:     the leader answered a subscription (end offset, last epoch) with the largest epoch that it knows up to the follower's last
 *            one, and with that epoch's end. The follower takes its own end of the largest epoch that it knows up to the leader's, and cuts
 *            to the smallest of both ends and its log end. If the leader's epoch was unknown to it, the answer to the next subscription
 *            says more; every round drops an epoch or ends.
 * Units:     ends are exclusive offsets.
 * Threads:   values.
 * Source:    correctness.md 4, trap 1; KIP-101, KIP-279, KIP-595 (DivergingEpoch).
 */
#ifndef BROKER_STREAM_STREAM_DIVERGE_H
#define BROKER_STREAM_STREAM_DIVERGE_H

#include <stdbool.h>
#include <stdint.h>

struct stream_history {
    int64_t log_start_offset; /* the follower's */
    int64_t end_offset;
    int64_t epoch_end_offset;        /* own end of the largest own epoch <= the diverging one; negative: none */
    int64_t leader_epoch_end_offset; /* negative: the leader knows no epoch so old */
};

struct stream_cut {
    int64_t offset;
    bool is_full; /* nothing that the follower has is the leader's: drop everything, begin at `offset` */
};

struct stream_cut stream_diverge_decide(const struct stream_history *history);

#endif

/* cluster_history: what clients were promised and what they saw, over all partitions, and whether it fits: R1, R3 and R4 of
 * correctness.md. It lives outside of all nodes.
 *
 * Shape:     per partition a growing array by offset: which record (session, number) was acknowledged or read there. A session
 *            is one life of a producer; an idempotent one numbers its records per partition from 0 without gaps, so in the
 *            order of offsets its numbers must be 0, 1, 2, ...: a gap is a lost record or a hole, a repetition a duplicate, a
 *            step back a wrong order. Checked once, where the known prefix of a partition grows.
 *            Sessions without a promise (acks=1) only take part in "one offset, one value, once it was read".
 * Errors:    cluster_verdict.
 * Threads:   one.
 * Source:    correctness.md 1 (R1, R3, R4), testing.md 7.
 */
#ifndef TESTS_SIM_CLUSTER_HISTORY_H
#define TESTS_SIM_CLUSTER_HISTORY_H

#include "tests/sim/cluster_plan.h"
#include "tests/sim/cluster_verdict.h"

#define CLUSTER_SESSIONS_MAX 64

struct history_slot {
    uint64_t number;
    uint8_t session;
    bool is_known;
    bool is_acknowledged;
    bool is_read;
};

struct history_partition {
    struct history_slot *slots; /* by offset */
    size_t slot_capacity;
    int64_t known_end;  /* behind the highest that is known */
    int64_t walked_end; /* every offset below was read; numbers were checked */
    uint64_t next_number[CLUSTER_SESSIONS_MAX];
    uint64_t acknowledged_end[CLUSTER_SESSIONS_MAX]; /* numbers below were acknowledged */
};

struct cluster_history {
    struct cluster_verdict *verdict;
    unsigned partition_count;
    unsigned session_count;
    bool is_promised[CLUSTER_SESSIONS_MAX];
    struct history_partition partitions[CLUSTER_PARTITIONS_MAX];
    uint64_t acknowledged_count;
    uint64_t read_count;
};

void cluster_history_init(struct cluster_history *history, unsigned partition_count, struct cluster_verdict *verdict);
void cluster_history_done(struct cluster_history *history);

/* Another life of a producer. CHECKs that there is room. */
unsigned cluster_history_session(struct cluster_history *history, bool is_promised);
bool cluster_history_has_room(const struct cluster_history *history);
/* Records [first_number, +count) of a promised session were acknowledged at base_offset (-1: the reply named none). */
void cluster_history_acknowledged(struct cluster_history *history, unsigned partition, unsigned session,
                                  uint64_t first_number, unsigned count, int64_t base_offset);
/* A reader who wanted `wanted_offset` got this record. */
void cluster_history_read(struct cluster_history *history, unsigned partition, int64_t wanted_offset, int64_t offset,
                          int64_t high_watermark, unsigned session, uint64_t number);
/* After everything was read from the beginning to the ends: all that was acknowledged must have been there. */
void cluster_history_finish(struct cluster_history *history);

#endif

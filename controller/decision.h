/* decision: what the controls have in common: what they look at, and how they refuse. A decision is a pure function: (image,
 * request, ids and numbers drawn before) -> records, or a Kafka error code with a message that names cause, numbers, remedy.
 *
 * Ownership: records and messages lie in the decision's arena.
 * Threads:   pure functions.
 */
#ifndef CONTROLLER_DECISION_H
#define CONTROLLER_DECISION_H

#include "controller/image.h"
#include "controller/meta_codec.h"
#include "proto/wire/error_code.h"

struct option_table;

/* The settings that decisions follow; from controller_options. */
struct decision_defaults {
    int32_t num_partitions;
    int32_t default_replication_factor;
    int32_t min_insync_replicas;
    bool is_cached;                            /* log.durability */
    bool allows_unclean;                       /* unclean.leader.election.enable */
    int32_t partitions_max;                    /* 0: no bound */
    const struct option_table *broker_options; /* rows that may be changed while running; NULL: none */
};

/* One decision under way. */
struct decision {
    const struct image *image; /* what is committed, and what earlier decisions of the same entry will make of it */
    const struct decision_defaults *defaults;
    struct meta_records *records;
    struct arena *arena;
    uint64_t seed; /* drawn before: where placement begins */
};

struct decision_result {
    int16_t code;        /* ERROR_NONE: decided */
    struct span message; /* null when none */
    /* The records are a first part, sound in itself: they are committed, and the decision is made again upon the result, until
     * it is not partial any more. Only then it is answered. Set by decisions upon a whole broker (partition_sweep.h). */
    bool is_partial;
};

/* Sets the result and returns false, for `return decision_refuse(...)`. */
bool decision_refuse(struct decision *decision, struct decision_result *result, int16_t code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* For "%.*s", cut to what fits a message. */
#define DECISION_TEXT(span) (int)((span).bytes < 256 ? (span).bytes : 256), (const char *)(span).data

#endif

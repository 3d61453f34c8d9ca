/* crash_tape: every state-changing file operation of a run, with its bytes, and file systems rebuilt from a part of it.
 *
 * Shape:     an array of operations in their order. An operation is durable once a later sync covers it: of its file for bytes
 *            and sizes, of a directory that it touches for names, of the file system for everything.
 * Ownership: crash_tape_done frees the copies. Replays go to a file system of the caller's.
 * Threads:   one.
 * Source:    testing.md 3.
 */
#ifndef TESTS_CRASH_CRASH_TAPE_H
#define TESTS_CRASH_CRASH_TAPE_H

#include "tests/support/fs_sim.h"

#define CRASH_TAPE_NEVER SIZE_MAX

struct crash_op {
    struct fs_sim_change change; /* paths and bytes are the tape's */
    size_t durable_index;        /* the operation that made this one durable; CRASH_TAPE_NEVER */
};

struct crash_tape {
    struct crash_op *ops;
    size_t count;
    size_t capacity;
};

/* Which part of a tape reached the disk: its first `count` operations, but for those left out. */
struct crash_part {
    size_t count;
    size_t omitted_index;   /* this one not; CRASH_TAPE_NEVER: none */
    size_t first_lost_name; /* no name from this one on that is not durable by then; CRASH_TAPE_NEVER: none */
    /* Of the operation behind the last one, a write, these bytes; end 0: nothing. */
    size_t torn_start;
    size_t torn_end;
};

#define CRASH_PART_OF(operation_count)                                                                                 \
    ((struct crash_part){                                                                                              \
        .count = (operation_count), .omitted_index = CRASH_TAPE_NEVER, .first_lost_name = CRASH_TAPE_NEVER})

/* From now on, until fs_sim_set_tape(sim, NULL, NULL). */
void crash_tape_record(struct crash_tape *tape, struct fs_sim *sim);
/* Finds out what became durable when; once, behind the last operation. */
void crash_tape_settle(struct crash_tape *tape);
void crash_tape_done(struct crash_tape *tape);

bool crash_op_is_bytes(const struct crash_op *op);
bool crash_op_is_name(const struct crash_op *op);
/* Not durable when the first `count` operations were made. */
bool crash_op_is_pending(const struct crash_op *op, size_t count);
const char *crash_op_name(const struct crash_op *op);

/* `sim` is new and empty. No file stays open. What depends on something omitted does not happen. */
void crash_tape_replay(const struct crash_tape *tape, const struct crash_part *part, struct fs_sim *sim);

#endif

/* log_script: random operations on one log, beside a model that is an array of batches. After any crash the log must be what the
 * model allows: everything that was reported synced, a prefix of what was appended, epochs and producers to match.
 *
 * Seeds:     the same seed gives the same operations.
 * Ownership: log_script_done frees the model; the harness is the caller's.
 * Threads:   one.
 */
#ifndef TESTS_UNIT_STORAGE_LOG_SCRIPT_H
#define TESTS_UNIT_STORAGE_LOG_SCRIPT_H

#include "tests/unit/storage/log_harness.h"

#define SCRIPT_PRODUCERS 3

struct script_batch {
    int64_t base_offset;
    int64_t next_offset;
    uint64_t content;
    int32_t epoch;
};

struct script_producer {
    int32_t next_sequence;
    int16_t epoch;
    bool is_open; /* has an open transaction */
    bool is_known;
};

struct log_script {
    struct harness *harness;
    struct prop prop;
    struct script_batch *batches;
    size_t count;
    size_t capacity;
    int64_t start_offset;
    int64_t end_offset;
    int64_t synced_offset; /* at least so far it was reported synced */
    int64_t high_watermark;
    int32_t epoch;
    uint64_t next_content;
    struct script_producer producers[SCRIPT_PRODUCERS];
    bool is_follower; /* set it before log_script_begin: batches come stamped by a leader, several at a time */
    /* Below it the directory says itself that everything was on disk: damage there must be told, never cut. */
    int64_t stated_offset;
    int64_t
        checkpoint_offset; /* as far as the checkpoint files say it; truncation makes the log's own marks say less */
    /* An operation that may or may not have happened when the disk crashed. */
    int64_t append_offset;     /* an append there was under way; INT64_MAX: none */
    int64_t least_end_offset;  /* a truncation to it was under way; INT64_MAX: none */
    int64_t most_start_offset; /* deletion up to it was under way */
    int64_t discard_offset;    /* truncate_fully to it was under way; -1: none */
};

void log_script_init(struct log_script *script, struct harness *harness, uint64_t seed);
void log_script_done(struct log_script *script);
/* Makes the log and its first epoch. */
enum err log_script_begin(struct log_script *script);
/* One random operation; ERR_OK, or the error with which the disk ended it. Checks what it sees. */
enum err log_script_step(struct log_script *script);
/* Writes the directory's checkpoint files, as the broker does every few seconds. */
enum err log_script_checkpoint(struct log_script *script);
/* The directory was opened again after a crash of this mode: is the log one that the model allows? Fails the test otherwise, and
 * takes over what it found. */
void log_script_check_recovered(struct log_script *script, bool lost_power);
/* Reads everything and compares: contents, epochs, producers. */
void log_script_check_all(struct log_script *script);

#endif

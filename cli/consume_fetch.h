/* consume_fetch: reads partitions of one topic from their leaders and hands every record that a consumer may see to
 * a function.
 *
 * Shape:     rounds of one Fetch request to each leader; a partition is done at its end offset.
 * Errors:    false from consume_fetch_run: `problem` says why.
 * Ownership: partitions are the caller's; records are borrowed by on_record for the call.
 * Threads:   the main thread.
 * Source:    KIP-98 (control batches, aborted transactions), KIP-227 (sessionless fetch), KIP-516 (topic ids).
 */
#ifndef CLI_CONSUME_FETCH_H
#define CLI_CONSUME_FETCH_H

#include "cli/offset_list.h"
#include "cli/topic_map.h"
#include "proto/record/iter.h"

#define CONSUME_END_NEVER INT64_MAX

struct fetch_response_partition_data;

struct consume_partition {
    int32_t index;
    int64_t next_offset;
    int64_t end_offset; /* the first that is not wanted; CONSUME_END_NEVER: follow */
};

/* false: enough. */
typedef bool (*consume_record_fn)(void *ctx, int32_t partition, const struct record *record);

struct consume_fetch {
    struct session *session;
    struct topic_map *map;
    enum isolation isolation;
    struct consume_partition *partitions;
    size_t partition_count;
    consume_record_fn on_record;
    void (*on_round)(void *ctx); /* after the records of a round, for what is not to wait */
    void *ctx;
    uint32_t patience_ms; /* without any progress */
    /* the run's own */
    struct decompressor *decompressor;
    struct bytebuf plain;
    uint64_t progress_ms;
    bool is_enough;
    bool has_failed;
    char problem[CLIENT_PROBLEM_BYTES];
};

/* Until every partition is done, on_record has enough, or the session is interrupted. */
bool consume_fetch_run(struct consume_fetch *fetch);

/* Takes the records of one partition's answer (consume_records.c). */
void consume_records_take(struct consume_fetch *fetch, struct consume_partition *partition,
                          const struct fetch_response_partition_data *answer);
/* Notes the first failure. */
void consume_fetch_fail(struct consume_fetch *fetch, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

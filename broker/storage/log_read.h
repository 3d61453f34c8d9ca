/* log_read: finding bytes of a log for a reader: planned on the log's thread, run there without blocking or in the pool.
 *
 * Shape:     log_read_plan (on the log's thread: references to the files, nothing read)
 *            -> log_read_try (same thread; ERR_WOULD_BLOCK when the disk would have to be asked)
 *            -> else log_read_run in a pool job (reads the bytes into the page cache)
 *            -> `slice`: whole batches of one segment, first batch holds the wanted offset
 *            -> log_read_done, on any thread.
 * Limits:    max_bytes, except that with `wants_one` the first batch is given whole however large it is.
 * Errors:    plan: ERR_OUT_OF_RANGE (offset below the log start or above the log end), ERR_IO (failed directory).
 *            try, run: ERR_WOULD_BLOCK (try only), ERR_CORRUPT, ERR_IO. An empty slice (bytes == 0) means: nothing to
 *            give between `offset` and `end_offset` now; when its next_offset is above the wanted offset, the records
 *            up to there were compacted away and the next read begins there.
 * Ownership: a plan owns references to files; the slice's file stays valid until log_read_done, take a reference
 *            (file_ref) to keep it longer. Truncation and deletion never touch bytes of a referenced file (trap 20).
 * Threads:   as above. A plan is immutable to the log: nothing it does later changes the result.
 * Source:    design.md 6 (Fetch); KIP-98 (read_committed).
 */
#ifndef BROKER_STORAGE_LOG_READ_H
#define BROKER_STORAGE_LOG_READ_H

#include "broker/storage/log_types.h"

struct file;
struct partition_log;
struct read_source; /* references to one segment's files: segment.h */

struct log_read_request {
    int64_t offset;     /* first wanted offset; the slice begins with the batch that holds it */
    int64_t end_offset; /* exclusive: high watermark, last stable offset or log end */
    size_t max_bytes;
    bool wants_one;     /* at least one batch, also when larger than max_bytes */
    bool wants_aborted; /* read_committed: fill `aborted` */
    bool is_hot;        /* all of it was appended a moment ago: the page cache has it, log_read_try need not ask */
};

struct log_slice {
    struct file *file; /* borrowed from the read */
    uint64_t pos;
    size_t bytes;         /* 0: nothing */
    int64_t first_offset; /* base offset of the first batch (<= the wanted offset) */
    int64_t next_offset;  /* behind the last batch's last offset */
};

struct log_read {
    struct log_read_request request;
    struct log_slice slice;
    struct aborted_txn *aborted; /* overlapping the slice; mem */
    size_t aborted_count;
    struct read_source *sources; /* the segment read from, then those whose aborted transactions may reach into it */
    size_t source_count;
};

enum err log_read_plan(struct partition_log *log, const struct log_read_request *request,
                       struct log_read *ret_read) MUST_USE;
enum err log_read_try(struct log_read *read) MUST_USE;
enum err log_read_run(struct log_read *read) MUST_USE;
void log_read_done(struct log_read *read);

/* The first record at or after a time (ListOffsets), planned and run in the same way (always in the pool). */
enum log_time_kind { LOG_TIME_AT_OR_AFTER, LOG_TIME_MAX };

struct log_time_query {
    enum log_time_kind kind;
    int64_t timestamp_ms;
    int64_t end_offset; /* exclusive: only records below count */
    int64_t start_offset;
    /* result; offset LOG_NO_OFFSET when there is no such record */
    int64_t offset;
    int64_t found_timestamp_ms;
    int32_t leader_epoch;
    struct read_source *sources;
    size_t source_count;
};

enum err log_time_plan(struct partition_log *log, enum log_time_kind kind, int64_t timestamp_ms, int64_t end_offset,
                       struct log_time_query *ret_query) MUST_USE;
/* Blocking. */
enum err log_time_run(struct log_time_query *query) MUST_USE;
void log_time_done(struct log_time_query *query);

#endif

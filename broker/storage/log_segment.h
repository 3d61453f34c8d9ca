/* log_segment: one segment of a log: its files, how far they go, and the index entries that are not in their files yet.
 *
 * Shape:     BASE.log, and beside it BASE.index, BASE.timeindex (made with the first entries), BASE.txnindex (made with the first
 *            aborted transaction). Only the last segment of a log grows.
 * Limits:    INDEX_TAIL_ENTRIES_MAX entries wait in memory, the next flush writes them to the page cache.
 * Errors:    those of fs; the caller fails the directory.
 * Ownership: the log owns its segments; descriptors belong to the worker's file cache.
 * Threads:   the log's thread, or the one job that opens the log.
 * Source:    Kafka 4.3 LogSegment; docs/storage_format.md.
 */
#ifndef BROKER_STORAGE_LOG_SEGMENT_H
#define BROKER_STORAGE_LOG_SEGMENT_H

#include "broker/storage/file_cache.h"
#include "broker/storage/log_types.h"
#include "broker/storage/offset_index.h"
#include "broker/storage/time_index.h"
#include "proto/record/batch.h"

#define INDEX_TAIL_ENTRIES_MAX 64u
/* The largest timestamp has not been read from the time index yet. */
#define SEGMENT_TIMESTAMP_UNKNOWN INT64_MIN

enum segment_file { SEGMENT_LOG, SEGMENT_OFFSET_INDEX, SEGMENT_TIME_INDEX, SEGMENT_TXN_INDEX };
#define SEGMENT_FILE_COUNT 4u

struct log_segment {
    int64_t base_offset;
    uint64_t bytes;        /* of the .log file */
    uint64_t synced_bytes; /* of them on disk */
    uint64_t txn_index_bytes;
    int64_t max_timestamp_ms;     /* SEGMENT_TIMESTAMP_UNKNOWN, LOG_NO_TIMESTAMP_MS: no records */
    int64_t max_timestamp_offset; /* last offset of the batch that has it */
    int64_t first_timestamp_ms;   /* of the first batch, for rolling by age */
    int64_t modified_ms;
    int64_t indexed_timestamp_ms; /* of the last time entry, in the file or the tail */
    uint32_t offset_entry_count;  /* in the file */
    uint32_t time_entry_count;
    bool is_name_synced;    /* its directory entries are on disk */
    bool is_index_unsynced; /* index files have been written since they were synced */
    struct file
        *unsynced_log; /* a reference while bytes > synced_bytes: the descriptor that saw the writes must be the one
                                * that syncs them, or an error could be missed (correctness.md 7) */
    struct file_cache_entry files[SEGMENT_FILE_COUNT];
};

/* Entries of the growing segment that are not in its files yet. */
struct index_tail {
    struct offset_entry offsets[INDEX_TAIL_ENTRIES_MAX];
    struct time_entry times[INDEX_TAIL_ENTRIES_MAX];
    uint32_t offset_count;
    uint32_t time_count;
    uint64_t bytes_since_entry;
};

struct log_segment *log_segment_new(int64_t base_offset);
/* Closes its files. */
void log_segment_free(struct log_segment *segment, struct file_cache *files);
void log_segment_close_files(struct log_segment *segment, struct file_cache *files);
const char *log_segment_suffix(enum segment_file which);

/* The open file; made when it does not exist. Borrowed. */
enum err log_segment_file(struct log_segment *segment, struct file_cache *files, const char *log_path,
                          enum segment_file which, struct file **ret_file) MUST_USE;
/* A batch stands at `pos` (the file is that long now or longer): updates timestamps and, every index_interval_bytes, adds entries
 * to the tail, which has room (log_segment_flush). */
void log_segment_note_batch(struct log_segment *segment, struct index_tail *tail, const struct batch_header *header,
                            uint64_t pos, int32_t index_interval_bytes);
bool log_segment_tail_is_full(const struct index_tail *tail);
/* Writes the tail's entries to the index files (page cache). With `is_last` also the largest timestamp, as sealed segments end. */
enum err log_segment_flush(struct log_segment *segment, struct index_tail *tail, struct file_cache *files,
                           const char *log_path, bool is_last) MUST_USE;
enum err log_segment_add_aborted(struct log_segment *segment, struct file_cache *files, const char *log_path,
                                 const struct aborted_txn *txn) MUST_USE;
uint32_t log_segment_offset_entries(const struct log_segment *segment, const struct index_tail *tail);

#endif

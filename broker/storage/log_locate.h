/* log_locate: where in a segment an offset stands, and how far whole batches reach: indexes first, then a short walk.
 *
 * Errors:    those of batch_scan.h. An index entry that does not lead to the batch it names is not believed: the walk then begins
 *            at the start of the segment. Index files have no checksum; the batches that they name are what they are checked against.
 * Ownership: sources own references to their files.
 * Threads:   any: a source is immutable.
 */
#ifndef BROKER_STORAGE_LOG_LOCATE_H
#define BROKER_STORAGE_LOG_LOCATE_H

#include "broker/storage/log_types.h"
#include "broker/storage/time_index.h"
#include "proto/record/batch.h"

struct file;

/* A place where a batch begins: `offset` is its first, or the end of the log. */
struct read_place {
    int64_t offset; /* LOG_NO_OFFSET: not known */
    uint64_t pos;
};

struct read_source {
    struct file *log;
    struct file *offset_index; /* NULL: no entries */
    struct file *time_index;
    struct file *txn_index;
    int64_t base_offset;
    int64_t end_offset; /* of the bytes below `bytes` */
    uint64_t bytes;
    uint32_t offset_entry_count;
    uint32_t time_entry_count;
    uint64_t txn_index_bytes;
    struct read_place start; /* known place at or before the wanted offset */
    struct read_place end;   /* known place at or before the wanted end */
};

/* Drops the source's references. */
void read_source_done(struct read_source *source);

/* The batch that holds `offset`, or the first one behind it; ERR_END when there is none below the source's end. */
enum err log_locate_batch(const struct read_source *source, int64_t offset, bool may_block, uint64_t *ret_pos,
                          struct batch_header *ret_header) MUST_USE;
/* The batch that a time index entry names: ERR_CORRUPT unless it ends at the entry's offset and the entry's time is its largest. Blocks. */
enum err log_locate_time_entry(const struct read_source *source, struct time_entry entry, uint64_t *ret_pos) MUST_USE;
/* The end of the last whole batch that begins at or behind the batch at `start` (header `first`), ends at or below `limit_pos`
 * and has all offsets below `end_offset`: position and next offset. start->pos itself when not even the first does. */
enum err log_locate_end(const struct read_source *source, uint64_t start_pos, const struct batch_header *first,
                        uint64_t limit_pos, int64_t end_offset, bool may_block, struct read_place *ret_end) MUST_USE;

#endif

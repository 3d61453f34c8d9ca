/* offset_checkpoint: Kafka's checkpoint files of a log directory: one offset for each partition.
 *
 * Shape:     text: "0", the count, "TOPIC PARTITION OFFSET" lines, then our last line (side_file.h) with the number of the set.
 * Limits:    OFFSET_CHECKPOINT_ROWS_MAX rows.
 * Errors:    decode: ERR_CORRUPT; the file then counts as missing.
 * Ownership: owns its rows.
 * Threads:   one at a time; find on a decoded one: any.
 * Source:    Kafka 4.3 OffsetCheckpointFile.
 */
#ifndef BROKER_STORAGE_OFFSET_CHECKPOINT_H
#define BROKER_STORAGE_OFFSET_CHECKPOINT_H

#include "common/bytebuf.h"

#define OFFSET_CHECKPOINT_ROWS_MAX 1000000u

struct offset_row {
    char *topic;
    int32_t partition_index;
    int64_t offset;
};

struct offset_checkpoint {
    struct offset_row *rows;
    size_t count;
    size_t capacity;
};

void offset_checkpoint_init(struct offset_checkpoint *checkpoint);
void offset_checkpoint_done(struct offset_checkpoint *checkpoint);
void offset_checkpoint_add(struct offset_checkpoint *checkpoint, const char *topic, int32_t partition_index,
                           int64_t offset);
/* After the last add, before find. */
void offset_checkpoint_sort(struct offset_checkpoint *checkpoint);
/* -1 when there is no row. */
int64_t offset_checkpoint_find(const struct offset_checkpoint *checkpoint, const char *topic, int32_t partition_index);
enum err offset_checkpoint_encode(const struct offset_checkpoint *checkpoint, uint64_t generation,
                                  struct bytebuf *text) MUST_USE;
/* Into an initialized, empty checkpoint; sorted. */
enum err offset_checkpoint_decode(struct span text, struct offset_checkpoint *checkpoint,
                                  uint64_t *ret_generation) MUST_USE;

#endif

/* epoch_cache: which leader epoch wrote which offsets: what divergence is found by (trap 1).
 *
 * Shape:     (epoch, start offset) in rising order of both. The file leader-epoch-checkpoint is Kafka's text: "0", the count,
 *            "EPOCH START" lines, then our last line (side_file.h).
 * Limits:    EPOCH_CACHE_ENTRIES_MAX in a file.
 * Units:     an epoch's end is the start of the next one, the last one's is the log end.
 * Errors:    decode: ERR_CORRUPT; the caller rebuilds from the batches, which carry their epochs.
 * Ownership: owns its array.
 * Threads:   one at a time. No I/O: whoever adds an entry has the text written before anything depends on it.
 * Source:    KIP-101, KIP-279, KIP-320; correctness.md 4, trap 1.
 */
#ifndef BROKER_STORAGE_EPOCH_CACHE_H
#define BROKER_STORAGE_EPOCH_CACHE_H

#include "broker/storage/log_types.h"
#include "common/bytebuf.h"

#define EPOCH_CACHE_FILE "leader-epoch-checkpoint"
#define EPOCH_CACHE_ENTRIES_MAX 1000000u

struct epoch_entry {
    int32_t epoch;
    int64_t start_offset;
};

struct epoch_cache {
    struct epoch_entry *entries;
    size_t count;
    size_t capacity;
};

void epoch_cache_init(struct epoch_cache *cache);
void epoch_cache_done(struct epoch_cache *cache);
void epoch_cache_copy(const struct epoch_cache *cache, struct epoch_cache *ret_copy);

/* Epochs that a reader of the wire may not see begin at `start_offset` are dropped (they are empty). False when nothing changed:
 * the epoch is not newer than the last. */
bool epoch_cache_assign(struct epoch_cache *cache, int32_t epoch, int64_t start_offset);
/* The log now ends at `end_offset`. True when entries were dropped. */
bool epoch_cache_truncate_end(struct epoch_cache *cache, int64_t end_offset);
/* The log now starts at `start_offset`. True when entries changed. */
bool epoch_cache_truncate_start(struct epoch_cache *cache, int64_t start_offset);

/* NULL when empty. */
const struct epoch_entry *epoch_cache_last(const struct epoch_cache *cache);
/* NULL when the epoch has no entry. */
const struct epoch_entry *epoch_cache_find(const struct epoch_cache *cache, int32_t epoch);
/* The epoch that wrote `offset` (below the log end); NULL when it is older than the first. */
const struct epoch_entry *epoch_cache_at_offset(const struct epoch_cache *cache, int64_t offset);
/* Where `epoch` ended: its own epoch and end, or of the largest one below it. LOG_NO_EPOCH and LOG_NO_OFFSET when the epoch is
 * newer than all; an epoch older than all ends where the first begins. */
void epoch_cache_end_offset(const struct epoch_cache *cache, int32_t epoch, int64_t log_end_offset, int32_t *ret_epoch,
                            int64_t *ret_end_offset);

enum err epoch_cache_encode(const struct epoch_cache *cache, struct bytebuf *text) MUST_USE;
/* `cache` is initialized and empty. */
enum err epoch_cache_decode(struct span text, struct epoch_cache *cache) MUST_USE;

#endif

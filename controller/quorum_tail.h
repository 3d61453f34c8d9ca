/* quorum_tail: the quorum's newest entries in memory, in order and without a gap: those that are not applied or not durable yet, and
 * behind the last snapshot those that followers may still want.
 *
 * Shape:     an array whose front moves; entries [first_index, first_index + count).
 * Ownership: the tail has a reference to each of its entries; who keeps one longer (a write under way) takes another.
 * Threads:   one at a time.
 */
#ifndef CONTROLLER_QUORUM_TAIL_H
#define CONTROLLER_QUORUM_TAIL_H

#include "controller/quorum_log.h"

struct quorum_tail {
    struct quorum_entry **entries;
    size_t start;
    size_t count;
    size_t capacity;
    uint64_t first_index;
};

void quorum_tail_init(struct quorum_tail *tail, uint64_t first_index);
void quorum_tail_done(struct quorum_tail *tail);
/* Index behind the last entry. */
uint64_t quorum_tail_end(const struct quorum_tail *tail);
/* NULL: not here. */
struct quorum_entry *quorum_tail_find(const struct quorum_tail *tail, uint64_t index);
/* The entry must be there. */
struct quorum_entry *quorum_tail_get(const struct quorum_tail *tail, uint64_t index);
/* Takes over the reference; the entry's index must be quorum_tail_end. */
void quorum_tail_append(struct quorum_tail *tail, struct quorum_entry *entry);
/* Drops the entries from `from_index` on. */
void quorum_tail_truncate(struct quorum_tail *tail, uint64_t from_index);
/* Drops everything; the next entry will be `first_index`. */
void quorum_tail_reset(struct quorum_tail *tail, uint64_t first_index);
/* Drops the entries up to and with `index`. */
void quorum_tail_release(struct quorum_tail *tail, uint64_t index);

#endif

/* controller_ring: the committed entries of late, in memory: what brokers that follow are sent, and what other controllers' hashes are compared with.
 *
 * Shape:     a queue of entries in the order of their offsets, behind a base (offset and hash of the state before the first one).
 * Limits:    CONTROLLER_RING_ENTRIES_MAX and CONTROLLER_RING_BYTES_MAX: the oldest go.
 * Ownership: the ring holds a reference to each entry's bytes.
 * Threads:   one: the controller's loop.
 * Source:    correctness.md 5 (ring of applied entries, hash chain).
 */
#ifndef CONTROLLER_CONTROLLER_RING_H
#define CONTROLLER_CONTROLLER_RING_H

#include "common/shared_bytes.h"
#include "controller/image.h"

#define CONTROLLER_RING_ENTRIES_MAX 8192u
#define CONTROLLER_RING_BYTES_MAX (16u << 20)

struct ring_entry {
    int64_t index;
    uint64_t term;
    uint64_t end_bytes; /* of all entries up to this one, since the ring was made */
    struct shared_bytes *bytes;
    uint8_t hash[IMAGE_HASH_BYTES]; /* of the chain at index */
};

struct controller_ring {
    struct ring_entry *entries; /* CONTROLLER_RING_ENTRIES_MAX, circular */
    uint32_t first;
    uint32_t count;
    uint64_t total_bytes; /* end_bytes of the last */
    int64_t base_offset;
    uint64_t base_bytes; /* end_bytes of the entry before the first */
    uint8_t base_hash[IMAGE_HASH_BYTES];
};

void controller_ring_init(struct controller_ring *ring);
void controller_ring_done(struct controller_ring *ring);
/* Empties it: the state is now that of `image`, without the entries that led to it. */
void controller_ring_reset(struct controller_ring *ring, const struct image *image);
/* The entry that made `image`. */
void controller_ring_append(struct controller_ring *ring, const struct image *image, uint64_t term, struct span bytes);

/* The newest offset. */
int64_t controller_ring_offset(const struct controller_ring *ring);
/* The i-th entry, 0 <= i < count. */
const struct ring_entry *controller_ring_at(const struct controller_ring *ring, uint32_t i);
/* Number of the first entry above `offset`, count when there is none. */
uint32_t controller_ring_above(const struct controller_ring *ring, int64_t offset);
/* Hash of the chain at `offset`; NULL when it is not in the ring (older, newer, or no entry's). */
const uint8_t *controller_ring_hash(const struct controller_ring *ring, int64_t offset);

#endif

#include "controller/controller_ring.h"

#include "common/mem.h"

void controller_ring_init(struct controller_ring *ring)
{
    *ring = (struct controller_ring){0};
    ring->entries = (struct ring_entry *)mem_array(CONTROLLER_RING_ENTRIES_MAX, sizeof(ring->entries[0]));
}

static struct ring_entry *slot(const struct controller_ring *ring, uint32_t i)
{
    return &ring->entries[(ring->first + i) % CONTROLLER_RING_ENTRIES_MAX];
}

static void drop_first(struct controller_ring *ring)
{
    struct ring_entry *entry = slot(ring, 0);
    ring->base_offset = entry->index;
    ring->base_bytes = entry->end_bytes;
    memcpy(ring->base_hash, entry->hash, IMAGE_HASH_BYTES);
    shared_bytes_unref(entry->bytes);
    entry->bytes = NULL;
    ring->first = (ring->first + 1) % CONTROLLER_RING_ENTRIES_MAX;
    ring->count--;
}

void controller_ring_done(struct controller_ring *ring)
{
    while (ring->count > 0) {
        drop_first(ring);
    }
    mem_free(ring->entries);
    ring->entries = NULL;
}

void controller_ring_reset(struct controller_ring *ring, const struct image *image)
{
    while (ring->count > 0) {
        drop_first(ring);
    }
    ring->base_offset = image_offset(image);
    ring->base_bytes = ring->total_bytes;
    memcpy(ring->base_hash, image_hash(image), IMAGE_HASH_BYTES);
}

void controller_ring_append(struct controller_ring *ring, const struct image *image, uint64_t term, struct span bytes)
{
    CHECK(image_offset(image) > controller_ring_offset(ring));
    while (ring->count == CONTROLLER_RING_ENTRIES_MAX ||
           (ring->count > 0 && ring->total_bytes + bytes.bytes - ring->base_bytes > CONTROLLER_RING_BYTES_MAX)) {
        drop_first(ring);
    }
    struct ring_entry *entry = slot(ring, ring->count);
    ring->count++;
    ring->total_bytes += bytes.bytes;
    *entry = (struct ring_entry){.index = image_offset(image),
                                 .term = term,
                                 .end_bytes = ring->total_bytes,
                                 .bytes = shared_bytes_new(bytes.bytes)};
    if (bytes.bytes > 0) {
        memcpy(entry->bytes->data, bytes.data, bytes.bytes);
    }
    memcpy(entry->hash, image_hash(image), IMAGE_HASH_BYTES);
}

int64_t controller_ring_offset(const struct controller_ring *ring)
{
    return ring->count == 0 ? ring->base_offset : slot(ring, ring->count - 1)->index;
}

const struct ring_entry *controller_ring_at(const struct controller_ring *ring, uint32_t i)
{
    CHECK(i < ring->count);
    return slot(ring, i);
}

uint32_t controller_ring_above(const struct controller_ring *ring, int64_t offset)
{
    uint32_t low = 0;
    uint32_t high = ring->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (slot(ring, middle)->index > offset) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

const uint8_t *controller_ring_hash(const struct controller_ring *ring, int64_t offset)
{
    if (offset == ring->base_offset) {
        return ring->base_hash;
    }
    uint32_t above = controller_ring_above(ring, offset);
    if (above == 0 || slot(ring, above - 1)->index != offset) {
        return NULL;
    }
    return slot(ring, above - 1)->hash;
}

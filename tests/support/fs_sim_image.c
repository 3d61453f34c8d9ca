#include "tests/support/fs_sim_image.h"

#include "tests/support/fs_sim.h"
#include "tests/support/plain_mem.h"

#define IMAGE_CAPACITY_BYTES_MIN 4096u
/* One dirty page in so many is torn at a sector when a crash keeps a random set. */
#define IMAGE_TORN_PAGE_ONE_IN 8u

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void side_reserve(struct image_side *side, uint64_t bytes)
{
    if (bytes <= side->capacity_bytes) {
        return;
    }
    uint64_t capacity_bytes = side->capacity_bytes == 0 ? IMAGE_CAPACITY_BYTES_MIN : side->capacity_bytes;
    while (capacity_bytes < bytes) {
        capacity_bytes *= 2;
    }
    side->data = (uint8_t *)plain_grow(side->data, capacity_bytes, 1);
    memset(side->data + side->capacity_bytes, 0, capacity_bytes - side->capacity_bytes);
    side->capacity_bytes = capacity_bytes;
}

static void side_resize(struct image_side *side, uint64_t bytes)
{
    side_reserve(side, bytes);
    if (bytes < side->bytes) {
        memset(side->data + bytes, 0, side->bytes - bytes);
    }
    side->bytes = bytes;
}

static void side_copy(struct image_side *to, const struct image_side *from)
{
    side_resize(to, from->bytes);
    if (from->bytes > 0) {
        memcpy(to->data, from->data, from->bytes);
    }
}

static uint64_t page_count(const struct image *image)
{
    return (image->live.bytes + image->page_bytes - 1) / image->page_bytes;
}

void image_init(struct image *image, uint32_t page_bytes)
{
    *image = (struct image){.page_bytes = page_bytes};
}

void image_done(struct image *image)
{
    plain_free(image->live.data);
    plain_free(image->durable.data);
    plain_free(image->dirty);
    *image = (struct image){0};
}

static void dirty_reserve(struct image *image, uint64_t pages)
{
    if (pages > image->dirty_capacity) {
        uint64_t capacity = pages * 2;
        image->dirty = (uint8_t *)plain_grow(image->dirty, capacity, 1);
        memset(image->dirty + image->dirty_capacity, 0, capacity - image->dirty_capacity);
        image->dirty_capacity = capacity;
    }
}

void image_copy(struct image *to, const struct image *from)
{
    image_init(to, from->page_bytes);
    side_copy(&to->live, &from->live);
    side_copy(&to->durable, &from->durable);
    dirty_reserve(to, from->dirty_capacity);
    if (from->dirty_capacity > 0) {
        memcpy(to->dirty, from->dirty, from->dirty_capacity);
    }
    to->least_bytes = from->least_bytes;
}

void image_write(struct image *image, struct span bytes, uint64_t pos)
{
    if (bytes.bytes == 0) {
        return;
    }
    uint64_t end_pos = pos + bytes.bytes;
    if (end_pos > image->live.bytes) {
        side_resize(&image->live, end_pos);
    }
    memcpy(image->live.data + pos, bytes.data, bytes.bytes);
    dirty_reserve(image, page_count(image));
    uint64_t first_page = pos / image->page_bytes;
    uint64_t last_page = (end_pos - 1) / image->page_bytes;
    memset(image->dirty + first_page, 1, last_page - first_page + 1);
}

void image_truncate(struct image *image, uint64_t bytes)
{
    uint64_t pages_before = page_count(image);
    side_resize(&image->live, bytes);
    image->least_bytes = min_u64(image->least_bytes, bytes);
    uint64_t pages = page_count(image);
    dirty_reserve(image, pages);
    if (pages < pages_before) {
        uint64_t known_pages = min_u64(pages_before, image->dirty_capacity);
        if (known_pages > pages) {
            memset(image->dirty + pages, 0, known_pages - pages);
        }
    }
}

/* The durable image takes part in what the live one went through: cut to the least size, then grown. */
static void durable_follow_size(struct image *image, uint64_t bytes)
{
    side_resize(&image->durable, min_u64(image->durable.bytes, image->least_bytes));
    side_resize(&image->durable, bytes);
}

static void durable_keep(struct image *image, uint64_t pos, uint64_t bytes)
{
    if (pos < image->durable.bytes) {
        memcpy(image->durable.data + pos, image->live.data + pos,
               min_u64(min_u64(bytes, image->durable.bytes - pos), image->live.bytes - pos));
    }
}

static void dirty_clear(struct image *image)
{
    if (image->dirty_capacity > 0) {
        memset(image->dirty, 0, image->dirty_capacity);
    }
}

void image_sync(struct image *image)
{
    durable_follow_size(image, image->live.bytes);
    for (uint64_t page = 0; page < page_count(image) && page < image->dirty_capacity; page++) {
        if (image->dirty[page]) {
            durable_keep(image, page * image->page_bytes, image->page_bytes);
        }
    }
    dirty_clear(image);
    image->least_bytes = image->live.bytes;
}

void image_forget_dirty(struct image *image)
{
    dirty_clear(image);
}

uint64_t image_dirty_page_count(const struct image *image)
{
    uint64_t count = 0;
    for (uint64_t page = 0; page < image->dirty_capacity; page++) {
        count += image->dirty[page];
    }
    return count;
}

static void live_becomes_durable(struct image *image)
{
    side_copy(&image->live, &image->durable);
    dirty_clear(image);
    dirty_reserve(image, page_count(image));
    image->least_bytes = image->live.bytes;
}

void image_lose(struct image *image)
{
    live_becomes_durable(image);
}

/* A size between `first` and `last`: the last, a page's end, or any byte. */
static uint64_t random_size(const struct image *image, struct prop *prop, uint64_t first, uint64_t last)
{
    uint64_t bytes = prop_range(prop, first, last);
    switch (prop_below(prop, 3)) {
    case 0:
        return last;
    case 1:
        bytes = bytes / image->page_bytes * image->page_bytes;
        return bytes < first ? first : bytes;
    default:
        return bytes;
    }
}

void image_lose_random(struct image *image, struct prop *prop)
{
    /* Either the sizes since the last sync reached the disk, up to some point, or none of them did. In the second case
     * pages behind the least size belong to a truncation that did not happen, and can't have come either. */
    uint64_t kept_bytes_max = min_u64(image->durable.bytes, image->least_bytes);
    if (prop_chance(prop, 1, 2)) {
        uint64_t bytes = random_size(image, prop, min_u64(image->least_bytes, image->live.bytes), image->live.bytes);
        durable_follow_size(image, bytes);
        kept_bytes_max = bytes;
    }
    uint64_t keep_percent = prop_below(prop, 101);
    for (uint64_t page = 0; page < page_count(image) && page < image->dirty_capacity; page++) {
        uint64_t pos = page * image->page_bytes;
        if (!image->dirty[page] || pos >= kept_bytes_max || !prop_chance(prop, keep_percent, 100)) {
            continue;
        }
        uint64_t bytes = image->page_bytes;
        if (prop_chance(prop, 1, IMAGE_TORN_PAGE_ONE_IN)) {
            bytes = FS_SIM_SECTOR_BYTES * prop_below(prop, image->page_bytes / FS_SIM_SECTOR_BYTES);
        }
        durable_keep(image, pos, min_u64(bytes, kept_bytes_max - pos));
    }
    live_becomes_durable(image);
}

void image_lose_page(struct image *image, uint64_t dirty_index)
{
    durable_follow_size(image, image->live.bytes);
    uint64_t index = 0;
    for (uint64_t page = 0; page < page_count(image) && page < image->dirty_capacity; page++) {
        if (image->dirty[page] && index++ != dirty_index) {
            durable_keep(image, page * image->page_bytes, image->page_bytes);
        }
    }
    live_becomes_durable(image);
}

/* fs_sim_image: the bytes of one simulated file, live and durable.
 *
 * Shape:     live: what reads see. durable: what a power loss leaves. dirty: one flag per page of the live image.
 *            Bytes behind an image's end are zero up to its capacity.
 * Ownership: image_done frees; the struct is a member of its inode.
 * Threads:   one.
 */
#ifndef TESTS_SUPPORT_FS_SIM_IMAGE_H
#define TESTS_SUPPORT_FS_SIM_IMAGE_H

#include "common/span.h"
#include "tests/support/prop.h"

struct image_side {
    uint8_t *data;
    uint64_t bytes;
    uint64_t capacity_bytes;
};

struct image {
    uint32_t page_bytes;
    struct image_side live;
    struct image_side durable;
    uint8_t *dirty;
    uint64_t dirty_capacity; /* pages */
    /* The least live size since the last sync. Durable bytes behind it were cut off: they come back only if a crash
     * undoes the truncation. */
    uint64_t least_bytes;
};

void image_init(struct image *image, uint32_t page_bytes);
void image_done(struct image *image);
void image_copy(struct image *to, const struct image *from);

void image_write(struct image *image, struct span bytes, uint64_t pos);
void image_truncate(struct image *image, uint64_t bytes);
/* Dirty pages and the size become durable. */
void image_sync(struct image *image);
/* A failed sync: the pages are clean, what they hold is not durable. */
void image_forget_dirty(struct image *image);
uint64_t image_dirty_page_count(const struct image *image);

/* Power loss. After each of these the live image equals the durable one. */
void image_lose(struct image *image);
void image_lose_random(struct image *image, struct prop *prop);
/* Everything is kept but the dirty page with this index among the dirty pages (UINT64_MAX: none is lost). */
void image_lose_page(struct image *image, uint64_t dirty_index);

#endif

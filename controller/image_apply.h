/* image_apply: committed entries to images, deterministically: no clock, no random, no order of pointers or hash tables; and
 * images to snapshots and back. Brokers and controllers of all nodes run this same code over the same bytes (R8).
 *
 * Shape:     image + (index, term, bytes of a Batch) -> image. Every record's precondition (partition epoch, broker epoch, controller
 *            epoch, next producer id) is compared again here; if one fails, none of the batch happens, and the entry counts as a
 *            recorded no-op: offset and hash move on.
 *            Hash chain: h_i = SHA-256(h_{i-1}, index, term, bytes), numbers as 8 bytes big-endian.
 *            Snapshot: parts with a 4-byte big-endian length each: SnapshotHeader, then Batches that make the image from nothing.
 * Errors:    ERR_MALFORMED, ERR_LIMIT, ERR_UNSUPPORTED: the entry or snapshot can't be understood; the node must not go on.
 * Ownership: *ret_after comes with one reference.
 * Threads:   pure functions.
 * Source:    correctness.md 4 (15) and 5; design.md 8.
 */
#ifndef CONTROLLER_IMAGE_APPLY_H
#define CONTROLLER_IMAGE_APPLY_H

#include "common/bytebuf.h"
#include "controller/image.h"
#include "controller/meta_codec.h"

#define IMAGE_SNAPSHOT_BYTES_MAX (1u << 30)

/* *ret_is_applied: false when the batch was refused. */
enum err image_apply(const struct image *before, int64_t index, uint64_t term, struct span bytes,
                     struct image **ret_after, bool *ret_is_applied) MUST_USE;
/* What the records would make of `before` as the entry `index`, without touching its hash chain: the state that the next decision
 * of the same entry looks at. NULL when they would be refused. */
struct image *image_draft(const struct image *before, int64_t index, const struct meta_records *records, size_t first,
                          size_t count);

enum err image_snapshot_encode(const struct image *image, struct bytebuf *ret_bytes) MUST_USE;
enum err image_snapshot_decode(struct span bytes, struct image **ret_image) MUST_USE;
/* Used by the decoder: puts the records of one part; false when they make no sense. */
struct image_builder;
bool image_apply_snapshot_part(struct image_builder *builder, const Meta__Batch *batch) MUST_USE;
/* Raft's term of the entry at image_offset. */
uint64_t image_term(const struct image *image);

#endif

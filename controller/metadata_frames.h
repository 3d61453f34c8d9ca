/* metadata_frames: the headers of frames on METADATA links, between structs and bytes.
 *
 * Shape:     proto/node/metadata.proto.
 * Limits:    METADATA_HEADER_BYTES_MAX per header, METADATA_CHUNK_BYTES_MAX per piece of a snapshot.
 * Errors:    unpack: false when the header makes no sense.
 * Threads:   pure.
 * Source:    correctness.md 5.
 */
#ifndef CONTROLLER_METADATA_FRAMES_H
#define CONTROLLER_METADATA_FRAMES_H

#include "common/bytebuf.h"
#include "controller/image.h"

#define METADATA_HEADER_BYTES_MAX 1024u
#define METADATA_CHUNK_BYTES_MAX (1u << 20)
#define METADATA_SHA256_BYTES 32

enum metadata_frame_type {
    METADATA_FRAME_SUBSCRIBE = 1,
    METADATA_FRAME_SNAPSHOT = 2,
    METADATA_FRAME_ENTRY = 3,
    METADATA_FRAME_APPLIED = 4,
    METADATA_FRAME_MISMATCH = 5,
    METADATA_FRAME_PING = 6,
    METADATA_FRAME_PONG = 7,
};

struct metadata_entry {
    int64_t index;
    uint64_t term;
    uint8_t hash[IMAGE_HASH_BYTES]; /* of the chain at index */
};

struct metadata_chunk {
    int64_t offset;
    uint64_t total_bytes; /* > 0 */
    uint64_t position;
    uint8_t sha256[METADATA_SHA256_BYTES];
};

void metadata_subscribe_pack(int64_t offset, const uint8_t *hash, struct bytebuf *header);
bool metadata_subscribe_unpack(struct span header, int64_t *ret_offset, uint8_t ret_hash[IMAGE_HASH_BYTES]);
void metadata_chunk_pack(const struct metadata_chunk *chunk, struct bytebuf *header);
bool metadata_chunk_unpack(struct span header, struct metadata_chunk *ret_chunk);
void metadata_entry_pack(const struct metadata_entry *entry, struct bytebuf *header);
bool metadata_entry_unpack(struct span header, struct metadata_entry *ret_entry);
void metadata_applied_pack(int64_t offset, struct bytebuf *header);
bool metadata_applied_unpack(struct span header, int64_t *ret_offset);
void metadata_mismatch_pack(int64_t offset, const uint8_t *hash, struct bytebuf *header);

#endif

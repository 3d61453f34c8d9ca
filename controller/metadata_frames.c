#include "controller/metadata_frames.h"

#include "metadata.pb-c.h"

static void pack(const ProtobufCMessage *message, struct bytebuf *header)
{
    uint8_t *room = NULL;
    enum err err = bytebuf_reserve(header, protobuf_c_message_get_packed_size(message), &room);
    CHECK(err == ERR_OK); /* a few numbers and a hash */
    bytebuf_added(header, protobuf_c_message_pack(message, room));
}

/* NULL: no such message. Small, so the default allocator may be used (its result is bounded by the header's size). */
static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *descriptor, struct span header)
{
    return header.bytes > METADATA_HEADER_BYTES_MAX
               ? NULL
               : protobuf_c_message_unpack(descriptor, NULL, header.bytes, header.data);
}

static ProtobufCBinaryData hash_data(const uint8_t *hash)
{
    return (ProtobufCBinaryData){.len = IMAGE_HASH_BYTES, .data = (uint8_t *)(uintptr_t)hash};
}

static bool take_hash(ProtobufCBinaryData data, uint8_t ret_hash[IMAGE_HASH_BYTES])
{
    if (data.len != IMAGE_HASH_BYTES) {
        return false;
    }
    memcpy(ret_hash, data.data, IMAGE_HASH_BYTES);
    return true;
}

void metadata_subscribe_pack(int64_t offset, const uint8_t *hash, struct bytebuf *header)
{
    Node__MetadataSubscribe message = NODE__METADATA_SUBSCRIBE__INIT;
    message.offset = offset;
    message.hash = hash_data(hash);
    pack(&message.base, header);
}

bool metadata_subscribe_unpack(struct span header, int64_t *ret_offset, uint8_t ret_hash[IMAGE_HASH_BYTES])
{
    ProtobufCMessage *base = unpack(&node__metadata_subscribe__descriptor, header);
    const Node__MetadataSubscribe *message = (const Node__MetadataSubscribe *)base;
    bool is_sound = base != NULL && message->offset >= 0 && take_hash(message->hash, ret_hash);
    if (is_sound) {
        *ret_offset = message->offset;
    }
    protobuf_c_message_free_unpacked(base, NULL);
    return is_sound;
}

void metadata_chunk_pack(const struct metadata_chunk *chunk, struct bytebuf *header)
{
    Node__MetadataSnapshot message = NODE__METADATA_SNAPSHOT__INIT;
    message.offset = chunk->offset;
    message.total_bytes = chunk->total_bytes;
    message.position = chunk->position;
    message.sha256 = hash_data(chunk->sha256);
    pack(&message.base, header);
}

bool metadata_chunk_unpack(struct span header, struct metadata_chunk *ret_chunk)
{
    ProtobufCMessage *base = unpack(&node__metadata_snapshot__descriptor, header);
    const Node__MetadataSnapshot *message = (const Node__MetadataSnapshot *)base;
    bool is_sound = base != NULL && message->offset > 0 && message->total_bytes > 0 &&
                    message->position < message->total_bytes && take_hash(message->sha256, ret_chunk->sha256);
    if (is_sound) {
        ret_chunk->offset = message->offset;
        ret_chunk->total_bytes = message->total_bytes;
        ret_chunk->position = message->position;
    }
    protobuf_c_message_free_unpacked(base, NULL);
    return is_sound;
}

void metadata_entry_pack(const struct metadata_entry *entry, struct bytebuf *header)
{
    Node__MetadataEntry message = NODE__METADATA_ENTRY__INIT;
    message.index = entry->index;
    message.term = entry->term;
    message.hash = hash_data(entry->hash);
    pack(&message.base, header);
}

bool metadata_entry_unpack(struct span header, struct metadata_entry *ret_entry)
{
    ProtobufCMessage *base = unpack(&node__metadata_entry__descriptor, header);
    const Node__MetadataEntry *message = (const Node__MetadataEntry *)base;
    bool is_sound = base != NULL && message->index > 0 && take_hash(message->hash, ret_entry->hash);
    if (is_sound) {
        ret_entry->index = message->index;
        ret_entry->term = message->term;
    }
    protobuf_c_message_free_unpacked(base, NULL);
    return is_sound;
}

void metadata_applied_pack(int64_t offset, struct bytebuf *header)
{
    Node__MetadataApplied message = NODE__METADATA_APPLIED__INIT;
    message.offset = offset;
    pack(&message.base, header);
}

bool metadata_applied_unpack(struct span header, int64_t *ret_offset)
{
    ProtobufCMessage *base = unpack(&node__metadata_applied__descriptor, header);
    bool is_sound = base != NULL && ((const Node__MetadataApplied *)base)->offset >= 0;
    if (is_sound) {
        *ret_offset = ((const Node__MetadataApplied *)base)->offset;
    }
    protobuf_c_message_free_unpacked(base, NULL);
    return is_sound;
}

void metadata_mismatch_pack(int64_t offset, const uint8_t *hash, struct bytebuf *header)
{
    Node__MetadataMismatch message = NODE__METADATA_MISMATCH__INIT;
    message.offset = offset;
    message.hash = hash_data(hash);
    pack(&message.base, header);
}

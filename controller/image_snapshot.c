/* A snapshot says the same as the log did: records that make the image from nothing, in the sorted order of its tables, so
 * that equal images give equal bytes. */
#include "common/big_endian.h"
#include "common/mem.h"
#include "controller/image_apply.h"
#include "controller/image_builder.h"

/* Per part: together they keep every part far below META_BATCH_BYTES_MAX. A partition of 64 replicas takes at most 1.9 KiB, a topic
 * 280 bytes; settings have no such bound (a value may have 32 KiB), so their bytes are counted. */
#define PART_PARTITIONS 300
#define PART_TOPICS 500
#define PART_CONFIG_BYTES (256u << 10)

struct encoder {
    struct bytebuf *out;
    struct arena arena;
    struct meta_records records;
    uint32_t partition_count; /* in `records` */
    uint32_t topic_count;
    uint32_t part_count;
    enum err err;
};

static enum err append_part_length(struct bytebuf *out, size_t bytes)
{
    uint8_t length[4] = {(uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8), (uint8_t)bytes};
    return bytebuf_append(out, span_make(length, sizeof(length)));
}

/* Writes the records collected so far as one part. */
static void flush_part(struct encoder *encoder)
{
    if (encoder->records.count > 0 && encoder->err == ERR_OK) {
        encoder->err =
            append_part_length(encoder->out, meta_packed_bytes(&encoder->records, 0, encoder->records.count, 0));
        if (encoder->err == ERR_OK) {
            encoder->err = meta_pack(&encoder->records, 0, encoder->records.count, 0, encoder->out);
        }
        encoder->part_count++;
    }
    arena_reset(&encoder->arena);
    meta_records_init(&encoder->records, &encoder->arena);
    encoder->partition_count = 0;
    encoder->topic_count = 0;
}

static void encode_topic(struct encoder *encoder, const struct image_topic *topic)
{
    meta_add_topic(&encoder->records, topic->id, topic->name, topic->is_internal);
    encoder->topic_count++;
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        meta_add_partition(&encoder->records, topic->id, topic->partitions[i]);
        if (++encoder->partition_count >= PART_PARTITIONS) {
            flush_part(encoder);
        }
    }
    if (encoder->topic_count >= PART_TOPICS) {
        flush_part(encoder);
    }
}

static void encode_configs(struct encoder *encoder, const struct image *image)
{
    size_t bytes = 0; /* of the part */
    for (uint32_t i = 0; i < image->configs->count; i++) {
        const struct image_config *config = image->configs->configs[i];
        meta_add_config_change(&encoder->records, config->type, config->name, config->entries, config->entry_count,
                               NULL, 0);
        bytes += meta_packed_bytes(&encoder->records, encoder->records.count - 1, 1, 0);
        if (bytes > PART_CONFIG_BYTES) {
            flush_part(encoder);
            bytes = 0;
        }
    }
    flush_part(encoder);
}

static void encode_body(struct encoder *encoder, const struct image *image)
{
    const struct image_facts *facts = &image->facts;
    if (facts->cluster_id[0] != '\0') {
        meta_add_cluster(&encoder->records, span_text(facts->cluster_id), span_text(facts->cluster_name));
    }
    if (facts->metadata_level != 0) {
        meta_add_level(&encoder->records, facts->metadata_level);
    }
    if (facts->controller_epoch != 0) {
        meta_add_activation(&encoder->records, facts->controller_id, facts->controller_epoch);
    }
    for (uint32_t i = 0; i < image->brokers->count; i++) {
        meta_add_broker(&encoder->records, image->brokers->brokers[i], 0);
        flush_part(encoder);
    }
    for (uint32_t i = 0; i < image->topics->count; i++) {
        encode_topic(encoder, image->topics->by_name[i]);
    }
    flush_part(encoder);
    encode_configs(encoder, image);
}

static enum err append_header(const struct image *image, uint32_t part_count, struct bytebuf *out)
{
    Meta__SnapshotHeader header = META__SNAPSHOT_HEADER__INIT;
    header.format = META_FORMAT;
    header.offset = image->facts.offset;
    header.term = image->facts.term;
    header.hash = (ProtobufCBinaryData){IMAGE_HASH_BYTES, (uint8_t *)(uintptr_t)image->facts.hash};
    header.next_producer_id = image->facts.next_producer_id;
    header.part_count = part_count;
    size_t bytes = meta__snapshot_header__get_packed_size(&header);
    uint8_t *room = NULL;
    enum err err = append_part_length(out, bytes);
    if (err == ERR_OK) {
        err = bytebuf_reserve(out, bytes, &room);
    }
    if (err == ERR_OK) {
        bytebuf_added(out, meta__snapshot_header__pack(&header, room));
    }
    return err;
}

enum err image_snapshot_encode(const struct image *image, struct bytebuf *ret_bytes)
{
    struct bytebuf body;
    bytebuf_init(&body, IMAGE_SNAPSHOT_BYTES_MAX);
    struct encoder encoder = {.out = &body};
    arena_init(&encoder.arena, 0);
    meta_records_init(&encoder.records, &encoder.arena);
    encode_body(&encoder, image);
    enum err err = encoder.err;
    if (err == ERR_OK) {
        err = append_header(image, encoder.part_count, ret_bytes);
    }
    if (err == ERR_OK) {
        err = bytebuf_append(ret_bytes, bytebuf_span(&body));
    }
    arena_done(&encoder.arena);
    bytebuf_done(&body);
    return err;
}

/* Cuts the next part off the front of *rest. */
static enum err take_part(struct span *rest, struct span *ret_part)
{
    if (rest->bytes < 4) {
        return ERR_MALFORMED;
    }
    size_t bytes =
        (size_t)rest->data[0] << 24 | (size_t)rest->data[1] << 16 | (size_t)rest->data[2] << 8 | rest->data[3];
    if (bytes > rest->bytes - 4) {
        return ERR_MALFORMED;
    }
    *ret_part = span_sub(*rest, 4, bytes);
    *rest = span_sub(*rest, 4 + bytes, rest->bytes - 4 - bytes);
    return ERR_OK;
}

static enum err decode_header(struct span *rest, struct arena *arena, struct image_facts *facts,
                              uint32_t *ret_part_count)
{
    struct span part;
    Meta__SnapshotHeader *header = NULL;
    enum err err = take_part(rest, &part);
    if (err == ERR_OK) {
        err = meta_unpack_header(part, arena, &header);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (header->hash.len != IMAGE_HASH_BYTES || header->offset < 0 || header->next_producer_id < 0) {
        return ERR_MALFORMED;
    }
    facts->offset = header->offset;
    facts->term = header->term;
    facts->next_producer_id = header->next_producer_id;
    memcpy(facts->hash, header->hash.data, IMAGE_HASH_BYTES);
    *ret_part_count = header->part_count;
    return ERR_OK;
}

static enum err decode_parts(struct image_builder *builder, struct span rest)
{
    struct arena arena;
    arena_init(&arena, META_UNPACK_BYTES_MAX);
    uint32_t part_count = 0;
    enum err err = decode_header(&rest, &arena, &builder->facts, &part_count);
    for (uint32_t i = 0; i < part_count && err == ERR_OK; i++) {
        struct span part;
        Meta__Batch *batch = NULL;
        arena_reset(&arena);
        err = take_part(&rest, &part);
        if (err == ERR_OK) {
            err = meta_unpack(part, &arena, &batch);
        }
        if (err == ERR_OK && !image_apply_snapshot_part(builder, batch)) {
            err = ERR_MALFORMED;
        }
    }
    arena_done(&arena);
    return err == ERR_OK && rest.bytes > 0 ? ERR_MALFORMED : err;
}

enum err image_snapshot_decode(struct span bytes, struct image **ret_image)
{
    struct image *empty = image_new_empty();
    struct image_builder builder;
    image_builder_init(&builder, empty);
    enum err err = decode_parts(&builder, bytes);
    if (err == ERR_OK) {
        *ret_image = image_builder_finish(&builder);
    }
    image_builder_done(&builder);
    image_unref(empty);
    return err;
}

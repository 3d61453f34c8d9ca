/* The header has a fixed layout, so the positions are constants and parsing is a handful of loads.
 * Whatever a length or count claims is only believed within the bytes that are there. */
#include "proto/record/batch.h"

#include "common/big_endian.h"
#include "common/crc32c.h"

enum batch_pos {
    POS_BASE_OFFSET = 0,
    POS_BATCH_LENGTH = 8,
    POS_LEADER_EPOCH = 12,
    POS_MAGIC = 16,
    POS_CRC = 17,
    POS_ATTRIBUTES = 21,
    POS_LAST_OFFSET_DELTA = 23,
    POS_BASE_TIMESTAMP = 27,
    POS_MAX_TIMESTAMP = 35,
    POS_PRODUCER_ID = 43,
    POS_PRODUCER_EPOCH = 51,
    POS_BASE_SEQUENCE = 53,
    POS_RECORD_COUNT = 57,
};

/* The shortest message of magic 0: crc, magic, attributes, null key, null value. Kafka calls
 * anything below corrupt whatever its magic, so that garbage is told apart from an old client's
 * message set. */
#define OLD_MESSAGE_BYTES_MIN 14u

enum err batch_peek(struct span bytes, size_t *ret_batch_bytes)
{
    if (bytes.bytes == 0) {
        return ERR_END;
    }
    if (bytes.bytes < BATCH_PREFIX_BYTES) {
        return ERR_INCOMPLETE;
    }

    uint32_t length_bytes = be32_get(bytes.data + POS_BATCH_LENGTH);
    uint8_t magic = bytes.data[POS_MAGIC];
    /* A negative length is a huge unsigned one. */
    if (length_bytes < OLD_MESSAGE_BYTES_MIN || length_bytes > BATCH_BYTES_MAX - BATCH_LENGTH_OVERHEAD_BYTES) {
        return ERR_MALFORMED;
    }
    if (magic != BATCH_MAGIC) {
        return magic < BATCH_MAGIC ? ERR_UNSUPPORTED : ERR_MALFORMED;
    }
    if (length_bytes < BATCH_HEADER_BYTES - BATCH_LENGTH_OVERHEAD_BYTES) {
        return ERR_MALFORMED;
    }
    *ret_batch_bytes = (size_t)length_bytes + BATCH_LENGTH_OVERHEAD_BYTES;
    return ERR_OK;
}

enum err batch_header_parse(struct span bytes, struct batch_header *ret_header)
{
    size_t batch_bytes;
    enum err err = batch_peek(bytes, &batch_bytes);

    if (err != ERR_OK) {
        return err;
    }
    if (bytes.bytes < BATCH_HEADER_BYTES) {
        return ERR_INCOMPLETE;
    }
    const uint8_t *data = bytes.data;
    struct batch_header header = {
        .base_offset = (int64_t)be64_get(data + POS_BASE_OFFSET),
        .batch_bytes = batch_bytes,
        .partition_leader_epoch = (int32_t)be32_get(data + POS_LEADER_EPOCH),
        .crc = be32_get(data + POS_CRC),
        .attributes = be16_get(data + POS_ATTRIBUTES),
        .last_offset_delta = (int32_t)be32_get(data + POS_LAST_OFFSET_DELTA),
        .base_timestamp_ms = (int64_t)be64_get(data + POS_BASE_TIMESTAMP),
        .max_timestamp_ms = (int64_t)be64_get(data + POS_MAX_TIMESTAMP),
        .producer_id = (int64_t)be64_get(data + POS_PRODUCER_ID),
        .producer_epoch = (int16_t)be16_get(data + POS_PRODUCER_EPOCH),
        .base_sequence = (int32_t)be32_get(data + POS_BASE_SEQUENCE),
        .record_count = (int32_t)be32_get(data + POS_RECORD_COUNT),
    };
    /* The base offset is not under the CRC: a flipped bit must not become a negative or overflowing
     * offset. */
    if (header.base_offset < 0 || header.base_offset > BATCH_BASE_OFFSET_MAX || header.last_offset_delta < 0 ||
        header.record_count < 0) {
        return ERR_MALFORMED;
    }
    *ret_header = header;
    return ERR_OK;
}

enum err batch_parse(struct span bytes, struct batch *ret_batch)
{
    struct batch_header header;
    enum err err = batch_header_parse(bytes, &header);

    if (err != ERR_OK) {
        return err;
    }
    if (bytes.bytes < header.batch_bytes) {
        return ERR_INCOMPLETE;
    }
    ret_batch->header = header;
    ret_batch->bytes = span_sub(bytes, 0, header.batch_bytes);
    return ERR_OK;
}

enum err batch_next(struct span *rest, struct batch *ret_batch)
{
    struct batch batch;
    enum err err = batch_parse(*rest, &batch);

    if (err != ERR_OK) {
        return err;
    }
    *rest = span_sub(*rest, batch.header.batch_bytes, rest->bytes - batch.header.batch_bytes);
    *ret_batch = batch;
    return ERR_OK;
}

static uint32_t covered_crc(const uint8_t *data, size_t batch_bytes)
{
    return crc32c(0, span_make(data + BATCH_CRC_START_POS, batch_bytes - BATCH_CRC_START_POS));
}

enum err batch_check_crc(const struct batch *batch)
{
    uint32_t crc = covered_crc(batch->bytes.data, batch->bytes.bytes);

    return crc == batch->header.crc ? ERR_OK : ERR_CORRUPT;
}

struct span batch_records(const struct batch *batch)
{
    return span_sub(batch->bytes, BATCH_HEADER_BYTES, batch->bytes.bytes - BATCH_HEADER_BYTES);
}

void batch_stamp(uint8_t *data, int64_t base_offset, int32_t partition_leader_epoch)
{
    be64_put(data + POS_BASE_OFFSET, (uint64_t)base_offset);
    be32_put(data + POS_LEADER_EPOCH, (uint32_t)partition_leader_epoch);
}

static void put_crc(uint8_t *data, size_t batch_bytes)
{
    CHECK(batch_bytes >= BATCH_HEADER_BYTES);
    be32_put(data + POS_CRC, covered_crc(data, batch_bytes));
}

/* The base timestamp stays: readers of an append-time batch take maxTimestamp for every record. */
void batch_stamp_append_time(uint8_t *data, size_t batch_bytes, int64_t now_ms)
{
    uint16_t attributes = be16_get(data + POS_ATTRIBUTES);

    be16_put(data + POS_ATTRIBUTES, (uint16_t)(attributes | BATCH_ATTRIBUTE_APPEND_TIME));
    be64_put(data + POS_MAX_TIMESTAMP, (uint64_t)now_ms);
    put_crc(data, batch_bytes);
}

void batch_stamp_max_timestamp(uint8_t *data, size_t batch_bytes, int64_t max_timestamp_ms)
{
    be64_put(data + POS_MAX_TIMESTAMP, (uint64_t)max_timestamp_ms);
    put_crc(data, batch_bytes);
}

void batch_header_write(uint8_t *data, const struct batch_header *header)
{
    CHECK(header->batch_bytes >= BATCH_HEADER_BYTES && header->batch_bytes <= BATCH_BYTES_MAX);
    be64_put(data + POS_BASE_OFFSET, (uint64_t)header->base_offset);
    be32_put(data + POS_BATCH_LENGTH, (uint32_t)(header->batch_bytes - BATCH_LENGTH_OVERHEAD_BYTES));
    be32_put(data + POS_LEADER_EPOCH, (uint32_t)header->partition_leader_epoch);
    data[POS_MAGIC] = BATCH_MAGIC;
    be16_put(data + POS_ATTRIBUTES, header->attributes);
    be32_put(data + POS_LAST_OFFSET_DELTA, (uint32_t)header->last_offset_delta);
    be64_put(data + POS_BASE_TIMESTAMP, (uint64_t)header->base_timestamp_ms);
    be64_put(data + POS_MAX_TIMESTAMP, (uint64_t)header->max_timestamp_ms);
    be64_put(data + POS_PRODUCER_ID, (uint64_t)header->producer_id);
    be16_put(data + POS_PRODUCER_EPOCH, (uint16_t)header->producer_epoch);
    be32_put(data + POS_BASE_SEQUENCE, (uint32_t)header->base_sequence);
    be32_put(data + POS_RECORD_COUNT, (uint32_t)header->record_count);
    put_crc(data, header->batch_bytes);
}

int32_t batch_sequence_add(int32_t sequence, int32_t increment)
{
    CHECK(sequence >= 0 && increment >= 0);
    return (int32_t)(((uint32_t)sequence + (uint32_t)increment) & INT32_MAX);
}

bool batch_sequence_is_later(int32_t sequence, int32_t than)
{
    uint32_t distance = ((uint32_t)sequence - (uint32_t)than) & INT32_MAX;
    return distance != 0 && distance < (UINT32_C(1) << 30);
}

int32_t batch_last_sequence(const struct batch_header *header)
{
    if (header->base_sequence < 0 || header->last_offset_delta < 0) {
        return BATCH_NO_SEQUENCE;
    }
    return batch_sequence_add(header->base_sequence, header->last_offset_delta);
}

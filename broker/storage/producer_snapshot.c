#include "broker/storage/producer_snapshot.h"

#include "common/big_endian.h"
#include "common/crc32c.h"
#include "common/mem.h"

#include <utlist.h>

#define VERSION 1
#define CRC_POS 2u
#define HEAD_BYTES 10u
#define CRC_START_POS 6u
#define ENTRY_BYTES 46u
#define EXTENSION_MARK "MPS1"
#define EXTENSION_MARK_BYTES 4u
#define OLDER_HEAD_BYTES 12u
#define OLDER_BATCH_BYTES 24u
#define TXN_BYTES 24u

static void put_entry(const struct producer_entry *entry, uint8_t *to)
{
    struct producer_batch none = {.last_offset = -1, .offset_delta = 0, .last_sequence = -1, .timestamp_ms = -1};
    struct producer_batch last = entry->batch_count == 0 ? none : entry->batches[entry->batch_count - 1];
    be64_put(to, (uint64_t)entry->producer_id);
    be16_put(to + 8, (uint16_t)entry->producer_epoch);
    be32_put(to + 10, (uint32_t)last.last_sequence);
    be64_put(to + 14, (uint64_t)last.last_offset);
    be32_put(to + 22, (uint32_t)last.offset_delta);
    be64_put(to + 26, (uint64_t)entry->last_timestamp_ms);
    be32_put(to + 34, (uint32_t)entry->coordinator_epoch);
    be64_put(to + 38, (uint64_t)entry->txn_first_offset);
}

static void put_batch(const struct producer_batch *batch, uint8_t *to)
{
    be64_put(to, (uint64_t)batch->last_offset);
    be32_put(to + 8, (uint32_t)batch->offset_delta);
    be32_put(to + 12, (uint32_t)batch->last_sequence);
    be64_put(to + 16, (uint64_t)batch->timestamp_ms);
}

static enum err add_older(const struct producer_entry *entry, struct bytebuf *bytes)
{
    uint8_t record[OLDER_HEAD_BYTES + (PRODUCER_BATCHES_MAX - 1) * OLDER_BATCH_BYTES];
    uint32_t count = entry->batch_count == 0 ? 0 : entry->batch_count - 1;
    CHECK(count < PRODUCER_BATCHES_MAX);
    be64_put(record, (uint64_t)entry->seen_ms);
    be32_put(record + 8, count);
    for (uint32_t i = 0; i < count; i++) {
        put_batch(&entry->batches[i], record + OLDER_HEAD_BYTES + i * OLDER_BATCH_BYTES);
    }
    return bytebuf_append(bytes, span_make(record, OLDER_HEAD_BYTES + count * OLDER_BATCH_BYTES));
}

static enum err add_ended_txns(const struct producer_state *state, struct bytebuf *bytes)
{
    const struct producer_txn *txn = NULL;
    uint8_t record[TXN_BYTES];
    uint32_t count = 0;
    DL_FOREACH (state->txns, txn) {
        count += txn->last_offset != LOG_NO_OFFSET ? 1 : 0;
    }
    be32_put(record, count);
    enum err err = bytebuf_append(bytes, span_make(record, sizeof(count)));
    DL_FOREACH (state->txns, txn) {
        if (txn->last_offset != LOG_NO_OFFSET && err == ERR_OK) {
            be64_put(record, (uint64_t)txn->producer_id);
            be64_put(record + 8, (uint64_t)txn->first_offset);
            be64_put(record + 16, (uint64_t)txn->last_offset);
            err = bytebuf_append(bytes, span_make(record, sizeof(record)));
        }
    }
    return err;
}

enum err producer_snapshot_encode(const struct producer_state *state, struct bytebuf *ret_bytes)
{
    const struct producer_entry *entry = NULL;
    uint8_t record[ENTRY_BYTES];
    CHECK(ret_bytes->bytes == 0);
    be16_put(record, VERSION);
    be32_put(record + CRC_POS, 0);
    be32_put(record + CRC_START_POS, (uint32_t)producer_state_count(state));
    enum err err = bytebuf_append(ret_bytes, span_make(record, HEAD_BYTES));
    for (entry = state->entries; entry != NULL && err == ERR_OK; entry = entry->hh.next) {
        put_entry(entry, record);
        err = bytebuf_append(ret_bytes, span_make(record, sizeof(record)));
    }
    if (err == ERR_OK) {
        err = bytebuf_append(ret_bytes, span_make(EXTENSION_MARK, EXTENSION_MARK_BYTES));
    }
    for (entry = state->entries; entry != NULL && err == ERR_OK; entry = entry->hh.next) {
        err = add_older(entry, ret_bytes);
    }
    if (err == ERR_OK) {
        err = add_ended_txns(state, ret_bytes);
    }
    if (err == ERR_OK) {
        struct span covered = span_sub(bytebuf_span(ret_bytes), CRC_START_POS, ret_bytes->bytes - CRC_START_POS);
        be32_put(ret_bytes->data + CRC_POS, crc32c(0, covered));
    }
    return err;
}

static bool take(struct span *rest, size_t bytes, const uint8_t **ret_data)
{
    if (rest->bytes < bytes) {
        return false;
    }
    *ret_data = rest->data;
    *rest = span_sub(*rest, bytes, rest->bytes - bytes);
    return true;
}

/* A client that resends it is answered with these offsets. */
static bool is_sound(const struct producer_batch *batch)
{
    return batch->last_sequence >= 0 && batch->offset_delta >= 0 && batch->last_offset >= batch->offset_delta;
}

static enum err get_entry(const uint8_t *from, int64_t now_ms, struct producer_entry *ret_entry)
{
    struct producer_batch last = {
        .last_offset = (int64_t)be64_get(from + 14),
        .offset_delta = (int32_t)be32_get(from + 22),
        .last_sequence = (int32_t)be32_get(from + 10),
        .timestamp_ms = (int64_t)be64_get(from + 26),
    };
    *ret_entry = (struct producer_entry){
        .producer_id = (int64_t)be64_get(from),
        .producer_epoch = (int16_t)be16_get(from + 8),
        .last_timestamp_ms = (int64_t)be64_get(from + 26),
        .coordinator_epoch = (int32_t)be32_get(from + 34),
        .txn_first_offset = (int64_t)be64_get(from + 38),
        .seen_ms = now_ms,
    };
    if (ret_entry->producer_id < 0 || ret_entry->txn_first_offset < LOG_NO_OFFSET) {
        return ERR_CORRUPT;
    }
    if (last.last_sequence >= 0) {
        if (!is_sound(&last)) {
            return ERR_CORRUPT;
        }
        ret_entry->batches[0] = last;
        ret_entry->batch_count = 1;
    }
    return ERR_OK;
}

/* Puts the older batches in front of the last one. */
static enum err get_older(struct span *rest, struct producer_entry *entry)
{
    const uint8_t *data = NULL;
    if (!take(rest, OLDER_HEAD_BYTES, &data)) {
        return ERR_CORRUPT;
    }
    entry->seen_ms = (int64_t)be64_get(data);
    uint32_t count = be32_get(data + 8);
    if (entry->seen_ms < 0) {
        return ERR_CORRUPT;
    }
    if (count == 0) {
        return ERR_OK;
    }
    if (count > PRODUCER_BATCHES_MAX - 1 || entry->batch_count != 1) {
        return ERR_CORRUPT;
    }
    entry->batches[count] = entry->batches[0];
    entry->batch_count = count + 1;
    for (uint32_t i = 0; i < count; i++) {
        if (!take(rest, OLDER_BATCH_BYTES, &data)) {
            return ERR_CORRUPT;
        }
        entry->batches[i] = (struct producer_batch){
            .last_offset = (int64_t)be64_get(data),
            .offset_delta = (int32_t)be32_get(data + 8),
            .last_sequence = (int32_t)be32_get(data + 12),
            .timestamp_ms = (int64_t)be64_get(data + 16),
        };
        if (!is_sound(&entry->batches[i])) {
            return ERR_CORRUPT;
        }
    }
    return ERR_OK;
}

static enum err get_ended_txns(struct span *rest, struct producer_state *state)
{
    const uint8_t *data = NULL;
    if (!take(rest, sizeof(uint32_t), &data)) {
        return ERR_CORRUPT;
    }
    uint32_t count = be32_get(data);
    for (uint32_t i = 0; i < count; i++) {
        if (!take(rest, TXN_BYTES, &data)) {
            return ERR_CORRUPT;
        }
        int64_t first_offset = (int64_t)be64_get(data + 8);
        int64_t last_offset = (int64_t)be64_get(data + 16);
        if (first_offset < 0 || last_offset < first_offset) {
            return ERR_CORRUPT;
        }
        producer_state_add_txn(state, (int64_t)be64_get(data), first_offset, last_offset);
    }
    return rest->bytes == 0 ? ERR_OK : ERR_CORRUPT;
}

static enum err get_all(struct span bytes, int64_t now_ms, struct producer_state *state)
{
    uint32_t count = be32_get(bytes.data + CRC_START_POS);
    struct span rest = span_sub(bytes, HEAD_BYTES, bytes.bytes - HEAD_BYTES);
    if (count > rest.bytes / ENTRY_BYTES) {
        return ERR_CORRUPT;
    }
    struct span entries = span_sub(rest, 0, (size_t)count * ENTRY_BYTES);
    rest = span_sub(rest, entries.bytes, rest.bytes - entries.bytes);
    const uint8_t *mark = NULL;
    bool is_extended = rest.bytes > 0;
    if (is_extended &&
        (!take(&rest, EXTENSION_MARK_BYTES, &mark) || memcmp(mark, EXTENSION_MARK, EXTENSION_MARK_BYTES) != 0)) {
        return ERR_CORRUPT;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct producer_entry entry;
        enum err err = get_entry(entries.data + (size_t)i * ENTRY_BYTES, now_ms, &entry);
        if (err == ERR_OK && is_extended) {
            err = get_older(&rest, &entry);
        }
        if (err != ERR_OK || producer_state_find(state, entry.producer_id) != NULL) {
            return ERR_CORRUPT;
        }
        producer_state_put(state, &entry);
    }
    return is_extended ? get_ended_txns(&rest, state) : ERR_OK;
}

enum err producer_snapshot_decode(struct span bytes, int64_t now_ms, struct producer_state *state)
{
    if (bytes.bytes < HEAD_BYTES) {
        return ERR_CORRUPT;
    }
    if (be16_get(bytes.data) != VERSION) {
        return ERR_UNSUPPORTED;
    }
    struct span covered = span_sub(bytes, CRC_START_POS, bytes.bytes - CRC_START_POS);
    if (be32_get(bytes.data + CRC_POS) != crc32c(0, covered)) {
        return ERR_CORRUPT;
    }
    enum err err = get_all(bytes, now_ms, state);
    if (err != ERR_OK) {
        producer_state_done(state);
        producer_state_init(state);
    }
    return err;
}

#include "broker/storage/txn_index.h"

#include "broker/storage/index_read.h"
#include "common/big_endian.h"
#include "common/mem.h"

#define CHUNK_ENTRIES 64u

void txn_entry_encode(const struct aborted_txn *txn, uint8_t *ret_bytes)
{
    be16_put(ret_bytes, TXN_INDEX_VERSION);
    be64_put(ret_bytes + 2, (uint64_t)txn->producer_id);
    be64_put(ret_bytes + 10, (uint64_t)txn->first_offset);
    be64_put(ret_bytes + 18, (uint64_t)txn->last_offset);
    be64_put(ret_bytes + 26, (uint64_t)txn->last_stable_offset);
}

enum err txn_entry_decode(const uint8_t *bytes, struct aborted_txn *ret_txn)
{
    struct aborted_txn txn = {
        .producer_id = (int64_t)be64_get(bytes + 2),
        .first_offset = (int64_t)be64_get(bytes + 10),
        .last_offset = (int64_t)be64_get(bytes + 18),
        .last_stable_offset = (int64_t)be64_get(bytes + 26),
    };
    if (be16_get(bytes) != TXN_INDEX_VERSION || txn.first_offset < 0 || txn.first_offset > txn.last_offset) {
        return ERR_CORRUPT;
    }
    *ret_txn = txn;
    return ERR_OK;
}

void aborted_list_add(struct aborted_list *list, const struct aborted_txn *txn)
{
    /* Grown by powers of two: a power of two means full. */
    if ((list->count & (list->count - 1)) == 0) {
        size_t capacity = list->count == 0 ? 1 : list->count * 2;
        list->items = mem_grow(list->items, capacity, sizeof(*list->items));
    }
    list->items[list->count++] = *txn;
}

enum err txn_index_collect(struct file *file, uint64_t bytes, int64_t first_offset, int64_t end_offset, bool may_block,
                           struct aborted_list *list, bool *ret_is_complete)
{
    uint8_t chunk[CHUNK_ENTRIES * TXN_INDEX_ENTRY_BYTES];
    uint64_t pos = 0;

    *ret_is_complete = false;
    while (bytes - pos >= TXN_INDEX_ENTRY_BYTES) {
        size_t whole_bytes = (size_t)((bytes - pos) / TXN_INDEX_ENTRY_BYTES) * TXN_INDEX_ENTRY_BYTES;
        size_t chunk_bytes = whole_bytes < sizeof(chunk) ? whole_bytes : sizeof(chunk);
        enum err err = index_read(file, pos, chunk, chunk_bytes, may_block);
        if (err != ERR_OK) {
            return err;
        }
        for (size_t at = 0; at < chunk_bytes; at += TXN_INDEX_ENTRY_BYTES) {
            struct aborted_txn txn;
            err = txn_entry_decode(chunk + at, &txn);
            if (err != ERR_OK) {
                return err;
            }
            if (txn.last_offset >= first_offset && txn.first_offset < end_offset) {
                aborted_list_add(list, &txn);
            }
            /* Everything below last_stable_offset was decided when this entry was written. */
            if (txn.last_stable_offset >= end_offset) {
                *ret_is_complete = true;
                return ERR_OK;
            }
        }
        pos += chunk_bytes;
    }
    return ERR_OK;
}

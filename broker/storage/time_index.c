#include "broker/storage/time_index.h"

#include "broker/storage/index_read.h"
#include "common/big_endian.h"

void time_entry_encode(struct time_entry entry, uint8_t *ret_bytes)
{
    be64_put(ret_bytes, (uint64_t)entry.timestamp_ms);
    be32_put(ret_bytes + 8, (uint32_t)entry.relative_offset);
}

struct time_entry time_entry_decode(const uint8_t *bytes)
{
    return (struct time_entry){.timestamp_ms = (int64_t)be64_get(bytes),
                               .relative_offset = (int32_t)be32_get(bytes + 8)};
}

enum err time_index_read(struct file *file, uint32_t index, struct time_entry *ret_entry)
{
    uint8_t bytes[TIME_INDEX_ENTRY_BYTES];
    enum err err = index_read(file, (uint64_t)index * TIME_INDEX_ENTRY_BYTES, bytes, sizeof(bytes), true);
    if (err == ERR_OK) {
        *ret_entry = time_entry_decode(bytes);
    }
    return err;
}

enum err time_index_below(struct file *file, uint32_t count, int64_t timestamp_ms, struct time_entry *ret_entry)
{
    uint32_t low = 0;
    uint32_t high = count;
    struct time_entry best = {0, 0};
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct time_entry entry;
        enum err err = time_index_read(file, middle, &entry);
        if (err != ERR_OK) {
            return err;
        }
        if (entry.timestamp_ms < timestamp_ms) {
            best = entry;
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return ERR_NOT_FOUND;
    }
    *ret_entry = best;
    return ERR_OK;
}

/* Binary search over the page cache: a handful of reads of 8 bytes cost less than keeping indexes in memory, and the page
 * cache is the bounded cache of those that are in use. */
#include "broker/storage/offset_index.h"

#include "broker/storage/index_read.h"
#include "common/big_endian.h"

void offset_entry_encode(struct offset_entry entry, uint8_t *ret_bytes)
{
    be32_put(ret_bytes, (uint32_t)entry.relative_offset);
    be32_put(ret_bytes + 4, entry.position);
}

struct offset_entry offset_entry_decode(const uint8_t *bytes)
{
    return (struct offset_entry){.relative_offset = (int32_t)be32_get(bytes), .position = be32_get(bytes + 4)};
}

static enum err read_entry(struct file *file, uint32_t index, bool may_block, struct offset_entry *ret_entry)
{
    uint8_t bytes[OFFSET_INDEX_ENTRY_BYTES];
    enum err err = index_read(file, (uint64_t)index * OFFSET_INDEX_ENTRY_BYTES, bytes, sizeof(bytes), may_block);
    if (err == ERR_OK) {
        *ret_entry = offset_entry_decode(bytes);
    }
    return err;
}

/* What an entry must satisfy; true for a prefix of the entries. */
struct floor_condition {
    int64_t offset_max;    /* inclusive */
    uint32_t position_max; /* inclusive */
};

static bool satisfies(struct offset_entry entry, struct floor_condition condition)
{
    return entry.relative_offset <= condition.offset_max && entry.position <= condition.position_max;
}

static enum err file_floor(struct file *file, uint32_t count, struct floor_condition condition, bool may_block,
                           struct offset_entry *ret_entry)
{
    uint32_t low = 0; /* entries below satisfy */
    uint32_t high = count;
    struct offset_entry best = {0, 0};
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct offset_entry entry;
        enum err err = read_entry(file, middle, may_block, &entry);
        if (err != ERR_OK) {
            return err;
        }
        if (satisfies(entry, condition)) {
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

enum err offset_index_floor(struct file *file, uint32_t count, int32_t relative_offset, bool may_block,
                            struct offset_entry *ret_entry)
{
    struct floor_condition condition = {relative_offset, UINT32_MAX};
    return file_floor(file, count, condition, may_block, ret_entry);
}

enum err offset_index_floor_position(struct file *file, uint32_t count, uint32_t position,
                                     int64_t below_relative_offset, bool may_block, struct offset_entry *ret_entry)
{
    struct floor_condition condition = {below_relative_offset - 1, position};
    return file_floor(file, count, condition, may_block, ret_entry);
}

static size_t memory_floor(const struct offset_entry *entries, size_t count, struct floor_condition condition)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (satisfies(entries[middle], condition)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

size_t offset_entries_floor(const struct offset_entry *entries, size_t count, int32_t relative_offset)
{
    return memory_floor(entries, count, (struct floor_condition){relative_offset, UINT32_MAX});
}

size_t offset_entries_floor_position(const struct offset_entry *entries, size_t count, uint32_t position,
                                     int64_t below_relative_offset)
{
    return memory_floor(entries, count, (struct floor_condition){below_relative_offset - 1, position});
}

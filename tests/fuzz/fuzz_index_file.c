/* fuzz_index_file: bytes that claim to be an index of a segment: offsets, times, aborted transactions.
 *
 * Input:     byte 0: which index, bit 7: its entries are put in order first, as an undamaged file has them; bytes 1-8: what is looked for
 *            (big-endian); the rest is the file.
 * Asserts:   whatever the file holds, an answer is one of its entries and satisfies what was asked; in an ordered file it is the one
 *            that a walk over all entries finds, and the search in memory finds the same.
 */
#include "broker/storage/offset_index.h"
#include "broker/storage/time_index.h"
#include "broker/storage/txn_index.h"
#include "common/big_endian.h"
#include "common/mem.h"
#include "common/seam/fs.h"
#include "tests/support/fs_sim.h"

#include <stdlib.h>

#define INDEX_PATH "/sim/index"
#define FUZZ_ENTRIES_MAX 4096u
#define SWITCH_ORDER 0x80u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct index_fuzz {
    struct file *file;
    uint8_t *bytes;
    size_t byte_count;
    uint64_t wanted;
    bool is_ordered;
};

/* Both kinds of numbers of an entry rise: so the entries themselves, as bytes, once they are ordered each for itself. */
static int order_words(const void *left, const void *right)
{
    return memcmp(left, right, 4);
}

static int order_times(const void *left, const void *right)
{
    return memcmp(left, right, 8);
}

/* Offsets and positions rise together: both columns are sorted, and the signs go. */
static void order_offsets(uint8_t *bytes, size_t count)
{
    uint8_t *column = mem_array(count + 1, 4);
    for (size_t part = 0; part < 2; part++) {
        for (size_t i = 0; i < count; i++) {
            memcpy(column + i * 4, bytes + i * OFFSET_INDEX_ENTRY_BYTES + part * 4, 4);
            column[i * 4] &= part == 0 ? 0x7f : 0xff;
        }
        if (count > 0) {
            qsort(column, count, 4, order_words);
        }
        for (size_t i = 0; i < count; i++) {
            memcpy(bytes + i * OFFSET_INDEX_ENTRY_BYTES + part * 4, column + i * 4, 4);
        }
    }
    mem_free(column);
}

static void write_index(struct fs *fs, struct index_fuzz *fuzz)
{
    struct span bytes = span_make(fuzz->bytes, fuzz->byte_count);
    CHECK(fs_open(fs, INDEX_PATH, FS_OPEN_WRITE | FS_OPEN_CREATE, &fuzz->file) == ERR_OK);
    CHECK(bytes.bytes == 0 || file_pwritev(fuzz->file, &bytes, 1, 0) == ERR_OK);
}

/* ---- offsets ---- */

static bool is_entry(const struct offset_entry *entries, size_t count, struct offset_entry entry)
{
    for (size_t i = 0; i < count; i++) {
        if (entries[i].relative_offset == entry.relative_offset && entries[i].position == entry.position) {
            return true;
        }
    }
    return false;
}

static void check_floor(const struct index_fuzz *fuzz, const struct offset_entry *entries, uint32_t count)
{
    struct offset_entry found = {0, 0};
    int32_t wanted = (int32_t)fuzz->wanted;
    size_t expected = 0;
    while (expected < count && entries[expected].relative_offset <= wanted) {
        expected++;
    }
    enum err err = offset_index_floor(fuzz->file, count, wanted, true, &found);
    CHECK(err == ERR_OK || err == ERR_NOT_FOUND);
    CHECK(err != ERR_OK || (found.relative_offset <= wanted && is_entry(entries, count, found)));
    if (fuzz->is_ordered) {
        CHECK((err == ERR_OK) == (expected > 0));
        CHECK(expected == 0 || found.relative_offset == entries[expected - 1].relative_offset);
        CHECK(offset_entries_floor(entries, count, wanted) == expected);
    }
}

static void check_floor_position(const struct index_fuzz *fuzz, const struct offset_entry *entries, uint32_t count)
{
    struct offset_entry found = {0, 0};
    uint32_t position = (uint32_t)fuzz->wanted;
    int64_t below = (int64_t)(fuzz->wanted >> 32);
    size_t expected = 0;
    while (expected < count && entries[expected].position <= position && entries[expected].relative_offset < below) {
        expected++;
    }
    enum err err = offset_index_floor_position(fuzz->file, count, position, below, true, &found);
    CHECK(err == ERR_OK || err == ERR_NOT_FOUND);
    CHECK(err != ERR_OK ||
          (found.position <= position && found.relative_offset < below && is_entry(entries, count, found)));
    if (fuzz->is_ordered) {
        CHECK((err == ERR_OK) == (expected > 0));
        CHECK(expected == 0 || found.position == entries[expected - 1].position);
        CHECK(offset_entries_floor_position(entries, count, position, below) == expected);
    }
}

static void try_offsets(struct fs *fs, struct index_fuzz *fuzz)
{
    uint32_t count = (uint32_t)(fuzz->byte_count / OFFSET_INDEX_ENTRY_BYTES);
    struct offset_entry *entries = mem_array(count + 1, sizeof(*entries));
    if (fuzz->is_ordered) {
        order_offsets(fuzz->bytes, count);
    }
    write_index(fs, fuzz);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t again[OFFSET_INDEX_ENTRY_BYTES];
        entries[i] = offset_entry_decode(fuzz->bytes + (size_t)i * OFFSET_INDEX_ENTRY_BYTES);
        offset_entry_encode(entries[i], again);
        CHECK(memcmp(again, fuzz->bytes + (size_t)i * OFFSET_INDEX_ENTRY_BYTES, sizeof(again)) == 0);
    }
    check_floor(fuzz, entries, count);
    check_floor_position(fuzz, entries, count);
    mem_free(entries);
}

/* ---- times ---- */

static void try_times(struct fs *fs, struct index_fuzz *fuzz)
{
    uint32_t count = (uint32_t)(fuzz->byte_count / TIME_INDEX_ENTRY_BYTES);
    struct time_entry found = {0, 0};
    int64_t wanted = (int64_t)fuzz->wanted;
    int64_t best = INT64_MIN;
    bool is_there = false;
    if (fuzz->is_ordered && count > 0) {
        for (uint32_t i = 0; i < count; i++) {
            fuzz->bytes[(size_t)i * TIME_INDEX_ENTRY_BYTES] &= 0x7f;
        }
        qsort(fuzz->bytes, count, TIME_INDEX_ENTRY_BYTES, order_times);
    }
    write_index(fs, fuzz);
    enum err err = time_index_below(fuzz->file, count, wanted, &found);
    CHECK(err == ERR_OK || err == ERR_NOT_FOUND);
    for (uint32_t i = 0; i < count; i++) {
        struct time_entry entry;
        CHECK(time_index_read(fuzz->file, i, &entry) == ERR_OK);
        if (entry.timestamp_ms < wanted && entry.timestamp_ms >= best) {
            best = entry.timestamp_ms;
        }
        is_there =
            is_there || (entry.timestamp_ms == found.timestamp_ms && entry.relative_offset == found.relative_offset);
    }
    struct time_entry beyond;
    CHECK(time_index_read(fuzz->file, count, &beyond) == ERR_CORRUPT);
    CHECK(err != ERR_OK || (found.timestamp_ms < wanted && is_there));
    CHECK(!fuzz->is_ordered || (err == ERR_OK) == (best != INT64_MIN));
    CHECK(!fuzz->is_ordered || err != ERR_OK || found.timestamp_ms == best);
}

/* ---- aborted transactions ---- */

/* What a walk finds; stops as the index says that nothing more can follow. */
static enum err walk_txns(const struct index_fuzz *fuzz, int64_t first, int64_t end, struct aborted_list *list)
{
    for (size_t pos = 0; fuzz->byte_count - pos >= TXN_INDEX_ENTRY_BYTES; pos += TXN_INDEX_ENTRY_BYTES) {
        struct aborted_txn txn;
        enum err err = txn_entry_decode(fuzz->bytes + pos, &txn);
        if (err != ERR_OK) {
            return err;
        }
        uint8_t again[TXN_INDEX_ENTRY_BYTES];
        txn_entry_encode(&txn, again);
        CHECK(memcmp(again, fuzz->bytes + pos, sizeof(again)) == 0);
        if (txn.last_offset >= first && txn.first_offset < end) {
            aborted_list_add(list, &txn);
        }
        if (txn.last_stable_offset >= end) {
            return ERR_OK;
        }
    }
    return ERR_OK;
}

static void try_txns(struct fs *fs, struct index_fuzz *fuzz)
{
    struct aborted_list found = {0};
    struct aborted_list expected = {0};
    int64_t first = (int64_t)(fuzz->wanted >> 32);
    int64_t end = first + (int64_t)(uint32_t)fuzz->wanted;
    bool is_complete = false;
    if (fuzz->is_ordered) {
        for (size_t pos = 0; fuzz->byte_count - pos >= TXN_INDEX_ENTRY_BYTES; pos += TXN_INDEX_ENTRY_BYTES) {
            be16_put(fuzz->bytes + pos, TXN_INDEX_VERSION);
        }
    }
    write_index(fs, fuzz);
    enum err err = txn_index_collect(fuzz->file, fuzz->byte_count, first, end, true, &found, &is_complete);
    CHECK(err == walk_txns(fuzz, first, end, &expected));
    CHECK(found.count == expected.count);
    CHECK(found.count == 0 || memcmp(found.items, expected.items, found.count * sizeof(*found.items)) == 0);
    mem_free(found.items);
    mem_free(expected.items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct index_fuzz fuzz = {0};
    if (bytes < 9 || bytes > FUZZ_ENTRIES_MAX * TXN_INDEX_ENTRY_BYTES) {
        return 0;
    }
    struct fs_sim *sim = fs_sim_new(NULL);
    fuzz.is_ordered = (data[0] & SWITCH_ORDER) != 0;
    fuzz.wanted = be64_get(data + 1);
    fuzz.byte_count = bytes - 9;
    fuzz.bytes = mem_alloc(fuzz.byte_count + 1);
    memcpy(fuzz.bytes, data + 9, fuzz.byte_count);
    switch ((data[0] & ~SWITCH_ORDER) % 3) {
    case 0:
        try_offsets(fs_sim_fs(sim), &fuzz);
        break;
    case 1:
        try_times(fs_sim_fs(sim), &fuzz);
        break;
    default:
        try_txns(fs_sim_fs(sim), &fuzz);
        break;
    }
    file_unref(fuzz.file);
    mem_free(fuzz.bytes);
    CHECK(fs_sim_open_files(sim) == 0);
    fs_sim_free(sim);
    return 0;
}

#include "broker/storage/epoch_cache.h"

#include "broker/storage/side_file.h"
#include "common/mem.h"

#include <inttypes.h>

void epoch_cache_init(struct epoch_cache *cache)
{
    *cache = (struct epoch_cache){NULL, 0, 0};
}

void epoch_cache_done(struct epoch_cache *cache)
{
    mem_free(cache->entries);
    *cache = (struct epoch_cache){NULL, 0, 0};
}

void epoch_cache_copy(const struct epoch_cache *cache, struct epoch_cache *ret_copy)
{
    *ret_copy = (struct epoch_cache){NULL, cache->count, cache->count};
    if (cache->count > 0) {
        ret_copy->entries = mem_array(cache->count, sizeof(*cache->entries));
        memcpy(ret_copy->entries, cache->entries, cache->count * sizeof(*cache->entries));
    }
}

static void append_entry(struct epoch_cache *cache, struct epoch_entry entry)
{
    if (cache->count == cache->capacity) {
        cache->capacity = cache->capacity == 0 ? 2 : cache->capacity * 2;
        cache->entries = mem_grow(cache->entries, cache->capacity, sizeof(*cache->entries));
    }
    CHECK(cache->entries != NULL);
    cache->entries[cache->count++] = entry;
}

bool epoch_cache_assign(struct epoch_cache *cache, int32_t epoch, int64_t start_offset)
{
    const struct epoch_entry *last = epoch_cache_last(cache);
    CHECK(epoch >= 0 && start_offset >= 0);
    if (last != NULL && last->epoch >= epoch) {
        return false;
    }
    /* An epoch without records says nothing about the log: only the newest of them is kept. */
    (void)epoch_cache_truncate_end(cache, start_offset);
    append_entry(cache, (struct epoch_entry){epoch, start_offset});
    return true;
}

bool epoch_cache_truncate_end(struct epoch_cache *cache, int64_t end_offset)
{
    size_t count = cache->count;
    CHECK(count == 0 || cache->entries != NULL);
    while (cache->count > 0 && cache->entries[cache->count - 1].start_offset >= end_offset) {
        cache->count--;
    }
    return cache->count != count;
}

bool epoch_cache_truncate_start(struct epoch_cache *cache, int64_t start_offset)
{
    size_t drop = 0;
    /* The last entry that starts at or below the new start still covers it. */
    while (drop + 1 < cache->count && cache->entries[drop + 1].start_offset <= start_offset) {
        drop++;
    }
    if (cache->count == 0 || (drop == 0 && cache->entries[0].start_offset >= start_offset)) {
        return false;
    }
    memmove(cache->entries, cache->entries + drop, (cache->count - drop) * sizeof(*cache->entries));
    cache->count -= drop;
    if (cache->entries[0].start_offset < start_offset) {
        cache->entries[0].start_offset = start_offset;
    }
    return true;
}

const struct epoch_entry *epoch_cache_last(const struct epoch_cache *cache)
{
    return cache->count == 0 ? NULL : &cache->entries[cache->count - 1];
}

/* The number of entries with an epoch at or below `epoch`. */
static size_t count_up_to(const struct epoch_cache *cache, int32_t epoch)
{
    size_t low = 0;
    size_t high = cache->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cache->entries[middle].epoch <= epoch) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct epoch_entry *epoch_cache_find(const struct epoch_cache *cache, int32_t epoch)
{
    size_t count = count_up_to(cache, epoch);
    if (count == 0 || cache->entries[count - 1].epoch != epoch) {
        return NULL;
    }
    return &cache->entries[count - 1];
}

const struct epoch_entry *epoch_cache_at_offset(const struct epoch_cache *cache, int64_t offset)
{
    size_t index = cache->count;
    while (index > 0 && cache->entries[index - 1].start_offset > offset) {
        index--;
    }
    return index == 0 ? NULL : &cache->entries[index - 1];
}

void epoch_cache_end_offset(const struct epoch_cache *cache, int32_t epoch, int64_t log_end_offset, int32_t *ret_epoch,
                            int64_t *ret_end_offset)
{
    size_t count = count_up_to(cache, epoch);
    const struct epoch_entry *last = epoch_cache_last(cache);
    *ret_epoch = LOG_NO_EPOCH;
    *ret_end_offset = LOG_NO_OFFSET;
    if (last == NULL || epoch < 0 || epoch > last->epoch) {
        return;
    }
    if (epoch == last->epoch) {
        *ret_epoch = epoch;
        *ret_end_offset = log_end_offset;
        return;
    }
    /* Older than all that is left: whatever it wrote ended where the first known epoch begins. */
    *ret_epoch = count == 0 ? epoch : cache->entries[count - 1].epoch;
    *ret_end_offset = cache->entries[count].start_offset;
}

enum err epoch_cache_encode(const struct epoch_cache *cache, struct bytebuf *text)
{
    enum err err = bytebuf_append_format(text, "0\n%zu\n", cache->count);
    for (size_t i = 0; i < cache->count && err == ERR_OK; i++) {
        err = bytebuf_append_format(text, "%" PRId32 " %" PRId64 "\n", cache->entries[i].epoch,
                                    cache->entries[i].start_offset);
    }
    return err == ERR_OK ? side_text_seal(text, 0) : err;
}

static enum err decode_entry(struct span line, struct epoch_cache *cache)
{
    const struct epoch_entry *last = epoch_cache_last(cache);
    int64_t epoch = 0;
    int64_t start_offset = 0;
    if (!side_text_number(&line, &epoch) || !side_text_number(&line, &start_offset) || line.bytes != 0 || epoch < 0 ||
        epoch > INT32_MAX || start_offset < 0 ||
        (last != NULL && (last->epoch >= epoch || last->start_offset >= start_offset))) {
        return ERR_CORRUPT;
    }
    append_entry(cache, (struct epoch_entry){(int32_t)epoch, start_offset});
    return ERR_OK;
}

enum err epoch_cache_decode(struct span text, struct epoch_cache *cache)
{
    struct span body;
    struct span line;
    int64_t version = -1;
    int64_t count = -1;
    enum err err = side_text_open(text, &body, NULL);
    if (err != ERR_OK) {
        return err;
    }
    if (!side_text_line(&body, &line) || !side_text_number(&line, &version) || version != 0 ||
        !side_text_line(&body, &line) || !side_text_number(&line, &count) || count < 0 ||
        count > (int64_t)EPOCH_CACHE_ENTRIES_MAX) {
        return ERR_CORRUPT;
    }
    while (side_text_line(&body, &line) && err == ERR_OK) {
        err = decode_entry(line, cache);
    }
    return err == ERR_OK && cache->count != (size_t)count ? ERR_CORRUPT : err;
}

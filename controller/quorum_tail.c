#include "controller/quorum_tail.h"

#include "common/mem.h"

#define TAIL_CAPACITY_FIRST 64

void quorum_tail_init(struct quorum_tail *tail, uint64_t first_index)
{
    *tail = (struct quorum_tail){.first_index = first_index};
}

void quorum_tail_done(struct quorum_tail *tail)
{
    for (size_t i = 0; i < tail->count; i++) {
        quorum_entry_unref(tail->entries[tail->start + i]);
    }
    mem_free(tail->entries);
    *tail = (struct quorum_tail){0};
}

uint64_t quorum_tail_end(const struct quorum_tail *tail)
{
    return tail->first_index + tail->count;
}

struct quorum_entry *quorum_tail_find(const struct quorum_tail *tail, uint64_t index)
{
    bool is_here = index >= tail->first_index && index < quorum_tail_end(tail);
    return is_here ? tail->entries[tail->start + (index - tail->first_index)] : NULL;
}

struct quorum_entry *quorum_tail_get(const struct quorum_tail *tail, uint64_t index)
{
    struct quorum_entry *entry = quorum_tail_find(tail, index);
    CHECK(entry != NULL);
    return entry;
}

/* Room for one more: moves the entries to the front when half of the array is free there, else doubles it. */
static void make_room(struct quorum_tail *tail)
{
    if (tail->start + tail->count < tail->capacity) {
        return;
    }
    if (tail->start > tail->capacity / 2) {
        memmove(tail->entries, tail->entries + tail->start, tail->count * sizeof(tail->entries[0]));
        tail->start = 0;
        return;
    }
    tail->capacity = tail->capacity == 0 ? TAIL_CAPACITY_FIRST : tail->capacity * 2;
    tail->entries = (struct quorum_entry **)mem_grow(tail->entries, tail->capacity, sizeof(tail->entries[0]));
}

void quorum_tail_append(struct quorum_tail *tail, struct quorum_entry *entry)
{
    CHECK(entry->index == quorum_tail_end(tail));
    make_room(tail);
    tail->entries[tail->start + tail->count++] = entry;
}

void quorum_tail_truncate(struct quorum_tail *tail, uint64_t from_index)
{
    while (tail->count > 0 && quorum_tail_end(tail) > from_index) {
        tail->count--;
        quorum_entry_unref(tail->entries[tail->start + tail->count]);
    }
}

void quorum_tail_reset(struct quorum_tail *tail, uint64_t first_index)
{
    quorum_tail_truncate(tail, tail->first_index);
    tail->start = 0;
    tail->first_index = first_index;
}

void quorum_tail_release(struct quorum_tail *tail, uint64_t index)
{
    while (tail->count > 0 && tail->first_index <= index) {
        quorum_entry_unref(tail->entries[tail->start]);
        tail->start++;
        tail->first_index++;
        tail->count--;
    }
}

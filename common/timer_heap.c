#include "common/timer_heap.h"

#include "common/check.h"
#include "common/mem.h"

void timer_heap_init(struct timer_heap *heap)
{
    *heap = (struct timer_heap){0};
}

void timer_heap_done(struct timer_heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        heap->slots[i]->heap_slot = 0;
    }
    mem_free(heap->slots);
    *heap = (struct timer_heap){0};
}

static bool timer_is_before(const struct loop_timer *a, const struct loop_timer *b)
{
    return a->deadline_us != b->deadline_us ? a->deadline_us < b->deadline_us : a->order < b->order;
}

static void heap_place(struct timer_heap *heap, size_t index, struct loop_timer *timer)
{
    heap->slots[index] = timer;
    timer->heap_slot = index + 1;
}

static void heap_sift_up(struct timer_heap *heap, size_t index, struct loop_timer *timer)
{
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (!timer_is_before(timer, heap->slots[parent])) {
            break;
        }
        heap_place(heap, index, heap->slots[parent]);
        index = parent;
    }
    heap_place(heap, index, timer);
}

static void heap_sift_down(struct timer_heap *heap, size_t index, struct loop_timer *timer)
{
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && timer_is_before(heap->slots[child + 1], heap->slots[child])) {
            child++;
        }
        if (!timer_is_before(heap->slots[child], timer)) {
            break;
        }
        heap_place(heap, index, heap->slots[child]);
        index = child;
    }
    heap_place(heap, index, timer);
}

/* Finds the right place for `timer`, whose slot `index` is free to be overwritten. */
static void heap_settle(struct timer_heap *heap, size_t index, struct loop_timer *timer)
{
    if (index > 0 && timer_is_before(timer, heap->slots[(index - 1) / 2])) {
        heap_sift_up(heap, index, timer);
    } else {
        heap_sift_down(heap, index, timer);
    }
}

void timer_heap_set(struct timer_heap *heap, struct loop_timer *timer, uint64_t deadline_us)
{
    CHECK(timer->fire != NULL);
    timer->deadline_us = deadline_us < heap->floor_us ? heap->floor_us : deadline_us;
    timer->order = heap->order_next++;
    if (timer->heap_slot != 0) {
        CHECK(timer->heap_slot <= heap->count && heap->slots[timer->heap_slot - 1] == timer);
        heap_settle(heap, timer->heap_slot - 1, timer);
        return;
    }
    if (heap->count == heap->capacity) {
        heap->capacity = heap->capacity == 0 ? 16 : heap->capacity * 2;
        heap->slots = mem_grow(heap->slots, heap->capacity, sizeof(*heap->slots));
    }
    heap->count++;
    heap_sift_up(heap, heap->count - 1, timer);
}

void timer_heap_cancel(struct timer_heap *heap, struct loop_timer *timer)
{
    if (timer->heap_slot == 0) {
        return;
    }
    size_t index = timer->heap_slot - 1;
    CHECK(index < heap->count && heap->slots[index] == timer);
    timer->heap_slot = 0;
    heap->count--;
    if (index < heap->count) {
        heap_settle(heap, index, heap->slots[heap->count]);
    }
}

uint64_t timer_heap_deadline_us(const struct timer_heap *heap)
{
    return heap->count == 0 ? TIMER_HEAP_NONE_US : heap->slots[0]->deadline_us;
}

uint64_t timer_heap_mark(const struct timer_heap *heap)
{
    return heap->order_next;
}

struct loop_timer *timer_heap_take_due(struct timer_heap *heap, uint64_t now_us, uint64_t mark)
{
    if (heap->floor_us < now_us) {
        heap->floor_us = now_us;
    }
    if (heap->count == 0 || heap->slots[0]->deadline_us > now_us || heap->slots[0]->order >= mark) {
        return NULL;
    }
    struct loop_timer *timer = heap->slots[0];
    timer_heap_cancel(heap, timer);
    return timer;
}

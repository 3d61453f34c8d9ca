/* timer_heap: the armed timers of one loop, nearest deadline first. Shared by the production loop and the simulator, so
 * that both fire timers in the same order.
 *
 * Shape:     binary heap of borrowed `struct loop_timer` (common/seam/loop.h), ordered by deadline, then by the
 *            order in which they were set. Setting and cancelling are O(log n); the timer knows its place.
 * Units:     microseconds of the owner's monotonic clock.
 * Ownership: timers are intrusive and borrowed while they are armed; the heap owns only its array.
 * Threads:   the loop's own.
 */
#ifndef COMMON_TIMER_HEAP_H
#define COMMON_TIMER_HEAP_H

#include "common/seam/loop.h"

#define TIMER_HEAP_NONE_US UINT64_MAX

struct timer_heap {
    struct loop_timer **slots;
    size_t count;
    size_t capacity;
    uint64_t order_next;
    uint64_t floor_us; /* latest time that timer_heap_take_due has seen */
};

void timer_heap_init(struct timer_heap *heap);
/* Timers that are still armed become idle. */
void timer_heap_done(struct timer_heap *heap);
/* Arms the timer or moves it. A deadline in the past counts as "due at the latest time seen", so a timer that
 * re-arms itself with an old deadline can't overtake those that have waited. */
void timer_heap_set(struct timer_heap *heap, struct loop_timer *timer, uint64_t deadline_us);
/* Harmless on an idle timer. */
void timer_heap_cancel(struct timer_heap *heap, struct loop_timer *timer);
/* The nearest deadline, TIMER_HEAP_NONE_US without timers. */
uint64_t timer_heap_deadline_us(const struct timer_heap *heap);
/* A mark for timer_heap_take_due: timers set after it wait for the next round. */
uint64_t timer_heap_mark(const struct timer_heap *heap);
/* Takes the next timer that is due at `now_us` and was set before `mark`; NULL when there is none. */
struct loop_timer *timer_heap_take_due(struct timer_heap *heap, uint64_t now_us, uint64_t mark);

#endif

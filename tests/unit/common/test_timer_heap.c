/* The timer heap against a plain sorted model. */
#include "common/mem.h"
#include "common/timer_heap.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define TIMERS 60

struct model_entry {
    bool is_armed;
    uint64_t deadline_us;
    uint64_t order;
};

struct model {
    struct model_entry entries[TIMERS];
    uint64_t order_next;
    uint64_t floor_us;
};

static void never_called(struct loop_timer *timer)
{
    (void)timer;
    fail_msg("the heap does not fire timers itself");
}

static void model_set(struct model *model, size_t index, uint64_t deadline_us)
{
    model->entries[index] = (struct model_entry){
        .is_armed = true,
        .deadline_us = deadline_us < model->floor_us ? model->floor_us : deadline_us,
        .order = model->order_next++,
    };
}

/* The armed entry that fires first, TIMERS when none is armed. */
static size_t model_first(const struct model *model)
{
    size_t first = TIMERS;
    for (size_t i = 0; i < TIMERS; i++) {
        const struct model_entry *entry = &model->entries[i];
        const struct model_entry *best = &model->entries[first == TIMERS ? 0 : first];
        if (entry->is_armed && (first == TIMERS || entry->deadline_us < best->deadline_us ||
                                (entry->deadline_us == best->deadline_us && entry->order < best->order))) {
            first = i;
        }
    }
    return first;
}

static void take_all_due(struct timer_heap *heap, struct loop_timer *timers, struct model *model, uint64_t now_us,
                         struct prop *prop)
{
    uint64_t mark = timer_heap_mark(heap);
    model->floor_us = now_us;
    struct loop_timer *timer = NULL;
    while ((timer = timer_heap_take_due(heap, now_us, mark)) != NULL) {
        size_t index = (size_t)(timer - timers);
        assert_int_equal(index, model_first(model));
        assert_true(model->entries[index].deadline_us <= now_us);
        assert_int_equal(timer->heap_slot, 0);
        model->entries[index].is_armed = false;
        if (prop_chance(prop, 1, 4)) { /* some arm themselves again, some with a deadline that has passed */
            uint64_t deadline_us = prop_below(prop, now_us + 50);
            timer_heap_set(heap, timer, deadline_us);
            model_set(model, index, deadline_us);
        }
    }
    size_t first = model_first(model);
    /* Nothing due is left behind but what was set meanwhile. */
    assert_true(first == TIMERS || model->entries[first].deadline_us > now_us || model->entries[first].order >= mark);
}

static void heap_equals_sorted_model(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "heap_equals_sorted_model", PROP_SEED_DEFAULT);
    for (uint64_t run = 0; run < prop_runs(200); run++) {
        struct timer_heap heap;
        struct model model = {.order_next = 0};
        struct loop_timer timers[TIMERS] = {{.fire = NULL}};
        uint64_t now_us = 0;
        timer_heap_init(&heap);
        for (size_t i = 0; i < TIMERS; i++) {
            timers[i].fire = never_called;
        }
        for (int step = 0; step < 300; step++) {
            size_t index = (size_t)prop_below(&prop, TIMERS);
            uint64_t choice = prop_below(&prop, 10);
            if (choice < 5) {
                uint64_t deadline_us = now_us + prop_below(&prop, 100); /* ties are frequent */
                timer_heap_set(&heap, &timers[index], deadline_us);
                model_set(&model, index, deadline_us);
            } else if (choice < 8) {
                timer_heap_cancel(&heap, &timers[index]);
                model.entries[index].is_armed = false;
            } else {
                now_us += prop_below(&prop, 40);
                take_all_due(&heap, timers, &model, now_us, &prop);
            }
            size_t first = model_first(&model);
            assert_int_equal(timer_heap_deadline_us(&heap),
                             first == TIMERS ? TIMER_HEAP_NONE_US : model.entries[first].deadline_us);
        }
        timer_heap_done(&heap);
        for (size_t i = 0; i < TIMERS; i++) {
            assert_int_equal(timers[i].heap_slot, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(heap_equals_sorted_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

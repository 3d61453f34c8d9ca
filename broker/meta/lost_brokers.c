#include "broker/meta/lost_brokers.h"

#include "controller/image.h"

#include <utlist.h>

/* 40 bits of milliseconds last for 34 years. 24 bits tell processes that share a place apart; those that agree in them share their fate for a second. */
#define LOST_BROKER_MS_BITS 40
#define LOST_BROKER_MS_MASK ((UINT64_C(1) << LOST_BROKER_MS_BITS) - 1)
#define LOST_BROKER_ID_STEP UINT64_C(0x9e3779) /* odd: brokers of one place and one epoch never agree */

static _Atomic uint64_t *lost_brokers_place(struct lost_brokers *lost, int32_t broker_id)
{
    return &lost->places[(uint32_t)broker_id % LOST_BROKER_PLACES];
}

static uint64_t lost_brokers_of(int32_t broker_id, int64_t broker_epoch, uint64_t until_us)
{
    uint64_t process = (uint64_t)broker_epoch + (uint32_t)broker_id / LOST_BROKER_PLACES * LOST_BROKER_ID_STEP;
    return process << LOST_BROKER_MS_BITS | (until_us / 1000 & LOST_BROKER_MS_MASK);
}

static bool lost_brokers_is_of(uint64_t note, int32_t broker_id, int64_t broker_epoch)
{
    return note != 0 && (note & ~LOST_BROKER_MS_MASK) == lost_brokers_of(broker_id, broker_epoch, 0);
}

void lost_brokers_note(struct lost_brokers *lost, int32_t broker_id, int64_t broker_epoch, uint64_t now_us)
{
    uint64_t note = lost_brokers_of(broker_id, broker_epoch, now_us + LOST_BROKER_US);
    atomic_store_explicit(lost_brokers_place(lost, broker_id), note, memory_order_relaxed);
}

void lost_brokers_forget(struct lost_brokers *lost, int32_t broker_id, int64_t broker_epoch)
{
    _Atomic uint64_t *place = lost_brokers_place(lost, broker_id);
    uint64_t note = atomic_load_explicit(place, memory_order_relaxed);
    if (lost_brokers_is_of(note, broker_id, broker_epoch)) {
        /* Another worker's newer note stays. */
        (void)atomic_compare_exchange_strong_explicit(place, &note, 0, memory_order_relaxed, memory_order_relaxed);
    }
}

bool lost_brokers_contain(struct lost_brokers *lost, int32_t broker_id, int64_t broker_epoch, uint64_t now_us)
{
    uint64_t note = atomic_load_explicit(lost_brokers_place(lost, broker_id), memory_order_relaxed);
    return lost_brokers_is_of(note, broker_id, broker_epoch) && (note & LOST_BROKER_MS_MASK) > now_us / 1000;
}

/* ---- waits ---- */

static void lost_broker_wait_end(struct lost_broker_wait *wait)
{
    DL_DELETE(wait->waits->first, wait);
    loop_timer_cancel(wait->waits->loop, &wait->timer);
    wait->done(wait);
}

static void lost_broker_wait_is_over(struct loop_timer *timer)
{
    lost_broker_wait_end(CONTAINER_OF(timer, struct lost_broker_wait, timer));
}

void lost_broker_wait_begin(struct lost_broker_waits *waits, struct lost_broker_wait *wait)
{
    wait->waits = waits;
    wait->timer = (struct loop_timer){.fire = lost_broker_wait_is_over};
    DL_APPEND(waits->first, wait);
    loop_timer_set(waits->loop, &wait->timer, loop_now_us(waits->loop) + LOST_BROKER_WAIT_US);
}

void lost_broker_waits_metadata(struct lost_broker_waits *waits, const struct image *image)
{
    struct lost_broker_wait *wait = NULL;
    struct lost_broker_wait *next = NULL;
    DL_FOREACH_SAFE (waits->first, wait, next) {
        const struct image_broker *broker = image_find_broker(image, wait->broker_id);
        if (broker == NULL || broker->is_fenced || broker->epoch != wait->broker_epoch) {
            lost_broker_wait_end(wait);
        }
    }
}

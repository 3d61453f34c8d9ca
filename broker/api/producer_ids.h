/* producer_ids: hands out producer ids from blocks that the controller has given to this broker for ever. One per worker.
 *
 * Shape:     [next_id, end_id) of the block in use; empty: ask for the next block, those who want an id wait.
 * Errors:    a block that can't be had ends every waiting taker with a retriable Kafka code; the next taker asks again.
 * Ownership: takers are borrowed until their callback.
 * Threads:   the worker's.
 * Source:    KIP-98, KIP-730 (blocks by the controller). An id that was given out is never given out again, also after a crash:
 *            the rest of a block is lost with the process.
 */
#ifndef BROKER_API_PRODUCER_IDS_H
#define BROKER_API_PRODUCER_IDS_H

#include "controller/controller.h"
#include "proto/wire/error_code.h"

struct worker;

struct producer_id_taker {
    struct producer_id_taker *next;
    void (*done)(struct producer_id_taker *taker, enum error_code error, int64_t producer_id);
};

struct producer_ids {
    struct worker *worker;
    int64_t next_id;
    int64_t end_id;
    struct producer_id_taker *takers;
    struct controller_request request;
    bool is_asking;
};

struct producer_ids *producer_ids_new(struct worker *worker);
/* No request may be under way: after the controller has stopped. */
void producer_ids_free(struct producer_ids *ids);
/* `done` runs now or later, exactly once. */
void producer_ids_take(struct producer_ids *ids, struct producer_id_taker *taker);

#endif

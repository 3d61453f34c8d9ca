/* refused_batches: batches of idempotent producers that a partition has just refused with an answer that makes their clients send them again (it
 * does not lead yet, too few replicas are in sync). Clients send several batches without waiting: one that was on its way behind a refused one may
 * arrive when the reason is gone. It does not follow the last one in the log then, and "out of order" would be the wrong answer: librdkafka begins a new
 * producer epoch upon it, for all partitions, and sends again under it what an earlier leader of another partition may have written: duplicates that
 * no broker can find. And a producer that the log does not know at all may begin with any sequence: there the later batch would be taken before the
 * earlier one. So what comes behind a refused batch is refused in the same way, until that one has come again.
 *
 * Shape:     one row per refused batch, named by producer id, epoch and first sequence; gone when it comes again.
 * Limits:    REFUSED_BATCHES_MAX rows; the one refused longest ago goes first. A row counts for REFUSED_BATCH_US.
 * Units:     microseconds of the loop's clock.
 * Errors:    none; what is not a batch is not noted.
 * Ownership: owned by the partition; memory is taken with the first row and given back when all are over. Zeroes are an empty one.
 * Threads:   the partition's.
 * Source:    KIP-98; correctness.md 1, R4, and 4, traps 12 and 13; seen with librdkafka 2.16 and a leader that took over (docs/adr/0013).
 */
#ifndef BROKER_REPLICA_REFUSED_BATCHES_H
#define BROKER_REPLICA_REFUSED_BATCHES_H

#include "proto/record/batch.h"
#include "proto/wire/error_code.h"

#define REFUSED_BATCHES_MAX 32u
#define REFUSED_BATCH_US 5000000u

struct refused_batch {
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    enum error_code error;
    uint64_t until_us;
};

struct refused_batches {
    struct refused_batch *rows; /* REFUSED_BATCHES_MAX of them, or NULL; until_us 0: free */
};

void refused_batches_done(struct refused_batches *refused);
/* The batch that begins in `bytes` is refused with `error`. Harmless for one without a producer. */
void refused_batches_note(struct refused_batches *refused, struct span bytes, enum error_code error, uint64_t now_us);
/* How to answer a batch that comes behind a refused one which the log still lacks: as that one was. ERROR_NONE: it comes behind none.
 * `next_sequence` is what the log expects of the producer, if it knows it (`is_known`). */
enum error_code refused_batches_behind(struct refused_batches *refused, const struct batch_header *header,
                                       bool is_known, int32_t next_sequence, uint64_t now_us);

#endif

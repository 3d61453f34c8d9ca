#include "broker/replica/refused_batches.h"

#include "common/mem.h"

static bool refused_batch_is_of(const struct refused_batch *row, const struct batch_header *header, uint64_t now_us)
{
    return row->until_us > now_us && row->producer_id == header->producer_id &&
           row->producer_epoch == header->producer_epoch;
}

void refused_batches_done(struct refused_batches *refused)
{
    mem_free(refused->rows);
    refused->rows = NULL;
}

void refused_batches_note(struct refused_batches *refused, struct span bytes, enum error_code error, uint64_t now_us)
{
    struct batch_header header;
    if (batch_header_parse(bytes, &header) != ERR_OK || header.producer_id == BATCH_NO_PRODUCER_ID) {
        return;
    }
    if (refused->rows == NULL) {
        refused->rows = mem_array(REFUSED_BATCHES_MAX, sizeof(struct refused_batch));
    }
    struct refused_batch *row = &refused->rows[0];
    for (unsigned i = 0; i < REFUSED_BATCHES_MAX; i++) {
        struct refused_batch *other = &refused->rows[i];
        if (refused_batch_is_of(other, &header, now_us) && other->base_sequence == header.base_sequence) {
            row = other;
            break;
        }
        row = other->until_us < row->until_us ? other : row;
    }
    *row = (struct refused_batch){.producer_id = header.producer_id,
                                  .producer_epoch = header.producer_epoch,
                                  .base_sequence = header.base_sequence,
                                  .error = error,
                                  .until_us = now_us + REFUSED_BATCH_US};
}

enum error_code refused_batches_behind(struct refused_batches *refused, const struct batch_header *header,
                                       bool is_known, int32_t next_sequence, uint64_t now_us)
{
    enum error_code error = ERROR_NONE;
    bool is_over = true;
    for (unsigned i = 0; refused->rows != NULL && i < REFUSED_BATCHES_MAX; i++) {
        struct refused_batch *row = &refused->rows[i];
        if (refused_batch_is_of(row, header, now_us)) {
            if (row->base_sequence == header->base_sequence) {
                row->until_us = 0; /* here it is again */
            } else if ((!is_known || next_sequence == row->base_sequence) &&
                       batch_sequence_is_later(header->base_sequence, row->base_sequence)) {
                error = row->error;
            }
        }
        is_over = is_over && row->until_us <= now_us;
    }
    if (is_over) {
        refused_batches_done(refused);
    }
    return error;
}

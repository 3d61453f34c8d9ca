/* What of the fetched batches a consumer may see: not what lies below the wanted offset (a batch comes whole), not
 * control records, and with read_committed not the records of transactions that were aborted. The broker tells which
 * those are: producer id and first offset; such a transaction ends at the abort marker of that producer. */
#include "cli/consume_fetch.h"
#include "common/mem.h"
#include "proto/kmsg/fetch.h"
#include "proto/record/control.h"

#include <inttypes.h>
#include <stdlib.h>

struct aborted {
    int64_t producer_id;
    int64_t first_offset;
    bool is_over; /* its marker was seen */
};

struct record_walk_state {
    struct consume_fetch *fetch;
    struct consume_partition *partition;
    struct aborted *aborted; /* by first offset */
    size_t aborted_count;
};

static int compare_aborted(const void *a, const void *b)
{
    const struct aborted *left = a;
    const struct aborted *right = b;
    return (left->first_offset > right->first_offset) - (left->first_offset < right->first_offset);
}

static void take_aborted(struct record_walk_state *state, const struct fetch_response_partition_data *answer)
{
    state->aborted_count = answer->aborted_transactions_count;
    state->aborted = mem_array(state->aborted_count, sizeof(*state->aborted));
    for (size_t i = 0; i < state->aborted_count; i++) {
        state->aborted[i].producer_id = answer->aborted_transactions[i].producer_id;
        state->aborted[i].first_offset = answer->aborted_transactions[i].first_offset;
    }
    if (state->aborted_count > 0) {
        qsort(state->aborted, state->aborted_count, sizeof(*state->aborted), compare_aborted);
    }
}

/* The aborted transaction that the batch lies in, NULL if none. A producer has one transaction at a time. */
static struct aborted *find_aborted(struct record_walk_state *state, const struct batch_header *header)
{
    for (size_t i = 0; i < state->aborted_count; i++) {
        struct aborted *aborted = &state->aborted[i];
        if (aborted->first_offset > batch_last_offset(header)) {
            return NULL;
        }
        if (!aborted->is_over && aborted->producer_id == header->producer_id) {
            return aborted;
        }
    }
    return NULL;
}

static void take_control(struct record_walk_state *state, const struct batch *batch)
{
    struct control_marker marker;
    struct aborted *aborted = find_aborted(state, &batch->header);
    if (aborted != NULL && control_batch_parse(batch, &marker) == ERR_OK && marker.type == CONTROL_ABORT) {
        aborted->is_over = true;
    }
}

static enum err take_records(struct record_walk_state *state, const struct batch *batch)
{
    struct consume_fetch *fetch = state->fetch;
    struct consume_partition *partition = state->partition;
    struct record_iter iter;
    struct record record;
    struct span records;
    enum err err = batch_records_plain(batch, fetch->decompressor, &fetch->plain, &records);
    if (err != ERR_OK) {
        return err;
    }
    record_iter_init(&iter, &batch->header, records);
    while ((err = record_iter_next(&iter, &record)) == ERR_OK) {
        if (record.offset < partition->next_offset || record.offset >= partition->end_offset) {
            continue;
        }
        partition->next_offset = record.offset + 1;
        if (!fetch->on_record(fetch->ctx, partition->index, &record)) {
            fetch->is_enough = true;
            return ERR_OK;
        }
    }
    return err == ERR_END ? ERR_OK : err;
}

static enum err take_batch(struct record_walk_state *state, const struct batch *batch)
{
    const struct batch_header *header = &batch->header;
    if (batch_next_offset(header) <= state->partition->next_offset) {
        return ERR_OK;
    }
    enum err err = batch_check_crc(batch);
    if (err != ERR_OK) {
        return err;
    }
    if (batch_is_control(header)) {
        take_control(state, batch);
    } else if (state->fetch->isolation == ISOLATION_READ_UNCOMMITTED || !batch_is_transactional(header) ||
               find_aborted(state, header) == NULL) {
        err = take_records(state, batch);
    }
    if (err == ERR_OK && !state->fetch->is_enough) {
        state->partition->next_offset = batch_next_offset(header); /* its last records may be compacted away */
    }
    return err;
}

void consume_records_take(struct consume_fetch *fetch, struct consume_partition *partition,
                          const struct fetch_response_partition_data *answer)
{
    struct record_walk_state state = {.fetch = fetch, .partition = partition};
    struct span rest = answer->records.bytes;
    size_t batch_count = 0;
    enum err err = ERR_OK;
    take_aborted(&state, answer);
    while (err == ERR_OK && !fetch->is_enough && partition->next_offset < partition->end_offset) {
        struct batch batch;
        err = batch_next(&rest, &batch);
        if (err == ERR_OK) {
            err = take_batch(&state, &batch);
            batch_count++;
        }
    }
    mem_free(state.aborted);
    if (err == ERR_INCOMPLETE && batch_count > 0) {
        err = ERR_END; /* the answer's maximum cut the last batch: it comes with the next one */
    }
    if (err != ERR_OK && err != ERR_END) {
        consume_fetch_fail(fetch, "partition %" PRId32 ", offset %" PRId64 ": the batch can't be read: %s",
                           partition->index, partition->next_offset, err_text(err));
    }
}

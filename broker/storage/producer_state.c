/* Producer ids are 8 bytes; the table's default hash is for strings. */
#define HASH_FUNCTION(key, bytes, hash)                                                                                \
    do {                                                                                                               \
        uint64_t hash_key = 0;                                                                                         \
        memcpy(&hash_key, (key), (bytes) < sizeof(hash_key) ? (bytes) : sizeof(hash_key));                             \
        (hash) = (unsigned)((hash_key * UINT64_C(0x9e3779b97f4a7c15)) >> 32);                                          \
    } while (0)

#include "broker/storage/producer_state.h"

#include "common/mem.h"

#include <utlist.h>

#undef uthash_malloc
#undef uthash_free
#define uthash_malloc(bytes) mem_alloc(bytes)
#define uthash_free(memory, bytes) mem_free(memory)

void producer_state_init(struct producer_state *state)
{
    *state = (struct producer_state){NULL, NULL};
}

static void forget(struct producer_state *state, struct producer_entry *entry)
{
    HASH_DEL(state->entries, entry);
    mem_free(entry);
}

void producer_state_done(struct producer_state *state)
{
    struct producer_entry *entry = NULL;
    struct producer_entry *next_entry = NULL;
    HASH_ITER (hh, state->entries, entry, next_entry) {
        forget(state, entry);
    }
    struct producer_txn *txn = NULL;
    struct producer_txn *next_txn = NULL;
    DL_FOREACH_SAFE (state->txns, txn, next_txn) {
        DL_DELETE(state->txns, txn);
        mem_free(txn);
    }
}

size_t producer_state_count(const struct producer_state *state)
{
    return HASH_COUNT(state->entries);
}

static struct producer_entry *find(const struct producer_state *state, int64_t producer_id)
{
    struct producer_entry *entry = NULL;
    HASH_FIND(hh, state->entries, &producer_id, sizeof(producer_id), entry);
    return entry;
}

const struct producer_entry *producer_state_find(const struct producer_state *state, int64_t producer_id)
{
    return find(state, producer_id);
}

static bool is_same_batch(const struct producer_batch *batch, const struct batch_header *header)
{
    return batch->last_sequence == batch_last_sequence(header) && batch->offset_delta == header->last_offset_delta;
}

static const struct producer_batch *find_duplicate(const struct producer_entry *entry,
                                                   const struct batch_header *header)
{
    if (entry->producer_epoch != header->producer_epoch) {
        return NULL;
    }
    for (uint32_t i = 0; i < entry->batch_count; i++) {
        if (is_same_batch(&entry->batches[i], header)) {
            return &entry->batches[i];
        }
    }
    return NULL;
}

int32_t producer_entry_next_sequence(const struct producer_entry *entry, int16_t producer_epoch)
{
    if (producer_epoch != entry->producer_epoch || entry->batch_count == 0) {
        return 0;
    }
    return batch_sequence_add(entry->batches[entry->batch_count - 1].last_sequence, 1);
}

static enum append_refusal check_marker(const struct producer_entry *entry, const struct batch_header *header,
                                        const struct control_marker *marker)
{
    if (header->producer_epoch < entry->producer_epoch) {
        return APPEND_INVALID_PRODUCER_EPOCH;
    }
    if (marker->coordinator_epoch < entry->coordinator_epoch) {
        return APPEND_COORDINATOR_FENCED;
    }
    return APPEND_ACCEPTED;
}

enum append_refusal producer_state_check(const struct producer_state *state, const struct batch_header *header,
                                         const struct control_marker *marker, bool is_client,
                                         struct producer_batch *ret_original, bool *ret_is_duplicate)
{
    *ret_is_duplicate = false;
    if (!batch_has_producer_id(header)) {
        return APPEND_ACCEPTED;
    }
    const struct producer_entry *entry = find(state, header->producer_id);
    if (entry == NULL) {
        /* Expired, deleted by retention or new: nothing to compare with (trap 12). */
        return APPEND_ACCEPTED;
    }
    if (marker != NULL) {
        return check_marker(entry, header, marker);
    }
    const struct producer_batch *original = is_client ? find_duplicate(entry, header) : NULL;
    if (original != NULL) {
        *ret_original = *original;
        *ret_is_duplicate = true;
        return APPEND_ACCEPTED;
    }
    if (header->producer_epoch < entry->producer_epoch) {
        return APPEND_INVALID_PRODUCER_EPOCH;
    }
    if (is_client && header->base_sequence != producer_entry_next_sequence(entry, header->producer_epoch)) {
        return APPEND_OUT_OF_ORDER_SEQUENCE;
    }
    if (entry->txn_first_offset != LOG_NO_OFFSET && !batch_is_transactional(header)) {
        return APPEND_INVALID_TXN_STATE; /* trap 7 */
    }
    return APPEND_ACCEPTED;
}

/* Bounded memory: what has been silent for longest goes, never an open transaction. The table keeps the order. */
static void make_room(struct producer_state *state)
{
    struct producer_entry *entry = NULL;
    struct producer_entry *next = NULL;
    if (HASH_COUNT(state->entries) < PRODUCERS_MAX) {
        return;
    }
    HASH_ITER (hh, state->entries, entry, next) {
        if (entry->txn_first_offset == LOG_NO_OFFSET) {
            forget(state, entry);
            return;
        }
    }
}

/* Finds or makes the entry, and moves it to the end of the table's order. */
static struct producer_entry *touch(struct producer_state *state, int64_t producer_id)
{
    struct producer_entry *entry = find(state, producer_id);
    if (entry == NULL) {
        make_room(state);
        entry = MEM_NEW(struct producer_entry);
        entry->producer_id = producer_id;
        entry->producer_epoch = BATCH_NO_PRODUCER_EPOCH;
        entry->coordinator_epoch = -1;
        entry->last_timestamp_ms = LOG_NO_TIMESTAMP_MS;
        entry->txn_first_offset = LOG_NO_OFFSET;
        HASH_ADD(hh, state->entries, producer_id, sizeof(entry->producer_id), entry);
    } else if (entry->hh.next != NULL) {
        HASH_DEL(state->entries, entry);
        HASH_ADD(hh, state->entries, producer_id, sizeof(entry->producer_id), entry);
    }
    return entry;
}

static void set_epoch(struct producer_entry *entry, int16_t producer_epoch)
{
    if (entry->producer_epoch != producer_epoch) {
        entry->producer_epoch = producer_epoch;
        entry->batch_count = 0; /* sequences begin anew */
    }
}

static void remember_batch(struct producer_entry *entry, const struct batch_header *header)
{
    if (entry->batch_count == PRODUCER_BATCHES_MAX) {
        memmove(entry->batches, entry->batches + 1, (PRODUCER_BATCHES_MAX - 1) * sizeof(entry->batches[0]));
        entry->batch_count--;
    }
    entry->batches[entry->batch_count++] = (struct producer_batch){
        .last_offset = batch_last_offset(header),
        .offset_delta = header->last_offset_delta,
        .last_sequence = batch_last_sequence(header),
        .timestamp_ms = header->max_timestamp_ms,
    };
}

void producer_state_add_txn(struct producer_state *state, int64_t producer_id, int64_t first_offset,
                            int64_t last_offset)
{
    struct producer_txn *txn = MEM_NEW(struct producer_txn);
    txn->producer_id = producer_id;
    txn->first_offset = first_offset;
    txn->last_offset = last_offset;
    /* Batches come in the order of offsets, so the list stays sorted; loaded entries need not. */
    struct producer_txn *after = state->txns == NULL ? NULL : state->txns->prev;
    while (after != NULL && after->first_offset > first_offset) {
        after = after == state->txns ? NULL : after->prev;
    }
    if (after == NULL) {
        DL_PREPEND(state->txns, txn);
    } else {
        DL_APPEND_ELEM(state->txns, after, txn);
    }
}

static void open_txn(struct producer_state *state, struct producer_entry *entry, int64_t first_offset)
{
    producer_state_add_txn(state, entry->producer_id, first_offset, LOG_NO_OFFSET);
    entry->txn_first_offset = first_offset;
}

/* The first open transaction decides what was stable once `closed` had ended. */
static int64_t stable_after(const struct producer_state *state, const struct producer_txn *closed)
{
    const struct producer_txn *txn = NULL;
    DL_FOREACH (state->txns, txn) {
        if (txn != closed && txn->last_offset == LOG_NO_OFFSET) {
            return txn->first_offset;
        }
    }
    return closed->last_offset + 1;
}

static bool close_txn(struct producer_state *state, struct producer_entry *entry, int64_t marker_offset,
                      enum control_type type, struct aborted_txn *ret_aborted)
{
    struct producer_txn *txn = NULL;
    if (entry->txn_first_offset == LOG_NO_OFFSET) {
        return false; /* a marker for a transaction that wrote nothing here */
    }
    DL_FOREACH (state->txns, txn) {
        if (txn->producer_id == entry->producer_id && txn->last_offset == LOG_NO_OFFSET) {
            break;
        }
    }
    CHECK(txn != NULL);
    txn->last_offset = marker_offset;
    entry->txn_first_offset = LOG_NO_OFFSET;
    if (type != CONTROL_ABORT) {
        return false;
    }
    *ret_aborted = (struct aborted_txn){
        .producer_id = txn->producer_id,
        .first_offset = txn->first_offset,
        .last_offset = marker_offset,
        .last_stable_offset = stable_after(state, txn),
    };
    return true;
}

bool producer_state_update(struct producer_state *state, const struct batch_header *header,
                           const struct control_marker *marker, int64_t now_ms, struct aborted_txn *ret_aborted)
{
    if (!batch_has_producer_id(header) || (batch_is_control(header) && marker == NULL)) {
        return false;
    }
    struct producer_entry *entry = touch(state, header->producer_id);
    entry->last_timestamp_ms = header->max_timestamp_ms;
    entry->seen_ms = now_ms;
    set_epoch(entry, header->producer_epoch);
    if (marker != NULL) {
        entry->coordinator_epoch = marker->coordinator_epoch;
        return close_txn(state, entry, batch_last_offset(header), marker->type, ret_aborted);
    }
    if (header->base_sequence >= 0) {
        remember_batch(entry, header);
    }
    if (batch_is_transactional(header) && entry->txn_first_offset == LOG_NO_OFFSET) {
        open_txn(state, entry, header->base_offset);
    }
    return false;
}

void producer_state_on_high_watermark(struct producer_state *state, int64_t high_watermark)
{
    struct producer_txn *txn = NULL;
    struct producer_txn *next = NULL;
    DL_FOREACH_SAFE (state->txns, txn, next) {
        if (txn->last_offset != LOG_NO_OFFSET && txn->last_offset < high_watermark) {
            DL_DELETE(state->txns, txn);
            mem_free(txn);
        }
    }
}

int64_t producer_state_first_unstable(const struct producer_state *state)
{
    return state->txns == NULL ? LOG_NO_OFFSET : state->txns->first_offset;
}

void producer_state_expire(struct producer_state *state, int64_t now_ms, int64_t expiration_ms)
{
    struct producer_entry *entry = NULL;
    struct producer_entry *next = NULL;
    HASH_ITER (hh, state->entries, entry, next) {
        if (entry->txn_first_offset == LOG_NO_OFFSET && now_ms - entry->seen_ms >= expiration_ms) {
            forget(state, entry);
        }
    }
}

void producer_state_truncate_start(struct producer_state *state, int64_t start_offset)
{
    producer_state_on_high_watermark(state, start_offset);
}

void producer_state_put(struct producer_state *state, const struct producer_entry *from)
{
    struct producer_entry *entry = touch(state, from->producer_id);
    UT_hash_handle handle = entry->hh;
    CHECK(entry->txn_first_offset == LOG_NO_OFFSET);
    *entry = *from;
    entry->hh = handle;
    if (from->txn_first_offset != LOG_NO_OFFSET) {
        open_txn(state, entry, from->txn_first_offset);
    }
}

/* fuzz_side_file: bytes that claim to be one of the small files beside the segments, or of a log directory.
 *
 * Input:     byte 0: which file (enum file_kind), bit 7: its checksum is put right first (or else no mutation gets past it); the rest is
 *            the file.
 * Asserts:   what is accepted keeps the rules of its header and is written again as the same; what it says can be worked with.
 */
#include "broker/storage/epoch_cache.h"
#include "broker/storage/log_dir_state.h"
#include "broker/storage/log_marks.h"
#include "broker/storage/offset_checkpoint.h"
#include "broker/storage/partition_meta.h"
#include "broker/storage/producer_snapshot.h"
#include "broker/storage/side_file.h"
#include "common/big_endian.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "tests/unit/storage/log_harness.h"

#define FUZZ_BYTES_MAX (1u << 20)
#define FUZZ_OFFSET (INT64_MAX - 100) /* where the next batch goes */
#define FUZZ_NOW_MS INT64_C(1700000000000)
#define PARTITION_PATH HARNESS_DIR "/" HARNESS_TOPIC "-0"
#define SWITCH_SEAL 0x80u
#define SNAPSHOT_CRC_POS 2u
#define SNAPSHOT_CRC_START_POS 6u

enum file_kind {
    FILE_EPOCHS,
    FILE_CHECKPOINT,
    FILE_MARKS,
    FILE_PRODUCERS,
    FILE_META,
    FILE_PARTITION_META,
    FILE_CLEAN_MARK,
    FILE_KINDS
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* ---- epochs ---- */

static void check_epochs(const struct epoch_cache *cache)
{
    for (size_t i = 0; i < cache->count; i++) {
        const struct epoch_entry *entry = &cache->entries[i];
        int32_t end_epoch = 0;
        int64_t end_offset = 0;
        CHECK(entry->epoch >= 0 && entry->start_offset >= 0);
        CHECK(i == 0 || (entry[-1].epoch < entry->epoch && entry[-1].start_offset < entry->start_offset));
        CHECK(epoch_cache_find(cache, entry->epoch) == entry);
        CHECK(epoch_cache_at_offset(cache, entry->start_offset) == entry);
        epoch_cache_end_offset(cache, entry->epoch, INT64_MAX, &end_epoch, &end_offset);
        CHECK(end_epoch == entry->epoch);
        CHECK(end_offset == (i + 1 == cache->count ? INT64_MAX : entry[1].start_offset));
    }
}

static void try_epochs(struct span text)
{
    struct epoch_cache cache;
    epoch_cache_init(&cache);
    if (epoch_cache_decode(text, &cache) == ERR_OK) {
        struct bytebuf again;
        struct epoch_cache copy;
        bytebuf_init(&again, FUZZ_BYTES_MAX);
        epoch_cache_init(&copy);
        check_epochs(&cache);
        CHECK(epoch_cache_encode(&cache, &again) == ERR_OK);
        CHECK(epoch_cache_decode(bytebuf_span(&again), &copy) == ERR_OK && copy.count == cache.count);
        for (size_t i = 0; i < cache.count; i++) { /* not as bytes: there is padding between the two */
            CHECK(copy.entries[i].epoch == cache.entries[i].epoch);
            CHECK(copy.entries[i].start_offset == cache.entries[i].start_offset);
        }
        const struct epoch_entry *middle = cache.count == 0 ? NULL : &cache.entries[cache.count / 2];
        int64_t offset = middle == NULL ? 0 : middle->start_offset;
        (void)epoch_cache_truncate_end(&cache, offset);
        check_epochs(&cache);
        CHECK(cache.count == 0 || epoch_cache_last(&cache)->start_offset < offset);
        (void)epoch_cache_truncate_start(&copy, offset);
        check_epochs(&copy);
        CHECK(copy.count == 0 || copy.entries[0].start_offset >= offset);
        (void)epoch_cache_assign(&copy, INT32_MAX, offset);
        check_epochs(&copy);
        epoch_cache_done(&copy);
        bytebuf_done(&again);
    }
    epoch_cache_done(&cache);
}

/* ---- checkpoints and marks ---- */

/* Rows are in order, so those of one partition are neighbours. */
static bool is_twice(const struct offset_checkpoint *checkpoint, size_t index)
{
    const struct offset_row *row = &checkpoint->rows[index];
    const struct offset_row *next = index + 1 < checkpoint->count ? row + 1 : NULL;
    const struct offset_row *before = index > 0 ? row - 1 : NULL;
    return (next != NULL && next->partition_index == row->partition_index && strcmp(next->topic, row->topic) == 0) ||
           (before != NULL && before->partition_index == row->partition_index &&
            strcmp(before->topic, row->topic) == 0);
}

static void try_checkpoint(struct span text)
{
    struct offset_checkpoint checkpoint;
    uint64_t generation = 0;
    offset_checkpoint_init(&checkpoint);
    if (offset_checkpoint_decode(text, &checkpoint, &generation) == ERR_OK) {
        struct bytebuf again;
        struct offset_checkpoint copy;
        uint64_t copy_generation = 0;
        bytebuf_init(&again, FUZZ_BYTES_MAX);
        offset_checkpoint_init(&copy);
        CHECK(offset_checkpoint_encode(&checkpoint, generation, &again) == ERR_OK);
        CHECK(offset_checkpoint_decode(bytebuf_span(&again), &copy, &copy_generation) == ERR_OK);
        CHECK(copy_generation == generation && copy.count == checkpoint.count);
        for (size_t i = 0; i < checkpoint.count; i++) {
            const struct offset_row *row = &checkpoint.rows[i];
            CHECK(row->partition_index >= 0 && row->offset >= 0);
            int64_t found = offset_checkpoint_find(&checkpoint, row->topic, row->partition_index);
            CHECK(found >= 0 && (is_twice(&checkpoint, i) || found == row->offset));
            CHECK(is_twice(&checkpoint, i) ||
                  offset_checkpoint_find(&copy, row->topic, row->partition_index) == row->offset);
        }
        offset_checkpoint_done(&copy);
        bytebuf_done(&again);
    }
    offset_checkpoint_done(&checkpoint);
}

static void try_marks(struct span text)
{
    struct log_marks marks;
    struct log_marks copy;
    struct bytebuf again;
    struct log_checkpoint_row row = {INT64_MAX, INT64_MAX, INT64_MAX};
    if (log_marks_decode(text, &marks) != ERR_OK) {
        return;
    }
    CHECK(marks.recovery_offset >= 0 && marks.recovery_segment >= 0 && marks.recovery_pos >= 0);
    CHECK(marks.log_start_offset >= 0 && marks.cap_offset >= 0);
    CHECK(log_marks_floor(&marks, &row, marks.cap_generation) >= marks.recovery_offset);
    CHECK(log_marks_cap(&marks, INT64_MAX, 0) == marks.cap_offset);
    bytebuf_init(&again, FUZZ_BYTES_MAX);
    CHECK(log_marks_encode(&marks, &again) == ERR_OK);
    CHECK(log_marks_decode(bytebuf_span(&again), &copy) == ERR_OK);
    CHECK(copy.recovery_offset == marks.recovery_offset && copy.recovery_segment == marks.recovery_segment);
    CHECK(copy.recovery_pos == marks.recovery_pos && copy.log_start_offset == marks.log_start_offset);
    CHECK(copy.producers == marks.producers && copy.counts_high_watermark == marks.counts_high_watermark);
    CHECK(copy.is_discarded == marks.is_discarded && copy.cap_offset == marks.cap_offset);
    CHECK(copy.cap_generation == marks.cap_generation);
    bytebuf_done(&again);
}

/* ---- producers ---- */

/* What a leader does next with the producers that it loaded: a batch that repeats, one that goes on, a marker. */
static void work_on(struct producer_state *state, int64_t producer_id)
{
    const struct producer_entry *entry = producer_state_find(state, producer_id);
    const struct producer_batch *last = entry->batch_count == 0 ? NULL : &entry->batches[entry->batch_count - 1];
    struct batch_header header = {.base_offset = FUZZ_OFFSET,
                                  .producer_id = producer_id,
                                  .producer_epoch = entry->producer_epoch,
                                  .base_sequence = last == NULL ? 0 : batch_sequence_add(last->last_sequence, 1),
                                  .record_count = 1};
    struct control_marker marker = {CONTROL_ABORT, INT32_MAX};
    struct producer_batch original;
    struct aborted_txn aborted;
    bool is_duplicate = false;
    CHECK(entry->batch_count <= PRODUCER_BATCHES_MAX);
    if (entry->txn_first_offset > FUZZ_OFFSET) {
        return;
    }
    enum append_refusal refusal = producer_state_check(state, &header, NULL, true, &original, &is_duplicate);
    CHECK(refusal == APPEND_ACCEPTED || refusal == APPEND_INVALID_TXN_STATE);
    if (refusal == APPEND_ACCEPTED && !is_duplicate) {
        (void)producer_state_update(state, &header, NULL, FUZZ_NOW_MS, &aborted);
    } else if (is_duplicate) {
        CHECK(original.last_offset - original.offset_delta >= 0 && original.last_offset >= 0);
    }
    header.base_offset++;
    if (producer_state_update(state, &header, &marker, FUZZ_NOW_MS, &aborted)) {
        CHECK(aborted.first_offset <= aborted.last_offset && aborted.last_stable_offset >= 0);
    }
    CHECK(producer_state_find(state, producer_id)->txn_first_offset == LOG_NO_OFFSET);
}

static void check_unstable(const struct producer_state *state)
{
    int64_t previous = -1;
    for (const struct producer_txn *txn = state->txns; txn != NULL; txn = txn->next) {
        CHECK(txn->first_offset >= previous &&
              (txn->last_offset == LOG_NO_OFFSET || txn->last_offset >= txn->first_offset));
        previous = txn->first_offset;
    }
    CHECK(producer_state_first_unstable(state) == (state->txns == NULL ? LOG_NO_OFFSET : state->txns->first_offset));
}

static void try_producers(struct span file)
{
    struct producer_state state;
    struct producer_state copy;
    struct bytebuf once;
    struct bytebuf twice;
    producer_state_init(&state);
    producer_state_init(&copy);
    bytebuf_init(&once, FUZZ_BYTES_MAX);
    bytebuf_init(&twice, FUZZ_BYTES_MAX);
    if (producer_snapshot_decode(file, FUZZ_NOW_MS, &state) == ERR_OK) {
        check_unstable(&state);
        CHECK(producer_snapshot_encode(&state, &once) == ERR_OK);
        CHECK(producer_snapshot_decode(bytebuf_span(&once), FUZZ_NOW_MS, &copy) == ERR_OK);
        CHECK(producer_snapshot_encode(&copy, &twice) == ERR_OK);
        CHECK(span_equal(bytebuf_span(&once), bytebuf_span(&twice)));
        struct producer_entry *entry = NULL;
        struct producer_entry *next = NULL;
        HASH_ITER (hh, copy.entries, entry, next) {
            work_on(&state, entry->producer_id);
        }
        producer_state_truncate_start(&state, 1000);
        producer_state_on_high_watermark(&state, INT64_MAX);
        producer_state_expire(&state, INT64_MAX, 1);
        check_unstable(&state);
    } else {
        CHECK(state.entries == NULL && state.txns == NULL);
    }
    bytebuf_done(&twice);
    bytebuf_done(&once);
    producer_state_done(&copy);
    producer_state_done(&state);
}

/* ---- files of a log directory ---- */

static void put_file(struct fs *fs, const char *path, struct span bytes)
{
    struct file *file = NULL;
    (void)fs_unlink(fs, path);
    CHECK(fs_open(fs, path, FS_OPEN_WRITE | FS_OPEN_CREATE, &file) == ERR_OK);
    CHECK(bytes.bytes == 0 || file_pwritev(file, &bytes, 1, 0) == ERR_OK);
    file_unref(file);
}

/* The directory opens as what its files say, or is refused with a sentence, untouched. */
static void open_directory(struct harness *harness)
{
    struct log_dir *dir = NULL;
    struct option_problem problem = {0};
    int64_t broker_epoch = 0;
    enum err inspected = log_dir_inspect(&harness->env, HARNESS_DIR, &problem);
    enum err err = log_dir_open(&harness->env, HARNESS_DIR, &dir, &problem);
    CHECK(err == inspected && (err == ERR_OK || problem.text[0] != '\0'));
    if (err != ERR_OK) {
        return;
    }
    const struct log_dir_meta *meta = log_dir_meta(dir);
    CHECK(meta->exists && meta->node_id >= 0 && strlen(meta->cluster_id) < LOG_DIR_CLUSTER_ID_BYTES);
    CHECK(log_dir_check_identity(dir, meta->cluster_id, meta->node_id, &problem) == ERR_OK);
    CHECK(log_dir_take_clean_mark(dir, &broker_epoch) == ERR_OK);
    CHECK(log_dir_was_clean(dir) || broker_epoch == LOG_DIR_NO_BROKER_EPOCH);
    log_dir_close(dir);
}

static void try_directory(enum file_kind kind, struct span bytes)
{
    struct harness harness;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct uuid topic_id;
    harness_init(&harness, sim, NULL, HARNESS_DIR);
    CHECK(harness_start(&harness) == ERR_OK);
    CHECK(harness_stop(&harness, false) == ERR_OK);
    if (kind == FILE_META) {
        put_file(harness.fs, HARNESS_DIR "/" LOG_DIR_META_FILE, bytes);
    } else if (kind == FILE_CLEAN_MARK) {
        put_file(harness.fs, HARNESS_DIR "/" LOG_DIR_CLEAN_FILE, bytes);
    } else {
        CHECK(fs_mkdir(harness.fs, PARTITION_PATH) == ERR_OK);
        put_file(harness.fs, PARTITION_PATH "/" PARTITION_META_FILE, bytes);
        (void)!partition_meta_read(harness.fs, PARTITION_PATH, &topic_id);
    }
    open_directory(&harness);
    harness_done(&harness);
    CHECK(fs_sim_open_files(sim) == 0);
    fs_sim_free(sim);
}

/* ---- input ---- */

/* Appends the last line, with the generation that the file's first byte gives; or writes the CRC of a snapshot. */
static void seal(enum file_kind kind, struct bytebuf *file)
{
    if (kind != FILE_PRODUCERS) {
        uint64_t generation = file->bytes == 0 ? 0 : file->data[0];
        CHECK(side_text_seal(file, generation) == ERR_OK);
    } else if (file->bytes >= SNAPSHOT_CRC_START_POS) {
        struct span covered =
            span_sub(bytebuf_span(file), SNAPSHOT_CRC_START_POS, file->bytes - SNAPSHOT_CRC_START_POS);
        be32_put(file->data + SNAPSHOT_CRC_POS, crc32c(0, covered));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct bytebuf file;
    if (bytes == 0) {
        return 0;
    }
    enum file_kind kind = (enum file_kind)((data[0] & ~SWITCH_SEAL) % FILE_KINDS);
    bytebuf_init(&file, FUZZ_BYTES_MAX + bytes);
    CHECK(bytebuf_append(&file, span_make(data + 1, bytes - 1)) == ERR_OK);
    if ((data[0] & SWITCH_SEAL) != 0) {
        seal(kind, &file);
    }
    switch (kind) {
    case FILE_EPOCHS:
        try_epochs(bytebuf_span(&file));
        break;
    case FILE_CHECKPOINT:
        try_checkpoint(bytebuf_span(&file));
        break;
    case FILE_MARKS:
        try_marks(bytebuf_span(&file));
        break;
    case FILE_PRODUCERS:
        try_producers(bytebuf_span(&file));
        break;
    case FILE_META:
    case FILE_PARTITION_META:
    case FILE_CLEAN_MARK:
        try_directory(kind, bytebuf_span(&file));
        break;
    case FILE_KINDS:
        UNREACHABLE();
    }
    bytebuf_done(&file);
    return 0;
}

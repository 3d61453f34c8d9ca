/* One partition's log, led and followed, as tests/unit/storage/log_script.h draws it, whose model also says what a crash may have left. */
#include "broker/storage/log_marks.h"
#include "broker/storage/log_state.h"
#include "common/mem.h"
#include "tests/crash/crash_campaign.h"
#include "tests/unit/storage/log_script.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define STEPS 36
#define CHECKPOINT_STEPS 5
#define PARTITION_PATH HARNESS_DIR "/" HARNESS_TOPIC "-0"
#define ABORTED_MAX 64u
/* Of a batch's header what its CRC does not cover, as Kafka defined it: base offset, length, leader epoch. */
#define BATCH_UNCOVERED_BYTES 16u

struct log_run {
    struct harness harness;
    struct log_script script;
    bool has_log;
};

static void *run_log(struct fs_sim *sim, uint64_t seed, uint64_t crash_call, bool is_follower)
{
    struct log_run *run = MEM_NEW(struct log_run);
    harness_init(&run->harness, sim, NULL, HARNESS_DIR);
    log_script_init(&run->script, &run->harness, seed);
    run->script.is_follower = is_follower;
    fs_sim_crash_at(sim, crash_call, FS_SIM_TEAR_NONE);
    enum err err = log_script_begin(&run->script);
    run->has_log = err == ERR_OK;
    for (unsigned i = 0; i < STEPS && err == ERR_OK; i++) {
        err = log_script_step(&run->script);
        err = err == ERR_OK && i % CHECKPOINT_STEPS == 0 ? log_script_checkpoint(&run->script) : err;
    }
    assert_true(err == ERR_OK || fs_sim_is_crashed(sim));
    return run;
}

static void *run_leader(struct fs_sim *sim, uint64_t seed, uint64_t crash_call)
{
    return run_log(sim, seed, crash_call, false);
}

static void *run_follower(struct fs_sim *sim, uint64_t seed, uint64_t crash_call)
{
    return run_log(sim, seed, crash_call, true);
}

static void done_log(void *run)
{
    struct log_run *log_run = (struct log_run *)run;
    harness_done(&log_run->harness);
    log_script_done(&log_run->script);
    mem_free(log_run);
}

/* ---- what every opened log must be ---- */

static enum err open_log(const struct log_run *run, struct fs_sim *sim, struct harness *ret_harness)
{
    harness_init(ret_harness, sim, NULL, HARNESS_DIR);
    ret_harness->settings = run->harness.settings;
    enum err err = harness_start(ret_harness);
    return err == ERR_OK ? harness_open(ret_harness) : err;
}

/* The slice of one batch; its bytes are mem_free's. */
static enum err read_at(struct partition_log *log, int64_t offset, struct span *ret_bytes)
{
    struct log_read_request request = {
        .offset = offset, .end_offset = partition_log_end_offset(log), .max_bytes = 1, .wants_one = true};
    struct log_read read;
    enum err err = log_read_plan(log, &request, &read);
    if (err != ERR_OK) {
        return err;
    }
    err = log_read_run(&read);
    if (err == ERR_OK && read.slice.bytes > 0) {
        uint8_t *bytes = (uint8_t *)mem_alloc(read.slice.bytes);
        size_t read_bytes = 0;
        err = file_pread(read.slice.file, bytes, read.slice.bytes, read.slice.pos, &read_bytes);
        *ret_bytes = span_make(bytes, read_bytes);
    } else if (err == ERR_OK) {
        err = ERR_NOT_FOUND;
    }
    log_read_done(&read);
    return err;
}

/* What the batches themselves say. */
struct replayed {
    struct producer_state producers;
    struct aborted_txn aborted[ABORTED_MAX];
    size_t aborted_count;
};

static void replay_batch(struct replayed *replayed, const struct batch *batch)
{
    struct control_marker marker;
    struct aborted_txn aborted;
    bool is_marker = batch_is_control(&batch->header) && control_batch_parse(batch, &marker) == ERR_OK;
    if (producer_state_update(&replayed->producers, &batch->header, is_marker ? &marker : NULL, 0, &aborted)) {
        assert_true(replayed->aborted_count < ABORTED_MAX);
        replayed->aborted[replayed->aborted_count++] = aborted;
    }
}

/* Found by its time, wherever that leads to at most this batch. */
static void check_time(struct partition_log *log, const struct batch *batch)
{
    struct log_time_query query;
    assert_int_equal(
        log_time_plan(log, LOG_TIME_AT_OR_AFTER, batch->header.max_timestamp_ms, partition_log_end_offset(log), &query),
        ERR_OK);
    assert_int_equal(log_time_run(&query), ERR_OK);
    if (query.offset < partition_log_start_offset(log) || query.offset > batch_last_offset(&batch->header)) {
        fail_msg("the time of the batch at %ld leads to %ld; the log is [%ld, %ld)", (long)batch->header.base_offset,
                 (long)query.offset, (long)partition_log_start_offset(log), (long)partition_log_end_offset(log));
    }
    log_time_done(&query);
}

/* A transaction may have begun in batches that are gone. Who reads committed records at `offset` is told of every aborted transaction there that the log still has. */
static void check_aborted(struct partition_log *log, const struct replayed *replayed, int64_t offset)
{
    struct log_read_request request = {.offset = offset,
                                       .end_offset = partition_log_end_offset(log),
                                       .max_bytes = 1,
                                       .wants_one = true,
                                       .wants_aborted = true};
    struct log_read read;
    assert_int_equal(log_read_plan(log, &request, &read), ERR_OK);
    assert_int_equal(log_read_run(&read), ERR_OK);
    for (size_t i = 0; i < replayed->aborted_count; i++) {
        const struct aborted_txn *expected = &replayed->aborted[i];
        bool is_told = expected->first_offset >= read.slice.next_offset || expected->last_offset < offset;
        for (size_t k = 0; k < read.aborted_count; k++) {
            is_told = is_told || (read.aborted[k].producer_id == expected->producer_id &&
                                  read.aborted[k].first_offset <= expected->first_offset &&
                                  read.aborted[k].last_offset == expected->last_offset);
        }
        if (!is_told) {
            fail_msg("readers at %ld are not told that producer %ld aborted [%ld, %ld]", (long)offset,
                     (long)expected->producer_id, (long)expected->first_offset, (long)expected->last_offset);
        }
    }
    log_read_done(&read);
}

/* The log's producers are those of its batches; it may know more only of batches that are gone from its beginning. */
static void check_producers(const struct partition_log *log, const struct replayed *replayed)
{
    for (const struct producer_entry *known = log->producers.entries; known != NULL; known = known->hh.next) {
        const struct producer_batch *last = known->batch_count == 0 ? NULL : &known->batches[known->batch_count - 1];
        if (last == NULL || last->last_offset < partition_log_start_offset(log)) {
            continue;
        }
        const struct producer_entry *entry = producer_state_find(&replayed->producers, known->producer_id);
        assert_non_null(entry);
        assert_int_equal(entry->producer_epoch, known->producer_epoch);
        assert_true(entry->batch_count > 0);
        assert_int_equal(entry->batches[entry->batch_count - 1].last_offset, last->last_offset);
        assert_int_equal(entry->batches[entry->batch_count - 1].last_sequence, last->last_sequence);
    }
}

/* Each batch is found through the indexes; producers and aborted transactions are those of the batches. */
static void check_places(const struct log_script *script)
{
    struct partition_log *log = script->harness->log;
    struct replayed replayed = {.aborted_count = 0};
    producer_state_init(&replayed.producers);
    for (size_t i = 0; i < script->count; i++) {
        const struct script_batch *expected = &script->batches[i];
        struct span bytes = SPAN_NULL;
        struct batch batch;
        if (expected->next_offset <= partition_log_start_offset(log)) {
            continue;
        }
        int64_t offset = expected->base_offset < partition_log_start_offset(log) ? partition_log_start_offset(log)
                                                                                 : expected->base_offset;
        assert_int_equal(read_at(log, offset, &bytes), ERR_OK);
        assert_int_equal(batch_parse(bytes, &batch), ERR_OK);
        assert_int_equal(batch.header.base_offset, expected->base_offset);
        check_time(log, &batch);
        replay_batch(&replayed, &batch);
        mem_free((void *)(uintptr_t)bytes.data);
    }
    for (size_t i = 0; i < script->count && replayed.aborted_count > 0; i++) {
        if (script->batches[i].base_offset >= partition_log_start_offset(log)) {
            check_aborted(log, &replayed, script->batches[i].base_offset);
        }
    }
    check_producers(log, &replayed);
    producer_state_done(&replayed.producers);
}

/* What recovery reported must be on the disk: the power goes again at once. */
static void check_is_durable(const struct log_run *run, const struct fs_sim *recovered, const struct harness *first)
{
    struct fs_sim *sim = fs_sim_clone(recovered);
    struct harness harness;
    fs_sim_crash(sim, FS_SIM_CRASH_LOSE, 1);
    assert_int_equal(open_log(run, sim, &harness), ERR_OK);
    assert_int_equal(partition_log_end_offset(harness.log), partition_log_end_offset(first->log));
    assert_int_equal(partition_log_start_offset(harness.log), partition_log_start_offset(first->log));
    harness_done(&harness);
    fs_sim_free(sim);
}

/* Another epoch, another record, an orderly stop and a start. */
static void check_works(struct log_script *script)
{
    struct harness *harness = script->harness;
    int32_t epoch = script->epoch + 1;
    assert_int_equal(harness_begin_epoch(harness, epoch), ERR_OK);
    assert_int_equal(harness_append_plain(harness, epoch, 1, 1), ERR_OK);
    int64_t end_offset = partition_log_end_offset(harness->log);
    assert_int_equal(harness_stop(harness, true), ERR_OK);
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_open(harness), ERR_OK);
    assert_int_equal(partition_log_end_offset(harness->log), end_offset);
    assert_int_equal(partition_log_last_epoch(harness->log), epoch);
}

static enum crash_end recover_log(const void *run, struct fs_sim *sim, enum crash_kind kind, bool lost_power)
{
    const struct log_run *log_run = (const struct log_run *)run;
    struct log_script script = log_run->script;
    struct harness harness;
    enum crash_end end = CRASH_NEW;
    (void)kind;
    script.harness = &harness;
    enum err err = open_log(log_run, sim, &harness);
    if (err == ERR_OK) {
        end = partition_log_end_offset(harness.log) >= script.end_offset ? CRASH_WHOLE : CRASH_SHORTER;
        check_is_durable(log_run, sim, &harness);
        log_script_check_recovered(&script, lost_power);
        check_places(&script);
        check_works(&script);
    } else if (log_run->has_log || harness.dir == NULL) {
        fail_msg("%s: %s", err_name(err), harness.problem.text);
    }
    harness_done(&harness);
    return end;
}

static void stumble_log(const void *run, struct fs_sim *sim)
{
    struct harness harness;
    enum err err = open_log((const struct log_run *)run, sim, &harness);
    if (err == ERR_OK) {
        harness_pump(&harness);
    }
    if (!fs_sim_is_crashed(sim)) {
        fs_sim_crash_at(sim, fs_sim_call_count(sim) + 1, FS_SIM_TEAR_NONE);
    }
    harness_done(&harness);
}

/* ---- a flipped bit ---- */

/* What the undamaged log is, and up to where its directory says itself that nothing may be missing. */
struct flip_base {
    struct log_script script;
    int64_t start_offset;
    int64_t end_offset;
    int64_t floor_offset;
    int64_t recovery_offset;
    bool is_quiet; /* no truncation was under way */
};

static bool read_base(const struct log_run *run, const struct fs_sim *whole, struct flip_base *ret_base)
{
    struct fs_sim *sim = fs_sim_clone(whole);
    struct harness harness;
    struct log_marks marks = {.recovery_offset = 0};
    struct log_checkpoint_row row;
    bool are_marks_known = log_marks_read(fs_sim_fs(sim), PARTITION_PATH, &marks) == ERR_OK;
    *ret_base = (struct flip_base){.script = run->script, .recovery_offset = marks.recovery_offset};
    const struct log_script *model = &run->script;
    ret_base->is_quiet = model->least_end_offset == INT64_MAX && model->discard_offset < 0;
    enum err err = open_log(run, sim, &harness);
    bool is_open = err == ERR_OK && are_marks_known;
    if (is_open) {
        log_dir_checkpoint_row(harness.dir, HARNESS_TOPIC, 0, &row);
        ret_base->floor_offset = log_marks_floor(&marks, &row, log_dir_row_generation(harness.dir));
        if (marks.log_start_offset > ret_base->floor_offset) {
            ret_base->floor_offset = marks.log_start_offset; /* what was deleted had been committed */
        }
        ret_base->script.harness = &harness;
        log_script_check_recovered(&ret_base->script, false);
        ret_base->start_offset = partition_log_start_offset(harness.log);
        ret_base->end_offset = partition_log_end_offset(harness.log);
        /* The product's own idea of the floor must not fall behind what it was made to write down. */
        if (ret_base->is_quiet) {
            assert_true(ret_base->floor_offset >= run->script.stated_offset);
        }
    }
    harness_done(&harness);
    fs_sim_free(sim);
    return is_open;
}

/* The batch whose bytes hold `pos`; *ret_in_batch: how far inside. False: behind the last whole batch. */
static bool find_hit(const struct fs_sim *whole, const struct crash_flip *flip, int64_t *ret_base_offset,
                     uint64_t *ret_in_batch)
{
    struct span rest;
    struct batch_header header;
    uint64_t pos = 0;
    assert_int_equal(fs_sim_peek(whole, flip->path, &rest), ERR_OK);
    while (batch_header_parse(rest, &header) == ERR_OK && header.batch_bytes <= rest.bytes) {
        if (flip->pos < pos + header.batch_bytes) {
            *ret_base_offset = header.base_offset;
            *ret_in_batch = flip->pos - pos;
            return true;
        }
        pos += header.batch_bytes;
        rest = span_sub(rest, header.batch_bytes, rest.bytes - header.batch_bytes);
    }
    return false;
}

static bool is_same(const struct batch *batch, const struct script_batch *expected)
{
    struct record_iter iter;
    struct record record;
    if (batch->header.base_offset != expected->base_offset ||
        batch_next_offset(&batch->header) != expected->next_offset) {
        return false;
    }
    if (batch_is_control(&batch->header)) {
        return true;
    }
    record_iter_init(&iter, &batch->header, batch_records(batch));
    return record_iter_next(&iter, &record) == ERR_OK &&
           memcmp(record.value.data, &expected->content, sizeof(expected->content)) == 0;
}

/* Reads every batch that is left: each is right, or the reader is told. Returns how many readers were told. */
static unsigned check_readers(const struct flip_base *base, struct partition_log *log, int64_t hit_offset,
                              bool may_be_uncovered)
{
    unsigned told = 0;
    for (size_t i = 0; i < base->script.count; i++) {
        const struct script_batch *expected = &base->script.batches[i];
        struct span bytes = SPAN_NULL;
        struct batch batch;
        if (expected->base_offset < partition_log_start_offset(log) ||
            expected->base_offset >= partition_log_end_offset(log)) {
            continue;
        }
        enum err err = read_at(log, expected->base_offset, &bytes);
        bool is_good = err == ERR_OK && batch_parse(bytes, &batch) == ERR_OK && batch_check_crc(&batch) == ERR_OK;
        if (!is_good) {
            told++;
            /* Without the damage in the way nobody has a reason to fail. */
            assert_true(hit_offset <= expected->base_offset);
        } else if (!is_same(&batch, expected)) {
            assert_true(may_be_uncovered && expected->base_offset >= hit_offset);
            told++;
        }
        mem_free((void *)(uintptr_t)bytes.data);
    }
    return told;
}

static bool ends_with(const char *path, const char *suffix)
{
    size_t bytes = strlen(suffix);
    return strlen(path) >= bytes && strcmp(path + strlen(path) - bytes, suffix) == 0;
}

static void count_segment(void *ctx, const char *name)
{
    *(size_t *)ctx += ends_with(name, ".log") ? 1 : 0;
}

/* "Nothing was cut": neither what the damaged segment holds behind the damage, nor a segment behind it. */
static void check_uncut(struct fs_sim *whole, struct fs_sim *sim, const struct crash_flip *flip)
{
    size_t counts[2] = {0, 0};
    struct span bytes[2];
    assert_int_equal(fs_list(fs_sim_fs(whole), PARTITION_PATH, count_segment, &counts[0]), ERR_OK);
    assert_int_equal(fs_list(fs_sim_fs(sim), PARTITION_PATH, count_segment, &counts[1]), ERR_OK);
    assert_int_equal(fs_sim_peek(whole, flip->path, &bytes[0]), ERR_OK);
    assert_int_equal(fs_sim_peek(sim, flip->path, &bytes[1]), ERR_OK);
    assert_int_equal(counts[0], counts[1]);
    assert_int_equal(bytes[0].bytes, bytes[1].bytes);
}

static enum crash_end check_segment_flip(const struct log_run *run, const struct flip_base *base, struct fs_sim *whole,
                                         struct fs_sim *sim, const struct crash_flip *flip)
{
    struct harness harness;
    int64_t hit_offset = base->end_offset;
    uint64_t in_batch = BATCH_UNCOVERED_BYTES;
    bool is_hit = find_hit(whole, flip, &hit_offset, &in_batch) && hit_offset < base->end_offset;
    enum crash_end end = CRASH_HARMLESS;
    enum err err = open_log(run, sim, &harness);
    if (err != ERR_OK) {
        assert_int_equal(err, ERR_CORRUPT);
        if (strstr(harness.problem.text, "Nothing was cut") == NULL || !is_hit || hit_offset >= base->floor_offset) {
            fail_msg("refused, with the damage at %ld and the floor at %ld: %s", (long)hit_offset,
                     (long)base->floor_offset, harness.problem.text);
        }
        check_uncut(whole, sim, flip);
        end = CRASH_REFUSED;
    } else {
        int64_t end_offset = partition_log_end_offset(harness.log);
        assert_true(partition_log_start_offset(harness.log) <= base->start_offset || !is_hit);
        if (end_offset != base->end_offset) {
            /* Cut, at the damage and nowhere else; and only what nobody knows to have been on the disk. */
            if (!is_hit || end_offset != hit_offset || hit_offset < base->floor_offset) {
                fail_msg("cut at %ld, with the damage at %ld, the floor at %ld and the end at %ld", (long)end_offset,
                         (long)hit_offset, (long)base->floor_offset, (long)base->end_offset);
            }
            end = CRASH_SHORTER;
        }
        unsigned told =
            check_readers(base, harness.log, is_hit ? hit_offset : INT64_MAX, in_batch < BATCH_UNCOVERED_BYTES);
        /* Scanned, yet it stayed: only bytes that no checksum covers. */
        assert_true(end == CRASH_SHORTER || !is_hit || in_batch < BATCH_UNCOVERED_BYTES || told > 0 ||
                    hit_offset < base->start_offset);
        end = told > 0 ? CRASH_NOTICED : end;
    }
    harness_done(&harness);
    return end;
}

/* Identities; and marks that told of a truncation which the checkpoint files do not know yet: without them it looks like a loss. */
static bool may_refuse(const char *path, const char *problem)
{
    return ends_with(path, "/partition.metadata") || ends_with(path, "/meta.properties") ||
           (ends_with(path, "/moldau-marks") && strstr(problem, "was on disk. Nothing was cut") != NULL);
}

/* Side files are made again, or missing them costs time only. */
static enum crash_end check_side_flip(const struct log_run *run, const struct flip_base *base, struct fs_sim *sim,
                                      const struct crash_flip *flip)
{
    struct log_script script = base->script;
    struct harness harness;
    enum crash_end end = CRASH_HARMLESS;
    script.harness = &harness;
    enum err err = open_log(run, sim, &harness);
    if (err != ERR_OK) {
        assert_true(harness.problem.text[0] != '\0');
        if (!may_refuse(flip->path, harness.problem.text)) {
            fail_msg("%s", harness.problem.text);
        }
        end = CRASH_REFUSED;
    } else {
        /* Without its marks a log begins where its first segment begins; what was deleted inside it shows again. */
        assert_true(partition_log_start_offset(harness.log) <= base->start_offset);
        log_script_check_all(&script);
        /* Kafka's format of aborted transactions has no checksum, and no batch says what an entry does: docs/durability.md. */
        if (!ends_with(flip->path, ".txnindex")) {
            check_places(&script);
        }
    }
    harness_done(&harness);
    return end;
}

static enum crash_end check_log_flip(const void *run, struct fs_sim *whole, struct fs_sim *sim,
                                     const struct crash_flip *flip)
{
    const struct log_run *log_run = (const struct log_run *)run;
    struct flip_base base;
    if (!read_base(log_run, whole, &base)) {
        return CRASH_NEW; /* damage to what is not there yet */
    }
    if (ends_with(flip->path, ".log")) {
        return check_segment_flip(log_run, &base, whole, sim, flip);
    }
    /* In the middle of a truncation two files are in question at once: what the other one was about to become can't be known. */
    return base.is_quiet ? check_side_flip(log_run, &base, sim, flip) : CRASH_NEW;
}

const struct crash_workload crash_log_leader = {.name = "log of a leader",
                                                .seed_count = 6,
                                                .run = run_leader,
                                                .done = done_log,
                                                .recover = recover_log,
                                                .stumble = stumble_log,
                                                .check_flip = check_log_flip};

const struct crash_workload crash_log_follower = {.name = "log of a follower",
                                                  .seed_count = 4,
                                                  .run = run_follower,
                                                  .done = done_log,
                                                  .recover = recover_log,
                                                  .stumble = stumble_log,
                                                  .check_flip = check_log_flip};

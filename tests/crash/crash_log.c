/* One partition's log, led and followed, as tests/unit/storage/log_script.h draws it, whose model also says what a crash may have left. */
#include "tests/crash/crash_log.h"

#include "broker/storage/log_state.h"
#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define STEPS 36
#define CHECKPOINT_STEPS 5
#define ABORTED_MAX 64u

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

enum err crash_log_open(const struct log_run *run, struct fs_sim *sim, struct harness *ret_harness)
{
    harness_init(ret_harness, sim, NULL, HARNESS_DIR);
    ret_harness->settings = run->harness.settings;
    enum err err = harness_start(ret_harness);
    return err == ERR_OK ? harness_open(ret_harness) : err;
}

enum err crash_log_read_at(struct partition_log *log, int64_t offset, struct span *ret_bytes)
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

/* Of a batch, as far as it is part of the log. */
struct seen_time {
    int64_t timestamp_ms;
    int64_t first_offset;
    int64_t last_offset;
};

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

/* Whoever looks for the time of the last batch is led into the first one that is as late. */
static void check_time(struct partition_log *log, const struct seen_time *times, size_t count)
{
    struct log_time_query query;
    int64_t timestamp_ms = times[count - 1].timestamp_ms;
    size_t first = 0;
    while (times[first].timestamp_ms < timestamp_ms) {
        first++;
    }
    assert_int_equal(log_time_plan(log, LOG_TIME_AT_OR_AFTER, timestamp_ms, partition_log_end_offset(log), &query),
                     ERR_OK);
    assert_int_equal(log_time_run(&query), ERR_OK);
    if (query.offset < times[first].first_offset || query.offset > times[first].last_offset) {
        fail_msg("the time of the batch at %ld leads to %ld instead of [%ld, %ld]; the log is [%ld, %ld)",
                 (long)times[count - 1].first_offset, (long)query.offset, (long)times[first].first_offset,
                 (long)times[first].last_offset, (long)partition_log_start_offset(log),
                 (long)partition_log_end_offset(log));
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

void crash_log_check_places(const struct log_script *script)
{
    struct partition_log *log = script->harness->log;
    struct replayed replayed = {.aborted_count = 0};
    struct seen_time *times = (struct seen_time *)mem_array(script->count + 1, sizeof(*times));
    size_t time_count = 0;
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
        assert_int_equal(crash_log_read_at(log, offset, &bytes), ERR_OK);
        assert_int_equal(batch_parse(bytes, &batch), ERR_OK);
        assert_int_equal(batch.header.base_offset, expected->base_offset);
        times[time_count++] = (struct seen_time){batch.header.max_timestamp_ms, offset, expected->next_offset - 1};
        check_time(log, times, time_count);
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
    mem_free(times);
}

/* What recovery reported must be on the disk: the power goes again at once. */
static void check_is_durable(const struct log_run *run, const struct fs_sim *recovered, const struct harness *first)
{
    struct fs_sim *sim = fs_sim_clone(recovered);
    struct harness harness;
    fs_sim_crash(sim, FS_SIM_CRASH_LOSE, 1);
    assert_int_equal(crash_log_open(run, sim, &harness), ERR_OK);
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
    enum err err = crash_log_open(log_run, sim, &harness);
    if (err == ERR_OK) {
        end = partition_log_end_offset(harness.log) >= script.end_offset ? CRASH_WHOLE : CRASH_SHORTER;
        check_is_durable(log_run, sim, &harness);
        log_script_check_recovered(&script, lost_power);
        crash_log_check_places(&script);
        check_works(&script);
    } else if (log_run->has_log || harness.dir == NULL || err != ERR_NOT_FOUND) {
        fail_msg("%s: %s", err_name(err), harness.problem.text);
    } else { /* nobody was told that it is there: it is made as if nothing had been */
        assert_int_equal(harness_create(&harness), ERR_OK);
        check_works(&script);
    }
    harness_done(&harness);
    return end;
}

static void stumble_log(const void *run, struct fs_sim *sim)
{
    struct harness harness;
    enum err err = crash_log_open((const struct log_run *)run, sim, &harness);
    if (err == ERR_OK) {
        harness_pump(&harness);
    }
    if (!fs_sim_is_crashed(sim)) {
        fs_sim_crash_at(sim, fs_sim_call_count(sim) + 1, FS_SIM_TEAR_NONE);
    }
    harness_done(&harness);
}

const struct crash_workload crash_log_leader = {.name = "log of a leader",
                                                .seed_count = 6,
                                                .run = run_leader,
                                                .done = done_log,
                                                .recover = recover_log,
                                                .stumble = stumble_log,
                                                .check_flip = crash_log_check_flip};

const struct crash_workload crash_log_follower = {.name = "log of a follower",
                                                  .seed_count = 4,
                                                  .run = run_follower,
                                                  .done = done_log,
                                                  .recover = recover_log,
                                                  .stumble = stumble_log,
                                                  .check_flip = crash_log_check_flip};

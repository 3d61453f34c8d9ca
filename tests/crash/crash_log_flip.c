/* A bit of a file of one partition's log has flipped: it is told, or it does no harm; nothing else is lost, and nobody reads more than before. */
#include "broker/storage/log_marks.h"
#include "broker/storage/log_state.h"
#include "common/mem.h"
#include "tests/crash/crash_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Of a batch's header what its CRC does not cover, as Kafka defined it: base offset, length, leader epoch. */
#define BATCH_UNCOVERED_BYTES 16u

/* What the undamaged log is, and up to where its directory says itself that nothing may be missing. */
struct flip_base {
    struct log_script script;
    int64_t start_offset;
    int64_t end_offset;
    int64_t high_watermark;
    int64_t floor_offset;
    int64_t recovery_offset;
    bool is_quiet; /* no truncation was under way */
};

/* Nobody may read what had not been committed (R3). */
static void check_high_watermark(const struct flip_base *base, const struct partition_log *log)
{
    if (partition_log_high_watermark(log) > base->high_watermark) {
        fail_msg("the high watermark is %ld, it was %ld", (long)partition_log_high_watermark(log),
                 (long)base->high_watermark);
    }
}

static bool read_base(const struct log_run *run, const struct fs_sim *whole, struct flip_base *ret_base)
{
    struct fs_sim *sim = fs_sim_clone(whole);
    struct harness harness;
    struct log_marks marks = {.recovery_offset = 0};
    struct log_checkpoint_row row;
    bool are_marks_known = log_marks_read(fs_sim_fs(sim), CRASH_LOG_PATH, &marks) == ERR_OK;
    *ret_base = (struct flip_base){.script = run->script, .recovery_offset = marks.recovery_offset};
    const struct log_script *model = &run->script;
    ret_base->is_quiet = model->least_end_offset == INT64_MAX && model->discard_offset < 0;
    enum err err = crash_log_open(run, sim, &harness);
    bool is_open = err == ERR_OK && are_marks_known;
    assert_true(is_open || !run->has_log);
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
        ret_base->high_watermark = partition_log_high_watermark(harness.log);
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

static bool ends_with(const char *path, const char *suffix)
{
    size_t bytes = strlen(suffix);
    return strlen(path) >= bytes && strcmp(path + strlen(path) - bytes, suffix) == 0;
}

struct segment_search {
    int64_t base_offset;
    int64_t next_base_offset;
};

static void look_behind(void *ctx, const char *name)
{
    struct segment_search *search = (struct segment_search *)ctx;
    int64_t base_offset = ends_with(name, ".log") ? strtoll(name, NULL, 10) : -1;
    if (base_offset > search->base_offset && base_offset < search->next_base_offset) {
        search->next_base_offset = base_offset;
    }
}

/* Reads every batch that is left: each is right, or the reader is told; behind the damaged segment each is right. Returns how many readers were
 * told. */
static unsigned check_readers(const struct flip_base *base, struct partition_log *log, const struct crash_flip *flip,
                              int64_t hit_offset, bool may_be_uncovered)
{
    unsigned told = 0;
    struct segment_search search = {strtoll(strrchr(flip->path, '/') + 1, NULL, 10), INT64_MAX};
    assert_int_equal(fs_list(log->env->fs, CRASH_LOG_PATH, look_behind, &search), ERR_OK);
    for (size_t i = 0; i < base->script.count; i++) {
        const struct script_batch *expected = &base->script.batches[i];
        struct span bytes = SPAN_NULL;
        struct batch batch;
        if (expected->base_offset < partition_log_start_offset(log) ||
            expected->base_offset >= partition_log_end_offset(log)) {
            continue;
        }
        enum err err = crash_log_read_at(log, expected->base_offset, &bytes);
        bool is_good = err == ERR_OK && batch_parse(bytes, &batch) == ERR_OK && batch_check_crc(&batch) == ERR_OK;
        if (!is_good) {
            told++;
            /* Without the damage in the way nobody has a reason to fail. */
            assert_in_range(expected->base_offset, hit_offset, search.next_base_offset - 1);
        } else if (!is_same(&batch, expected)) {
            assert_true(may_be_uncovered);
            assert_in_range(expected->base_offset, hit_offset, search.next_base_offset - 1);
            told++;
        }
        mem_free((void *)(uintptr_t)bytes.data);
    }
    return told;
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
    assert_int_equal(fs_list(fs_sim_fs(whole), CRASH_LOG_PATH, count_segment, &counts[0]), ERR_OK);
    assert_int_equal(fs_list(fs_sim_fs(sim), CRASH_LOG_PATH, count_segment, &counts[1]), ERR_OK);
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
    enum err err = crash_log_open(run, sim, &harness);
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
        check_high_watermark(base, harness.log);
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
            check_readers(base, harness.log, flip, is_hit ? hit_offset : INT64_MAX, in_batch < BATCH_UNCOVERED_BYTES);
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
    enum err err = crash_log_open(run, sim, &harness);
    if (err != ERR_OK) {
        assert_true(harness.problem.text[0] != '\0');
        if (!may_refuse(flip->path, harness.problem.text)) {
            fail_msg("%s", harness.problem.text);
        }
        end = CRASH_REFUSED;
    } else {
        /* Without its marks a log begins where its first segment begins; what was deleted inside it shows again. */
        bool are_marks = ends_with(flip->path, "/moldau-marks");
        int64_t start_offset = partition_log_start_offset(harness.log);
        assert_true(start_offset == base->start_offset || (are_marks && start_offset < base->start_offset));
        check_high_watermark(base, harness.log);
        log_script_check_all(&script);
        /* Kafka's format of aborted transactions has no checksum, and no batch says what an entry does: docs/durability.md. */
        if (!ends_with(flip->path, ".txnindex")) {
            crash_log_check_places(&script);
        }
    }
    harness_done(&harness);
    return end;
}

enum crash_end crash_log_check_flip(const void *run, struct fs_sim *whole, struct fs_sim *sim,
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

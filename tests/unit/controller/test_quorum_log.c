/* The quorum's log on a simulated disk: what it keeps, what it cuts, what it refuses; crashes at every file operation. */
#include "common/mem.h"
#include "controller/quorum_log.h"
#include "tests/support/fs_sim.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DIR "/sim/meta/moldau-metadata"
#define SEGMENT_BYTES 400
#define CONFIGURATION "first configuration"

static const struct quorum_identity identity = {.cluster_id = "abcdefghijklmnopqrstuv", .node_id = 7, .raft_id = 42};

/* The data of entry `index`: its length differs from entry to entry. */
static struct quorum_entry *make_entry(uint64_t index, uint64_t term)
{
    char text[128];
    int bytes =
        snprintf(text, sizeof(text), "entry %llu of term %llu %.*s", (unsigned long long)index,
                 (unsigned long long)term, (int)(index % 50), "..................................................");
    return quorum_entry_new(index, term, QUORUM_COMMAND, span_make(text, (size_t)bytes));
}

static enum err append_some(struct quorum_log *log, uint64_t first, uint64_t last, uint64_t term)
{
    struct quorum_entry *entries[64] = {NULL};
    size_t count = 0;
    for (uint64_t index = first; index <= last; index++) {
        entries[count++] = make_entry(index, term);
    }
    enum err err = quorum_log_append(log, (const struct quorum_entry *const *)entries, count);
    for (size_t i = 0; i < count; i++) {
        mem_free(entries[i]);
    }
    return err;
}

static enum err form(struct fs_sim *sim)
{
    struct option_problem problem;
    enum err err = fs_mkdir(fs_sim_fs(sim), "/sim/meta");
    if (err == ERR_OK) {
        err = fs_sync_dir(fs_sim_fs(sim), "/sim");
    }
    return err != ERR_OK ? err : quorum_log_form(fs_sim_fs(sim), DIR, &identity, span_text(CONFIGURATION), &problem);
}

static enum err open_log(struct fs_sim *sim, struct quorum_log **ret_log, struct quorum_loaded *ret_loaded)
{
    struct option_problem problem = {0};
    enum err err = quorum_log_open(fs_sim_fs(sim), DIR, SEGMENT_BYTES, ret_log, ret_loaded, &problem);
    assert_true(err == ERR_OK || problem.text[0] != '\0');
    return err;
}

/* What was acknowledged, and what was tried beyond it. */
struct model {
    bool is_formed;
    uint64_t term; /* acknowledged */
    uint64_t tried_term;
    uint64_t vote;
    uint64_t last_index; /* acknowledged */
    uint64_t tried_index;
    uint64_t entry_term[128];
    uint64_t tried_entry_term[128];
    uint64_t truncating_from; /* a truncation was begun: entries from here may be gone or old */
    uint64_t snapshot_index;
    uint64_t tried_snapshot_index;
};

static enum err model_append(struct quorum_log *log, struct model *model, uint64_t last, uint64_t term)
{
    uint64_t first = model->last_index + 1;
    for (uint64_t i = first; i <= last; i++) {
        model->tried_entry_term[i] = term;
    }
    model->tried_index = last;
    enum err err = append_some(log, first, last, term);
    if (err == ERR_OK) {
        for (uint64_t i = first; i <= last; i++) {
            model->entry_term[i] = term;
        }
        model->last_index = last;
        model->truncating_from = 0;
    }
    return err;
}

static enum err model_snapshot(struct quorum_log *log, struct model *model, uint64_t index, uint64_t trim_index)
{
    struct quorum_snapshot snapshot = {.index = index,
                                       .term = model->entry_term[index],
                                       .configuration_index = 1,
                                       .configuration = span_text(CONFIGURATION),
                                       .data = span_text("state as of a snapshot")};
    model->tried_snapshot_index = index;
    enum err err = quorum_log_put_snapshot(log, &snapshot, trim_index);
    model->snapshot_index = err == ERR_OK ? index : model->snapshot_index;
    return err;
}

static enum err model_term(struct quorum_log *log, struct model *model, uint64_t term, uint64_t vote)
{
    model->tried_term = term;
    enum err err = quorum_log_set_term(log, term, vote);
    if (err == ERR_OK) {
        model->term = term;
        model->vote = vote;
    }
    return err;
}

/* A life of a log: appends alone and in groups, rolls, terms, a truncation as a follower has it, snapshots, trimming. */
static enum err run_script(struct fs_sim *sim, struct model *model)
{
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    *model = (struct model){.tried_index = 1, .tried_term = 1};
    enum err err = form(sim);
    if (err != ERR_OK) {
        return err;
    }
    model->is_formed = true;
    model->term = 1;
    model->vote = identity.raft_id;
    model->last_index = 1;
    model->entry_term[1] = model->tried_entry_term[1] = 1;
    err = open_log(sim, &log, &loaded);
    if (err != ERR_OK) {
        return err;
    }
    quorum_loaded_done(&loaded);
    err = model_append(log, model, 2, 1);
    err = err != ERR_OK ? err : model_append(log, model, 7, 1);
    err = err != ERR_OK ? err : model_append(log, model, 8, 1);
    err = err != ERR_OK ? err : model_term(log, model, 2, 99);
    err = err != ERR_OK ? err : model_append(log, model, 12, 2);
    err = err != ERR_OK ? err : model_append(log, model, 14, 2);
    if (err == ERR_OK) {
        model->truncating_from = 8;
        err = quorum_log_truncate(log, 8);
        model->last_index = 7;
    }
    err = err != ERR_OK ? err : model_append(log, model, 11, 3);
    err = err != ERR_OK ? err : model_snapshot(log, model, 9, 5);
    err = err != ERR_OK ? err : model_append(log, model, 20, 3);
    err = err != ERR_OK ? err : model_snapshot(log, model, 16, 14);
    err = err != ERR_OK ? err : model_append(log, model, 22, 3);
    if (err != ERR_OK) {
        quorum_log_abandon(log);
    }
    return err == ERR_OK ? quorum_log_close(log) : err;
}

static void check_entry(const struct model *model, const struct quorum_entry *entry)
{
    if (entry->index == 1) {
        assert_int_equal(entry->type, QUORUM_CHANGE);
        assert_memory_equal(entry->data, CONFIGURATION, strlen(CONFIGURATION));
        return;
    }
    uint64_t term = entry->term;
    if (entry->index <= model->last_index && (model->truncating_from == 0 || entry->index < model->truncating_from)) {
        assert_int_equal(term, model->entry_term[entry->index]);
    } else {
        assert_true(term == model->entry_term[entry->index] || term == model->tried_entry_term[entry->index]);
    }
    struct quorum_entry *expected = make_entry(entry->index, term);
    assert_int_equal(entry->bytes, expected->bytes);
    assert_memory_equal(entry->data, expected->data, expected->bytes);
    mem_free(expected);
}

/* After a crash: the log opens by itself, holds all that was acknowledged, nothing that was never written, no gap. */
static void check_recovered(struct fs_sim *sim, const struct model *model, enum fs_sim_crash_mode next)
{
    bool exists = false;
    assert_int_equal(quorum_log_exists(fs_sim_fs(sim), DIR, &exists), ERR_OK);
    assert_true(exists || !model->is_formed);
    struct option_problem problem = {0};
    struct quorum_identity found;
    if (!exists) {
        return;
    }
    assert_int_equal(quorum_log_read_identity(fs_sim_fs(sim), DIR, &found, &problem), ERR_OK);
    assert_int_equal(found.raft_id, identity.raft_id);
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    assert_int_equal(fs_sync_dir(fs_sim_fs(sim), "/sim/meta"), ERR_OK); /* as opening the metadata directory does */
    assert_int_equal(open_log(sim, &log, &loaded), ERR_OK);
    if (model->is_formed) {
        assert_true(loaded.term == model->term || loaded.term == model->tried_term);
        assert_true(loaded.term >= model->term);
        assert_true(loaded.snapshot.index == model->snapshot_index ||
                    loaded.snapshot.index == model->tried_snapshot_index);
        assert_true(loaded.snapshot.index >= model->snapshot_index);
        assert_true(loaded.first_index <= loaded.snapshot.index + 1);
        assert_true(quorum_log_last_index(log) >= model->last_index);
        for (size_t i = 0; i < loaded.entry_count; i++) {
            assert_int_equal(loaded.entries[i]->index, loaded.first_index + i);
            check_entry(model, loaded.entries[i]);
        }
    }
    /* And it goes on; what it reports is on the disk, its file's name too (but for names whose sync failed before). */
    uint64_t last_index = quorum_log_last_index(log);
    quorum_loaded_done(&loaded);
    assert_int_equal(append_some(log, last_index + 1, last_index + 3, 9), ERR_OK);
    quorum_log_abandon(log);
    fs_sim_crash(sim, next, 1);
    assert_int_equal(open_log(sim, &log, &loaded), ERR_OK);
    assert_int_equal(quorum_log_last_index(log), last_index + 3);
    quorum_loaded_done(&loaded);
    assert_int_equal(quorum_log_close(log), ERR_OK);
    assert_int_equal(fs_sim_open_files(sim), 0);
}

static void test_runs_whole(void **state)
{
    struct fs_sim *sim = fs_sim_new(NULL);
    struct model model;
    (void)state;
    assert_int_equal(run_script(sim, &model), ERR_OK);
    assert_int_equal(model.last_index, 22);
    check_recovered(sim, &model, FS_SIM_CRASH_LOSE);
    fs_sim_free(sim);
}

static void crash_everywhere(enum fs_sim_crash_mode mode, enum fs_sim_tear tear, uint64_t seed)
{
    struct fs_sim *whole = fs_sim_new(NULL);
    struct model model;
    assert_int_equal(run_script(whole, &model), ERR_OK);
    uint64_t call_count = fs_sim_call_count(whole);
    fs_sim_free(whole);
    assert_true(call_count > 60);
    for (uint64_t call = 1; call <= call_count; call++) {
        struct fs_sim_options options = {.seed = seed + call};
        struct fs_sim *sim = fs_sim_new(&options);
        fs_sim_crash_at(sim, call, tear);
        assert_int_not_equal(run_script(sim, &model), ERR_OK);
        fs_sim_crash(sim, mode, seed * 1000 + call);
        check_recovered(sim, &model, FS_SIM_CRASH_LOSE);
        fs_sim_free(sim);
    }
}

static void test_kill_at_every_call(void **state)
{
    (void)state;
    crash_everywhere(FS_SIM_CRASH_KILL, FS_SIM_TEAR_PREFIX, 1);
    crash_everywhere(FS_SIM_CRASH_KILL, FS_SIM_TEAR_NONE, 2);
}

static void test_power_loss_at_every_call(void **state)
{
    (void)state;
    crash_everywhere(FS_SIM_CRASH_LOSE, FS_SIM_TEAR_NONE, 1);
    crash_everywhere(FS_SIM_CRASH_LOSE, FS_SIM_TEAR_SECTORS, 2);
}

static void test_random_power_loss_at_every_call(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "random power loss", 1);
    for (uint64_t i = prop_runs(20); i > 0; i--) {
        crash_everywhere(FS_SIM_CRASH_RANDOM, FS_SIM_TEAR_SECTORS, prop_u64(&prop) >> 1);
    }
}

/* A call that fails makes the log fail: nothing more is written, and what was acknowledged is there after a restart. */
static void test_error_at_every_call(void **state)
{
    (void)state;
    struct model model;
    for (uint64_t call = 1;; call++) {
        struct fs_sim *sim = fs_sim_new(NULL);
        fs_sim_fail_at(sim, FS_SIM_CHANGE, call, call % 2 == 0 ? ERR_IO : ERR_NO_SPACE, false);
        enum err err = run_script(sim, &model);
        fs_sim_fail_at(sim, FS_SIM_CHANGE, 0, ERR_IO, false);
        fs_sim_crash(sim, call % 3 == 0 ? FS_SIM_CRASH_LOSE : FS_SIM_CRASH_KILL, call);
        check_recovered(sim, &model, FS_SIM_CRASH_KILL);
        fs_sim_free(sim);
        if (err == ERR_OK) {
            assert_true(call > 60);
            return;
        }
    }
}

/* ---- damage at rest ---- */

/* A short log with everything synced, in one segment. */
static struct fs_sim *make_small(uint64_t last_index)
{
    struct fs_sim *sim = fs_sim_new(NULL);
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    assert_int_equal(form(sim), ERR_OK);
    assert_int_equal(open_log(sim, &log, &loaded), ERR_OK);
    quorum_loaded_done(&loaded);
    assert_int_equal(append_some(log, 2, last_index, 1), ERR_OK);
    assert_int_equal(quorum_log_close(log), ERR_OK);
    return sim;
}

static uint64_t bytes_of(struct fs_sim *sim, const char *path)
{
    struct span bytes;
    assert_int_equal(fs_sim_peek(sim, path, &bytes), ERR_OK);
    return bytes.bytes;
}

/* Any flipped bit is noticed, or meets bytes that mean nothing: never is an entry lost or changed in silence. */
static void flip_everywhere(const char *path, uint64_t last_index, bool must_always_refuse)
{
    struct fs_sim *whole = make_small(last_index);
    uint64_t bytes = bytes_of(whole, path);
    unsigned refused = 0;
    for (uint64_t pos = 0; pos < bytes; pos++) {
        struct fs_sim *sim = fs_sim_clone(whole);
        struct quorum_log *log = NULL;
        struct quorum_loaded loaded = {0};
        assert_int_equal(fs_sim_flip_bit(sim, path, pos, (unsigned)(pos % 8)), ERR_OK);
        enum err err = open_log(sim, &log, &loaded);
        if (err != ERR_OK) {
            assert_int_equal(err, ERR_CORRUPT);
            refused++;
        } else {
            assert_false(must_always_refuse);
            assert_int_equal(quorum_log_last_index(log), last_index);
            quorum_loaded_done(&loaded);
            assert_int_equal(quorum_log_close(log), ERR_OK);
        }
        fs_sim_free(sim);
    }
    assert_true(refused > bytes / 2);
    fs_sim_free(whole);
}

static void test_flipped_bit_anywhere(void **state)
{
    (void)state;
    flip_everywhere(DIR "/log-00000000000000000001", 5, false);
    flip_everywhere(DIR "/term", 5, true);
}

static void test_flipped_bit_in_identity(void **state)
{
    (void)state;
    struct fs_sim *whole = make_small(3);
    uint64_t bytes = bytes_of(whole, DIR "/identity");
    for (uint64_t pos = 0; pos < bytes; pos++) {
        struct fs_sim *sim = fs_sim_clone(whole);
        struct option_problem problem = {0};
        struct quorum_identity found = {0};
        assert_int_equal(fs_sim_flip_bit(sim, DIR "/identity", pos, (unsigned)(pos % 7)), ERR_OK);
        enum err err = quorum_log_read_identity(fs_sim_fs(sim), DIR, &found, &problem);
        if (err == ERR_OK) { /* a letter of the CRC in capitals */
            assert_int_equal(found.raft_id, identity.raft_id);
            assert_string_equal(found.cluster_id, identity.cluster_id);
        }
        fs_sim_free(sim);
    }
    fs_sim_free(whole);
}

/* Bytes behind the last synced entry are a torn tail and cut; the same bytes before it would be corruption. */
static void test_torn_tail_is_cut(void **state)
{
    static const char path[] = DIR "/log-00000000000000000001";
    (void)state;
    struct fs_sim *sim = make_small(4);
    uint64_t bytes = bytes_of(sim, path);
    struct file *file = NULL;
    struct quorum_entry *entry = make_entry(5, 1);
    struct span torn = span_make(entry->data, entry->bytes);
    assert_int_equal(fs_open(fs_sim_fs(sim), path, FS_OPEN_WRITE, &file), ERR_OK);
    assert_int_equal(file_pwritev(file, &torn, 1, bytes), ERR_OK);
    file_unref(file);
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    assert_int_equal(open_log(sim, &log, &loaded), ERR_OK);
    assert_int_equal(loaded.cut_bytes, entry->bytes);
    assert_int_equal(quorum_log_last_index(log), 4);
    assert_int_equal(bytes_of(sim, path), bytes);
    mem_free(entry);
    quorum_loaded_done(&loaded);
    assert_int_equal(quorum_log_close(log), ERR_OK);
    fs_sim_free(sim);
}

/* Whoever removes a file of the log is told so. */
static void test_missing_files(void **state)
{
    (void)state;
    static const char *const names[] = {DIR "/term", DIR "/log-00000000000000000001"};
    for (size_t i = 0; i < 2; i++) {
        struct fs_sim *sim = make_small(4);
        struct quorum_log *log = NULL;
        struct quorum_loaded loaded = {0};
        assert_int_equal(fs_unlink(fs_sim_fs(sim), names[i]), ERR_OK);
        assert_int_not_equal(open_log(sim, &log, &loaded), ERR_OK);
        fs_sim_free(sim);
    }
}

/* ---- what joins, and what is installed ---- */

static void test_joining_directory_is_empty_until_filled(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct option_problem problem = {0};
    struct quorum_identity joining = identity;
    struct quorum_identity found;
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    for (size_t i = 0; i < UUID_BYTES; i++) {
        joining.directory_id.bytes[i] = (uint8_t)(i + 1);
    }
    joining.raft_id = quorum_raft_id_of(joining.directory_id);
    assert_int_equal(joining.raft_id, 0x0102030405060708u);
    assert_int_equal(fs_mkdir(fs_sim_fs(sim), "/sim/meta"), ERR_OK);
    assert_int_equal(quorum_log_form(fs_sim_fs(sim), DIR, &joining, SPAN_NULL, &problem), ERR_OK);
    assert_int_equal(quorum_log_read_identity(fs_sim_fs(sim), DIR, &found, &problem), ERR_OK);
    assert_true(uuid_equal(found.directory_id, joining.directory_id));
    assert_true(found.is_joining);
    assert_int_equal(open_log(sim, &log, &loaded), ERR_OK);
    assert_int_equal(loaded.term, 0);
    assert_int_equal(loaded.entry_count, 0);
    quorum_loaded_done(&loaded);
    struct quorum_entry *first = quorum_entry_new(1, 1, QUORUM_CHANGE, span_text(CONFIGURATION));
    assert_int_equal(quorum_log_append(log, (const struct quorum_entry *const *)&first, 1), ERR_OK);
    quorum_entry_unref(first);
    assert_int_equal(append_some(log, 2, 5, 2), ERR_OK);
    assert_int_equal(quorum_log_close(log), ERR_OK);
    /* What was synced is not taken for empty when its first byte is damaged. */
    assert_int_equal(fs_sim_flip_bit(sim, DIR "/log-00000000000000000001", 70, 1), ERR_OK);
    assert_int_equal(open_log(sim, &log, &loaded), ERR_CORRUPT);
    fs_sim_free(sim);
    /* A founder's directory never is empty. */
    sim = fs_sim_new(NULL);
    assert_int_equal(form(sim), ERR_OK);
    assert_int_equal(fs_sim_flip_bit(sim, DIR "/log-00000000000000000001", 70, 1), ERR_OK);
    assert_int_equal(open_log(sim, &log, &loaded), ERR_CORRUPT);
    fs_sim_free(sim);
}

static void test_installed_snapshot_replaces_the_log(void **state)
{
    (void)state;
    struct fs_sim *sim = make_small(9);
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    struct quorum_snapshot snapshot = {.index = 5,
                                       .term = 7,
                                       .configuration_index = 1,
                                       .configuration = span_text(CONFIGURATION),
                                       .data = span_text("a leader's state")};
    assert_int_equal(open_log(sim, &log, &loaded), ERR_OK);
    quorum_loaded_done(&loaded);
    assert_int_equal(quorum_log_install(log, &snapshot), ERR_OK);
    assert_int_equal(quorum_log_first_index(log), 6);
    assert_int_equal(quorum_log_last_index(log), 5);
    assert_int_equal(append_some(log, 6, 8, 7), ERR_OK);
    assert_int_equal(quorum_log_close(log), ERR_OK);
    assert_int_equal(open_log(sim, &log, &loaded), ERR_OK);
    assert_int_equal(loaded.snapshot.term, 7);
    assert_true(span_equal_text(loaded.snapshot.data, "a leader's state"));
    assert_int_equal(loaded.entry_count, 3);
    assert_int_equal(loaded.entries[0]->term, 7);
    quorum_loaded_done(&loaded);
    assert_int_equal(quorum_log_close(log), ERR_OK);
    fs_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_whole),
        cmocka_unit_test(test_kill_at_every_call),
        cmocka_unit_test(test_power_loss_at_every_call),
        cmocka_unit_test(test_random_power_loss_at_every_call),
        cmocka_unit_test(test_error_at_every_call),
        cmocka_unit_test(test_flipped_bit_anywhere),
        cmocka_unit_test(test_flipped_bit_in_identity),
        cmocka_unit_test(test_torn_tail_is_cut),
        cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_joining_directory_is_empty_until_filled),
        cmocka_unit_test(test_installed_snapshot_replaces_the_log),
    };
    return cmocka_run_group_tests_name("quorum_log", tests, NULL, NULL);
}

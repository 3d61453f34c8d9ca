/* The memory of the controllers' consensus: entries, term and vote, snapshots taken and installed, truncations, formation. Whatever was
 * reported as written is there after a crash; term and vote never go back. */
#include "common/mem.h"
#include "controller/quorum_log.h"
#include "tests/crash/crash_campaign.h"
#include "tests/support/prop.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define DIR "/sim/meta/moldau-metadata"
#define SEGMENT_BYTES 400
#define STEPS 34
#define ENTRIES_MAX 512
#define BATCH_MAX 5
#define CONFIGURATION "first configuration"

static const struct quorum_identity identity = {.cluster_id = "abcdefghijklmnopqrstuv", .node_id = 7, .raft_id = 42};

struct quorum_run {
    struct quorum_log *log;
    struct prop prop;
    bool is_formed;
    bool is_joining;
    uint64_t first_index;
    /* What was reported as written, and behind it what was being written when the disk crashed. */
    uint64_t last_index;
    uint64_t tried_last_index;
    uint64_t entry_term[ENTRIES_MAX];
    uint64_t term;
    uint64_t vote;
    uint64_t tried_term;
    uint64_t tried_vote;
    uint64_t snapshot_index;
    uint64_t snapshot_term;
    uint64_t tried_snapshot_index;
    uint64_t tried_snapshot_term;
    uint64_t tried_trim_index;
    uint64_t truncating_from; /* 0: no truncation was under way */
    bool is_installing;
};

/* ---- the script ---- */

/* The data of an entry: another one for every index and term, and of another length. */
static struct quorum_entry *make_entry(uint64_t index, uint64_t term)
{
    char text[128];
    int bytes = snprintf(text, sizeof(text), "entry %" PRIu64 " of term %" PRIu64 " %.*s", index, term,
                         (int)((index * 7 + term) % 50), "..................................................");
    enum quorum_entry_type type = index == 1 ? QUORUM_CHANGE : QUORUM_COMMAND;
    return quorum_entry_new(index, term, type, index == 1 ? span_text(CONFIGURATION) : span_make(text, (size_t)bytes));
}

static int snapshot_text(uint64_t index, uint64_t term, char text[128])
{
    return snprintf(text, 128, "state as of %" PRIu64 " in term %" PRIu64, index, term);
}

static enum err form(const struct quorum_run *run, struct fs *fs)
{
    struct option_problem problem;
    struct fs_stat stat;
    enum err err = fs_stat(fs, "/sim/meta", &stat);
    if (err == ERR_NOT_FOUND) {
        err = fs_mkdir(fs, "/sim/meta");
    }
    if (err == ERR_OK) {
        err = fs_sync_dir(fs, "/sim");
    }
    struct span configuration = run->is_joining ? SPAN_NULL : span_text(CONFIGURATION);
    return err != ERR_OK ? err : quorum_log_form(fs, DIR, &identity, configuration, &problem);
}

static enum err open_log(struct fs *fs, struct quorum_log **ret_log, struct quorum_loaded *ret_loaded,
                         struct option_problem *ret_problem)
{
    *ret_problem = (struct option_problem){.text = ""};
    enum err err = quorum_log_open(fs, DIR, SEGMENT_BYTES, ret_log, ret_loaded, ret_problem);
    assert_true(err == ERR_OK || ret_problem->text[0] != '\0');
    return err;
}

static enum err append_entries(struct quorum_log *log, uint64_t first, uint64_t last, const uint64_t *terms)
{
    struct quorum_entry *entries[BATCH_MAX] = {NULL};
    size_t count = 0;
    for (uint64_t index = first; index <= last; index++) {
        entries[count++] = make_entry(index, terms[index]);
    }
    enum err err = quorum_log_append(log, (const struct quorum_entry *const *)entries, count);
    for (size_t i = 0; i < count; i++) {
        quorum_entry_unref(entries[i]);
    }
    return err;
}

static enum err step_append(struct quorum_run *run)
{
    uint64_t last = run->last_index + prop_range(&run->prop, 1, BATCH_MAX);
    if (last >= ENTRIES_MAX - BATCH_MAX) {
        return ERR_OK;
    }
    for (uint64_t index = run->last_index + 1; index <= last; index++) {
        run->entry_term[index] = run->term;
    }
    run->tried_last_index = last;
    enum err err = append_entries(run->log, run->last_index + 1, last, run->entry_term);
    run->last_index = err == ERR_OK ? last : run->last_index;
    return err;
}

static enum err step_term(struct quorum_run *run)
{
    bool is_vote_only = run->vote == 0 && prop_chance(&run->prop, 1, 2);
    run->tried_term = run->term + (is_vote_only ? 0 : prop_range(&run->prop, 1, 3));
    run->tried_vote = prop_chance(&run->prop, 1, 3) ? 0 : prop_range(&run->prop, 1, 9);
    enum err err = quorum_log_set_term(run->log, run->tried_term, run->tried_vote);
    if (err == ERR_OK) {
        run->term = run->tried_term;
        run->vote = run->tried_vote;
    }
    return err;
}

static enum err step_truncate(struct quorum_run *run)
{
    uint64_t least = run->snapshot_index + 1 > run->first_index ? run->snapshot_index + 1 : run->first_index;
    least = least < 2 ? 2 : least;
    if (least > run->last_index) {
        return ERR_OK;
    }
    run->truncating_from = prop_range(&run->prop, least, run->last_index);
    enum err err = quorum_log_truncate(run->log, run->truncating_from);
    if (err == ERR_OK) {
        run->last_index = run->tried_last_index = run->truncating_from - 1;
        run->truncating_from = 0;
    }
    return err;
}

static struct quorum_snapshot make_snapshot(const struct quorum_run *run, char text[128])
{
    int bytes = snapshot_text(run->tried_snapshot_index, run->tried_snapshot_term, text);
    return (struct quorum_snapshot){.index = run->tried_snapshot_index,
                                    .term = run->tried_snapshot_term,
                                    .configuration_index = 1,
                                    .configuration = span_text(CONFIGURATION),
                                    .data = span_make(text, (size_t)bytes)};
}

static enum err step_snapshot(struct quorum_run *run)
{
    char text[128];
    uint64_t least = run->snapshot_index + 1 > run->first_index ? run->snapshot_index + 1 : run->first_index;
    if (least > run->last_index) {
        return ERR_OK;
    }
    run->tried_snapshot_index = prop_range(&run->prop, least, run->last_index);
    run->tried_snapshot_term = run->entry_term[run->tried_snapshot_index];
    uint64_t trim_index = prop_range(&run->prop, 0, run->tried_snapshot_index);
    run->tried_trim_index = trim_index > run->tried_trim_index ? trim_index : run->tried_trim_index;
    struct quorum_snapshot snapshot = make_snapshot(run, text);
    enum err err = quorum_log_put_snapshot(run->log, &snapshot, trim_index);
    if (err == ERR_OK) {
        run->snapshot_index = run->tried_snapshot_index;
        run->snapshot_term = run->tried_snapshot_term;
        run->first_index = quorum_log_first_index(run->log);
    }
    return err;
}

static enum err step_install(struct quorum_run *run)
{
    char text[128];
    run->tried_snapshot_index = run->snapshot_index + prop_range(&run->prop, 1, 30);
    run->tried_snapshot_term = run->term;
    if (run->tried_snapshot_index >= ENTRIES_MAX - BATCH_MAX) {
        run->tried_snapshot_index = run->snapshot_index;
        return ERR_OK;
    }
    run->is_installing = true;
    struct quorum_snapshot snapshot = make_snapshot(run, text);
    enum err err = quorum_log_install(run->log, &snapshot);
    if (err == ERR_OK) {
        run->snapshot_index = run->last_index = run->tried_last_index = run->tried_snapshot_index;
        run->snapshot_term = run->tried_snapshot_term;
        run->first_index = run->last_index + 1;
        run->tried_trim_index = run->last_index;
        run->is_installing = false;
    }
    return err;
}

static enum err open_run(struct quorum_run *run, struct fs *fs)
{
    struct quorum_loaded loaded = {0};
    struct option_problem problem;
    enum err err = open_log(fs, &run->log, &loaded, &problem);
    if (err == ERR_OK) {
        assert_int_equal(quorum_log_last_index(run->log), run->last_index);
        assert_int_equal(loaded.term, run->term);
        assert_int_equal(loaded.voted_for, run->vote);
        quorum_loaded_done(&loaded);
    } else {
        run->log = NULL;
        assert_int_not_equal(err, ERR_CORRUPT);
    }
    return err;
}

static enum err step_reopen(struct quorum_run *run, struct fs *fs)
{
    enum err err = ERR_OK;
    if (prop_chance(&run->prop, 1, 2)) {
        err = quorum_log_close(run->log);
    } else {
        quorum_log_abandon(run->log); /* the process was killed */
    }
    run->log = NULL;
    return err == ERR_OK ? open_run(run, fs) : err;
}

static enum err step(struct quorum_run *run, struct fs *fs)
{
    uint64_t draw = prop_below(&run->prop, 100);
    if (run->last_index == 0) {
        return step_append(run);
    }
    return draw < 50   ? step_append(run)
           : draw < 65 ? step_term(run)
           : draw < 76 ? step_truncate(run)
           : draw < 88 ? step_snapshot(run)
           : draw < 92 ? step_install(run)
                       : step_reopen(run, fs);
}

static void *run_quorum(struct fs_sim *sim, uint64_t seed, uint64_t crash_call)
{
    struct quorum_run *run = MEM_NEW(struct quorum_run);
    struct fs *fs = fs_sim_fs(sim);
    prop_init_seed(&run->prop, seed);
    run->is_joining = prop_chance(&run->prop, 1, 4);
    run->first_index = 1;
    fs_sim_crash_at(sim, crash_call, FS_SIM_TEAR_NONE);
    enum err err = form(run, fs);
    if (err == ERR_OK) {
        run->is_formed = true;
        run->term = run->tried_term = run->is_joining ? 0 : 1;
        run->vote = run->tried_vote = run->is_joining ? 0 : identity.raft_id;
        run->last_index = run->tried_last_index = run->entry_term[1] = run->is_joining ? 0 : 1;
        err = open_run(run, fs);
    }
    for (unsigned i = 0; i < STEPS && err == ERR_OK; i++) {
        err = step(run, fs);
    }
    assert_true(err == ERR_OK || fs_sim_is_crashed(sim));
    return run;
}

static void done_quorum(void *run)
{
    struct quorum_run *quorum_run = (struct quorum_run *)run;
    quorum_log_abandon(quorum_run->log);
    mem_free(quorum_run);
}

/* ---- what an opened log must be ---- */

static void check_entries(const struct quorum_run *run, const struct quorum_loaded *loaded)
{
    for (size_t i = 0; i < loaded->entry_count; i++) {
        const struct quorum_entry *entry = loaded->entries[i];
        assert_int_equal(entry->index, loaded->first_index + i);
        assert_true(entry->index <= run->tried_last_index);
        struct quorum_entry *expected = make_entry(entry->index, run->entry_term[entry->index]);
        assert_int_equal(entry->term, expected->term);
        assert_int_equal(entry->type, expected->type);
        assert_int_equal(entry->bytes, expected->bytes);
        assert_memory_equal(entry->data, expected->data, expected->bytes);
        quorum_entry_unref(expected);
    }
}

static void check_snapshot(const struct quorum_loaded *loaded, uint64_t index, uint64_t term)
{
    char text[128];
    assert_int_equal(loaded->snapshot.index, index);
    assert_int_equal(loaded->snapshot.term, term);
    assert_int_equal(loaded->snapshot.configuration_index, 1);
    (void)snapshot_text(index, term, text);
    assert_true(span_equal_text(loaded->snapshot.data, text));
    assert_true(span_equal_text(loaded->snapshot.configuration, CONFIGURATION));
}

/* Everything that was reported as written. */
static void check_loaded(const struct quorum_run *run, const struct quorum_log *log, const struct quorum_loaded *loaded)
{
    bool is_old_term = loaded->term == run->term && loaded->voted_for == run->vote;
    bool is_new_term = loaded->term == run->tried_term && loaded->voted_for == run->tried_vote;
    assert_true(is_old_term || is_new_term);
    assert_true(loaded->first_index <= loaded->snapshot.index + 1); /* no hole between the two */
    if (run->is_installing && loaded->snapshot.index == run->tried_snapshot_index) {
        check_snapshot(loaded, run->tried_snapshot_index, run->tried_snapshot_term);
        assert_int_equal(loaded->entry_count, 0);
        assert_int_equal(quorum_log_first_index(log), run->tried_snapshot_index + 1);
        return;
    }
    if (loaded->snapshot.index != run->snapshot_index) {
        check_snapshot(loaded, run->tried_snapshot_index, run->tried_snapshot_term);
    } else if (run->snapshot_index != 0) {
        check_snapshot(loaded, run->snapshot_index, run->snapshot_term);
    }
    uint64_t least = run->truncating_from == 0 ? run->last_index : run->truncating_from - 1;
    assert_true(quorum_log_last_index(log) >= least && quorum_log_last_index(log) <= run->tried_last_index);
    assert_true(loaded->first_index <= run->tried_trim_index + 1);
    assert_int_equal(loaded->first_index + loaded->entry_count, quorum_log_last_index(log) + 1);
    check_entries(run, loaded);
}

/* The power goes again at once: what was reported must be on the disk. */
static void check_is_durable(const struct fs_sim *recovered, uint64_t last_index, const struct quorum_loaded *first)
{
    struct fs_sim *sim = fs_sim_clone(recovered);
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    struct option_problem problem;
    fs_sim_crash(sim, FS_SIM_CRASH_LOSE, 1);
    assert_int_equal(open_log(fs_sim_fs(sim), &log, &loaded, &problem), ERR_OK);
    assert_int_equal(quorum_log_last_index(log), last_index);
    assert_int_equal(loaded.term, first->term);
    assert_int_equal(loaded.voted_for, first->voted_for);
    assert_int_equal(loaded.snapshot.index, first->snapshot.index);
    quorum_loaded_done(&loaded);
    quorum_log_abandon(log);
    fs_sim_free(sim);
}

/* More entries, which outlast a power loss. */
static void check_works(struct fs_sim *sim, struct quorum_log *log)
{
    struct quorum_log *again = NULL;
    struct quorum_loaded loaded = {0};
    struct option_problem problem;
    uint64_t terms[ENTRIES_MAX + BATCH_MAX];
    uint64_t last_index = quorum_log_last_index(log);
    for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++) {
        terms[i] = 99;
    }
    assert_int_equal(append_entries(log, last_index + 1, last_index + 3, terms), ERR_OK);
    quorum_log_abandon(log);
    fs_sim_crash(sim, FS_SIM_CRASH_LOSE, 2);
    assert_int_equal(open_log(fs_sim_fs(sim), &again, &loaded, &problem), ERR_OK);
    assert_int_equal(quorum_log_last_index(again), last_index + 3);
    quorum_loaded_done(&loaded);
    quorum_log_abandon(again);
}

static bool exists(struct fs *fs)
{
    bool does_exist = false;
    assert_int_equal(quorum_log_exists(fs, DIR, &does_exist), ERR_OK);
    return does_exist;
}

static enum crash_end recover_quorum(const void *run, struct fs_sim *sim, enum crash_kind kind, bool lost_power)
{
    const struct quorum_run *quorum_run = (const struct quorum_run *)run;
    struct fs *fs = fs_sim_fs(sim);
    struct quorum_identity found;
    struct option_problem problem;
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    /* Every call of this log returns when its work is on the disk: all crashes are alike. */
    (void)kind;
    (void)lost_power;
    if (!exists(fs)) {
        assert_false(quorum_run->is_formed);
        assert_int_equal(form(quorum_run, fs), ERR_OK);
        assert_int_equal(quorum_log_read_identity(fs, DIR, &found, &problem), ERR_OK);
        return CRASH_NEW;
    }
    assert_int_equal(quorum_log_read_identity(fs, DIR, &found, &problem), ERR_OK);
    assert_int_equal(found.raft_id, identity.raft_id);
    if (!quorum_run->is_formed) {
        assert_int_equal(fs_sync_dir(fs, "/sim/meta"), ERR_OK); /* as writing the mark of a formed directory does */
    }
    enum err err = open_log(fs, &log, &loaded, &problem);
    if (err != ERR_OK) {
        fail_msg("%s: %s", err_name(err), problem.text);
    }
    enum crash_end end = quorum_log_last_index(log) >= quorum_run->tried_last_index ? CRASH_WHOLE : CRASH_SHORTER;
    if (quorum_run->is_formed) {
        check_loaded(quorum_run, log, &loaded);
    }
    check_is_durable(sim, quorum_log_last_index(log), &loaded);
    quorum_loaded_done(&loaded);
    if (quorum_log_last_index(log) > 0) {
        check_works(sim, log);
    } else {
        quorum_log_abandon(log);
    }
    return end;
}

static void stumble_quorum(const void *run, struct fs_sim *sim)
{
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    struct option_problem problem;
    (void)run;
    if (fs_sim_is_crashed(sim) || !exists(fs_sim_fs(sim))) {
        return;
    }
    if (open_log(fs_sim_fs(sim), &log, &loaded, &problem) == ERR_OK) {
        quorum_loaded_done(&loaded);
        quorum_log_abandon(log);
    }
}

/* Damage is told, or it hit bytes that say nothing, or entries that nobody was told to be written. */
static enum crash_end check_quorum_flip(const void *run, struct fs_sim *whole, struct fs_sim *sim,
                                        const struct crash_flip *flip)
{
    const struct quorum_run *quorum_run = (const struct quorum_run *)run;
    struct fs *fs = fs_sim_fs(sim);
    struct quorum_identity found = {.raft_id = 0};
    struct option_problem problem;
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    if (!quorum_run->is_formed) {
        return CRASH_NEW;
    }
    enum err err = quorum_log_read_identity(fs, DIR, &found, &problem);
    if (err == ERR_OK) {
        assert_int_equal(found.raft_id, identity.raft_id);
        assert_string_equal(found.cluster_id, identity.cluster_id);
        err = open_log(fs, &log, &loaded, &problem);
    }
    if (err != ERR_OK) {
        assert_int_equal(err, ERR_CORRUPT);
        assert_non_null(strstr(problem.text, "restore the directory from a copy"));
        struct span before;
        struct span after;
        assert_int_equal(fs_sim_peek(whole, flip->path, &before), ERR_OK);
        assert_int_equal(fs_sim_peek(sim, flip->path, &after), ERR_OK);
        assert_int_equal(before.bytes, after.bytes);
        return CRASH_REFUSED;
    }
    check_loaded(quorum_run, log, &loaded);
    enum crash_end end = loaded.cut_bytes > 0 ? CRASH_SHORTER : CRASH_HARMLESS;
    quorum_loaded_done(&loaded);
    quorum_log_abandon(log);
    return end;
}

const struct crash_workload crash_quorum = {.name = "log of the controllers",
                                            .seed_count = 8,
                                            .run = run_quorum,
                                            .done = done_quorum,
                                            .recover = recover_quorum,
                                            .stumble = stumble_quorum,
                                            .check_flip = check_quorum_flip};

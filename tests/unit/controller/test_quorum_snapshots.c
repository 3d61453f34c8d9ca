/* Two snapshots of the quorum's log, as a crash before the removal of the older one leaves them. */
#include "common/mem.h"
#include "controller/quorum_log.h"
#include "tests/support/fs_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define DIR "/sim/meta/moldau-metadata"
#define OLDER DIR "/snapshot-00000000000000000003"
#define NEWER DIR "/snapshot-00000000000000000006"
#define SEGMENT_BYTES 4000
#define CALLS_MAX 100

static const struct quorum_identity identity = {.cluster_id = "abcdefghijklmnopqrstuv", .node_id = 7, .raft_id = 42};

static enum err open_log(struct fs_sim *sim, struct quorum_log **ret_log, struct quorum_loaded *ret_loaded)
{
    struct option_problem problem = {.text = ""};
    enum err err = quorum_log_open(fs_sim_fs(sim), DIR, SEGMENT_BYTES, ret_log, ret_loaded, &problem);
    assert_true(err == ERR_OK || problem.text[0] != '\0');
    return err;
}

static enum err put_snapshot(struct quorum_log *log, uint64_t index)
{
    struct quorum_snapshot snapshot = {.index = index,
                                       .term = 1,
                                       .configuration_index = 1,
                                       .configuration = span_text("configuration"),
                                       .data = span_text("state")};
    return quorum_log_put_snapshot(log, &snapshot, 1);
}

static bool exists(struct fs_sim *sim, const char *path)
{
    struct span bytes;
    return fs_sim_peek(sim, path, &bytes) == ERR_OK;
}

/* A log of ten entries with a snapshot up to the third; the second snapshot dies at a call of its own. */
static struct fs_sim *die_at(uint64_t call)
{
    struct fs_sim *sim = fs_sim_new(NULL);
    struct option_problem problem;
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    assert_int_equal(fs_mkdir(fs_sim_fs(sim), "/sim/meta"), ERR_OK);
    assert_int_equal(quorum_log_form(fs_sim_fs(sim), DIR, &identity, span_text("configuration"), &problem), ERR_OK);
    assert_int_equal(open_log(sim, &log, &loaded), ERR_OK);
    quorum_loaded_done(&loaded);
    for (uint64_t index = 2; index <= 10; index++) {
        struct quorum_entry *entry = quorum_entry_new(index, 1, QUORUM_COMMAND, span_text("entry"));
        assert_int_equal(quorum_log_append(log, (const struct quorum_entry *const *)&entry, 1), ERR_OK);
        quorum_entry_unref(entry);
    }
    assert_int_equal(put_snapshot(log, 3), ERR_OK);
    fs_sim_crash_at(sim, fs_sim_call_count(sim) + call, FS_SIM_TEAR_NONE);
    (void)!put_snapshot(log, 6);
    quorum_log_abandon(log);
    fs_sim_crash(sim, FS_SIM_CRASH_KILL, 1);
    return sim;
}

static struct fs_sim *make_two(void)
{
    for (uint64_t call = 1; call < CALLS_MAX; call++) {
        struct fs_sim *sim = die_at(call);
        if (exists(sim, OLDER) && exists(sim, NEWER)) {
            return sim;
        }
        fs_sim_free(sim);
    }
    fail_msg("there never are two snapshots");
    return NULL;
}

static void test_older_goes_when_the_newer_is_whole(void **state)
{
    (void)state;
    struct fs_sim *sim = make_two();
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    assert_int_equal(open_log(sim, &log, &loaded), ERR_OK);
    assert_int_equal(loaded.snapshot.index, 6);
    assert_false(exists(sim, OLDER));
    quorum_loaded_done(&loaded);
    assert_int_equal(quorum_log_close(log), ERR_OK);
    fs_sim_free(sim);
}

/* "Nothing was changed" is what the refusal says. */
static void test_older_stays_when_the_newer_is_damaged(void **state)
{
    (void)state;
    struct fs_sim *sim = make_two();
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded = {0};
    assert_int_equal(fs_sim_flip_bit(sim, NEWER, 20, 1), ERR_OK);
    assert_int_equal(open_log(sim, &log, &loaded), ERR_CORRUPT);
    assert_true(exists(sim, OLDER));
    assert_true(exists(sim, NEWER));
    fs_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_older_goes_when_the_newer_is_whole),
        cmocka_unit_test(test_older_stays_when_the_newer_is_damaged),
    };
    return cmocka_run_group_tests_name("quorum_snapshots", tests, NULL, NULL);
}

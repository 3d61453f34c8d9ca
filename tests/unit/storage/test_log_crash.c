/* A crash at every state-changing call of scripted workloads (testing.md 3): whatever the moment, and whatever the disk then
 * keeps, the log opens again and is what the model of log_script.h allows. */
#include "tests/unit/storage/log_script.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SEEDS 12
#define STEPS 45
/* Images of the disk that are tried after each crash. */
#define RANDOM_IMAGES 3

struct run {
    struct fs_sim *sim;
    struct harness harness;
    struct log_script script;
    bool has_log;
};

/* Until the end, or until the disk crashes. */
static void run_script(struct run *run, uint64_t seed, uint64_t crash_call, enum fs_sim_tear tear)
{
    struct fs_sim_options options = {.seed = seed};
    run->sim = fs_sim_new(&options);
    harness_init(&run->harness, run->sim, NULL, HARNESS_DIR);
    log_script_init(&run->script, &run->harness, seed);
    fs_sim_crash_at(run->sim, crash_call, tear);
    enum err err = log_script_begin(&run->script);
    run->has_log = err == ERR_OK;
    for (unsigned i = 0; i < STEPS && err == ERR_OK; i++) {
        err = log_script_step(&run->script);
    }
    assert_true(err == ERR_OK || fs_sim_is_crashed(run->sim));
}

static void end_run(struct run *run)
{
    harness_done(&run->harness);
    log_script_done(&run->script);
    assert_int_equal(fs_sim_open_files(run->sim), 0);
    fs_sim_free(run->sim);
}

/* What recovery reported must be on the disk: the power goes again at once. */
static void lose_power_again(const struct fs_sim *recovered, const struct harness *first)
{
    struct fs_sim *sim = fs_sim_clone(recovered);
    struct harness harness;
    fs_sim_crash(sim, FS_SIM_CRASH_LOSE, 1);
    harness_init(&harness, sim, NULL, HARNESS_DIR);
    harness.settings = first->settings;
    assert_int_equal(harness_start(&harness), ERR_OK);
    assert_int_equal(harness_open(&harness), ERR_OK);
    assert_int_equal(partition_log_end_offset(harness.log), partition_log_end_offset(first->log));
    assert_int_equal(partition_log_start_offset(harness.log), partition_log_start_offset(first->log));
    harness_done(&harness);
    fs_sim_free(sim);
}

static void recover_from(const struct run *run, enum fs_sim_crash_mode mode, uint64_t crash_seed)
{
    struct fs_sim *sim = fs_sim_clone(run->sim);
    struct harness harness;
    struct log_script script = run->script;
    fs_sim_crash(sim, mode, crash_seed);
    harness_init(&harness, sim, NULL, HARNESS_DIR);
    harness.settings = run->harness.settings;
    script.harness = &harness;
    enum err err = harness_start(&harness);
    assert_int_equal(err, ERR_OK);
    err = harness_open(&harness);
    if (err == ERR_OK) {
        lose_power_again(sim, &harness);
        log_script_check_recovered(&script, mode != FS_SIM_CRASH_KILL);
        /* And it works: another epoch, another record. */
        script.epoch++;
        assert_int_equal(harness_begin_epoch(&harness, script.epoch), ERR_OK);
        assert_int_equal(harness_append_plain(&harness, script.epoch, 1, 1), ERR_OK);
    } else if (run->has_log) {
        fail_msg("seed %lu mode %d crash %lu call %lu: %s: %s", (unsigned long)run->script.prop.seed, (int)mode,
                 (unsigned long)crash_seed, (unsigned long)fs_sim_call_count(run->sim), err_name(err),
                 harness.problem.text);
    }
    harness_done(&harness);
    assert_int_equal(fs_sim_open_files(sim), 0);
    fs_sim_free(sim);
}

static void crash_everywhere(uint64_t seed)
{
    struct run whole;
    run_script(&whole, seed, 0, FS_SIM_TEAR_NONE);
    uint64_t calls = fs_sim_call_count(whole.sim);
    end_run(&whole);
    for (uint64_t call = 1; call <= calls; call++) {
        struct run run;
        run_script(&run, seed, call, (enum fs_sim_tear)(call % 3));
        recover_from(&run, FS_SIM_CRASH_KILL, call);
        recover_from(&run, FS_SIM_CRASH_LOSE, call);
        for (uint64_t i = 0; i < RANDOM_IMAGES; i++) {
            recover_from(&run, FS_SIM_CRASH_RANDOM, call * 1000 + i);
        }
        uint64_t pages = fs_sim_dirty_page_count(run.sim);
        if (pages > 0) {
            recover_from(&run, FS_SIM_CRASH_LOSE_PAGE, call % pages);
        }
        end_run(&run);
    }
}

static void every_crash_leaves_a_log_that_recovers(void **state)
{
    struct prop prop;
    (void)state;
    prop_init(&prop, "log_crash", 1);
    for (uint64_t i = 0; i < prop_runs(SEEDS); i++) {
        crash_everywhere(prop.seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_crash_leaves_a_log_that_recovers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Random operations on a log, with crashes between them, against the model of log_script.h. */
#include "tests/unit/storage/log_script.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define RUNS 300
#define STEPS 150

static void crash_and_recover(struct log_script *script)
{
    struct harness *harness = script->harness;
    bool loses_power = prop_chance(&script->prop, 2, 3);
    enum fs_sim_crash_mode mode = !loses_power                       ? FS_SIM_CRASH_KILL
                                  : prop_chance(&script->prop, 1, 2) ? FS_SIM_CRASH_LOSE
                                                                     : FS_SIM_CRASH_RANDOM;
    harness_crash(harness, mode, prop_u64(&script->prop));
    assert_int_equal(harness_start(harness), ERR_OK);
    if (harness_open(harness) != ERR_OK) {
        fail_msg("seed %lu: %s", (unsigned long)script->prop.seed, harness->problem.text);
    }
    log_script_check_recovered(script, loses_power);
    script->epoch++;
    assert_int_equal(harness_begin_epoch(harness, script->epoch), ERR_OK);
}

static void run_seed(uint64_t seed)
{
    struct fs_sim_options options = {.seed = seed, .uncached_percent = 30};
    struct fs_sim *sim = fs_sim_new(&options);
    struct harness harness;
    struct log_script script;
    harness_init(&harness, sim, NULL, HARNESS_DIR);
    log_script_init(&script, &harness, seed);
    assert_int_equal(log_script_begin(&script), ERR_OK);
    for (unsigned i = 0; i < STEPS; i++) {
        enum err err = log_script_step(&script);
        if (err != ERR_OK) {
            fail_msg("seed %lu step %u: %s", (unsigned long)seed, i, err_name(err));
        }
        if (prop_chance(&script.prop, 1, 25)) {
            crash_and_recover(&script);
        }
        if (i % 16 == 0) {
            log_script_check_all(&script);
        }
    }
    harness_pump(&harness);
    log_script_check_all(&script);
    harness_done(&harness);
    log_script_done(&script);
    assert_int_equal(fs_sim_open_files(sim), 0);
    fs_sim_free(sim);
}

static void a_log_is_what_its_model_says(void **state)
{
    struct prop prop;
    (void)state;
    prop_init(&prop, "log_model", 1);
    for (uint64_t i = 0; i < prop_runs(RUNS); i++) {
        run_seed(prop.seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_log_is_what_its_model_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

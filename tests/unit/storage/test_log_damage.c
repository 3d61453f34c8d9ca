/* Side files that are missing or damaged (testing.md 10, rows 26 and 28): after an orderly stop every index, snapshot, epoch file and
 * marks file is removed, and has bits flipped, one at a time. The log must open with the same records, epochs and producers: they are
 * all in the batches.
 */
#include "broker/storage/remove_tree.h"
#include "common/mem.h"
#include "common/seam/fs.h"
#include "tests/unit/storage/log_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SEEDS 8
#define STEPS 80
#define FLIPS 12
#define PARTITION_PATH HARNESS_DIR "/" HARNESS_TOPIC "-0"

struct stopped {
    struct fs_sim *sim;
    struct harness harness;
    struct log_script script;
};

static void run_and_stop(struct stopped *stopped, uint64_t seed)
{
    struct fs_sim_options options = {.seed = seed};
    stopped->sim = fs_sim_new(&options);
    harness_init(&stopped->harness, stopped->sim, NULL, HARNESS_DIR);
    log_script_init(&stopped->script, &stopped->harness, seed);
    assert_int_equal(log_script_begin(&stopped->script), ERR_OK);
    for (unsigned i = 0; i < STEPS; i++) {
        assert_int_equal(log_script_step(&stopped->script), ERR_OK);
    }
    harness_pump(&stopped->harness);
    assert_int_equal(harness_stop(&stopped->harness, true), ERR_OK);
}

static void open_and_check(const struct stopped *stopped, struct fs_sim *sim, const char *what)
{
    struct harness harness;
    struct log_script script = stopped->script;
    harness_init(&harness, sim, NULL, HARNESS_DIR);
    harness.settings = stopped->harness.settings;
    script.harness = &harness;
    assert_int_equal(harness_start(&harness), ERR_OK);
    enum err err = harness_open(&harness);
    if (err != ERR_OK) {
        fail_msg("seed %lu, %s: %s %s", (unsigned long)script.prop.seed, what, err_name(err), harness.problem.text);
    }
    /* Without its marks a log begins where its first segment begins; what was deleted inside it shows again. */
    assert_true(partition_log_start_offset(harness.log) <= script.start_offset);
    log_script_check_all(&script);
    harness_done(&harness);
    fs_sim_free(sim);
}

static void damage_file(struct stopped *stopped, const char *name)
{
    char path[300];
    char what[400];
    struct fs_stat stat;
    (void)snprintf(path, sizeof(path), PARTITION_PATH "/%s", name);
    struct fs_sim *sim = fs_sim_clone(stopped->sim);
    assert_int_equal(fs_stat(fs_sim_fs(sim), path, &stat), ERR_OK);
    assert_int_equal(fs_unlink(fs_sim_fs(sim), path), ERR_OK);
    (void)snprintf(what, sizeof(what), "without %s", name);
    open_and_check(stopped, sim, what);
    for (unsigned i = 0; i < FLIPS && stat.bytes > 0; i++) {
        uint64_t pos = prop_below(&stopped->script.prop, stat.bytes);
        unsigned bit = (unsigned)prop_below(&stopped->script.prop, 8);
        sim = fs_sim_clone(stopped->sim);
        assert_int_equal(fs_sim_flip_bit(sim, path, pos, bit), ERR_OK);
        (void)snprintf(what, sizeof(what), "bit %u of byte %lu of %s flipped", bit, (unsigned long)pos, name);
        open_and_check(stopped, sim, what);
    }
}

static bool is_side_file(const char *name)
{
    const char *dot = strrchr(name, '.');
    return strcmp(name, "partition.metadata") != 0 && (dot == NULL || strcmp(dot, ".log") != 0);
}

static void damaged_side_files_change_nothing(void **state)
{
    struct prop prop;
    (void)state;
    prop_init(&prop, "log_damage", 1);
    for (uint64_t i = 0; i < prop_runs(SEEDS); i++) {
        struct stopped stopped;
        struct name_list names;
        run_and_stop(&stopped, prop.seed + i);
        assert_int_equal(name_list_read(stopped.harness.fs, PARTITION_PATH, &names), ERR_OK);
        for (size_t n = 0; n < names.count; n++) {
            if (is_side_file(names.names[n])) {
                damage_file(&stopped, names.names[n]);
            }
        }
        name_list_done(&names);
        harness_done(&stopped.harness);
        log_script_done(&stopped.script);
        fs_sim_free(stopped.sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(damaged_side_files_change_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

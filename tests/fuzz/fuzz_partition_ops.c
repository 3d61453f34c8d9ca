/* fuzz_partition_ops: operations on one log in any order, with crashes between and inside them, beside the model of log_script.h.
 *
 * Input:     byte 0: bit 0: much of the files is not cached; bits 1-7: the script's seed, which chooses its settings; then steps of three
 *            bytes: what, and 16 bits that all random choices of the step come from, so that a step stays the same wherever
 *            mutations move it:
 *              0-199    an operation of the script: append, truncate, discard, delete, roll, checkpoint, reopen, ...
 *              200-223  the process dies or the power goes, and the log is opened again
 *              224-247  the same, at one of the next changes of the disk, in the middle of an operation
 *              248-255  everything is read and compared
 * Asserts:   log_script's: contents, epochs, producers, offsets and marks are the model's; after a crash nothing that was reported synced
 *            is missing. Its failure ends the process, which the fuzzer takes for a crash.
 */
#include "tests/unit/storage/log_script.h"

#define FUZZ_STEPS_MAX 300
#define STEP_BYTES 3u
#define KIND_CRASH 200
#define KIND_ARM 224
#define KIND_CHECK 248

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static enum fs_sim_crash_mode draw_mode(struct log_script *script)
{
    return prop_chance(&script->prop, 1, 3)   ? FS_SIM_CRASH_KILL
           : prop_chance(&script->prop, 1, 2) ? FS_SIM_CRASH_LOSE
                                              : FS_SIM_CRASH_RANDOM;
}

static void recover(struct log_script *script)
{
    struct harness *harness = script->harness;
    enum fs_sim_crash_mode mode = draw_mode(script);
    CHECK(harness_start(harness) == ERR_OK);
    CHECK(harness_open(harness) == ERR_OK);
    log_script_check_recovered(script, mode != FS_SIM_CRASH_KILL);
    script->epoch++;
    CHECK(harness_begin_epoch(harness, script->epoch) == ERR_OK);
}

static void crash(struct log_script *script)
{
    struct harness *harness = script->harness;
    struct prop again = script->prop; /* recover draws the same mode */
    enum fs_sim_crash_mode mode = draw_mode(script);
    uint64_t seed = prop_u64(&script->prop);
    harness_crash(harness, mode, seed);
    script->prop = again;
    recover(script);
}

static void run_step(struct log_script *script, uint8_t kind, uint16_t choices)
{
    struct fs_sim *sim = script->harness->sim;
    script->prop.state = ((uint64_t)kind << 16) | choices;
    if (kind < KIND_CRASH) {
        CHECK(log_script_step(script) == ERR_OK || fs_sim_is_crashed(sim));
        if (fs_sim_is_crashed(sim)) {
            crash(script); /* also where the operation itself needed nothing of the disk any more */
        }
    } else if (kind < KIND_ARM) {
        crash(script);
    } else if (kind < KIND_CHECK) {
        uint64_t call = fs_sim_call_count(sim) + 1 + prop_below(&script->prop, 30);
        fs_sim_crash_at(sim, call, (enum fs_sim_tear)prop_below(&script->prop, 3));
    } else {
        log_script_check_all(script);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct harness harness;
    struct log_script script;
    if (bytes == 0) {
        return 0;
    }
    uint64_t seed = data[0] >> 1;
    struct fs_sim_options options = {.seed = seed, .uncached_percent = (data[0] & 1) != 0 ? 60 : 0};
    struct fs_sim *sim = fs_sim_new(&options);
    harness_init(&harness, sim, NULL, HARNESS_DIR);
    log_script_init(&script, &harness, seed);
    CHECK(log_script_begin(&script) == ERR_OK);
    size_t pos = 1;
    for (int i = 0; i < FUZZ_STEPS_MAX && bytes - pos >= STEP_BYTES; i++, pos += STEP_BYTES) {
        run_step(&script, data[pos], (uint16_t)(data[pos + 1] << 8 | data[pos + 2]));
    }
    fs_sim_crash_at(sim, 0, FS_SIM_TEAR_NONE);
    if (fs_sim_is_crashed(sim)) {
        crash(&script);
    }
    harness_pump(&harness);
    log_script_check_all(&script);
    harness_done(&harness);
    log_script_done(&script);
    CHECK(fs_sim_open_files(sim) == 0);
    fs_sim_free(sim);
    return 0;
}

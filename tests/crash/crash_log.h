/* crash_log: what the two parts of the campaign over a partition's log share: crash_log.c (runs, crashes), crash_log_flip.c (damage).
 *
 * Ownership: a run is the campaign's; what crash_log_open opens is harness_done's.
 * Threads:   one.
 */
#ifndef TESTS_CRASH_CRASH_LOG_H
#define TESTS_CRASH_CRASH_LOG_H

#include "tests/crash/crash_campaign.h"
#include "tests/unit/storage/log_script.h"

#define CRASH_LOG_PATH HARNESS_DIR "/" HARNESS_TOPIC "-0"

struct log_run {
    struct harness harness;
    struct log_script script;
    bool has_log;
};

/* The directory and the log, as a start does it. */
enum err crash_log_open(const struct log_run *run, struct fs_sim *sim, struct harness *ret_harness);
/* The slice of one batch; its bytes are mem_free's. */
enum err crash_log_read_at(struct partition_log *log, int64_t offset, struct span *ret_bytes);
/* Each batch of the model is found through the indexes; producers and aborted transactions are those of the batches. */
void crash_log_check_places(const struct log_script *script);

/* crash_workload.check_flip. */
enum crash_end crash_log_check_flip(const void *run, struct fs_sim *whole, struct fs_sim *sim,
                                    const struct crash_flip *flip);

#endif

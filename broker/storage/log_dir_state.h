/* log_dir_state: the inside of a log_dir, for the files that implement it.
 *
 * Ownership: as in log_dir.h.
 * Threads:   the atomics: any; everything else is written at the start only.
 */
#ifndef BROKER_STORAGE_LOG_DIR_STATE_H
#define BROKER_STORAGE_LOG_DIR_STATE_H

#include "broker/storage/log_dir.h"
#include "broker/storage/offset_checkpoint.h"

#include <stdatomic.h>

#define LOG_DIR_LOCK_FILE ".lock"
#define LOG_DIR_META_FILE "meta.properties"
#define LOG_DIR_CLEAN_FILE ".kafka_cleanshutdown"
#define LOG_DIR_RECOVERY_FILE "recovery-point-offset-checkpoint"
#define LOG_DIR_HIGH_WATERMARK_FILE "replication-offset-checkpoint"
#define LOG_DIR_LOG_START_FILE "log-start-offset-checkpoint"

struct file;

struct log_dir {
    struct env *env;
    char *path;
    struct file *lock;
    struct log_dir_meta meta;
    bool was_clean;
    bool was_new; /* no identity when it was opened: nothing in it that could be lost */
    atomic_bool is_failed;
    atomic_uint_fast64_t generation;
    atomic_uint_fast64_t written_generation; /* no older set is on the disk any more */
    uint64_t row_generation;                 /* of the files read at the start: the oldest of the three */
    struct offset_checkpoint recovery_points;
    struct offset_checkpoint high_watermarks;
    struct offset_checkpoint log_starts;
};

/* log_dir_meta.c. ERR_NOT_FOUND: no meta.properties. */
enum err log_dir_meta_read(struct env *env, const char *path, struct log_dir_meta *ret_meta,
                           struct option_problem *ret_problem) MUST_USE;

#endif

/* log_dirs: the node's log directories together: opened and locked at start, identified, and asked which of them holds a
 * replica.
 *
 * Shape:     an array in the order of `log.dirs`.
 * Errors:    log_dirs_open fails as a whole, with one sentence; what was opened is closed again and nothing was changed.
 * Ownership: owned by the broker; freed after every log is closed.
 * Threads:   open, form, close: the home thread before workers run and after they end. find and the array: any.
 * Source:    KIP-112, KIP-858.
 */
#ifndef BROKER_REPLICA_LOG_DIRS_H
#define BROKER_REPLICA_LOG_DIRS_H

#include "broker/storage/log_dir.h"

#define LOG_DIRS_MAX 64

struct log_dirs {
    struct log_dir *dirs[LOG_DIRS_MAX];
    size_t dir_count;
};

/* `paths` is comma-separated, as in log.dirs. Also refuses two entries that are one directory, and directories of
 * different clusters or nodes. */
enum err log_dirs_open(struct env *env, const char *paths, struct log_dirs **ret_dirs,
                       struct option_problem *ret_problem) MUST_USE;
void log_dirs_close(struct log_dirs *dirs);

/* The identity that the directories carry; false when all are new. */
bool log_dirs_cluster_id(const struct log_dirs *dirs, char ret_cluster_id[LOG_DIR_CLUSTER_ID_BYTES]);
/* Refuses directories of another cluster or node; new ones pass. Changes nothing. */
enum err log_dirs_check_identity(const struct log_dirs *dirs, const char *cluster_id, int32_t node_id,
                                 struct option_problem *ret_problem) MUST_USE;
/* The same, and then gives new ones their identity. */
enum err log_dirs_identify(struct log_dirs *dirs, const char *cluster_id, int32_t node_id,
                           struct option_problem *ret_problem) MUST_USE;

/* NULL when no directory has the id. */
struct log_dir *log_dirs_find(const struct log_dirs *dirs, struct uuid directory_id);
/* True when the last stop was clean in every directory; *ret_broker_epoch is the epoch that it recorded. Removes the marks. */
bool log_dirs_take_clean_marks(struct log_dirs *dirs, int64_t *ret_broker_epoch);
enum err log_dirs_put_clean_marks(struct log_dirs *dirs, int64_t broker_epoch) MUST_USE;
bool log_dirs_all_failed(const struct log_dirs *dirs);

#endif

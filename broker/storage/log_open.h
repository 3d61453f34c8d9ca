/* log_open: a log's state from its directory, without an owner yet; see partition_log_open for the checks before it.
 *
 * Errors:    as partition_log_open.
 * Ownership: the caller's until partition_log_attach, or log_state_free.
 * Threads:   blocks: a pool job.
 */
#ifndef BROKER_STORAGE_LOG_OPEN_H
#define BROKER_STORAGE_LOG_OPEN_H

#include "broker/storage/log_state.h"

/* Directories being made; removed when found at a start. */
#define LOG_DIR_SUFFIX_NEW "-new"
#define LOG_DIR_SUFFIX_DELETE "-delete"
#define LOG_DIR_SUFFIX_STRAY "-stray"

enum err log_open_state(struct log_dir *dir, const struct partition_log_id *id, const struct log_settings *settings,
                        struct partition_log **ret_log, struct option_problem *ret_problem) MUST_USE;

#endif

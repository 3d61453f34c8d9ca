/* log_dir: one entry of log.dirs: its lock, identity, checkpoints, clean-shutdown mark and partition directories, and
 * whether it has failed. What is inside a partition directory belongs to partition_log.
 *
 * Shape:     PATH/.lock                            exclusive lock, held while the node lives
 *            PATH/meta.properties                  version, cluster.id, node.id, directory.id (KIP-858)
 *            PATH/.kafka_cleanshutdown             {"version":0,"brokerEpoch":N,...}: written at orderly shutdown, removed at start
 *            PATH/recovery-point-offset-checkpoint, replication-offset-checkpoint, log-start-offset-checkpoint
 *            PATH/TOPIC-N/                         one partition; partition.metadata holds the topic id
 *            PATH/TOPIC-N.UUID-delete/             deleted partition on its way out
 *            PATH/TOPIC-N.UUID-stray/              partition of a topic id that the metadata does not know (trap 16)
 * Limits:    LOG_DIR_PARTITIONS_MAX directories are listed.
 * Errors:    functions with a problem fill one clear sentence. Nothing on disk is changed by log_dir_open when it fails.
 *            A failed write or sync fails the directory for good (log_dir_fail): every later append and sync in it
 *            returns ERR_IO, and nothing is tried again (correctness.md 7).
 * Ownership: log_dir_open makes it, log_dir_close frees it and its lock. `env` is borrowed.
 * Threads:   blocking calls, one thread at a time (start, stop, or a pool job); log_dir_fail, log_dir_is_failed and
 *            log_dir_generation: any thread.
 * Source:    KIP-112 (failed dirs), KIP-516 (topic ids), KIP-858 (directory ids), KIP-966 (clean-shutdown epoch).
 */
#ifndef BROKER_STORAGE_LOG_DIR_H
#define BROKER_STORAGE_LOG_DIR_H

#include "broker/storage/log_types.h"
#include "common/uuid.h"

#define LOG_DIR_PARTITIONS_MAX 1000000u
#define LOG_DIR_CLUSTER_ID_BYTES 64u
#define LOG_DIR_NO_BROKER_EPOCH INT64_C(-1)

struct log_dir_meta {
    bool exists; /* false: a new directory, identity comes from formation */
    char cluster_id[LOG_DIR_CLUSTER_ID_BYTES];
    int32_t node_id;
    struct uuid directory_id;
};

struct file;
struct log_dir;

/* A partition directory as found by log_dir_list. */
struct log_dir_partition {
    char *topic; /* mem_free */
    int32_t partition_index;
    struct uuid topic_id; /* zero when partition.metadata is missing or damaged: treat as stray */
};

/* Only looks: refuses with a sentence what log_dir_open would refuse for what is there already. Changes nothing. */
enum err log_dir_inspect(struct env *env, const char *path, struct option_problem *ret_problem) MUST_USE;
/* Checks and locks the directory (made when missing, with parents not), reads its identity. Refuses with a sentence: not a
 * directory, not writable, locked by another process, files in it that are not ours, damaged meta.properties. */
enum err log_dir_open(struct env *env, const char *path, struct log_dir **ret_dir,
                      struct option_problem *ret_problem) MUST_USE;
void log_dir_close(struct log_dir *dir);

/* The lock file: open since before the first write in the directory, so it is told of every failed one (file_sync_fs). */
struct file *log_dir_lock(const struct log_dir *dir);
const char *log_dir_path(const struct log_dir *dir);
const struct log_dir_meta *log_dir_meta(const struct log_dir *dir);
struct env *log_dir_env(const struct log_dir *dir);

/* ERR_INVALID with a sentence when the directory belongs to another cluster or node. A new directory passes. */
enum err log_dir_check_identity(const struct log_dir *dir, const char *cluster_id, int32_t node_id,
                                struct option_problem *ret_problem) MUST_USE;
/* Gives a new directory its identity (written aside, synced, renamed); a random directory id unless `directory_id` is given. */
enum err log_dir_form(struct log_dir *dir, const char *cluster_id, int32_t node_id, const struct uuid *directory_id,
                      struct option_problem *ret_problem) MUST_USE;

/* Before any log is opened. Reads and removes the clean-shutdown mark (durably); without one, syncs the file system, because
 * what a killed process left may be in the page cache only. *ret_broker_epoch is LOG_DIR_NO_BROKER_EPOCH after an unclean stop. */
enum err log_dir_take_clean_mark(struct log_dir *dir, int64_t *ret_broker_epoch) MUST_USE;
/* After every log is closed and every checkpoint written. */
enum err log_dir_put_clean_mark(struct log_dir *dir, int64_t broker_epoch) MUST_USE;
/* What log_dir_take_clean_mark found: recovery trusts the files then. */
bool log_dir_was_clean(const struct log_dir *dir);

/* Partition directories, in the order of topic and index; removes what an earlier process left as -delete. The caller frees
 * with log_dir_partitions_free. */
enum err log_dir_list(struct log_dir *dir, struct log_dir_partition **ret_partitions, size_t *ret_count) MUST_USE;
void log_dir_partitions_free(struct log_dir_partition *partitions, size_t count);
/* Renames TOPIC-N to TOPIC-N.UUID-stray; nothing is deleted before somebody calls log_dir_remove_strays. */
enum err log_dir_mark_stray(struct log_dir *dir, const char *topic, int32_t partition_index) MUST_USE;
/* Removes stray directories last changed before `older_than_ms` (wall clock). */
enum err log_dir_remove_strays(struct log_dir *dir, int64_t older_than_ms) MUST_USE;

/* The directory's checkpoint files, loaded by log_dir_open: LOG_NO_OFFSET where there is no row. */
void log_dir_checkpoint_row(const struct log_dir *dir, const char *topic, int32_t partition_index,
                            struct log_checkpoint_row *ret_row);

/* Number of the checkpoint set that log_dir_checkpoint_row reads; 0: none. */
uint64_t log_dir_row_generation(const struct log_dir *dir);

/* A new set of checkpoint rows: collect on the owners' threads, write in a pool job. */
struct log_checkpoint;
struct log_checkpoint *log_checkpoint_new(struct log_dir *dir);
void log_checkpoint_add(struct log_checkpoint *checkpoint, const char *topic, int32_t partition_index,
                        const struct log_checkpoint_row *row);
/* The partition's log is not open (not yet, or it could not be opened): what the files said of it when they were loaded is said again. */
void log_checkpoint_keep(struct log_checkpoint *checkpoint, const char *topic, int32_t partition_index);
/* Blocking. Writes all three files. One at a time per directory. */
enum err log_checkpoint_write(struct log_checkpoint *checkpoint) MUST_USE;
void log_checkpoint_free(struct log_checkpoint *checkpoint);

/* Fails the directory for good; `why` (borrowed only during the call) is logged once. */
void log_dir_fail(struct log_dir *dir, const char *what, enum err err);
bool log_dir_is_failed(const struct log_dir *dir);
/* Number of the newest checkpoint set that may have been collected already; see docs/storage_format.md, marks. */
uint64_t log_dir_generation(const struct log_dir *dir);

/* Number of the newest checkpoint set that is on the disk as a whole. */
uint64_t log_dir_written_generation(const struct log_dir *dir);

/* Bytes of the file system that holds the directory (DescribeLogDirs). */
enum err log_dir_space(struct log_dir *dir, uint64_t *ret_total_bytes, uint64_t *ret_usable_bytes) MUST_USE;

#endif

/* quorum_log_private: what quorum_log.c (segments), quorum_side.c (side files) and quorum_load.c (opening) share.
 *
 * Errors:    as quorum_log.h says; nothing here remembers a failure (quorum_log.is_failed).
 * Threads:   as the log: one job at a time.
 */
#ifndef CONTROLLER_QUORUM_LOG_PRIVATE_H
#define CONTROLLER_QUORUM_LOG_PRIVATE_H

#include "controller/quorum_log.h"

/* Segment file: header, then entries.
 *   pos  bytes
 *     0      8  "MLDQLOG1"
 *     8      8  index of the first entry
 *    16      4  CRC-32C of bytes 0-15
 *    20     12  0
 *    32     16  synced mark, slot 0:  index (8), sequence (4), CRC-32C of the twelve bytes before (4)
 *    48     16  synced mark, slot 1; the valid slot with the larger sequence counts
 *    64         entries
 * Entry:
 *     0      4  CRC-32C of the rest of the header and the data
 *     4      4  bytes of data
 *     8      8  index
 *    16      8  term
 *    24      1  type (enum quorum_entry_type)
 *    25      7  0
 *    32         data */
#define SEGMENT_MAGIC "MLDQLOG1"
#define SEGMENT_HEADER_BYTES 64
#define SEGMENT_MARK_POS 32
#define SEGMENT_MARK_BYTES 16
#define ENTRY_HEADER_BYTES 32

/* What to do about damage. A copy of a directory does not know what the node has promised since: with other voters around it would let two
 * leaders of one term be elected, or what was committed be forgotten. */
#define DAMAGE_REMEDY                                                                                                  \
    "if this is the only controller, restore the directory from a copy; if there are others, remove it and admit the " \
    "node anew: a copy has forgotten what it promised them"

#define NAME_IDENTITY "identity"
#define NAME_TERM "term"
#define NAME_TMP ".tmp"
#define NAME_SEGMENT "log-"
#define NAME_SNAPSHOT "snapshot-"

struct quorum_segment {
    uint64_t first_index;
    uint64_t last_index; /* first_index - 1: empty */
    uint64_t bytes;
};

struct quorum_log {
    struct fs *fs;
    char *directory;
    uint64_t segment_bytes;          /* a new segment begins beyond it */
    struct quorum_segment *segments; /* the last one is `active` */
    size_t segment_count;
    struct file *active;
    uint32_t mark_sequence;
    uint64_t snapshot_index; /* 0: none */
    bool is_failed;          /* a write or sync failed: nothing more is tried */
};

/* mem_free by the caller. */
char *quorum_path(const struct quorum_log *log, const char *name);
char *quorum_segment_path(const struct quorum_log *log, uint64_t first_index);
enum err quorum_read_file(struct fs *fs, const char *path, size_t bytes_max, uint8_t **ret_bytes, size_t *ret_count);
/* Writes aside, syncs, renames, syncs the directory. */
enum err quorum_write_side(struct fs *fs, const char *directory, const char *name, const struct span *parts,
                           size_t part_count);

enum err quorum_read_term(struct fs *fs, const char *directory, uint64_t *ret_term, uint64_t *ret_voted_for,
                          struct option_problem *ret_problem);
enum err quorum_write_term(struct fs *fs, const char *directory, uint64_t term, uint64_t voted_for);
/* *ret_file: mem_free by the caller; the snapshot's spans point into it. */
enum err quorum_read_snapshot(struct fs *fs, const char *directory, const char *name, uint8_t **ret_file,
                              struct quorum_snapshot *ret_snapshot, bool *ret_is_installed,
                              struct option_problem *ret_problem);
enum err quorum_write_snapshot(struct fs *fs, const char *directory, const struct quorum_snapshot *snapshot,
                               bool is_installed);
/* Makes the first segment of a log that has none. */
enum err quorum_log_begin(struct quorum_log *log, uint64_t first_index);

/* Makes an empty segment and makes its name durable. */
enum err quorum_segment_create(struct fs *fs, const char *directory, uint64_t first_index, struct file **ret_file);
void quorum_entry_header(const struct quorum_entry *entry, uint8_t ret_header[ENTRY_HEADER_BYTES]);
/* Index of the synced mark in a segment's header; 0 when neither slot is valid. */
uint64_t quorum_mark_read(const uint8_t header[SEGMENT_HEADER_BYTES], uint32_t *ret_sequence);
enum err quorum_mark_write(struct quorum_log *log, uint64_t synced_index);

#endif

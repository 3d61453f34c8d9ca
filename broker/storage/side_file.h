/* side_file: small files beside the segments (checkpoints, marks, snapshots), replaced as a whole so that a crash leaves the
 * old or the new one, never a mixture.
 *
 * Shape:     write aside (NAME.tmp) -> sync -> rename -> sync the directory. Text files end with a line of ours,
 *            "# moldau VERSION GENERATION CRC": the CRC-32C in hex of everything before that line and of its own first
 *            part. The lines before it are Kafka's where Kafka has such a file; to hand a directory back to Kafka, drop
 *            the last line (docs/storage_format.md).
 * Limits:    SIDE_FILE_BYTES_MAX.
 * Errors:    those of fs; side_text_open: ERR_CORRUPT when the last line is missing or wrong, ERR_UNSUPPORTED for a newer
 *            version. After an error of a write or sync the directory is to be failed (correctness.md 7).
 * Ownership: the caller's buffers.
 * Threads:   all block: pool jobs, start and stop.
 * Source:    correctness.md 4, trap 17.
 */
#ifndef BROKER_STORAGE_SIDE_FILE_H
#define BROKER_STORAGE_SIDE_FILE_H

#include "common/bytebuf.h"

#define SIDE_FILE_BYTES_MAX (256u << 20)
#define SIDE_TEXT_VERSION 1

struct fs;

/* Writes and syncs PATH.tmp. */
enum err side_file_write_aside(struct fs *fs, const char *path, struct span bytes) MUST_USE;
/* The same without the sync: the caller syncs the whole file system before the rename. */
enum err side_file_write_aside_unsynced(struct fs *fs, const char *path, struct span bytes) MUST_USE;
/* Syncs PATH.tmp, in another descriptor than the one that wrote it: an error of the writing is still reported to it, because
 * the file has had a descriptor or dirty pages all the time. */
enum err side_file_sync_aside(struct fs *fs, const char *path) MUST_USE;
/* Renames PATH.tmp to PATH. The caller syncs the directory. */
enum err side_file_commit(struct fs *fs, const char *path) MUST_USE;
/* Writes and syncs PATH itself, without a detour: for files in a directory that is made aside as a whole. */
enum err side_file_make(struct fs *fs, const char *path, struct span bytes) MUST_USE;
/* All four steps. */
enum err side_file_replace(struct fs *fs, const char *dir_path, const char *path, struct span bytes) MUST_USE;
/* Appends the whole file to `ret_bytes`. ERR_LIMIT when it does not fit there. */
enum err side_file_read(struct fs *fs, const char *path, struct bytebuf *ret_bytes) MUST_USE;

/* Adds the last line to a text. */
enum err side_text_seal(struct bytebuf *text, uint64_t generation) MUST_USE;
/* Checks the last line; *ret_body is what stands before it. `ret_generation` may be NULL. */
enum err side_text_open(struct span text, struct span *ret_body, uint64_t *ret_generation) MUST_USE;

/* Takes the next line, without its newline, off `*rest`; false at the end. */
bool side_text_line(struct span *rest, struct span *ret_line);
/* Takes the next blank-separated word off `*rest` as a number; false when there is none or it is no number. */
bool side_text_number(struct span *rest, int64_t *ret_value);

#endif

/* file_redirty: makes the kernel write bytes again that a failed sync may have left in the page cache only.
 *
 * After a failed sync Linux marks the pages clean: the next process reads them from the page cache as if all were well, its own sync
 * succeeds without writing anything, and a power loss later makes a hole of what both trusted. Whoever recovers a file after an
 * unclean stop therefore writes what it keeps back before it syncs.
 *
 * Errors:    those of the file; after one the caller treats the file as lost.
 * Threads:   blocking: at start or in the pool, while nobody else writes the file.
 * Source:    correctness.md 7 (the sync rule); found by the simulator (tests/sim, seed 355 with sync errors).
 */
#ifndef COMMON_FILE_REDIRTY_H
#define COMMON_FILE_REDIRTY_H

#include "common/seam/fs.h"

/* Writes the bytes [start_pos, end_pos) back as they are read. The caller syncs. */
enum err file_redirty(struct file *file, uint64_t start_pos, uint64_t end_pos) MUST_USE;

#endif

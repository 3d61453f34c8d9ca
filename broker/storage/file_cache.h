/* file_cache: a bound on the descriptors that one worker's logs hold. Files are opened when first used and closed,
 * least recently used first, when the bound is reached; their owners just ask again.
 *
 * Shape:     an intrusive list of entries, most recent first; an entry without a file is in no list.
 * Limits:    files_max entries hold a file. Readers may hold references beyond it for as long as they send.
 * Errors:    those of fs_open.
 * Ownership: entries are members of their owners (segments); file_cache_drop before an entry's memory goes.
 * Threads:   the worker's.
 */
#ifndef BROKER_STORAGE_FILE_CACHE_H
#define BROKER_STORAGE_FILE_CACHE_H

#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>

struct file;
struct fs;

struct file_cache_entry {
    struct file *file;
    struct file_cache_entry *prev;
    struct file_cache_entry *next;
};

struct file_cache {
    struct fs *fs;
    struct file_cache_entry *entries; /* utlist, head is the most recent */
    size_t file_count;
    size_t files_max;
};

void file_cache_init(struct file_cache *cache, struct fs *fs, size_t files_max);
/* Every entry must have been dropped. */
void file_cache_done(struct file_cache *cache);
/* The entry's file, opened with `flags` (enum fs_open_flags) when it is not open. Borrowed: file_ref it to keep it. */
enum err file_cache_get(struct file_cache *cache, struct file_cache_entry *entry, const char *path, unsigned flags,
                        struct file **ret_file) MUST_USE;
/* Puts an open file in; takes over the reference. */
void file_cache_put(struct file_cache *cache, struct file_cache_entry *entry, struct file *file);
/* Closes the entry's file, if any. */
void file_cache_drop(struct file_cache *cache, struct file_cache_entry *entry);

#endif

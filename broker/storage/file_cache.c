#include "broker/storage/file_cache.h"

#include "common/check.h"
#include "common/seam/fs.h"

#include <utlist.h>

void file_cache_init(struct file_cache *cache, struct fs *fs, size_t files_max)
{
    CHECK(files_max > 0);
    *cache = (struct file_cache){.fs = fs, .files_max = files_max};
}

void file_cache_done(struct file_cache *cache)
{
    CHECK(cache->entries == NULL && cache->file_count == 0);
}

void file_cache_drop(struct file_cache *cache, struct file_cache_entry *entry)
{
    if (entry->file == NULL) {
        return;
    }
    DL_DELETE(cache->entries, entry);
    cache->file_count--;
    file_unref(entry->file);
    *entry = (struct file_cache_entry){NULL, NULL, NULL};
}

static void drop_oldest(struct file_cache *cache)
{
    /* utlist keeps the tail in the head's prev. */
    CHECK(cache->entries != NULL);
    file_cache_drop(cache, cache->entries->prev);
}

void file_cache_put(struct file_cache *cache, struct file_cache_entry *entry, struct file *file)
{
    file_cache_drop(cache, entry);
    if (cache->file_count >= cache->files_max) {
        drop_oldest(cache);
    }
    entry->file = file;
    DL_PREPEND(cache->entries, entry);
    cache->file_count++;
}

enum err file_cache_get(struct file_cache *cache, struct file_cache_entry *entry, const char *path, unsigned flags,
                        struct file **ret_file)
{
    if (entry->file != NULL) {
        if (cache->entries != entry) {
            DL_DELETE(cache->entries, entry);
            DL_PREPEND(cache->entries, entry);
        }
        *ret_file = entry->file;
        return ERR_OK;
    }
    struct file *file = NULL;
    enum err err = fs_open(cache->fs, path, flags, &file);
    /* Connections may have taken the descriptors: a log gives up its own reserve before it fails (testing.md 10, 31). */
    while (err == ERR_TOO_MANY_FILES && cache->file_count > 0) {
        drop_oldest(cache);
        err = fs_open(cache->fs, path, flags, &file);
    }
    if (err != ERR_OK) {
        return err;
    }
    file_cache_put(cache, entry, file);
    *ret_file = file;
    return ERR_OK;
}

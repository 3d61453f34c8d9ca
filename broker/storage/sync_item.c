#include "broker/storage/sync_item.h"

#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/fs.h"

#include <stdio.h>

size_t sync_item_file_count(const struct sync_item *item)
{
    return item->file_count + item->side_count + (item->wants_dir_sync ? 1 : 0);
}

enum err sync_item_write(struct fs *fs, const struct sync_item *item)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < item->side_count && err == ERR_OK; i++) {
        const struct side_write *side = &item->sides[i];
        err = side_file_write_aside_unsynced(fs, side->path, bytebuf_span(&side->bytes));
    }
    return err;
}

enum err sync_item_sync(struct fs *fs, const struct sync_item *item)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < item->file_count && err == ERR_OK; i++) {
        err = file_sync(item->files[i]);
    }
    for (size_t i = 0; i < item->side_count && err == ERR_OK; i++) {
        err = side_file_sync_aside(fs, item->sides[i].path);
    }
    return err;
}

enum err sync_item_commit(struct fs *fs, const struct sync_item *item)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < item->side_count && err == ERR_OK; i++) {
        err = side_file_commit(fs, item->sides[i].path);
    }
    return err;
}

enum err sync_item_finish(struct fs *fs, const struct sync_item *item, bool is_dir_synced)
{
    enum err err = ERR_OK;
    if (item->wants_dir_sync && !is_dir_synced) {
        err = fs_sync_dir(fs, item->dir_path);
    }
    if (err == ERR_OK && item->obsolete_path != NULL) {
        err = fs_unlink(fs, item->obsolete_path);
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    return err;
}

void sync_item_done(struct sync_item *item)
{
    for (size_t i = 0; i < item->file_count; i++) {
        file_unref(item->files[i]);
    }
    for (size_t i = 0; i < item->side_count; i++) {
        mem_free(item->sides[i].path);
        bytebuf_done(&item->sides[i].bytes);
    }
    mem_free(item->files);
    mem_free(item->segments);
    mem_free(item->obsolete_path);
    CHECK(item->waiters == NULL);
    *item = (struct sync_item){.log = NULL};
}

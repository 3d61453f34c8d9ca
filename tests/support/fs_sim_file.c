/* The calls on open files. A write is the only call that fails half-done: at an injected error or at the crash it leaves
 * a part, because that is what a torn write is. */
#include "common/crc32c.h"
#include "tests/support/fs_sim_internal.h"

static struct sim_file *sim_file_of(struct file *file)
{
    return CONTAINER_OF(file, struct sim_file, file);
}

static bool is_stale(const struct sim_file *sim_file)
{
    return sim_file->generation != sim_file->sim->generation;
}

struct file *fs_sim_file_new(struct fs_sim *sim, struct inode *inode, const char *normal_path, bool is_writable,
                             bool is_lock)
{
    size_t path_bytes = strlen(normal_path) + 1;
    struct sim_file *sim_file = (struct sim_file *)plain_zalloc(sizeof(struct sim_file) + path_bytes);
    memcpy(sim_file->path, normal_path, path_bytes);
    sim_file->file.fs = &sim->fs;
    atomic_init(&sim_file->file.reference_count, 1);
    sim_file->sim = sim;
    sim_file->inode = inode;
    sim_file->generation = sim->generation;
    sim_file->is_writable = is_writable;
    sim_file->is_lock = is_lock;
    tree_use(&sim->tree, inode);
    sim->open_files++;
    DL_APPEND(sim->files, sim_file);
    return &sim_file->file;
}

void fs_sim_file_close(struct file *file)
{
    struct sim_file *sim_file = sim_file_of(file);
    struct fs_sim *sim = sim_file->sim;
    CHECK(sim->open_files > 0);
    sim->open_files--;
    DL_DELETE(sim->files, sim_file);
    if (sim_file->is_lock && !is_stale(sim_file)) {
        sim_file->inode->is_locked = false;
    }
    tree_unuse(&sim->tree, sim_file->inode);
    plain_free(sim_file);
}

enum err fs_sim_file_pread(struct file *file, void *ret_bytes, size_t bytes, uint64_t pos, size_t *ret_read_bytes)
{
    struct sim_file *sim_file = sim_file_of(file);
    struct fs_sim *sim = sim_file->sim;
    enum err err = is_stale(sim_file) ? ERR_IO : fs_sim_begin(sim, FS_SIM_READ, false);
    size_t read_bytes = 0;
    if (err == ERR_OK) {
        const struct image_side *live = &sim_file->inode->image.live;
        if (pos < live->bytes) {
            read_bytes = live->bytes - pos < bytes ? (size_t)(live->bytes - pos) : bytes;
            memcpy(ret_bytes, live->data + pos, read_bytes);
        }
        *ret_read_bytes = read_bytes;
        sim_file->inode->is_warm = true;
    }
    return fs_sim_end(sim, false, err, "pread %s pos=%" PRIu64 " bytes=%zu read=%zu", sim_file->path, pos, bytes,
                      read_bytes);
}

/* The part of a failed write that reached the page cache: at the crash what `tear` says, at
 * another error a prefix (which is what Linux does). */
static void write_part(struct fs_sim *sim, struct inode *inode, struct span bytes, uint64_t pos)
{
    enum fs_sim_tear tear = sim->is_crashed ? sim->tear : FS_SIM_TEAR_PREFIX;
    switch (tear) {
    case FS_SIM_TEAR_NONE:
        return;
    case FS_SIM_TEAR_PREFIX:
        tree_write(&sim->tree, inode, span_sub(bytes, 0, prop_below(&sim->prop, bytes.bytes + 1)), pos);
        return;
    case FS_SIM_TEAR_SECTORS:
        for (size_t start = 0; start < bytes.bytes;) {
            size_t part_bytes = FS_SIM_SECTOR_BYTES - (size_t)((pos + start) % FS_SIM_SECTOR_BYTES);
            part_bytes = part_bytes < bytes.bytes - start ? part_bytes : bytes.bytes - start;
            if (prop_chance(&sim->prop, 1, 2)) {
                tree_write(&sim->tree, inode, span_sub(bytes, start, part_bytes), pos + start);
            }
            start += part_bytes;
        }
        return;
    }
}

/* Writes what fits. */
static enum err write_within_space(struct fs_sim *sim, struct inode *inode, struct span bytes, uint64_t pos)
{
    uint64_t live_bytes = inode->image.live.bytes;
    uint64_t end_pos = pos + bytes.bytes;
    uint64_t growth_bytes = end_pos > live_bytes ? end_pos - live_bytes : 0;
    uint64_t used_bytes = sim->tree.used_bytes;
    uint64_t free_bytes = used_bytes < sim->options.total_bytes ? sim->options.total_bytes - used_bytes : 0;
    if (growth_bytes <= free_bytes) {
        tree_write(&sim->tree, inode, bytes, pos);
        return ERR_OK;
    }
    uint64_t fit_end_pos = live_bytes + free_bytes;
    if (fit_end_pos > pos) {
        tree_write(&sim->tree, inode, span_sub(bytes, 0, (size_t)(fit_end_pos - pos)), pos);
    }
    return ERR_NO_SPACE;
}

static struct span spans_join(const struct span *spans, size_t count, uint8_t **ret_joined)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += spans[i].bytes;
    }
    uint8_t *joined = (uint8_t *)plain_zalloc(bytes);
    size_t pos = 0;
    for (size_t i = 0; i < count; i++) {
        if (spans[i].bytes > 0) {
            memcpy(joined + pos, spans[i].data, spans[i].bytes);
            pos += spans[i].bytes;
        }
    }
    *ret_joined = joined;
    return span_make(joined, bytes);
}

enum err fs_sim_file_pwritev(struct file *file, const struct span *spans, size_t count, uint64_t pos)
{
    struct sim_file *sim_file = sim_file_of(file);
    struct fs_sim *sim = sim_file->sim;
    struct inode *inode = sim_file->inode;
    uint8_t *joined = NULL;
    struct span bytes = spans_join(spans, count, &joined);
    bool was_crashed = sim->is_crashed;
    enum err err = is_stale(sim_file) ? ERR_IO : fs_sim_begin(sim, FS_SIM_WRITE, true);
    if (!sim_file->is_writable) {
        err = ERR_PERMISSION;
    } else if (err != ERR_OK && !was_crashed && !is_stale(sim_file)) {
        write_part(sim, inode, bytes, pos);
    } else if (err == ERR_OK) {
        err = write_within_space(sim, inode, bytes, pos);
        inode->modified_ms = fs_sim_now_ms(sim);
        fs_sim_note(sim, err,
                    (struct fs_sim_change){
                        .call = FS_SIM_WRITE, .inode = inode->id, .path = sim_file->path, .bytes = bytes, .pos = pos});
    }
    err = fs_sim_end(sim, true, err, "pwritev %s pos=%" PRIu64 " bytes=%zu crc=%08" PRIx32, sim_file->path, pos,
                     bytes.bytes, sim->on_line == NULL ? 0 : crc32c(0, bytes));
    plain_free(joined);
    return err;
}

enum err fs_sim_file_sync(struct file *file)
{
    struct sim_file *sim_file = sim_file_of(file);
    struct fs_sim *sim = sim_file->sim;
    bool was_crashed = sim->is_crashed;
    enum err err = is_stale(sim_file) ? ERR_IO : fs_sim_begin(sim, FS_SIM_SYNC, true);
    if (err == ERR_OK) {
        image_sync(&sim_file->inode->image);
        fs_sim_note(sim, err,
                    (struct fs_sim_change){.call = FS_SIM_SYNC, .inode = sim_file->inode->id, .path = sim_file->path});
    } else if (!was_crashed && !sim->is_crashed && !is_stale(sim_file)) {
        image_forget_dirty(&sim_file->inode->image);
    }
    return fs_sim_end(sim, true, err, "sync %s", sim_file->path);
}

enum err fs_sim_file_truncate(struct file *file, uint64_t bytes)
{
    struct sim_file *sim_file = sim_file_of(file);
    struct fs_sim *sim = sim_file->sim;
    enum err err = is_stale(sim_file) ? ERR_IO : fs_sim_begin(sim, FS_SIM_TRUNCATE, true);
    if (err == ERR_OK && !sim_file->is_writable) {
        err = ERR_PERMISSION;
    }
    if (err == ERR_OK) {
        tree_truncate(&sim->tree, sim_file->inode, bytes);
        sim_file->inode->modified_ms = fs_sim_now_ms(sim);
        fs_sim_note(sim, err,
                    (struct fs_sim_change){
                        .call = FS_SIM_TRUNCATE, .inode = sim_file->inode->id, .path = sim_file->path, .pos = bytes});
    }
    return fs_sim_end(sim, true, err, "truncate %s bytes=%" PRIu64, sim_file->path, bytes);
}

enum err fs_sim_file_size(struct file *file, uint64_t *ret_bytes)
{
    struct sim_file *sim_file = sim_file_of(file);
    if (is_stale(sim_file) || sim_file->sim->is_crashed) {
        return ERR_IO;
    }
    *ret_bytes = sim_file->inode->image.live.bytes;
    return ERR_OK;
}

bool fs_sim_file_is_cached(struct file *file, uint64_t pos, size_t bytes)
{
    struct sim_file *sim_file = sim_file_of(file);
    (void)pos;
    (void)bytes;
    const struct fs_sim_options *options = &sim_file->sim->options;
    if (options->is_cold != NULL) {
        return !options->is_cold(options->is_cold_ctx, sim_file->path);
    }
    bool is_warm = sim_file->inode->is_warm && !options->stays_cold;
    return is_warm || !prop_chance(&sim_file->sim->prop, options->uncached_percent, 100);
}

void fs_sim_file_prefetch(struct file *file, uint64_t pos, size_t bytes)
{
    struct sim_file *sim_file = sim_file_of(file);
    enum err err = is_stale(sim_file) ? ERR_IO : fs_sim_begin(sim_file->sim, FS_SIM_READ, false);
    if (err == ERR_OK) {
        sim_file->inode->is_warm = true;
    }
    (void)fs_sim_end(sim_file->sim, false, err, "prefetch %s pos=%" PRIu64 " bytes=%zu", sim_file->path, pos, bytes);
}

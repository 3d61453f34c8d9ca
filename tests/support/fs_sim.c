/* The calls on paths, and the controls of the test. */
#include "tests/support/fs_sim.h"

#include "common/mem.h"
#include "common/seam/clock.h"
#include "tests/support/fs_sim_internal.h"

#include <stdarg.h>

#define FS_SIM_TOTAL_BYTES_DEFAULT (1ull << 40)

static struct fs_sim *sim_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct fs_sim, fs);
}

/* ---- how a call begins and ends ---- */

/* Mostly near the least, now and then up to the most. */
static uint64_t draw_latency_us(struct fs_sim *sim, enum fs_sim_call call)
{
    const struct fs_sim_latency *latency = &sim->latencies[call];
    return latency->least_us + prop_skewed(&sim->prop, latency->most_us - latency->least_us);
}

static enum err verdict(struct fs_sim *sim, enum fs_sim_call call)
{
    struct fs_sim_fault *fault = &sim->faults[call];
    if (fault->countdown == 0 || --fault->countdown > 0) {
        return ERR_OK;
    }
    fault->countdown = fault->is_sticky ? 1 : 0;
    return fault->err;
}

enum err fs_sim_begin(struct fs_sim *sim, enum fs_sim_call call, bool is_change)
{
    if (sim->is_crashed) {
        return ERR_IO;
    }
    sim->latency_us += draw_latency_us(sim, call);
    enum err err = verdict(sim, call);
    if (is_change) {
        sim->call_count++;
        if (sim->crash_at != 0 && sim->call_count >= sim->crash_at) {
            sim->is_crashed = true;
            return ERR_IO;
        }
        enum err change_err = verdict(sim, FS_SIM_CHANGE);
        err = err == ERR_OK ? change_err : err;
    }
    return err;
}

enum err fs_sim_end(struct fs_sim *sim, bool is_change, enum err err, const char *format, ...)
{
    if (sim->on_line != NULL) {
        char text[FS_SIM_LOG_LINE_BYTES_MAX];
        va_list args;
        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        char line[FS_SIM_LOG_LINE_BYTES_MAX + 64];
        (void)snprintf(line, sizeof(line), "%" PRIu64 " %s %s", is_change ? sim->call_count : 0, text, err_name(err));
        sim->on_line(sim->log_ctx, line);
    }
    return err;
}

int64_t fs_sim_now_ms(const struct fs_sim *sim)
{
    return sim->options.clock == NULL ? (int64_t)sim->call_count : clock_wall_ms(sim->options.clock);
}

/* ---- calls on paths ---- */

static enum err find(struct fs_sim *sim, const char *path, char **ret_normal, struct tree_place *ret_place)
{
    char *normal = tree_normalise(path);
    enum err err = tree_find(&sim->tree, normal, ret_place);
    *ret_normal = normal;
    return err;
}

static bool is_full(const struct fs_sim *sim)
{
    return sim->tree.used_bytes >= sim->options.total_bytes;
}

static bool has_room_for_file(const struct fs_sim *sim)
{
    return sim->options.open_files_max == 0 || sim->open_files < sim->options.open_files_max;
}

static void note_name(struct fs_sim *sim, enum fs_sim_call call, const struct tree_place *place,
                      const struct inode *inode, const char *normal_path)
{
    uint64_t dir = place->parent == NULL ? 0 : place->parent->id;
    fs_sim_note(sim, ERR_OK, (struct fs_sim_change){.call = call, .inode = inode->id, .dir = dir, .path = normal_path});
}

/* What open would say before it touches anything. */
static enum err open_check(struct fs_sim *sim, const struct tree_place *place, unsigned flags)
{
    if (place->inode == NULL) {
        if ((flags & FS_OPEN_CREATE) == 0) {
            return ERR_NOT_FOUND;
        }
        return is_full(sim) ? ERR_NO_SPACE : ERR_OK;
    }
    if ((flags & FS_OPEN_EXCLUSIVE) != 0) {
        return ERR_EXISTS;
    }
    /* Of a directory only listing and sync_dir exist here; opening one is a mistake of the caller. */
    return place->inode->is_directory ? ERR_IO : ERR_OK;
}

static enum err sim_open(struct fs *fs, const char *path, unsigned flags, struct file **ret_file)
{
    struct fs_sim *sim = sim_of(fs);
    char *normal = NULL;
    struct tree_place place = {0};
    enum err err = find(sim, path, &normal, &place);
    bool is_change = err == ERR_OK && (place.inode == NULL ? (flags & FS_OPEN_CREATE) : (flags & FS_OPEN_TRUNCATE));
    enum err verdict_err = fs_sim_begin(sim, FS_SIM_OPEN, is_change);
    if (verdict_err != ERR_OK) {
        err = verdict_err;
    } else if (err == ERR_OK) {
        err = has_room_for_file(sim) ? open_check(sim, &place, flags) : ERR_TOO_MANY_FILES;
    }
    if (err == ERR_OK) {
        enum fs_sim_call call = place.inode == NULL ? FS_SIM_OPEN : FS_SIM_TRUNCATE;
        if (place.inode == NULL) {
            place.inode = tree_make(&sim->tree, &place, false);
            place.inode->modified_ms = fs_sim_now_ms(sim);
        } else if ((flags & FS_OPEN_TRUNCATE) != 0) {
            tree_truncate(&sim->tree, place.inode, 0);
        }
        if (is_change) {
            note_name(sim, call, &place, place.inode, normal);
        }
        *ret_file = fs_sim_file_new(sim, place.inode, normal, (flags & FS_OPEN_WRITE) != 0, false);
    }
    err = fs_sim_end(sim, is_change, err, "open %s flags=%u", normal, flags);
    plain_free(normal);
    return err;
}

static enum err sim_lock(struct fs *fs, const char *path, struct file **ret_file)
{
    struct fs_sim *sim = sim_of(fs);
    char *normal = NULL;
    struct tree_place place = {0};
    enum err err = find(sim, path, &normal, &place);
    bool is_change = err == ERR_OK && place.inode == NULL;
    enum err verdict_err = fs_sim_begin(sim, FS_SIM_LOCK, is_change);
    if (verdict_err != ERR_OK) {
        err = verdict_err;
    } else if (err == ERR_OK) {
        err = has_room_for_file(sim) ? open_check(sim, &place, FS_OPEN_CREATE) : ERR_TOO_MANY_FILES;
    }
    if (err == ERR_OK && place.inode == NULL) {
        place.inode = tree_make(&sim->tree, &place, false);
        note_name(sim, FS_SIM_LOCK, &place, place.inode, normal);
    }
    if (err == ERR_OK && place.inode->is_locked) {
        err = ERR_BUSY;
    }
    if (err == ERR_OK) {
        place.inode->is_locked = true;
        *ret_file = fs_sim_file_new(sim, place.inode, normal, true, true);
    }
    err = fs_sim_end(sim, is_change, err, "lock %s", normal);
    plain_free(normal);
    return err;
}

static enum err sim_stat(struct fs *fs, const char *path, struct fs_stat *ret_stat)
{
    struct fs_sim *sim = sim_of(fs);
    char *normal = NULL;
    struct tree_place place = {0};
    enum err err = find(sim, path, &normal, &place);
    plain_free(normal);
    if (sim->is_crashed) {
        return ERR_IO;
    }
    if (err != ERR_OK) {
        return err;
    }
    if (place.inode == NULL) {
        return ERR_NOT_FOUND;
    }
    *ret_stat = (struct fs_stat){.bytes = place.inode->image.live.bytes,
                                 .is_directory = place.inode->is_directory,
                                 .modified_ms = place.inode->modified_ms};
    return ERR_OK;
}

/* POSIX: a file replaces a file, a directory replaces an empty directory; a directory can't go below itself. */
static enum err rename_check(const struct tree_place *from, const struct tree_place *to, const char *from_normal,
                             const char *to_normal)
{
    if (from->inode == NULL) {
        return ERR_NOT_FOUND;
    }
    size_t from_bytes = strlen(from_normal);
    if (from->parent == NULL || to->parent == NULL ||
        (strncmp(from_normal, to_normal, from_bytes) == 0 && to_normal[from_bytes] == '/')) {
        return ERR_INVALID;
    }
    if (to->inode == NULL || to->inode == from->inode) {
        return ERR_OK;
    }
    if (from->inode->is_directory != to->inode->is_directory) {
        return from->inode->is_directory ? ERR_NOT_DIRECTORY : ERR_IO;
    }
    return to->inode->live == NULL ? ERR_OK : ERR_EXISTS;
}

static enum err sim_rename(struct fs *fs, const char *from_path, const char *to_path)
{
    struct fs_sim *sim = sim_of(fs);
    char *from_normal = NULL;
    char *to_normal = NULL;
    struct tree_place from = {0};
    struct tree_place to = {0};
    enum err from_err = find(sim, from_path, &from_normal, &from);
    enum err to_err = find(sim, to_path, &to_normal, &to);
    enum err err = fs_sim_begin(sim, FS_SIM_RENAME, true);
    if (err == ERR_OK) {
        err = from_err != ERR_OK ? from_err : to_err;
    }
    if (err == ERR_OK) {
        err = rename_check(&from, &to, from_normal, to_normal);
    }
    if (err == ERR_OK) {
        fs_sim_note(sim, err,
                    (struct fs_sim_change){.call = FS_SIM_RENAME,
                                           .inode = from.inode->id,
                                           .dir = from.parent->id,
                                           .to_dir = to.parent->id,
                                           .path = from_normal,
                                           .to_path = to_normal});
        tree_rename(&sim->tree, &from, &to);
    }
    err = fs_sim_end(sim, true, err, "rename %s to=%s", from_normal, to_normal);
    plain_free(from_normal);
    plain_free(to_normal);
    return err;
}

/* unlink (of a file) and rmdir (of an empty directory). */
static enum err remove_entry(struct fs *fs, const char *path, bool is_directory)
{
    struct fs_sim *sim = sim_of(fs);
    char *normal = NULL;
    struct tree_place place = {0};
    enum err find_err = find(sim, path, &normal, &place);
    enum err err = fs_sim_begin(sim, is_directory ? FS_SIM_RMDIR : FS_SIM_UNLINK, true);
    if (err == ERR_OK) {
        err = find_err;
    }
    if (err == ERR_OK && place.inode == NULL) {
        err = ERR_NOT_FOUND;
    }
    if (err == ERR_OK && place.inode->is_directory != is_directory) {
        err = is_directory ? ERR_NOT_DIRECTORY : ERR_IO;
    }
    if (err == ERR_OK && (place.inode->live != NULL || place.parent == NULL)) {
        err = ERR_EXISTS;
    }
    if (err == ERR_OK) {
        note_name(sim, is_directory ? FS_SIM_RMDIR : FS_SIM_UNLINK, &place, place.inode, normal);
        tree_remove(&sim->tree, &place);
    }
    err = fs_sim_end(sim, true, err, "%s %s", is_directory ? "rmdir" : "unlink", normal);
    plain_free(normal);
    return err;
}

static enum err sim_unlink(struct fs *fs, const char *path)
{
    return remove_entry(fs, path, false);
}

static enum err sim_rmdir(struct fs *fs, const char *path)
{
    return remove_entry(fs, path, true);
}

static enum err sim_mkdir(struct fs *fs, const char *path)
{
    struct fs_sim *sim = sim_of(fs);
    char *normal = NULL;
    struct tree_place place = {0};
    enum err find_err = find(sim, path, &normal, &place);
    enum err err = fs_sim_begin(sim, FS_SIM_MKDIR, true);
    if (err == ERR_OK) {
        err = find_err;
    }
    if (err == ERR_OK && place.inode != NULL) {
        err = ERR_EXISTS;
    }
    if (err == ERR_OK && is_full(sim)) {
        err = ERR_NO_SPACE;
    }
    if (err == ERR_OK) {
        note_name(sim, FS_SIM_MKDIR, &place, tree_make(&sim->tree, &place, true), normal);
    }
    err = fs_sim_end(sim, true, err, "mkdir %s", normal);
    plain_free(normal);
    return err;
}

/* Finds a directory for list and sync_dir. */
static enum err find_directory(struct fs_sim *sim, const char *path, struct inode **ret_dir)
{
    char *normal = NULL;
    struct tree_place place = {0};
    enum err err = find(sim, path, &normal, &place);
    plain_free(normal);
    if (err == ERR_OK && place.inode == NULL) {
        err = ERR_NOT_FOUND;
    }
    if (err == ERR_OK && !place.inode->is_directory) {
        err = ERR_NOT_DIRECTORY;
    }
    if (err == ERR_OK) {
        *ret_dir = place.inode;
    }
    return err;
}

static enum err sim_list(struct fs *fs, const char *path, fs_list_fn on_entry, void *ctx)
{
    struct fs_sim *sim = sim_of(fs);
    struct inode *dir = NULL;
    enum err err = sim->is_crashed ? ERR_IO : find_directory(sim, path, &dir);
    if (err != ERR_OK) {
        return err;
    }
    /* A callback may remove the entry that it is told of. */
    struct entry *entry = NULL;
    struct entry *next = NULL;
    HASH_ITER (hh, dir->live, entry, next) {
        char *name = plain_strdup(entry->name);
        on_entry(ctx, name);
        plain_free(name);
    }
    return ERR_OK;
}

static enum err sim_sync_dir(struct fs *fs, const char *path)
{
    struct fs_sim *sim = sim_of(fs);
    struct inode *dir = NULL;
    enum err find_err = find_directory(sim, path, &dir);
    bool was_crashed = sim->is_crashed;
    enum err err = fs_sim_begin(sim, FS_SIM_SYNC_DIR, true);
    if (find_err == ERR_OK && !was_crashed && !sim->is_crashed) {
        tree_sync_dir(&sim->tree, dir, err != ERR_OK);
        fs_sim_note(sim, err, (struct fs_sim_change){.call = FS_SIM_SYNC_DIR, .inode = dir->id, .path = path});
    }
    return fs_sim_end(sim, true, err == ERR_OK ? find_err : err, "sync_dir %s", path);
}

static enum err sim_sync_all(struct fs *fs, const char *path)
{
    struct fs_sim *sim = sim_of(fs);
    bool was_crashed = sim->is_crashed;
    enum err err = fs_sim_begin(sim, FS_SIM_SYNC_ALL, true);
    if (!was_crashed && !sim->is_crashed) {
        tree_sync_all(&sim->tree, err != ERR_OK);
        fs_sim_note(sim, err, (struct fs_sim_change){.call = FS_SIM_SYNC_ALL, .path = path});
    }
    return fs_sim_end(sim, true, err, "sync_all %s", path);
}

static enum err sim_file_sync_fs(struct file *file)
{
    return sim_sync_all(file->fs, "");
}

static enum err sim_space(struct fs *fs, const char *path, struct fs_space *ret_space)
{
    struct fs_sim *sim = sim_of(fs);
    (void)path;
    if (sim->is_crashed) {
        return ERR_IO;
    }
    *ret_space = (struct fs_space){
        .total_bytes = sim->options.total_bytes,
        .available_bytes = is_full(sim) ? 0 : sim->options.total_bytes - sim->tree.used_bytes,
    };
    return ERR_OK;
}

static enum err sim_real_path(struct fs *fs, const char *path, char **ret_path)
{
    struct fs_sim *sim = sim_of(fs);
    char *normal = NULL;
    struct tree_place place = {0};
    enum err err = find(sim, path, &normal, &place);
    if (err == ERR_OK && place.inode == NULL) {
        err = ERR_NOT_FOUND;
    }
    if (err != ERR_OK) {
        plain_free(normal);
        return err;
    }
    *ret_path = mem_strdup(normal);
    plain_free(normal);
    return ERR_OK;
}

static const struct fs_ops fs_sim_ops = {
    .open = sim_open,
    .stat = sim_stat,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .list = sim_list,
    .sync_dir = sim_sync_dir,
    .sync_all = sim_sync_all,
    .space = sim_space,
    .lock = sim_lock,
    .real_path = sim_real_path,
    .pread = fs_sim_file_pread,
    .pwritev = fs_sim_file_pwritev,
    .sync = fs_sim_file_sync,
    .sync_fs = sim_file_sync_fs,
    .truncate = fs_sim_file_truncate,
    .size = fs_sim_file_size,
    .is_cached = fs_sim_file_is_cached,
    .prefetch = fs_sim_file_prefetch,
    .close = fs_sim_file_close,
};

struct fs_sim *fs_sim_new(const struct fs_sim_options *options)
{
    struct fs_sim *sim = PLAIN_NEW(struct fs_sim);
    sim->fs.ops = &fs_sim_ops;
    sim->options = options == NULL ? (struct fs_sim_options){.seed = PROP_SEED_DEFAULT} : *options;
    if (sim->options.page_bytes == 0) {
        sim->options.page_bytes = FS_SIM_PAGE_BYTES_DEFAULT;
    }
    CHECK(sim->options.page_bytes % FS_SIM_SECTOR_BYTES == 0);
    if (sim->options.total_bytes == 0) {
        sim->options.total_bytes = FS_SIM_TOTAL_BYTES_DEFAULT;
    }
    prop_init_seed(&sim->prop, sim->options.seed);
    tree_init(&sim->tree, sim->options.page_bytes);
    return sim;
}

void fs_sim_free(struct fs_sim *sim)
{
    if (sim == NULL) {
        return;
    }
    CHECK(sim->open_files == 0);
    tree_done(&sim->tree);
    plain_free(sim);
}

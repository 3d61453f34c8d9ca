#include "tests/crash/crash_tape.h"

#include "tests/support/plain_mem.h"

static void on_change(void *ctx, const struct fs_sim_change *change)
{
    struct crash_tape *tape = (struct crash_tape *)ctx;
    if (tape->count == tape->capacity) {
        tape->capacity = tape->capacity * 2 + 64;
        tape->ops = (struct crash_op *)plain_grow(tape->ops, tape->capacity, sizeof(*tape->ops));
    }
    struct crash_op *op = &tape->ops[tape->count++];
    *op = (struct crash_op){.change = *change, .durable_index = CRASH_TAPE_NEVER};
    op->change.path = plain_strdup(change->path);
    op->change.to_path = change->to_path == NULL ? NULL : plain_strdup(change->to_path);
    if (change->bytes.bytes > 0) {
        uint8_t *bytes = (uint8_t *)plain_zalloc(change->bytes.bytes);
        memcpy(bytes, change->bytes.data, change->bytes.bytes);
        op->change.bytes = span_make(bytes, change->bytes.bytes);
    }
}

void crash_tape_record(struct crash_tape *tape, struct fs_sim *sim)
{
    fs_sim_set_tape(sim, on_change, tape);
}

void crash_tape_done(struct crash_tape *tape)
{
    for (size_t i = 0; i < tape->count; i++) {
        plain_free((void *)(uintptr_t)tape->ops[i].change.path);
        plain_free((void *)(uintptr_t)tape->ops[i].change.to_path);
        plain_free((void *)(uintptr_t)tape->ops[i].change.bytes.data);
    }
    plain_free(tape->ops);
    *tape = (struct crash_tape){0};
}

bool crash_op_is_bytes(const struct crash_op *op)
{
    return op->change.call == FS_SIM_WRITE || op->change.call == FS_SIM_TRUNCATE;
}

bool crash_op_is_name(const struct crash_op *op)
{
    enum fs_sim_call call = op->change.call;
    return call == FS_SIM_OPEN || call == FS_SIM_LOCK || call == FS_SIM_RENAME || call == FS_SIM_UNLINK ||
           call == FS_SIM_MKDIR || call == FS_SIM_RMDIR;
}

bool crash_op_is_pending(const struct crash_op *op, size_t count)
{
    return (crash_op_is_bytes(op) || crash_op_is_name(op)) && op->durable_index >= count;
}

const char *crash_op_name(const struct crash_op *op)
{
    static const char *const names[FS_SIM_CALL_COUNT] = {
        [FS_SIM_OPEN] = "create",      [FS_SIM_WRITE] = "write",      [FS_SIM_SYNC] = "sync",
        [FS_SIM_SYNC_DIR] = "syncdir", [FS_SIM_SYNC_ALL] = "syncall", [FS_SIM_TRUNCATE] = "truncate",
        [FS_SIM_RENAME] = "rename",    [FS_SIM_UNLINK] = "unlink",    [FS_SIM_MKDIR] = "mkdir",
        [FS_SIM_RMDIR] = "rmdir",      [FS_SIM_LOCK] = "lock",
    };
    return names[op->change.call];
}

static bool does_cover(const struct fs_sim_change *sync, const struct crash_op *op)
{
    if (sync->call == FS_SIM_SYNC) {
        return crash_op_is_bytes(op) && op->change.inode == sync->inode;
    }
    if (sync->call == FS_SIM_SYNC_DIR) {
        return crash_op_is_name(op) && (op->change.dir == sync->inode || op->change.to_dir == sync->inode);
    }
    return sync->call == FS_SIM_SYNC_ALL;
}

void crash_tape_settle(struct crash_tape *tape)
{
    for (size_t i = 0; i < tape->count; i++) {
        for (size_t k = i + 1; k < tape->count && tape->ops[i].durable_index == CRASH_TAPE_NEVER; k++) {
            if (does_cover(&tape->ops[k].change, &tape->ops[i])) {
                tape->ops[i].durable_index = k;
            }
        }
    }
}

/* ---- replay ---- */

/* The files of the tape by their inode, each held open from its making on: names come and go. */
struct replay {
    struct fs *fs;
    struct file **files;
    uint64_t file_count;
    bool is_partial; /* something was omitted: what depends on it does not happen. Else everything happens again */
};

/* Operations on what was never made, because its directory was omitted, do not happen either. */
static struct file *file_of(const struct replay *replay, uint64_t inode)
{
    return inode < replay->file_count ? replay->files[inode] : NULL;
}

static void make_file(struct replay *replay, const struct fs_sim_change *change, bool has_name)
{
    struct file *file = NULL;
    if (change->inode >= replay->file_count) {
        uint64_t count = change->inode * 2 + 16;
        replay->files = (struct file **)plain_grow(replay->files, count, sizeof(replay->files[0]));
        memset(replay->files + replay->file_count, 0, (count - replay->file_count) * sizeof(replay->files[0]));
        replay->file_count = count;
    }
    if (replay->is_partial) {
        (void)fs_unlink(replay->fs, change->path); /* a name that was not taken away gives way to the new file */
    }
    enum err err = fs_open(replay->fs, change->path, FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_EXCLUSIVE, &file);
    CHECK(err == ERR_OK || replay->is_partial);
    if (err == ERR_OK) {
        replay->files[change->inode] = file;
        if (!has_name) {
            CHECK(fs_unlink(replay->fs, change->path) == ERR_OK);
        }
    }
}

static void replay_name(struct replay *replay, const struct fs_sim_change *change)
{
    enum err err = ERR_OK;
    if (change->call == FS_SIM_RENAME) {
        err = fs_rename(replay->fs, change->path, change->to_path);
    } else if (change->call == FS_SIM_UNLINK) {
        err = fs_unlink(replay->fs, change->path);
    } else if (change->call == FS_SIM_MKDIR) {
        err = fs_mkdir(replay->fs, change->path);
    } else if (change->call == FS_SIM_RMDIR) {
        err = fs_rmdir(replay->fs, change->path);
    } else {
        make_file(replay, change, true);
    }
    CHECK(err == ERR_OK || replay->is_partial);
}

static void replay_bytes(struct replay *replay, const struct fs_sim_change *change)
{
    struct file *file = file_of(replay, change->inode);
    enum err err = ERR_OK;
    if (file == NULL) {
        CHECK(replay->is_partial);
        return;
    }
    if (change->call == FS_SIM_WRITE) {
        err = file_pwritev(file, &change->bytes, 1, change->pos);
    } else if (change->call == FS_SIM_TRUNCATE) {
        err = file_truncate(file, change->pos);
    } else {
        err = file_sync(file);
    }
    CHECK(err == ERR_OK);
}

static void replay_one(struct replay *replay, const struct crash_op *op, bool is_omitted)
{
    const struct fs_sim_change *change = &op->change;
    if (is_omitted) {
        if (change->call == FS_SIM_OPEN || change->call == FS_SIM_LOCK) {
            make_file(replay, change, false); /* what is written to it has nowhere to be found */
        }
        return;
    }
    if (crash_op_is_name(op)) {
        replay_name(replay, change);
    } else if (change->call == FS_SIM_SYNC_DIR) {
        enum err err = fs_sync_dir(replay->fs, change->path);
        CHECK(err == ERR_OK || replay->is_partial);
    } else if (change->call == FS_SIM_SYNC_ALL) {
        CHECK(fs_sync_all(replay->fs, "/") == ERR_OK);
    } else {
        replay_bytes(replay, change);
    }
}

static void replay_torn(struct replay *replay, const struct crash_tape *tape, const struct crash_part *part)
{
    if (part->torn_end > part->torn_start) {
        struct fs_sim_change change = tape->ops[part->count].change;
        CHECK(change.call == FS_SIM_WRITE && part->torn_end <= change.bytes.bytes);
        change.bytes = span_sub(change.bytes, part->torn_start, part->torn_end - part->torn_start);
        change.pos += part->torn_start;
        replay_bytes(replay, &change);
    }
}

void crash_tape_replay(const struct crash_tape *tape, const struct crash_part *part, struct fs_sim *sim)
{
    bool is_whole = part->omitted_index == CRASH_TAPE_NEVER && part->first_lost_name == CRASH_TAPE_NEVER;
    struct replay replay = {.fs = fs_sim_fs(sim), .is_partial = !is_whole};
    for (size_t i = 0; i < part->count; i++) {
        const struct crash_op *op = &tape->ops[i];
        bool is_lost_name = i >= part->first_lost_name && crash_op_is_name(op) && crash_op_is_pending(op, part->count);
        replay_one(&replay, op, i == part->omitted_index || is_lost_name);
    }
    replay_torn(&replay, tape, part);
    for (uint64_t i = 0; i < replay.file_count; i++) {
        file_unref(replay.files[i]);
    }
    plain_free(replay.files);
}

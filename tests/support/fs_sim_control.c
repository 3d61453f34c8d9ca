/* What the test does to the file system: crashes, faults, limits, damage. */
#include "tests/support/fs_sim_internal.h"

struct fs *fs_sim_fs(struct fs_sim *sim)
{
    return &sim->fs;
}

struct fs_sim *fs_sim_clone(const struct fs_sim *sim)
{
    struct fs_sim *clone = PLAIN_NEW(struct fs_sim);
    clone->fs = sim->fs;
    clone->options = sim->options;
    clone->prop = sim->prop;
    clone->call_count = sim->call_count;
    clone->is_crashed = sim->is_crashed;
    memcpy(clone->latencies, sim->latencies, sizeof(clone->latencies));
    tree_copy(&clone->tree, &sim->tree);
    tree_recount(&clone->tree);
    return clone;
}

uint64_t fs_sim_call_count(const struct fs_sim *sim)
{
    return sim->call_count;
}

void fs_sim_crash_at(struct fs_sim *sim, uint64_t call_number, enum fs_sim_tear tear)
{
    sim->crash_at = call_number;
    sim->tear = tear;
}

bool fs_sim_is_crashed(const struct fs_sim *sim)
{
    return sim->is_crashed;
}

uint64_t fs_sim_dirty_page_count(const struct fs_sim *sim)
{
    uint64_t count = 0;
    for (const struct inode *inode = sim->tree.inodes; inode != NULL; inode = (const struct inode *)inode->hh.next) {
        count += image_dirty_page_count(&inode->image);
    }
    return count;
}

static void lose_all(struct fs_sim *sim)
{
    for (struct inode *inode = sim->tree.inodes; inode != NULL; inode = (struct inode *)inode->hh.next) {
        image_lose(&inode->image);
    }
    tree_lose_names(&sim->tree, 0);
}

static void lose_random(struct fs_sim *sim, uint64_t seed)
{
    struct prop prop;
    prop_init_seed(&prop, seed);
    for (struct inode *inode = sim->tree.inodes; inode != NULL; inode = (struct inode *)inode->hh.next) {
        image_lose_random(&inode->image, &prop);
    }
    tree_lose_names(&sim->tree, prop_below(&prop, tree_pending_count(&sim->tree) + 1));
}

static void lose_page(struct fs_sim *sim, uint64_t dirty_index)
{
    uint64_t first_index = 0;
    for (struct inode *inode = sim->tree.inodes; inode != NULL; inode = (struct inode *)inode->hh.next) {
        uint64_t count = image_dirty_page_count(&inode->image);
        bool is_hit = dirty_index >= first_index && dirty_index - first_index < count;
        image_lose_page(&inode->image, is_hit ? dirty_index - first_index : UINT64_MAX);
        first_index += count;
    }
    tree_lose_names(&sim->tree, UINT64_MAX);
}

void fs_sim_crash(struct fs_sim *sim, enum fs_sim_crash_mode mode, uint64_t seed)
{
    switch (mode) {
    case FS_SIM_CRASH_KILL:
        break;
    case FS_SIM_CRASH_LOSE:
        lose_all(sim);
        break;
    case FS_SIM_CRASH_RANDOM:
        lose_random(sim, seed);
        break;
    case FS_SIM_CRASH_LOSE_PAGE:
        lose_page(sim, seed);
        break;
    }
    for (struct inode *inode = sim->tree.inodes; inode != NULL; inode = (struct inode *)inode->hh.next) {
        inode->is_locked = false;
        inode->is_warm = mode == FS_SIM_CRASH_KILL && inode->is_warm;
    }
    tree_recount(&sim->tree);
    memset(sim->faults, 0, sizeof(sim->faults));
    sim->crash_at = 0;
    sim->is_crashed = false;
    sim->generation++;
    sim->latency_us = 0;
    (void)fs_sim_end(sim, false, ERR_OK, "crash mode=%d seed=%" PRIu64, (int)mode, seed);
}

void fs_sim_fail_at(struct fs_sim *sim, enum fs_sim_call call, uint64_t nth, enum err err, bool is_sticky)
{
    CHECK(call < FS_SIM_CALL_COUNT && err != ERR_OK);
    sim->faults[call] = (struct fs_sim_fault){.countdown = nth, .err = err, .is_sticky = is_sticky};
}

void fs_sim_set_total_bytes(struct fs_sim *sim, uint64_t total_bytes)
{
    sim->options.total_bytes = total_bytes;
}

void fs_sim_set_cold(struct fs_sim *sim, unsigned uncached_percent, bool stays_cold)
{
    sim->options.uncached_percent = uncached_percent;
    sim->options.stays_cold = stays_cold;
}

void fs_sim_set_cold_rule(struct fs_sim *sim, bool (*is_cold)(void *ctx, const char *path), void *ctx)
{
    sim->options.is_cold = is_cold;
    sim->options.is_cold_ctx = ctx;
}

uint64_t fs_sim_used_bytes(const struct fs_sim *sim)
{
    return sim->tree.used_bytes;
}

void fs_sim_set_open_files_max(struct fs_sim *sim, unsigned open_files_max)
{
    sim->options.open_files_max = open_files_max;
}

unsigned fs_sim_open_files(const struct fs_sim *sim)
{
    return sim->open_files;
}

void fs_sim_abandon_files(struct fs_sim *sim)
{
    while (sim->files != NULL) {
        fs_sim_file_close(&sim->files->file);
    }
}

enum err fs_sim_flip_bit(struct fs_sim *sim, const char *path, uint64_t pos, unsigned bit)
{
    char *normal = tree_normalise(path);
    struct tree_place place = {0};
    enum err err = tree_find(&sim->tree, normal, &place);
    plain_free(normal);
    if (err != ERR_OK || place.inode == NULL) {
        return ERR_NOT_FOUND;
    }
    struct image *image = &place.inode->image;
    if (pos >= image->live.bytes) {
        return ERR_OUT_OF_RANGE;
    }
    uint8_t mask = (uint8_t)(1u << (bit % 8));
    image->live.data[pos] ^= mask;
    if (pos < image->durable.bytes) {
        image->durable.data[pos] ^= mask;
    }
    return ERR_OK;
}

void fs_sim_set_latency(struct fs_sim *sim, enum fs_sim_call call, struct fs_sim_latency latency)
{
    CHECK(call < FS_SIM_CALL_COUNT && latency.least_us <= latency.most_us);
    sim->latencies[call] = latency;
}

uint64_t fs_sim_take_latency_us(struct fs_sim *sim)
{
    uint64_t latency_us = sim->latency_us;
    sim->latency_us = 0;
    return latency_us;
}

void fs_sim_set_log(struct fs_sim *sim, fs_sim_log_fn on_line, void *ctx)
{
    sim->on_line = on_line;
    sim->log_ctx = ctx;
}

void fs_sim_set_tape(struct fs_sim *sim, fs_sim_tape_fn on_change, void *ctx)
{
    sim->on_change = on_change;
    sim->tape_ctx = ctx;
}

void fs_sim_note(struct fs_sim *sim, enum err err, struct fs_sim_change change)
{
    if (err == ERR_OK && sim->on_change != NULL) {
        change.number = sim->call_count;
        sim->on_change(sim->tape_ctx, &change);
    }
}

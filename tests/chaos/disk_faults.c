#include "disk_faults.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 512u

void faults_init(struct faults *faults, struct disk *disk)
{
    pthread_condattr_t monotonic;
    *faults = (struct faults){.disk = disk, .bytes_max = -1};
    (void)pthread_mutex_init(&faults->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&faults->changed, &monotonic);
}

/* ---- calls ---- */

/* False: the power went meanwhile. */
static bool wait_while_hung(struct faults *faults, enum fault_kind kind)
{
    uint64_t losses = faults->losses;
    if (faults->is_off) {
        return false;
    }
    faults->counts.hung += faults->is_hung[kind];
    faults->counts.waiting++;
    while (faults->is_hung[kind] && faults->losses == losses) {
        (void)pthread_cond_wait(&faults->changed, &faults->lock);
    }
    faults->counts.waiting--;
    return faults->losses == losses;
}

static bool wait_ms(struct faults *faults, int64_t ms)
{
    uint64_t losses = faults->losses;
    struct timespec until;
    faults->counts.slow_ms += (uint64_t)ms; /* those that go on as well */
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ms % 1000 * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int status = 0;
    while (faults->losses == losses && status != ETIMEDOUT) {
        status = pthread_cond_timedwait(&faults->changed, &faults->lock, &until);
    }
    return faults->losses == losses;
}

static bool is_like(struct faults *faults, const struct disk_inode *inode, const char *pattern)
{
    char text[2 * FAULT_TEXT_BYTES];
    const struct disk_inode *parent = inode == NULL ? NULL : disk_inode(faults->disk, inode->parent_id);
    (void)snprintf(text, sizeof(text), "%s/%s", parent == NULL ? "" : parent->name, inode == NULL ? "" : inode->name);
    return fnmatch(pattern, text, 0) == 0;
}

static bool does_fail(struct faults *faults, enum fault_kind kind, const struct disk_inode *inode)
{
    if (faults->fail_count[kind] == 0 || !is_like(faults, inode, faults->fail_pattern[kind])) {
        return false;
    }
    faults->fail_count[kind] -= faults->fail_count[kind] > 0;
    return true;
}

/* The part of a write that the kernel sends by itself: if it fails, the process hears of fewer bytes, not of an error, and writes the rest again. */
static bool does_write_fail(struct faults *faults, const struct disk_inode *file, uint64_t pos)
{
    if (faults->refused_id == file->id && faults->refused_pos == pos && pos > 0) {
        faults->refused_id = 0;
        return true;
    }
    if (!does_fail(faults, FAULT_WRITE, file)) {
        return false;
    }
    if (pos % DISK_PAGE_BYTES == 0 && pos > 0 && faults->last_id == file->id && faults->last_end == pos) {
        faults->refused_id = file->id;
        faults->refused_pos = pos;
    }
    return true;
}

/* A part of the write reaches the disk, and the machine is as good as dead. */
static int tear(struct faults *faults, struct disk_inode *file, const void *data, size_t bytes, uint64_t pos)
{
    uint64_t losses = faults->losses;
    disk_write(faults->disk, file, data, (size_t)((int64_t)bytes * faults->tear_permille / 1000), pos);
    struct disk_inode *parent = disk_inode(faults->disk, file->parent_id);
    disk_sync(faults->disk, file);
    if (parent != NULL) {
        disk_sync(faults->disk, parent);
    }
    faults->tear_pattern[0] = '\0';
    faults->counts.torn++;
    faults->counts.waiting++;
    while (faults->losses == losses) {
        (void)pthread_cond_wait(&faults->changed, &faults->lock);
    }
    faults->counts.waiting--;
    return EIO;
}

int faults_write(struct faults *faults, struct disk_inode *file, const void *data, size_t bytes, uint64_t pos,
                 size_t *ret_bytes)
{
    if (!wait_while_hung(faults, FAULT_WRITE)) {
        return EIO;
    }
    faults->counts.writes++;
    if (does_write_fail(faults, file, pos)) {
        faults->counts.failed++;
        return EIO;
    }
    if (faults->tear_pattern[0] != '\0' && is_like(faults, file, faults->tear_pattern)) {
        return tear(faults, file, data, bytes, pos);
    }
    uint64_t grown_bytes = pos + bytes > file->live.count ? pos + bytes - file->live.count : 0;
    uint64_t used_bytes = faults->disk->used_bytes;
    if (faults->bytes_max >= 0 && used_bytes + grown_bytes > (uint64_t)faults->bytes_max) {
        uint64_t free_bytes = (uint64_t)faults->bytes_max > used_bytes ? (uint64_t)faults->bytes_max - used_bytes : 0;
        uint64_t end_pos = file->live.count + free_bytes;
        faults->counts.full++;
        if (end_pos <= pos) {
            return ENOSPC;
        }
        bytes = (size_t)(end_pos - pos);
    }
    disk_write(faults->disk, file, data, bytes, pos);
    faults->last_id = file->id;
    faults->last_end = pos + bytes;
    *ret_bytes = bytes;
    return 0;
}

int faults_sync(struct faults *faults, struct disk_inode *inode)
{
    if (!wait_while_hung(faults, FAULT_SYNC)) {
        return EIO;
    }
    faults->counts.syncs++;
    uint64_t dirty_bytes = inode == NULL ? disk_all_dirty_bytes(faults->disk) : disk_dirty_bytes(inode);
    if (does_fail(faults, FAULT_SYNC, inode)) {
        faults->counts.failed_syncs++;
        faults->has_sync_failed = true;
        if (inode == NULL) {
            disk_sync_all_failed(faults->disk);
        } else {
            disk_sync_failed(inode);
        }
        return EIO;
    }
    faults->counts.synced_after_failure += faults->has_sync_failed;
    int64_t delay_ms = faults->sync_delay_ms;
    if (faults->bytes_per_second > 0) {
        delay_ms += (int64_t)dirty_bytes * 1000 / faults->bytes_per_second;
    }
    /* No disk tells when within a sync the bytes are safe: with each other one a loss of power meanwhile takes them. */
    bool is_late = delay_ms > 0 && faults->counts.syncs % 2 == 0;
    if (is_late && !wait_ms(faults, delay_ms)) {
        faults->counts.cut_syncs++;
        return EIO;
    }
    if (inode == NULL) {
        disk_sync_all(faults->disk);
    } else {
        disk_sync(faults->disk, inode); /* a file that is open is not forgotten meanwhile */
    }
    return delay_ms == 0 || is_late || wait_ms(faults, delay_ms) ? 0 : EIO;
}

int faults_names(struct faults *faults)
{
    return wait_while_hung(faults, FAULT_NAMES) ? 0 : EIO;
}

int faults_read(struct faults *faults)
{
    return wait_while_hung(faults, FAULT_READ) ? 0 : EIO;
}

/* ---- commands ---- */

static void hang(struct faults *faults, const char *what)
{
    bool is_all = strcmp(what, "all") == 0;
    faults->is_hung[FAULT_WRITE] = is_all || strcmp(what, "write") == 0;
    faults->is_hung[FAULT_SYNC] = is_all || strcmp(what, "sync") == 0;
    faults->is_hung[FAULT_NAMES] = is_all;
    faults->is_hung[FAULT_READ] = is_all;
}

/* False: there is no such command. */
static bool obey(struct faults *faults, const char *line, struct disk_loss *ret_loss)
{
    char text[FAULT_TEXT_BYTES];
    char kind[FAULT_TEXT_BYTES];
    int64_t one = 0;
    int64_t two = 0;
    if (strncmp(line, "lose", 4) == 0) {
        *ret_loss = disk_lose(faults->disk);
        faults->losses++;
        return true;
    }
    if (strncmp(line, "off", 3) == 0 || strncmp(line, "on", 2) == 0) {
        faults->is_off = line[1] == 'f';
        if (faults->is_off) {
            *ret_loss = disk_lose(faults->disk);
            faults->losses++;
        }
        return true;
    }
    if (strncmp(line, "sync", 4) == 0) {
        disk_sync_all(faults->disk);
        return true;
    }
    if (sscanf(line, "slow %" SCNd64 " %" SCNd64, &one, &two) == 2) {
        faults->sync_delay_ms = one;
        faults->bytes_per_second = two;
        return true;
    }
    if (sscanf(line, "hang %255s", text) == 1) {
        hang(faults, text);
        return true;
    }
    if (sscanf(line, "fail %255s %" SCNd64 " %255s", kind, &one, text) == 3) {
        enum fault_kind at = strcmp(kind, "sync") == 0 ? FAULT_SYNC : FAULT_WRITE;
        faults->fail_count[at] = one;
        faults->refused_id = 0;
        faults->has_sync_failed = false;
        faults->counts.synced_after_failure = 0;
        memcpy(faults->fail_pattern[at], text, sizeof(text));
        return true;
    }
    if (sscanf(line, "space %" SCNd64, &one) == 1) {
        faults->bytes_max = one;
        return true;
    }
    if (sscanf(line, "tear %255s %" SCNd64, text, &one) == 2) {
        memcpy(faults->tear_pattern, text, sizeof(text));
        faults->tear_permille = one;
        return true;
    }
    return strncmp(line, "told", 4) == 0;
}

void faults_obey(struct faults *faults)
{
    char line[LINE_BYTES];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        struct disk_loss loss = {0};
        (void)pthread_mutex_lock(&faults->lock);
        bool is_known = obey(faults, line, &loss);
        (void)pthread_cond_broadcast(&faults->changed);
        const struct fault_counts *counts = &faults->counts;
        (void)printf("{\"known\": %s, \"lost_files\": %" PRIu64 ", \"lost_bytes\": %" PRIu64
                     ", \"lost_names\": %" PRIu64 ", \"writes\": %" PRIu64 ", \"syncs\": %" PRIu64
                     ", \"failed\": %" PRIu64 ", \"failed_syncs\": %" PRIu64 ", \"full\": %" PRIu64
                     ", \"hung\": %" PRIu64 ", \"torn\": %" PRIu64 ", \"waiting\": %" PRIu64
                     ", \"synced_after_failure\": %" PRIu64 ", \"slow_ms\": %" PRIu64 ", \"cut_syncs\": %" PRIu64
                     ", \"used\": %" PRIu64 ", \"dirty\": %" PRIu64 "}\n",
                     is_known ? "true" : "false", loss.files, loss.bytes, loss.names, counts->writes, counts->syncs,
                     counts->failed, counts->failed_syncs, counts->full, counts->hung, counts->torn, counts->waiting,
                     counts->synced_after_failure, counts->slow_ms, counts->cut_syncs, faults->disk->used_bytes,
                     disk_all_dirty_bytes(faults->disk));
        (void)pthread_mutex_unlock(&faults->lock);
        (void)fflush(stdout);
    }
}

/* Removal of whole segments, in the pool. Readers keep what they hold: an unlinked file lives until its last reference. The log
 * start that makes them unreachable is on disk before (trap 18), so a crash half-way leaves files that the next start removes. */
#include "broker/storage/log_state.h"
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

struct log_removal {
    struct loop_job job;
    struct partition_log *log;
    struct fs *fs;
    char *path;
    int64_t *base_offsets;
    size_t count;
    enum err err;
};

/* Oldest first: whatever is left is the end of the log without a hole. */
static void removal_work(struct loop_job *job)
{
    struct log_removal *removal = CONTAINER_OF(job, struct log_removal, job);
    for (size_t i = 0; i < removal->count; i++) {
        for (unsigned which = 0; which < SEGMENT_FILE_COUNT; which++) {
            struct store_path path = store_path_segment(removal->path, removal->base_offsets[i],
                                                        log_segment_suffix((enum segment_file)which));
            enum err err = fs_unlink(removal->fs, path.text);
            if (err != ERR_OK && err != ERR_NOT_FOUND) {
                removal->err = err;
                return;
            }
        }
    }
}

static void removal_done(struct loop_job *job)
{
    struct log_removal *removal = CONTAINER_OF(job, struct log_removal, job);
    struct partition_log *log = removal->log;
    if (removal->err != ERR_OK) {
        (void)log_state_fail(log, "removal of segments", removal->err);
    }
    mem_free(removal->path);
    mem_free(removal->base_offsets);
    mem_free(removal);
    log_state_job_done(log);
}

void log_remove_segments(struct partition_log *log, const int64_t *base_offsets, size_t count)
{
    struct log_removal *removal = MEM_NEW(struct log_removal);
    removal->log = log;
    removal->fs = log->env->fs;
    removal->path = mem_strdup(log->path);
    removal->base_offsets = mem_array(count, sizeof(*base_offsets));
    memcpy(removal->base_offsets, base_offsets, count * sizeof(*base_offsets));
    removal->count = count;
    removal->job.work = removal_work;
    removal->job.done = removal_done;
    log->job_count++;
    loop_submit(log->loop, &removal->job);
}

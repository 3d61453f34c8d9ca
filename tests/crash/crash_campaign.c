#include "tests/crash/crash_campaign.h"

#include "tests/support/plain_mem.h"
#include "tests/support/prop.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define WHERE_BYTES 640u
#define PATHS_MAX 64u
#define TORN_POSITIONS 5u
/* Random disks, damage and second crashes at each prefix. */
#define MIXED_DISKS 2u
#define FLIPS 3u

static const char *const kind_names[CRASH_KIND_COUNT] = {"killed",  "torn",  "power", "dropped",
                                                         "unnamed", "mixed", "twice", "flipped"};
static const char *const end_names[CRASH_END_COUNT] = {"whole", "shorter", "refused", "new", "noticed", "harmless"};

/* What a failing check can tell: cmocka leaves the campaign by a long jump. */
static char where[WHERE_BYTES];

const char *crash_campaign_where(void)
{
    return where;
}

const char *crash_kind_name(enum crash_kind kind)
{
    return kind_names[kind];
}

const char *crash_end_name(enum crash_end end)
{
    return end_names[end];
}

struct campaign {
    const struct crash_workload *workload;
    struct crash_counts *counts;
    const struct crash_tape *tape;
    struct prop prop;
    uint64_t seed;
    size_t count; /* operations that were made */
    const void *run;
};

static void say_where(const struct campaign *campaign, enum crash_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say_where(const struct campaign *campaign, enum crash_kind kind, const char *format, ...)
{
    const struct crash_tape *tape = campaign->tape;
    const struct crash_op *next = campaign->count < tape->count ? &tape->ops[campaign->count] : NULL;
    va_list arguments;
    int bytes = snprintf(where, sizeof(where), "%s seed=%" PRIu64 " %s: %zu of %zu operations, next %s %s; ",
                         campaign->workload->name, campaign->seed, kind_names[kind], campaign->count, tape->count,
                         next == NULL ? "none" : crash_op_name(next), next == NULL ? "" : next->change.path);
    va_start(arguments, format);
    if (bytes > 0 && (size_t)bytes < sizeof(where)) {
        (void)vsnprintf(where + bytes, sizeof(where) - (size_t)bytes, format, arguments);
    }
    va_end(arguments);
}

static void note_end(struct campaign *campaign, enum crash_kind kind, enum crash_end end)
{
    campaign->counts->disks[kind][end]++;
    where[0] = '\0';
}

static struct fs_sim *build(const struct campaign *campaign, const struct crash_part *part, bool is_on_disk)
{
    struct fs_sim_options options = {.seed = campaign->seed};
    struct fs_sim *sim = fs_sim_new(&options);
    crash_tape_replay(campaign->tape, part, sim);
    if (is_on_disk) {
        CHECK(fs_sync_all(fs_sim_fs(sim), "/") == ERR_OK);
    }
    return sim;
}

/* Takes the disk. */
static void recover(struct campaign *campaign, enum crash_kind kind, struct fs_sim *sim)
{
    bool lost_power = kind != CRASH_KILLED && kind != CRASH_TORN;
    enum crash_end end = campaign->workload->recover(campaign->run, sim, kind, lost_power);
    CHECK(fs_sim_open_files(sim) == 0);
    fs_sim_free(sim);
    note_end(campaign, kind, end);
}

static void try_killed(struct campaign *campaign)
{
    struct crash_part part = CRASH_PART_OF(campaign->count);
    say_where(campaign, CRASH_KILLED, "all of them");
    recover(campaign, CRASH_KILLED, build(campaign, &part, false));
}

static void try_torn(struct campaign *campaign, size_t torn_start, size_t torn_end)
{
    struct crash_part part = CRASH_PART_OF(campaign->count);
    part.torn_start = torn_start;
    part.torn_end = torn_end;
    say_where(campaign, CRASH_TORN, "and its bytes [%zu, %zu)", torn_start, torn_end);
    recover(campaign, CRASH_TORN, build(campaign, &part, false));
}

static void try_torn_all(struct campaign *campaign)
{
    if (campaign->count == campaign->tape->count || campaign->tape->ops[campaign->count].change.call != FS_SIM_WRITE) {
        return;
    }
    size_t bytes = campaign->tape->ops[campaign->count].change.bytes.bytes;
    const size_t cuts[TORN_POSITIONS] = {1, 13, bytes / 2, bytes - 1, 1 + (size_t)prop_below(&campaign->prop, bytes)};
    for (size_t i = 0; i < TORN_POSITIONS; i++) {
        if (cuts[i] > 0 && cuts[i] < bytes) {
            try_torn(campaign, 0, cuts[i]);
        }
    }
    if (bytes > 1) {
        try_torn(campaign, bytes / 2, bytes); /* a later sector reached the file, an earlier one did not */
    }
}

static void try_power(struct campaign *campaign)
{
    struct crash_part part = CRASH_PART_OF(campaign->count);
    struct fs_sim *sim = build(campaign, &part, false);
    say_where(campaign, CRASH_POWER, "only what was synced");
    fs_sim_crash(sim, FS_SIM_CRASH_LOSE, 0);
    recover(campaign, CRASH_POWER, sim);
    for (unsigned i = 0; i < MIXED_DISKS; i++) {
        uint64_t crash_seed = prop_u64(&campaign->prop);
        sim = build(campaign, &part, false);
        say_where(campaign, CRASH_MIXED, "mixed by %" PRIu64, crash_seed);
        fs_sim_crash(sim, FS_SIM_CRASH_RANDOM, crash_seed);
        recover(campaign, CRASH_MIXED, sim);
    }
}

/* The last operation needs no dropping: the prefix before is without it. */
static void try_without(struct campaign *campaign)
{
    for (size_t i = 0; i + 1 < campaign->count; i++) {
        const struct crash_op *op = &campaign->tape->ops[i];
        struct crash_part part = CRASH_PART_OF(campaign->count);
        if (!crash_op_is_pending(op, campaign->count)) {
            continue;
        }
        enum crash_kind kind = crash_op_is_bytes(op) ? CRASH_DROPPED : CRASH_UNNAMED;
        if (kind == CRASH_DROPPED) {
            part.omitted_index = i;
        } else {
            part.first_lost_name = i;
        }
        say_where(campaign, kind, "without operation %zu, %s %s", i, crash_op_name(op), op->change.path);
        recover(campaign, kind, build(campaign, &part, true));
    }
}

static void try_twice(struct campaign *campaign)
{
    struct crash_part part = CRASH_PART_OF(campaign->count);
    struct fs_sim *sim = build(campaign, &part, false);
    bool was_power = prop_chance(&campaign->prop, 1, 2);
    bool is_power = prop_chance(&campaign->prop, 1, 2);
    uint64_t calls = prop_range(&campaign->prop, 1, 12);
    say_where(campaign, CRASH_TWICE, "then %s, and after %" PRIu64 " calls of the recovery %s",
              was_power ? "power loss" : "killed", calls, is_power ? "power loss" : "killed");
    fs_sim_crash(sim, was_power ? FS_SIM_CRASH_LOSE : FS_SIM_CRASH_KILL, 0);
    fs_sim_crash_at(sim, fs_sim_call_count(sim) + calls, (enum fs_sim_tear)prop_below(&campaign->prop, 3));
    campaign->workload->stumble(campaign->run, sim);
    /* The promise is that of a power loss if either crash was one. */
    fs_sim_crash(sim, is_power ? FS_SIM_CRASH_RANDOM : FS_SIM_CRASH_KILL, prop_u64(&campaign->prop));
    enum crash_end end = campaign->workload->recover(campaign->run, sim, CRASH_TWICE, was_power || is_power);
    CHECK(fs_sim_open_files(sim) == 0);
    fs_sim_free(sim);
    note_end(campaign, CRASH_TWICE, end);
}

/* ---- damage ---- */

struct walk {
    struct fs *fs;
    const char *dir;
    char **paths;
    size_t count;
};

static void collect(void *ctx, const char *name);

static void walk_directory(struct fs *fs, const char *dir, char **paths, size_t *count)
{
    struct walk walk = {fs, dir, paths, *count};
    CHECK(fs_list(fs, dir, collect, &walk) == ERR_OK);
    *count = walk.count;
}

static void collect(void *ctx, const char *name)
{
    struct walk *walk = (struct walk *)ctx;
    char path[512];
    struct fs_stat stat;
    (void)snprintf(path, sizeof(path), "%s/%s", strcmp(walk->dir, "/") == 0 ? "" : walk->dir, name);
    CHECK(fs_stat(walk->fs, path, &stat) == ERR_OK);
    if (stat.is_directory) {
        walk_directory(walk->fs, path, walk->paths, &walk->count);
    } else if (stat.bytes > 0) {
        CHECK(walk->count < PATHS_MAX);
        walk->paths[walk->count++] = plain_strdup(path);
    }
}

static void try_flip(struct campaign *campaign, struct fs_sim *whole, const char *path)
{
    struct fs_sim *sim = fs_sim_clone(whole);
    struct fs_stat stat;
    CHECK(fs_stat(fs_sim_fs(sim), path, &stat) == ERR_OK);
    struct crash_flip flip = {path, prop_below(&campaign->prop, stat.bytes), (unsigned)prop_below(&campaign->prop, 8)};
    CHECK(fs_sim_flip_bit(sim, path, flip.pos, flip.bit) == ERR_OK);
    say_where(campaign, CRASH_FLIPPED, "bit %u of byte %" PRIu64 " of %s", flip.bit, flip.pos, path);
    enum crash_end end = campaign->workload->check_flip(campaign->run, whole, sim, &flip);
    CHECK(fs_sim_open_files(sim) == 0);
    fs_sim_free(sim);
    note_end(campaign, CRASH_FLIPPED, end);
}

static void try_flips(struct campaign *campaign)
{
    struct crash_part part = CRASH_PART_OF(campaign->count);
    struct fs_sim *whole = build(campaign, &part, true);
    char *paths[PATHS_MAX];
    size_t path_count = 0;
    walk_directory(fs_sim_fs(whole), "/", paths, &path_count);
    for (unsigned i = 0; i < FLIPS && path_count > 0; i++) {
        try_flip(campaign, whole, paths[prop_below(&campaign->prop, path_count)]);
    }
    for (size_t i = 0; i < path_count; i++) {
        plain_free(paths[i]);
    }
    fs_sim_free(whole);
}

/* ---- the whole ---- */

/* All disks that a crash can leave when the first `count` operations were made, and the next one was under way. */
static void try_prefix(struct campaign *campaign, size_t count)
{
    struct fs_sim_options options = {.seed = campaign->seed};
    struct fs_sim *sim = fs_sim_new(&options);
    uint64_t crash_call = count < campaign->tape->count ? campaign->tape->ops[count].change.number : 0;
    campaign->count = count;
    say_where(campaign, CRASH_KILLED, "on the way there");
    void *run = campaign->workload->run(sim, campaign->seed, crash_call);
    campaign->run = run;
    try_killed(campaign);
    try_torn_all(campaign);
    try_power(campaign);
    try_without(campaign);
    try_twice(campaign);
    try_flips(campaign);
    campaign->workload->done(run);
    CHECK(fs_sim_open_files(sim) == 0);
    fs_sim_free(sim);
}

static void run_seed(const struct crash_workload *workload, uint64_t seed, struct crash_counts *counts)
{
    struct crash_tape tape = {0};
    struct fs_sim_options options = {.seed = seed};
    struct fs_sim *sim = fs_sim_new(&options);
    crash_tape_record(&tape, sim);
    void *run = workload->run(sim, seed, 0);
    fs_sim_set_tape(sim, NULL, NULL);
    workload->done(run);
    fs_sim_free(sim);
    crash_tape_settle(&tape);
    struct campaign campaign = {.workload = workload, .counts = counts, .tape = &tape, .seed = seed};
    prop_init_seed(&campaign.prop, seed);
    counts->operations += tape.count;
    for (size_t count = 0; count <= tape.count; count++) {
        try_prefix(&campaign, count);
    }
    crash_tape_done(&tape);
}

void crash_campaign_run(const struct crash_workload *workload, uint64_t first_seed, struct crash_counts *ret_counts)
{
    uint64_t seed_count = prop_runs(workload->seed_count);
    *ret_counts = (struct crash_counts){0};
    for (uint64_t i = 0; i < seed_count; i++) {
        run_seed(workload, first_seed + i, ret_counts);
    }
}

uint64_t crash_counts_of(const struct crash_counts *counts, enum crash_kind kind)
{
    uint64_t sum = 0;
    for (unsigned end = 0; end < CRASH_END_COUNT; end++) {
        sum += counts->disks[kind][end];
    }
    return sum;
}

void crash_counts_print(const struct crash_workload *workload, const struct crash_counts *counts)
{
    printf("# %s: %" PRIu64 " operations\n#   %-8s", workload->name, counts->operations, "disks");
    for (unsigned end = 0; end < CRASH_END_COUNT; end++) {
        printf(" %9s", end_names[end]);
    }
    printf("\n");
    for (unsigned kind = 0; kind < CRASH_KIND_COUNT; kind++) {
        printf("#   %-8s", kind_names[kind]);
        for (unsigned end = 0; end < CRASH_END_COUNT; end++) {
            printf(" %9" PRIu64, counts->disks[kind][end]);
        }
        printf("\n");
    }
    fflush(stdout);
}
